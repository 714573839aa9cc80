// Rope, KvAppend, Attention and the fused RopeAttention.
//
// Attention cuts the positions into runs of fixed absolute bounds. Each (token, key/value head, run) is a partial
// result over the heads of the group, and the runs of a head are merged in order, so the result does not depend on how
// the work was divided. Steps of few tokens divide the runs among the threads too; larger ones only tokens and heads.
#include <cmath>
#include <cstring>

#include "cpu/ops.h"

namespace stretto::cpu {
namespace {

constexpr uint64_t kShortestRun = 256;  // positions
constexpr uint64_t kMostRuns = 64;
constexpr uint64_t kSplitTokens = 8;  // steps up to this size divide runs among the threads

// Positions per run: a multiple of kShortestRun with at most kMostRuns of them in the context.
uint64_t run_length(uint64_t n_ctx) { return round_up(div_up(std::max<uint64_t>(n_ctx, 1), kMostRuns), kShortestRun); }

uint64_t max_runs(uint64_t n_ctx) { return div_up(std::max<uint64_t>(n_ctx, 1), run_length(n_ctx)) + 1; }

// Sizes of one attention, in floats.
struct Layout {
  uint64_t group = 0;   // heads per key/value head
  uint64_t result = 0;  // one partial result of a head: top, sum, acc[head_dim]
  uint64_t n_runs = 0;
  uint64_t length = 0;
  Layout(const Attention& op, uint64_t n_ctx)
      : group(op.n_heads / op.n_kv_heads),
        result(op.head_dim + 2),
        n_runs(max_runs(n_ctx)),
        length(run_length(n_ctx)) {}
  uint64_t scores() const { return group * length; }
  uint64_t group_results() const { return n_runs * group * result; }  // [run, head of the group]
};

struct Span {
  uint64_t first = 0;  // visible positions first .. last
  uint64_t last = 0;
};

Span visible(const Attention& op, uint64_t position) {
  const uint64_t first = op.window != 0 && position + 1 > op.window ? position + 1 - op.window : 0;
  return {first, position};
}

// One (token, key/value head): the runs of it, the place of its partial results.
struct GroupTask {
  const Attention& op;
  const Machine& m;
  const Layout& layout;
  uint64_t token = 0;
  uint64_t kv_head = 0;
  float* results = nullptr;

  Span span() const { return visible(op, m.step.position + token); }

  void attend(uint64_t run, const float* q, float* scores) const {
    const Span s = span();
    const uint64_t begin = std::max(s.first, run * layout.length),
                   end = std::min(s.last + 1, (run + 1) * layout.length);
    const StateInfo& cache = m.tables()[op.k_cache];
    const uint64_t stride = row_bytes(cache.type, cache.width), head = row_bytes(cache.type, kv_head * op.head_dim);
    const Attend a{.q = q + (token * op.n_heads + kv_head * layout.group) * op.head_dim,
                   .k = m.state(op.k_cache) + begin * stride + head,
                   .v = m.state(op.v_cache) + begin * stride + head,
                   .stride_bytes = stride,
                   .n_positions = end - begin,
                   .n_heads = layout.group,
                   .head_dim = op.head_dim,
                   .scale = op.scale,
                   .scores = scores,
                   .result = results + (run - s.first / layout.length) * layout.group * layout.result,
                   .result_stride = layout.result};
    m.attentions[static_cast<size_t>(op.k_cache.index)].attend(a);
  }

