#include "cuda/executable.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "cuda/ops.h"
#include "cuda/plan_program.h"
#include "cuda/upload.h"
#include "cuda/weight_copies.h"
#include "program/plan.h"

namespace stretto::cuda {
namespace {

constexpr uint64_t kStateBytes = 256;  // of the step's block before its tokens: StepState, then the arg max's words

}  // namespace

CudaExecutable::CudaExecutable(Program program, const CompileOptions& options, const ExecutableOptions& how,
                               const DeviceShape& device)
    : program_(std::move(program)),
      options_(options),
      how_(how),
      sampler_(static_cast<uint32_t>(program_.tables[program_.logits].width), options.n_ctx) {
  machine_.program = &program_;
  machine_.device = device;
  machine_.queue.stream = stream_.get();
  machine_.queue.dependent = how.dependent_launch;
  guards_.bytes = how.guard_bytes;
  const Planner planner = plan_program(program_, options_, device);
  machine_.layouts = planner.layouts;
  machine_.quantized = planner.quantized;
  machine_.rounded = rounded_values(program_);
  machine_.splits = planner.splits;
  machine_.has_experts =
      std::ranges::any_of(program_.nodes, [](const Node& node) { return std::holds_alternative<MoeBlock>(node.op); });
  place_state();
  place_activations();
  place_step();
  place_ropes(planner);
  place_scratch(planner);
  place_sampler();
  for (const GuardBands::Band& b : guards_.bands) check_cuda(cudaMemset(b.begin, 0xff, b.bytes), "guards");
  // What was cleared and filled lies in another stream than the steps.
  check_cuda(cudaDeviceSynchronize(), "clearing device memory");
  weights_ = upload_weights(planner, how.n_threads, machine_);
  place_copies(planner);
  tune();
  if (how.decode != DecodePath::kGraph) open_stream();
  capture();  // also beside the stream: sampled steps and profiles run through graphs
}

CudaExecutable::~CudaExecutable() { (void)cudaStreamSynchronize(stream_.get()); }

// Room for pieces of these sizes, one after the other, with what guards them; zeros.
DeviceArena CudaExecutable::make_arena(std::span<const uint64_t> sizes, std::string_view purpose) const {
  uint64_t bytes = guards_.bytes;
  for (const uint64_t size : sizes) bytes += Cursor::rounded(size) + guards_.bytes;
  DeviceArena arena(bytes, purpose);
  arena.clear();
  return arena;
}

void CudaExecutable::place_state() {
  std::vector<uint64_t> sizes;
  for (const StateInfo& s : program_.tables.states) sizes.push_back(s.bytes(cache_positions(options_.n_ctx)));
  state_ = make_arena(sizes, "the state (KV cache)");
  if (guards_.bytes > 0 && state_.bytes() > 0) check_cuda(cudaMemset(state_.data(), 0xff, state_.bytes()), "guards");
  Cursor cursor(state_.data(), &guards_);
  for (const uint64_t size : sizes) machine_.states.push_back(cursor.take(size));
}

// The values of a step, none sharing its place with another.
std::vector<float*> CudaExecutable::place_guarded(Cursor& cursor, const StepShape& step) const {
  std::vector<float*> values;
  for (size_t i = 0; i < program_.tables.values.size(); ++i)
    values.push_back(
        reinterpret_cast<float*>(cursor.take(value_bytes(program_.tables, ValueId{static_cast<int32_t>(i)}, step))));
  return values;
}

void CudaExecutable::place_activations() {
  const StepShape token{.n_tokens = 1, .n_outputs = 1, .position = 0};
  const StepShape step{.n_tokens = options_.max_tokens, .n_outputs = options_.max_outputs, .position = 0};
  if (guards_.bytes > 0) {
    std::vector<uint64_t> sizes;
    for (const StepShape& shape : {token, step})
      for (size_t i = 0; i < program_.tables.values.size(); ++i)
        sizes.push_back(value_bytes(program_.tables, ValueId{static_cast<int32_t>(i)}, shape));
    activations_ = make_arena(sizes, "activations");
    Cursor cursor(activations_.data(), &guards_);
    token_values_ = place_guarded(cursor, token);
    step_values_ = place_guarded(cursor, step);
  } else {
    const BufferPlan one = plan_buffers(program_, token), largest = plan_buffers(program_, step);
    activations_ = make_arena(std::array{one.bytes, largest.bytes}, "activations");
    Cursor cursor(activations_.data());
    std::byte* const begin = cursor.take(one.bytes);
    for (const uint64_t offset : one.offset) token_values_.push_back(reinterpret_cast<float*>(begin + offset));
    std::byte* const rest = cursor.take(largest.bytes);
    for (const uint64_t offset : largest.offset) step_values_.push_back(reinterpret_cast<float*>(rest + offset));
  }
  machine_.values = token_values_.data();
  const uint64_t vocab = program_.tables[program_.logits].width;
  logits_ = PinnedBuffer(options_.max_outputs * vocab * sizeof(float), "logits");
}

void CudaExecutable::place_step() {
  const uint64_t bytes = kStateBytes + 2 * Cursor::rounded(options_.max_tokens * sizeof(int32_t));
  step_ = make_arena(std::array{bytes}, "the step");
  std::byte* const block = Cursor(step_.data(), &guards_).take(bytes);
  sent_ = PinnedBuffer(bytes, "the step");
  std::memset(sent_.data(), 0, bytes);
  // The last word is the host's wish to stop.
  mailbox_ = PinnedBuffer((kMailboxSize + 1) * sizeof(uint64_t), "generated tokens");
  std::memset(mailbox_.data(), 0, mailbox_.bytes());
  machine_.state = reinterpret_cast<StepState*>(block);
  machine_.tokens = reinterpret_cast<int32_t*>(block + kStateBytes);
  machine_.outputs = machine_.tokens + options_.max_tokens;
}

void CudaExecutable::place_ropes(const Planner& planner) {
  std::vector<uint64_t> sizes;
  const uint64_t n = options_.max_tokens * sizeof(float);
  for (const auto& table : planner.ropes) {
    const uint64_t pairs = table->inv_freq.size();
    for (const uint64_t size : {pairs * n, pairs * n, n, pairs * sizeof(double)}) sizes.push_back(size);
  }
  ropes_ = make_arena(sizes, "rope tables");
  Cursor cursor(ropes_.data(), &guards_);
  for (const auto& table : planner.ropes) {
    const uint64_t pairs = table->inv_freq.size();
    RopeTableRows r{.table = table.get(), .rows = {}, .inv_freq = nullptr};
    r.rows.cos = reinterpret_cast<float*>(cursor.take(pairs * n));
    r.rows.sin = reinterpret_cast<float*>(cursor.take(pairs * n));
    r.rows.temperature = reinterpret_cast<float*>(cursor.take(n));
    r.rows.n_pairs = static_cast<uint32_t>(pairs);
    auto* const inv_freq = reinterpret_cast<double*>(cursor.take(pairs * sizeof(double)));
    check_cuda(cudaMemcpy(inv_freq, table->inv_freq.data(), pairs * sizeof(double), cudaMemcpyHostToDevice),
               "rope tables");
    r.inv_freq = inv_freq;
    machine_.ropes.push_back(r);
  }
}

void CudaExecutable::place_scratch(const Planner& p) {
  const uint64_t sizes[] = {p.dense_x_bytes,
                            p.dense_w_bytes,
                            p.wide_bytes,
                            p.partial_bytes,
                            p.n_arrived * sizeof(uint32_t),
                            p.dense_w_bytes > 0 ? Gemm::kWorkspaceBytes : 0};
  std::vector<uint64_t> all(std::begin(sizes), std::end(sizes));
  all.insert(all.end(), p.expert_bytes.begin(), p.expert_bytes.end());
  scratch_ = make_arena(all, "scratch");
  Cursor cursor(scratch_.data(), &guards_);
  machine_.dense_x = cursor.take(sizes[0]);
  machine_.dense_w = cursor.take(sizes[1]);
  machine_.dense_w_bytes = sizes[1];
  machine_.wide = reinterpret_cast<float*>(cursor.take(sizes[2]));
  machine_.partial = reinterpret_cast<float*>(cursor.take(sizes[3]));
  machine_.n_arrived = reinterpret_cast<uint32_t*>(cursor.take(sizes[4]));
  for (size_t i = 0; i < p.expert_bytes.size(); ++i) machine_.experts[i] = cursor.take(p.expert_bytes[i]);
  if (sizes[5] == 0) return;
  const char* problem = nullptr;
  gemm_ = Gemm::open(cursor.take(sizes[5]), &problem);
  machine_.gemm = gemm_.get();
}

void CudaExecutable::place_copies(const Planner& planner) {
  if (!how_.weight_copies || !gemm_) return;
  size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "free memory");
  copies_ = copy_weights(planner, free / 2, how_.remark, machine_);
}

