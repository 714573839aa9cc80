// What a look costs while all blocks look at the same vector: loads past the first-level cache, in the shapes that the
// persistent stream could use, from one copy of the vector or several, beside little or much shared memory.
//
//   nvcc -O3 -std=c++20 -arch=sm_90a lab/stream_look.cu -o stream_look && ./stream_look
//
// A measurement that was decided on (docs/stream.md, eighth sitting); not part of the build.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kBlocks = 132, kThreads = 512, kLooks = 300, kMostCopies = 16, kCopyFloats = 65536;

enum class Shape { kFloat2, kFloat4, kTwoNeighbours, kTwoApart, kWordOfSector, kWordOfLine };
struct Look {
  const char* name;
  Shape shape;
  int n_threads;
};
constexpr Look kLookList[] = {
    {"1024 as float2, 16 warps", Shape::kFloat2, 512},
    {"1024 as float4, 8 warps", Shape::kFloat4, 256},
    {"1024, two float4 a lane, 16 bytes of every 32, 4 warps", Shape::kTwoNeighbours, 128},
    {"1024, two float4 a lane, 512 bytes apart, 4 warps", Shape::kTwoApart, 128},
    {"2048 as float4, 16 warps", Shape::kFloat4, 512},
    {"1024, a word of each sector, 4 warps", Shape::kWordOfSector, 128},
    {"1024, a word of each line, 1 warp", Shape::kWordOfLine, 32},
};

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(status));
  std::exit(3);
}

__device__ uint32_t load1(const float* p) {
  uint32_t r;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(r) : "l"(p) : "memory");
  return r;
}
__device__ uint32_t load2(const float* p) {
  uint2 r;
  asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];" : "=r"(r.x), "=r"(r.y) : "l"(p) : "memory");
  return r.x | r.y;
}
__device__ uint32_t load4(const float* p) {
  uint4 r;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
               : "l"(p)
               : "memory");
  return r.x | r.y | r.z | r.w;
}

__device__ uint32_t look(Shape shape, const float* p, int t) {
  switch (shape) {
    case Shape::kFloat2:
      return load2(p + 2 * t);
    case Shape::kFloat4:
      return load4(p + 4 * t);
    case Shape::kTwoNeighbours:
      return load4(p + 8 * t) | load4(p + 8 * t + 4);
    case Shape::kTwoApart:
      return load4(p + t / 32 * 256 + t % 32 * 4) | load4(p + t / 32 * 256 + t % 32 * 4 + 128);
    case Shape::kWordOfSector:
      return load1(p + 8 * t);
    case Shape::kWordOfLine:
      return load1(p + 32 * t);
  }
  return 0;
}

// Cycles of a look, for each warp that looks; 0 for the others.
__global__ void look_kernel(const float* vectors, Shape shape, int n_threads, int n_blocks, int n_copies,
                            uint32_t* cycles) {
  const int t = static_cast<int>(threadIdx.x), b = static_cast<int>(blockIdx.x);
  if (t >= n_threads || b >= n_blocks) return;
  const float* const p = vectors + b % n_copies * kCopyFloats;
  const long long begin = clock64();
#pragma unroll 1
  for (int i = 0; i < kLooks; ++i)
    if (look(shape, p, t) != 0) __trap();  // the vectors are zeros; so that each look is waited for
  const long long end = clock64();
  if (t % 32 == 0) cycles[b * 32 + t / 32] = static_cast<uint32_t>((end - begin) / kLooks);
}

void measure(const float* vectors, uint32_t* cycles, const Look& look, int n_blocks, int n_copies, int shared_kb) {
  check(cudaMemset(cycles, 0, kBlocks * 32 * sizeof(uint32_t)));
  for (int i = 0; i < 2; ++i)
    look_kernel<<<kBlocks, kThreads, shared_kb * 1024>>>(vectors, look.shape, look.n_threads, n_blocks, n_copies,
                                                         cycles);
  check(cudaDeviceSynchronize());
  std::vector<uint32_t> all(kBlocks * 32);
  check(cudaMemcpy(all.data(), cycles, all.size() * sizeof(uint32_t), cudaMemcpyDefault));
  std::erase(all, 0U);
  std::sort(all.begin(), all.end());
  std::printf("  %-56s %4u cycles (%u .. %u)\n", look.name, all[all.size() / 2], all.front(), all.back());
}

}  // namespace

int main() {
  float* vectors = nullptr;
  uint32_t* cycles = nullptr;
  check(cudaMalloc(&vectors, kMostCopies * kCopyFloats * sizeof(float)));
  check(cudaMemset(vectors, 0, kMostCopies * kCopyFloats * sizeof(float)));
  check(cudaMalloc(&cycles, kBlocks * 32 * sizeof(uint32_t)));
  check(cudaFuncSetAttribute(look_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 225 * 1024));
  struct Setting {
    int n_blocks, n_copies, shared_kb;
  };
  for (const Setting s :
       {Setting{1, 1, 0}, {16, 1, 0}, {kBlocks, 1, 0}, {kBlocks, 1, 225}, {kBlocks, 4, 0}, {kBlocks, 16, 0}}) {
    std::printf("%d blocks, %d copies, %d KB of shared memory\n", s.n_blocks, s.n_copies, s.shared_kb);
    for (const Look& look : kLookList) measure(vectors, cycles, look, s.n_blocks, s.n_copies, s.shared_kb);
  }
  return 0;
}
