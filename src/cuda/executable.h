// A program compiled for a GPU: its arenas, its captured steps, and the loop over its ops for every other step.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "cuda/cuda_backend.h"
#include "cuda/machine.h"
#include "cuda/memory.h"
#include "cuda/stream_runner.h"
#include "cuda/token_sampler.h"

namespace stretto::cuda {

inline constexpr uint32_t kMailboxSize = 64;  // tokens

struct ExecutableOptions {
  int device = 0;
  bool graph = true;
  bool dependent_launch = true;
  bool weight_copies = true;  // decoded weights for large steps, in up to half of the free memory
  int n_threads = 1;          // that pack weights
  uint64_t guard_bytes = 0;   // for tests: every value in a place of its own, with gaps around all buffers
  DecodePath decode = DecodePath::kGraph;
  bool has_stream = false;                              // whether the device can run the persistent stream
  std::function<void(const std::string&)> remark = {};  // never empty
};

// `program` is lowered already.
class CudaExecutable : public Executable {
 public:
  CudaExecutable(Program program, const CompileOptions& options, const ExecutableOptions& how,
                 const DeviceShape& device);
  ~CudaExecutable() override;

  const Program& program() const override { return program_; }
  std::span<const float> run(const Step& step) override;
  uint64_t memory_bytes() const override;
  uint64_t launches_per_token() const override { return n_decode_launches_; }
  uint64_t graph_launches_per_token() const override { return how_.graph ? 1 : n_decode_launches_; }
  bool start_decode(int32_t token, uint64_t position, const TokenChoice& choice) override;
  int32_t next_token() override;
  void stop_decode() override;
  std::optional<Profile> profile(const ProfileOptions& options) override;
  std::optional<double> device_us_per_token(int32_t token, uint64_t position, int n_steps) override;

  // The persistent stream, nullptr where decode steps run through the graph. Its clocks, for reports.
  StreamRunner* stream_runner() { return runner_.get(); }
  // For measurements: from now on decode steps run through the stream (which must be there) or the graph.
  void use_stream(bool wanted);

  // For measurements: tunes every launch anew and captures the step again.
  void choose(const Choices& choices);
  // For tests: the activations, to be filled with garbage between steps.
  const DeviceArena& activations() const { return activations_; }
  // For tests: the gaps (all bytes 0xff), and the state, which begins as 0xff where there are gaps.
  const GuardBands& guards() const { return guards_; }
  const std::byte* state(size_t id) const { return machine_.states[id]; }
  const CacheLayout& layout(size_t i) const { return machine_.layouts[i]; }

 private:
  struct Variant;

  DeviceArena make_arena(std::span<const uint64_t> sizes, std::string_view purpose) const;
  void place_state();
  void place_activations();
  std::vector<float*> place_guarded(Cursor& cursor, const StepShape& step) const;
  void place_step();
  void place_ropes(const Planner& planner);
  void place_scratch(const Planner& planner);
  void place_copies(const Planner& planner);
  void place_sampler();
  void tune();
  void capture();
  void launch_ops();
  void launch_nodes(size_t begin, size_t end, bool dependent);
  void launch_choice();
  void launch_sample();
  void launch_loop_step(bool sampled);
  void run_decode();
  void run_loop_step();
  void begin_decode(int32_t token, uint64_t position);
  void start_loop(int32_t token, uint64_t position, const TokenChoice& choice);
  double host_us_per_token(int32_t token, uint64_t position, int n_steps);
  void launch_variant(const Variant& v);
  StreamProfile profile_stream(const ProfileOptions& options);
  double time_variant(Variant& v, const ProfileOptions& options, int n_steps);
  void open_stream();
  bool measures_faster_stream(int32_t token, uint64_t position, int n_tokens);
  void choose_path(int32_t token, uint64_t position);
  void end_loop();
  void send_step(const Step& step);
  [[noreturn]] static void stop(const char* reason);
  std::span<const float> run_step(const Step& step);

  const Program program_;
  const CompileOptions options_;
  const ExecutableOptions how_;
  Stream stream_;
  Machine machine_;
  // Where the values lie: in steps of one token close together, so that few pages are touched, else with room for the
  // largest step.
  std::vector<float*> token_values_, step_values_;
  GuardBands guards_;
  DeviceArena weights_, copies_, state_, activations_, scratch_, ropes_, step_, sampling_;
  PinnedBuffer sent_, logits_, mailbox_;
  std::unique_ptr<Gemm> gemm_;
  TokenSampler sampler_;
  std::unique_ptr<StreamRunner> runner_;
  bool streams_ = false;
  std::array<std::optional<bool>, 65> streams_at_ = {};  // what was measured, per doubling of the position
  Graph decode_, greedy_, sampled_;
  uint64_t n_decode_launches_ = 0;
  // The decode loop: steps put into the stream and tokens handed out.
  bool loop_samples_ = false;
  uint64_t loop_position_ = 0, n_launched_ = 0, n_taken_ = 0;
};

}  // namespace stretto::cuda
