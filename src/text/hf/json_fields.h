// Reading JSON objects of known shape: every value is checked, messages name file, path and value, and keys that nobody
// asked for are reported.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace stretto::hf {

// What is odd about a model's files without stopping the load, one line each.
using Warnings = std::vector<std::string>;

// The start of a value for a message: `"text"`, `12`, `an object`.
std::string show(const Json& value);

[[noreturn]] void refuse_value(std::string_view path, const Json& value, std::string_view wanted);

// A view of one object; `value` must outlive it. All readers throw Error(kInvalidModel) with the path.
// "absent" means that the key is missing or its value is null, except for require().
class Fields {
 public:
  Fields(const Json& value, std::string path);

  const std::string& path() const { return path_; }
  std::string path_of(std::string_view key) const { return fmt::format("{}.{}", path_, key); }

  size_t size() const { return value_.size(); }

  const Json* find(std::string_view key);     // nullptr: absent
  const Json& require(std::string_view key);  // present, possibly null
  bool has(std::string_view key) const;       // present, possibly null
  std::string text(std::string_view key);
  std::optional<std::string> optional_text(std::string_view key);
  bool flag(std::string_view key);
  std::optional<bool> optional_flag(std::string_view key);
  uint64_t unsigned_integer(std::string_view key, uint64_t max);
  char32_t character(std::string_view key);  // a text of one code point
  const Json& array(std::string_view key);
  Fields object(std::string_view key);

  // Appends one line with the keys that were not read.
  void report_unread(Warnings& warnings) const;

 private:
  const Json* locate(std::string_view key);

  const Json& value_;
  std::string path_;
  std::vector<std::string_view> read_;
};

}  // namespace stretto::hf
