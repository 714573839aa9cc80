#include "cuda/quantized.h"

#include <algorithm>

#include "base/checked.h"
#include "cuda/dequantize.h"
#include "cuda/launch.h"
#include "cuda/packed.h"

namespace stretto::cuda {
namespace {

constexpr uint64_t kBlock = 32;

size_t index(ValueId id) { return static_cast<size_t>(id.index); }

struct Readers : TensorVisitor {
  std::vector<int> n_readers;
  void in(std::string_view, ValueId& id) {
    if (id) ++n_readers[index(id)];
  }
};

// f(x, w) for every value that a product without a norm reads, if nothing else reads it.
template <class F>
void for_each_factor(const Program& program, const F& f) {
  Readers readers;
  readers.n_readers.resize(program.tables.values.size());
  for (const Node& node : program.nodes) visit_tensors(node.op, readers);
  const auto reads = [&](const auto* op) {
    if (op != nullptr && readers.n_readers[index(op->x)] == 1) f(op->x, op->w);
  };
  for (const Node& node : program.nodes) {
    reads(std::get_if<Linear>(&node.op));
    reads(std::get_if<LinearAdd>(&node.op));
  }
}

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
  for (const Node& node : program.nodes) {
    if (const auto* gate_up = std::get_if<NormGateUp>(&node.op))
      made[index(gate_up->out)] = divides_well(t[gate_up->out].width, device);
    if (const auto* attention = std::get_if<RopeAttention>(&node.op)) made[index(attention->out)] = true;
  }
  for_each_factor(program, [&](ValueId x, WeightId w) {
    out[index(x)] = made[index(x)] && is_integer(t[w].type) && t[x].width % kBlock == 0;
  });
  return out;
}

bool splits_activations(const Program& program) {
  return std::ranges::any_of(program.nodes, [](const Node& node) {
    return std::holds_alternative<SwapRoute>(node.op) || std::holds_alternative<SwapEvent>(node.op);
  });
}

std::vector<DType> rounded_values(const Program& program) {
  constexpr uint64_t kAligned = 8;  // elements, so that rows need no padding
  const Tables& t = program.tables;
  std::vector<bool> made(t.values.size(), false);
  std::vector<DType> out(t.values.size(), DType::kF32);
  if (splits_activations(program)) return out;
  for (const Node& node : program.nodes) {
    if (const auto* gate_up = std::get_if<NormGateUp>(&node.op)) made[index(gate_up->out)] = true;
    if (const auto* attention = std::get_if<RopeAttention>(&node.op)) made[index(attention->out)] = true;
  }
  for_each_factor(program, [&](ValueId x, WeightId w) {
    if (made[index(x)] && t[x].width % kAligned == 0) out[index(x)] = dense_type(t[w].type);
  });
  return out;
}

}  // namespace stretto::cuda
