// The sampling chain, on some blocks of 1024 threads with a few tokens per thread. The grid adjusts the logits and
// narrows the list, digit by digit with a barrier over the grid after each (cuda/device/sample_bins.cuh), until few
// enough tokens are left for one block; the block that arrives last sorts those, goes on with the chain, and draws.
// With top-k of some tens the first digit is mostly enough: one barrier. Bytes: logits, keys (and counts and bias where
// they are wanted) once, keys again per digit, all from L2. Limits: 2^19 tokens, a cooperative launch.
#include "cuda/device/sample_bins.cuh"
#include "cuda/sample.h"

namespace stretto::cuda {
namespace {

constexpr uint32_t kMaxCounted = 256;
// More blocks than these make the next step slower, by a third of a microsecond each in a model of 8 GB and by less in
// small ones; measured, the cause is not known (docs/performance.md).
constexpr uint32_t kMaxBlocks = 32;

struct SortShared {
  unsigned long long rank[kMaxListed];
  uint32_t place[kMaxCounted];
};

// What is left for the last block: the tokens with ranks in [lowest, end), from step `step` of the chain on.
struct Rest {
  uint64_t lowest = 0, end = ~uint64_t{0};
  uint32_t step = 0;
  uint64_t total = 0;  // weight of all that step kTopP or the draw chooses from; 0: just of those listed
  uint64_t above = 0;  // weight of tokens before those listed
  bool only_top = false;
};

__device__ float adjusted_logit(const SampleParams& p, const SampleSettings& s, uint32_t i) {
  float logit = __ldg(&p.logits[i]);
  if (s.biased) logit += __ldg(&p.bias[i]);
  if (s.window == 0) return logit;
  const int32_t n = __ldg(&p.counts[i]);
  if (n == 0) return logit;
  const double wide = static_cast<double>(logit);
  const double scaled = wide <= 0 ? wide * s.repeat_penalty : wide / s.repeat_penalty;
  return static_cast<float>(scaled - n * s.frequency_penalty - s.presence_penalty);
}

// Keys of this thread's tokens; the largest rank of the block goes to the grid's.
__device__ void write_keys(const SampleParams& p, SampleShared& s) {
  const SampleSettings& settings = *p.settings;
  uint64_t top = 0;
  const auto keep = [&](uint32_t i, uint32_t key) {
    p.keys[i] = key;
    if (key != 0) top = max(top, rank_of(key, i));
  };
  for_own_tokens(
      p.n, [&](uint32_t i) { return key_of_logit(adjusted_logit(p, settings, i)); }, keep);
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) top = max(top, __shfl_xor_sync(0xffffffffu, top, mask));
  if (threadIdx.x % 32 == 0) s.warps[threadIdx.x / 32] = top;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  top = s.warps[threadIdx.x];
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) top = max(top, __shfl_xor_sync(0xffffffffu, top, mask));
  if (threadIdx.x == 0) atomicMax(&p.words->top, static_cast<unsigned long long>(top));
}

// Where the tokens from the top reach a bound. `bound` gives it from the sum over all tokens left. `filled`: the bins
// of the first digit are, and their totals known. Stops as soon as the place is known to lie among few enough tokens:
// all from the top if `from_top`, else those of its bin.
struct Place {
  Tally total, above;        // above: before the bin
  uint64_t lowest = 0, end;  // ranks of the bin
  uint32_t n_inside = 0;     // tokens of the bin
};
template <class Bound>
__device__ Place find_place(BinSearch& bins, SampleShared& s, const Alive& alive, bool by_weight, bool filled,
                            bool from_top, const Bound& bound) {
  Place place;
  uint64_t need = 0;
  for (Digit digit;; digit.shift -= kDigitBits) {
    if (!filled) bins.fill(alive, digit, by_weight);
    const Tally all = filled ? Tally{0, alive.n} : bins.totals(by_weight);
    filled = false;
    if (digit.shift == kTopShift) {
      place.total = all;
      need = bound(all);
    }
    bins.find(place.above, need, by_weight);
    place.above = s.before;
    place.n_inside = s.inside.count;
    digit.prefix = digit.prefix << kDigitBits | s.bin;
    place.lowest = digit.prefix << digit.shift;
    place.end = (digit.prefix + 1) << digit.shift;
    if (digit.shift == 0 || place.n_inside + (from_top ? place.above.count : 0) <= kMaxListed || place.n_inside == 1)
      return place;
  }
}

// The lowest key whose value is at least `floor`.
__device__ uint32_t lowest_key(const Alive& alive, double floor) {
  uint32_t below = 0x007fffffu, from = 0xff800000u;  // -infinity and infinity
  while (from - below > 1) {
    const uint32_t middle = below + (from - below) / 2;
    (alive.value(middle) >= floor ? from : below) = middle;
  }
  return from;
}

