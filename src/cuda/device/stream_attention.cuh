// Head norms, rotary embedding, cache append and attention as a phase of the persistent stream: the blocks are divided
// into runs of the context for each group of up to eight query heads (device/head_softmax.cuh). Keys and values of
// earlier tokens come through the ring of weights (device/stream_cache.cuh), on their way long before the phase. The
// blocks of a group join their runs by slices of 32 values of a head, each of which one warp of one block adds up.
#pragma once

#include <algorithm>

#include "cuda/device/head_softmax.cuh"
#include "cuda/device/numeric.cuh"
#include "cuda/device/store.cuh"
#include "cuda/device/stream_cache.cuh"
#include "cuda/device/stream_linear.cuh"

namespace stretto::cuda {

constexpr uint32_t kSumSlots = 8;  // places for the sums of warps, which take turns: their bytes are the ring's

template <class T, int kHeadDim>
struct alignas(16) StreamHeads {
  QueryTiles<T, kHeadDim> q;
  alignas(16) T new_row[2][kHeadDim];  // of keys and values
  float unscale[kHeadsPerBlock];       // later the maxima of all warps
  float top[kStreamWarps][kHeadsPerBlock], sum[kStreamWarps][kHeadsPerBlock];
  alignas(16) float scratch[1][kHeadDim];  // of each head and the key; then the sums, [kSumSlots][heads][kHeadDim]
};

// Of shared memory; bfloat16 has the larger tiles.
template <int kHeadDim>
constexpr uint32_t attention_bytes(uint32_t n_heads) {
  using Heads = StreamHeads<__nv_bfloat16, kHeadDim>;
  return static_cast<uint32_t>(sizeof(Heads)) +
         std::max(kSumSlots * n_heads, n_heads + 1) * kHeadDim * static_cast<uint32_t>(sizeof(float));
}
inline uint32_t attention_bytes(const StreamCache& c) {
  const uint32_t n_heads = std::min(c.n_heads / c.n_kv_heads, kHeadsPerBlock);
  return c.row_bytes == 128 ? attention_bytes<64>(n_heads) : attention_bytes<128>(n_heads);
}

// A lane's dimensions lane + 32 i of a head.
template <int kHeadDim>
struct StreamHead {
  static constexpr int kPer = kHeadDim / 32;
  float v[kPer];

  __device__ __forceinline__ void load(const float* x, uint32_t lane, const StreamTurn& turn) {
    load_valid(
        v, [&](uint32_t i) { return x + lane + 32 * i; }, turn);
#pragma unroll
    for (float& y : v) y = without_flag(y);
  }
  // Normalises and rotates; `scratch` [kHeadDim] is shared memory of the warp.
  __device__ __forceinline__ void prepare(const DecodeAttentionParams& p, const float* x, const float* norm,
                                          float* scratch, uint32_t lane, const StreamTurn& turn) {
    const uint32_t n = p.rows.n_pairs;
    float w[kPer], cos[kPer], sin[kPer], sum = 0;
    // Asked for before the wait: memory takes about a microsecond to answer under the stream of weights.
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const uint32_t d = lane + 32 * i, pair = d < n ? d : d - n;
      w[i] = cos[i] = 1;
      sin[i] = 0;
      if (norm != nullptr) load_now(w[i], norm + d);
      if (d < 2 * n) {
        load_now(cos[i], p.rows.cos + pair);
        load_now(sin[i], p.rows.sin + pair);
      }
    }
    load(x, lane, turn);
#pragma unroll
    for (int i = 0; i < kPer; ++i) sum += v[i] * v[i];
    const float r = norm != nullptr ? rms_factor(warp_sum(sum), kHeadDim, p.eps) : 1;
#pragma unroll
    for (int i = 0; i < kPer; ++i) scratch[lane + 32 * i] = v[i] *= r * w[i];
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const uint32_t d = lane + 32 * i;
      if (d < n) v[i] = v[i] * cos[i] - scratch[d + n] * sin[i];
      if (d >= n && d < 2 * n) v[i] = scratch[d - n] * sin[i] + v[i] * cos[i];
    }
    __syncwarp();
  }
};

