#include "cuda/plan_program.h"

#include "cuda/ops.h"
#include "cuda/quantized.h"

namespace stretto::cuda {

Planner plan_program(const Program& program, const CompileOptions& options, const DeviceShape& device) {
  Planner planner;
  planner.program = &program;
  planner.options = options;
  planner.device = device;
  planner.splits = splits_activations(program);
  planner.vectors.resize(program.tables.weights.size());
  planner.attended.resize(program.tables.values.size());
  planner.quantized = quantized_values(program, device);
  for (const StateInfo& s : program.tables.states)
    planner.layouts.push_back({1, cache_positions(options.n_ctx), static_cast<uint32_t>(s.width)});
  for (const Node& node : program.nodes) {
    planner.role = node.role;
    std::visit(
        [&]<class T>(const T& op) {
          if constexpr (requires { cuda::plan(op, planner); }) {
            cuda::plan(op, planner);
          } else {
            CHECK(!"an op without a CUDA kernel was not refused");
          }
        },
        node.op);
  }
  return planner;
}

}  // namespace stretto::cuda
