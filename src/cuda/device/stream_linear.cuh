// Products of the persistent stream: the arithmetic of device/gemv_kernel.cuh, units from the rings.
//
// A block owns whole groups of rows; its warps take equal runs of the block's units. Activations were written by other
// blocks of the same launch: they are read past the first-level cache.
//
// What lies between a vector's arrival and the block's own results is what a phase takes where the ring is full: so
// all that does not need the vector comes before the wait for it, and descriptions in shared memory are read once.
#pragma once

#include "cuda/device/gemv_kernel.cuh"
#include "cuda/device/quantize.cuh"
#include "cuda/device/stream_block.cuh"

namespace stretto::cuda {

// Where the input of a phase lies in shared memory.
__device__ __forceinline__ GemvInput input_of(uint32_t padded, StreamBlock& block, uint8_t* at) {
  return {nullptr,
          block.scratch,
          reinterpret_cast<int8_t*>(at),
          reinterpret_cast<float*>(at + padded),
          reinterpret_cast<float*>(at),
          padded};
}

// A thread's elements of a vector, four from `first` on and of every further kStride, and those of its norm's weights:
// with a norm a batch is shorter, since both take registers.
struct StreamX {
  static constexpr uint32_t kSlots = 7, kNormed = 3, kStride = 4 * kStreamThreads;

  const float *const at, *const norm;
  const uint32_t n;
  float4 x[kSlots];

  __device__ __forceinline__ explicit StreamX(const StreamLinear& p) : at(p.x), norm(p.norm), n(p.n_in) {}
  // Elements from one batch to the next.
  __device__ __forceinline__ uint32_t step() const { return (norm != nullptr ? kNormed : kSlots) * kStride; }

  __device__ __forceinline__ void take(uint32_t first, const float* kept) {
#pragma unroll
    for (uint32_t j = 0; j < kSlots; ++j)
      if (first + j * kStride < n) x[j] = *reinterpret_cast<const float4*>(kept + first + j * kStride);
  }
  // `kept` is where it lies in shared memory where no other block has written it, as valid; nullptr: at `at`.
  __device__ __forceinline__ void fetch(uint32_t first, const float* kept) {
#pragma unroll
    for (float4& v : x) v = make_float4(0, 0, 0, 0);
    if (is_usual(kept == nullptr)) {
#pragma unroll
      for (uint32_t j = 0; j < kSlots; ++j) {
        const uint32_t i = first + j * kStride;
        load_now_if(i < n && (j < kNormed || norm == nullptr), x[j], reinterpret_cast<const float4*>(at + i));
      }
    } else {
      take(first, kept);
    }
    if (norm == nullptr) return;
#pragma unroll
    for (uint32_t j = 0; j < kNormed; ++j) {
      const uint32_t i = first + j * kStride;
      float4& w = x[kNormed + j];
      // The first-level cache is small beside the rings and holds what threads spill.
      if (i < n)
        asm volatile("ld.global.nc.L1::no_allocate.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(w.x), "=f"(w.y), "=f"(w.z), "=f"(w.w)
                     : "l"(norm + i));
    }
  }
};

// The batch of `x` that begins at `first`, into shared memory like load_input of device/gemv_input.cuh; with kBoth also
// in the order of formats that are not wide, behind the scales. The sum of the thread's squares, where there is a norm.
template <bool kInteger, bool kWide, bool kBoth>
__device__ __forceinline__ float put_stream_input(StreamX& x, uint32_t first, const GemvInput& in,
                                                  const StreamTurn& turn) {
  float sum = 0;
#pragma unroll
  for (uint32_t j = 0; j < StreamX::kSlots; ++j) {
    const uint32_t i = first + j * StreamX::kStride;
    if (i >= in.padded || (j >= StreamX::kNormed && x.norm != nullptr)) break;
    if (i < x.n) await(x.x[j], reinterpret_cast<const float4*>(x.at + i), turn);
    __syncwarp();
    float4 v = without_flags(x.x[j]);
    if (j < StreamX::kNormed && x.norm != nullptr) {
      const float4 w = x.x[(j + StreamX::kNormed) % StreamX::kSlots];
      sum += square4(v);
      v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
    }
    if constexpr (kInteger) {
      int8_t* const to = in.q + code_at<kWide>(i);
      quantize_four(to, in.scale + i / 32, v, true);
      if constexpr (kBoth)
        *reinterpret_cast<char4*>(in.q + in.padded / 8 * 9 + i) = *reinterpret_cast<const char4*>(to);
    } else {
      *reinterpret_cast<float4*>(in.x + i) = v;
    }
  }
  return sum;
}

// The sums of the warps' squares lie in `scratch`, and a zero behind them.
__device__ __forceinline__ float stream_norm_factor(uint32_t n_in, float eps, const float* scratch) {
  static_assert(kStreamWarps == 15);
  const auto* const sums = reinterpret_cast<const float4*>(scratch);
  const float4 a = sums[0], b = sums[1], c = sums[2], d = sums[3];
  const float sum = ((a.x + b.x) + (c.x + d.x)) + ((a.y + b.y) + (c.y + d.y)) + (((a.z + b.z) + (c.z + d.z))) +
                    ((a.w + b.w) + (c.w + d.w));
  return rms_factor(sum, n_in, eps);
}

// A warp's way through the stages of one matrix, from its first one on, counted from the matrix's begin: one of the
// first kStreamWarps.
struct StreamStages {
  uint32_t i, part;  // the next stage, and which part of its group that is
  const uint32_t n, parts, part_step, units_per_stage, n_units;

