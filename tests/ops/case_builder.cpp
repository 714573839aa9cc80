#include "ops/case_builder.h"

#include <fmt/format.h>

#include "formats/formats.h"

namespace stretto::test {
namespace {

template <class F>
void set_scales(typename F::Block& block, std::mt19937& rng) {
  std::uniform_real_distribution<float> spread(0.5F, 1.5F);
  // About one over the largest code times the largest group scale.
  if constexpr (requires { block.e8; }) {
    block.e8 = static_cast<uint8_t>(122 + rng() % 5);
  } else {
    const float largest_code = F::kGroup == F::kBlockElements ? 16.0F : 16.0F * 32.0F;
    const float d = spread(rng) / (F::kType == DType::kQ8_0 ? 127.0F : largest_code);
    store_u16(block.d, f32_to_f16(d));
    if constexpr (requires { block.dmin; }) store_u16(block.dmin, f32_to_f16(4 * d * spread(rng)));
    if constexpr (requires { block.m; }) store_u16(block.m, f32_to_f16(-8 * d * spread(rng)));
  }
}

}  // namespace

std::vector<std::byte> random_bytes(DType type, uint64_t rows, uint64_t cols, std::mt19937& rng) {
  std::vector<std::byte> out(rows * row_bytes(type, cols));
  visit_format(type, [&](auto format) {
    using F = decltype(format);
    auto* blocks = as_blocks<F>(out.data());
    const uint64_t n = rows * cols / F::kBlockElements;
    if constexpr (F::kBlockElements == 1) {
      std::normal_distribution<float> normal;
      for (uint64_t i = 0; i < n; ++i) {
        const float x = normal(rng);
        F::encode(&x, blocks[i]);
      }
    } else {
      for (std::byte& b : out) b = static_cast<std::byte>(rng() & 255);
      for (uint64_t i = 0; i < n; ++i) set_scales<F>(blocks[i], rng);
    }
  });
  return out;
}

ValueId CaseBuilder::input(uint64_t width, DType exact_in) {
  const WeightId table = weight(exact_in, {kVocab, width});
  const ValueId out = value(width);
  emit(Embed{.table = table, .out = out});
  return out;
}

WeightId CaseBuilder::weight(DType type, Shape shape) {
  // One byte in front, so that no backend can rely on alignment.
  std::vector<std::byte> bytes = random_bytes(type, shape.rows(), shape.cols(), rng_);
  bytes.insert(bytes.begin(), std::byte{0});
  weights_->push_back(std::move(bytes));
  WeightSlice slice;
  slice.source = {type, shape, std::span(weights_->back()).subspan(1)};
  slice.n_rows = shape.rows();
  return recorder_.weight({fmt::format("w{}", weights_->size()), type, shape}, {{slice}});
}

StateId CaseBuilder::cache(DType type, uint64_t width) {
  return recorder_.state({"cache", type, Growth::kPerPosition, width});
}

OpCase CaseBuilder::finish(std::string name, ValueId result, double limit, const std::vector<uint64_t>& step_sizes,
                           uint64_t position) {
  ValueId logits = result;
  if (tables()[result].rows == Rows::kTokens) {
    logits = value(tables()[result].width, DType::kF32, Rows::kOutputs);
    emit(TakeOutputs{.x = result, .out = logits});
  }
  OpCase c;
  c.name = std::move(name);
  c.program = recorder_.finish(logits);
  c.weights = weights_;
  c.limit = limit;
  for (const uint64_t n : step_sizes) {
    CaseStep step;
    step.position = position;
    for (uint64_t t = 0; t < n; ++t) {
      step.tokens.push_back(static_cast<int32_t>(rng_() % kVocab));
      step.outputs.push_back(static_cast<int32_t>(t));
    }
    position += n;
    c.steps.push_back(std::move(step));
  }
  c.n_ctx = position;
  return c;
}

}  // namespace stretto::test
