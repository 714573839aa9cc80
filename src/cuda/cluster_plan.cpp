// How a model is divided among clusters, and which models are.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "cuda/clusters.h"

namespace stretto::cuda {
namespace {

// Bytes of a layer from which on a ring holds too little of it for exchanges to matter.
constexpr uint64_t kMostLayerBytes = 64'000'000;
constexpr uint32_t kStageWindow = 80'000;  // bytes under way per multiprocessor (docs/stream.md)

// Of the time that memory takes for weights, the least that a block takes to ask for them. What is asked for in a burst
// keeps vectors waiting; what is asked for too late keeps products waiting. Layers of floats are twice as many bytes as
// the ring holds, those of Q8_0 about as many (docs/stream.md).
constexpr double kPace = 1.25, kFloatPace = 1;
constexpr uint32_t kPiece = 4096, kFloatPiece = 8192;

bool is_integer(DType type) { return type == DType::kQ8_0; }
// What a lane has of a unit, and what a warp reads in a step: as many bytes as a unit.
uint32_t chunk_columns(DType type) { return unit_shape(type).cols / 32; }
uint32_t warp_bytes(DType type) { return unit_shape(type).bytes; }
uint32_t rounded(uint32_t bytes) { return (bytes + 127) / 128 * 128; }

// Of a group: a row's sum needs four; a thread has sums of floats for two groups.
uint32_t least_lanes(DType type) { return is_integer(type) ? 4 : 16; }

ClusterProduct product_of(DType type, uint32_t n_rows, uint32_t n_cols) {
  ClusterProduct p{.n_groups = n_rows / 4};
  if (n_rows == 0 || n_cols == 0) return {};
  const uint32_t n_chunks = (n_cols + chunk_columns(type) - 1) / chunk_columns(type);
  p.lanes = std::min(
      {32U, std::max(least_lanes(type), std::bit_ceil(n_chunks)), std::bit_floor(kClusterThreads / p.n_groups)});
  p.n_steps = (n_chunks + p.lanes - 1) / p.lanes;
  p.n_warps = (p.n_groups * p.lanes + 31) / 32;
  return p;
}

// Heads in equal parts, the rest to the first clusters; activations so that all clusters read about as much.
void divide(ClusterShape& s) {
  const uint32_t n = s.n_clusters, per_kv = s.n_heads / s.n_kv_heads;
  const uint64_t head_weights = uint64_t{s.head_dim} * s.d * (2 * per_kv + 2),
                 run_weights = uint64_t{3} * kClusterRun * s.d;
  const uint64_t runs = s.n_ff / kClusterRun, all = s.n_kv_heads * head_weights + runs * run_weights;
  uint32_t kv = 0;
  uint64_t run = 0, before = 0;
  for (uint32_t c = 0; c < n; ++c) {
    ClusterShare& share = s.share[c];
    share.first_kv = kv;
    share.n_kv = s.n_kv_heads / n + (c < s.n_kv_heads % n ? 1 : 0);
    kv += share.n_kv;
    before += share.n_kv * head_weights;
    // As many runs as bring what the clusters up to here have next to their part of all.
    const uint64_t wanted = all * (c + 1) / n, left = n - c - 1;
    uint64_t end = wanted > before ? (wanted - before + run_weights / 2) / run_weights : 0;
    end = std::clamp<uint64_t>(end, run + 1, runs - left);
    if (c + 1 == n) end = runs;
    share.first_run = static_cast<uint32_t>(run);
    share.n_runs = static_cast<uint32_t>(end - run);
    run = end;
  }
  s.n_attending = std::min(n, s.n_kv_heads);
}

void cut(ClusterShape& s) {
  const uint32_t per_kv = s.n_heads / s.n_kv_heads;
  uint64_t begin = 0;
  for (uint32_t c = 0; c < s.n_clusters; ++c) {
    ClusterShare& h = s.share[c];
    const uint32_t heads = h.n_kv * per_kv, cols = kClusterRun * h.n_runs;
    h.qkv = product_of(s.type, h.n_kv * (per_kv + 2) * s.head_dim / kClusterRanks, s.d);
    h.out = product_of(s.type, h.n_kv > 0 ? s.d / kClusterRanks : 0, heads * s.head_dim);
    h.gate_up = product_of(s.type, 2 * cols / kClusterRanks, s.d);
    h.down = product_of(s.type, s.d / kClusterRanks, cols);
    h.n_splits = heads > 0 ? std::min(kClusterRanks / heads, kMostClusterSplits) : 0;
    h.layer_bytes = 0;
    for (const ClusterProduct* p : {&h.qkv, &h.out, &h.gate_up, &h.down})
      h.layer_bytes += uint64_t{p->n_steps} * p->n_warps * warp_bytes(s.type);
    h.begin = begin;
    begin += kClusterRanks * s.n_layers * h.layer_bytes;
  }
}

// Bytes of an input of up to n columns, chunks that a row does not have among them.
uint32_t input_bytes(DType type, uint32_t n) { return rounded(is_integer(type) ? n + n / 8 : 4 * n); }

std::string place(const ClusterShape& s, const DeviceShape& device, const StreamChoice& choice, ClusterAt& at) {
  at.n_attended = at.n_acted = 0;
  const auto columns = [&](const ClusterProduct& p) { return p.n_steps * p.lanes * chunk_columns(s.type); };
  for (uint32_t c = 0; c < s.n_clusters; ++c) {
    at.n_attended = std::max(at.n_attended, columns(s.share[c].out));
    at.n_acted = std::max(at.n_acted, columns(s.share[c].down));
  }
  at.in_attention = kClusterBlockBytes;
  at.attended = at.in_attention + input_bytes(s.type, s.d);
  at.in_ffn = at.attended + input_bytes(s.type, at.n_attended);
  at.acted = at.in_ffn + input_bytes(s.type, s.d);
  at.activations = at.acted + input_bytes(s.type, at.n_acted);
  at.barriers = at.activations + (is_integer(s.type) ? rounded(4 * at.n_acted) : 0);
  at.stage_bytes = kClusterWarps * warp_bytes(s.type);
  const uint32_t wanted = choice.ring_bytes != 0 ? choice.ring_bytes : device.shared_bytes_per_block;
  for (at.n_stages = std::max(2U, wanted / at.stage_bytes); at.n_stages > 1; --at.n_stages) {
    at.released = at.barriers + 8 * at.n_stages;
    at.ring = rounded(at.released + 8 * at.n_stages);
    at.bytes = at.ring + at.n_stages * at.stage_bytes;
    if (at.bytes <= device.shared_bytes_per_block) break;
  }
  if (at.n_stages < 2) return "inputs that leave no shared memory for the rings";
  const uint32_t window = choice.window_bytes != 0 ? choice.window_bytes : kStageWindow;
  at.window = std::clamp(window / at.stage_bytes, 1U, at.n_stages);
  const double per_cycle = device.peak_bytes_per_cycle * device.n_sm / (s.n_clusters * kClusterRanks);
  at.piece_bytes = choice.piece_bytes != 0 ? choice.piece_bytes / 16 * 16 : is_integer(s.type) ? kPiece : kFloatPiece;
  at.pace = choice.pace != 0 ? choice.pace
                             : static_cast<uint32_t>((is_integer(s.type) ? kPace : kFloatPace) * 1024 / per_cycle);
  return "";
}

// One product of the tape, with nothing but what clusters do.
bool is_plain(const StreamPhase& phase, uint32_t n_parts, DType type) {
  const StreamLinear& l = phase.linear;
  if (phase.kind != StreamKind::kLinear || l.n_products != 1 || l.product[0].type != type) return false;
  for (const GemvPart& part : l.part)
    if (part.bias != nullptr) return false;
  return l.gate_up || l.product[0].n_parts == n_parts;
}

struct LayerPhases {
  const StreamLinear *qkv, *out, *gate_up, *down;
  const DecodeAttentionParams* attention;
};

// Whether a layer has the model's sizes, and reads and adds what clusters do: `x` is its input.
bool is_usual(const LayerPhases& l, const float* x, const ClusterShape& s) {
  const DecodeAttentionParams& a = *l.attention;
  const bool sizes = a.n_heads == s.n_heads && a.n_kv_heads == s.n_kv_heads && a.head_dim == s.head_dim &&
                     l.qkv->n_in == s.d && l.gate_up->n_in == s.d && l.down->n_in == s.n_ff &&
                     l.out->n_in == s.n_heads * s.head_dim && l.out->part[0].n_rows == s.d &&
                     l.down->part[0].n_rows == s.d && l.gate_up->part[0].n_rows == s.n_ff;
  const float* const middle = l.out->part[0].out;
  const bool vectors = l.qkv->x == x && a.q == l.qkv->part[0].out && a.k == l.qkv->part[1].out &&
                       a.v == l.qkv->part[2].out && l.out->x == a.out && l.out->residual == x &&
                       l.gate_up->x == middle && l.down->x == l.gate_up->part[0].out && l.down->residual == middle;
  return sizes && vectors;
}

std::string take_layer(const StreamPhase* p, const StreamTape& tape, LayerPhases& layer) {
  const DType type = tape.phases[1].linear.product[0].type;
  const bool fits = is_plain(p[0], 3, type) && p[1].kind == StreamKind::kAttention && is_plain(p[2], 1, type) &&
                    is_plain(p[3], 2, type) && is_plain(p[4], 1, type);
  if (!fits) return "layers of other than four products of one format";
  layer = {&p[0].linear, &p[2].linear, &p[3].linear, &p[4].linear, &p[1].attention};
  const bool joined = layer.qkv->norm != nullptr && layer.out->norm == nullptr && layer.out->residual != nullptr &&
                      layer.gate_up->norm != nullptr && layer.gate_up->gate_up && layer.down->norm == nullptr &&
                      layer.down->residual != nullptr && !layer.qkv->gate_up;
  if (!joined) return "layers of another form";
  const DecodeAttentionParams& a = *layer.attention;
  if (a.window != 0 || a.apply_temperature || 2 * a.rows.n_pairs != a.head_dim ||
      (a.q_norm == nullptr) != (a.k_norm == nullptr))
    return "attention of another form";
  return "";
}

std::string take_shape(const StreamTape& tape, ClusterShape& s) {
  const auto& phases = tape.phases;
  if (phases.size() < 7 || (phases.size() - 2) % 5 != 0 || phases[0].kind != StreamKind::kEmbed ||
      phases[1].kind != StreamKind::kLinear || phases[2].kind != StreamKind::kAttention)
    return "another form of layers";
  s.type = phases[1].linear.product[0].type;
  if (s.type != DType::kQ8_0 && s.type != DType::kF16 && s.type != DType::kBF16)
    return fmt::format("weights of {}", name(s.type));
  const StreamPhase& head = phases.back();
  if (!is_plain(head, 1, s.type) || !head.linear.is_head || head.linear.norm == nullptr ||
      head.linear.residual != nullptr)
    return "a head of another form";
  s.n_layers = static_cast<uint32_t>((phases.size() - 2) / 5);
  const DecodeAttentionParams& a = phases[2].attention;
  s.cache_type = phases[2].cache_type;
  s.d = phases[1].linear.n_in;
  s.n_heads = a.n_heads;
  s.n_kv_heads = a.n_kv_heads;
  s.head_dim = a.head_dim;
  s.n_ff = phases[5].linear.n_in;
  if (s.n_layers > kMostClusterLayers) return fmt::format("{} layers", s.n_layers);
  if (s.d % (kClusterRanks * 32) != 0 || s.d > 2048) return fmt::format("vectors of {}", s.d);
  if (s.n_ff % kClusterRun != 0 || s.n_ff / kClusterRun < s.n_clusters) return fmt::format("{} activations", s.n_ff);
  const uint64_t per_layer = uint64_t{s.d} * (s.head_dim * (2 * s.n_heads + 2 * s.n_kv_heads) + 3 * s.n_ff);
  const uint64_t bytes = is_integer(s.type) ? per_layer * 34 / 32 : 2 * per_layer;
  if (bytes > kMostLayerBytes) return fmt::format("layers of {} MB", bytes / 1'000'000);
  return "";
}

std::string check_shares(const ClusterShape& s) {
  for (uint32_t c = 0; c < s.n_clusters; ++c) {
    const ClusterShare& h = s.share[c];
    const uint32_t heads = h.n_kv * s.n_heads / s.n_kv_heads;
    if (heads > kClusterRanks) return fmt::format("{} heads for a cluster", heads);
    uint32_t n_stages = 0;
    for (const ClusterProduct* p : {&h.qkv, &h.out, &h.gate_up, &h.down}) {
      const uint32_t per_stage = p->n_warps > 0 ? kClusterWarps >> std::bit_width(p->n_warps - 1) : 1;
      n_stages += (p->n_steps + per_stage - 1) / per_stage;
      if (p->n_groups > 0 && p->lanes < least_lanes(s.type)) return fmt::format("{} rows for a block", 4 * p->n_groups);
    }
    if (n_stages > kMostClusterStages) return fmt::format("{} stages of a layer", n_stages);
  }
  return "";
}

// What all layers have in common.
bool is_alike(const ClusterParams& a, const ClusterParams& b) {
  return a.attn_eps == b.attn_eps && a.ffn_eps == b.ffn_eps && a.qk_eps == b.qk_eps &&
         a.attention_scale == b.attention_scale && a.act == b.act && a.n_ctx == b.n_ctx;
}

}  // namespace

uint64_t ClusterShape::bytes() const {
  const ClusterShare& last = share[n_clusters - 1];
  return last.begin + kClusterRanks * n_layers * last.layer_bytes;
}

std::string plan_clusters(const StreamTape& tape, const FillRopeParams* ropes, uint32_t n_ropes,
                          const DeviceShape& device, uint32_t n_clusters, const StreamChoice& choice,
                          ClusterParams& params, std::vector<ClusterLayer>& layers) {
  ClusterShape& s = params.shape;
  s.n_clusters = std::min(n_clusters, kMostClusters);
  if (s.n_clusters < 4) return fmt::format("{} clusters of {} blocks on this device", n_clusters, kClusterRanks);
  std::string problem = take_shape(tape, s);
  if (problem.empty() && n_ropes != 1) problem = fmt::format("{} rope tables", n_ropes);
  if (!problem.empty()) return problem;
  layers.clear();
  for (uint32_t i = 0; i < s.n_layers; ++i) {
    LayerPhases layer{};
    problem = take_layer(&tape.phases[1 + 5 * i], tape, layer);
    if (!problem.empty()) return problem;
    const StreamPhase& in_front = tape.phases[5 * i];
    if (!is_usual(layer, i == 0 ? in_front.embed.row.out : in_front.linear.part[0].out, s) ||
        tape.phases[2 + 5 * i].cache_type != s.cache_type)
      return "layers of another form";
    const DecodeAttentionParams& a = *layer.attention;
    const ClusterParams before = params;
    layers.push_back({layer.qkv->norm, layer.gate_up->norm, a.q_norm, a.k_norm, a.k_cache, a.v_cache});
    params.attn_eps = layer.qkv->eps;
    params.ffn_eps = layer.gate_up->eps;
    params.qk_eps = a.eps;
    params.attention_scale = a.scale;
    params.act = layer.gate_up->act;
    params.n_ctx = a.n_ctx;
    if (i > 0 && !is_alike(before, params)) return "layers that differ";
  }
  divide(s);
  cut(s);
  problem = check_shares(s);
  if (problem.empty()) problem = place(s, device, choice, params.at);
  if (!problem.empty()) return problem;
  const StreamLinear& head = tape.phases.back().linear;
  if (head.x != tape.phases[tape.phases.size() - 2].linear.part[0].out) return "a head of another form";
  params.head = head.product[0].segment.weights;
  params.head_norm = head.norm;
  params.head_norm_eps = head.eps;
  params.head_units = head.product[0].segment.n_units;
  params.vocab = head.part[0].n_rows;
  params.head_groups = (params.vocab + 3) / 4;
  params.logits = head.part[0].out;
  params.embed_type = tape.phases[0].embed.type;
  params.embed = tape.phases[0].embed.row;
  params.inv_freq = ropes[0].inv_freq;
  params.mscale = ropes[0].mscale;
  params.n_sm = device.n_sm;
  params.inverse_d = 1.0F / static_cast<float>(s.d);
  return "";
}

}  // namespace stretto::cuda
