// Finding a place in the sorted list of tokens without sorting it. A token's rank is its value and then its id, as one
// integer that no other token has; every cut of the chain keeps the ranks from some value on. To find the rank at which
// the count or the weight of the tokens from the top reaches a bound, the grid sums both over bins of the rank's
// leading digit, then of the next digit within the bin that holds the place, and so on. Sums are of integers: exact in
// any order.
#pragma once

#include "base/probability_weight.h"
#include "cuda/device/dependency.cuh"
#include "cuda/sample.h"

namespace stretto::cuda {

inline constexpr uint32_t kSampleThreads = 1024;
inline constexpr int kRankBits = 32 + kIdBits, kTopShift = kRankBits - kDigitBits;
static_assert(kRankBits % kDigitBits == 0 && kBins == 2 * kSampleThreads && kMaxListed == kSampleThreads);

// Larger floats have larger keys; -0 and 0 the same; 0: -infinity and NaN, which are no candidates.
__device__ __forceinline__ uint32_t key_of_logit(float value) {
  if (!(value > -INFINITY)) return 0;
  const uint32_t bits = __float_as_uint(value == 0 ? 0.0f : value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ double logit_of_key(uint32_t key) {
  return static_cast<double>(__uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key));
}
__device__ __forceinline__ uint64_t rank_of(uint32_t key, uint32_t id) {
  return static_cast<uint64_t>(key) << kIdBits | ((1u << kIdBits) - 1 - id);
}
__device__ __forceinline__ uint32_t key_of_rank(uint64_t rank) { return static_cast<uint32_t>(rank >> kIdBits); }
__device__ __forceinline__ int32_t id_of_rank(uint64_t rank) {
  return static_cast<int32_t>((1u << kIdBits) - 1 - (static_cast<uint32_t>(rank) & ((1u << kIdBits) - 1)));
}

// A count and a weight of tokens.
struct Tally {
  uint64_t weight = 0;
  uint32_t count = 0;
};
__device__ __forceinline__ Tally operator+(Tally a, Tally b) { return {a.weight + b.weight, a.count + b.count}; }

struct SampleShared {
  // Weights of a bin in three parts of 15 bits: shared memory adds words natively. A part's sum over a block's share of
  // the tokens stays below 2^32.
  uint32_t count[kBins], part[3][kBins];
  uint64_t warps[kSampleThreads / 32];
  Tally before, inside;
  uint32_t bin;
  bool is_last;
  SampleSettings settings;
  double uniform;
  // Of the step before, for what follows the choice.
  int32_t position, leaving;
  uint32_t n_generated, n_history;
};

template <class T>
__device__ __forceinline__ T scan_warp(T own) {
#pragma unroll
  for (uint32_t step = 1; step < 32; step *= 2) {
    const T before = __shfl_up_sync(0xffffffffu, own, step);
    if (threadIdx.x % 32 >= step) own += before;
  }
  return own;
}

// Inclusive prefix sums over the threads of a block; `total` over all of them. Begins with a barrier.
template <class T>
__device__ __forceinline__ T scan_block(T own, uint64_t* warps, T& total) {
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  own = scan_warp(own);
  __syncthreads();
  if (lane == 31) warps[warp] = own;
  __syncthreads();
  const T sum = scan_warp(static_cast<T>(warps[lane]));
  total = __shfl_sync(0xffffffffu, sum, 31);
  const T before = __shfl_sync(0xffffffffu, sum, warp == 0 ? 0 : warp - 1);
  return warp == 0 ? own : own + before;
}

// A count that many blocks add to and wait for, or look at: what a block wrote before it added is there for those who
// see the sum.
__device__ __forceinline__ uint32_t add_and_see(uint32_t* count) {
  uint32_t before;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(count) : "memory");
  return before + 1;
}
__device__ __forceinline__ uint32_t see(const uint32_t* count) {
  uint32_t now;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(count) : "memory");
  return now;
}

// All blocks of the grid; `n` counts the barriers from 1.
__device__ __forceinline__ void grid_barrier(SampleWords* words, uint32_t n) {
  __syncthreads();
  if (threadIdx.x == 0 && gridDim.x > 1) {
    delay_stores();
    if (add_and_see(&words->n_barrier) < n * gridDim.x)
      while (see(&words->n_barrier) < n * gridDim.x) {
      }
  }
  __syncthreads();
}

// What the chain has left, the same in every thread of the grid.
struct Alive {
  uint64_t lowest = 0;  // rank; those from it on are left
  uint32_t n = 0;
  double temperature = 1;  // divides the logits
  double top = 0;          // the largest logit, divided
  __device__ double value(uint32_t key) const { return logit_of_key(key) / temperature; }
  __device__ uint64_t weight(uint32_t key) const { return probability_weight(value(key) - top); }
  __device__ void divide(double by, uint32_t top_key) {
    temperature = by;
    top = value(top_key);
  }
};

// The bins of one digit: of tokens whose rank begins with `prefix`, the digit from bit `shift` on.
struct Digit {
  uint64_t prefix = 0;
  int shift = kTopShift;
};

