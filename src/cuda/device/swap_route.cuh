// Routing of one row by one block, in pieces that the routing kernel and the first product of an event share.
//
// The persistent stream does the same with rows that it finds elsewhere (device/stream_swap.cuh).
//
//   fetch()    before the wait: rows of router, switches and read gate
//   decide()   behind it: logits, decision, the network; the same in every thread
//   for_each() the vector after its read, four elements at a time
//
// Ranges of carried rows (ops/swap_streams.h): only where an exponent stands or an element reaches 2^kRowBits is the
// vector scaled, in a second pass.
#pragma once

#include "cuda/device/dependency.cuh"
#include "cuda/device/shared_dots.cuh"
#include "cuda/swap.h"
#include "ops/swap_streams.h"

namespace stretto::cuda {

struct LargestLogit {
  uint32_t index = 0;  // the first of equals; not-a-number loses to everything
  float lead = INFINITY;
};
__device__ __forceinline__ LargestLogit largest_logit(const float* q, uint32_t n) {
  LargestLogit c;
#pragma unroll 1
  for (uint32_t i = 1; i < n; ++i)
    if (q[i] > q[c.index] || (isnan(q[c.index]) && !isnan(q[i]))) c.index = i;
#pragma unroll 1
  for (uint32_t i = 0; i < n; ++i)
    if (i != c.index) c.lead = fminf(c.lead, q[c.index] - q[i]);
  return c;
}

// The decision at a position as the hooks have it: forced, and by the thread that `records`, recorded.
__device__ __forceinline__ uint32_t hooked_decision(const SwapHookParams& hooks, uint32_t position, uint32_t own,
                                                    float margin, bool records) {
  if (hooks.forced != nullptr && position < hooks.n_forced)
    own = static_cast<uint32_t>(hooks.forced[uint64_t{position} * hooks.forced_stride + hooks.column]);
  if (records && hooks.trace != nullptr) {
    float* const row = hooks.trace + uint64_t{position} * hooks.trace_stride;
    row[hooks.column] = static_cast<float>(own);
    row[hooks.margin_column] = margin;
  }
  return own;
}

__device__ __forceinline__ uint32_t map_of(const int32_t* streams) {
  return static_cast<uint32_t>(streams[0]) ^ kStreamOrder;
}

// What a block that routes shares.
template <class Row>
struct SwapRouteShared {
  float logits[kMaxSwapBanks + kSwitches + 1];
  typename SharedDots<typename Row::Team, Row::kWhole>::Sums sums;
};

// The rows of weights and biases of an event's logits: banks, switches, read gate. Row k is k rows behind one of three
// addresses, found without a branch.
struct SwapRouteRows {
  const SwapRouteParams& p;
  uint64_t router, switches, read;

  __device__ __forceinline__ explicit SwapRouteRows(const SwapRouteParams& params)
      : p(params),
        router(reinterpret_cast<uint64_t>(p.router)),
        switches(reinterpret_cast<uint64_t>(p.switches) - uint64_t{p.n_banks} * p.d * sizeof(float)),
        read(reinterpret_cast<uint64_t>(p.read) - (uint64_t{p.n_banks} + kSwitches) * p.d * sizeof(float)) {}
  __device__ __forceinline__ uint32_t n() const { return p.n_banks + kSwitches + 1; }
  __device__ __forceinline__ const float* operator()(uint32_t k) const {
    const uint64_t from = k < p.n_banks ? router : k < p.n_banks + kSwitches ? switches : read;
    return reinterpret_cast<const float*>(from + uint64_t{k} * p.d * sizeof(float));
  }
  __device__ __forceinline__ float bias(uint32_t k) const {
    if (k < p.n_banks) return p.router_bias[k];
    k -= p.n_banks;
    return k < kSwitches ? p.switch_bias[k] : *p.read_bias;
  }
};

constexpr uint32_t kRouteWarps = 8;

// A row of a step where kernels have it: in device memory.
template <bool kIsWhole>
class SwapRow {
 public:
  static constexpr bool kWhole = kIsWhole;  // d is a multiple of four
  static constexpr bool kRowsEarly = true;  // the four rows of memory come with the vector, not when one is chosen
  using Team = BlockTeam<kRouteWarps>;
  __device__ __forceinline__ SwapRow(const SwapRouteParams& p, uint32_t row) : p_(p), row_(row) {}

