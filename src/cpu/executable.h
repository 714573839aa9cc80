// A program compiled for the CPU: its arenas, its threads, and the loop over its ops.
#pragma once

#include <chrono>
#include <vector>

#include "cpu/arena.h"
#include "cpu/machine.h"

namespace stretto::cpu {

// `program` is lowered already. The threads of a step walk the op list together, a barrier after each op.
class CpuExecutable : public Executable {
 public:
  CpuExecutable(Program program, const CompileOptions& options, const Isa& isa, int n_threads);

  const Program& program() const override { return program_; }
  std::span<const float> run(const Step& step) override;
  uint64_t memory_bytes() const override;
  std::optional<Profile> profile(const ProfileOptions& options) override;

 private:
  Planner plan() const;
  void place_weights(const Planner& planner);
  void place_state(const Planner& planner);
  void place_ropes(const Planner& planner);
  void fill_ropes(Worker& worker);
  void find_next_weights();
  void run_thread(int thread);
  void run_node(size_t i, int thread, Worker& worker);
  // What the ops of sequential nodes see as the step, and what all others do.
  void take_token(uint64_t t);
  void take_all_tokens();
  void stamp(size_t i) {
    if (!stamps_.empty()) stamps_[i] = std::chrono::steady_clock::now();
  }

  const Program program_;
  const CompileOptions options_;
  const Isa isa_;
  Step step_;
  Machine machine_;
  Arena weights_;                           // packed and gathered matrices, decoded vectors
  std::vector<std::vector<Piece>> pieces_;  // per WeightId: Matrix::pieces
  Arena state_;
  Arena activations_;
  Arena scratch_;  // the op's, then one piece per thread
  Arena ropes_;
  std::vector<std::span<const std::byte>> next_weights_;  // per node and thread (Worker::expect_weights)
  uint64_t op_scratch_bytes_ = 0;
  uint64_t thread_scratch_bytes_ = 0;
  ThreadPool pool_;
  Worker::Shared shared_;
  // While profiling: when all threads were through with the rope tables and with each op. Else empty.
  std::vector<std::chrono::steady_clock::time_point> stamps_;
};

}  // namespace stretto::cpu
