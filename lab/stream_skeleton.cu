// What an exchange of a vector between all blocks costs, and how fast a token's phases could follow each other: every
// exchange and every multiply-add of the layers of Qwen3-0.6B Q8_0 in one cooperative kernel, with random weights that
// lie in shared memory already, no ring, no descriptions, and an attention that only meets and adds.
//
//   nvcc -O3 -std=c++20 -arch=sm_90a lab/stream_skeleton.cu -o stream_skeleton && ./stream_skeleton
//
// A measurement that was decided on (docs/stream.md, seventh sitting); not part of the build.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kThreads = 512, kBlocks = 128, kLayers = 28, kTokens = 24, kWidth = 1024;
constexpr uint32_t kBlockBytes = 150000;                        // of shared memory: one block on a multiprocessor
constexpr uint32_t kWeightBytes = 65536, kScaleOffset = 49152;  // codes, and scales behind them
// Places of a layer's vectors in floats: x, q/k/v, attention, x behind it, gate and up, x of the next layer.
constexpr int kQkv = 1024, kAttention = 5120, kMiddle = 9216, kNext = 10240, kActivated = 11264, kPlaces = 16384;
constexpr int kSums = 3 * kWidth;  // of a layer, 64 bits each: fixed point in the upper 52, contributions in the lower

enum class Mode { kFivePhases, kThreePhases, kFloats, kFloatsInGroups, kSumsOfGroups, kSumsOfAll };

struct Params {
  float* vectors;
  unsigned long long* sums;
  const uint8_t* weights;
  unsigned long long* clocks;  // begin and end of each token
  Mode mode;
};

extern __shared__ __align__(128) uint8_t shared[];
struct Shared {
  uint8_t weights[kWeightBytes];
  int8_t codes[4096];
  float scales[128];
  float squares[kThreads / 32];
};

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(status));
  std::exit(3);
}

__device__ void put(float* to, float v, uint32_t flag) {
  const uint32_t bits = (__float_as_uint(v) & ~1U) | flag;
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(bits) : "memory");
}
__device__ float2 await(const float* from, uint32_t flag) {
  uint2 r;
  do {
    asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];" : "=r"(r.x), "=r"(r.y) : "l"(from) : "memory");
  } while (((r.x & 1) != flag) | ((r.y & 1) != flag));
  return make_float2(__uint_as_float(r.x & ~1U), __uint_as_float(r.y & ~1U));
}
// Sums that carry the number of their contributions: the same bits in any order.
__device__ void add(unsigned long long* to, float v) {
  const unsigned long long one = (static_cast<unsigned long long>(__float2ll_rn(v * 0x1p24F)) << 12) + 1;
  asm volatile("red.relaxed.gpu.global.add.u64 [%0], %1;" ::"l"(to), "l"(one) : "memory");
}
__device__ float2 await(const unsigned long long* from, uint32_t n) {
  unsigned long long x, y;
  do {
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(x), "=l"(y) : "l"(from) : "memory");
  } while ((x & 4095) != (n & 4095) || (y & 4095) != (n & 4095));
  const auto value = [](unsigned long long v) {
    return static_cast<float>(static_cast<long long>(v) >> 12) * 0x1p-24F;
  };
  return make_float2(value(x), value(y));
}

template <int kLanes>
__device__ float meet(float v) {
#pragma unroll
  for (int mask = kLanes / 2; mask > 0; mask /= 2) v += __shfl_xor_sync(~0U, v, mask);
  return v;
}

