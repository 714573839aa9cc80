#include "checkpoint/metadata.h"

#include <fmt/format.h>

#include <type_traits>
#include <utility>

#include "base/error.h"
#include "checkpoint/utf8.h"

namespace stretto {
namespace {

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};

std::string_view element_name(MetaType type) {
  switch (type) {
    case MetaType::kU8:
    case MetaType::kU16:
    case MetaType::kU32:
    case MetaType::kU64:
    case MetaType::kI8:
    case MetaType::kI16:
    case MetaType::kI32:
    case MetaType::kI64:
      return "integer";
    case MetaType::kF32:
    case MetaType::kF64:
      return "float";
    case MetaType::kBool:
      return "bool";
    case MetaType::kString:
      return "string";
    case MetaType::kArray:
      return "array";
    case MetaType::kNull:
      return "null";
  }
  return "unknown";
}

[[noreturn]] void wrong_type(std::string_view key, std::string_view wanted, const MetaValue& value) {
  fail(ErrorKind::kInvalidModel, "metadata key \"{}\": wanted {}, the file has {}", printable(key), wanted,
       describe(value));
}

// Conversions of one stored element; nullopt: another type, or it does not fit.
std::optional<uint64_t> to_uint(uint64_t v, uint64_t max) { return v <= max ? std::optional(v) : std::nullopt; }
std::optional<uint64_t> to_uint(int64_t v, uint64_t max) {
  return v >= 0 ? to_uint(static_cast<uint64_t>(v), max) : std::nullopt;
}
std::optional<int64_t> to_int(uint64_t v) {
  return v <= static_cast<uint64_t>(INT64_MAX) ? std::optional(static_cast<int64_t>(v)) : std::nullopt;
}

// Visits a scalar or every element of an array as std::vector<Out>; `convert(element)` returns optional<Out>.
template <class Out, class Convert>
std::vector<Out> collect(std::string_view key, std::string_view wanted, const MetaValue& value, Convert convert) {
  std::vector<Out> out;
  const auto take = [&](const auto& element) {
    std::optional<Out> v = convert(element);
    if (!v) wrong_type(key, wanted, value);
    out.push_back(std::move(*v));
  };
  std::visit(
      [&](const auto& data) {
        using Data = std::decay_t<decltype(data)>;
        if constexpr (std::is_same_v<Data, std::vector<bool>>) {
          out.reserve(data.size());
          for (const bool element : data) take(element);
        } else if constexpr (IsVector<Data>::value) {
          out.reserve(data.size());
          for (const auto& element : data) take(element);
        } else {
          take(data);
        }
      },
      value.data);
  return out;
}

template <class Out, class Convert>
Out single(std::string_view key, std::string_view wanted, const MetaValue& value, Convert convert) {
  if (value.type == MetaType::kArray) wrong_type(key, wanted, value);
  return collect<Out>(key, wanted, value, convert).front();
}

// Functors over the element types of MetaValue::Data. Anything not listed is another type.
struct ToUint {
  uint64_t max;
  std::optional<uint64_t> operator()(uint64_t v) const { return to_uint(v, max); }
  std::optional<uint64_t> operator()(int64_t v) const { return to_uint(v, max); }
  template <class T>
  std::optional<uint64_t> operator()(const T&) const {
    return std::nullopt;
  }
};
struct ToInt {
  std::optional<int64_t> operator()(uint64_t v) const { return to_int(v); }
  std::optional<int64_t> operator()(int64_t v) const { return v; }
  template <class T>
  std::optional<int64_t> operator()(const T&) const {
    return std::nullopt;
  }
};
struct ToFloat {
  bool integers;
  std::optional<double> operator()(double v) const { return v; }
  std::optional<double> operator()(uint64_t v) const {
    return integers ? std::optional(static_cast<double>(v)) : std::nullopt;
  }
  std::optional<double> operator()(int64_t v) const {
    return integers ? std::optional(static_cast<double>(v)) : std::nullopt;
  }
  template <class T>
  std::optional<double> operator()(const T&) const {
    return std::nullopt;
  }
};
struct ToBool {
  std::optional<bool> operator()(bool v) const { return v; }
  template <class T>
  std::optional<bool> operator()(const T&) const {
    return std::nullopt;
  }
};

std::string uint_wanted(uint64_t max) { return fmt::format("an integer in 0..{}", max); }

}  // namespace

