// Reading from values: attributes, items, slices, iteration.
#pragma once

#include <optional>

#include "jinja/methods.h"
#include "jinja/runtime.h"

namespace stretto::jinja {

// `object.name`: methods and attributes, then items. Undefined if there is none; fails for an undefined object.
Value attribute(Runtime& runtime, const Value& object, const Text& name);

// `object[key]`: items, then attributes. Undefined if there is none; fails for an undefined object.
Value item(Runtime& runtime, const Value& object, const Value& key);

// Only attributes and methods, as the filter attr reads them.
Value only_attribute(Runtime& runtime, const Value& object, const Text& name);

// `object[start:stop:step]`, each none or an integer.
Value slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step);

// Code points of a string, items of a list, keys of a dict, nothing of undefined; fails for the rest, naming `user`.
std::vector<Value> iterate(Runtime& runtime, const Value& v, std::string_view user);
bool is_iterable(const Value& v);
// Fails when there is no length.
size_t length(const Value& v);

// Reads "a.b.0" from each item: the attribute argument of filters. `fallback` stands in for undefined parts.
class AttributePath {
 public:
  // `path` is a string or an integer.
  AttributePath(Runtime& runtime, const Value& path, const Value* fallback);
  Value read(const Value& v) const;

 private:
  Runtime& runtime_;
  std::vector<Value> parts_;
  const Value* fallback_;
};

}  // namespace stretto::jinja