// Runs the chain over the grid until few tokens are left.
__device__ Rest narrow(const SampleParams& p, SampleShared& s, BinSearch& bins) {
  const SampleSettings& settings = s.settings;
  Rest rest;
  rest.only_top = !settings.draws;
  if (!settings.draws) return rest;
  Alive alive;
  bins.fill(alive, {}, false);
  alive.n = bins.totals(false).count;
  const uint32_t top_key = key_of_rank(__ldcg(&p.words->top));
  alive.divide(1, top_key);
  bool filled = true;
  for (; rest.step < settings.n_steps && alive.n > kMaxListed; ++rest.step) {
    const TokenChoice::Step step = settings.steps[rest.step];
    if (step.kind == ChoiceStep::kTemperature) {
      alive.divide(step.value, top_key);
    } else if (step.kind == ChoiceStep::kMinP) {
      alive.lowest = max(alive.lowest, rank_of(lowest_key(alive, alive.top + step.value), (1u << kIdBits) - 1));
      bins.fill(alive, {}, false);
      filled = true;
      alive.n = bins.totals(false).count;
    } else {
      const bool by_weight = step.kind == ChoiceStep::kTopP;
      if (!by_weight && step.value >= alive.n) continue;
      const Place place = find_place(bins, s, alive, by_weight, filled && !by_weight, true, [&](Tally all) -> uint64_t {
        return by_weight ? weight_for_share(step.value, all.weight) : static_cast<uint64_t>(step.value);
      });
      filled = false;
      rest.lowest = alive.lowest = max(alive.lowest, place.lowest);
      rest.total = by_weight ? place.total.weight : 0;
      alive.n = place.above.count + place.n_inside;
      if (alive.n <= kMaxListed) return rest;  // the last block takes this step again, on fewer tokens
    }
  }
  rest.total = 0;
  rest.lowest = alive.lowest;
  if (alive.n <= kMaxListed) return rest;
  const Place place =
      find_place(bins, s, alive, true, false, false, [&](Tally all) { return weight_for_draw(s.uniform, all.weight); });
  rest.lowest = max(alive.lowest, place.lowest);
  rest.end = place.end;
  rest.total = place.total.weight;
  rest.above = place.above.weight;
  return rest;
}

__device__ void list_tokens(const SampleParams& p, const Rest& rest) {
  const auto list = [&](uint32_t i, uint32_t key) {
    const uint64_t rank = rank_of(key, i);
    if (key != 0 && rank >= rest.lowest && rank < rest.end) p.list[atomicAdd(&p.words->n_listed, 1)] = rank;
  };
  for_own_tokens(
      p.n, [&](uint32_t i) { return p.keys[i]; }, list);
}

// Falling order. `size` is n's next power of two. Few tokens: each counts those before it, with as many threads as
// there are; else bitonic.
__device__ void sort_list(SortShared& s, uint32_t n, uint32_t size) {
  const uint32_t i = threadIdx.x;
  if (size <= kMaxCounted) {
    const unsigned long long own = s.rank[i % size];
    uint32_t before = 0;
    for (uint32_t k = i / size; k < n; k += kSampleThreads / size) before += s.rank[k] > own ? 1 : 0;
    if (i < size) s.place[i] = 0;
    __syncthreads();
    if (i % size < n) atomicAdd(&s.place[i % size], before);
    __syncthreads();
    if (i < n) s.rank[s.place[i]] = own;
  } else {
    for (uint32_t run = 2; run <= size; run *= 2) {
      for (uint32_t step = run / 2; step > 0; step /= 2) {
        const uint32_t other = i ^ step;
        if (i < size && other > i) {
          const unsigned long long a = s.rank[i], b = s.rank[other];
          if ((a < b) == ((i & run) == 0)) s.rank[i] = b, s.rank[other] = a;
        }
        __syncthreads();
      }
    }
  }
  __syncthreads();
}

