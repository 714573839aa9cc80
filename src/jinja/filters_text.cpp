#include <limits>

#include "jinja/compare.h"
#include "jinja/filters.h"
#include "jinja/methods.h"
#include "jinja/print.h"
#include "jinja/text_split.h"
#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

Value trim(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("trim", arguments, {"chars"});
  const Text text = print_text(runtime, input);
  const bool has_chars = bound.find_not_none(0) != nullptr;
  const std::string_view chars = has_chars ? bound.text(0, "") : "";
  return runtime.text(std::string(strip(text->bytes, true, true, has_chars ? &chars : nullptr)));
}

Value upper(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("upper", arguments, {});
  return runtime.text(to_upper(print_text(runtime, input)->bytes));
}

Value lower(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("lower", arguments, {});
  return runtime.text(to_lower(print_text(runtime, input)->bytes));
}

Value capitalize(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("capitalize", arguments, {});
  return runtime.text(to_capitalized(print_text(runtime, input)->bytes));
}

// Words begin after white space and after - ( { [ <; unlike str.title, apostrophes and digits do not end one.
Value title(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("title", arguments, {});
  const Text text = print_text(runtime, input);
  const std::string_view s = text->bytes;
  std::string out;
  size_t begin = 0;
  for (size_t at = 0; at <= s.size();) {
    const CodePoint c = at < s.size() ? decode(s, at) : CodePoint{' ', 1};
    const bool is_separator =
        is_space(c.code) ||
        (c.code < 0x80 && std::string_view("-({[<").find(static_cast<char>(c.code)) != std::string_view::npos);
    if (is_separator) {
      const std::string_view word = s.substr(begin, at - begin);
      const size_t first = word.empty() ? 0 : decode(word, 0).n_bytes;
      out += to_upper(word.substr(0, first));
      out += to_lower(word.substr(first));
      if (at < s.size()) out += s.substr(at, c.n_bytes);
      begin = at + c.n_bytes;
    }
    at += c.n_bytes;
  }
  return runtime.text(std::move(out));
}

Value replace(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("replace", arguments, {"old", "new", "count"}, 2);
  const Text text = print_text(runtime, input);
  const Text from = print_text(runtime, bound[0]);
  const Text to = print_text(runtime, bound[1]);
  const Int count = bound.find_not_none(2) == nullptr ? -1 : bound.integer(2, -1);
  const uint64_t limit = count < 0 ? std::numeric_limits<uint64_t>::max() : static_cast<uint64_t>(count);
  return replace_text(runtime, text->bytes, from->bytes, to->bytes, limit);
}

Value indent(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("indent", arguments, {"width", "first", "blank"});
  if (!input.is_string()) render_fail("indent needs a string, not {}", type_name(input));
  std::string indentation;
  if (const Value* width = bound.find(0); width != nullptr && width->is_string()) {
    indentation = width->view();
  } else {
    const Int n = bound.integer(0, 4);
    if (n > 10'000) render_fail("indent by {} columns is more than 10000", n);
    indentation.assign(n < 0 ? 0 : static_cast<size_t>(n), ' ');
  }
  const bool first = bound.flag(1, false);
  const bool blank = bound.flag(2, false);
  const std::string text = std::string(input.view()) + '\n';
  const auto lines = split_lines(text);
  runtime.hold(lines.size() * indentation.size());
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i == 0 ? first : blank || !lines[i].empty()) out += indentation;
    out += lines[i];
  }
  runtime.release(lines.size() * indentation.size());
  return runtime.text(std::move(out));
}

Value escape(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("escape", arguments, {});
  const Text text = print_text(runtime, input);
  std::string out;
  for (const char c : text->bytes) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return runtime.text(std::move(out));
}

Value wordcount(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("wordcount", arguments, {});
  const Text text = print_text(runtime, input);
  runtime.spend_bytes(text->bytes.size());
  Int words = 0;
  bool inside = false;
  for (size_t i = 0; i < text->bytes.size();) {
    const CodePoint c = decode(text->bytes, i);
    if (is_word(c.code) && !inside) ++words;
    inside = is_word(c.code);
    i += c.n_bytes;
  }
  return Value::integer(words);
}

Value string(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("string", arguments, {});
  return Value::string(print_text(runtime, input));
}

Value safe(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("safe", arguments, {});
  return Value::string(print_text(runtime, input));
}

Value default_value(Runtime&, const Value& input, const Arguments& arguments) {
  static const Text kEmpty = make_text("");
  const Bound bound("default", arguments, {"default_value", "boolean"});
  const bool replaces = input.is_undefined() || (bound.flag(1, false) && !is_true(input));
  if (!replaces) return input;
  return bound.find(0) == nullptr ? Value::string(kEmpty) : bound[0];
}

constexpr Filter kFilters[] = {
    {"trim", trim},       {"upper", upper},           {"lower", lower},         {"capitalize", capitalize},
    {"title", title},     {"replace", replace},       {"indent", indent},       {"escape", escape},
    {"e", escape},        {"string", string},         {"wordcount", wordcount}, {"safe", safe},
    {"d", default_value}, {"default", default_value},
};

}  // namespace

const Filter* find_text_filter(std::string_view name) { return find_by_name(kFilters, name); }

}  // namespace stretto::jinja
