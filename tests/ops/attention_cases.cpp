#include "ops/attention_cases.h"

#include <cmath>

#include "formats/cache_formats.h"

namespace stretto::test {
namespace {

// Limits of the normalised mean square error against float64.
constexpr double kAttention = 1e-12;  // exactly representable keys and values, or rounded alike
constexpr double kRoundedF16 = 1e-6;  // keys and values rounded to binary16
constexpr double kRoundedBF16 = 1e-4;
// Keys whose float32 and float64 values round to different neighbours, here and there; 8-bit codes times their scale
// rounded to binary16. Without the rounding that the oracle does too it would be 1e-3.
constexpr double kRounded8Bit = 1e-4;

constexpr DType kCacheTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8_E4M3, DType::kQ8_0};
static_assert(std::size(kCacheTypes) == std::tuple_size_v<CacheFormats>);

double rounding_limit(DType type) {
  if (is_8_bit_cache_type(type)) return kRounded8Bit;
  return type == DType::kF32 ? kAttention : type == DType::kF16 ? kRoundedF16 : kRoundedBF16;
}

struct AttentionShape {
  std::string name;
  uint64_t n_heads, n_kv_heads, head_dim, window;
  std::vector<uint64_t> steps;
};

const std::vector<AttentionShape>& attention_shapes() {
  static const std::vector<AttentionShape> shapes = {{"mha", 3, 3, 20, 0, {17, 1, 3}},
                                                     {"gqa", 8, 2, 64, 0, {5, 1, 17, 1}},
                                                     {"mqa", 7, 1, 33, 0, {3, 1}},
                                                     {"wide", 4, 2, 256, 0, {2, 1, 1}},
                                                     {"window", 4, 2, 32, 5, {17, 1, 3, 1}},
                                                     {"long", 6, 2, 16, 0, {300, 1, 250, 3, 1}},
                                                     {"long_window", 4, 2, 16, 290, {560, 1, 9, 2}},
                                                     // two runs of a context that is split by 256 positions
                                                     {"long_64", 8, 2, 64, 0, {15, 1, 1, 270, 1, 7, 1}},
                                                     {"long_128", 6, 1, 128, 0, {270, 1, 14, 1}},
                                                     {"window_128", 6, 2, 128, 275, {9, 1, 290, 1, 5, 1}}};
  return shapes;
}

bool fits(const AttentionShape& s, DType type) { return s.head_dim % info(type).block_elements == 0; }

OpCase plain_case(const AttentionShape& s, DType type) {
  const uint64_t kv_width = s.n_kv_heads * s.head_dim;
  // Rounding to the cache is exact, or of the same floats everywhere.
  const DType exact_in = is_8_bit_cache_type(type) ? DType::kF32 : type;
  CaseBuilder b(1000);
  const ValueId q = b.input(s.n_heads * s.head_dim), y = b.value(s.n_heads * s.head_dim);
  const ValueId k = b.input(kv_width, exact_in), v = b.input(kv_width, exact_in);
  const StateId k_cache = b.cache(type, kv_width), v_cache = b.cache(type, kv_width);
  b.emit(KvAppend{.k = k, .v = v, .k_cache = k_cache, .v_cache = v_cache});
  b.emit(Attention{.q = q,
                   .k_cache = k_cache,
                   .v_cache = v_cache,
                   .out = y,
                   .n_heads = s.n_heads,
                   .n_kv_heads = s.n_kv_heads,
                   .head_dim = s.head_dim,
                   .scale = 0.3F,
                   .window = s.window});
  return b.finish("attention_" + s.name + "_" + std::string(name(type)), y, kAttention, s.steps);
}

OpCase rope_case(const AttentionShape& s, DType type, float scale, bool norms) {
  const uint64_t q_width = s.n_heads * s.head_dim, kv_width = s.n_kv_heads * s.head_dim;
  CaseBuilder b(1100);
  RopeAttention op{.q = b.input(q_width),
                   .k = b.input(kv_width),
                   .v = b.input(kv_width),
                   .q_norm = {},
                   .k_norm = {},
                   .k_cache = b.cache(type, kv_width),
                   .v_cache = b.cache(type, kv_width),
                   .out = b.value(q_width),
                   .rope = rope_table(s.head_dim / 2 - 1, norms ? 0 : 0.1),
                   .n_heads = s.n_heads,
                   .n_kv_heads = s.n_kv_heads,
                   .head_dim = s.head_dim,
                   .window = s.window,
                   .scale = scale,
                   .eps = 1e-6F};
  if (norms) op.q_norm = b.weight(DType::kF32, {s.head_dim});
  if (norms) op.k_norm = b.weight(DType::kF32, {s.head_dim});
  b.emit(op);
  return b.finish("rope_attention_" + s.name + "_" + std::string(name(type)), op.out, rounding_limit(type), s.steps);
}

}  // namespace

std::shared_ptr<RopeTable> rope_table(uint64_t n_pairs, double temperature_beta) {
  auto table = std::make_shared<RopeTable>();
  for (uint64_t i = 0; i < n_pairs; ++i)
    table->inv_freq.push_back(std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(n_pairs)));
  table->mscale = 1.19;
  table->temperature_beta = temperature_beta;
  table->temperature_context = 8;
  return table;
}

std::vector<OpCase> attention_cases() {
  std::vector<OpCase> out;
  for (const AttentionShape& s : attention_shapes())
    for (const DType type : kCacheTypes) {
      if (!fits(s, type)) continue;
      out.push_back(plain_case(s, type));
      out.push_back(rope_case(s, type, 0.2F, type != DType::kBF16));
    }
  return out;
}

// Scores, keys and values of unit variance: queries and keys of unit elements, times the rope table's scale.
std::vector<CacheGate> cache_gates() {
  std::vector<CacheGate> out;
  for (const AttentionShape& s : attention_shapes())
    for (const DType type : kCacheTypes) {
      if (!is_8_bit_cache_type(type) || !fits(s, type)) continue;
      const auto table_scale = static_cast<float>(rope_table(1)->mscale);
      const float scale = 1 / (table_scale * table_scale * std::sqrt(static_cast<float>(s.head_dim)));
      out.push_back({.exact = rope_case(s, DType::kF32, scale, false), .rounded = rope_case(s, type, scale, false)});
    }
  return out;
}

}  // namespace stretto::test
