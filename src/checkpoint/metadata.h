// Key/value metadata of a checkpoint: GGUF keys as they stand, config.json flattened to dotted paths
// ("rope_parameters.rope_theta"; JSON null is kept as Null; arrays of objects become "a.0.b").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace stretto {

// GGUF value types; JSON numbers become kU64/kI64 when they are integers and kF64 otherwise.
enum class MetaType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
  kNull = 0xffffffff,  // JSON only
};

// One scalar or one flat array. Integers are widened (unsigned -> uint64_t, signed -> int64_t), floats to double;
// `type` (or `element_type` of an array) keeps the stored width so that a file can be written back unchanged.
struct MetaValue {
  using Data = std::variant<std::monostate, uint64_t, int64_t, double, bool, std::string, std::vector<uint64_t>,
                            std::vector<int64_t>, std::vector<double>, std::vector<bool>, std::vector<std::string>>;
  MetaType type = MetaType::kNull;
  MetaType element_type = MetaType::kNull;  // of an array
  Data data;

  static MetaValue u32(uint32_t v) { return {MetaType::kU32, MetaType::kNull, uint64_t{v}}; }
  static MetaValue f32(float v) { return {MetaType::kF32, MetaType::kNull, double{v}}; }
  static MetaValue boolean(bool v) { return {MetaType::kBool, MetaType::kNull, v}; }
  static MetaValue string(std::string v) { return {MetaType::kString, MetaType::kNull, std::move(v)}; }
  static MetaValue strings(std::vector<std::string> v) { return {MetaType::kArray, MetaType::kString, std::move(v)}; }
  static MetaValue i32s(std::vector<int64_t> v) { return {MetaType::kArray, MetaType::kI32, std::move(v)}; }
};

// Keys in stored order. The getters return nullopt for an absent (or null) key and throw
// Error(kInvalidModel) naming the key when the value has another type or does not fit.
// Any integer width is accepted where the value fits; a float only from f32/f64 (JSON: also from an integer);
// a bool only from a bool.
class Metadata {
 public:
  struct Entry {
    std::string key;
    MetaValue value;
  };

  Metadata() = default;
  explicit Metadata(bool from_json) : from_json_(from_json) {}

  bool add(std::string key, MetaValue value);  // false: the key exists already
  const std::vector<Entry>& entries() const { return entries_; }
  const MetaValue* find(std::string_view key) const;
  bool has(std::string_view key) const;  // present and not null

  std::optional<uint64_t> get_uint(std::string_view key, uint64_t max = UINT32_MAX) const;
  std::optional<int64_t> get_int(std::string_view key) const;
  std::optional<double> get_float(std::string_view key) const;
  std::optional<bool> get_bool(std::string_view key) const;
  std::optional<std::string> get_string(std::string_view key) const;
  // Arrays. A scalar is accepted as an array of one element.
  std::optional<std::vector<uint64_t>> get_uints(std::string_view key, uint64_t max = UINT32_MAX) const;
  std::optional<std::vector<int64_t>> get_ints(std::string_view key) const;
  std::optional<std::vector<double>> get_floats(std::string_view key) const;
  std::optional<std::vector<bool>> get_bools(std::string_view key) const;
  // No copy: arrays of strings are the vocabularies. nullptr when absent.
  const std::vector<std::string>* get_strings(std::string_view key) const;

 private:
  bool from_json_ = false;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;
  std::unordered_map<size_t, std::vector<std::string>> single_strings_;  // get_strings of a scalar, by entry
};

// A short human form of a value: "4096", "\"qwen3\"", "[151936 strings]".
std::string describe(const MetaValue& value);

}  // namespace stretto
