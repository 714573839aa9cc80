// The persistent stream: one cooperative kernel runs whole tokens, from the embedding to the chosen id, one block per
// multiprocessor. The lowered program is its tape: a list of phases between which all blocks meet, and a list of weight
// runs (segments) that the rings of the warps read ahead through all phases of all tokens, so that device memory never
// sees the end of a phase. docs/stream.md has the design and what was measured.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/arg_max.h"
#include "cuda/decode_attention.h"
#include "cuda/gemv.h"
#include "cuda/packed.h"
#include "cuda/rope.h"
#include "cuda/rows.h"
#include "cuda/swap.h"

namespace stretto::cuda {

// Warps that multiply, and one more that feeds them.
inline constexpr uint32_t kStreamWarps = 15, kStreamThreads = 32 * kStreamWarps;
inline constexpr uint32_t kMaxStreamProducts = 2, kMaxStreamRopes = 2;

// What an attention reads of its cache, in pieces of so many positions of a head, a stage of the ring each for keys and
// for values (device/stream_cache.cuh).
struct StreamCache {
  const uint8_t* keys = nullptr;  // of head 0
  const uint8_t* values = nullptr;
  uint64_t head_bytes = 0;  // from one head to the next
  uint32_t n_heads = 0, n_kv_heads = 0, window = 0;
  uint32_t n_splits = 1, min_granules = 1;  // cuda/decode_attention.h
  uint32_t row_bytes = 0, positions = 0;
  uint32_t shape = 0;  // the same number: the same but for the pointers
};

// Rows of one matrix: block b, counted from `offset` on, takes `groups` groups and one of the `extra` that are left
// over. Offsets go round from segment to segment, so that all blocks stream equally much in the long run.
struct StreamSegment {
  const uint8_t* weights = nullptr;
  uint32_t groups = 0, extra = 0, offset = 0;
  uint32_t n_units = 0;  // of a group
  uint32_t unit_bytes = 0, units_per_stage = 0;
  uint32_t parts = 0;          // stages of a group
  uint32_t parts_inverse = 0;  // (i * parts_inverse) >> 16 is i / parts for i below kStreamWarps
  uint32_t part_step = 0;      // kStreamWarps % parts
  bool routed = false;         // the first of an event of a swap layer: it waits for the block's routing
  bool keeps_bank = false;     // it is read again soon: leave it in the second-level cache
  uint64_t bank_bytes = 0;     // of a swap layer's banks: `weights` are those of bank 0; 0 for other matrices
  StreamCache cache = {};      // instead of rows, where it has keys
};

struct StreamProduct {
  DType type = DType::kF32;
  uint32_t first_part = 0, n_parts = 0;
  StreamSegment segment;  // as the rings read it
};

// out = finish(W f(x)) as in cuda/gemv.h, for one or two matrices with the same input.
struct StreamLinear {
  const float* x = nullptr;  // nullptr: the phase in front has left it in shared memory, at `sums`
  const float* norm = nullptr;
  const float* residual = nullptr;
  float eps = 0;
  uint32_t n_in = 0, padded = 0, n_products = 0;
  Activation act = Activation::kSilu;
  bool integer = false, gate_up = false, is_head = false;
  uint32_t format = 0;  // of the first product: which one of the list of device/stored_formats.cuh
  uint32_t sums = 0;    // bytes of the input in shared memory; partial sums lie behind it
  StreamProduct product[kMaxStreamProducts] = {};
  GemvPart part[3] = {};
};

struct StreamEmbed {
  DType type = DType::kF32;
  EmbedParams row = {};
};

// Vectors between phases carry their validity: the lowest bit of each float (one unit in the last place) says whether
// it belongs to the running use of its place, which is the opposite of what the use before left. So readers wait for
// the data itself, and there is neither fence nor barrier on the way.
struct StreamFlag {
  uint32_t use = 0;        // of the place, within a token
  uint32_t per_token = 0;  // uses of the place in a token
};

// The phases of a swap layer (device/stream_swap.cuh). Every block keeps the layer's map, exponents and the places of
// its four rows in its own shared memory; a row is the result of the event that wrote it, where that lies.
struct StreamNormRow {
  const float *x = nullptr, *weight = nullptr;
  float* out = nullptr;
  uint32_t d = 0;
  float eps = 0;
};
struct StreamRoute {
  SwapRouteParams op = {};    // of it `ram` and `streams` with `begins` only: as states [n_ctx, ...], nullptr: zeros
  bool begins = false;        // of its layer
  float* residual = nullptr;  // [d]: a block's own rows of what goes on from here, for its rows of `down`
  const float* result = nullptr;  // [d]: of the event, the row that it writes
  uint32_t kept = 0, padded = 0;  // where the vector goes in the work memory, how many elements
  StreamSegment down = {};        // of the event
};
struct StreamCollapse {
  SwapCollapseParams op = {};
};
struct StreamState {
  float* ram = nullptr;        // [n_ctx, 4, d]
  int32_t* streams = nullptr;  // [n_ctx, kStreamFields]
  uint32_t d = 0;
};

enum class StreamKind : uint32_t { kEmbed, kLinear, kAttention, kNormRow, kRoute, kCollapse, kState };
struct alignas(16) StreamPhase {
  StreamKind kind = StreamKind::kEmbed;
  uint32_t op = 0;  // index of the program's node
  StreamFlag in, out;
  StreamEmbed embed;
  StreamLinear linear;
  DecodeAttentionParams attention;
  DType cache_type = DType::kF16;
  StreamCache cache = {};
  uint32_t join = 0;  // how often the place of its partial results was used before, within a token
  StreamNormRow norm_row;
  StreamRoute route;
  StreamCollapse collapse;
  StreamState state;
};

// Cycles that a block spent in a phase; thread 0's view.
struct StreamClock {
  uint32_t wait = 0;   // between the phase before and this one
  uint32_t input = 0;  // until the input, for which the other blocks are waited, lies in shared memory
  uint32_t work = 0;   // until the last product or key is done
  uint32_t rest = 0;   // until the results are written
  uint32_t sm = 0;     // the multiprocessor
  uint32_t ring = 0;   // stages that had arrived when the work began
};

// Of all launches, in device memory. A wait of a thread that lasts longer than kStreamPatience cycles ends all waiting:
// the kernel runs to its end with garbage and leaves the phase here.
struct StreamControl {
  uint32_t arrived = 0;        // blocks at barriers, running on for ever
  uint32_t arrived_begin = 0;  // at the launch's begin
  uint32_t n_tokens = 0;       // run since the places of the vectors were cleared
  uint32_t late_phase = 0;     // ~the first phase that waited in vain
  uint32_t stop_at = 0;        // the value of `arrived` at which the host's wish to stop was seen
  unsigned long long best[2] = {0, 0};
};
inline constexpr uint64_t kStreamPatience = uint64_t{4} << 30;  // about two seconds

// Where the parts of shared memory begin.
struct StreamLayout {
  uint32_t n_stages = 0, stage_bytes = 0;
  uint32_t window = 0;  // stages under way at a time, at most
  uint32_t work = 0, barriers = 0, released = 0, ring = 0, bytes = 0;
};

// What a launch runs, and where its tokens go: as ArgMaxParams.
struct StreamLaunch {
  StreamControl* control = nullptr;
  StreamClock* clocks = nullptr;  // [n_phases][blocks], nullptr: not wanted
  uint32_t n_tokens = 1;
  bool greedy = false;
  int32_t* token = nullptr;
  StepState* state = nullptr;
  volatile uint64_t* mailbox = nullptr;
  uint32_t mailbox_size = 0;
  const volatile uint32_t* stop = nullptr;  // host memory; set: no token beyond the running one
};

struct StreamParams : StreamLaunch {
  const StreamPhase* phases = nullptr;
  const StreamSegment* segments = nullptr;
  uint32_t n_phases = 0, n_segments = 0;
  StreamLayout at;
  FillRopeParams rope[kMaxStreamRopes] = {};
  uint32_t n_ropes = 0;
  uint32_t vocab = 0;
  // The partial results of all attentions, as 16 bytes each; zeros before the first of a token.
  float4* partial = nullptr;
  uint32_t n_partial = 0;
};

// The memory of the swap layer whose ops come next: the values that stand for it, and the states that it comes from.
struct StreamMemoryTape {
  ValueId v, ram, streams;
  ValueId read_ram, read_streams;
  const float* ram_state = nullptr;
  const int32_t* streams_state = nullptr;
};

// The tape while it is made. An op that the stream cannot run says so in `problem`.
struct StreamTape {
  uint32_t n_blocks = 0, stage_bytes = 0;
  std::vector<StreamPhase> phases;
  std::vector<StreamSegment> segments;
  uint32_t offset = 0;       // of the next segment
  uint32_t node = 0;         // whose phases are being added
  float* scratch = nullptr;  // for vectors inside an op: taken from here on
  StreamMemoryTape memory;
  std::string problem;

