// A model as a straight list of ops over planned buffers: built once from a checkpoint, run once per step.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "ops/ops.h"

namespace stretto {

// The order of the rows of one slice of a stored tensor, relative to the order that the program wants.
enum class RowOrder : uint8_t {
  kAsStored,
  // Stored for interleaved rotary pairs (2i, 2i+1), wanted for half-split pairs (i, i + head_dim/2): within each head,
  // wanted row s * head_dim/2 + i is stored row 2i + s. Source: GGUF files of architectures llama and mistral3.
  kInterleavedPairs,
};

// A run of rows of a stored tensor. A row is source.shape.cols() elements; all leading dimensions are joined.
struct WeightSlice {
  TensorView source;
  uint64_t first_row = 0;
  uint64_t n_rows = 0;
  RowOrder order = RowOrder::kAsStored;
  uint64_t head_dim = 0;  // of kInterleavedPairs

  const std::byte* row(uint64_t i) const;  // i < n_rows, in the wanted order
};

// Where a weight's bytes come from: slices of stored tensors laid one after the other along the rows. A weight of type
// F32 may come from any decodable encoding (norms, biases and routers are widened at load); any other is taken as
// stored.
struct WeightBinding {
  std::vector<WeightSlice> slices;
  // The whole weight as one run of stored bytes of `type`, or nullptr when it has to be gathered.
  const std::byte* contiguous(DType type) const;
  // All rows in order, as `type`; `out` holds the weight's bytes().
  void gather(DType type, std::byte* out) const;
};

// One op with where it stands in the model.
struct Node {
  Op op;
  std::string role;  // what it does there: "attn_qkv", "ffn_down", "head"
  int layer = -1;    // -1: outside the layers
  // A run of neighbouring sequential nodes is run token by token: all of it for the first token of a step, then all of
  // it for the second. For what carries a state from token to token.
  bool sequential = false;
};

struct Program {
  std::string architecture;
  Tables tables;
  std::vector<WeightBinding> bindings;  // one per tables.weights
  std::vector<Node> nodes;
  ValueId logits;  // [outputs, vocab]

  void check() const;  // CHECKs every op and that every value is written once, before it is read
};

// Appends ops to a program; the architecture files' only way to build one.
class Recorder {
 public:
  explicit Recorder(std::string architecture) { program_.architecture = std::move(architecture); }

  const Tables& tables() const { return program_.tables; }
  ValueId value(std::string name, uint64_t width, Rows rows = Rows::kTokens, DType type = DType::kF32);
  WeightId weight(WeightInfo info, WeightBinding binding);
  StateId state(StateInfo info);
  void set_layer(int layer) { layer_ = layer; }
  void set_sequential(bool sequential) { sequential_ = sequential; }  // of the nodes emitted from here on
  void emit(std::string role, Op op);
  Program finish(ValueId logits);

 private:
  Program program_;
  int layer_ = -1;
  bool sequential_ = false;
};

// The end of the run of sequential nodes that `first` begins; first + 1 when that node is not sequential.
size_t sequence_end(const std::vector<Node>& nodes, size_t first);

// The tensors of any op, in the order the op lists them.
template <class Visitor>
void visit_tensors(Op& op, Visitor& visitor) {
  std::visit([&](auto& o) { std::decay_t<decltype(o)>::tensors(o, visitor); }, op);
}
template <class Visitor>
void visit_tensors(const Op& op, Visitor& visitor) {
  Op copy = op;
  visit_tensors(copy, visitor);
}

}  // namespace stretto
