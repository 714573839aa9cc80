// What the ops of the CUDA backend run on. An op has three functions, found by overload (cuda/ops.h):
//
//   supports(op, tables)   whether there is a kernel for these types and shapes
//   plan(op, planner)      at compile time: which weights it reads in which form, and the scratch it needs
//   run(op, machine)       puts its kernels into the queue
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "cuda/arg_max.h"
#include "cuda/cache_layout.h"
#include "cuda/decode_attention.h"
#include "cuda/experts.h"
#include "cuda/gemm.h"
#include "cuda/gemv.h"
#include "cuda/rope.h"
#include "cuda/stream.h"

namespace stretto::cuda {

// Steps of up to this many rows run the decode kernels, larger ones dense products.
inline constexpr uint64_t kMaxGemvRows = 8;

// Weights that are multiplied by one launch: their rows one after the other, or as gate_up groups (cuda/gemv.h).
struct MatrixKey {
  // A few ids, in place: keys are made for every launch outside a graph, and a step must not allocate.
  class Ids {
   public:
    constexpr Ids() = default;
    constexpr Ids(std::initializer_list<int32_t> ids) {
      for (const int32_t id : ids) push_back(id);
    }
    constexpr void push_back(int32_t id) {
      CHECK(n_ < kMax);
      ids_[n_++] = id;
    }
    constexpr const int32_t* begin() const { return ids_.data(); }
    constexpr const int32_t* end() const { return ids_.data() + n_; }
    constexpr int32_t front() const { return ids_[0]; }
    constexpr size_t size() const { return n_; }
    auto operator<=>(const Ids&) const = default;

   private:
    static constexpr size_t kMax = 4;
    std::array<int32_t, kMax> ids_ = {};
    size_t n_ = 0;
  };
  Ids weights;
  bool gate_up = false;
  bool experts = false;  // weights [n_experts, n_out, n_in], each expert in whole groups (cuda/experts.h)
  auto operator<=>(const MatrixKey&) const = default;
};

struct Matrix {
  PackedShape shape;
  const uint8_t* data = nullptr;
  const void* decoded = nullptr;  // a copy for dense products (cuda/weight_copies.h), nullptr: none
  uint32_t run_groups = 1;
  bool beside_attention = false;  // the kernel before it is attention
  std::string role = {};
  const Matrix* next = nullptr;  // that the program multiplies with after this one, the first one after the last
  // Per number of tokens (kGemvTokens), as far as they fit.
  std::array<GemvTuning, kGemvTokens.size()> plain, normed;
  size_t n_plain = 0, n_normed = 0;

  // For as many of n_tokens as one launch takes.
  const GemvTuning& tuning(bool with_norm, uint64_t n_tokens) const {
    size_t i = 0;
    while (i + 1 < (with_norm ? n_normed : n_plain) && kGemvTokens[i] < n_tokens) ++i;
    return (with_norm ? normed : plain)[i];
  }
  uint64_t tokens_per_launch(bool with_norm) const { return kGemvTokens[(with_norm ? n_normed : n_plain) - 1]; }
};

struct RopeTableRows {
  const RopeTable* table = nullptr;
  RopeRows rows = {};
  const double* inv_freq = nullptr;
};

// What a step does before its ops, as a role.
inline constexpr std::string_view kStepRole = "step_tables";

// Measurements may fix what tune() would choose, and run the ops of one role alone, or all but those.
struct Choices {
  GemvChoice gemv = {};
  std::map<std::string, GemvChoice> gemv_of_role = {};  // before `gemv`
  DecodeAttentionChoice attention = {};
  ExpertChoice experts = {};
  std::string only_role = {}, without_role = {};
  bool wants(std::string_view role) const { return (only_role.empty() || role == only_role) && role != without_role; }
  StreamChoice stream = {};

  GemvChoice of(const Matrix& matrix) const {
    const auto found = gemv_of_role.find(matrix.role);
    GemvChoice choice = found != gemv_of_role.end() ? found->second : gemv;
    choice.beside_attention = matrix.beside_attention;
    return choice;
  }
};

struct Machine {
  const Program* program = nullptr;
  DeviceShape device;
  Queue queue;
  Choices choices;
  // Of the running step; in sequential nodes one token, that of row first_row.
  uint64_t n_tokens = 0, n_outputs = 0;
  uint64_t first_row = 0;

  StepState* state = nullptr;         // device
  int32_t* tokens = nullptr;          // device, [max_tokens]
  int32_t* outputs = nullptr;         // device, [max_tokens]
  float* const* values = nullptr;     // per ValueId
  std::vector<bool> quantized;        // per ValueId, in small steps
  std::vector<DType> rounded;         // per ValueId, in large steps
  bool splits = false;                // splits_activations()
  std::vector<std::byte*> states;     // per StateId
  std::vector<CacheLayout> layouts;   // per StateId
  std::vector<const float*> vectors;  // per WeightId, where used as a vector of floats
  std::map<MatrixKey, Matrix> matrices;
  bool has_experts = false;  // a MoeBlock
  std::vector<RopeTableRows> ropes;

  // Scratch of the running op.
  std::byte* dense_x = nullptr;  // rounded activations
  std::byte* dense_w = nullptr;  // decoded weights
  uint64_t dense_w_bytes = 0;
  float* wide = nullptr;     // joined results of a step
  float* partial = nullptr;  // of split attention
  uint32_t* n_arrived = nullptr;
  std::array<std::byte*, kExpertBuffers> experts = {};  // cuda/experts.h
  Gemm* gemm = nullptr;                                 // nullptr: every step runs the decode kernels

