// The persistent stream by clusters (cuda/clusters.h): the kernel, its launch, and the order of its weights.
//
// Parallel over: clusters of sixteen blocks, one block per multiprocessor, sixteen warps that multiply and one that
// feeds them.
// Bytes: the weights of a token once; cache rows once per query head; per layer two exchanges of a vector per cluster
// through the second-level cache.
// Limits: sm_90 (clusters, bulk copies), a cooperative launch.
#include "cuda/clusters.h"
#include "cuda/device/cluster_token.cuh"

namespace stretto::cuda {
namespace {

// The end of a token, where all blocks meet, by thread 0: nothing of a token may be written while another is read.
[[maybe_unused]] __device__ __noinline__ void end_token(const ClusterParams& p, bool is_last) {
  StreamControl& control = *p.control;
  ClusterBlock& block = cluster_block();
  const uint32_t number = block.n_before++, arrived = block.n_arrived += gridDim.x;
  if (blockIdx.x == 0) {
    control.best[(number + 1) % 2] = 0;  // whoever reads that of the token before has done so
    if (p.stop != nullptr && *p.stop != 0) control.stop_at = arrived;
  }
  asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(&control.arrived) : "memory");
  ++block.position;  // the block has done with this token's
  block.run = ClusterRun(p.shape, p.n_ctx, block.share, cluster_rank(), block.position);
  StreamPatience patience{&control, UINT32_MAX - 1};
  while (static_cast<int32_t>(load_acquire(&control.arrived) - arrived) < 0)
    if (patience.is_over()) break;
  const uint32_t token = 0xffffffffu - static_cast<uint32_t>(__ldcg(&control.best[number % 2]));
  const bool late = __ldcg(&control.late_phase) != 0;
  block.token = token;
  block.goes_on = !is_last && !late && __ldcg(&control.stop_at) != arrived;
  if (p.greedy && blockIdx.x == 0 && !late) hand_out(p, static_cast<int32_t>(token), block.position);
}

[[maybe_unused]] __device__ __forceinline__ void begin_block(const ClusterParams& p) {
  ClusterBlock& block = cluster_block();
  const uint32_t n = p.at.barriers - kClusterBlockBytes;
  for (uint32_t i = 16 * threadIdx.x; i < n; i += 16 * blockDim.x)
    shared_at<uint4>(kClusterBlockBytes + i) = make_uint4(0, 0, 0, 0);
  const auto init = [](uint32_t barrier, uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
  };
  const uint32_t n_before = __ldcg(&p.control->n_tokens);
  if (threadIdx.x < kClusterBarriers) {
    const uint32_t barrier = shared_address(&block.arrived[threadIdx.x]);
    init(barrier, 1);
    const uint32_t n_uses = n_before * (p.shape.n_layers + (threadIdx.x == kAttentionIn ? 1 : 0));
    if (n_uses % 2 != 0) expect_bytes(barrier, 0);
  }
  for (uint32_t i = threadIdx.x; i < p.at.n_stages; i += blockDim.x) {
    init(shared_address(shared) + p.at.barriers + 8 * i, 1);
    init(shared_address(shared) + p.at.released + 8 * i, kClusterWarps);
  }
  for (uint32_t i = threadIdx.x; i < p.shape.n_layers; i += blockDim.x) block.layer[i] = p.layers[i];
  if (threadIdx.x == 0) {
    block.stop = false;
    block.broken = 0;
    block.clock = clock64();
    block.token = static_cast<uint32_t>(__ldcg(p.token));
    block.position = static_cast<uint32_t>(__ldcg(&p.state->position));
    block.n_before = n_before;
    block.share = p.shape.share[cluster_number()];
    block.n_arrived = *const_cast<const volatile uint32_t*>(&p.control->arrived_begin);
    block.run = ClusterRun(p.shape, p.n_ctx, p.shape.share[cluster_number()], cluster_rank(), block.position);
  }
  rotate_to(p, static_cast<uint32_t>(__ldcg(&p.state->position)));
  publish_barriers();
  asm volatile("fence.proxy.async;" ::: "memory");
}

template <class Format>
__device__ __forceinline__ void run_tokens(const ClusterParams& p) {
  ClusterBlock& block = cluster_block();
  ClusterToken<Format> token(p);
#pragma unroll 1
  for (uint32_t left = p.n_tokens; left > 0; --left) {
    const uint32_t next = block.position + 1;
    token.run();
    sync_warps();
    rotate_to(p, next);  // while one thread waits for all blocks
    if (threadIdx.x == 0) end_token(p, left == 1);
    sync_warps();
    if (!*const_cast<const volatile bool*>(&block.goes_on)) break;
  }
  if (threadIdx.x != 0) return;
  *const_cast<volatile bool*>(&block.stop) = true;
  if (blockIdx.x != 0) return;
  p.control->arrived_begin = block.n_arrived;
  p.control->n_tokens = block.n_before;
}

template <class Format>
__global__ void __launch_bounds__(kClusterThreads + 32, 1) cluster_kernel(const __grid_constant__ ClusterParams p) {
#if __CUDA_ARCH__ >= 900
  begin_block(p);
  __syncthreads();
  meet_cluster();
  if (threadIdx.x < kClusterThreads) {
    run_tokens<Format>(p);
  } else {
    ClusterFeeder(p, &cluster_block().stop).run(cluster_number(), cluster_rank());
  }
  __syncthreads();
  meet_cluster();  // what is on its way to another block has arrived before that block ends
#endif
}

// f(kernel) for the format of the weights.
template <class F>
void with_kernel(DType type, F&& f) {
  if (type == DType::kQ8_0) return f(&cluster_kernel<ClusterQ8_0>);
  if (type == DType::kF16) return f(&cluster_kernel<ClusterF16>);
  f(&cluster_kernel<ClusterBF16>);
}

cudaLaunchConfig_t config_of(cudaLaunchAttribute* attributes, uint32_t n_clusters, uint32_t shared_bytes) {
  cudaLaunchConfig_t config{};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = kClusterRanks;
  attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeCooperative;
  attributes[1].val.cooperative = 1;
  config.gridDim = dim3(n_clusters * kClusterRanks);
  config.blockDim = dim3(kClusterThreads + 32);
  config.dynamicSmemBytes = shared_bytes;
  config.attrs = attributes;
  config.numAttrs = 2;
  return config;
}

// Sixteen bytes of row `row` from column `column` on, and the scale of that block of 32.
__device__ uint4 read_chunk(DType type, const uint8_t* data, uint32_t n_units, uint32_t row, uint32_t column,
                            uint16_t* scale) {
  if (type == DType::kQ8_0) {
    const uint8_t* unit = data + (uint64_t{row / 4} * n_units + column / 512) * PackedQ8_0::kUnitBytes;
    const uint32_t lane = column % 512 / 16;
    *scale = *reinterpret_cast<const uint16_t*>(unit + 2048 + 8 * (lane / 2) + 2 * (row % 4));
    return *reinterpret_cast<const uint4*>(unit + 512 * (row % 4) + 16 * lane);
  }
  const uint8_t* unit = data + (uint64_t{row / 4} * n_units + column / 256) * PackedF16::kUnitBytes + 512 * (row % 4);
  const auto four = [&](uint32_t c) {
    return *reinterpret_cast<const uint2*>(unit + 16 * (c % 128 / 4) + 8 * (c % 256 / 128));
  };
  const uint2 a = four(column), b = four(column + 4);
  return make_uint4(a.x, a.y, b.x, b.y);
}

struct PackParams {
  ClusterShape shape;
  ClusterSources source;
  uint32_t layer;
  uint8_t* to;
};

// The rows and columns of the packed matrix that row `row` and column `column` of a block's product are.
struct ClusterMap {
  const ClusterShape& s;
  const ClusterShare& share;
  uint32_t rank;

