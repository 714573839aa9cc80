#include "program/program.h"

#include <cstring>

#include "base/check.h"
#include "formats/formats.h"

namespace stretto {

const std::byte* WeightSlice::row(uint64_t i) const {
  CHECK(i < n_rows);
  uint64_t stored = i;
  if (order == RowOrder::kInterleavedPairs) {
    const uint64_t head = i / head_dim, r = i % head_dim, half = head_dim / 2;
    stored = head * head_dim + 2 * (r % half) + r / half;
  }
  return source.bytes.data() + (first_row + stored) * row_bytes(source.type, source.shape.cols());
}

const std::byte* WeightBinding::contiguous(DType type) const {
  const bool whole = slices.size() == 1 && slices[0].order == RowOrder::kAsStored && slices[0].source.type == type;
  return whole ? slices[0].row(0) : nullptr;
}

void WeightBinding::gather(DType type, std::byte* out) const {
  for (const WeightSlice& slice : slices) {
    const uint64_t cols = slice.source.shape.cols(), bytes = row_bytes(type, cols);
    for (uint64_t i = 0; i < slice.n_rows; ++i, out += bytes) {
      if (slice.source.type == type) {
        std::memcpy(out, slice.row(i), bytes);
      } else {
        CHECK(type == DType::kF32);
        decode_row(slice.source.type, slice.row(i), cols, reinterpret_cast<float*>(out));
      }
    }
  }
}

namespace {

struct OrderCheck : TensorVisitor {
  std::vector<bool> written;
  void in(std::string_view, ValueId& id) {
    if (id) CHECK(written[static_cast<size_t>(id.index)]);
  }
  void out(std::string_view, ValueId& id) {
    CHECK(id && !written[static_cast<size_t>(id.index)]);
    written[static_cast<size_t>(id.index)] = true;
  }
};

// Only what has a row per token can be taken token by token.
struct TokenRowsCheck : TensorVisitor {
  const Tables* tables = nullptr;
  void in(std::string_view, ValueId& id) {
    if (id) CHECK((*tables)[id].rows == Rows::kTokens);
  }
  void out(std::string_view label, ValueId& id) { in(label, id); }
};

}  // namespace

size_t sequence_end(const std::vector<Node>& nodes, size_t first) {
  size_t end = first + 1;
  while (nodes[first].sequential && end < nodes.size() && nodes[end].sequential) ++end;
  return end;
}

void Program::check() const {
  CHECK(bindings.size() == tables.weights.size());
  OrderCheck order;
  order.written.assign(tables.values.size(), false);
  for (const Node& node : nodes) {
    std::visit([&](const auto& op) { op.check(tables); }, node.op);
    visit_tensors(node.op, order);
    if (!node.sequential) continue;
    TokenRowsCheck rows;
    rows.tables = &tables;
    visit_tensors(node.op, rows);
  }
  CHECK(logits && order.written[static_cast<size_t>(logits.index)]);
  CHECK(tables[logits].rows == Rows::kOutputs);
}

ValueId Recorder::value(std::string name, uint64_t width, Rows rows, DType type) {
  program_.tables.values.push_back({std::move(name), type, rows, width});
  return {static_cast<int32_t>(program_.tables.values.size()) - 1};
}

WeightId Recorder::weight(WeightInfo info, WeightBinding binding) {
  program_.tables.weights.push_back(std::move(info));
  program_.bindings.push_back(std::move(binding));
  return {static_cast<int32_t>(program_.tables.weights.size()) - 1};
}

StateId Recorder::state(StateInfo info) {
  program_.tables.states.push_back(std::move(info));
  return {static_cast<int32_t>(program_.tables.states.size()) - 1};
}

void Recorder::emit(std::string role, Op op) {
  std::visit([&](const auto& o) { o.check(program_.tables); }, op);
  program_.nodes.push_back({std::move(op), std::move(role), layer_, sequential_});
}

Program Recorder::finish(ValueId logits) {
  program_.logits = logits;
  program_.check();
  return std::move(program_);
}

}  // namespace stretto
