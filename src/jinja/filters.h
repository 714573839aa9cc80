// The filters and tests.
#pragma once

#include <string_view>

#include "jinja/arguments.h"
#include "jinja/runtime.h"

namespace stretto::jinja {

struct Filter {
  std::string_view name;
  Native function;
};

struct Test {
  std::string_view name;
  bool (*function)(Runtime&, const Value& input, const Arguments&);
};

// Null if there is none of that name.
const Filter* find_filter(std::string_view name);
const Test* find_test(std::string_view name);

// The parts of find_filter.
const Filter* find_text_filter(std::string_view name);
const Filter* find_number_filter(std::string_view name);
const Filter* find_sequence_filter(std::string_view name);
const Filter* find_selection_filter(std::string_view name);
const Filter* find_json_filter(std::string_view name);

template <class Entry, size_t kCount>
const Entry* find_by_name(const Entry (&entries)[kCount], std::string_view name) {
  for (const Entry& entry : entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace stretto::jinja
