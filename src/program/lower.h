// Lowering: keeps each op where the backend has a kernel that supports it, expands it by decompose() elsewhere.
// No pattern is ever matched: architectures write the coarse op they mean.
#pragma once

#include "program/program.h"

namespace stretto {

// A backend says which ops it has kernels for with overloads of
//   static bool supports(const SomeOp&, const Tables&);
// A primitive op without an overload does not compile; a fused op without one is expanded.
template <class Backend, class T>
concept HasKernel = requires(const T& op, const Tables& t) {
  { Backend::supports(op, t) } -> std::same_as<bool>;
};

namespace detail {

template <class Backend>
class Lowering {
 public:
  explicit Lowering(Program& out) : out_(out) {}

  const Tables& tables() const { return out_.tables; }
  ValueId temp(uint64_t width, Rows rows, DType type = DType::kF32) {
    out_.tables.values.push_back({"", type, rows, width});
    return {static_cast<int32_t>(out_.tables.values.size()) - 1};
  }
  ValueId temp_like(ValueId like) {
    const ValueInfo v = out_.tables[like];
    return temp(v.width, v.rows, v.type);
  }
  template <class T>
  void emit(const T& op) {
    if constexpr (HasKernel<Backend, T>) {
      if (Backend::supports(op, out_.tables)) {
        op.check(out_.tables);
        out_.nodes.push_back({op, source_->role, source_->layer, source_->sequential});
        return;
      }
    } else {
      static_assert(FusedOp<T>, "a backend needs a kernel for every primitive op");
    }
    if constexpr (FusedOp<T>) {
      op.decompose(*this);
    } else {
      unsupported(*source_, T::kName);
    }
  }
  void run(const Node& node) {
    source_ = &node;
    std::visit([&](const auto& op) { emit(op); }, node.op);
  }

 private:
  [[noreturn]] static void unsupported(const Node& node, std::string_view op);
  Program& out_;
  const Node* source_ = nullptr;
};

[[noreturn]] void fail_unsupported(const Node& node, std::string_view op);

template <class Backend>
void Lowering<Backend>::unsupported(const Node& node, std::string_view op) {
  fail_unsupported(node, op);
}

}  // namespace detail

// The program with every op that Backend does not keep expanded.
// Throws Error(kUnsupported) when a primitive op is refused (an encoding the backend has no kernel for).
template <class Backend>
Program lower(const Program& program) {
  Program out{.architecture = program.architecture,
              .tables = program.tables,
              .bindings = program.bindings,
              .nodes = {},
              .logits = program.logits};
  detail::Lowering<Backend> lowering(out);
  for (const Node& node : program.nodes) lowering.run(node);
  out.check();
  return out;
}

// Keeps primitive ops only: what the oracle interprets and what "unfused" means in the accounting.
struct PrimitiveOnly {
  template <class T>
  requires(!FusedOp<T>) static bool supports(const T&, const Tables&) { return true; }
};

}  // namespace stretto
