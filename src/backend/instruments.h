// What a backend says about its own speed: a token taken apart by role, the ceilings of the device, and the state of
// the device while something runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace stretto {

struct ProfileOptions {
  int32_t token = 0;      // < vocab
  uint64_t position = 0;  // of the step that is taken apart; the state holds everything before it
  int n_steps = 16;       // run back to back in one measurement; position + n_steps <= n_ctx
  int n_rounds = 5;       // measurements of everything in turn; medians are reported
};

// All ops of one role (Node::role) of a decode step. What a step does besides its ops has a role of its own.
struct RoleTime {
  std::string role;
  uint64_t n_launches = 0;                        // kernels; 0 where a step is not made of launches
  double us = 0;                                  // per step; the profile's method says how it was taken
  std::optional<double> saved_us = std::nullopt;  // how much shorter a step without these ops is
};

// One phase of a token that a persistent kernel runs, by the clocks inside it. Times are means over the multiprocessors
// that had work in it.
struct PhaseTime {
  std::string role;
  int layer = 0;
  uint64_t bytes = 0;                               // weights and state that it reads
  uint32_t n_busy = 0;                              // multiprocessors with work
  uint32_t n_idle = 0;                              // and without
  double between_us = 0;                            // from the end of the phase before
  double wait_us = 0;                               // until the input, which others write, is there
  double work_us = 0;                               // products, or keys and values
  double most_work_us = 0;                          // of the slowest multiprocessor
  double rest_us = 0;                               // sums and results
  std::optional<double> ring_share = std::nullopt;  // of the ring for weights that was full when the work began
};

struct StreamProfile {
  double token_us = 0;  // by the host's clock, with no clocks inside
  std::vector<PhaseTime> phases;
};

struct Profile {
  std::string method;    // a sentence for people: how the times of the roles were taken
  double token_us = 0;   // a token as generation runs it, by the host's clock, nothing measured inside
  double device_us = 0;  // the same by the device's clock, without waits for the host; 0 where there is no such clock
  uint64_t n_launches = 0;
  std::vector<RoleTime> roles;                         // in the order in which they first appear
  std::optional<StreamProfile> stream = std::nullopt;  // where generation runs through one persistent kernel
};

// One ceiling. Zeros are what does not apply.
struct DeviceLimit {
  std::string what;    // "read_sweep", "cold_read", "grid_barrier"; a stable name
  std::string detail;  // for people
  uint64_t bytes = 0;  // moved per measurement
  uint64_t count = 0;  // threads or blocks
  double us = 0;       // of one measurement, launch or barrier
  double gbps = 0;     // 1e9 bytes per second
};

// Clocks, power and temperature while something ran; what the device does not tell is absent.
struct DeviceState {
  std::optional<double> clock_sm_mhz_min = std::nullopt, clock_sm_mhz_avg = std::nullopt;
  std::optional<double> power_w_avg = std::nullopt, power_limit_w = std::nullopt;
  std::optional<double> temp_c_max = std::nullopt;
  uint64_t n_samples = 0;
};

// Watches the device from a thread of its own, between resume() and pause() only.
class DeviceWatch {
 public:
  virtual ~DeviceWatch() = default;
  virtual std::string problem() const = 0;  // why nothing can be watched; empty if it can
  virtual void resume() = 0;
  virtual void pause() = 0;
  virtual DeviceState take() = 0;  // of everything since the last take; only while paused
};

}  // namespace stretto
