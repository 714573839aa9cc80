#include "jinja/sort_keys.h"

#include "jinja/access.h"
#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

Value folded(Runtime& runtime, const Value& v, bool case_sensitive) {
  return v.is_string() && !case_sensitive ? runtime.text(to_lower(v.view())) : v;
}

}  // namespace

std::vector<Value> item_keys(Runtime& runtime, const std::vector<Value>& items, const Value* attribute,
                             bool case_sensitive) {
  std::vector<Value> keys;
  keys.reserve(items.size());
  if (attribute == nullptr) {
    for (const Value& item : items) keys.push_back(folded(runtime, item, case_sensitive));
    return keys;
  }
  const AttributePath path(runtime, *attribute, nullptr);
  for (const Value& item : items) keys.push_back(folded(runtime, path.read(item), case_sensitive));
  return keys;
}

std::vector<Value> sort_keys(Runtime& runtime, const std::vector<Value>& items, const Value* attribute,
                             bool case_sensitive) {
  std::vector<AttributePath> paths;
  if (attribute != nullptr && attribute->is_string()) {
    std::string_view rest = attribute->view();
    while (true) {
      const size_t comma = rest.find(',');
      paths.emplace_back(runtime, runtime.text(std::string(rest.substr(0, comma))), nullptr);
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  } else if (attribute != nullptr) {
    paths.emplace_back(runtime, *attribute, nullptr);
  }
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> parts;
    if (paths.empty()) parts.push_back(folded(runtime, item, case_sensitive));
    for (const AttributePath& path : paths) parts.push_back(folded(runtime, path.read(item), case_sensitive));
    keys.push_back(runtime.list_of(std::move(parts), true));
  }
  return keys;
}

}  // namespace stretto::jinja