// Calls f(token, value(token)) for the tokens of this thread; values are asked for together, since one after the other
// each would take a trip to the L2 cache.
template <class Value, class F>
__device__ __forceinline__ void for_own_tokens(uint32_t n, const Value& value, const F& f) {
  constexpr uint32_t kTogether = 5;  // with 32 blocks a vocabulary of 160000 in one go
  const uint32_t stride = gridDim.x * kSampleThreads;
  for (uint32_t first = blockIdx.x * kSampleThreads + threadIdx.x; first < n; first += kTogether * stride) {
    uint32_t values[kTogether];
#pragma unroll
    for (uint32_t k = 0; k < kTogether; ++k) values[k] = first + k * stride < n ? value(first + k * stride) : 0;
#pragma unroll
    for (uint32_t k = 0; k < kTogether; ++k)
      if (first + k * stride < n) f(first + k * stride, values[k]);
  }
}

// A walk down the digits.
class BinSearch {
 public:
  __device__ BinSearch(const SampleParams& p, SampleShared& s) : p_(p), s_(s) {}

  // Sums the bins over the grid.
  __device__ void fill(const Alive& alive, Digit digit, bool weighted) {
    clear();
    const auto add = [&](uint32_t i, uint32_t key) {
      const uint64_t rank = rank_of(key, i);
      if (key == 0 || rank < alive.lowest || rank >> (digit.shift + kDigitBits) != digit.prefix) return;
      const uint32_t bin = static_cast<uint32_t>(rank >> digit.shift) % kBins;
      atomicAdd(&s_.count[bin], 1);
      if (weighted) add_weight(bin, alive.weight(key));
    };
    for_own_tokens(
        p_.n, [&](uint32_t i) { return p_.keys[i]; }, add);
    __syncthreads();
    const uint32_t set = n_filled_ % kBinSets * kBins;
    for (uint32_t bin = threadIdx.x; bin < kBins; bin += kSampleThreads) {
      if (s_.count[bin] == 0) continue;
      atomicAdd(&p_.bin_count[set + bin], s_.count[bin]);
      if (weighted) atomicAdd(&p_.bin_weight[set + bin], shared_weight(bin));
    }
    grid_barrier(p_.words, ++n_filled_);
  }

  // Sums over the bins of the last fill, from the largest digit on; each thread has two bins.
  __device__ Tally totals(bool weighted) {
    const uint32_t set = (n_filled_ - 1) % kBinSets * kBins + kBins - 1 - 2 * threadIdx.x;
    first_ = {weighted ? __ldcg(&p_.bin_weight[set]) : 0, __ldcg(&p_.bin_count[set])};
    second_ = {weighted ? __ldcg(&p_.bin_weight[set - 1]) : 0, __ldcg(&p_.bin_count[set - 1])};
    Tally all;
    reached_.count = scan_block(first_.count + second_.count, s_.warps, all.count);
    if (weighted) reached_.weight = scan_block(first_.weight + second_.weight, s_.warps, all.weight);
    return all;
  }

  // The bin at which `above` and the bins from the top reach `need` >= 1 (tokens or weight): in s.bin, with what lies
  // before it (`above` included) and in it. Follows totals().
  __device__ void find(Tally above, uint64_t need, bool by_weight) {
    const auto measure = [&](Tally t) { return by_weight ? t.weight : t.count; };
    const Tally end = above + reached_, middle = {end.weight - second_.weight, end.count - second_.count},
                begin = {middle.weight - first_.weight, middle.count - first_.count};
    if (measure(begin) < need && need <= measure(end)) {
      const bool in_first = need <= measure(middle);
      s_.bin = kBins - 1 - 2 * threadIdx.x - (in_first ? 0 : 1);
      s_.before = in_first ? begin : middle;
      s_.inside = in_first ? first_ : second_;
    }
    __syncthreads();
  }

  __device__ uint32_t n_filled() const { return n_filled_; }

 private:
  // The block's bins, and the grid's that the next fill but one will use: their last readers are behind a barrier.
  __device__ void clear() {
    for (uint32_t bin = threadIdx.x; bin < kBins; bin += kSampleThreads)
      s_.count[bin] = s_.part[0][bin] = s_.part[1][bin] = s_.part[2][bin] = 0;
    if (n_filled_ + 1 >= kBinSets) {
      const uint32_t set = (n_filled_ + 1) % kBinSets * kBins;
      for (uint32_t bin = blockIdx.x * kSampleThreads + threadIdx.x; bin < kBins; bin += gridDim.x * kSampleThreads) {
        p_.bin_count[set + bin] = 0;
        p_.bin_weight[set + bin] = 0;
      }
    }
    __syncthreads();
  }
  __device__ void add_weight(uint32_t bin, uint64_t weight) {
    if (weight == 0) return;
    atomicAdd(&s_.part[0][bin], static_cast<uint32_t>(weight) & 0x7fffu);
    atomicAdd(&s_.part[1][bin], static_cast<uint32_t>(weight >> 15) & 0x7fffu);
    atomicAdd(&s_.part[2][bin], static_cast<uint32_t>(weight >> 30));
  }
  __device__ unsigned long long shared_weight(uint32_t bin) const {
    return s_.part[0][bin] + (static_cast<uint64_t>(s_.part[1][bin]) << 15) +
           (static_cast<uint64_t>(s_.part[2][bin]) << 30);
  }

  const SampleParams& p_;
  SampleShared& s_;
  uint32_t n_filled_ = 0;
  Tally first_, second_, reached_;
};

}  // namespace stretto::cuda
