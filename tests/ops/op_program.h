// Builds one-op programs for tests: inputs come through Embed (row t of a table is token t's value), results leave
// through TakeOutputs, so that any backend can run them with nothing but its public interface.
#pragma once

#include <cstring>
#include <vector>

#include "backend/backend.h"
#include "formats/formats.h"
#include "program/program.h"

namespace stretto::test {

class OpProgram {
 public:
  OpProgram() : recorder_("test") {}

  Recorder& recorder() { return recorder_; }

  // A weight with the given values, encoded as `type` (an encoding with an encoder) or F32.
  WeightId weight(const Shape& shape, const std::vector<float>& values, DType type = DType::kF32) {
    std::vector<std::byte>& bytes = storage_.emplace_back(row_bytes(type, shape.cols()) * shape.rows());
    for (uint64_t r = 0; r < shape.rows(); ++r)
      encode_row(type, values.data() + r * shape.cols(), shape.cols(),
                 bytes.data() + r * row_bytes(type, shape.cols()));
    return raw_weight(shape, type, bytes);
  }
  // A weight from stored bytes (random blocks of encodings without encoder). `bytes` must stay alive.
  WeightId raw_weight(const Shape& shape, DType type, std::span<const std::byte> bytes) {
    const TensorView view{type, shape, bytes};
    return recorder_.weight({"w", type, shape}, {{{.source = view, .first_row = 0, .n_rows = shape.rows()}}});
  }
  // An activation [n_tokens, width] with the given rows.
  ValueId input(uint64_t width, const std::vector<float>& rows) {
    const ValueId v = recorder_.value("in", width);
    recorder_.emit("in", Embed{.table = weight(Shape{rows.size() / width, width}, rows), .out = v});
    return v;
  }
  ValueId output_like(ValueId v) { return recorder_.value("out", recorder_.tables()[v].width); }

  // Finishes with `result` as the answer: all rows of it.
  Program finish(ValueId result) {
    const ValueId taken = recorder_.value("taken", recorder_.tables()[result].width, Rows::kOutputs);
    recorder_.emit("out", TakeOutputs{.x = result, .out = taken});
    return recorder_.finish(taken);
  }

 private:
  Recorder recorder_;
  std::vector<std::vector<std::byte>> storage_;
};

// Runs tokens 0 .. n_tokens-1 at `position`, in steps of `chunk`, and returns all rows of the result.
inline std::vector<float> run_rows(const Program& program, const Backend& backend, uint64_t n_tokens,
                                   uint64_t chunk = 0, uint64_t position = 0) {
  const uint64_t size = chunk == 0 ? n_tokens : chunk;
  const auto executable =
      backend.compile(program, {.n_ctx = position + n_tokens, .max_tokens = size, .max_outputs = size, .n_threads = 2});
  std::vector<float> out;
  for (uint64_t done = 0; done < n_tokens; done += size) {
    std::vector<int32_t> tokens, outputs;
    for (uint64_t i = done; i < std::min(n_tokens, done + size); ++i) {
      tokens.push_back(static_cast<int32_t>(i));
      outputs.push_back(static_cast<int32_t>(i - done));
    }
    const auto rows = executable->run({.tokens = tokens, .position = position + done, .outputs = outputs});
    out.insert(out.end(), rows.begin(), rows.end());
  }
  return out;
}

}  // namespace stretto::test
