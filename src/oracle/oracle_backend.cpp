#include "oracle/oracle_backend.h"

#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "base/error.h"
#include "oracle/interpret.h"
#include "program/lower.h"

namespace stretto {
namespace {

class OracleExecutable : public Executable {
 public:
  OracleExecutable(Program program, const CompileOptions& options) : program_(std::move(program)) {
    const Tables& t = program_.tables;
    machine_.program = &program_;
    machine_.values.resize(t.values.size());
    for (const StateInfo& s : t.states)
      machine_.states.emplace_back(s.width * (s.growth == Growth::kPerPosition ? options.n_ctx : 1), 0.0);
    machine_.gathered.resize(t.weights.size());
    for (size_t i = 0; i < t.weights.size(); ++i) {
      if (program_.bindings[i].contiguous(t.weights[i].type) != nullptr) continue;
      machine_.gathered[i].resize(t.weights[i].bytes());
      program_.bindings[i].gather(t.weights[i].type, machine_.gathered[i].data());
    }
  }

  const Program& program() const override { return program_; }

  std::span<const float> run(const Step& step) override {
    machine_.step = step;
    for (size_t i = 0; i < machine_.values.size(); ++i) {
      const ValueId id{static_cast<int32_t>(i)};
      machine_.value(id).assign(program_.tables[id].width * machine_.rows(id), 0.0);
    }
    for (size_t i = 0; i < program_.nodes.size();) {
      const size_t end = sequence_end(program_.nodes, i);
      if (program_.nodes[i].sequential) {
        run_sequence(i, end);
      } else {
        run_node(program_.nodes[i]);
      }
      i = end;
    }
    const std::vector<double>& logits = machine_.value(program_.logits);
    logits_.assign(logits.begin(), logits.end());
    return logits_;
  }

  uint64_t memory_bytes() const override {
    uint64_t n = 0;
    for (const auto& s : machine_.states) n += s.size() * sizeof(double);
    for (const auto& g : machine_.gathered) n += g.size();
    return n;
  }

 private:
  void run_node(const Node& node) {
    std::visit([&](const auto& op) { run_op(op); }, node.op);
  }

  // Nodes begin .. end - 1 for one token after the other: meanwhile the values hold that token's row only.
  void run_sequence(size_t begin, size_t end) {
    const Step step = machine_.step;
    std::vector<std::vector<double>> all = machine_.values;
    for (size_t t = 0; t < step.tokens.size(); ++t) {
      const auto rows = [&](size_t i) {  // of value i: its row of this token
        const uint64_t width = program_.tables.values[i].width;
        return std::span(all[i]).subspan(t * width, width);
      };
      machine_.step = {.tokens = step.tokens.subspan(t, 1), .position = step.position + t, .outputs = {}};
      for (size_t i = 0; i < all.size(); ++i)
        if (program_.tables.values[i].rows == Rows::kTokens) machine_.values[i].assign(rows(i).begin(), rows(i).end());
      for (size_t n = begin; n < end; ++n) run_node(program_.nodes[n]);
      for (size_t i = 0; i < all.size(); ++i)
        if (program_.tables.values[i].rows == Rows::kTokens)
          std::copy(machine_.values[i].begin(), machine_.values[i].end(), rows(i).begin());
    }
    machine_.step = step;
    machine_.values = std::move(all);
  }

  template <class T>
  void run_op(const T& op) {
    if constexpr (FusedOp<T>) {
      CHECK(!"a fused op reached the oracle");
    } else {
      oracle::interpret(machine_, op);
    }
  }

  Program program_;
  oracle::Machine machine_;
  std::vector<float> logits_;
};

class OracleBackend : public Backend {
 public:
  std::string name() const override { return "oracle"; }
  std::string description() const override { return "float64 interpreter of the primitive ops (a reference, slow)"; }
  uint64_t available_bytes() const override {
    return static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  }
  int thread_count() const override { return 1; }
  std::unique_ptr<ReadSweep> make_read_sweep() const override {
    fail(ErrorKind::kUnsupported, "the oracle interprets; there is no bandwidth to compare it with");
  }
  Program lower(const Program& program) const override { return stretto::lower<PrimitiveOnly>(program); }
  std::unique_ptr<Executable> compile(const Program& program, const CompileOptions& options) const override {
    return std::make_unique<OracleExecutable>(lower(program), options);
  }
};

}  // namespace

std::unique_ptr<Backend> make_oracle_backend() { return std::make_unique<OracleBackend>(); }

}  // namespace stretto
