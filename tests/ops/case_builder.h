// Tiny programs around one op, with random weights in any encoding.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace stretto::test {

struct CaseStep {
  std::vector<int32_t> tokens;
  uint64_t position = 0;
  std::vector<int32_t> outputs;
};

struct OpCase {
  std::string name;
  Program program;
  std::shared_ptr<const std::vector<std::vector<std::byte>>> weights;  // what the bindings point into
  std::vector<CaseStep> steps;
  uint64_t n_ctx = 0;
  double limit = 0;  // of the normalised mean square error against the oracle
};

// n elements in rows of `cols`, as random bytes of `type` with scales that give values of about unit size.
std::vector<std::byte> random_bytes(DType type, uint64_t rows, uint64_t cols, std::mt19937& rng);

// Builds the program of a case: inputs come from Embeds of random tables, the result goes out through TakeOutputs.
class CaseBuilder {
 public:
  static constexpr uint64_t kVocab = 23;

  explicit CaseBuilder(uint32_t seed) : recorder_("case"), rng_(seed) {}

  // A value [tokens, width] whose rows are random; exactly representable in `exact_in` (F32, F16 or BF16).
  ValueId input(uint64_t width, DType exact_in = DType::kF32);
  WeightId weight(DType type, Shape shape);
  StateId cache(DType type, uint64_t width);
  StateId rows(DType type, uint64_t width) { return recorder_.state({"rows", type, Growth::kPerPosition, width}); }
  void set_sequential(bool sequential) { recorder_.set_sequential(sequential); }
  ValueId value(uint64_t width, DType type = DType::kF32, Rows rows = Rows::kTokens) {
    return recorder_.value("v", width, rows, type);
  }
  void emit(Op op) { recorder_.emit("case", std::move(op)); }
  const Tables& tables() const { return recorder_.tables(); }

  // The result is all rows of `result`. Steps of the given sizes follow each other from `position` on.
  OpCase finish(std::string name, ValueId result, double limit, const std::vector<uint64_t>& step_sizes = {1, 3, 17},
                uint64_t position = 0);

 private:
  Recorder recorder_;
  std::mt19937 rng_;
  std::shared_ptr<std::vector<std::vector<std::byte>>> weights_ =
      std::make_shared<std::vector<std::vector<std::byte>>>();
};

}  // namespace stretto::test
