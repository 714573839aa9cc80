// A program compiled for a GPU: its arenas, its captured steps, and the loop over its ops for every other step.
#pragma once

#include <memory>
#include <vector>

#include "cuda/machine.h"
#include "cuda/memory.h"

namespace stretto::cuda {

struct ExecutableOptions {
  int device = 0;
  bool graph = true;
  bool dependent_launch = true;
  int n_threads = 1;  // that pack weights
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
  bool start_greedy(int32_t token, uint64_t position) override;
  int32_t next_greedy() override;

  // For measurements: tunes every launch anew and captures the step again.
  void choose(const Choices& choices);
  // For tests: the activations, to be filled with garbage between steps.
  const DeviceArena& activations() const { return activations_; }

 private:
  struct Sent;  // what a step takes along, in pinned memory

  Planner plan() const;
  void place_state();
  void place_activations();
  void place_step();
  void place_ropes(const Planner& planner);
  void place_scratch(const Planner& planner);
  void tune();
  void capture();
  void launch_ops();
  void launch_greedy_step();
  void run_decode(bool greedy);
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
  DeviceArena weights_, state_, activations_, scratch_, ropes_, step_;
  PinnedBuffer sent_, logits_, mailbox_;
  std::unique_ptr<Gemm> gemm_;
  Graph decode_, greedy_;
  uint64_t n_decode_launches_ = 0;
  // The greedy loop: steps put into the stream and tokens handed out.
  uint64_t greedy_position_ = 0, n_launched_ = 0, n_taken_ = 0;
};

}  // namespace stretto::cuda
