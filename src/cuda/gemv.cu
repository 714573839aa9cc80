// Launch and tuning of device/gemv_kernel.cuh: what is parallel over what, bytes and limits are told there.
#include <algorithm>

#include "cuda/device/gemv_kernel.cuh"

namespace stretto::cuda {
namespace {

// Two kernels of the chain share an SM, so that the next one's ring fills while this one runs.
constexpr uint32_t kRingBytesPerSm = 72 << 10;
constexpr uint32_t kStageBytes = 2304;
constexpr uint32_t kWarps = 16;
constexpr uint32_t kStreams = 8;

uint32_t pick(uint32_t choice, uint32_t otherwise) { return choice != 0 ? choice : otherwise; }

}  // namespace

bool gemv_supports(DType type) { return unit_shape(type).cols != 0; }

GemvTuning tune_gemv(const PackedShape& shape, bool with_norm, const DeviceShape& device, const GemvChoice& choice) {
  const bool integer = shape.unit.cols == IntegerUnit::kUnitCols;
  const auto padded = static_cast<uint32_t>(shape.n_units() * shape.unit.cols);
  const uint32_t norm = with_norm ? static_cast<uint32_t>(shape.n_in) : 0;
  GemvTuning t;
  t.n_warps = pick(choice.n_warps, kWarps);
  t.n_streams = std::min(pick(choice.n_streams, kStreams), t.n_warps);
  t.blocks_per_sm = pick(choice.blocks_per_sm, 1);
  t.units_per_stage = std::max(1U, pick(choice.stage_bytes, kStageBytes) / shape.unit.bytes);
  t.n_blocks = static_cast<uint32_t>(std::min<uint64_t>(shape.n_groups(), device.n_sm * t.blocks_per_sm));
  const auto groups = static_cast<uint32_t>((shape.n_groups() + t.n_blocks - 1) / t.n_blocks);
  // No stage that a warp has nothing to put into.
  const auto warp_units = static_cast<uint32_t>((groups * shape.n_units() + t.n_streams - 1) / t.n_streams);
  t.units_per_stage = std::clamp(warp_units, 1U, t.units_per_stage);
  const uint32_t stage = t.units_per_stage * shape.unit.bytes;
  const uint32_t wanted = pick(choice.ring_bytes, kRingBytesPerSm) / t.blocks_per_sm;
  t.n_stages = std::clamp(wanted / (stage * t.n_streams), 1U, (warp_units + t.units_per_stage - 1) / t.units_per_stage);
  const auto bytes = [&] {
    return GemvLayout(integer, padded, norm, t.n_streams, groups, t.n_stages, stage * t.n_stages).bytes;
  };
  while (t.n_stages > 1 && bytes() > device.shared_bytes_per_block) --t.n_stages;
  t.shared_bytes = bytes();
  return t;
}

void prepare_gemv(const DeviceShape& device) {
  std::apply([&](auto... format) { (prepare_kernel(&gemv_kernel<decltype(format)>, device), ...); }, PackedFormats{});
}

void launch_gemv(Queue& queue, const PackedShape& shape, const GemvTuning& tuning, GemvParams params) {
  params.n_in = static_cast<uint32_t>(shape.n_in);
  params.n_units = static_cast<uint32_t>(shape.n_units());
  params.n_groups = static_cast<uint32_t>(shape.n_groups());
  params.n_streams = tuning.n_streams;
  params.units_per_stage = tuning.units_per_stage;
  params.n_stages = tuning.n_stages;
  visit_packed(shape.type, [&](auto format) {
    launch_kernel(queue, &gemv_kernel<decltype(format)>, dim3(tuning.n_blocks), 32 * tuning.n_warps,
                  tuning.shared_bytes, params);
  });
}

}  // namespace stretto::cuda