  __device__ uint32_t qkv_row(uint32_t row) const {
    const uint32_t per_kv = s.n_heads / s.n_kv_heads, n_heads = share.n_kv * per_kv;
    const uint32_t i = 4 * rank * share.qkv.n_groups + row, head = i / s.head_dim, d = i % s.head_dim;
    if (head < n_heads) return (share.first_kv * per_kv + head) * s.head_dim + d;
    const uint32_t of_kv = head - n_heads, is_value = of_kv >= share.n_kv ? 1 : 0;
    return (s.n_heads + is_value * s.n_kv_heads + share.first_kv + of_kv - is_value * share.n_kv) * s.head_dim + d;
  }
  // Groups of two rows of the gate and two of `up` (cuda/gemv.h).
  __device__ uint32_t gate_up_row(uint32_t row) const {
    return 4 * (kClusterRun / 2 * share.first_run + rank * share.gate_up.n_groups) + row;
  }
  __device__ uint32_t residual_row(uint32_t row) const { return rank * (s.d / kClusterRanks) + row; }
};

template <class Row>
__device__ uint8_t* pack_product(const PackParams& p, const ClusterProduct& c, const uint8_t* source, uint32_t n_source,
                                 uint32_t first_column, uint32_t n_columns, const Row& row_of, uint8_t* to) {
  const bool integer = p.shape.type == DType::kQ8_0;
  const uint32_t per_unit = integer ? PackedQ8_0::kUnitCols : PackedF16::kUnitCols, chunk = per_unit / 32,
                 warp_bytes = integer ? PackedQ8_0::kUnitBytes : PackedF16::kUnitBytes;
  const uint32_t n_units = (n_source + per_unit - 1) / per_unit, n_threads = 32 * c.n_warps;
  for (uint32_t i = threadIdx.x; i < 4 * c.n_steps * n_threads; i += blockDim.x) {
    const uint32_t step = i / (4 * n_threads), r = i / n_threads % 4, thread = i % n_threads, group = thread / c.lanes;
    const uint32_t column = (step * c.lanes + thread % c.lanes) * chunk, lane = thread % 32;
    uint4 codes = make_uint4(0, 0, 0, 0);
    uint16_t scale = 0;
    if (group < c.n_groups && column < n_columns)
      codes = read_chunk(p.shape.type, source, n_units, row_of(4 * group + r), first_column + column, &scale);
    uint8_t* const warp = to + (uint64_t{step} * c.n_warps + thread / 32) * warp_bytes;
    *reinterpret_cast<uint4*>(warp + 512 * r + 16 * lane) = codes;
    if (integer && lane % 2 == 0) *reinterpret_cast<uint16_t*>(warp + 2048 + 4 * lane + 2 * r) = scale;
  }
  return to + uint64_t{c.n_steps} * c.n_warps * warp_bytes;
}

// One layer; a block writes what a block of a cluster reads.
__global__ void pack_kernel(const PackParams p) {
  const uint32_t cluster = blockIdx.x / kClusterRanks, rank = blockIdx.x % kClusterRanks;
  const ClusterShape& s = p.shape;
  const ClusterShare& share = s.share[cluster];
  const ClusterMap map{s, share, rank};
  const uint32_t per_kv = s.n_heads / s.n_kv_heads, head_columns = s.n_heads * s.head_dim;
  uint8_t* to = p.to + share.begin + (uint64_t{rank} * s.n_layers + p.layer) * share.layer_bytes;
  to = pack_product(
      p, share.qkv, p.source.qkv, s.d, 0, s.d, [&](uint32_t r) { return map.qkv_row(r); }, to);
  const auto residual = [&](uint32_t r) { return map.residual_row(r); };
  to = pack_product(p, share.out, p.source.out, head_columns, share.first_kv * per_kv * s.head_dim,
                    share.n_kv * per_kv * s.head_dim, residual, to);
  to = pack_product(
      p, share.gate_up, p.source.gate_up, s.d, 0, s.d, [&](uint32_t r) { return map.gate_up_row(r); }, to);
  pack_product(p, share.down, p.source.down, s.n_ff, kClusterRun * share.first_run, kClusterRun * share.n_runs,
               residual, to);
}

}  // namespace