// A query into shared memory, times a power of two that brings its largest part to [128, 256), so that no low part is
// lost to the smallest numbers of the type.
template <class T, int kHeadDim>
__device__ __forceinline__ void store_stream_query(StreamHeads<T, kHeadDim>& s, uint32_t head, StreamHead<kHeadDim> y,
                                                   float factor, uint32_t lane) {
  float top = 0;
#pragma unroll
  for (float& v : y.v) {
    v *= factor;
    top = fmaxf(top, fabsf(v));
  }
  const uint32_t exponent = __float_as_uint(warp_max(top)) >> 23;  // biased; all ones for infinity
  const bool in_range = exponent > 7 && exponent < 255;
  const float scale = in_range ? __uint_as_float((261 - exponent) << 23) : 1;
#pragma unroll
  for (int i = 0; i < y.kPer; ++i) s.q.store(head, lane + 32 * i, y.v[i] * scale);
  if (lane == 0) s.unscale[head] = in_range ? __uint_as_float((exponent - 7) << 23) : 1;
}

// A warp each for the queries of the block, the token's key and its value. Queries and key share their code: what is
// run once in a phase takes as long as its instructions take to come.
template <class T, int kHeadDim>
__device__ __forceinline__ void prepare_stream_heads(const DecodeAttentionParams& p, const StreamRun& run,
                                                     uint32_t position, StreamHeads<T, kHeadDim>& s,
                                                     const StreamTurn& turn) {
  const uint32_t task = threadIdx.x / 32, lane = threadIdx.x % 32;
  const bool is_query = task < run.n_heads, is_key = task == run.n_heads;
  if (!is_query && (!run.owns_new || task > run.n_heads + 1)) return;
  StreamHead<kHeadDim> y;
  if (is_query || is_key) {
    const float* const x = is_query ? p.q + (run.first_head + task) * kHeadDim : p.k + run.kv_head * kHeadDim;
    y.prepare(p, x, is_query ? p.q_norm : p.k_norm, s.scratch[task], lane, turn);
  } else {
    y.load(p.v + run.kv_head * kHeadDim, lane, turn);
  }
  if (is_query) {
    constexpr float kLog2E = 1.4426950408889634F;
    const float factor = p.scale * kLog2E * (p.apply_temperature ? __ldcg(p.rows.temperature) : 1);
    return store_stream_query(s, task, y, factor, lane);
  }
  const CacheLayout layout{p.n_kv_heads, p.n_ctx, kHeadDim};
  T* const cache = static_cast<T*>(is_key ? p.k_cache : p.v_cache) + layout.row(run.kv_head, position);
#pragma unroll
  for (int i = 0; i < y.kPer; ++i) {
    const uint32_t column = CacheLayout::column(position, lane + 32 * i, kHeadDim, sizeof(T));
    store_as(&s.new_row[is_key ? 0 : 1][column], y.v[i]);
    if (run.writes) store_as(cache + column, y.v[i]);
  }
}

// Four dimensions of the result.
__device__ __forceinline__ void store_stream_result(const DecodeAttentionParams& p, uint32_t at, float4 y, float sum,
                                                    uint32_t bit) {
  const float scale = 1 / sum;
  store_now(reinterpret_cast<float4*>(p.out + at), make_float4(flagged(y.x * scale, bit), flagged(y.y * scale, bit),
                                                               flagged(y.z * scale, bit), flagged(y.w * scale, bit)));
}

// Partial results lie as [group of heads][run][head][top, sum, nothing, nothing, head_dim values].
template <int kHeadDim>
__device__ __forceinline__ float* stream_partial(const DecodeAttentionParams& p, uint32_t group, uint32_t run,
                                                 uint32_t head) {
  return p.partial + ((uint64_t{group} * p.n_splits + run) * kHeadsPerBlock + head) * (kHeadDim + 4);
}

__device__ __noinline__ void renew_run(const StreamCache& cache) {
  StreamBlock& block = the_block();
  sync_block();  // all have looked
  if (threadIdx.x == kStreamThreads - 1) {
    block.run = StreamRun(cache, block.position);
    block.run_shape = cache.shape;
    block.run_token = block.n_before;
  }
  sync_block();
}
// The block's run of this token, which all caches of a shape have in common: its divisions take half a microsecond.
// Registers are needed for other things.
__device__ __forceinline__ const StreamRun& run_of(const StreamCache& cache) {
  const StreamBlock& block = the_block();
  if (!is_usual(block.run_shape == cache.shape && block.run_token == block.n_before)) renew_run(cache);
  return block.run;
}

