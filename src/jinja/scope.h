// Variables of a loop iteration, macro, call block, filter block or block set. The template's own level is a table of
// all names (Interpreter), so the outermost scope has no parent.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "jinja/value.h"

namespace stretto::jinja {

// Index of a name in Program::names.
using Symbol = uint32_t;

struct Scope {
  explicit Scope(Scope* outer) : parent(outer) {}

  Scope* parent;
  std::vector<std::pair<Symbol, Value>> values;

  void set(Symbol name, Value value) {
    for (auto& entry : values) {
      if (entry.first == name) {
        entry.second = std::move(value);
        return;
      }
    }
    values.emplace_back(name, std::move(value));
  }
};

// The value of `name` in `scope` or its parents; null if no scope has it.
inline const Value* find_in_scopes(const Scope* scope, Symbol name) {
  for (; scope != nullptr; scope = scope->parent) {
    for (const auto& entry : scope->values) {
      if (entry.first == name) return &entry.second;
    }
  }
  return nullptr;
}

}  // namespace stretto::jinja