  __device__ __forceinline__ StreamStages(const StreamSegment& s, uint32_t n_groups, uint32_t first)
      : i(first),
        part(first - (first * s.parts_inverse >> 16) * s.parts),
        n(n_groups * s.parts),
        parts(s.parts),
        part_step(s.part_step),
        units_per_stage(s.units_per_stage),
        n_units(s.n_units) {}
  __device__ __forceinline__ void advance() {
    i += kStreamWarps;
    part += part_step;
    if (part >= parts) part -= parts;
  }
};

// The warp's stages of one matrix: four partial sums each.
template <class Format>
__device__ __forceinline__ void consume(StreamReader& reader, const StreamLayout& at, StreamStages s,
                                        const GemvInput& in, float* sums, const StreamTurn& turn) {
  const uint32_t lane = threadIdx.x % 32;
  GemvAccumulator<Format> accumulator;
#pragma unroll 1
  for (; s.i < s.n; s.advance()) {
    const uint8_t* unit = reader.acquire(at, turn);
    const uint32_t first = s.part * s.units_per_stage, end = min(first + s.units_per_stage, s.n_units);
#pragma unroll 1
    for (uint32_t u = first; u < end; ++u, unit += Format::kUnitBytes) accumulator.add(unit, in, u, lane);
    const float y = accumulator.finish(lane);
    if (lane % 8 == 0) sums[4 * s.i + lane / 8] = y;
    reader.release(at);
  }
}

// One element of the result: where its partial sums lie, what is added, and where it goes; nullptr: nowhere.
struct StreamTarget {
  const float* sums = nullptr;
  float* to = nullptr;
  float bias = 0, up_bias = 0;
  uint32_t row = 0, parts = 0;

  // Sums are added in order; what is there no more of are zeros.
  __device__ __forceinline__ static float total(const float* at, uint32_t parts) {
    float y = 0;
#pragma unroll 1
    for (uint32_t i = 0; i < parts; i += 4, at += 16) {
      float v[4];
#pragma unroll
      for (uint32_t k = 0; k < 4; ++k) v[k] = i + k < parts ? at[4 * k] : 0;
      y = y + v[0] + v[1] + v[2] + v[3];
    }
    return y;
  }
};

// The elements that a block has of a phase's result, one product behind the other.
template <bool kPair>
class StreamResults {
 public:
  __device__ __forceinline__ StreamResults(const StreamLinear& p, const float* sums)
      : p_(p),
        sums_(sums),
        first_(p.product[0].segment),
        gate_up_(p.gate_up),
        n_first_((gate_up_ ? 2 : 4) * first_.n_groups) {
    if constexpr (kPair) {
      const StreamShare share(p.product[1].segment);
      second_group_ = share.first_group;
      n_second_ = 4 * share.n_groups;
    }
  }
  __device__ __forceinline__ uint32_t size() const { return n_first_ + n_second_; }
  __device__ __forceinline__ uint32_t n_groups(uint32_t k) const { return k == 0 ? first_.n_groups : n_second_ / 4; }

  // What is added to element j of the only product.
  __device__ __forceinline__ void fetch_residual(uint32_t j, float& residual) const {
    const uint32_t row = 4 * first_.first_group + j;
    if (j < n_first_ && row < p_.part[0].n_rows) load_now(residual, p_.residual + row);
  }
  // Element j, one of all.
  __device__ __forceinline__ StreamTarget at(uint32_t j) const {
    const bool second = kPair && j >= n_first_;
    const StreamProduct& product = p_.product[second ? 1 : 0];
    const uint32_t local = second ? j - n_first_ : j, per_group = gate_up_ ? 2 : 4, group = local / per_group;
    StreamTarget t{.parts = product.segment.parts};
    t.sums = sums_ + group * 4 * t.parts + local % per_group;
    if (second) t.sums += n_first_ * p_.product[0].segment.parts;
    uint32_t row = per_group * (second ? second_group_ : first_.first_group) + local;
    t.row = row;
    uint32_t k = product.first_part;
    const uint32_t end = k + product.n_parts;
#pragma unroll 1
    for (; k + 1 < end && row >= p_.part[k].n_rows && !gate_up_; ++k) row -= p_.part[k].n_rows;
    const GemvPart& part = p_.part[k];
    if (row >= part.n_rows) return t;
    t.to = part.out + row;
    if (part.bias != nullptr) t.bias = part.bias[row];
    if (gate_up_ && p_.part[1].bias != nullptr) t.up_bias = p_.part[1].bias[row];
    return t;
  }

