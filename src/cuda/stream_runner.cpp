#include "cuda/stream_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "base/error.h"
#include "cuda/ops.h"

namespace stretto::cuda {
namespace {

// Measured (docs/stream.md): stages of integer formats as small as a unit, of floats twice that.
constexpr uint32_t kStageBytes = 2304, kFloatStageBytes = 4608;
constexpr uint32_t kWindowBytes = 80000, kFloatWindowBytes = 48000;

uint64_t rounded(uint64_t bytes) { return Cursor::rounded(bytes); }

// The values that an op reads and writes.
struct Ends {
  std::vector<ValueId> in, out;
};

Ends ends_of(const Op& op) {
  struct Visitor : TensorVisitor {
    Ends ends;
    void in(std::string_view, ValueId& id) { ends.in.push_back(id); }
    void out(std::string_view, ValueId& id) { ends.out.push_back(id); }
  } visitor;
  visit_tensors(op, visitor);
  return visitor.ends;
}

// The vector that a phase waits for, and those that it writes.
struct PhaseEnds {
  const float* in = nullptr;
  std::vector<const float*> out;
};

PhaseEnds ends_of(const StreamPhase& phase) {
  switch (phase.kind) {
    case StreamKind::kEmbed:
      return {nullptr, {phase.embed.row.out}};
    case StreamKind::kAttention:
      return {phase.attention.q, {phase.attention.out}};
    case StreamKind::kNormRow:
      return {phase.norm_row.x, {phase.norm_row.out}};
    case StreamKind::kRoute:
      return {phase.route.op.v, {}};
    case StreamKind::kCollapse:
      return {phase.collapse.op.v, {phase.collapse.op.out}};
    case StreamKind::kState:
      return {};
    case StreamKind::kLinear:
      break;
  }
  PhaseEnds ends{phase.linear.x, {}};
  for (const GemvPart& part : phase.linear.part)
    if (part.out != nullptr) ends.out.push_back(part.out);
  return ends;
}

// Counts the uses of each place over the phases of the tape.
void set_flags(StreamTape& tape) {
  std::map<const float*, uint32_t> n_uses;
  for (StreamPhase& phase : tape.phases) {
    const PhaseEnds ends = ends_of(phase);
    if (ends.in != nullptr) phase.in.use = n_uses[ends.in] - 1;
    if (!ends.out.empty()) phase.out.use = n_uses[ends.out.front()];
    for (const float* out : ends.out) ++n_uses[out];
  }
  for (StreamPhase& phase : tape.phases) {
    const PhaseEnds ends = ends_of(phase);
    if (ends.in != nullptr) phase.in.per_token = n_uses[ends.in];
    if (!ends.out.empty()) phase.out.per_token = n_uses[ends.out.front()];
  }
}

}  // namespace

StreamRunner::StreamRunner(const Machine& machine, const volatile uint32_t* stop, volatile uint64_t* mailbox,
                           uint32_t mailbox_size)
    : machine_(machine), control_(rounded(sizeof(StreamControl)), "the stream's control words") {
  control_.clear();
  params_.control = reinterpret_cast<StreamControl*>(control_.data());
  params_.token = machine.tokens;
  params_.state = machine.state;
  params_.stop = stop;
  params_.mailbox = mailbox;
  params_.mailbox_size = mailbox_size;
  if (machine.ropes.size() > kMaxStreamRopes) problem_ = fmt::format("{} rope tables", machine.ropes.size());
  for (const RopeTableRows& r : machine.ropes)
    if (params_.n_ropes < kMaxStreamRopes)
      params_.rope[params_.n_ropes++] = {.rows = r.rows,
                                         .inv_freq = r.inv_freq,
                                         .mscale = r.table->mscale,
                                         .temperature_beta = r.table->temperature_beta,
                                         .temperature_context = r.table->temperature_context};
  if (problem_.empty()) choose({});
}

StreamPlaces StreamRunner::make_places() {
  const Program& program = *machine_.program;
  const Tables& t = program.tables;
  // Where every matrix has rows for every block, a vector that is complete proves that all blocks are done with the
  // phase before; then layers may take turns with two sets of places, which stay in the second-level cache.
  bool covers = true;
  for (const auto& [key, matrix] : machine_.matrices)
    covers = covers && matrix.shape.n_groups() >= machine_.device.n_sm;
  StreamPlaces places;
  places.values.assign(machine_.values, machine_.values + t.values.size());
  std::map<std::tuple<std::string, uint64_t, int>, uint64_t> offsets;
  std::vector<uint64_t> offset(t.values.size(), UINT64_MAX);
  uint64_t bytes = 0, scratch = 0;
  for (const Node& node : program.nodes) {
    const auto place = [&](ValueId id, ValueId same_as) {
      if (!id || id == program.logits) return;
      const auto i = static_cast<size_t>(id.index);
      if (same_as) return void(offset[i] = offset[static_cast<size_t>(same_as.index)]);
      const int set = covers ? node.layer & 1 : static_cast<int>(i) + 2;
      const auto [found, is_new] = offsets.try_emplace({t[id].name, t[id].width, set}, bytes);
      if (is_new) bytes += rounded(t[id].width * sizeof(float));
      offset[i] = found->second;
    };
    // The last rows go straight from the layers to the head: their values share a place.
    if (const auto* take = std::get_if<TakeOutputs>(&node.op)) {
      place(take->out, take->x);
    } else if (const auto* event = std::get_if<SwapEvent>(&node.op)) {
      // Beside its result, which may stand for a row of memory up to the token's end.
      offset[static_cast<size_t>(event->out.index)] = bytes;
      bytes += rounded(t[event->out].width * sizeof(float));
      scratch += stream_event_floats(*event, t) * sizeof(float);
    } else if (!std::holds_alternative<StateRead>(node.op)) {
      for (const ValueId id : ends_of(node.op).out) place(id, {});
    }
  }
  if (bytes + scratch > vectors_.bytes()) vectors_ = DeviceArena(bytes + scratch, "the stream's vectors");
  places.scratch = reinterpret_cast<float*>(vectors_.data() + bytes);
  for (size_t i = 0; i < offset.size(); ++i)
    if (offset[i] != UINT64_MAX) places.values[i] = reinterpret_cast<float*>(vectors_.data() + offset[i]);
  return places;
}

namespace {

// Whether no matrix of the tape is of an integer format.
bool multiplies_floats(const StreamTape& tape) {
  return std::ranges::none_of(tape.phases, [](const StreamPhase& phase) { return phase.linear.integer; });
}

}  // namespace

StreamTape StreamRunner::make_tape(const StreamChoice& choice) {
  const Program& program = *machine_.program;
  const StreamPlaces places = make_places();
  Machine machine = machine_;
  machine.values = places.values.data();
  machine.n_tokens = machine.n_outputs = 1;
  machine.first_row = 0;
  machine.quantized.assign(machine.quantized.size(), false);  // vectors between phases are floats
  StreamTape tape;
  tape.n_blocks = machine.device.n_sm;
  tape.scratch = places.scratch;
  tape.stage_bytes = choice.stage_bytes;
  for (const Node& node : program.nodes) {
    std::visit(
        [&]<class T>(const T& op) {
          if constexpr (requires { cuda::tape(op, machine, tape); }) {
            cuda::tape(op, machine, tape);
          } else {
            tape.problem = std::string(T::kName);
          }
        },
        node.op);
    ++tape.node;
    if (!tape.problem.empty()) break;
    if (choice.n_phases != 0 && tape.phases.size() >= choice.n_phases) break;
  }
  set_flags(tape);
  return tape;
}

// The partial results of attention. Attentions whose runs differ have places of their own: all runs of a place are
// written each time, so that the uses of a place can be told apart.
void StreamRunner::place_partials() {
  std::map<uint32_t, std::pair<uint64_t, uint32_t>> places;  // by shape: offset in floats, uses
  uint64_t n_floats = 0;
  for (StreamPhase& phase : host_tape_.phases) {
    if (phase.kind != StreamKind::kAttention) continue;
    const StreamCache& c = phase.cache;
    const DecodeAttentionScratch scratch =
        decode_attention_scratch(c.n_heads, c.n_kv_heads, phase.attention.head_dim, c.n_splits);
    const auto [found, is_new] = places.try_emplace(c.shape, n_floats, 0U);
    if (is_new) n_floats += scratch.partial;
    phase.join = found->second.second++;
  }
  if (n_floats * sizeof(float) > partials_.bytes())
    partials_ = DeviceArena(n_floats * sizeof(float), "the stream's partial results");
  for (StreamPhase& phase : host_tape_.phases)
    if (phase.kind == StreamKind::kAttention)
      phase.attention.partial = reinterpret_cast<float*>(partials_.data()) + places.at(phase.cache.shape).first;
  params_.partial = reinterpret_cast<float4*>(partials_.data());
  params_.n_partial = static_cast<uint32_t>(n_floats / 4);
}

void StreamRunner::choose(const StreamChoice& wanted) {
  StreamChoice choice = wanted;
  if (wanted.stage_bytes == 0) choice.stage_bytes = kStageBytes;
  host_tape_ = make_tape(choice);
  const bool floats = multiplies_floats(host_tape_);
  if (wanted.stage_bytes == 0 && floats) {
    choice.stage_bytes = kFloatStageBytes;
    host_tape_ = make_tape(choice);
  }
  if (wanted.window_bytes == 0) choice.window_bytes = floats ? kFloatWindowBytes : kWindowBytes;
  vectors_.clear();
  control_.clear();
  problem_ = host_tape_.problem;
  if (!problem_.empty()) return;
  if (host_tape_.segments.empty()) {
    problem_ = "a program without products";
    return;
  }
  // No longer than what the tape's formats and caches put into a stage.
  host_tape_.stage_bytes = 0;
  for (const StreamSegment& g : host_tape_.segments)
    host_tape_.stage_bytes =
        std::max({host_tape_.stage_bytes, g.units_per_stage * g.unit_bytes, g.cache.positions * g.cache.row_bytes});
  params_.at = stream_layout(host_tape_, machine_.device, choice);
  if (params_.at.n_stages == 0) {
    problem_ = "inputs that leave no shared memory for the rings";
    return;
  }
  place_partials();
  const uint64_t phases = host_tape_.phases.size() * sizeof(StreamPhase);
  const uint64_t segments = host_tape_.segments.size() * sizeof(StreamSegment);
  if (rounded(phases) + segments > tape_.bytes()) tape_ = DeviceArena(rounded(phases) + segments, "the stream's tape");
  check_cuda(cudaMemcpy(tape_.data(), host_tape_.phases.data(), phases, cudaMemcpyHostToDevice), "the stream's tape");
  check_cuda(cudaMemcpy(tape_.data() + rounded(phases), host_tape_.segments.data(), segments, cudaMemcpyHostToDevice),
             "the stream's tape");
  params_.phases = reinterpret_cast<const StreamPhase*>(tape_.data());
  params_.segments = reinterpret_cast<const StreamSegment*>(tape_.data() + rounded(phases));
  params_.n_phases = static_cast<uint32_t>(host_tape_.phases.size());
  params_.n_segments = static_cast<uint32_t>(host_tape_.segments.size());
  choose_clusters(wanted);
}

// Beside the tape, whose phases name what waits in vain.
void StreamRunner::choose_clusters(const StreamChoice& choice) {
  clusters_ = {};
  cluster_problem_ = choice.clusters ? "" : "they are not wanted";
  if (choice.n_phases != 0) cluster_problem_ = "only a part of the phases is wanted";
  std::vector<ClusterLayer> layers;
  if (cluster_problem_.empty())
    cluster_problem_ = plan_clusters(host_tape_, params_.rope, params_.n_ropes, machine_.device,
                                     most_clusters(machine_.device), choice, clusters_, layers);
  if (!cluster_problem_.empty()) return;
  const uint64_t sums = rounded(uint64_t{4} * kMostClusters * clusters_.shape.d * sizeof(float)),
                 bytes = sums + layers.size() * sizeof(ClusterLayer);
  if (bytes > cluster_tape_.bytes()) cluster_tape_ = DeviceArena(bytes, "the clusters' sums");
  cluster_tape_.clear();
  check_cuda(cudaMemcpy(cluster_tape_.data() + sums, layers.data(), layers.size() * sizeof(ClusterLayer),
                        cudaMemcpyHostToDevice),
             "the clusters' layers");
  clusters_.partial = reinterpret_cast<float*>(cluster_tape_.data());
  clusters_.layers = reinterpret_cast<const ClusterLayer*>(cluster_tape_.data() + sums);
  if (cluster_weights_.bytes() == 0) {
    // As other copies of weights (CudaExecutable::place_copies).
    size_t free = 0, total = 0;
    check_cuda(cudaMemGetInfo(&free, &total), "free memory");
    if (clusters_.shape.bytes() > free / 2) {
      cluster_problem_ = fmt::format("{} MB of weights in another order, {} MB are free",
                                     clusters_.shape.bytes() / 1'000'000, free / 1'000'000);
      return;
    }
    pack_clusters();
  }
  clusters_.weights = reinterpret_cast<const uint8_t*>(cluster_weights_.data());
}

void StreamRunner::pack_clusters() {
  cluster_weights_ = DeviceArena(rounded(clusters_.shape.bytes()), "the clusters' weights");
  std::vector<ClusterSources> sources;
  const auto weights = [&](size_t phase) { return host_tape_.phases[phase].linear.product[0].segment.weights; };
  for (size_t i = 1; i + 1 < host_tape_.phases.size(); i += 5)
    sources.push_back({weights(i), weights(i + 2), weights(i + 3), weights(i + 4)});
  cuda::pack_clusters(nullptr, clusters_.shape, sources.data(), reinterpret_cast<uint8_t*>(cluster_weights_.data()));
  check_cuda(cudaDeviceSynchronize(), "the order of the clusters' weights");
}

void StreamRunner::launch(cudaStream_t stream, const StreamParams& p) const {
  if (!has_clusters()) return launch_stream(stream, machine_.device, p);
  ClusterParams c = clusters_;
  static_cast<StreamLaunch&>(c) = p;
  launch_clusters(stream, c);
}

void StreamRunner::run(cudaStream_t stream) {
  StreamParams p = params_;
  p.n_tokens = 1;
  p.stop = nullptr;
  launch(stream, p);
}

void StreamRunner::run_greedy(cudaStream_t stream, uint32_t n_tokens) {
  StreamParams p = params_;
  p.greedy = true;
  p.n_tokens = n_tokens;
  launch(stream, p);
}

void StreamRunner::check() const {
  StreamControl control;
  check_cuda(cudaMemcpy(&control, control_.data(), sizeof control, cudaMemcpyDeviceToHost), "the stream's state");
  if (control.late_phase == 0) return;
  const uint32_t phase = ~control.late_phase;
  const bool known = phase < host_tape_.phases.size();
  const Node* node = known ? &machine_.program->nodes[host_tape_.phases[phase].op] : nullptr;
  fail(ErrorKind::kCuda, "the persistent stream waited in vain before phase {} ({})", phase,
       node != nullptr ? fmt::format("{}, layer {}", node->role, node->layer) : "the end of the token");
}

void StreamRunner::set_arrivals(uint32_t n) {
  StreamControl control;
  check_cuda(cudaDeviceSynchronize(), "the stream's state");
  check_cuda(cudaMemcpy(&control, control_.data(), sizeof control, cudaMemcpyDeviceToHost), "the stream's state");
  control.arrived = control.arrived_begin = n;
  check_cuda(cudaMemcpy(control_.data(), &control, sizeof control, cudaMemcpyHostToDevice), "the stream's state");
}

void StreamRunner::withhold_results(uint32_t phase) {
  clusters_.withheld = phase;
  StreamPhase broken = host_tape_.phases.at(phase);
  ++broken.out.use;
  check_cuda(cudaMemcpy(tape_.data() + phase * sizeof broken, &broken, sizeof broken, cudaMemcpyHostToDevice),
             "the stream's tape");
}

void StreamRunner::withhold_weights() {
  clusters_.withheld = kWithheldWeights;
  StreamSegment broken = host_tape_.segments.back();
  broken.groups = broken.extra = 0;
  const uint64_t offset = rounded(host_tape_.phases.size() * sizeof(StreamPhase)) +
                          (host_tape_.segments.size() - 1) * sizeof(StreamSegment);
  check_cuda(cudaMemcpy(tape_.data() + offset, &broken, sizeof broken, cudaMemcpyHostToDevice), "the stream's tape");
}

void StreamRunner::measure(bool wanted) {
  const uint64_t bytes = uint64_t{params_.n_phases} * machine_.device.n_sm * sizeof(StreamClock);
  if (wanted && clocks_.bytes() < bytes) clocks_ = DeviceArena(bytes, "the stream's clocks");
  if (wanted) clocks_.clear();
  params_.clocks = wanted ? reinterpret_cast<StreamClock*>(clocks_.data()) : nullptr;
}

std::vector<StreamTime> StreamRunner::times() const {
  if (params_.clocks == nullptr) return {};
  int khz = 0;
  check_cuda(cudaDeviceGetAttribute(&khz, cudaDevAttrClockRate, 0), "clock rate");
  const double ns = 1e6 / khz;
  const uint32_t n_sm = machine_.device.n_sm;
  std::vector<StreamClock> clocks(uint64_t{params_.n_phases} * n_sm);
  check_cuda(cudaMemcpy(clocks.data(), clocks_.data(), clocks.size() * sizeof clocks[0], cudaMemcpyDeviceToHost),
             "the stream's clocks");
  const uint32_t n_stages = has_clusters() ? clusters_.at.n_stages : params_.at.n_stages;
  std::vector<StreamTime> out;
  for (size_t i = 0; i < clocks.size(); ++i) {
    const StreamClock& c = clocks[i];
    out.push_back({.op = host_tape_.phases[i / n_sm].op,
                   .sm = c.sm,
                   .wait_ns = ns * c.wait,
                   .input_ns = ns * c.input,
                   .work_ns = ns * c.work,
                   .rest_ns = ns * c.rest,
                   .ring_share = static_cast<double>(c.ring) / n_stages});
  }
  return out;
}

uint64_t StreamRunner::weight_bytes(size_t phase) const {
  const StreamLinear& linear = host_tape_.phases.at(phase).linear;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < linear.n_products; ++i) {
    const StreamSegment& s = linear.product[i].segment;
    const uint64_t n_groups = uint64_t{s.groups} * machine_.device.n_sm + s.extra;
    bytes += n_groups * s.n_units * s.unit_bytes;
  }
  return bytes;
}

}  // namespace stretto::cuda