void CudaExecutable::tune() {
  const uint32_t most = machine_.device.shared_bytes_per_block;
  for (auto& [key, matrix] : machine_.matrices) {
    if (key.experts) continue;  // tuned by what they are used for (cuda/expert_ops.cpp)
    const GemvChoice choice = machine_.choice_of(matrix);
    matrix.n_plain = matrix.n_normed = 0;
    for (size_t i = 0; i < kGemvTokens.size(); ++i) {
      const uint32_t n = kGemvTokens[i];
      matrix.plain[i] = tune_gemv(matrix.shape, false, machine_.device, choice, 1, n);
      matrix.normed[i] = tune_gemv(matrix.shape, true, machine_.device, choice, matrix.run_groups, n);
      if (matrix.n_plain == i && matrix.plain[i].shared_bytes <= most) ++matrix.n_plain;
      if (matrix.n_normed == i && matrix.normed[i].shared_bytes <= most) ++matrix.n_normed;
    }
    if (matrix.n_plain == 0 || matrix.n_normed == 0)
      fail(ErrorKind::kUnsupported, "a matrix with {} columns needs more shared memory than this device has",
           matrix.shape.n_in);
  }
}

void CudaExecutable::choose(const Choices& choices) {
  machine_.choices = choices;
  machine_.values = token_values_.data();
  end_loop();
  tune();
  if (runner_) runner_->choose(choices.stream);
  capture();
}