// Elements i and i + 1 as codes; 16 lanes share a block of 32.
__device__ void quantise(Shared& s, float2 v, int i) {
  const uint32_t half = (threadIdx.x & 16) != 0 ? 0xffff0000U : 0xffffU;
  const float top = __uint_as_float(__reduce_max_sync(half, __float_as_uint(fmaxf(fabsf(v.x), fabsf(v.y)))));
  const float inverse = top > 0 ? __fdividef(127.F, top) : 0;
  const int a = __float_as_int(fmaf(v.x, inverse, 12582912.F)), b = __float_as_int(fmaf(v.y, inverse, 12582912.F));
  *reinterpret_cast<uint16_t*>(s.codes + i) = static_cast<uint16_t>((a & 255) | (b << 8));
  if ((threadIdx.x & 15) == 0) s.scales[i / 32] = top * (1.F / 127);
}
__device__ void put_input(Shared& s, float2 v) {
  const float squares = meet<32>(v.x * v.x + v.y * v.y);
  if (threadIdx.x % 32 == 0) s.squares[threadIdx.x / 32] = squares;
  quantise(s, v, 2 * static_cast<int>(threadIdx.x));
}
__device__ float norm_factor(const Shared& s) {
  float sum = 0;
#pragma unroll
  for (const float square : s.squares) sum += square;
  return rsqrtf(sum * (1.F / kWidth) + 1e-6F);
}

// A row of kColumns by kLanes lanes, 16 columns each at a time.
template <int kColumns, int kLanes>
__device__ float product(const Shared& s) {
  const auto* const weight_scales = reinterpret_cast<const float*>(s.weights + kScaleOffset);
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  float sum = 0;
#pragma unroll
  for (int c = 0; c < kColumns / kLanes / 16; ++c) {
    const int chunk = c * kLanes + lane;
    const int4 w = *reinterpret_cast<const int4*>(s.weights + 16 * threadIdx.x + 8192 * (c % 4));
    const int4 x = *reinterpret_cast<const int4*>(s.codes + 16 * chunk);
    const int dot = __dp4a(w.w, x.w, __dp4a(w.z, x.z, __dp4a(w.y, x.y, __dp4a(w.x, x.x, 0))));
    sum = fmaf(weight_scales[threadIdx.x + 512 * (c % 4)] * s.scales[chunk / 2], static_cast<float>(dot), sum);
  }
  return meet<kLanes>(sum);
}

__device__ float gate_times_up(float y) {
  const float up = __shfl_down_sync(~0U, y, 8);
  return y / (1 + __expf(-y)) * up;
}

// What a block does between the queries and its part of the attention's result, exchanges within the block included.
__device__ float attend(Shared& s, const float* qkv, uint32_t flag) {
  const int t = static_cast<int>(threadIdx.x);
  float2 q = make_float2(0, 0);
  if (t < 256) q = await(qkv + 2 * t, flag);
  __syncthreads();
  if (t < 256) s.scales[t % 128] = q.x + q.y;
  __syncthreads();
  const float y = meet<32>(s.scales[t % 128]);
  s.squares[t / 32] = y;
  __syncthreads();
  return y + norm_factor(s);
}

template <int kPieces>
__device__ void load_input(Shared& s, const float* from, uint32_t flag) {
  float2 v[kPieces];
#pragma unroll
  for (int i = 0; i < kPieces; ++i) v[i] = await(from + kWidth * i + 2 * threadIdx.x, flag);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kPieces; ++i) quantise(s, v[i], kWidth * i + 2 * static_cast<int>(threadIdx.x));
  __syncthreads();
}