 private:
  const StreamLinear& p_;
  const float* const sums_;
  const StreamShare first_;
  const bool gate_up_;
  const uint32_t n_first_;
  uint32_t second_group_ = 0, n_second_ = 0;
};

// The largest key of the block meets those of the others.
__device__ __noinline__ void put_best(unsigned long long key, unsigned long long* best) {
  StreamBlock& block = the_block();
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) key = max(key, __shfl_xor_sync(0xffffffffu, key, mask));
  if (threadIdx.x % 32 == 0) block.best[threadIdx.x / 32] = key;
  sync_block();
  if (threadIdx.x != 0) return;
#pragma unroll 1
  for (uint32_t w = 1; w < kStreamWarps; ++w) key = max(key, block.best[w]);
  atomicMax(best, key);
}

// The block's share of a phase's products; the second format is void for one product. The largest key of a head's rows
// meets those of the other blocks.
template <class First, class Second>
__device__ __noinline__ void run_linear(const StreamTurn turn, unsigned long long* best) {
  constexpr bool kPair = !std::is_void_v<Second>;
  StreamBlock& block = the_block();
  const StreamLinear& p = block.phase[turn.phase % 2].linear;
  const StreamLaps laps(turn);
  uint8_t* const work = shared + block.params.at.work;
  const GemvInput in = input_of(p.padded, block, work);
  float* const sums = reinterpret_cast<float*>(work + p.sums);
  const float eps = p.eps;
  StreamX x(p);
  random_delay();
  x.fetch(4 * threadIdx.x, x.at == nullptr ? sums : nullptr);
  const StreamResults<kPair> results(p, sums);
  float residual = 0;
  StreamTarget target;
  if (threadIdx.x < results.size()) {
    if (p.residual != nullptr) results.fetch_residual(threadIdx.x, residual);
    target = results.at(threadIdx.x);
  }
  const uint32_t begin = block.n_read;
  StreamReader reader = block.reader[threadIdx.x / 32];
  const StreamStages stages(p.product[0].segment, results.n_groups(0), reader.next - begin);
  const StreamLayout at = block.params.at;
  float squares = 0;
#pragma unroll 1
  for (uint32_t first = 4 * threadIdx.x;;) {
    squares += put_stream_input<First::kInteger, is_wide<First>(), kPair>(x, first, in, turn);
    first += x.step();
    if (is_usual(first >= in.padded)) break;
    x.fetch(first, x.at == nullptr ? sums : nullptr);
  }
  if (x.norm != nullptr) {
    squares = warp_sum(squares);
    if (threadIdx.x % 32 == 0) in.scratch[threadIdx.x / 32] = squares;
  }
  sync_block();
  laps.lap(&StreamClock::input);
  laps.note_ring(begin);

  consume<First>(reader, at, stages, in, sums, turn);
  uint32_t n_read = begin + stages.n;
  if constexpr (kPair) {
    static_assert(!is_wide<Second>());
    GemvInput second = in;
    second.q += in.padded / 8 * 9;
    const StreamStages more(p.product[1].segment, results.n_groups(1), reader.next - n_read);
    consume<Second>(reader, at, more, second, sums + 4 * stages.n, turn);
    n_read += more.n;
  }
  __syncwarp();
  if (threadIdx.x % 32 == 0) block.reader[threadIdx.x / 32] = reader;
  const bool gate_up = p.gate_up, is_head = p.is_head;
  float factor = 1;
  if (x.norm != nullptr && threadIdx.x < results.size()) factor = stream_norm_factor(x.n, eps, in.scratch);
  sync_block();
  if (threadIdx.x == 0) block.n_read = n_read;
  laps.lap(&StreamClock::work);

  unsigned long long key = 0;
#pragma unroll 1
  for (uint32_t j = threadIdx.x; j < results.size();) {
    float y = StreamTarget::total(target.sums, target.parts) * factor + without_flag(residual) + target.bias;
    if (gate_up) {
      const float up = StreamTarget::total(target.sums + 2, target.parts) * factor + target.up_bias;
      y = activate(p.act, y) * up;
    }
    if (target.to != nullptr) {
      store_now(target.to, is_head ? y : flagged(y, turn.out));
      if (is_head) key = max(key, stream_key(y, target.row));
    }
    j += kStreamThreads;
    if (j >= results.size()) break;
    target = results.at(j);
    if (p.residual != nullptr) results.fetch_residual(j, residual);
  }
  if (!is_usual(!is_head) && best != nullptr) put_best(key, best);
  laps.lap(&StreamClock::rest);
}

}  // namespace stretto::cuda