// The first kernel of a step waits for everything before it, so that the kernels behind it may read the step's state
// before their own wait.
void CudaExecutable::launch_ops() {
  const bool dependent = std::exchange(machine_.queue.dependent, false);
  const auto restore = [&] { machine_.queue.dependent = dependent; };
  const Choices& choices = machine_.choices;
  for (const RopeTableRows& r : machine_.ropes) {
    if (!choices.wants(kStepRole)) break;
    launch_fill_rope(machine_.queue, static_cast<uint32_t>(machine_.n_tokens),
                     {.rows = r.rows,
                      .inv_freq = r.inv_freq,
                      .position = machine_.position(),
                      .mscale = r.table->mscale,
                      .temperature_beta = r.table->temperature_beta,
                      .temperature_context = r.table->temperature_context});
    restore();
  }
  const uint64_t n_tokens = machine_.n_tokens;
  for (size_t i = 0, end = 0; i < program_.nodes.size(); i = end) {
    end = sequence_end(program_.nodes, i);
    if (!program_.nodes[i].sequential || n_tokens == 1) {
      launch_nodes(i, end, dependent);
      continue;
    }
    machine_.n_tokens = 1;
    for (machine_.first_row = 0; machine_.first_row < n_tokens; ++machine_.first_row) launch_nodes(i, end, dependent);
    machine_.first_row = 0;
    machine_.n_tokens = n_tokens;
  }
}

// Nodes begin .. end - 1 as far as measurements want them; behind the first kernel others may start early.
void CudaExecutable::launch_nodes(size_t begin, size_t end, bool dependent) {
  for (size_t i = begin; i < end; ++i) {
    const Node& node = program_.nodes[i];
    if (!machine_.choices.wants(node.role)) continue;
    std::visit(
        [&]<class T>(const T& op) {
          if constexpr (requires { cuda::run(op, machine_); }) cuda::run(op, machine_);
        },
        node.op);
    machine_.queue.dependent = dependent;
  }
}

void CudaExecutable::launch_choice() {
  auto* const words =
      reinterpret_cast<unsigned long long*>(reinterpret_cast<std::byte*>(machine_.state) + kStateBytes / 2);
  launch_arg_max(machine_.queue, machine_.device,
                 {.logits = machine_.value(program_.logits),
                  .n = static_cast<uint32_t>(program_.tables[program_.logits].width),
                  .token = machine_.tokens,
                  .state = machine_.state,
                  .best = words,
                  .n_arrived = reinterpret_cast<uint32_t*>(words + 1),
                  .mailbox = reinterpret_cast<volatile uint64_t*>(mailbox_.data()),
                  .mailbox_size = kMailboxSize});
}

