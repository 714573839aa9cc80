#include "cuda/quantized.h"

#include <algorithm>

#include "base/checked.h"
#include "cuda/launch.h"
#include "cuda/packed.h"

namespace stretto::cuda {
namespace {

constexpr uint64_t kBlock = 32;

struct Readers : TensorVisitor {
  std::vector<int> n_readers;
  void in(std::string_view, ValueId& id) {
    if (id) ++n_readers[static_cast<size_t>(id.index)];
  }
};

bool is_integer(DType type) { return unit_shape(type).cols == 512; }

// Blocks that own whole runs of 32 results are a little uneven; this is what it may cost.
bool divides_well(uint64_t width, const DeviceShape& device) {
  constexpr double kMostLoss = 1.06;
  const auto most = static_cast<double>(div_up(width / kBlock, device.n_sm) * kBlock);
  return most <= kMostLoss * static_cast<double>(width) / device.n_sm;
}

}  // namespace

std::vector<bool> quantized_values(const Program& program, const DeviceShape& device) {
  const Tables& t = program.tables;
  std::vector<bool> made(t.values.size(), false), out(t.values.size(), false);
  const auto index = [](ValueId id) { return static_cast<size_t>(id.index); };
  Readers readers;
  readers.n_readers.resize(t.values.size());
  for (const Node& node : program.nodes) {
    visit_tensors(node.op, readers);
    if (const auto* gate_up = std::get_if<NormGateUp>(&node.op))
      made[index(gate_up->out)] = divides_well(t[gate_up->out].width, device);
    if (const auto* attention = std::get_if<RopeAttention>(&node.op)) made[index(attention->out)] = true;
  }
  const auto reads = [&](ValueId x, WeightId w) {
    out[index(x)] =
        made[index(x)] && readers.n_readers[index(x)] == 1 && is_integer(t[w].type) && t[x].width % kBlock == 0;
  };
  for (const Node& node : program.nodes) {
    if (const auto* linear = std::get_if<Linear>(&node.op)) reads(linear->x, linear->w);
    if (const auto* linear = std::get_if<LinearAdd>(&node.op)) reads(linear->x, linear->w);
  }
  return out;
}

}  // namespace stretto::cuda
