// The persistent kernel (cuda/stream.h) and its launch.
//
// Parallel over: one block per multiprocessor, each with kStreamWarps warps that all stream weights.
// Bytes: the weights of a token once, as the rings read them; cache rows once per group of heads; activations through
// the second-level cache.
// Limits: sm_90 (bulk copies), a cooperative launch.
#include <algorithm>

#include "cuda/device/stream_attention.cuh"
#include "cuda/device/stream_linear.cuh"
#include "cuda/device/stream_swap.cuh"

namespace stretto::cuda {
namespace {

// Into `to`, which is complete after finish_fetch() and a barrier of the block.
__device__ __forceinline__ void fetch_phase(const StreamPhase* from, StreamPhase& to) {
  static_assert(sizeof(StreamPhase) % 16 == 0 && sizeof(StreamPhase) / 16 <= kStreamThreads);
  const uint32_t thread = thread_now();
  if (thread < sizeof(StreamPhase) / 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(&to) + 16 * thread),
                 "l"(reinterpret_cast<const uint4*>(from) + thread)
                 : "memory");
}
__device__ __forceinline__ void finish_fetch() { asm volatile("cp.async.wait_all;" ::: "memory"); }

template <class Format>
__device__ __noinline__ void embed_row(const StreamTurn turn, uint32_t token) {
  const StreamLaps laps(turn);
  const EmbedParams& p = the_block().phase[turn.phase % 2].embed.row;
  const uint32_t warp = threadIdx.x / 32 * gridDim.x + blockIdx.x, lane = threadIdx.x % 32;
  const uint8_t* const group = p.table + uint64_t{token / kUnitRows} * p.n_units * Format::kUnitBytes;
  for (uint32_t u = warp; u < p.n_units; u += gridDim.x * kStreamWarps) {
    float v[Format::kLaneCols];
    decode_lane<Format>(group + u * Format::kUnitBytes, lane, token % kUnitRows, v);
#pragma unroll
    for (uint32_t i = 0; i < Format::kLaneCols; ++i) {
      const uint32_t column = u * Format::kUnitCols + Format::column(lane, i);
      if (column < p.n_in) store_now(p.out + column, flagged(p.scale * v[i], turn.out));
    }
  }
  laps.lap(&StreamClock::work);
}

template <size_t I = 0>
__device__ __forceinline__ void embed_any(const StreamTurn& turn, uint32_t token) {
  if constexpr (I < std::tuple_size_v<PackedFormats>) {
    using Format = std::tuple_element_t<I, PackedFormats>;
    if (Format::kType == the_block().phase[turn.phase % 2].embed.type) {
      embed_row<Format>(turn, token);
    } else {
      embed_any<I + 1>(turn, token);
    }
  }
}

// The cosines and sines of one position, by the last blocks.
__device__ __forceinline__ void fill_ropes(const StreamParams& p, uint32_t position) {
  const uint32_t from_last = gridDim.x - 1 - blockIdx.x;
  if (from_last >= p.n_ropes) return;
  const FillRopeParams& r = p.rope[from_last];
  for (uint32_t i = threadIdx.x; i < r.rows.n_pairs; i += kStreamThreads) {
    double sin, cos;
    sincos(position * r.inv_freq[i], &sin, &cos);
    r.rows.cos[i] = static_cast<float>(cos * r.mscale);
    r.rows.sin[i] = static_cast<float>(sin * r.mscale);
  }
  if (threadIdx.x == 0)
    r.rows.temperature[0] =
        static_cast<float>(1 + r.temperature_beta * log(1 + floor(position / r.temperature_context)));
}

// Nothing of the token has been written there (device/stream_attention.cuh).
__device__ __forceinline__ void clear_partial(const StreamParams& p) {
  for (uint32_t i = threadIdx.x * gridDim.x + blockIdx.x; i < p.n_partial; i += gridDim.x * kStreamThreads)
    p.partial[i] = make_float4(0, 0, 0, 0);
}

// f(First{}, Second{}) for the pairs that quantisers make: q and k next to a better v.
template <class F>
__host__ __device__ bool visit_products(DType first, DType second, F&& f) {
  if (first == DType::kQ4_K && second == DType::kQ6_K) return f(PackedQ4_K{}, PackedQ6_K{}), true;
  if (first == DType::kQ5_K && second == DType::kQ6_K) return f(PackedQ5_K{}, PackedQ6_K{}), true;
  return false;
}

// The phase's format lies in [kFirst, kEnd) of the list.
template <size_t kFirst = 0, size_t kEnd = std::tuple_size_v<PackedFormats>>
__device__ __forceinline__ void linear_of(uint32_t format, const StreamTurn& turn, unsigned long long* best) {
  constexpr size_t kMiddle = (kFirst + kEnd) / 2;
  if constexpr (kFirst == kMiddle) {
    run_linear<std::tuple_element_t<kFirst, PackedFormats>, void>(turn, best);
  } else if (format < kMiddle) {
    linear_of<kFirst, kMiddle>(format, turn, best);
  } else {
    linear_of<kMiddle, kEnd>(format, turn, best);
  }
}

__device__ __forceinline__ void linear_any(const StreamTurn& turn, unsigned long long* best) {
  const StreamLinear& p = the_block().phase[turn.phase % 2].linear;
  if (p.n_products == 1) return linear_of(p.format, turn, best);
  visit_products(p.product[0].type, p.product[1].type,
                 [&](auto first, auto second) { run_linear<decltype(first), decltype(second)>(turn, best); });
}

__device__ __forceinline__ void attention_any(const StreamPhase& at, const StreamTurn& turn) {
  const auto with = [&](auto value) {
    using T = decltype(value);
    at.attention.head_dim == 64 ? run_attention<T, 64>(turn) : run_attention<T, 128>(turn);
  };
  if (at.cache_type == DType::kF16) {
    with(__half{});
  } else {
    with(__nv_bfloat16{});
  }
}

__device__ __forceinline__ void move_to(uint32_t token, uint32_t phase, uint32_t arrived) {
  __syncwarp();
  if (thread_now() % 32 == 0) {
    place().token = token;
    place().phase = phase;
    place().arrived = arrived;
  }
  __syncwarp();
}

// What a usual layer does not have.
__device__ __noinline__ void start_other_phase(const StreamTurn turn) {
  StreamBlock& block = the_block();
  const StreamKind kind = block.phase[turn.phase % 2].kind;
  if (kind != StreamKind::kEmbed) return swap_any(turn, kind, block.position);
  embed_any(turn, block.token);
  fill_ropes(block.params, block.position);
  clear_partial(block.params);
}

__device__ __forceinline__ void start_phase(const StreamParams& p, uint32_t i) {
  const StreamPhase& phase = the_block().phase[i % 2];
  const StreamTurn turn = turn_of(i);
  if (i + 1 < p.n_phases) fetch_phase(p.phases + i + 1, the_block().phase[(i + 1) % 2]);
  if (phase.kind == StreamKind::kLinear) {
    linear_any(turn, p.greedy ? p.control->best + place().token % 2 : nullptr);
  } else if (phase.kind == StreamKind::kAttention) {
    attention_any(phase, turn);
  } else {
    start_other_phase(turn);
  }
}

// The end of a phase where all blocks meet: the rope tables of the first one are read without flags, and nothing of a
// token may be written while another is read.
__device__ __noinline__ void meet_all(uint32_t i, bool is_last) {
  const StreamParams& p = the_block().params;
  const uint32_t t = place().token, n = place().arrived + gridDim.x;
  if (blockIdx.x == 0 && thread_now() == 0) {
    // Whoever reads the word of the token before has done so; that of the next one is written after more meetings.
    if (i == 0) p.control->best[t % 2] = 0;
    if (is_last && p.stop != nullptr && *p.stop != 0) p.control->stop_at = n;
  }
  finish_fetch();
  if (is_last) order_copies();  // the cache's new rows; a fence of each attention would take a microsecond
  const StreamGrid grid(p.control, n);
  grid.arrive();
  grid.wait(i);
  move_to(t, i + 1, n);
}

// To the next phase, which is returned; n_phases at the end of the token.
__device__ __forceinline__ uint32_t end_phase(const StreamParams& p) {
  const uint32_t i = place().phase;
  const bool is_last = i + 1 == p.n_phases;
  if (!is_usual(i != 0 && !is_last)) {
    meet_all(i, is_last);
  } else {
    finish_fetch();
    sync_block();
    if (thread_now() % 32 == 0) place().phase = i + 1;
    __syncwarp();
  }
  return i + 1;
}

// Everybody's view of the token that has been chosen; whether the loop goes on.
__device__ __forceinline__ bool end_token(const StreamParams& p) {
  StreamBlock& block = the_block();
  const uint32_t t = place().token, arrived = place().arrived;
  const uint32_t token = 0xffffffffu - static_cast<uint32_t>(__ldcg(p.control->best + t % 2));
  const bool stops = __ldcg(&p.control->stop_at) == arrived, late = __ldcg(&p.control->late_phase) != 0;
  if (thread_now() == 0) {
    block.token = token;
    ++block.position;
    ++block.n_before;
    atomicAdd(&block.n_begun, 1);
    if (p.greedy && blockIdx.x == 0 && !late) hand_out(p, static_cast<int32_t>(token), block.position);
  }
  move_to(t + 1, 0, arrived);
  return !stops && t + 1 < p.n_tokens;
}

[[maybe_unused]] __device__ __forceinline__ void run_tokens(const StreamParams& p) {
  StreamBlock& block = the_block();
  if (threadIdx.x < kStreamWarps) block.reader[threadIdx.x] = {threadIdx.x, threadIdx.x, 0};
  if (threadIdx.x < 32) block.scratch[threadIdx.x] = 0;
  if (threadIdx.x == 0) {
    block.params = p;
    block.n_read = 0;
    block.clock = clock64();
    block.stop = false;
    block.n_begun = 0;
    block.memory.n_routed = 0;
    block.memory.decision.word = 0;
    block.run_token = UINT32_MAX;
  }
  if (threadIdx.x >= kStreamThreads) {
    StreamFeeder feeder(p, &block.n_begun);
    __syncthreads();
    feeder.run(&block.stop, block.memory.decision);
    return;
  }
  __syncthreads();
  move_to(0, 0, *const_cast<const volatile uint32_t*>(&p.control->arrived_begin));
  if (threadIdx.x == 0) {
    block.token = static_cast<uint32_t>(__ldcg(p.token));
    block.position = static_cast<uint32_t>(__ldcg(&p.state->position));
    block.n_before = __ldcg(&p.control->n_tokens);
  }
  do {
    fetch_phase(p.phases, block.phase[0]);
    finish_fetch();
    sync_block();
    for (uint32_t i = 0; i < p.n_phases; i = end_phase(p)) start_phase(p, i);
  } while (end_token(p));
  if (threadIdx.x == 0) *const_cast<volatile bool*>(&block.stop) = true;
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    p.control->arrived_begin = place().arrived;
    p.control->n_tokens = block.n_before;
  }
}