void CudaExecutable::capture() {
  machine_.n_tokens = machine_.n_outputs = 1;
  machine_.values = token_values_.data();
  machine_.queue.n_launches = 0;
  if (how_.graph) {
    decode_.capture(stream_.get(), [&] { launch_ops(); });
    n_decode_launches_ = machine_.queue.n_launches;
    greedy_.capture(stream_.get(), [&] { launch_loop_step(false); });
    sampled_.capture(stream_.get(), [&] { launch_loop_step(true); });
    stream_.wait();
  }
}

void CudaExecutable::run_decode() {
  if (streams_) {
    n_decode_launches_ = 1;
    return runner_->run(stream_.get());
  }
  if (how_.graph) return decode_.replay(stream_.get());
  machine_.n_tokens = machine_.n_outputs = 1;
  machine_.values = token_values_.data();
  machine_.queue.n_launches = 0;
  launch_ops();
  n_decode_launches_ = machine_.queue.n_launches;
}

void CudaExecutable::send_step(const Step& step) {
  auto* const tokens = reinterpret_cast<int32_t*>(sent_.data() + kStateBytes);
  *reinterpret_cast<StepState*>(sent_.data()) = {.position = static_cast<int32_t>(step.position), .n_generated = 0};
  std::copy(step.tokens.begin(), step.tokens.end(), tokens);
  tokens[options_.max_tokens] = 0;
  std::copy(step.outputs.begin(), step.outputs.end(), tokens + options_.max_tokens);
  const uint64_t bytes = kStateBytes + (options_.max_tokens + std::max<uint64_t>(1, step.outputs.size())) * 4;
  check_cuda(cudaMemcpyAsync(machine_.state, sent_.data(), bytes, cudaMemcpyHostToDevice, stream_.get()), "a step");
}

std::span<const float> CudaExecutable::run_step(const Step& step) {
  check_cuda(cudaSetDevice(how_.device), "choice of the device");
  end_loop();  // one may still run; and the pinned step must not change under its copy
  send_step(step);
  machine_.values = (step.tokens.size() == 1 ? token_values_ : step_values_).data();
  if (step.tokens.size() == 1) {
    run_decode();
  } else {
    machine_.n_tokens = step.tokens.size();
    machine_.n_outputs = step.outputs.size();
    launch_ops();
  }
  const uint64_t n = step.outputs.size() * program_.tables[program_.logits].width;
  auto* const logits = reinterpret_cast<float*>(logits_.data());
  if (n > 0)
    check_cuda(cudaMemcpyAsync(logits, machine_.value(program_.logits), n * sizeof(float), cudaMemcpyDeviceToHost,
                               stream_.get()),
               "logits");
  stream_.wait();
  if (streams_) runner_->check();
  return {logits, n};
}

// A device that fails in the middle of a step leaves nothing to go on with.
void CudaExecutable::stop(const char* reason) {
  std::fprintf(stderr, "stretto: error: %s\n", reason);
  std::_Exit(static_cast<int>(ErrorKind::kCuda));
}

std::span<const float> CudaExecutable::run(const Step& step) {
  CHECK(!step.tokens.empty() && step.tokens.size() <= options_.max_tokens);
  CHECK(step.outputs.size() <= options_.max_outputs && step.position + step.tokens.size() <= options_.n_ctx);
  try {
    return run_step(step);
  } catch (const Error& e) {
    stop(e.what());
  }
}

// The device has nothing to do and knows the step that comes next.
void CudaExecutable::begin_decode(int32_t token, uint64_t position) {
  check_cuda(cudaSetDevice(how_.device), "choice of the device");
  end_loop();
  std::memset(mailbox_.data(), 0, mailbox_.bytes());
  send_step({.tokens = {&token, 1}, .position = position, .outputs = {}});
  loop_samples_ = false;
  loop_position_ = position;
}

uint64_t CudaExecutable::memory_bytes() const {
  return weights_.bytes() + copies_.bytes() + state_.bytes() + activations_.bytes() + scratch_.bytes() +
         ropes_.bytes() + step_.bytes() + sampling_.bytes() + (runner_ ? runner_->memory_bytes() : 0);
}

}  // namespace stretto::cuda