  // Elements i .. i + 3 of the vector and of the four rows of memory: all loads before the first use.
  __device__ __forceinline__ void load(uint32_t i, float4& of_v, float4 (&of_ram)[kStreams]) const {
    of_v = v(i);
#pragma unroll
    for (uint32_t s = 0; s < kStreams; ++s) of_ram[s] = load4<kWhole>(ram_row(s), i, p_.ram != nullptr ? p_.d : 0);
  }
  __device__ __forceinline__ float4 v(uint32_t i) const { return load4<kWhole>(p_.v + uint64_t{row_} * p_.d, i, p_.d); }
  __device__ __forceinline__ float4 v_again(uint32_t i) const { return v(i); }
  __device__ __forceinline__ float4 ram(uint32_t s, uint32_t i) const {
    return p_.ram != nullptr ? load4<kWhole>(ram_row(s), i, p_.d) : make_float4(0, 0, 0, 0);
  }
  __device__ __forceinline__ bool has_ram() const { return p_.ram != nullptr; }
  __device__ __forceinline__ uint32_t position() const {
    return static_cast<uint32_t>(*p_.position) + p_.first_row + row_;
  }
  __device__ __forceinline__ int32_t field(uint32_t f) const {
    return p_.streams != nullptr ? p_.streams[uint64_t{row_} * kStreamFields + f] : 0;
  }
  // By the thread that records.
  __device__ __forceinline__ void put_field(uint32_t f, int32_t value) const {
    p_.streams_out[uint64_t{row_} * kStreamFields + f] = value;
  }
  __device__ __forceinline__ void put_bank(uint32_t bank) const { p_.bank[row_] = static_cast<int32_t>(bank); }

 private:
  __device__ __forceinline__ const float* ram_row(uint32_t s) const {
    return p_.ram + (uint64_t{row_} * kStreams + s) * p_.d;
  }
  const SwapRouteParams& p_;
  const uint32_t row_;
};

template <class Row>
class SwapRouteBlock {
 public:
  using Team = typename Row::Team;
  using Shared = SwapRouteShared<Row>;
  __device__ __forceinline__ SwapRouteBlock(const SwapRouteParams& p, const Row& row, Shared& shared)
      : p_(p), row_(row), shared_(shared) {}

  __device__ __forceinline__ void fetch() {
    const SwapRouteRows rows(p_);
    dots_.fetch(rows, rows.n(), p_.norm, p_.d);
    if (threadIdx.x < rows.n()) bias_ = rows.bias(threadIdx.x);
  }

  // One thread of the block that `records` writes bank, streams and the trace.
  __device__ __forceinline__ void decide(bool records) {
    if constexpr (Row::kRowsEarly) {
      row_.load(4 * threadIdx.x, early_v_, early_);
    } else {
      early_v_ = row_.v(4 * threadIdx.x);
    }
    int32_t before[kStreamFields];
#pragma unroll
    for (uint32_t f = 0; f < kStreamFields; ++f) before[f] = row_.field(f);
    const SwapRouteRows rows(p_);
    float* const logits = shared_.logits;
    dots_.finish(
        early_v_, [this](uint32_t i) { return row_.v(i); }, rows, rows.n(), p_.norm, p_.d, p_.eps, shared_.sums,
        [rows, logits, bias = bias_](uint32_t k, float dot) {
          logits[k] = dot + (k == threadIdx.x ? bias : rows.bias(k));
        });
    Team::sync();
    const LargestLogit bank = largest_logit(logits, p_.n_banks);
    uint32_t switches = 0;
    float margin = bank.lead;
#pragma unroll
    for (uint32_t j = 0; j < kSwitches; ++j) {
      const float logit = logits[p_.n_banks + j];
      if (logit > 0) switches |= 1U << j;
      margin = fminf(margin, fabsf(logit));
    }
    records_ = records && threadIdx.x == 0;
    uint32_t decision = bank.index << kSwitches | switches;
    if (p_.hooks.forced != nullptr || p_.hooks.trace != nullptr)
      decision = hooked_decision(p_.hooks, row_.position(), decision, margin, records_);
    const uint32_t old_map = map_of(before), map = benes(old_map, decision & 63);
    bank_ = decision >> kSwitches;
    target_ = stream_row(map, 0);
    int ram_exponent = 0, v_exponent = 0;
#pragma unroll
    for (uint32_t s = 0; s < kStreams; ++s) {
      ram_exponent |= before[1 + s] & (row_.has_ram() && s == target_ ? -1 : 0);
      v_exponent |= before[1 + s] & (!p_.first && s == stream_row(old_map, 0) ? -1 : 0);
    }
    exponent_ = max(v_exponent, ram_exponent);
    const float gate = 1 / (1 + expf(-logits[rows.n() - 1]));
    v_factor_ = ldexpf(1, v_exponent - exponent_);
    ram_factor_ = ldexpf(gate, ram_exponent - exponent_);
    if (!records_) return;
    row_.put_bank(bank_);
    row_.put_field(0, static_cast<int32_t>(map ^ kStreamOrder));
#pragma unroll
    for (uint32_t s = 0; s < kStreams; ++s) row_.put_field(1 + s, s == target_ ? exponent_ : before[1 + s]);
  }

