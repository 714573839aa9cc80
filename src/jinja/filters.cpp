#include "jinja/filters.h"

namespace stretto::jinja {

const Filter* find_filter(std::string_view name) {
  for (const auto find :
       {find_text_filter, find_sequence_filter, find_selection_filter, find_json_filter, find_number_filter}) {
    if (const Filter* found = find(name)) return found;
  }
  return nullptr;
}

}  // namespace stretto::jinja