// The rest of the chain and the draw, a token per thread in sorted order.
__device__ int32_t choose_listed(const SampleParams& p, const Rest& rest, SampleShared& s, SortShared& sorted) {
  const SampleSettings& settings = s.settings;
  const uint32_t i = threadIdx.x;
  uint32_t n = __ldcg(&p.words->n_listed), size = 1;
  while (size < n) size *= 2;
  sorted.rank[i] = i < n ? __ldcg(&p.list[i]) : 0;
  __syncthreads();
  sort_list(sorted, n, size);
  if (n == 0) return 0;  // nothing finite: as the sampler of the engine
  Alive alive;
  const uint32_t key = key_of_rank(sorted.rank[i]), top_key = key_of_rank(__ldcg(&p.words->top));
  alive.divide(1, top_key);
  for (uint32_t k = 0; k < rest.step; ++k)
    if (settings.steps[k].kind == ChoiceStep::kTemperature) alive.divide(settings.steps[k].value, top_key);
  uint64_t total = rest.total;
  uint64_t all = 0;
  for (uint32_t k = rest.step; k < settings.n_steps; ++k) {
    const TokenChoice::Step step = settings.steps[k];
    if (step.kind == ChoiceStep::kTemperature) alive.divide(step.value, top_key);
    if (step.kind == ChoiceStep::kTopK) n = static_cast<uint32_t>(min(static_cast<double>(n), step.value));
    if (step.kind == ChoiceStep::kMinP) {
      const bool kept = i < n && (i == 0 || alive.value(key) >= alive.top + step.value);
      n = static_cast<uint32_t>(__syncthreads_count(kept));
    }
    if (step.kind == ChoiceStep::kTopP) {
      const uint64_t seen = scan_block(i < n ? alive.weight(key) : uint64_t{0}, s.warps, all);
      const uint64_t need = weight_for_share(step.value, total != 0 ? total : all);
      n = min(n, 1 + static_cast<uint32_t>(__syncthreads_count(i < n && seen < need)));
    }
    total = 0;
  }
  const uint64_t seen = scan_block(i < n ? alive.weight(key) : uint64_t{0}, s.warps, all);
  const uint64_t need = weight_for_draw(s.uniform, total != 0 ? total : all);
  const auto drawn = static_cast<uint32_t>(__syncthreads_count(i < n && rest.above + seen < need));
  return id_of_rank(sorted.rank[min(drawn, n - 1)]);
}

// What the end of the step needs, asked for at its beginning.
__device__ void read_state(const SampleParams& p, SampleShared& s) {
  const SampleSettings& settings = *p.settings;
  if (threadIdx.x < sizeof(SampleSettings) / sizeof(uint32_t))
    reinterpret_cast<uint32_t*>(&s.settings)[threadIdx.x] = reinterpret_cast<const uint32_t*>(&settings)[threadIdx.x];
  if (threadIdx.x != kSampleThreads - 1) return;
  s.position = p.state->position;
  s.n_generated = p.state->n_generated;
  s.uniform = p.uniforms[s.n_generated % kUniforms];
  s.n_history = settings.n_history;
  const bool leaves = settings.window > 0 && s.n_history >= settings.window;
  s.leaving = leaves ? p.history[s.n_history - settings.window] : -1;
}

// The token goes on into the next step, the host's mailbox and the window.
__device__ void publish(const SampleParams& p, const SampleShared& s, int32_t token) {
  delay_stores();
  const uint32_t n = s.n_generated + 1;
  p.mailbox[n % p.mailbox_size] = uint64_t{n} << 32 | static_cast<uint32_t>(token);
  *p.token = token;
  p.state->position = s.position + 1;
  p.state->n_generated = n;
  if (s.settings.window == 0) return;
  p.history[s.n_history] = token;
  p.settings->n_history = s.n_history + 1;
  atomicAdd(&p.counts[token], 1);
  if (s.leaving >= 0) atomicAdd(&p.counts[s.leaving], -1);
}

__global__ void __launch_bounds__(kSampleThreads) sample_kernel(SampleParams p) {
  __shared__ SampleShared s;
  __shared__ SortShared sorted;
  wait_for_inputs();
  read_state(p, s);
  write_keys(p, s);
  BinSearch bins(p, s);
  const Rest rest = narrow(p, s, bins);
  if (!rest.only_top) list_tokens(p, rest);
  __syncthreads();
  if (threadIdx.x == 0) {
    delay_stores();
    s.is_last = add_and_see(&p.words->n_done) == gridDim.x;
  }
  __syncthreads();
  if (!s.is_last) return;
  const uint64_t top = __ldcg(&p.words->top);
  const int32_t token = !rest.only_top ? choose_listed(p, rest, s, sorted) : top == 0 ? 0 : id_of_rank(top);
  __syncthreads();
  if (threadIdx.x == 0) publish(p, s, token);
  const uint32_t n_sets = min(bins.n_filled(), kBinSets);
  for (uint32_t bin = threadIdx.x; bin < n_sets * kBins; bin += kSampleThreads) {
    p.bin_count[bin] = 0;
    p.bin_weight[bin] = 0;
  }
  if (threadIdx.x == 0) *p.words = {};
}

}  // namespace

void prepare_sample(const DeviceShape& device) { prepare_kernel(&sample_kernel, device); }

void launch_sample(Queue& queue, const DeviceShape& device, const SampleParams& params) {
  const uint32_t needed = (params.n + kSampleThreads - 1) / kSampleThreads;
  const uint32_t most = device.n_sm < kMaxBlocks ? device.n_sm : kMaxBlocks;
  launch_cooperative_kernel(queue, &sample_kernel, dim3(needed < most ? needed : most), kSampleThreads, params);
}

}  // namespace stretto::cuda