// As the stream has them: attention in eight blocks, every vector from its owners to everybody.
__device__ void five_phases(Shared& s, float* at, bool is_first, uint32_t flag) {
  const int t = static_cast<int>(threadIdx.x), b = static_cast<int>(blockIdx.x);
  put_input(s, is_first ? make_float2(1e-3F * static_cast<float>(t), 1) : await(at - kPlaces + kNext + 2 * t, flag));
  __syncthreads();
  const float qkv = product<1024, 16>(s) * norm_factor(s);
  if (t % 16 == 0) put(at + kQkv + b * 32 + t / 16, qkv, flag);
  if (b < 8) {
    __syncthreads();
    const float y = attend(s, at + kQkv + b * 512, flag);
    if (t < 256) put(at + kAttention + b * 256 + t, y, flag);
  }
  load_input<2>(s, at + kAttention, flag);
  const float o = product<2048, 32>(s);
  if (t % 32 == 0 && t < 256) put(at + kMiddle + b * 8 + t / 32, o, flag);
  const float2 v = await(at + kMiddle + 2 * t, flag);
  __syncthreads();
  put_input(s, v);
  __syncthreads();
  const float y = gate_times_up(product<1024, 8>(s) * norm_factor(s));
  if (t % 16 == 0 && t < 384) put(at + kActivated + b * 24 + t / 16, y, flag);
  load_input<3>(s, at + kActivated, flag);
  const float down = product<3072, 32>(s);
  if (t % 32 == 0 && t < 256) put(at + kNext + b * 8 + t / 32, down, flag);
  __syncthreads();
}

// Sixteen blocks for each key/value head, which attend all alike and multiply with their columns of the output
// projection; every block multiplies what it has activated with its columns of `down`: both add to a vector of sums.
__device__ void three_phases(Shared& s, float* at, unsigned long long* sums, bool is_first, uint32_t n, uint32_t flag) {
  const int t = static_cast<int>(threadIdx.x), b = static_cast<int>(blockIdx.x);
  put_input(
      s, is_first ? make_float2(1e-3F * static_cast<float>(t), 1) : await(sums - kSums + kWidth + 2 * t, n * kBlocks));
  __syncthreads();
  const float qkv = product<1024, 16>(s) * norm_factor(s);
  if (t % 16 == 0) put(at + kQkv + b * 32 + t / 16, qkv, flag);
  const float y = attend(s, at + kQkv + b / 16 * 512, flag);
  if (t < 256) s.codes[t] = static_cast<int8_t>(__float_as_int(y));
  if (t < 8) s.scales[t] = 1e-2F;
  __syncthreads();
  const float o = product<256, 8>(s);
  if (t % 8 == 0) add(sums + b % 16 * 64 + t / 8, o);
  const float2 v = await(sums + 2 * t, n * 8);
  __syncthreads();
  put_input(s, v);
  __syncthreads();
  const float activated = gate_times_up(product<1024, 8>(s) * norm_factor(s));
  if (t % 16 == 0 && t < 384) s.codes[2048 + t / 16] = static_cast<int8_t>(__float_as_int(activated));
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 2; ++i) add(sums + kWidth + 512 * i + t, product<32, 1>(s));
}

// Nothing but three exchanges of 1024 values, or of 512 within sixteen blocks.
__device__ void exchanges(Mode mode, float* at, unsigned long long* sums, float2& v, uint32_t n, uint32_t flag) {
  const int t = static_cast<int>(threadIdx.x), b = static_cast<int>(blockIdx.x);
  for (int i = 0; i < 3; ++i, at += 4096, sums += kWidth) {
    __syncthreads();
    if (mode == Mode::kFloats) {
      if (t < 8) put(at + b * 8 + t, v.x, flag);
      v = await(at + 2 * t, flag);
    } else if (mode == Mode::kFloatsInGroups) {
      if (t < 32) put(at + b * 32 + t, v.x, flag);
      if (t < 256) v = await(at + b / 16 * 512 + 2 * t, flag);
    } else if (mode == Mode::kSumsOfGroups) {
      if (t < 64) add(sums + b % 16 * 64 + t, 1);
      v = await(sums + 2 * t, n * 8);
    } else {
      add(sums + t, 1);
      add(sums + 512 + t, 1);
      v = await(sums + 2 * t, n * kBlocks);
    }
  }
}

