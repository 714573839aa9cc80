#include "cuda/slow_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace stretto::cuda {
namespace {

constexpr size_t kMostNames = 3;

struct Sum {
  std::vector<std::string> names;
  uint64_t bytes = 0;
};

}  // namespace

std::vector<std::string> slow_weights(const Program& program) {
  std::map<DType, Sum> sums;
  for (const WeightInfo& w : program.tables.weights) {
    if (w.shape.rank() < 2 || !multiplies_stored_blocks(w.type)) continue;
    Sum& sum = sums[w.type];
    sum.names.push_back(w.name);
    sum.bytes += w.bytes();
  }
  std::vector<std::string> out;
  for (const auto& [type, sum] : sums) {
    std::string names;
    for (size_t i = 0; i < std::min(sum.names.size(), kMostNames); ++i) names += (i == 0 ? "" : ", ") + sum.names[i];
    if (sum.names.size() > kMostNames) names += ", ...";
    out.push_back(
        fmt::format("{} weights of {:.1f} MB in {} ({}) are multiplied from their stored blocks, a slower "
                    "path than packed units; Q8_0, Q4_0, Q4_K, Q5_K, Q6_K, F16 and BF16 are packed",
                    sum.names.size(), static_cast<double>(sum.bytes) / 1e6, name(type), names));
  }
  return out;
}

}  // namespace stretto::cuda
