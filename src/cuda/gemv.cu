// Launch and tuning of device/gemv_kernel.cuh: what is parallel over what, bytes and limits are told there.
#include <algorithm>

#include "cuda/device/gemv_kernel.cuh"

namespace stretto::cuda {
namespace {

// A block's ring leaves no room for the next kernel's block on its SM: that one starts, and fills its ring, when this
// one has read everything. Measured, this is 6-9 % faster per token than two smaller rings side by side, of which the
// second fills while the first still needs the memory.
constexpr uint32_t kRingBytes = 142 << 10, kRingBytesWide = 171 << 10;
// But attention keeps some SMs busy for long; the product after it starts beside it.
constexpr uint32_t kRingBytesBesideAttention = 106 << 10;
constexpr uint32_t kStageBytes = 4608;
constexpr uint32_t kFewUnits = 36, kFewWarps = 8;  // of a block

// A block asks for so much shared memory that one fits on an SM beside the block of the kernel before it, and no two.
// The device puts blocks wherever there is room: without this it put 132 blocks of 34 KB on 46 SMs, three on each.
uint32_t least_shared_bytes(const DeviceShape& device, uint32_t blocks_per_sm) {
  return device.shared_bytes_per_sm / (2 * blocks_per_sm + 1) / 16 * 16;
}

uint32_t warps_of(DType type) {
  uint32_t n = 0;
  visit_packed(type, [&](auto format) { n = kGemvWarps<decltype(format)>; });
  return n;
}

uint32_t pick(uint32_t choice, uint32_t otherwise) { return choice != 0 ? choice : otherwise; }

}  // namespace

bool gemv_supports(DType type) { return unit_shape(type).cols != 0; }

uint32_t gemv_ahead_bytes(DType type, const GemvChoice& choice) {
  // Measured, 3 % of a token of Q4_K_M; twice as much brings 1 %, and other formats lose 0.6 to 4 %, for what the next
  // kernel waits for first is not its weights.
  constexpr uint32_t kAheadBytes = 32000;
  return warps_of(type) > kGemvWarps<PackedQ8_0> ? pick(choice.ahead_bytes, kAheadBytes) : 0;
}

GemvTuning tune_gemv(const PackedShape& shape, bool with_norm, const DeviceShape& device, const GemvChoice& choice,
                     uint32_t run_groups, uint32_t n_tokens) {
  const bool integer = shape.unit.cols == IntegerUnit::kUnitCols;
  const bool tiles = warps_of(shape.type) > kGemvWarps<PackedQ8_0> && takes_tiles(n_tokens);
  const auto padded = static_cast<uint32_t>(shape.n_units() * shape.unit.cols);
  const uint32_t norm = with_norm ? static_cast<uint32_t>(shape.n_in) : 0;
  GemvTuning t;
  t.n_warps = pick(choice.n_warps, warps_of(shape.type));
  t.blocks_per_sm = pick(choice.blocks_per_sm, 1);
  t.units_per_stage = std::max(1U, pick(choice.stage_bytes, kStageBytes) / shape.unit.bytes);
  t.run_groups = run_groups;
  t.trigger = trigger_of(choice.trigger, Trigger::kEntry);
  const uint64_t n_runs = shape.n_groups() / run_groups;
  t.n_blocks = static_cast<uint32_t>(std::min<uint64_t>(n_runs, device.n_sm * t.blocks_per_sm));
  const auto groups = static_cast<uint32_t>((n_runs + t.n_blocks - 1) / t.n_blocks * run_groups);
  // Of so few units fewer warps get whole groups (the output projection of 30B-A3B, measured).
  if (choice.n_warps == 0 && groups * shape.n_units() <= kFewUnits) t.n_warps = std::min(t.n_warps, kFewWarps);
  // No stage that a warp has nothing to put into.
  const auto warp_units = static_cast<uint32_t>((groups * shape.n_units() + t.n_warps - 1) / t.n_warps);
  t.units_per_stage = std::clamp(warp_units, 1U, t.units_per_stage);
  const uint32_t stage = t.units_per_stage * shape.unit.bytes;
  const uint32_t ring = choice.beside_attention                         ? kRingBytesBesideAttention
                        : warps_of(shape.type) > kGemvWarps<PackedQ8_0> ? kRingBytesWide
                                                                        : kRingBytes;
  const uint32_t wanted = pick(choice.ring_bytes, ring) / t.blocks_per_sm;
  t.n_stages = std::clamp(wanted / (stage * t.n_warps), 1U, (warp_units + t.units_per_stage - 1) / t.units_per_stage);
  const auto bytes = [&] {
    return GemvLayout(integer, tiles, padded, norm, t.n_warps, groups, t.n_stages, stage * t.n_stages, n_tokens).bytes;
  };
  while (t.n_stages > 1 && bytes() > device.shared_bytes_per_block) --t.n_stages;
  const uint32_t least = pick(choice.least_bytes, least_shared_bytes(device, t.blocks_per_sm));
  t.shared_bytes = std::max(bytes(), std::min(least, device.shared_bytes_per_block));
  return t;
}

namespace {

void fill_geometry(const PackedShape& shape, const GemvTuning& tuning, GemvParams& params) {
  params.n_in = static_cast<uint32_t>(shape.n_in);
  params.n_units = static_cast<uint32_t>(shape.n_units());
  params.n_groups = static_cast<uint32_t>(shape.n_groups());
  params.run_groups = tuning.run_groups;
  params.units_per_stage = tuning.units_per_stage;
  params.n_stages = tuning.n_stages;
  params.trigger = tuning.trigger;
}

// The smallest that takes so many tokens.
template <class Format>
auto kernel_of(uint32_t n_tokens) {
  return n_tokens <= 1   ? &gemv_kernel<Format, 1>
         : n_tokens <= 2 ? &gemv_kernel<Format, 2>
         : n_tokens <= 4 ? &gemv_kernel<Format, 4>
                         : &gemv_kernel<Format, 8>;
}

// The pairs that quantisers make: q and k next to a better v.
template <class F>
bool visit_pair(DType first, DType second, F&& f) {
  if (first == DType::kQ4_K && second == DType::kQ6_K) return f(&gemv_pair_kernel<PackedQ4_K, PackedQ6_K>), true;
  if (first == DType::kQ5_K && second == DType::kQ6_K) return f(&gemv_pair_kernel<PackedQ5_K, PackedQ6_K>), true;
  return false;
}

}  // namespace

void prepare_gemv(const DeviceShape& device) {
  for (const uint32_t n : kGemvTokens)
    std::apply([&](auto... format) { (prepare_kernel(kernel_of<decltype(format)>(n), device), ...); }, PackedFormats{});
  for (const DType first : {DType::kQ4_K, DType::kQ5_K})
    visit_pair(first, DType::kQ6_K, [&](auto kernel) { prepare_kernel(kernel, device); });
}

void launch_gemv(Queue& queue, const PackedShape& shape, const GemvTuning& tuning, GemvParams params) {
  fill_geometry(shape, tuning, params);
  visit_packed(shape.type, [&](auto format) {
    launch_kernel(queue, kernel_of<decltype(format)>(params.n_tokens), dim3(tuning.n_blocks), 32 * tuning.n_warps,
                  tuning.shared_bytes, params);
  });
}

bool gemv_pair_supports(DType first, DType second) {
  return visit_pair(first, second, [](auto) {});
}

GemvPairTuning tune_gemv_pair(const PackedShape& first, const PackedShape& second, bool with_norm,
                              const DeviceShape& device, const GemvChoice& choice) {
  DeviceShape a = device, b = device;
  const double share = static_cast<double>(first.bytes()) / static_cast<double>(first.bytes() + second.bytes());
  a.n_sm = std::clamp(static_cast<uint32_t>(share * device.n_sm + 0.5), 1U, device.n_sm - 1);
  b.n_sm = device.n_sm - a.n_sm;
  GemvChoice same_block = choice;
  same_block.n_warps = pick(choice.n_warps, warps_of(first.type));
  return {tune_gemv(first, with_norm, a, same_block), tune_gemv(second, with_norm, b, same_block)};
}

void launch_gemv_pair(Queue& queue, const PackedShape& first, const PackedShape& second, const GemvPairTuning& tuning,
                      GemvPairParams params) {
  fill_geometry(first, tuning.first, params.first);
  fill_geometry(second, tuning.second, params.second);
  params.n_first_blocks = tuning.first.n_blocks;
  const uint32_t shared_bytes = std::max(tuning.first.shared_bytes, tuning.second.shared_bytes);
  visit_pair(first.type, second.type, [&](auto kernel) {
    launch_kernel(queue, kernel, dim3(tuning.first.n_blocks + tuning.second.n_blocks), 32 * tuning.first.n_warps,
                  shared_bytes, params);
  });
}

}  // namespace stretto::cuda