// Older devices have neither bulk copies nor their fences; ExecutableOptions::has_stream keeps the kernel from them.
__global__ void __launch_bounds__(kStreamThreads + 32, 1) stream_kernel(const __grid_constant__ StreamParams p) {
#if __CUDA_ARCH__ >= 900
  run_tokens(p);
#endif
}

}  // namespace

uint32_t stream_format(DType type) {
  return []<size_t... kI>(DType wanted, std::index_sequence<kI...>) {
    uint32_t format = 0;
    ((std::tuple_element_t<kI, PackedFormats>::kType == wanted ? format = kI : 0), ...);
    return format;
  }
  (type, std::make_index_sequence<std::tuple_size_v<PackedFormats>>{});
}

bool stream_pair_supports(DType first, DType second) {
  return visit_products(first, second, [](auto, auto) {});
}

bool stream_attention_supports(DType cache_type, uint64_t head_dim) {
  const bool type = cache_type == DType::kF16 || cache_type == DType::kBF16;
  return type && (head_dim == 64 || head_dim == 128);
}

StreamLayout stream_layout(const StreamTape& tape, const DeviceShape& device, const StreamChoice& choice) {
  uint32_t work = 0;
  for (const StreamPhase& phase : tape.phases) {
    work = std::max(work, stream_swap_bytes(phase));
    if (phase.kind == StreamKind::kAttention) work = std::max(work, attention_bytes(phase.cache));
    if (phase.kind != StreamKind::kLinear) continue;
    uint32_t stages = 0;
    for (uint32_t i = 0; i < phase.linear.n_products; ++i)
      stages += (phase.linear.product[i].segment.groups + 1) * phase.linear.product[i].segment.parts;
    work = std::max(work, phase.linear.sums + 16 * stages);
  }
  const auto rounded = [](uint32_t bytes) { return (bytes + 127) / 128 * 128; };
  StreamLayout at;
  at.stage_bytes = tape.stage_bytes;
  at.work = rounded(sizeof(StreamBlock));
  at.barriers = at.work + rounded(work);
  const auto place = [&](uint32_t n_stages) {
    at.n_stages = n_stages;
    at.released = at.barriers + 8 * n_stages;
    at.ring = rounded(at.released + 8 * n_stages);
    at.bytes = at.ring + n_stages * at.stage_bytes;
  };
  // A multiple of the warps, so that a warp's places follow each other in steps of as many.
  const uint32_t wanted = choice.ring_bytes != 0 ? choice.ring_bytes : device.shared_bytes_per_block;
  place(std::max(1U, wanted / at.stage_bytes / kStreamWarps) * kStreamWarps);
  while (at.n_stages > 0 && at.bytes > device.shared_bytes_per_block) place(at.n_stages - kStreamWarps);
  if (at.n_stages < kStreamWarps) at.n_stages = 0;
  at.window = std::clamp(choice.window_bytes / at.stage_bytes, 1U, std::max(1U, at.n_stages));
  return at;
}

void prepare_stream(const DeviceShape& device) { prepare_kernel(&stream_kernel, device); }

void launch_stream(cudaStream_t stream, const DeviceShape& device, const StreamParams& params) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(device.n_sm);
  config.blockDim = dim3(kStreamThreads + 32);
  config.dynamicSmemBytes = params.at.bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  check_cuda(cudaLaunchKernelEx(&config, &stream_kernel, params), "launch of the stream");
}

}  // namespace stretto::cuda