// A warp's way through the stages of a run.
template <class T, int kHeadDim>
class StreamAttend {
 public:
  using Softmax = HeadSoftmax<T, kHeadDim>;
  static constexpr uint32_t kRowBytes = kHeadDim * sizeof(T), kHalf = kCacheGranule / 2;

  __device__ StreamAttend(StreamHeads<T, kHeadDim>& s, const StreamRun& run, uint32_t position, const StreamLayout& at,
                          const StreamTurn& turn, uint32_t positions)
      : run_(run), s_(s), at_(at), turn_(turn), lane_(threadIdx.x % 32), position_(position), positions_(positions) {}

  // From stage `begin` of the launch on.
  __device__ __forceinline__ void run(StreamReader& reader, uint32_t begin, Softmax& softmax) {
    uint32_t piece = run_.begin + reader.next - begin;
    for (uint32_t left = slots().n_pairs; left > 0; --left, piece += 2 * kStreamWarps)
      step(reader, piece, true, softmax);
    for (; piece < run_.end; piece += kStreamWarps) step(reader, piece, false, softmax);
    // A short last row.
    if (slots().n_rest > 0 && piece - run_.end < kStreamWarps - slots().n_rest)
      StreamReader::give_back(at_, reader.take(at_, turn_));
  }

 private:
  __device__ __forceinline__ StreamSlots slots() const { return {run_.end - run_.begin, positions_}; }
  __device__ __forceinline__ uint32_t address(uint32_t place) const {
    return shared_address(shared + at_.ring) + place * at_.stage_bytes;
  }
  // Where the row of a lane lies, which has row i % 8 of one of the two halves. From the token's own position on that
  // is the row that this step has made, wherever the weight is not zero: cache rows behind it may hold anything.
  __device__ __forceinline__ uint32_t row_at(uint32_t half, uint32_t from, uint32_t i, uint32_t which) const {
    const bool is_new = run_.owns_new && from + i % 8 >= position_;
    return is_new ? shared_address(s_.new_row[which]) : half + i % 8 * kRowBytes;
  }
  __device__ __forceinline__ typename Softmax::Visible visible(uint32_t from) const {
    return {static_cast<int>(run_.first_position - from), static_cast<int>(position_ + 1 - from)};
  }

  // One piece, or with `two` that of the next row too.
  __device__ __forceinline__ void step(StreamReader& reader, uint32_t piece, bool two, Softmax& softmax) {
    const uint32_t from = piece * positions_, second_piece = piece + kStreamWarps;
    uint32_t from_upper = position_ + 1;
    if (two) from_upper = second_piece * positions_;
    if (!two && positions_ == kCacheGranule) from_upper = from + kHalf;
    float weights[4];
#pragma unroll
    for (uint32_t which = 0; which < 2; ++which) {
      const uint32_t place = reader.take(at_, turn_), second = two ? reader.take(at_, turn_) : place;
      const uint32_t lower = address(place);
      const uint32_t upper = two ? address(second) : lower + (positions_ == kCacheGranule ? kHalf * kRowBytes : 0);
      const uint32_t i = which == 0 ? Softmax::key_of(lane_) : Softmax::value_of(lane_);
      const uint32_t row = i < 8 ? row_at(lower, from, i, which) : row_at(upper, from_upper, i, which);
      if (which == 0) {
        softmax.scores_of(s_.q, row, lane_, weights);
      } else {
        softmax.add_of(row, weights, lane_);
      }
      StreamReader::give_back(at_, place);
      if (two) StreamReader::give_back(at_, second);
      if (which == 0) softmax.weigh(weights, {visible(from), visible(from_upper)}, lane_);
    }
  }

  const StreamRun& run_;
  StreamHeads<T, kHeadDim>& s_;
  const StreamLayout& at_;
  const StreamTurn& turn_;
  const uint32_t lane_, position_, positions_;
};