  const Tables& tables() const { return program->tables; }
  // Where a step has experts, products trigger their dependents when their weights have been asked for, attention when
  // its input has come, and no product fetches the next one's weights: measured (docs/performance.md), 10 % of a token
  // of 30B-A3B. Its matrices are so small that the ring of the next kernel fits beside theirs, and x would wait behind
  // it. Models without experts, swap layers among them, lose.
  GemvChoice choice_of(const Matrix& matrix) const {
    GemvChoice choice = choices.of(matrix);
    if (choice.trigger == 0 && has_experts) choice.trigger = 3;
    if (choice.ahead_bytes == 0 && has_experts) choice.ahead_bytes = 1;
    return choice;
  }
  DecodeAttentionChoice attention_choice() const {
    DecodeAttentionChoice choice = choices.attention;
    if (choice.trigger == 0 && has_experts) choice.trigger = 1;
    return choice;
  }
  uint64_t rows(ValueId id) const { return tables()[id].rows == Rows::kTokens ? n_tokens : n_outputs; }
  uint64_t width(ValueId id) const { return tables()[id].width; }
  float* value(ValueId id) const {
    const uint64_t skipped = tables()[id].rows == Rows::kTokens ? first_row * width(id) : 0;
    return values[static_cast<size_t>(id.index)] + skipped;
  }
  // Whether products of this many rows are dense ones.
  bool is_large(uint64_t n_rows) const { return n_rows > kMaxGemvRows && gemm != nullptr; }
  // The type in which a value travels in this step.
  DType rounded_type(ValueId id) const {
    return is_large(rows(id)) ? rounded[static_cast<size_t>(id.index)] : DType::kF32;
  }
  // Row r of a vector that travels quantised in this step; without codes when it does not.
  QuantizedVector quantized_row(ValueId id, uint64_t r) const {
    if (!quantized[static_cast<size_t>(id.index)] || rows(id) > kMaxGemvRows) return {};
    return {value(id) + r * width(id), width(id)};
  }
  std::byte* cache(StateId id) const { return states[static_cast<size_t>(id.index)]; }
  const CacheLayout& layout(StateId id) const { return layouts[static_cast<size_t>(id.index)]; }
  const float* vector(WeightId id) const { return id ? vectors[static_cast<size_t>(id.index)] : nullptr; }
  const Matrix& matrix(const MatrixKey& key) const {
    const auto found = matrices.find(key);
    CHECK(found != matrices.end());
    return found->second;
  }
  const RopeTableRows& rope(const RopeTable* table) const {
    const auto found =
        std::find_if(ropes.begin(), ropes.end(), [&](const RopeTableRows& r) { return r.table == table; });
    CHECK(found != ropes.end());
    return *found;
  }
  const int32_t* position() const { return &state->position; }
};

// Collects what the ops of a program need before anything is allocated.
struct Planner {
  const Program* program = nullptr;
  CompileOptions options;
  DeviceShape device;
  struct PlannedMatrix {
    MatrixKey key;
    uint32_t run_groups = 1;
    bool beside_attention = false;
    bool is_dense = false;  // large steps multiply with it
    std::string role = {};
  };
  std::vector<PlannedMatrix> matrices;
  std::vector<bool> vectors;         // per WeightId
  std::vector<bool> quantized;       // per ValueId
  std::vector<bool> attended;        // per ValueId: the result of an attention
  bool splits = false;               // splits_activations()
  std::string role;                  // of the node that is being planned
  std::vector<CacheLayout> layouts;  // per StateId, as the attention that reads it says
  std::vector<std::shared_ptr<const RopeTable>> ropes;
  uint64_t dense_x_bytes = 0, dense_w_bytes = 0, wide_bytes = 0, partial_bytes = 0;
  uint64_t n_arrived = 0;
  std::array<uint64_t, kExpertBuffers> expert_bytes = {};

  const Tables& tables() const { return program->tables; }
  uint64_t max_rows(ValueId id) const {
    return tables()[id].rows == Rows::kTokens ? options.max_tokens : options.max_outputs;
  }
  void vector(WeightId id) {
    if (id) vectors[static_cast<size_t>(id.index)] = true;
  }
  // The keys and values of an attention with these heads.
  void caches(StateId k, StateId v, uint64_t n_kv_heads, uint64_t head_dim) {
    for (const StateId id : {k, v})
      layouts[static_cast<size_t>(id.index)] = {static_cast<uint32_t>(n_kv_heads), cache_positions(options.n_ctx),
                                                static_cast<uint32_t>(head_dim)};
  }
  void rope(const std::shared_ptr<const RopeTable>& table) {
    if (std::find(ropes.begin(), ropes.end(), table) == ropes.end()) ropes.push_back(table);
  }
  void matrix(const MatrixKey& key, uint32_t run_groups = 1, bool beside_attention = false) {
    const auto same = [&](const PlannedMatrix& m) { return m.key == key; };
    if (std::none_of(matrices.begin(), matrices.end(), same))
      matrices.push_back({key, run_groups, beside_attention, false, role});
  }
  void dense(const MatrixKey& key) {
    for (PlannedMatrix& m : matrices)
      if (m.key == key) m.is_dense = true;
  }
};

// The shape of the weights of a key, joined.
PackedShape matrix_shape(const MatrixKey& key, const Tables& tables);

}  // namespace stretto::cuda
