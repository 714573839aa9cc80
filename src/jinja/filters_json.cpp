#include "base/json.h"
#include "jinja/compare.h"
#include "jinja/filters.h"
#include "jinja/json.h"

namespace stretto::jinja {
namespace {

Value tojson(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("tojson", arguments, {"indent", "ensure_ascii", "sort_keys", "separators"});
  JsonStyle style;
  if (const Value* indent = bound.find_not_none(0)) {
    style.multiline = true;
    style.item_separator = ",";
    if (indent->is_string()) {
      style.indentation = indent->view();
    } else {
      const Int n = bound.integer(0, 0);
      if (n > 10'000) render_fail("tojson: an indent of {} columns is more than 10000", n);
      style.indentation.assign(n < 0 ? 0 : static_cast<size_t>(n), ' ');
    }
  }
  style.ensure_ascii = bound.flag(1, false);
  style.sort_keys = bound.flag(2, false);
  if (const Value* separators = bound.find_not_none(3)) {
    const bool is_pair = separators->is_list() && separators->as_list().items.size() == 2 &&
                         separators->as_list().items[0].is_string() && separators->as_list().items[1].is_string();
    if (!is_pair) render_fail("tojson: separators must be two strings");
    style.item_separator = separators->as_list().items[0].view();
    style.key_separator = separators->as_list().items[1].view();
  }
  return runtime.text(to_json(runtime, input, style));
}

Value from_json_filter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("from_json", arguments, {});
  if (!input.is_string()) render_fail("from_json needs a string, not {}", type_name(input));
  runtime.spend_bytes(input.view().size());
  // A parsed value takes up to some 40 bytes per byte of text ("[[],[],..."), and lives only until it is converted.
  runtime.hold(input.view().size() * 40);
  JsonOptions options;
  options.python_constants = true;
  options.error_kind = ErrorKind::kBadArgument;
  try {
    const Value value = from_json(runtime, parse_json(input.view(), "from_json", options));
    runtime.release(input.view().size() * 40);
    return value;
  } catch (const Error& e) {
    render_fail("{}", e.what());
  }
}

constexpr Filter kFilters[] = {
    {"tojson", tojson},
    {"from_json", from_json_filter},
};

}  // namespace

const Filter* find_json_filter(std::string_view name) { return find_by_name(kFilters, name); }

}  // namespace stretto::jinja
