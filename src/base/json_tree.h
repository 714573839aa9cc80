// A JSON value that grows event by event, for the readers of JSON that a parser calls back.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace stretto {

class JsonTree {
 public:
  // The next member is called this, if the innermost open container is an object.
  void set_key(std::string key) { key_ = std::move(key); }
  const std::string& key() const { return key_; }

  // Puts a value into the innermost open container (the first one becomes the root); containers are appended to without
  // a search for equal keys.
  Json* append(Json v) {
    ++n_values_;
    if (open_.empty()) {
      root_ = std::move(v);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      auto& items = parent.get_ref<Json::array_t&>();
      items.push_back(std::move(v));
      return &items.back();
    }
    Json::object_t::Container& items = parent.get_ref<Json::object_t&>();
    items.emplace_back(std::move(key_), std::move(v));
    return &items.back().second;
  }
  // An empty array or object, which takes what follows until close().
  void open(Json empty) { open_.push_back(append(std::move(empty))); }
  void close() { open_.pop_back(); }

  Json::object_t& innermost_object() { return open_.back()->get_ref<Json::object_t&>(); }
  size_t depth() const { return open_.size(); }
  size_t n_values() const { return n_values_; }
  Json take() { return std::move(root_); }

 private:
  Json root_;
  std::vector<Json*> open_;  // only the last child of each is open, so no parent grows while a pointer to it is kept
  std::string key_;
  size_t n_values_ = 0;
};

// The part of a parser's message that explains: what() is "[json.exception.parse_error.101] parse error at line 1,
// ...".
inline std::string_view explanation(const nlohmann::detail::exception& e) {
  std::string_view what = e.what();
  const size_t bracket = what.find("] ");
  if (bracket != std::string_view::npos) what.remove_prefix(bracket + 2);
  return what.substr(0, 300);
}

}  // namespace stretto