bool Metadata::add(std::string key, MetaValue value) {
  const size_t position = entries_.size();
  if (!index_.emplace(key, position).second) return false;
  if (value.type == MetaType::kString) single_strings_[position] = {std::get<std::string>(value.data)};
  entries_.push_back({std::move(key), std::move(value)});
  return true;
}

const MetaValue* Metadata::find(std::string_view key) const {
  const auto it = index_.find(std::string(key));
  return it == index_.end() ? nullptr : &entries_[it->second].value;
}

bool Metadata::has(std::string_view key) const {
  const MetaValue* value = find(key);
  return value != nullptr && value->type != MetaType::kNull;
}

std::optional<uint64_t> Metadata::get_uint(std::string_view key, uint64_t max) const {
  if (!has(key)) return std::nullopt;
  return single<uint64_t>(key, uint_wanted(max), *find(key), ToUint{max});
}

std::optional<int64_t> Metadata::get_int(std::string_view key) const {
  if (!has(key)) return std::nullopt;
  return single<int64_t>(key, "a 64-bit integer", *find(key), ToInt{});
}

std::optional<double> Metadata::get_float(std::string_view key) const {
  if (!has(key)) return std::nullopt;
  return single<double>(key, "a float", *find(key), ToFloat{from_json_});
}

std::optional<bool> Metadata::get_bool(std::string_view key) const {
  if (!has(key)) return std::nullopt;
  return single<bool>(key, "a bool", *find(key), ToBool{});
}

std::optional<std::string> Metadata::get_string(std::string_view key) const {
  if (!has(key)) return std::nullopt;
  const MetaValue& value = *find(key);
  if (value.type != MetaType::kString) wrong_type(key, "a string", value);
  return std::get<std::string>(value.data);
}

std::optional<std::vector<uint64_t>> Metadata::get_uints(std::string_view key, uint64_t max) const {
  if (!has(key)) return std::nullopt;
  return collect<uint64_t>(key, fmt::format("integers in 0..{}", max), *find(key), ToUint{max});
}

std::optional<std::vector<int64_t>> Metadata::get_ints(std::string_view key) const {
  if (!has(key)) return std::nullopt;
  return collect<int64_t>(key, "64-bit integers", *find(key), ToInt{});
}

std::optional<std::vector<double>> Metadata::get_floats(std::string_view key) const {
  if (!has(key)) return std::nullopt;
  return collect<double>(key, "floats", *find(key), ToFloat{from_json_});
}

std::optional<std::vector<bool>> Metadata::get_bools(std::string_view key) const {
  if (!has(key)) return std::nullopt;
  return collect<bool>(key, "bools", *find(key), ToBool{});
}

const std::vector<std::string>* Metadata::get_strings(std::string_view key) const {
  static const std::vector<std::string> kEmpty;
  const auto it = index_.find(std::string(key));
  if (it == index_.end()) return nullptr;
  const MetaValue& value = entries_[it->second].value;
  if (value.type == MetaType::kNull) return nullptr;
  if (value.type == MetaType::kString) return &single_strings_.at(it->second);
  if (const auto* strings = std::get_if<std::vector<std::string>>(&value.data)) return strings;
  if (value.type == MetaType::kArray && value.element_type == MetaType::kNull) return &kEmpty;  // JSON []
  wrong_type(key, "an array of strings", value);
}

std::string describe(const MetaValue& value) {
  return std::visit(
      [&value](const auto& data) -> std::string {
        using Data = std::decay_t<decltype(data)>;
        if constexpr (std::is_same_v<Data, std::monostate>) {
          return "null";
        } else if constexpr (std::is_same_v<Data, std::string>) {
          return fmt::format("\"{}\"", printable(data));
        } else if constexpr (IsVector<Data>::value) {
          if (value.element_type == MetaType::kNull) return "[]";
          return fmt::format("[{} {}{}]", data.size(), element_name(value.element_type), data.size() == 1 ? "" : "s");
        } else {
          return fmt::format("{}", data);
        }
      },
      value.data);
}

}  // namespace stretto