  __device__ __forceinline__ uint32_t bank() const { return bank_; }
  __device__ __forceinline__ uint32_t target() const { return target_; }

  // f(i, elements i .. i + 3 of the vector, zeros beyond) for i < n by all threads of the team, whole warps; at times
  // twice, and what the last call has is right. `scratch` is shared memory for 32 floats.
  template <class F>
  __device__ __forceinline__ void for_each(uint32_t n, float* scratch, const F& f) {
    bool outgrown = exponent_ != 0;
#pragma unroll 1
    for (uint32_t i = 4 * threadIdx.x; i < n; i += kStride) {
      const float4 v = value4(i);
      outgrown |= top4(v) >= kLimit;
      f(i, v);
    }
    if (!Team::sync_or(outgrown)) return;
    const float scale = rescale(scratch);
#pragma unroll 1
    for (uint32_t i = 4 * threadIdx.x; i < n; i += kStride) {
      const float4 v = value4(i);
      f(i, make_float4(v.x * scale, v.y * scale, v.z * scale, v.w * scale));
    }
  }

 private:
  static constexpr uint32_t kStride = 4 * 32 * Team::kWarps;
  static constexpr float kLimit = static_cast<float>(uint64_t{1} << kRowBits);

  __device__ __forceinline__ static float top4(float4 v) {
    return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
  }
  __device__ __forceinline__ float4 value4(uint32_t i) const {
    if (i != 4 * threadIdx.x) return joined(row_.v_again(i), row_.ram(target_, i));
    if constexpr (Row::kRowsEarly) {
      return joined(early_v_, early_row());
    } else {
      return joined(early_v_, row_.ram(target_, i));
    }
  }
  __device__ __forceinline__ float4 early_row() const {
    uint4 r = make_uint4(0, 0, 0, 0);  // of bits, lest the compiler chooses among addresses and keeps all in memory
#pragma unroll
    for (uint32_t s = 0; s < kStreams; ++s) {
      const uint32_t mask = s == target_ ? ~0U : 0;
      r.x |= mask & __float_as_uint(early_[s].x);
      r.y |= mask & __float_as_uint(early_[s].y);
      r.z |= mask & __float_as_uint(early_[s].z);
      r.w |= mask & __float_as_uint(early_[s].w);
    }
    return make_float4(__uint_as_float(r.x), __uint_as_float(r.y), __uint_as_float(r.z), __uint_as_float(r.w));
  }
  __device__ __forceinline__ float4 joined(float4 v, float4 r) const {
    return make_float4(v_factor_ * v.x + ram_factor_ * r.x, v_factor_ * v.y + ram_factor_ * r.y,
                       v_factor_ * v.z + ram_factor_ * r.z, v_factor_ * v.w + ram_factor_ * r.w);
  }

  // What the vector is scaled with so that its largest element has its place, and the exponent's new value.
  __device__ __forceinline__ float rescale(float* scratch) {
    float top = 0;
#pragma unroll 1
    for (uint32_t i = 4 * threadIdx.x; i < p_.d; i += kStride) top = fmaxf(top, top4(value4(i)));
    top = warp_max(top);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = top;
    Team::sync();
    top = warp_max(threadIdx.x % 32 < Team::kWarps ? scratch[threadIdx.x % 32] : 0);
    Team::sync();
    if (top == 0) exponent_ = 0;
    if (top == 0 || !isfinite(top)) return store_exponent(0);
    return store_exponent(max(ilogbf(top) - (kRowBits - 1), -exponent_));
  }
  __device__ __forceinline__ float store_exponent(int shift) {
    exponent_ += shift;
    if (records_) row_.put_field(1 + target_, exponent_);
    return ldexpf(1, -shift);
  }

  const SwapRouteParams& p_;
  const Row row_;
  Shared& shared_;
  SharedDots<Team, Row::kWhole> dots_;
  float bias_ = 0;  // of logit threadIdx.x
  float4 early_[Row::kRowsEarly ? kStreams : 1], early_v_;
  float v_factor_ = 1, ram_factor_ = 0;
  uint32_t bank_ = 0, target_ = 0;
  int exponent_ = 0;
  bool records_ = false;
};

}  // namespace stretto::cuda
