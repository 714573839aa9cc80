// The keys by which filters order and distinguish items.
#pragma once

#include "jinja/runtime.h"

namespace stretto::jinja {

// The items or, if `attribute` is not null, that attribute of each; strings in lower case unless case_sensitive.
std::vector<Value> item_keys(Runtime& runtime, const std::vector<Value>& items, const Value* attribute,
                             bool case_sensitive);

// The same as tuples, where `attribute` may name several attributes ("a,b.c"). Tuples, with one attribute too, because
// equal items of them are not ordered: values that have no order may be sorted when they are all equal.
std::vector<Value> sort_keys(Runtime& runtime, const std::vector<Value>& items, const Value* attribute,
                             bool case_sensitive);

}  // namespace stretto::jinja
