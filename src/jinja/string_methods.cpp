#include <algorithm>
#include <limits>

#include "jinja/access.h"
#include "jinja/filters.h"
#include "jinja/methods.h"
#include "jinja/runtime.h"
#include "jinja/text_split.h"
#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

constexpr size_t kNotFound = std::string_view::npos;

template <bool kLeft, bool kRight>
Value strip_ends(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("strip", arguments.without_names("strip"), {"chars"});
  const bool has_chars = bound.find_not_none(0) != nullptr;
  const std::string_view chars = has_chars ? bound.text(0, "") : "";
  runtime.spend_bytes(input.view().size());
  return runtime.text(std::string(strip(input.view(), kLeft, kRight, has_chars ? &chars : nullptr)));
}

template <std::string (*kMap)(std::string_view)>
Value mapped(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("a case method", arguments, {});
  return runtime.text(kMap(input.view()));
}

void push_text(Runtime& runtime, List& list, std::string_view part) {
  runtime.push(list, runtime.text(std::string(part)));
}

// Parts between runs of white space, at most `limit` cuts from the left or right; the rest keeps its inner space.
std::vector<std::string_view> split_at_space(std::string_view text, uint64_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  for (text = strip(text, !from_right, from_right); !text.empty(); --limit) {
    if (limit == 0) {
      parts.push_back(text);
      break;
    }
    size_t cut = from_right ? text.size() : 0;
    if (from_right) {
      while (cut > 0 && strip(text.substr(0, cut), false, true).size() == cut) {
        do --cut;
        while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80);
      }
      parts.push_back(text.substr(cut));
      text = strip(text.substr(0, cut), false, true);
    } else {
      while (cut < text.size() && !is_space(decode(text, cut).code)) cut += decode(text, cut).n_bytes;
      parts.push_back(text.substr(0, cut));
      text = strip(text.substr(cut), true, false);
    }
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, uint64_t limit) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (; limit > 0; --limit) {
    const size_t found = find_text(text, separator, begin);
    if (found == kNotFound) break;
    parts.push_back(text.substr(begin, found - begin));
    begin = found + separator.size();
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::vector<std::string_view> split_at_from_right(std::string_view text, std::string_view separator, uint64_t limit) {
  // All cuts in the reversed text, which are the leftmost there.
  const std::string backwards(text.rbegin(), text.rend());
  const std::string separator_backwards(separator.rbegin(), separator.rend());
  std::vector<std::string_view> parts;
  for (const std::string_view part : split_at(backwards, separator_backwards, limit)) {
    const auto offset = static_cast<size_t>(part.data() - backwards.data());
    parts.push_back(text.substr(text.size() - offset - part.size(), part.size()));
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool kFromRight>
Value split(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound(kFromRight ? "rsplit" : "split", arguments, {"sep", "maxsplit"});
  const Int given = bound.integer(1, -1);
  const uint64_t limit = given < 0 ? std::numeric_limits<uint64_t>::max() : static_cast<uint64_t>(given);
  runtime.spend_bytes(input.view().size());
  std::vector<std::string_view> parts;
  if (bound.find_not_none(0) == nullptr) {
    parts = split_at_space(input.view(), limit, kFromRight);
  } else {
    const std::string_view separator = bound.text(0, "");
    if (separator.empty()) render_fail("split: the separator is empty");
    parts = kFromRight ? split_at_from_right(input.view(), separator, limit) : split_at(input.view(), separator, limit);
  }
  List& list = runtime.new_list();
  for (const std::string_view part : parts) push_text(runtime, list, part);
  return Value::list(&list);
}

Value splitlines(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("splitlines", arguments, {"keepends"});
  List& list = runtime.new_list();
  for (const std::string_view line : split_lines(input.view(), bound.flag(0, false))) push_text(runtime, list, line);
  return Value::list(&list);
}

// The bytes of code points [start, end) as slices count them; false if start is behind the end of the text.
bool part_of(const Value& input, const Bound& bound, size_t first, size_t& begin, std::string_view& part) {
  const std::string_view text = input.view();
  const bool is_whole = bound.find_not_none(first) == nullptr && bound.find_not_none(first + 1) == nullptr;
  begin = 0;
  part = text;
  if (is_whole) return true;
  const Int size = static_cast<Int>(count_code_points(text));
  const auto place = [size](const Value* v, Int fallback) {
    if (v == nullptr) return fallback;
    if (!v->is_integral()) render_fail("the bounds of a search must be integers, not {}", type_name(*v));
    return std::max(Int(0), v->as_integer() < 0 ? v->as_integer() + size : v->as_integer());
  };
  const Int start = place(bound.find_not_none(first), 0);
  const Int end = std::min(place(bound.find_not_none(first + 1), size), size);
  if (start > size || end < start) return false;
  begin = byte_offset(text, static_cast<size_t>(start));
  part = text.substr(begin, byte_offset(text.substr(begin), static_cast<size_t>(end - start)));
  return true;
}

template <bool kAtStart>
Value has_affix(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const std::string_view name = kAtStart ? "startswith" : "endswith";
  const Bound bound(name, arguments.without_names(name), {"affix", "start", "end"}, 1);
  size_t begin = 0;
  std::string_view part;
  if (!part_of(input, bound, 1, begin, part)) return Value::boolean(false);
  const std::vector<Value> one{bound[0]};
  const bool is_tuple = bound[0].is_list() && bound[0].as_list().is_tuple;
  for (const Value& affix : is_tuple ? bound[0].as_list().items : one) {
    if (!affix.is_string()) render_fail("{} needs a string or a tuple of strings, not {}", name, type_name(affix));
    runtime.spend_bytes(affix.view().size());
    const std::string_view s = affix.view();
    if (s.size() > part.size()) continue;
    if (part.substr(kAtStart ? 0 : part.size() - s.size(), s.size()) == s) return Value::boolean(true);
  }
  return Value::boolean(false);
}

Value replace(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("replace", arguments.without_names("replace"), {"old", "new", "count"}, 2);
  const Int count = bound.integer(2, -1);
  const uint64_t limit = count < 0 ? std::numeric_limits<uint64_t>::max() : static_cast<uint64_t>(count);
  return replace_text(runtime, input.view(), bound.text(0, ""), bound.text(1, ""), limit);
}

Value join(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("join", arguments.without_names("join"), {"iterable"}, 1);
  for (const Value& item : iterate(runtime, bound[0], "join")) {
    if (!item.is_string()) render_fail("str.join needs strings, not {}", type_name(item));
  }
  Arguments separator;
  separator.positional.push_back(input);
  return find_filter("join")->function(runtime, bound[0], separator);
}

Value find(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("find", arguments.without_names("find"), {"sub", "start", "end"}, 1);
  const std::string_view wanted = bound.text(0, "");
  runtime.spend_bytes(input.view().size());
  size_t begin = 0;
  std::string_view part;
  if (!part_of(input, bound, 1, begin, part)) return Value::integer(-1);
  const size_t found = wanted.empty() ? 0 : find_text(part, wanted);
  if (found == kNotFound) return Value::integer(-1);
  return Value::integer(static_cast<Int>(count_code_points(input.view().substr(0, begin + found))));
}

Value count(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("count", arguments.without_names("count"), {"sub", "start", "end"}, 1);
  const std::string_view wanted = bound.text(0, "");
  runtime.spend_bytes(input.view().size());
  size_t begin = 0;
  std::string_view part;
  if (!part_of(input, bound, 1, begin, part)) return Value::integer(0);
  if (wanted.empty()) return Value::integer(static_cast<Int>(count_code_points(part)) + 1);
  Int n = 0;
  for (size_t at = find_text(part, wanted); at != kNotFound; at = find_text(part, wanted, at + wanted.size())) ++n;
  return Value::integer(n);
}

template <bool kPrefix>
Value without_affix(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const std::string_view name = kPrefix ? "removeprefix" : "removesuffix";
  const Bound bound(name, arguments.without_names(name), {"affix"}, 1);
  const std::string_view text = input.view();
  const std::string_view affix = bound.text(0, "");
  if (affix.empty() || affix.size() > text.size()) return input;
  const size_t rest = text.size() - affix.size();
  if (text.substr(kPrefix ? 0 : rest, affix.size()) != affix) return input;
  return runtime.text(std::string(text.substr(kPrefix ? affix.size() : 0, rest)));
}

Value isdigit(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("isdigit", arguments, {});
  const std::string_view text = input.view();
  runtime.spend_bytes(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode(text, i);
    if (!is_digit(c.code)) return Value::boolean(false);
    i += c.n_bytes;
  }
  return Value::boolean(!text.empty());
}

constexpr Method kMethods[] = {
    {"strip", strip_ends<true, true>},
    {"lstrip", strip_ends<true, false>},
    {"rstrip", strip_ends<false, true>},
    {"split", split<false>},
    {"rsplit", split<true>},
    {"splitlines", splitlines},
    {"startswith", has_affix<true>},
    {"endswith", has_affix<false>},
    {"replace", replace},
    {"upper", mapped<to_upper>},
    {"lower", mapped<to_lower>},
    {"title", mapped<to_title>},
    {"capitalize", mapped<to_capitalized>},
    {"join", join},
    {"find", find},
    {"count", count},
    {"format", format_text},
    {"removeprefix", without_affix<true>},
    {"removesuffix", without_affix<false>},
    {"isdigit", isdigit},
};

}  // namespace

Value replace_text(Runtime& runtime, std::string_view text, std::string_view from, std::string_view to,
                   uint64_t limit) {
  runtime.spend_bytes(text.size());
  uint64_t n = 0;
  if (from.empty()) {
    n = std::min<uint64_t>(limit, count_code_points(text) + 1);
  } else {
    for (size_t at = find_text(text, from); at != kNotFound && n < limit; at = find_text(text, from, at + from.size()))
      ++n;
  }
  const uint64_t added = to.size() == 0                                      ? 0
                         : n > runtime.limits().max_memory_bytes / to.size() ? runtime.limits().max_memory_bytes + 1
                                                                             : n * to.size();
  runtime.hold(added);  // before the memory is taken
  std::string out = replaced(text, from, to, n);
  runtime.release(added);
  return runtime.text(std::move(out));
}

const Method* find_string_method(std::string_view name) { return find_by_name(kMethods, name); }

}  // namespace stretto::jinja
