// Rope, KvAppend, Attention and the fused RopeAttention.
//
// Attention cuts the positions into runs of fixed absolute bounds. Each (token, key/value head, run) is a partial
// result over the heads of the group, and the runs of a head are folded in order, so the result does not depend on how
// the work was divided. Steps of few tokens divide the runs among the threads too; larger ones only tokens and heads;
// those of kBlockTokens and more take blocks of neighbouring tokens together, with the same sums in the same order.
#include <cmath>
#include <cstring>

#include "cpu/ops.h"
#include "formats/cache_formats.h"

namespace stretto::cpu {
namespace {

constexpr uint64_t kShortestRun = 256;  // positions
constexpr uint64_t kMostRuns = 64;
constexpr uint64_t kSplitTokens = 8;   // steps up to this size divide runs among the threads
constexpr uint64_t kBlockTokens = 16;  // steps from this size on attend in blocks of tokens

// Positions per run: a multiple of kShortestRun with at most kMostRuns of them in the context.
uint64_t run_length(uint64_t n_ctx) { return round_up(div_up(std::max<uint64_t>(n_ctx, 1), kMostRuns), kShortestRun); }

uint64_t max_runs(uint64_t n_ctx) { return div_up(std::max<uint64_t>(n_ctx, 1), run_length(n_ctx)) + 1; }

uint64_t group_size(const Attention& op) { return op.n_heads / op.n_kv_heads; }

// Of a run of this length, for the heads of a group.
uint64_t scores_floats(const Attention& op, uint64_t length) { return group_size(op) * (length + 2 * kCacheGroup); }

// Tokens whose queries attend together, for about 64 queries.
uint64_t block_tokens(const Attention& op) { return std::max<uint64_t>(4, 64 / group_size(op)); }

struct Span {
  uint64_t first = 0;  // visible positions first .. last
  uint64_t last = 0;
};

Span visible(const Attention& op, uint64_t position) {
  const uint64_t first = op.window != 0 && position + 1 > op.window ? position + 1 - op.window : 0;
  return {first, position};
}

// The partial results of n queries over one run join those over the runs before it. With T the larger of the tops:
// acc <- acc e^(top - T) + acc' e^(top' - T), and the sums alike.
void fold(const Machine& m, const float* part, uint64_t n, uint64_t head_dim, float* running) {
  const uint64_t width = cache_width(head_dim);
  for (uint64_t i = 0; i < n; ++i, part += partial_width(head_dim), running += partial_width(head_dim)) {
    float &top = running[width], &sum = running[width + 1];
    if (part[width] == kUnseen) continue;
    const float most = std::max(top, part[width]);
    const float old_factor = std::exp(top - most), new_factor = std::exp(part[width] - most);
    m.vec.scale(old_factor, running, width, running);
    m.vec.add_scaled(new_factor, part, width, running);
    sum = sum * old_factor + part[width + 1] * new_factor;
    top = most;
  }
}

void start_running(uint64_t n, uint64_t head_dim, float* running) {
  std::fill(running, running + n * partial_width(head_dim), 0.0F);
  for (uint64_t i = 0; i < n; ++i) running[i * partial_width(head_dim) + cache_width(head_dim)] = kUnseen;
}

// out[i, :] = acc / sum for the heads of one token.
void finish(const Machine& m, const float* running, uint64_t n, uint64_t head_dim, float* out) {
  for (uint64_t i = 0; i < n; ++i, running += partial_width(head_dim))
    m.vec.scale(1 / running[cache_width(head_dim) + 1], running, head_dim, out + i * head_dim);
}

// One (token, key/value head).
struct GroupTask {
  const Attention& op;
  const Machine& m;
  uint64_t token = 0;
  uint64_t kv_head = 0;

  Span span() const { return visible(op, m.step.position + token); }
  uint64_t offset() const { return (token * op.n_heads + kv_head * group_size(op)) * op.head_dim; }

