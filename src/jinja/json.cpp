#include "jinja/json.h"

#include <algorithm>
#include <cmath>

#include "jinja/compare.h"
#include "jinja/print.h"
#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

using nlohmann::ordered_json;

Value convert(Runtime& runtime, const ordered_json& json, uint32_t depth) {
  runtime.spend();
  runtime.check_value_depth(depth);
  switch (json.type()) {
    case ordered_json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case ordered_json::value_t::number_integer:
      return Value::integer(json.get<int64_t>());
    case ordered_json::value_t::number_unsigned:
      return Value::integer(json.get<uint64_t>());
    case ordered_json::value_t::number_float:
      return Value::number(json.get<double>());
    case ordered_json::value_t::string:
      return runtime.text(json.get_ref<const std::string&>());
    case ordered_json::value_t::array: {
      List& list = runtime.new_list();
      for (const ordered_json& item : json) runtime.push(list, convert(runtime, item, depth + 1));
      return Value::list(&list);
    }
    case ordered_json::value_t::object: {
      Dict& dict = runtime.new_dict();
      for (const auto& [key, value] : json.get_ref<const ordered_json::object_t&>()) {
        runtime.put(dict, runtime.text(key), convert(runtime, value, depth + 1));
      }
      return Value::dict(&dict);
    }
    default:
      return Value::none();
  }
}

void append_escape(std::string& out, uint32_t code) {
  if (code >= 0x10000) {
    code -= 0x10000;
    out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF));
  } else {
    out += fmt::format("\\u{:04x}", code);
  }
}

void append_string(std::string& out, std::string_view text, bool ensure_ascii) {
  constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f";
  constexpr std::string_view kLetters = "\"\\nrtbf";
  out += '"';
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode(text, i);
    const size_t escape = c.code < 0x80 ? kEscaped.find(text[i]) : std::string_view::npos;
    if (escape != std::string_view::npos) {
      out += '\\';
      out += kLetters[escape];
    } else if (c.code < 0x20 || (ensure_ascii && c.code >= 0x7F)) {
      append_escape(out, c.code);
    } else {
      out.append(text, i, c.n_bytes);
    }
    i += c.n_bytes;
  }
  out += '"';
}

std::string print_json_float(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v < 0 ? "-Infinity" : "Infinity";
  return print_float(v);
}

class Writer {
 public:
  Writer(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

  void value(const Value& v, uint32_t depth) {
    runtime_.check_value_depth(depth);
    if (v.is_list()) return list(v.as_list(), depth);
    if (v.is_dict()) return dict(v.as_dict(), depth);
    const size_t before = out_.size();
    if (v.is_string()) {
      append_string(out_, v.view(), style_.ensure_ascii);
    } else {
      out_ += scalar(v);
    }
    account(before);
  }
  std::string take() { return std::move(out_); }

 private:
  static std::string scalar(const Value& v) {
    switch (v.type()) {
      case Type::kNone:
        return "null";
      case Type::kBool:
        return v.as_bool() ? "true" : "false";
      case Type::kInteger:
        return fmt::format("{}", v.as_integer());
      case Type::kFloat:
        return print_json_float(v.as_float());
      default:
        if (v.is_undefined() && v.undefined_what())
          render_fail("'{}' is undefined: no JSON", v.undefined_what()->bytes);
        render_fail("no JSON for {}", type_name(v));
    }
  }
  void account(size_t before) {
    runtime_.spend_bytes(out_.size() - before);
    if (out_.size() > runtime_.limits().max_memory_bytes) runtime_.hold(out_.size());
  }
  void new_line(uint32_t depth) {
    if (!style_.multiline) return;
    const size_t before = out_.size();
    out_ += '\n';
    for (uint32_t i = 0; i < depth; ++i) out_ += style_.indentation;
    account(before);
  }
  void list(const List& v, uint32_t depth) {
    runtime_.spend();
    out_ += '[';
    for (size_t i = 0; i < v.items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line(depth + 1);
      value(v.items[i], depth + 1);
    }
    if (!v.items.empty()) new_line(depth);
    out_ += ']';
  }
  void dict(const Dict& v, uint32_t depth) {
    runtime_.spend();
    std::vector<size_t> places(v.entries.size());
    for (size_t i = 0; i < places.size(); ++i) places[i] = i;
    if (style_.sort_keys) {
      std::vector<Value> keys;
      for (const auto& entry : v.entries) keys.push_back(entry.first);
      places = sorted_places(runtime_, keys, false);
    }
    out_ += '{';
    for (size_t i = 0; i < places.size(); ++i) {
      const auto& [name, item] = v.entries[places[i]];
      if (i > 0) out_ += style_.item_separator;
      new_line(depth + 1);
      key(name);
      out_ += style_.key_separator;
      value(item, depth + 1);
    }
    if (!places.empty()) new_line(depth);
    out_ += '}';
  }
  // Scalars that are not strings become strings.
  void key(const Value& v) {
    if (v.is_list()) render_fail("a tuple cannot be a key in JSON");
    const size_t before = out_.size();
    append_string(out_, v.is_string() ? v.view() : std::string_view(scalar(v)), style_.ensure_ascii);
    account(before);
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  std::string out_;
};

}  // namespace

Value from_json(Runtime& runtime, const ordered_json& json) { return convert(runtime, json, 0); }

std::string to_json(Runtime& runtime, const Value& v, const JsonStyle& style) {
  Writer writer(runtime, style);
  writer.value(v, 0);
  return writer.take();
}

}  // namespace stretto::jinja
