#include "text/hf/json_fields.h"

#include <algorithm>

#include "checkpoint/utf8.h"
#include "text/utf8.h"

namespace stretto::hf {

std::string show(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  if (value.is_string()) return fmt::format("\"{}\"", printable(value.get_ref<const std::string&>()));
  return printable(dump_json(value));
}

void refuse_value(std::string_view path, const Json& value, std::string_view wanted) {
  fail(ErrorKind::kInvalidModel, "{} is {}, expected {}", path, show(value), wanted);
}

Fields::Fields(const Json& value, std::string path) : value_(value), path_(std::move(path)) {
  if (!value.is_object()) refuse_value(path_, value, "an object");
}

const Json* Fields::locate(std::string_view key) {
  for (const auto& [name, value] : value_.get_ref<const Json::object_t&>()) {
    if (name != key) continue;
    read_.push_back(name);
    return &value;
  }
  return nullptr;
}

bool Fields::has(std::string_view key) const {
  for (const auto& item : value_.get_ref<const Json::object_t&>()) {
    if (item.first == key) return true;
  }
  return false;
}

const Json* Fields::find(std::string_view key) {
  const Json* value = locate(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

const Json& Fields::require(std::string_view key) {
  const Json* value = locate(key);
  if (value == nullptr) fail(ErrorKind::kInvalidModel, "{} is missing", path_of(key));
  return *value;
}

std::string Fields::text(std::string_view key) {
  const Json& value = require(key);
  if (!value.is_string()) refuse_value(path_of(key), value, "a string");
  return value.get<std::string>();
}

std::optional<std::string> Fields::optional_text(std::string_view key) {
  return find(key) == nullptr ? std::nullopt : std::optional(text(key));
}

bool Fields::flag(std::string_view key) {
  const Json& value = require(key);
  if (!value.is_boolean()) refuse_value(path_of(key), value, "true or false");
  return value.get<bool>();
}

std::optional<bool> Fields::optional_flag(std::string_view key) {
  return find(key) == nullptr ? std::nullopt : std::optional(flag(key));
}

uint64_t Fields::unsigned_integer(std::string_view key, uint64_t max) {
  const Json& value = require(key);
  if (!value.is_number_unsigned() || value.get<uint64_t>() > max) {
    refuse_value(path_of(key), value, fmt::format("an integer from 0 to {}", max));
  }
  return value.get<uint64_t>();
}

char32_t Fields::character(std::string_view key) {
  const Json& value = require(key);
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    const size_t length = text.empty() ? 0 : utf8_length_at(text, 0);
    if (length > 0 && length == text.size()) return utf8_code_point(text, 0, length);
  }
  refuse_value(path_of(key), value, "a string of one character");
}

const Json& Fields::array(std::string_view key) {
  const Json& value = require(key);
  if (!value.is_array()) refuse_value(path_of(key), value, "an array");
  return value;
}

Fields Fields::object(std::string_view key) { return Fields(require(key), path_of(key)); }

void Fields::report_unread(Warnings& warnings) const {
  std::string names;
  size_t n = 0;
  for (const auto& item : value_.get_ref<const Json::object_t&>()) {
    if (std::find(read_.begin(), read_.end(), item.first) != read_.end()) continue;
    if (++n > 8) continue;
    if (!names.empty()) names += ", ";
    names += printable(item.first, 40);
  }
  if (n == 0) return;
  warnings.push_back(
      fmt::format("{}: {} unknown {} ignored: {}{}", path_, n, n == 1 ? "key" : "keys", names, n > 8 ? ", ..." : ""));
}

}  // namespace stretto::hf