__global__ void __launch_bounds__(kThreads, 1) token_kernel(const Params p) {
  Shared& s = *reinterpret_cast<Shared*>(shared);
  for (uint32_t i = threadIdx.x; i < kWeightBytes; i += kThreads) s.weights[i] = p.weights[i];
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < (kWeightBytes - kScaleOffset) / 4; i += kThreads)
    reinterpret_cast<float*>(s.weights + kScaleOffset)[i] = 1e-3F;
  __syncthreads();
  const bool is_clock = blockIdx.x == 0 && threadIdx.x == 0;
  float2 v = make_float2(static_cast<float>(threadIdx.x), 1);
  for (uint32_t token = 0; token < kTokens; ++token) {
    const uint32_t n = token + 1, flag = n % 2;
    if (is_clock) p.clocks[2 * token] = clock64();
    for (int layer = 0; layer < kLayers; ++layer) {
      float* const at = p.vectors + layer * kPlaces;
      unsigned long long* const sums = p.sums + layer * kSums;
      if (p.mode == Mode::kFivePhases) {
        five_phases(s, at, layer == 0, flag);
      } else if (p.mode == Mode::kThreePhases) {
        three_phases(s, at, sums, layer == 0, n, flag);
      } else {
        exchanges(p.mode, at, sums, v, n, flag);
      }
    }
    if (p.mode == Mode::kFivePhases) await(p.vectors + (kLayers - 1) * kPlaces + kNext + 2 * threadIdx.x, flag);
    if (p.mode == Mode::kThreePhases) await(p.sums + (kLayers - 1) * kSums + kWidth + 2 * threadIdx.x, n * kBlocks);
    __syncthreads();
    if (is_clock) p.clocks[2 * token + 1] = clock64();
  }
}

void measure(Params p, Mode mode, const char* what) {
  p.mode = mode;
  check(cudaMemset(p.vectors, 0, kLayers * kPlaces * sizeof(float)));
  check(cudaMemset(p.sums, 0, kLayers * kSums * sizeof(*p.sums)));
  void* arguments[] = {&p};
  check(cudaLaunchCooperativeKernel(token_kernel, dim3(kBlocks), dim3(kThreads), arguments, kBlockBytes, nullptr));
  check(cudaDeviceSynchronize());
  std::vector<unsigned long long> clocks(2 * kTokens);
  check(cudaMemcpy(clocks.data(), p.clocks, clocks.size() * sizeof(clocks[0]), cudaMemcpyDefault));
  std::vector<unsigned long long> cycles;
  for (int i = 4; i < kTokens; ++i) cycles.push_back(clocks[2 * i + 1] - clocks[2 * i]);
  std::sort(cycles.begin(), cycles.end());
  std::printf("%-46s %6llu cycles a layer\n", what, cycles[cycles.size() / 2] / kLayers);
}

}  // namespace

int main() {
  Params p{};
  uint8_t* weights = nullptr;
  check(cudaMalloc(&p.vectors, kLayers * kPlaces * sizeof(float)));
  check(cudaMalloc(&p.sums, kLayers * kSums * sizeof(*p.sums)));
  check(cudaMalloc(&p.clocks, 2 * kTokens * sizeof(*p.clocks)));
  check(cudaMalloc(&weights, kWeightBytes));
  std::vector<uint8_t> random(kWeightBytes);
  for (uint8_t& v : random) v = static_cast<uint8_t>(std::rand());
  check(cudaMemcpy(weights, random.data(), kWeightBytes, cudaMemcpyDefault));
  p.weights = weights;
  check(cudaFuncSetAttribute(token_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBlockBytes));
  measure(p, Mode::kFloats, "3 exchanges of floats");
  measure(p, Mode::kFloatsInGroups, "3 exchanges of floats within 16 blocks");
  measure(p, Mode::kSumsOfGroups, "3 exchanges of sums of 8 blocks");
  measure(p, Mode::kSumsOfAll, "3 exchanges of sums of all blocks");
  measure(p, Mode::kFivePhases, "five phases");
  measure(p, Mode::kThreePhases, "three phases");
  return 0;
}
