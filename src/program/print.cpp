#include "program/print.h"

#include <fmt/format.h>

#include <map>

namespace stretto {
namespace {

struct ShapeText : TensorVisitor {
  const Tables* tables = nullptr;
  std::string text;
  void in(std::string_view label, ValueId& id) {
    if (id) add(label, fmt::format("[{}]", (*tables)[id].width));
  }
  void out(std::string_view label, ValueId& id) {
    if (id) add(label, fmt::format("-> [{}]", (*tables)[id].width));
  }
  void weight(std::string_view label, WeightId& id) {
    if (id) add(label, fmt::format("{} {}", name((*tables)[id].type), (*tables)[id].shape.str()));
  }
  void state_in(std::string_view label, StateId& id) { state(label, id); }
  void state_out(std::string_view label, StateId& id) { state(label, id); }
  void state(std::string_view label, StateId id) {
    if (id) add(label, fmt::format("state {} [n_ctx, {}]", name((*tables)[id].type), (*tables)[id].width));
  }
  void add(std::string_view label, const std::string& what) {
    if (!text.empty()) text += ", ";
    text += fmt::format("{} {}", label, what);
  }
};

// `phase` counts from the first op of the layer.
std::string op_line(const Program& p, size_t i, const Cost& cost, int phase) {
  const Node& node = p.nodes[i];
  ShapeText shapes;
  shapes.tables = &p.tables;
  visit_tensors(node.op, shapes);
  return fmt::format("{:<14} {:<13} phase {:<2} {:>10} {:>10.3f} MFLOP  {}", node.role, op_name(node.op), phase,
                     human_bytes(cost.bytes()), static_cast<double>(cost.flops) / 1e6, shapes.text);
}

}  // namespace

std::string human_bytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  const int digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, digits, kUnits[unit]);
}

std::string print_program(const Program& program, const StepShape& step, bool all) {
  const Accounting a = account(program, step);
  // Layers with the same lines print once.
  std::vector<std::pair<std::string, std::vector<int>>> groups;
  std::string block;
  int before = 0;  // phases of what came before the layer
  for (size_t i = 0; i < program.nodes.size(); ++i) {
    if (block.empty()) before = a.phase[i] - 1;
    block += "  " + op_line(program, i, a.per_node[i], a.phase[i] - before) + "\n";
    const int layer = program.nodes[i].layer;
    const bool ends = i + 1 == program.nodes.size() || program.nodes[i + 1].layer != layer;
    if (!ends) continue;
    size_t g = 0;
    while (g < groups.size() && (all || layer < 0 || groups[g].second.front() < 0 || groups[g].first != block)) ++g;
    if (g == groups.size()) groups.push_back({block, {}});
    groups[g].second.push_back(layer);
    block.clear();
  }
  std::string out;
  for (const auto& [lines, layers] : groups) {
    if (layers.front() >= 0) {
      out += layers.size() == 1 ? fmt::format("layer {}:\n", layers.front())
                                : fmt::format("{} layers ({} .. {}):\n", layers.size(), layers.front(), layers.back());
    }
    out += lines;
  }
  return out;
}

std::string print_roles(const Program& program, const StepShape& step) {
  const Accounting a = account(program, step);
  struct Sum {
    uint64_t ops = 0;
    Cost cost;
  };
  std::map<std::string, Sum> sums;
  std::vector<std::string> order;
  for (size_t i = 0; i < program.nodes.size(); ++i) {
    const std::string& role = program.nodes[i].role;
    if (!sums.contains(role)) order.push_back(role);
    sums[role].ops += 1;
    sums[role].cost += a.per_node[i];
  }
  std::string out = fmt::format("{:<14} {:>5} {:>12} {:>7} {:>12}\n", "role", "ops", "bytes", "share", "MFLOP");
  for (const std::string& role : order) {
    const Sum& s = sums[role];
    const double share = 100.0 * static_cast<double>(s.cost.bytes()) / static_cast<double>(a.total.bytes());
    out += fmt::format("{:<14} {:>5} {:>12} {:>6.1f}% {:>12.3f}\n", role, s.ops, human_bytes(s.cost.bytes()), share,
                       static_cast<double>(s.cost.flops) / 1e6);
  }
  return out;
}

}  // namespace stretto
