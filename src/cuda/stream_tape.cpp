// The tape of the persistent stream from the ops of a program.
#include <algorithm>

#include "cuda/cache_layout.h"
#include "cuda/stream.h"

namespace stretto::cuda {

StreamPhase& StreamTape::add(StreamKind kind) {
  StreamPhase& phase = phases.emplace_back();
  phase.kind = kind;
  phase.op = node;
  return phase;
}

float* StreamTape::take(uint64_t n) {
  float* const at = scratch;
  scratch += taken(n);
  return at;
}

namespace {

// Whether a matrix may join the products of an open phase: nothing but its encoding differs.
bool joins(const StreamPhase& phase, uint32_t node, const GemvParams& params, DType type) {
  const StreamLinear& linear = phase.linear;
  return phase.kind == StreamKind::kLinear && phase.op == node && !linear.gate_up && linear.x == params.x &&
         linear.residual == nullptr && linear.n_products < kMaxStreamProducts &&
         stream_pair_supports(linear.product[0].type, type);
}

uint32_t n_parts_of(const StreamLinear& linear) {
  if (linear.n_products == 0) return 0;
  const StreamProduct& last = linear.product[linear.n_products - 1];
  return last.first_part + last.n_parts;
}

// Whether their runs are always the same.
bool is_alike(const StreamCache& a, const StreamCache& b) {
  return a.n_heads == b.n_heads && a.n_kv_heads == b.n_kv_heads && a.window == b.window && a.n_splits == b.n_splits &&
         a.min_granules == b.min_granules && a.row_bytes == b.row_bytes;
}

}  // namespace

void StreamTape::add_attention(const DecodeAttentionParams& params, DType cache_type) {
  StreamCache cache{.keys = static_cast<const uint8_t*>(params.k_cache),
                    .values = static_cast<const uint8_t*>(params.v_cache),
                    .n_heads = params.n_heads,
                    .n_kv_heads = params.n_kv_heads,
                    .window = params.window,
                    .n_splits = params.n_splits,
                    .min_granules = params.min_granules,
                    .row_bytes = 2 * params.head_dim};
  cache.head_bytes = uint64_t{params.n_ctx} * cache.row_bytes;
  cache.positions = kCacheGranule * cache.row_bytes <= stage_bytes ? kCacheGranule : kCacheGranule / 2;
  if (cache.positions * cache.row_bytes > stage_bytes) problem = "a stage smaller than eight positions of a cache";
  for (const StreamPhase& phase : phases) {
    if (phase.kind != StreamKind::kAttention) continue;
    if (is_alike(phase.cache, cache)) {
      cache.shape = phase.cache.shape;
      break;
    }
    cache.shape = std::max(cache.shape, phase.cache.shape + 1);
  }
  StreamPhase& phase = add(StreamKind::kAttention);
  phase.cache_type = cache_type;
  phase.attention = params;
  phase.cache = cache;
  StreamSegment& segment = segments.emplace_back();
  segment.cache = cache;
}

void StreamTape::add_product(const PackedShape& shape, const GemvParams& params, bool is_head) {
  const bool integer = shape.unit.cols == unit_shape(DType::kQ8_0).cols;
  if (phases.empty() || !joins(phases.back(), node, params, shape.type)) {
    StreamLinear& opened = add(StreamKind::kLinear).linear;
    opened.x = params.x;
    opened.norm = params.norm;
    opened.residual = params.residual;
    opened.eps = params.eps;
    opened.n_in = static_cast<uint32_t>(shape.n_in);
    opened.padded = static_cast<uint32_t>(shape.n_units() * shape.unit.cols);
    opened.act = params.act;
    opened.integer = integer;
    opened.format = stream_format(shape.type);
    opened.gate_up = params.gate_up;
    opened.sums = ((integer ? opened.padded / 8 * 9 : 4 * opened.padded) + 15) / 16 * 16;
  }
  StreamLinear& linear = phases.back().linear;
  linear.is_head = linear.is_head || is_head;
  if (linear.n_products > 0) linear.sums += linear.padded;  // the codes in the order of the second format too
  const uint32_t first_part = n_parts_of(linear);
  uint32_t n_parts = 0;
  for (const GemvPart& part : params.part) {
    if (part.out == nullptr && part.bias == nullptr) continue;
    CHECK(first_part + n_parts < std::size(linear.part));
    linear.part[first_part + n_parts++] = part;
  }
  if (params.gate_up) linear.part[1] = params.part[1];
  const auto n_groups = static_cast<uint32_t>(shape.n_groups());
  const auto n_units = static_cast<uint32_t>(shape.n_units());
  const uint32_t most_units = std::max(1U, stage_bytes / shape.unit.bytes),
                 parts = (n_units + most_units - 1) / most_units;
  const StreamSegment segment{.weights = params.weights,
                              .groups = n_groups / n_blocks,
                              .extra = n_groups % n_blocks,
                              .offset = offset,
                              .n_units = n_units,
                              .unit_bytes = shape.unit.bytes,
                              .units_per_stage = (n_units + parts - 1) / parts,
                              .parts = parts,
                              .parts_inverse = (1U << 16) / parts + 1,
                              .part_step = kStreamWarps % parts};
  offset = (offset + segment.extra) % n_blocks;
  if (shape.n_in % 4 != 0) problem = "rows that are no multiple of four";
  if (segment.unit_bytes > stage_bytes) problem = "a stage smaller than a unit";
  linear.product[linear.n_products++] = {
      .type = shape.type, .first_part = first_part, .n_parts = n_parts, .segment = segment};
  segments.push_back(segment);
}

}  // namespace stretto::cuda
