// What a device offers to the engine: compile a program, then run it step by step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/instruments.h"
#include "backend/token_choice.h"
#include "program/program.h"

namespace stretto {

struct CompileOptions {
  uint64_t n_ctx = 4096;      // positions that the state buffers hold
  uint64_t max_tokens = 512;  // largest step (prefill chunk)
  uint64_t max_outputs = 1;   // most rows of logits of one step
  int n_threads = 0;          // CPU only; 0: one per core
};

// One step: tokens at positions position .. position + tokens.size() - 1 of the one sequence.
struct Step {
  std::span<const int32_t> tokens;   // 1 .. max_tokens ids, each < vocab
  uint64_t position = 0;             // position + tokens.size() <= n_ctx
  std::span<const int32_t> outputs;  // rows (indices into tokens, ascending) whose logits are wanted; may be empty
};

// A compiled program with its three arenas: weights, state, activations. Not thread-safe.
class Executable {
 public:
  virtual ~Executable() = default;

  virtual const Program& program() const = 0;  // as lowered
  // Runs one step. Never throws, never allocates. The result, [outputs, vocab] float32, stays valid until the next
  // call. Positions must follow the state: a step may start at or before the end of what was run (the state beyond
  // its start is overwritten), never after it.
  virtual std::span<const float> run(const Step& step) = 0;
  // Bytes held in the arenas and what the backend keeps beside them.
  virtual uint64_t memory_bytes() const = 0;
  // Kernel launches of one decode step; 0 where a step is not made of launches.
  virtual uint64_t launches_per_token() const { return 0; }
  // Submissions by the host for those: 1 for a captured graph, the number of launches without.
  virtual uint64_t graph_launches_per_token() const { return 0; }

  // Takes a decode step apart (backend/instruments.h). The state from options.position on is overwritten; a decode loop
  // ends. Nothing where the backend cannot. Throws Error only before the first step.
  virtual std::optional<Profile> profile(const ProfileOptions& options) {
    (void)options;
    return std::nullopt;
  }
  // Time of a greedy step by the device's clock, n_steps > 1 of them back to back without the host; state as for
  // profile.
  virtual std::optional<double> device_us_per_token(int32_t token, uint64_t position, int n_steps) {
    (void)token, (void)position, (void)n_steps;
    return std::nullopt;
  }

  // Decoding without the caller in the loop: the device chooses each token as `choice` says and goes on with it before
  // the caller has seen it, at most two steps ahead and never beyond n_ctx. start_decode runs `token` at `position`
  // (both as in a step) and returns whether the backend can do this; next_token returns the token chosen after the last
  // one consumed, and may be called n_ctx - position times. run(), start_decode or stop_decode ends the loop. None of
  // them throws or allocates, but for start_decode where it measures which of two ways is faster and says so.
  virtual bool start_decode(int32_t token, uint64_t position, const TokenChoice& choice) {
    (void)token, (void)position, (void)choice;
    return false;
  }
  virtual int32_t next_token() { return -1; }
  // Ends the loop at once: returns when the steps that were under way are done.
  virtual void stop_decode() {}
  // The largest logit, the lowest id on a tie.
  bool start_greedy(int32_t token, uint64_t position) { return start_decode(token, position, {}); }
};

// The device's read bandwidth, measured pass by pass: on a machine that others use too it changes from second to
// second, so a pass belongs right before and after what is compared with it.
class ReadSweep {
 public:
  virtual ~ReadSweep() = default;
  virtual double pass_gbps() = 0;  // rate of a read-only pass over memory like that of the weights, GB/s (1e9 bytes)
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string name() const = 0;          // "cpu", "oracle", "cuda:0"
  virtual std::string description() const = 0;   // one line for people: the device, its instruction set, threads
  virtual uint64_t available_bytes() const = 0;  // memory that a plan may use now
  virtual int thread_count() const = 0;          // host threads that a step uses
  // The size of prefill steps from which on larger ones gain nothing worth their memory.
  virtual uint64_t prefill_tokens() const { return 512; }
  // Takes its memory at once (Error(kHostMemory / kCuda)) and keeps it; a pass takes some tens of milliseconds.
  virtual std::unique_ptr<ReadSweep> make_read_sweep() const = 0;
  double read_bandwidth_gbps() const {  // best of some passes
    const auto sweep = make_read_sweep();
    double best = 0;
    for (int i = 0; i < 7; ++i) best = std::max(best, sweep->pass_gbps());
    return best;
  }
  // The ceilings of the device, measured now: some seconds. Throws Error(kHostMemory / kCuda).
  virtual std::vector<DeviceLimit> measure_limits() const { return {}; }
  // Null where the device has no such sensors.
  virtual std::unique_ptr<DeviceWatch> make_watch() const { return nullptr; }
  // Device memory taken since this backend was opened; 0 where it has none of its own.
  virtual uint64_t taken_bytes() const { return 0; }
  // Bytes that compile() takes beside the plan of a lowered program, as far as half of what is left then holds them:
  // copies of weights that make large steps faster.
  virtual uint64_t optional_bytes(const Program& lowered, const CompileOptions& options) const {
    (void)lowered, (void)options;
    return 0;
  }
  // Sentences for people about weights of a lowered program that run on a slower path than others of their size.
  virtual std::vector<std::string> slow_weights(const Program& lowered) const {
    (void)lowered;
    return {};
  }
  // The program as this backend would run it (nothing loaded).
  virtual Program lower(const Program& program) const = 0;
  // Takes the weights in and allocates everything. The stored tensors must outlive the result: a backend may use
  // them in place. Throws Error(kHostMemory / kCuda / kUnsupported).
  virtual std::unique_ptr<Executable> compile(const Program& program, const CompileOptions& options) const = 0;
};

}  // namespace stretto
