// The persistent stream of one executable: its tape in device memory, its launches, its clocks.
#pragma once

#include <vector>

#include "cuda/clusters.h"
#include "cuda/machine.h"
#include "cuda/memory.h"
#include "cuda/stream.h"

namespace stretto::cuda {

// What a multiprocessor did in one phase of the token that was measured last.
struct StreamTime {
  uint32_t op = 0;  // index of the program's node
  uint32_t sm = 0;
  double wait_ns = 0;     // for the other multiprocessors
  double input_ns = 0;    // until its input lay in shared memory
  double work_ns = 0;     // products
  double rest_ns = 0;     // sums and results
  double ring_share = 0;  // of the ring that was full when the products began
};

// Where the values of one token lie, per ValueId.
struct StreamPlaces {
  std::vector<float*> values;
  float* scratch = nullptr;  // of events of swap layers
};

class StreamRunner {
 public:
  // `stop` is host memory that a kernel can read. Throws Error(kCuda) where there is no memory.
  StreamRunner(const Machine& machine, const volatile uint32_t* stop, volatile uint64_t* mailbox,
               uint32_t mailbox_size);

  // Why the stream cannot run this program on this device; empty when it can.
  const std::string& problem() const { return problem_; }
  // Lays the tape anew, for other choices.
  void choose(const StreamChoice& choice);
  // Whether tokens run by clusters (cuda/clusters.h); if not, why.
  bool has_clusters() const { return problem_.empty() && cluster_problem_.empty(); }
  const std::string& cluster_problem() const { return cluster_problem_; }
  uint64_t cluster_bytes() const { return cluster_weights_.bytes(); }
  uint32_t n_phases() const { return params_.n_phases; }
  uint64_t memory_bytes() const {
    return tape_.bytes() + control_.bytes() + vectors_.bytes() + partials_.bytes() + clocks_.bytes() +
           cluster_weights_.bytes() + cluster_tape_.bytes();
  }

  // One token whose id and position lie in the machine's step; the logits are written.
  void run(cudaStream_t stream);
  // Up to n_tokens tokens, each chosen by the one before it.
  void run_greedy(cudaStream_t stream, uint32_t n_tokens);
  // Throws Error(kCuda) naming the phase if a wait of a finished launch was given up.
  void check() const;

  // For tests: the count of arrivals from which the next launch goes on.
  void set_arrivals(uint32_t n);
  // For tests, until the next choose(): launches wait in vain for the results of a phase, or for the head's weights.
  void withhold_results(uint32_t phase);
  void withhold_weights();
  // Keeps clocks from the next launch on.
  void measure(bool wanted);
  std::vector<StreamTime> times() const;
  // What a phase of the tape reads of weights; 0 for other phases.
  uint64_t weight_bytes(size_t phase) const;

 private:
  StreamPlaces make_places();
  StreamTape make_tape(const StreamChoice& choice);
  void place_partials();
  void choose_clusters(const StreamChoice& choice);
  void pack_clusters();
  void launch(cudaStream_t stream, const StreamParams& p) const;

  const Machine& machine_;
  StreamParams params_;
  StreamTape host_tape_;
  DeviceArena tape_, control_, vectors_, partials_, clocks_;
  // Of clusters: sums and layers, and the weights of the layers in the order of the blocks.
  ClusterParams clusters_;
  DeviceArena cluster_tape_, cluster_weights_;
  std::string cluster_problem_;
  std::string problem_;
};

}  // namespace stretto::cuda