  // out = sum over runs of acc e^(top - T) / sum over runs of sum e^(top - T), T the largest top.
  void merge() const {
    const Span s = span();
    const uint64_t n = s.last / layout.length - s.first / layout.length + 1, stride = layout.group * layout.result;
    for (uint64_t h = 0; h < layout.group; ++h) {
      const float* part = results + h * layout.result;
      float* out = m.value(op.out) + (token * op.n_heads + kv_head * layout.group + h) * op.head_dim;
      float top = part[0], sum = 0;
      for (uint64_t i = 1; i < n; ++i) top = std::max(top, part[i * stride]);
      for (uint64_t i = 0; i < n; ++i) sum += std::exp(part[i * stride] - top) * part[i * stride + 1];
      for (uint64_t i = 0; i < n; ++i) {
        const float factor = std::exp(part[i * stride] - top) / sum;
        if (i == 0) {
          m.vec.scale(factor, part + 2, op.head_dim, out);
        } else {
          m.vec.add_scaled(factor, part + i * stride + 2, op.head_dim, out);
        }
      }
    }
  }
};

// `q` and the split results lie in the shared scratch, `split` behind what the caller has put there.
void run_attention(const Attention& op, const Machine& m, Worker& w, const float* q, std::byte* split) {
  const Layout layout(op, m.n_ctx);
  auto* scores = reinterpret_cast<float*>(w.scratch);
  const uint64_t n_groups = m.n_tokens() * op.n_kv_heads;
  const auto task = [&](uint64_t group, float* results) {
    return GroupTask{op, m, layout, group / op.n_kv_heads, group % op.n_kv_heads, results};
  };
  const Span first = visible(op, m.step.position), last = visible(op, m.step.position + m.n_tokens() - 1);
  const uint64_t n_runs = last.last / layout.length - first.first / layout.length + 1;
  if (m.n_tokens() <= kSplitTokens && n_runs > 1) {
    const auto results = [&](uint64_t group) {
      return reinterpret_cast<float*>(split) + group * layout.group_results();
    };
    w.share(n_groups * n_runs, 1, [&](uint64_t item) {
      const GroupTask t = task(item / n_runs, results(item / n_runs));
      const uint64_t run = first.first / layout.length + item % n_runs;
      const Span s = t.span();
      if (run >= s.first / layout.length && run <= s.last / layout.length) t.attend(run, q, scores);
    });
    w.sync();
    w.share(n_groups, 1, [&](uint64_t group) { task(group, results(group)).merge(); });
    return;
  }
  w.share(n_groups, 1, [&](uint64_t group) {
    const GroupTask t = task(group, scores + layout.scores());
    const Span s = t.span();
    for (uint64_t run = s.first / layout.length; run <= s.last / layout.length; ++run) t.attend(run, q, scores);
    t.merge();
  });
}

uint64_t split_bytes(const Attention& op, const Planner& p) {
  return std::min(kSplitTokens, p.options.max_tokens) * op.n_kv_heads * Layout(op, p.options.n_ctx).group_results() *
         sizeof(float);
}

uint64_t thread_bytes(const Attention& op, const Planner& p) {
  const Layout layout(op, p.options.n_ctx);
  return (layout.scores() + layout.group_results()) * sizeof(float);
}

// One head of one token, rotated from `x` into `out`.
void rotate(const Machine& m, const RopeTable* table, const float* x, uint64_t token, uint64_t head_dim,
            bool apply_temperature, float* out) {
  const RopeRows& rows = m.rope(table);
  const uint64_t n = rows.n_pairs();
  m.vec.rope(x, rows.cos + token * n, rows.sin + token * n, n, head_dim, 1, out);
  if (apply_temperature) m.vec.scale(rows.temperature[token], out, head_dim, out);
}

bool is_cache(StateId k, StateId v, const Tables& t) {
  return is_cache_type(t[k].type) && t[k].type == t[v].type && t[k].growth == Growth::kPerPosition &&
         t[v].growth == Growth::kPerPosition;
}

void store(const Machine& m, StateId cache, const float* x, uint64_t position, uint64_t first, uint64_t n) {
  const StateInfo& info = m.tables()[cache];
  std::byte* row = m.state(cache) + position * row_bytes(info.type, info.width);
  m.attentions[static_cast<size_t>(cache.index)].store(x, n, row + row_bytes(info.type, first));
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

bool supports(const KvAppend& op, const Tables& t) { return is_cache(op.k_cache, op.v_cache, t); }

void plan(const KvAppend& op, Planner& p) {
  p.cache(op.k_cache);
  p.cache(op.v_cache);
}

void run(const KvAppend& op, const Machine& m, Worker& w) {
  w.share(m.n_tokens(), 4, [&](uint64_t t) {
    const uint64_t position = m.step.position + t, width = m.width(op.k);
    store(m, op.k_cache, m.value(op.k) + t * width, position, 0, width);
    store(m, op.v_cache, m.value(op.v) + t * width, position, 0, width);
  });
}

bool supports(const Attention& op, const Tables& t) { return is_cache(op.k_cache, op.v_cache, t); }

void plan(const Attention& op, Planner& p) {
  p.cache(op.k_cache);
  p.cache(op.v_cache);
  p.scratch(split_bytes(op, p));
  p.thread_scratch(thread_bytes(op, p));
}

void run(const Attention& op, const Machine& m, Worker& w) { run_attention(op, m, w, m.value(op.q), m.scratch); }

bool supports(const RopeAttention& op, const Tables& t) {
  return is_cache(op.k_cache, op.v_cache, t) && decodes(op.q_norm, t) && decodes(op.k_norm, t);
}

namespace {

uint64_t rotated_bytes(uint64_t n_tokens, uint64_t width) { return round_up(n_tokens * width * sizeof(float), 64); }

}  // namespace

void plan(const RopeAttention& op, Planner& p) {
  p.cache(op.k_cache);
  p.cache(op.v_cache);
  p.vector(op.q_norm);
  p.vector(op.k_norm);
  p.rope(op.rope);
  const Attention attention = op.attention(op.q);
  p.scratch(rotated_bytes(p.options.max_tokens, p.tables()[op.q].width) + split_bytes(attention, p));
  p.thread_scratch(std::max(thread_bytes(attention, p), 2 * op.head_dim * sizeof(float)));
}

void run(const RopeAttention& op, const Machine& m, Worker& w) {
  auto* rotated_q = reinterpret_cast<float*>(m.scratch);
  const uint64_t d = op.head_dim, q_width = m.width(op.q), k_width = m.width(op.k);
  const uint64_t per_token = op.n_heads + op.n_kv_heads;
  w.share(m.n_tokens() * per_token, 4, [&](uint64_t item) {
    const uint64_t t = item / per_token, h = item % per_token;
    const bool is_query = h < op.n_heads;
    const uint64_t g = is_query ? 0 : h - op.n_heads;
    const float* x = is_query ? m.value(op.q) + t * q_width + h * d : m.value(op.k) + t * k_width + g * d;
    auto* normed = reinterpret_cast<float*>(w.scratch);
    float* rotated = is_query ? rotated_q + t * q_width + h * d : normed + d;
    if (const float* norm = m.vector(is_query ? op.q_norm : op.k_norm); norm != nullptr) {
      m.vec.rms_norm(x, norm, op.eps, d, normed);
      x = normed;
    }
    rotate(m, op.rope.get(), x, t, d, is_query && op.rope->temperature_beta != 0, rotated);
    if (is_query) return;
    store(m, op.k_cache, rotated, m.step.position + t, g * d, d);
    store(m, op.v_cache, m.value(op.v) + t * k_width + g * d, m.step.position + t, g * d, d);
  });
  w.sync();
  run_attention(op.attention(op.q), m, w, rotated_q, m.scratch + rotated_bytes(m.n_tokens(), q_width));
}

}  // namespace stretto::cpu
