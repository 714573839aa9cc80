// What an architecture file reads its spec and its weights from: one view of both containers that remembers what was
// used, so that anything left over is an error that names it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "models/tensor_names.h"
#include "program/program.h"

namespace stretto {

// A configuration key in both containers: GGUF without its "<arch>." prefix, config.json as a dotted path relative to
// the text model ("text_config." is found by itself). Either may be empty.
struct ConfigKey {
  std::string_view gguf;
  std::string_view hf;
};

enum class Strictness {
  kStrict,   // unknown keys and unused tensors are errors
  kLenient,  // they become warnings (--lenient)
};

class ModelReader {
 public:
  ModelReader(const Checkpoint& checkpoint, std::string architecture, std::span<const TensorName> deviations = {});

  bool is_gguf() const { return checkpoint_.container() == Container::kGguf; }
  const std::string& architecture() const { return architecture_; }
  Recorder& recorder() { return recorder_; }

  // --- configuration ---
  uint64_t uint(ConfigKey key, uint64_t max = 1U << 30);  // required
  double number(ConfigKey key);                           // required
  std::optional<uint64_t> find_uint(ConfigKey key, uint64_t max = 1U << 30);
  std::optional<double> find_number(ConfigKey key);
  std::optional<bool> find_bool(ConfigKey key);
  std::optional<std::string> find_string(ConfigKey key);
  std::optional<std::vector<uint64_t>> find_uints(ConfigKey key);
  // Whether the key stands in the file at all, null included.
  bool states(ConfigKey key) const { return checkpoint_.metadata().find(key_name(key)) != nullptr; }
  // Reads a key that may only have one value here (absent counts as that value).
  void expect_bool(ConfigKey key, bool value, std::string_view why);
  void expect_string(ConfigKey key, std::string_view value, std::string_view why);
  // Keys known to have no effect on the result.
  void ignore(std::initializer_list<ConfigKey> keys);
  std::string key_name(ConfigKey key) const;  // as the user's file spells it

  // --- weights ---
  // The weight of a role with the given shape; Error(kInvalidModel) when it is missing or shaped otherwise.
  // Vectors and `as_f32` weights are widened to F32. `order` describes the stored rows (or elements of a vector).
  struct Layout {
    bool as_f32 = false;
    RowOrder order = RowOrder::kAsStored;
    uint64_t head_dim = 0;
  };
  WeightId weight(std::string_view role, int layer, const Shape& shape) { return weight(role, layer, shape, Layout{}); }
  WeightId weight(std::string_view role, int layer, const Shape& shape, const Layout& layout);
  WeightId find_weight(std::string_view role, int layer, const Shape& shape) {
    return find_weight(role, layer, shape, Layout{});
  }
  WeightId find_weight(std::string_view role, int layer, const Shape& shape, const Layout& layout);  // or invalid
  // Rows first_row .. first_row + shape.rows() of a stored tensor that holds several weights: `fused_role`,
  // `fused_rows` rows in all. The result is named `role`.
  WeightId weight_rows(std::string_view role, std::string_view fused_role, int layer, const Shape& shape,
                       uint64_t first_row, uint64_t fused_rows, const Layout& layout);
  // Part `part` of a stored tensor [n_parts, ...] that holds a weight of the given shape for each, widened to F32.
  WeightId weight_part(std::string_view role, int layer, const Shape& stored, uint64_t part, const Shape& shape);
  // Stacked experts [n_experts, n_out, n_in], stored so or expert by expert.
  WeightId expert_weight(std::string_view role, int layer, const Shape& shape);
  // Half `part` (0 or 1) of each expert of a fused [n_experts, 2 * n_out, n_in].
  WeightId expert_half(std::string_view role, std::string_view fused_role, int layer, const Shape& shape, int part);
  bool has(std::string_view role, int layer) const;
  // A small tensor read now (rope_freqs); empty when absent.
  std::vector<float> read_vector(std::string_view role, uint64_t n);
  void ignore_tensor(std::string_view role, int layer);
  uint64_t rows_of(std::string_view role, int layer) const;  // 0 when absent

  // Everything left unread: Error(kInvalidModel) naming it when strict, else one warning line each.
  std::vector<std::string> finish(Strictness strictness);

 private:
  const MetaValue* lookup(ConfigKey key, std::string* full_name);
  std::string_view pattern(std::string_view role) const;
  std::string stored_name(std::string_view role, int layer, int expert = 0) const;
  const StoredTensor* find_stored(const std::string& name) const;
  const StoredTensor& take(const std::string& name, const Shape& shape);
  WeightId record(std::string_view role, int layer, const Shape& shape, const Layout& layout,
                  std::vector<WeightSlice> slices);

  const Checkpoint& checkpoint_;
  std::string architecture_;
  std::string hf_prefix_;  // "text_config." where the text model sits below that
  std::span<const TensorName> deviations_;
  Recorder recorder_;
  std::unordered_map<std::string, const StoredTensor*> tensors_;  // by normalised name
  std::unordered_set<std::string> used_tensors_;
  std::unordered_set<std::string> used_keys_;
};

}  // namespace stretto
