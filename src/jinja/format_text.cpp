// str.format: replacement fields {}, {0}, {name}, {name.attribute[key]}, conversions !s and !r, and the format
// specification [[fill]align][sign][#][0][width][,][.precision][type] for strings, integers and floats.
#include <cmath>

#include "jinja/access.h"
#include "jinja/methods.h"
#include "jinja/number_text.h"
#include "jinja/print.h"
#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

constexpr Int kMaxWidth = 10'000;

struct Specification {
  std::string fill = " ";
  char align = '\0';
  char sign = '-';
  bool alternate = false;
  bool zero = false;
  size_t width = 0;
  bool thousands = false;
  int precision = -1;
  char type = '\0';
};

size_t take_number(std::string_view& text) {
  Int n = 0;
  while (!text.empty() && text[0] >= '0' && text[0] <= '9') {
    n = n * 10 + (text[0] - '0');
    if (n > kMaxWidth) render_fail("format: a width or precision above {}", kMaxWidth);
    text.remove_prefix(1);
  }
  return static_cast<size_t>(n);
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text[0] != c) return false;
  text.remove_prefix(1);
  return true;
}

bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

Specification parse_specification(std::string_view text) {
  const std::string_view whole = text;
  Specification spec;
  if (!text.empty()) {
    const size_t fill = decode(text, 0).n_bytes;
    if (text.size() > fill && is_align(text[fill])) {
      spec.fill = text.substr(0, fill);
      spec.align = text[fill];
      text.remove_prefix(fill + 1);
    } else if (is_align(text[0])) {
      spec.align = text[0];
      text.remove_prefix(1);
    }
  }
  if (!text.empty() && (text[0] == '+' || text[0] == '-' || text[0] == ' ')) {
    spec.sign = text[0];
    text.remove_prefix(1);
  }
  spec.alternate = take(text, '#');
  spec.zero = take(text, '0');
  spec.width = take_number(text);
  spec.thousands = take(text, ',');
  if (take(text, '.')) {
    if (text.empty() || text[0] < '0' || text[0] > '9') render_fail("format: '{}' has no precision after '.'", whole);
    spec.precision = static_cast<int>(take_number(text));
  }
  if (text.size() == 1) spec.type = text[0];
  if (text.size() > 1) render_fail("format: '{}' is no format specification", whole);
  return spec;
}

std::string with_thousands(const std::string& digits) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out + digits.substr(whole);
}

std::string padded(const Specification& spec, const std::string& prefix, const std::string& body, char default_align) {
  const size_t size = count_code_points(prefix) + count_code_points(body);
  const size_t missing = spec.width > size ? spec.width - size : 0;
  const bool zero = spec.zero && spec.align == '\0';
  const char align = zero && default_align == '>' ? '=' : spec.align == '\0' ? default_align : spec.align;
  const size_t left = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
  std::string fill;
  for (size_t i = 0; i < missing; ++i) fill += zero ? "0" : spec.fill;
  const size_t cut = missing == 0 ? 0 : fill.size() / missing * left;
  if (align == '=') return prefix + fill.substr(0, cut) + body + fill.substr(cut);
  return fill.substr(0, cut) + prefix + body + fill.substr(cut);
}

std::string sign_of(const Specification& spec, bool is_negative) {
  return is_negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
}

std::string format_integer(const Specification& spec, Int v) {
  if (spec.precision >= 0) render_fail("format: an integer takes no precision");
  if (spec.type == 'c') {
    if (v < 0 || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000)) render_fail("format: {} is no character", v);
    std::string character;
    append_utf8(character, static_cast<char32_t>(v));
    return padded(spec, "", character, '<');
  }
  const auto magnitude = static_cast<uint64_t>(v < 0 ? -v : v);
  std::string prefix = sign_of(spec, v < 0);
  if (spec.alternate && spec.type != 'd' && spec.type != '\0') prefix += std::string("0") + spec.type;
  std::string digits;
  switch (spec.type) {
    case '\0':
    case 'd':
    case 'n':
      digits = fmt::format("{}", magnitude);
      break;
    case 'b':
      digits = fmt::format("{:b}", magnitude);
      break;
    case 'o':
      digits = fmt::format("{:o}", magnitude);
      break;
    case 'x':
      digits = fmt::format("{:x}", magnitude);
      break;
    case 'X':
      digits = fmt::format("{:X}", magnitude);
      break;
    default:
      render_fail("format: type '{}' does not suit an integer", spec.type);
  }
  return padded(spec, prefix, spec.thousands ? with_thousands(digits) : digits, '>');
}

std::string float_digits(const Specification& spec, double v) {
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  switch (spec.type) {
    case '\0':
      return spec.precision < 0 ? print_float(v) : fmt::format("{:.{}g}", v, precision);
    case 'f':
    case 'F':
      return fmt::format("{:.{}f}", v, precision);
    case 'e':
      return fmt::format("{:.{}e}", v, precision);
    case 'E':
      return fmt::format("{:.{}E}", v, precision);
    case 'g':
    case 'n':
      return fmt::format("{:.{}g}", v, precision);
    case 'G':
      return fmt::format("{:.{}G}", v, precision);
    case '%':
      return fmt::format("{:.{}f}%", v * 100, precision);
    default:
      render_fail("format: type '{}' does not suit a number", spec.type);
  }
}