// Joins the block's warps: unnormalised result of four dimensions of a head, and the head's maximum and sum. The warps
// bring their values to one scale themselves, so that what is left is a sum, in the order of their columns: which warp
// has a column depends on what went through the ring before.
template <class T, int kHeadDim>
__device__ __forceinline__ float4 join_stream_warps(StreamHeads<T, kHeadDim>& s, HeadSoftmax<T, kHeadDim>& softmax,
                                                    const StreamRun& run, uint32_t column, uint32_t n_busy,
                                                    float2* top_and_sum) {
  const uint32_t lane = threadIdx.x % 32, n_heads = run.n_heads;
  softmax.store_counts(s.top[column], s.sum[column], n_heads, lane);
  sync_block();
  const uint32_t n_values = n_heads * kHeadDim, own = min(lane / 4, n_heads - 1);
  float top = kLowestScore;
#pragma unroll
  for (uint32_t w = 0; w < kStreamWarps; ++w) top = fmaxf(top, s.top[w][own]);
  float* const slot = s.scratch[0] + column % kSumSlots * n_values;
  const float factor = exp2f(softmax.top - top);
  if (lane % 4 == 0 && lane / 4 < n_heads) {
    s.sum[column][own] *= factor;
    if (column == 0) s.unscale[own] = top;
  }
  if (column < kSumSlots) softmax.template store_values<false>(slot, factor, n_heads, lane);
  sync_block();
  if (n_busy > kSumSlots) {
    if (column >= kSumSlots) softmax.template store_values<true>(slot, factor, n_heads, lane);
    sync_block();
  }
  const uint32_t quad = min(threadIdx.x, n_values / 4 - 1), head = quad / (kHeadDim / 4);
  float4 y = make_float4(0, 0, 0, 0);
#pragma unroll
  for (uint32_t w = 0; w < kSumSlots; ++w) {
    const float4 v = reinterpret_cast<const float4*>(s.scratch[0] + w * n_values)[quad];
    y = make_float4(y.x + v.x, y.y + v.y, y.z + v.z, y.w + v.w);
  }
  float total = 0;
#pragma unroll
  for (uint32_t w = 0; w < kStreamWarps; ++w) total += s.sum[w][head];
  *top_and_sum = make_float2(s.unscale[head], total);
  return y;
}

// By a warp: 32 values of a head, of all runs, in chunks of 32. A lane has four of them of every fourth run, and what
// one run counts. All that is not there yet is asked for together.
template <int kHeadDim>
__device__ __forceinline__ void join_stream_slice(const DecodeAttentionParams& p, const StreamRun& run, uint32_t slice,
                                                  const StreamTurn& partial, uint32_t bit) {
  constexpr uint32_t kSlices = kHeadDim / 32, kLoads = 8;
  const uint32_t lane = threadIdx.x % 32, head = slice / kSlices, d = slice % kSlices * 32 + lane % 8 * 4;
  float4 y = make_float4(0, 0, 0, 0);
  float top = kLowestScore, sum = 0;
#pragma unroll 1
  for (uint32_t first = 0; first < run.n_active; first += 32) {
    float4 v[kLoads + 1];
    constexpr uint32_t kRun = kHeadsPerBlock * (kHeadDim + 4) / 4;
    const float* const head_begin = stream_partial<kHeadDim>(p, run.group, first, head);
    const auto* const counts = reinterpret_cast<const float4*>(head_begin) + lane * kRun;
    const auto* const values = reinterpret_cast<const float4*>(head_begin + 4 + d) + lane / 8 * kRun;
    const uint32_t left = run.n_active - first;
    const auto has = [&](uint32_t j) { return (j < kLoads ? 4 * j + lane / 8 : lane) < left; };
    const auto at = [&](uint32_t j) { return j < kLoads ? values + 4 * j * kRun : counts; };
#pragma unroll
    for (float4& x : v) x = make_float4(0, 0, 0, 0);
    load_valid(v, has, at, partial);
    const float own = has(kLoads) ? without_flag(v[kLoads].x) : kLowestScore;
    const float new_top = fmaxf(top, warp_max(own)), shrink = exp2f(top - new_top);
    const float weight = has(kLoads) ? exp2f(own - new_top) : 0;
    top = new_top;
    sum = sum * shrink + warp_sum(weight * without_flag(v[kLoads].y));
    y = make_float4(y.x * shrink, y.y * shrink, y.z * shrink, y.w * shrink);
#pragma unroll
    for (uint32_t j = 0; j < kLoads; ++j) {
      const float f = __shfl_sync(0xffffffffu, weight, 4 * j + lane / 8);
      const float4 x = without_flags(v[j]);
      y = make_float4(y.x + f * x.x, y.y + f * x.y, y.z + f * x.z, y.w + f * x.w);
    }
  }
#pragma unroll
  for (int mask = 8; mask <= 16; mask *= 2)
    y = make_float4(y.x + __shfl_xor_sync(0xffffffffu, y.x, mask), y.y + __shfl_xor_sync(0xffffffffu, y.y, mask),
                    y.z + __shfl_xor_sync(0xffffffffu, y.z, mask), y.w + __shfl_xor_sync(0xffffffffu, y.w, mask));
  if (lane < 8) store_stream_result(p, (run.first_head + head) * kHeadDim + d, y, sum, bit);
}

