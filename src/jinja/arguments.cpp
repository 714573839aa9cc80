#include "jinja/arguments.h"

#include <algorithm>

#include "base/check.h"
#include "jinja/compare.h"
#include "jinja/runtime.h"

namespace stretto::jinja {

const Arguments& Arguments::without_names(std::string_view function) const {
  if (!named.empty()) render_fail("{} takes no argument with a name ('{}')", function, named[0].first->bytes);
  return *this;
}

Bound::Bound(std::string_view function, const Arguments& arguments, std::initializer_list<std::string_view> names,
             size_t n_required)
    : function_(function) {
  CHECK(names.size() <= kMaxParameters);
  std::copy(names.begin(), names.end(), names_.begin());
  if (arguments.positional.size() > names.size()) {
    render_fail("{} takes at most {} arguments, {} given", function, names.size(), arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto* const at = std::find(names_.begin(), names_.begin() + names.size(), name->bytes);
    const auto i = static_cast<size_t>(at - names_.begin());
    if (i == names.size()) render_fail("{} has no argument '{}'", function, name->bytes);
    if (values_[i] != nullptr) render_fail("{} got argument '{}' twice", function, name->bytes);
    values_[i] = &value;
  }
  for (size_t i = 0; i < n_required; ++i) {
    if (values_[i] == nullptr) render_fail("{} needs the argument '{}'", function, names_[i]);
  }
}

bool Bound::flag(size_t i, bool fallback) const { return values_[i] == nullptr ? fallback : is_true(*values_[i]); }

Int Bound::integer(size_t i, Int fallback) const {
  if (values_[i] == nullptr) return fallback;
  if (!values_[i]->is_integral()) {
    render_fail("{}: '{}' must be an integer, not {}", function_, names_[i], type_name(*values_[i]));
  }
  return values_[i]->as_integer();
}

std::string_view Bound::text(size_t i, std::string_view fallback) const {
  if (values_[i] == nullptr) return fallback;
  if (!values_[i]->is_string()) {
    render_fail("{}: '{}' must be a string, not {}", function_, names_[i], type_name(*values_[i]));
  }
  return values_[i]->view();
}

const Value* Bound::find_not_none(size_t i) const {
  return values_[i] == nullptr || values_[i]->is_none() ? nullptr : values_[i];
}

}  // namespace stretto::jinja
