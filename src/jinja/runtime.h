// What one rendering owns and may use: its containers, its budget of steps, memory and depth, and the place in the
// template where it is.
#pragma once

#include <fmt/format.h>

#include <deque>
#include <stdexcept>
#include <string>

#include "jinja/jinja.h"
#include "jinja/scope.h"
#include "jinja/value.h"

namespace stretto::jinja {

// A failure while rendering, before Template::render adds the place.
class RenderFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <class... Args>
[[noreturn]] void render_fail(fmt::format_string<Args...> text, Args&&... args) {
  throw RenderFailure(fmt::format(text, std::forward<Args>(args)...));
}

class Runtime {
 public:
  explicit Runtime(const RenderOptions& options) : options_(options), steps_left_(options.limits.max_steps) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const RenderOptions& options() const { return options_; }
  const Limits& limits() const { return options_.limits; }

  // The byte of the template that is being rendered, for messages.
  uint32_t at = 0;

  void spend(uint64_t steps = 1) {
    if (steps > steps_left_) render_fail("more than {} steps (max_steps)", limits().max_steps);
    steps_left_ -= steps;
  }
  void spend_bytes(uint64_t n_bytes) { spend(1 + n_bytes / 16); }

  // Counts memory that is alive; release() gives back what hold() counted.
  void hold(uint64_t n_bytes) {
    if (n_bytes > limits().max_memory_bytes || live_bytes_ > limits().max_memory_bytes - n_bytes)
      out_of_memory(n_bytes);
    live_bytes_ += n_bytes;
  }
  void release(uint64_t n_bytes) { live_bytes_ -= n_bytes; }

  // New values. Every string and container of a rendering is made and grown here, so that it is counted.
  Value text(std::string s);
  List& new_list(bool is_tuple = false);
  Value list_of(std::vector<Value> items, bool is_tuple = false);
  Dict& new_dict();
  Namespace& new_namespace();
  Callable& new_callable(std::string_view name);
  Loop& new_loop();
  Scope& new_scope(Scope* parent);
  void push(List& list, Value item);
  // Fails for a key that is not hashable.
  void put(Dict& dict, Value key, Value value);

  // One level of nesting while it lives.
  class Level {
   public:
    explicit Level(Runtime& runtime) : runtime_(runtime) {
      if (++runtime_.depth_ > runtime_.limits().max_depth) {
        --runtime_.depth_;
        render_fail("nested deeper than {} levels (max_depth)", runtime_.limits().max_depth);
      }
    }
    ~Level() { --runtime_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Runtime& runtime_;
  };
  // Fails when values are nested too deep to be walked.
  void check_value_depth(uint32_t depth) const {
    if (depth > limits().max_value_depth) {
      render_fail("lists and dicts nested deeper than {} levels (max_value_depth)", limits().max_value_depth);
    }
  }

 private:
  [[noreturn]] void out_of_memory(uint64_t n_bytes) const;

  const RenderOptions& options_;
  uint64_t steps_left_;
  uint64_t live_bytes_ = 0;  // before the containers, whose strings report to it when they go
  uint32_t depth_ = 0;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::deque<Namespace> namespaces_;
  std::deque<Callable> callables_;
  std::deque<Loop> loops_;
  std::deque<Scope> scopes_;
};

}  // namespace stretto::jinja