void pack_clusters(cudaStream_t stream, const ClusterShape& shape, const ClusterSources* sources, uint8_t* to) {
  for (uint32_t layer = 0; layer < shape.n_layers; ++layer)
    pack_kernel<<<shape.n_clusters * kClusterRanks, 256, 0, stream>>>({shape, sources[layer], layer, to});
  check_cuda(cudaGetLastError(), "the order of the clusters' weights");
}

uint32_t most_clusters(const DeviceShape& device) {
  int n = 0;
  with_kernel(DType::kQ8_0, [&](auto kernel) {
    cudaLaunchAttribute attributes[2];
    const cudaLaunchConfig_t config = config_of(attributes, 1, device.shared_bytes_per_block);
    if (cudaOccupancyMaxActiveClusters(&n, kernel, &config) != cudaSuccess) {
      (void)cudaGetLastError();
      n = 0;
    }
  });
  return static_cast<uint32_t>(n);
}

void prepare_clusters(const DeviceShape& device) {
  for (const DType type : {DType::kQ8_0, DType::kF16, DType::kBF16})
    with_kernel(type, [&](auto kernel) {
      prepare_kernel(kernel, device);
      // Where there are none, most_clusters() says so.
      if (cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeNonPortableClusterSizeAllowed,
                               1) != cudaSuccess)
        (void)cudaGetLastError();
    });
}

void launch_clusters(cudaStream_t stream, const ClusterParams& params) {
  with_kernel(params.shape.type, [&](auto kernel) {
    cudaLaunchAttribute attributes[2];
    cudaLaunchConfig_t config = config_of(attributes, params.shape.n_clusters, params.at.bytes);
    config.stream = stream;
    check_cuda(cudaLaunchKernelEx(&config, kernel, params), "launch of the stream by clusters");
  });
}

}  // namespace stretto::cuda