  void attend(uint64_t run, uint64_t length, const float* q, float* scores, float* result) const {
    const Span s = span();
    m.attentions[static_cast<size_t>(op.k_cache.index)].attend({.q = q + offset(),
                                                                .k = m.cache_head(op.k_cache, kv_head),
                                                                .v = m.cache_head(op.v_cache, kv_head),
                                                                .begin = std::max(s.first, run * length),
                                                                .end = std::min(s.last + 1, (run + 1) * length),
                                                                .n_heads = group_size(op),
                                                                .head_dim = op.head_dim,
                                                                .scale = op.scale,
                                                                .scores = scores,
                                                                .decoded = scores + scores_floats(op, length),
                                                                .result = result});
  }
};

// Few tokens and a long context: the runs are divided among the threads too. Results in `split` [group, run, head].
void run_split(const Attention& op, const Machine& m, Worker& w, const float* q, uint64_t length, float* split) {
  const uint64_t n_heads = group_size(op), n_groups = m.n_tokens() * op.n_kv_heads;
  const uint64_t part = n_heads * partial_width(op.head_dim);
  const uint64_t first_run = visible(op, m.step.position).first / length;
  const uint64_t n_runs = (m.step.position + m.n_tokens() - 1) / length - first_run + 1;
  auto* const own = reinterpret_cast<float*>(w.scratch);
  w.share(n_groups * n_runs, 1, [&](uint64_t item) {
    const GroupTask t{op, m, item / n_runs / op.n_kv_heads, item / n_runs % op.n_kv_heads};
    const uint64_t run = first_run + item % n_runs;
    const Span s = t.span();
    if (run < s.first / length || run > s.last / length)
      return start_running(n_heads, op.head_dim, split + item * part);
    t.attend(run, length, q, own, split + item * part);
  });
  w.sync();
  w.share(n_groups, 1, [&](uint64_t group) {
    const GroupTask t{op, m, group / op.n_kv_heads, group % op.n_kv_heads};
    start_running(n_heads, op.head_dim, own);
    for (uint64_t r = 0; r < n_runs; ++r) fold(m, split + (group * n_runs + r) * part, n_heads, op.head_dim, own);
    finish(m, own, n_heads, op.head_dim, m.value(op.out) + t.offset());
  });
}

// All runs of one group, one after the other.
void attend_group(const Attention& op, const Machine& m, const Worker& w, const float* q, uint64_t length,
                  const GroupTask& t) {
  const uint64_t n_heads = group_size(op);
  auto* const running = reinterpret_cast<float*>(w.scratch);
  float* const part = running + n_heads * partial_width(op.head_dim);
  float* const scores = part + n_heads * partial_width(op.head_dim);
  const Span s = t.span();
  start_running(n_heads, op.head_dim, running);
  for (uint64_t run = s.first / length; run <= s.last / length; ++run) {
    t.attend(run, length, q, scores, part);
    fold(m, part, n_heads, op.head_dim, running);
  }
  finish(m, running, n_heads, op.head_dim, m.value(op.out) + t.offset());
}

void run_groups(const Attention& op, const Machine& m, Worker& w, const float* q, uint64_t length) {
  w.share(m.n_tokens() * op.n_kv_heads, 1, [&](uint64_t group) {
    attend_group(op, m, w, q, length, {op, m, group / op.n_kv_heads, group % op.n_kv_heads});
  });
}

void attend_block(const Attention& op, const Machine& m, const float* q, uint64_t length, const GroupTask& t,
                  uint64_t n_tokens, float* scratch) {
  const uint64_t n_heads = group_size(op), n_queries = n_tokens * n_heads, position = m.step.position + t.token;
  float* const running = scratch;
  float* const part = running + n_queries * partial_width(op.head_dim);
  AttendBlock block{.q = q + t.offset(),
                    .q_stride = op.n_heads * op.head_dim,
                    .k = m.cache_head(op.k_cache, t.kv_head),
                    .v = m.cache_head(op.v_cache, t.kv_head),
                    .position = position,
                    .n_tokens = n_tokens,
                    .n_heads = n_heads,
                    .head_dim = op.head_dim,
                    .window = op.window,
                    .scale = op.scale,
                    .scratch = part + n_queries * partial_width(op.head_dim),
                    .result = part};
  const uint64_t first = visible(op, position).first, end = position + n_tokens;
  start_running(n_queries, op.head_dim, running);
  for (uint64_t run = first / length; run * length < end; ++run) {
    block.begin = std::max(first, run * length);
    block.end = std::min(end, (run + 1) * length);
    m.attentions[static_cast<size_t>(op.k_cache.index)].attend_block(block);
    fold(m, part, n_queries, op.head_dim, running);
  }
  for (uint64_t i = 0; i < n_tokens; ++i)
    finish(m, running + i * n_heads * partial_width(op.head_dim), n_heads, op.head_dim,
           m.value(op.out) + t.offset() + i * op.n_heads * op.head_dim);
}

// `q` and the split results lie in the shared scratch, `split` behind what the caller has put there.
void run_attention(const Attention& op, const Machine& m, Worker& w, const float* q, std::byte* split) {
  const uint64_t length = run_length(m.n_ctx), n = m.n_tokens();
  const bool many_runs = visible(op, m.step.position).first / length < (m.step.position + n - 1) / length;
  if (n <= kSplitTokens && many_runs) return run_split(op, m, w, q, length, reinterpret_cast<float*>(split));
  if (n < kBlockTokens) return run_groups(op, m, w, q, length);
  const uint64_t size = block_tokens(op), n_blocks = div_up(n, size);
  w.share(op.n_kv_heads * n_blocks, 1, [&](uint64_t item) {
    const uint64_t token = item % n_blocks * size;
    attend_block(op, m, q, length, {op, m, token, item / n_blocks}, std::min(size, n - token),
                 reinterpret_cast<float*>(w.scratch));
  });
}

uint64_t split_bytes(const Attention& op, const Planner& p) {
  return std::min(kSplitTokens, p.options.max_tokens) * op.n_heads * max_runs(p.options.n_ctx) *
         partial_width(op.head_dim) * sizeof(float);
}

uint64_t thread_bytes(const Attention& op, const Planner& p) {
  const uint64_t length = run_length(p.options.n_ctx), n_heads = group_size(op), part = partial_width(op.head_dim);
  uint64_t group = n_heads * 2 * part + scores_floats(op, length);
  if (is_8_bit_cache_type(p.tables()[op.k_cache].type)) group += (length + 2 * kCacheGroup) * cache_width(op.head_dim);
  const uint64_t n_queries = block_tokens(op) * n_heads;
  const uint64_t block = 2 * n_queries * part + attend_block_scratch(n_queries, length, op.head_dim);
  return std::max(group, block) * sizeof(float);
}

// One head of one token, rotated from `x` into `out`.
void rotate(const Machine& m, const RopeTable* table, const float* x, uint64_t token, uint64_t head_dim,
            bool apply_temperature, float* out) {
  const RopeRows& rows = m.rope(table);
  const uint64_t n = rows.n_pairs();
  m.vec.rope(x, rows.cos + token * n, rows.sin + token * n, n, head_dim, 1, out);
  if (apply_temperature) m.vec.scale(rows.temperature[token], out, head_dim, out);
}

// `head_dim` may be that of several heads side by side.
bool is_cache(StateId k, StateId v, uint64_t head_dim, const Tables& t) {
  return is_cache_type(t[k].type) && t[k].type == t[v].type && t[k].growth == Growth::kPerPosition &&
         t[v].growth == Growth::kPerPosition && head_dim % info(t[k].type).block_elements == 0;
}

// kBytes each to every kCacheGroup-th place.
template <uint64_t kBytes>
void scatter(const std::byte* from, uint64_t count, std::byte* to) {
  for (uint64_t k = 0; k < count; ++k) std::memcpy(to + k * kCacheGroup * kBytes, from + k * kBytes, kBytes);
}

// The head's row of a Q8_0 cache, `head` its place.
void store_blocks(const Cache& c, const AttentionKernels& kernels, const float* x, uint64_t position, std::byte* head) {
  constexpr uint64_t kBlock = Q8_0::kBlockElements;
  const uint64_t lane = c.keys ? position % kCacheGroup : 0, stride = c.keys ? kCacheGroup : 1;
  std::byte* const codes = head + (position - lane) * c.position_bytes;
  for (uint64_t b = 0; b < c.head_dim / kBlock; ++b) {
    Q8_0::Block block;
    kernels.store(x + b * kBlock, kBlock, reinterpret_cast<std::byte*>(&block));
    for (uint64_t e = 0; e < kBlock; ++e) codes[(b * kBlock + e) * stride + lane] = static_cast<std::byte>(block.qs[e]);
    std::memcpy(codes + c.head_dim * stride + (b * stride + lane) * sizeof block.d, block.d, sizeof block.d);
  }
}

// The head's row in the layout of the cache.
void store(const Machine& m, StateId cache, const float* x, uint64_t head, uint64_t position) {
  const auto i = static_cast<size_t>(cache.index);
  const Cache& c = m.caches[i];
  std::byte* const out = m.cache_head(cache, head);
  if (m.tables()[cache].type == DType::kQ8_0) return store_blocks(c, m.attentions[i], x, position, out);
  const uint64_t bytes = row_bytes(m.tables()[cache].type, 1);
  if (!c.keys) return m.attentions[i].store(x, c.head_dim, out + position * cache_width(c.head_dim) * bytes);
  constexpr uint64_t kPiece = 64;
  std::byte piece[kPiece * sizeof(float)];
  const uint64_t lane = position % kCacheGroup;
  std::byte* const group = out + (position - lane) * c.head_dim * bytes + lane * bytes;
  for (uint64_t n = 0; n < c.head_dim; n += kPiece) {
    const uint64_t count = std::min(kPiece, c.head_dim - n);
    m.attentions[i].store(x + n, count, piece);
    // A copy of constant size is one instruction, else a call.
    if (bytes == sizeof(uint16_t)) {
      scatter<sizeof(uint16_t)>(piece, count, group + n * kCacheGroup * bytes);
    } else if (bytes == 1) {
      scatter<1>(piece, count, group + n * kCacheGroup * bytes);
    } else {
      CHECK(bytes == sizeof(float));
      scatter<sizeof(float)>(piece, count, group + n * kCacheGroup * bytes);
    }
  }
}

// Head h of a token, the queries' heads before the keys': normalised, rotated into `rotated_q` or appended to the
// cache.
void rotate_head(const RopeAttention& op, const Machine& m, const Worker& w, uint64_t t, uint64_t h, float* rotated_q) {
  const uint64_t d = op.head_dim, q_width = m.width(op.q), k_width = m.width(op.k);
  const bool is_query = h < op.n_heads;
  const uint64_t g = is_query ? 0 : h - op.n_heads;
  const float* x = is_query ? m.value(op.q) + t * q_width + h * d : m.value(op.k) + t * k_width + g * d;
  auto* const normed = reinterpret_cast<float*>(w.scratch);
  float* const rotated = is_query ? rotated_q + t * q_width + h * d : normed + d;
  if (const float* norm = m.vector(is_query ? op.q_norm : op.k_norm); norm != nullptr) {
    m.vec.rms_norm(x, norm, op.eps, d, normed);
    x = normed;
  }
  rotate(m, op.rope.get(), x, t, d, is_query && op.rope->temperature_beta != 0, rotated);
  if (is_query) return;
  store(m, op.k_cache, rotated, g, m.step.position + t);
  store(m, op.v_cache, m.value(op.v) + t * k_width + g * d, g, m.step.position + t);
}

// The one new token: a thread rotates and appends what its key/value head needs and attends at once, so that nobody
// waits between.
void run_single(const RopeAttention& op, const Machine& m, Worker& w, float* rotated_q) {
  const Attention attention = op.attention(op.q);
  const uint64_t length = run_length(m.n_ctx);
  w.share(op.n_kv_heads, 1, [&](uint64_t kv_head) {
    for (uint64_t h = 0; h < group_size(attention); ++h)
      rotate_head(op, m, w, 0, kv_head * group_size(attention) + h, rotated_q);
    rotate_head(op, m, w, 0, op.n_heads + kv_head, rotated_q);
    attend_group(attention, m, w, rotated_q, length, {attention, m, 0, kv_head});
  });
}

}  // namespace

bool supports(const Rope&, const Tables&) { return true; }

void plan(const Rope& op, Planner& p) { p.rope(op.table); }

void run(const Rope& op, const Machine& m, Worker& w) {
  const uint64_t n_heads = m.width(op.x) / op.head_dim;
  w.share(m.n_tokens() * n_heads, 8, [&](uint64_t i) {
    rotate(m, op.table.get(), m.value(op.x) + i * op.head_dim, i / n_heads, op.head_dim, op.apply_temperature,
           m.value(op.out) + i * op.head_dim);
  });
}

bool supports(const KvAppend& op, const Tables& t) { return is_cache(op.k_cache, op.v_cache, t[op.k_cache].width, t); }

// How a cache is divided into heads is said by the op that reads it.
void plan(const KvAppend&, Planner&) {}

void run(const KvAppend& op, const Machine& m, Worker& w) {
  w.share(m.n_tokens(), 4, [&](uint64_t t) {
    for (const auto& [cache, values] : {std::pair(op.k_cache, op.k), std::pair(op.v_cache, op.v)}) {
      const uint64_t width = m.width(values), head_dim = m.caches[static_cast<size_t>(cache.index)].head_dim;
      for (uint64_t head = 0; head < width / head_dim; ++head)
        store(m, cache, m.value(values) + t * width + head * head_dim, head, m.step.position + t);
    }
  });
}

bool supports(const Attention& op, const Tables& t) { return is_cache(op.k_cache, op.v_cache, op.head_dim, t); }

void plan(const Attention& op, Planner& p) {
  p.caches_of(op.k_cache, op.v_cache, op.head_dim);
  p.scratch(split_bytes(op, p));
  p.thread_scratch(thread_bytes(op, p));
}

void run(const Attention& op, const Machine& m, Worker& w) { run_attention(op, m, w, m.value(op.q), m.scratch); }

bool supports(const RopeAttention& op, const Tables& t) {
  return is_cache(op.k_cache, op.v_cache, op.head_dim, t) && decodes(op.q_norm, t) && decodes(op.k_norm, t);
}

namespace {

uint64_t rotated_bytes(uint64_t n_tokens, uint64_t width) { return round_up(n_tokens * width * sizeof(float), 64); }

}  // namespace

void plan(const RopeAttention& op, Planner& p) {
  p.caches_of(op.k_cache, op.v_cache, op.head_dim);
  p.vector(op.q_norm);
  p.vector(op.k_norm);
  p.rope(op.rope);
  const Attention attention = op.attention(op.q);
  p.scratch(rotated_bytes(p.options.max_tokens, p.tables()[op.q].width) + split_bytes(attention, p));
  p.thread_scratch(std::max(thread_bytes(attention, p), 2 * op.head_dim * sizeof(float)));
}

// The first of the keys and values of each head that the thread is likely to take.
void add_later(const RopeAttention& op, const Machine& m, Worker& w) {
  constexpr uint64_t kMostBytes = 32 << 10;
  const Span s = visible(op.attention(op.q), m.step.position);
  for (uint64_t head = w.span_begin(op.n_kv_heads); head < w.span_end(op.n_kv_heads); ++head) {
    for (const StateId id : {op.k_cache, op.v_cache}) {
      const Cache& cache = m.caches[static_cast<size_t>(id.index)];
      const uint64_t first = s.first / kCacheGroup * kCacheGroup;
      const uint64_t end = cache.keys ? round_up(s.last + 1, kCacheGroup) : s.last + 1;
      w.later.add(m.cache_head(id, head) + first * cache.position_bytes,
                  std::min(kMostBytes, (end - first) * cache.position_bytes));
    }
  }
}

void run(const RopeAttention& op, const Machine& m, Worker& w) {
  auto* rotated_q = reinterpret_cast<float*>(m.scratch);
  const uint64_t per_token = op.n_heads + op.n_kv_heads;
  const Attention attention = op.attention(op.q);
  const Span s = visible(attention, m.step.position);
  const uint64_t length = run_length(m.n_ctx);
  if (m.n_tokens() == 1 && s.first / length == s.last / length) return run_single(op, m, w, rotated_q);
  w.share(m.n_tokens() * per_token, 4,
          [&](uint64_t item) { rotate_head(op, m, w, item / per_token, item % per_token, rotated_q); });
  w.sync();
  run_attention(attention, m, w, rotated_q, m.scratch + rotated_bytes(m.n_tokens(), m.width(op.q)));
}

}  // namespace stretto::cpu
