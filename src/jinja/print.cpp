#include "jinja/print.h"

#include <charconv>
#include <cmath>

#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

void append_quoted(std::string& out, std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode(text, i);
    if (c.code == static_cast<char32_t>(quote) || c.code == '\\') {
      out += '\\';
      out += text[i];
    } else if (c.code == '\n') {
      out += "\\n";
    } else if (c.code == '\r') {
      out += "\\r";
    } else if (c.code == '\t') {
      out += "\\t";
    } else if (is_printable(c.code)) {
      out.append(text, i, c.n_bytes);
    } else if (c.code < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c.code));
    } else if (c.code < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c.code));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c.code));
    }
    i += c.n_bytes;
  }
  out += quote;
}

class Printer {
 public:
  explicit Printer(Runtime& runtime) : runtime_(runtime) {}

  void value(const Value& v, uint32_t depth);
  std::string take() { return std::move(out_); }

 private:
  void list(const List& v, uint32_t depth) {
    out_ += v.is_tuple ? '(' : '[';
    for (size_t i = 0; i < v.items.size(); ++i) {
      if (i > 0) out_ += ", ";
      value(v.items[i], depth + 1);
    }
    if (v.is_tuple && v.items.size() == 1) out_ += ',';
    out_ += v.is_tuple ? ')' : ']';
  }
  void dict(const Dict& v, uint32_t depth) {
    out_ += '{';
    for (size_t i = 0; i < v.entries.size(); ++i) {
      if (i > 0) out_ += ", ";
      value(v.entries[i].first, depth + 1);
      out_ += ": ";
      value(v.entries[i].second, depth + 1);
    }
    out_ += '}';
  }
  // The text grows by what its items need, so it is bounded while it is made, not only when it is done.
  void account(size_t before) {
    runtime_.spend_bytes(out_.size() - before);
    if (out_.size() > runtime_.limits().max_memory_bytes) runtime_.hold(out_.size());
  }

  Runtime& runtime_;
  std::string out_;
};

void Printer::value(const Value& v, uint32_t depth) {
  runtime_.check_value_depth(depth);
  const size_t before = out_.size();
  switch (v.type()) {
    case Type::kUndefined:
      out_ += "Undefined";
      break;
    case Type::kNone:
      out_ += "None";
      break;
    case Type::kBool:
      out_ += v.as_bool() ? "True" : "False";
      break;
    case Type::kInteger:
      out_ += fmt::format("{}", v.as_integer());
      break;
    case Type::kFloat:
      out_ += print_float(v.as_float());
      break;
    case Type::kString:
      append_quoted(out_, v.view());
      break;
    case Type::kList:
      runtime_.spend();
      return list(v.as_list(), depth);
    case Type::kDict:
      runtime_.spend();
      return dict(v.as_dict(), depth);
    case Type::kNamespace:
      out_ += "<Namespace ";
      dict(v.as_namespace().attributes, depth);
      out_ += '>';
      break;
    case Type::kCallable:
      out_ += fmt::format("<{} '{}'>", v.as_callable().macro != nullptr ? "Macro" : "function", v.as_callable().name);
      break;
    case Type::kLoop:
      out_ += "<LoopContext>";
      break;
  }
  account(before);
}

}  // namespace

std::string print_float(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, v, std::chars_format::scientific).ptr;
  const std::string_view scientific(buffer, static_cast<size_t>(end - buffer));  // [-]d[.ddd]e[+-]dd
  const size_t e = scientific.find('e');
  int exponent = 0;
  std::from_chars(buffer + e + (buffer[e + 1] == '+' ? 2 : 1), end, exponent);
  std::string out = v < 0 || scientific[0] == '-' ? "-" : "";
  std::string digits;
  for (const char c : scientific.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  const int n = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (n > 1) out += '.' + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (n <= exponent + 1) return out + digits + std::string(static_cast<size_t>(exponent + 1 - n), '0') + ".0";
  return out + digits.substr(0, static_cast<size_t>(exponent) + 1) + '.' +
         digits.substr(static_cast<size_t>(exponent) + 1);
}

std::string print_quoted(Runtime& runtime, const Value& v) {
  Printer printer(runtime);
  printer.value(v, 0);
  return printer.take();
}

std::string print(Runtime& runtime, const Value& v) {
  if (v.is_undefined()) return "";
  if (v.is_string()) return std::string(v.view());
  return print_quoted(runtime, v);
}

Text print_text(Runtime& runtime, const Value& v) {
  if (v.is_string()) return v.as_text();
  static const Text kEmpty = make_text("");
  if (v.is_undefined()) return kEmpty;
  return runtime.text(print_quoted(runtime, v)).as_text();
}

}  // namespace stretto::jinja
