// What ops refer to: activations (values), weights and state, by index into the program's tables.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/dtype.h"
#include "base/tensor.h"

namespace stretto {

// An activation of one step: [rows, width], row-major, contiguous.
struct ValueId {
  int32_t index = -1;
  explicit operator bool() const { return index >= 0; }
  bool operator==(const ValueId&) const = default;
};

// A parameter of the model; never written.
struct WeightId {
  int32_t index = -1;
  explicit operator bool() const { return index >= 0; }
  bool operator==(const WeightId&) const = default;
};

// A tensor that lives across steps: KV cache, recurrent state.
struct StateId {
  int32_t index = -1;
  explicit operator bool() const { return index >= 0; }
  bool operator==(const StateId&) const = default;
};

// How many rows a value has in a step.
enum class Rows : uint8_t {
  kTokens,   // one per token of the step
  kOutputs,  // one per token whose logits are wanted
};

struct ValueInfo {
  std::string name;
  DType type = DType::kF32;  // kF32 or kI32
  Rows rows = Rows::kTokens;
  uint64_t width = 0;
};

struct WeightInfo {
  std::string name;  // Stretto's own (GGUF-style) name: "blk.3.attn_q.weight"
  DType type = DType::kF32;
  Shape shape;
  uint64_t bytes() const { return row_bytes(type, shape.cols()) * shape.rows(); }
};

enum class Growth : uint8_t {
  kPerPosition,  // [n_ctx, width]: one row per position of the sequence (KV cache)
  kFixed,        // [width]: the same size at every position (recurrent state)
};

struct StateInfo {
  std::string name;
  DType type = DType::kF32;
  Growth growth = Growth::kPerPosition;
  uint64_t width = 0;
  uint64_t bytes(uint64_t n_ctx) const { return row_bytes(type, width) * (growth == Growth::kPerPosition ? n_ctx : 1); }
};

struct Tables {
  std::vector<ValueInfo> values;
  std::vector<WeightInfo> weights;
  std::vector<StateInfo> states;

  const ValueInfo& operator[](ValueId id) const { return at(values, id.index); }
  const WeightInfo& operator[](WeightId id) const { return at(weights, id.index); }
  const StateInfo& operator[](StateId id) const { return at(states, id.index); }

 private:
  template <class T>
  static const T& at(const std::vector<T>& list, int32_t index) {
    CHECK(index >= 0 && static_cast<size_t>(index) < list.size());
    return list[static_cast<size_t>(index)];
  }
};

// The size of one step: `n_tokens` tokens at positions position .. position + n_tokens - 1.
struct StepShape {
  uint64_t n_tokens = 1;
  uint64_t n_outputs = 1;
  uint64_t position = 0;
  uint64_t rows(Rows r) const { return r == Rows::kTokens ? n_tokens : n_outputs; }
};

// What an op moves and computes in one step. Weights are counted once per step, however many tokens use them;
// activations are bytes read plus bytes written.
struct Cost {
  uint64_t weight_bytes = 0;
  uint64_t state_bytes = 0;
  uint64_t activation_bytes = 0;
  uint64_t flops = 0;

  uint64_t bytes() const { return weight_bytes + state_bytes + activation_bytes; }
  Cost& operator+=(const Cost& o) {
    weight_bytes += o.weight_bytes;
    state_bytes += o.state_bytes;
    activation_bytes += o.activation_bytes;
    flops += o.flops;
    return *this;
  }
};

inline uint64_t value_bytes(const Tables& t, ValueId id, const StepShape& step) {
  return row_bytes(t[id].type, t[id].width) * step.rows(t[id].rows);
}

// Every op lists its tensors once, in `tensors(op, visitor)`; printer, planner and accounting all walk that list:
//   visitor.in("x", ValueId), visitor.out("out", ValueId), visitor.weight("w", WeightId),
//   visitor.state_in("k_cache", StateId), visitor.state_out("k_cache", StateId).
// Invalid (absent) ids are passed on; visitors skip them.
struct TensorVisitor {
  void in(std::string_view, ValueId&) {}
  void out(std::string_view, ValueId&) {}
  void weight(std::string_view, WeightId&) {}
  void state_in(std::string_view, StateId&) {}
  void state_out(std::string_view, StateId&) {}
};

// Bytes of all values an op reads and writes.
template <class Op>
uint64_t activation_bytes(const Op& op, const Tables& t, const StepShape& step) {
  struct Sum : TensorVisitor {
    const Tables* t;
    const StepShape* step;
    uint64_t total = 0;
    void in(std::string_view, ValueId& id) { add(id); }
    void out(std::string_view, ValueId& id) { add(id); }
    void add(ValueId id) {
      if (id) total += value_bytes(*t, id, *step);
    }
  } sum;
  sum.t = &t;
  sum.step = &step;
  Op copy = op;
  Op::tensors(copy, sum);
  return sum.total;
}

}  // namespace stretto