std::string format_value(Runtime& runtime, const Value& v, std::string_view text) {
  if (text.empty()) return print(runtime, v);
  const Specification spec = parse_specification(text);
  const bool as_float = std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos && spec.type != '\0';
  if (v.type() == Type::kFloat || (v.is_integral() && as_float)) {
    const double number = v.as_float();
    const std::string digits = float_digits(spec, std::fabs(number));
    const std::string prefix = sign_of(spec, std::signbit(number));
    return padded(spec, prefix, spec.thousands ? with_thousands(digits) : digits, '>');
  }
  if (v.is_integral()) return format_integer(spec, v.as_integer());
  if (!v.is_string()) render_fail("format: a {} takes no format specification", type_name(v));
  if ((spec.type != '\0' && spec.type != 's') || spec.align == '=' || spec.thousands || spec.sign != '-') {
    render_fail("format: '{}' does not suit a string", text);
  }
  std::string_view s = v.view();
  if (spec.precision >= 0) s = s.substr(0, byte_offset(s, static_cast<size_t>(spec.precision)));
  return padded(spec, "", std::string(s), '<');
}

class Formatter {
 public:
  Formatter(Runtime& runtime, const Arguments& arguments) : runtime_(runtime), arguments_(arguments) {}

  std::string run(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if (c != '{' && c != '}') {
        out += c;
      } else if (i + 1 < text.size() && text[i + 1] == c) {
        out += c;
        ++i;
      } else if (c == '}') {
        render_fail("format: a single '}}'");
      } else {
        const size_t end = text.find('}', i);
        if (end == std::string_view::npos) render_fail("format: '{{' is not closed");
        const size_t before = out.size();
        out += field(text.substr(i + 1, end - i - 1));
        runtime_.spend_bytes(out.size() - before);
        if (out.size() > runtime_.limits().max_memory_bytes) runtime_.hold(out.size());
        i = end;
      }
    }
    return out;
  }

 private:
  std::string field(std::string_view text) {
    if (text.find('{') != std::string_view::npos) render_fail("format: fields inside fields are not supported");
    const size_t colon = text.find(':');
    const std::string_view specification = colon == std::string_view::npos ? "" : text.substr(colon + 1);
    text = text.substr(0, colon);
    char conversion = '\0';
    if (const size_t mark = text.find('!'); mark != std::string_view::npos) {
      const std::string_view name = text.substr(mark + 1);
      if (name != "s" && name != "r") render_fail("format: unknown conversion '!{}'", name);
      conversion = name[0];
      text = text.substr(0, mark);
    }
    Value v = lookup(text);
    if (conversion == 's') v = Value::string(print_text(runtime_, v));
    if (conversion == 'r') v = runtime_.text(print_quoted(runtime_, v));
    return format_value(runtime_, v, specification);
  }

  // "name", "0" or "", then .attribute and [key] any number of times.
  Value lookup(std::string_view path) {
    const size_t end = std::min(path.find_first_of(".["), path.size());
    Value v = argument(path.substr(0, end));
    path.remove_prefix(end);
    while (!path.empty()) {
      const bool is_item = path[0] == '[';
      path.remove_prefix(1);
      const size_t stop = std::min(is_item ? path.find(']') : path.find_first_of(".["), path.size());
      if (is_item && stop == path.size()) render_fail("format: '[' is not closed");
      const Value key = runtime_.text(std::string(path.substr(0, stop)));
      path.remove_prefix(stop + (is_item ? 1 : 0));
      if (!is_item) {
        v = attribute(runtime_, v, key.as_text());
        continue;
      }
      const bool is_index = !key.view().empty() && key.view().find_first_not_of("0123456789") == std::string_view::npos;
      v = item(runtime_, v, is_index ? Value::integer(*parse_integer(key.view(), 10)) : key);
    }
    return v;
  }

  Value argument(std::string_view name) {
    const bool is_number = name.find_first_not_of("0123456789") == std::string_view::npos;
    if (!is_number) {
      for (const auto& [have, value] : arguments_.named) {
        if (have->bytes == name) return value;
      }
      render_fail("format has no argument '{}'", name);
    }
    const bool is_counted = name.empty();
    if (n_fields_ > 0 && is_counted != counted_) render_fail("format: numbered and plain fields are mixed");
    counted_ = is_counted;
    const Int at = is_counted ? Int(n_fields_) : *parse_integer(name, 10);
    ++n_fields_;
    if (at >= Int(arguments_.positional.size())) render_fail("format has no argument {}", at);
    return arguments_.positional[static_cast<size_t>(at)];
  }

  Runtime& runtime_;
  const Arguments& arguments_;
  size_t n_fields_ = 0;
  bool counted_ = false;
};

}  // namespace

Value format_text(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return runtime.text(Formatter(runtime, arguments).run(input.view()));
}

}  // namespace stretto::jinja