// The block's sums for the others, and its slices of all of them. The lowest bit of each float says whether it belongs
// to this use of its place, as between phases (StreamFlag); a token begins with zeros.
template <int kHeadDim>
__device__ __forceinline__ void join_stream_runs(const DecodeAttentionParams& p, const StreamRun& run, float4 y,
                                                 float2 top_and_sum, uint32_t join, const StreamTurn& turn) {
  StreamTurn partial = turn;
  partial.in = (join + 1) & 1;
  const uint32_t n_quads = run.n_heads * kHeadDim / 4, head = threadIdx.x / (kHeadDim / 4);
  const auto flagged_four = [&](float4 v) {
    return make_float4(flagged(v.x, partial.in), flagged(v.y, partial.in), flagged(v.z, partial.in),
                       flagged(v.w, partial.in));
  };
  if (threadIdx.x < n_quads) {
    const uint32_t d = threadIdx.x % (kHeadDim / 4) * 4;
    auto* const part = reinterpret_cast<float4*>(stream_partial<kHeadDim>(p, run.group, run.index, head));
    store_now(part + 1 + d / 4, flagged_four(y));
    if (d == 0) store_now(part, flagged_four(make_float4(top_and_sum.x, top_and_sum.y, 0, 0)));
  }
  random_delay();
  const uint32_t n_slices = run.n_heads * kHeadDim / 32;
#pragma unroll 1
  for (uint32_t slice = run.index + threadIdx.x / 32 * run.n_active; slice < n_slices;
       slice += run.n_active * kStreamWarps)
    join_stream_slice<kHeadDim>(p, run, slice, partial, turn.out);
}

// What is needed behind the wait for the queries and behind the products is read anew from shared memory, for all
// registers are taken in between.
template <class T, int kHeadDim>
__device__ __noinline__ void run_attention(const StreamTurn turn) {
  StreamBlock& block = the_block();
  const auto phase = []() -> const StreamPhase& { return the_block().phase[place().phase % 2]; };
  using Heads = StreamHeads<T, kHeadDim>;
  const auto heads = []() -> Heads& { return *reinterpret_cast<Heads*>(shared + the_block().params.at.work); };
  const StreamLaps laps(turn);
  const StreamRun& run = run_of(phase().cache);
  if (!run.is_active()) return;
  prepare_stream_heads(phase().attention, run, block.position, heads(), turn);
  sync_block();
  laps.lap(&StreamClock::input);
  laps.note_ring(block.n_read);
  HeadSoftmax<T, kHeadDim> softmax;
  {
    Heads& s = heads();
    const uint32_t lane = threadIdx.x % 32, begin = block.n_read, positions = phase().cache.positions;
    softmax.unscale = s.unscale[lane / 4];
    softmax.is_used = lane / 4 < run.n_heads;
    StreamReader reader = block.reader[threadIdx.x / 32];
    StreamAttend<T, kHeadDim>(s, run, block.position, block.params.at, turn, positions).run(reader, begin, softmax);
    if (lane == 0) block.reader[threadIdx.x / 32] = reader;
    sync_block();
  }
  Heads& s = heads();
  laps.lap(&StreamClock::work);
  const uint32_t column = (block.reader[threadIdx.x / 32].next - block.n_read) % kStreamWarps;
  float2 top_and_sum;
  const float4 y = join_stream_warps(s, softmax, run, column, min(kStreamWarps, run.end - run.begin), &top_and_sum);
  if (threadIdx.x == 0) block.n_read += StreamSlots(run.end - run.begin, phase().cache.positions).n_stages();
  const DecodeAttentionParams& p = phase().attention;
  if (run.n_active > 1) {
    join_stream_runs<kHeadDim>(p, run, y, top_and_sum, phase().join, turn);
  } else if (threadIdx.x < run.n_heads * kHeadDim / 4) {
    store_stream_result(p, run.first_head * kHeadDim + 4 * threadIdx.x, y, top_and_sum.y, turn.out);
  }
  laps.lap(&StreamClock::rest);
}

}  // namespace stretto::cuda