  StreamPhase& add(StreamKind kind);
  // A matrix with the row parts of `params`; opens a phase unless the last one has the same input and form.
  void add_product(const PackedShape& shape, const GemvParams& params, bool is_head);
  void add_attention(const DecodeAttentionParams& params, DType cache_type);
  float* take(uint64_t n);  // floats
  static uint64_t taken(uint64_t n) { return (n + 63) / 64 * 64; }
};

// Measurements may fix what would be chosen.
struct StreamChoice {
  uint32_t stage_bytes = 0, ring_bytes = 0, window_bytes = 0;
  uint32_t n_phases = 0;  // run only so many phases of a token
  // Of clusters: cycles for 1024 bytes of weights, and bytes of a copy.
  uint32_t pace = 0, piece_bytes = 0;
  bool clusters = true;  // where the layers are small (cuda/clusters.h)
};

// Which one of the list of formats (device/stored_formats.cuh) it is.
uint32_t stream_format(DType type);
// Whether two matrices of these formats may be the products of one phase.
bool stream_pair_supports(DType first, DType second);
bool stream_attention_supports(DType cache_type, uint64_t head_dim);
// Shared memory for the phases of a tape; n_stages 0 where it does not fit. choice.window_bytes is not 0.
StreamLayout stream_layout(const StreamTape& tape, const DeviceShape& device, const StreamChoice& choice);
void prepare_stream(const DeviceShape& device);
void launch_stream(cudaStream_t stream, const DeviceShape& device, const StreamParams& params);

}  // namespace stretto::cuda
