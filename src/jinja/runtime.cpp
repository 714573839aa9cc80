#include "jinja/runtime.h"

namespace stretto::jinja {

void Runtime::out_of_memory(uint64_t n_bytes) const {
  render_fail("values take more than {} bytes (max_memory_bytes): {} in use, {} more wanted", limits().max_memory_bytes,
              live_bytes_, n_bytes);
}

Value Runtime::text(std::string s) {
  spend_bytes(s.size());
  hold(TextData::cost(s.size()));
  try {
    return Value::string(std::make_shared<const TextData>(std::move(s), &live_bytes_));
  } catch (const std::bad_alloc&) {
    render_fail("out of memory");
  }
}

List& Runtime::new_list(bool is_tuple) {
  hold(sizeof(List));
  lists_.emplace_back().is_tuple = is_tuple;
  return lists_.back();
}

Value Runtime::list_of(std::vector<Value> items, bool is_tuple) {
  spend(1 + items.size());
  hold(items.size() * sizeof(Value));
  List& list = new_list(is_tuple);
  list.items = std::move(items);
  return Value::list(&list);
}

Dict& Runtime::new_dict() {
  hold(sizeof(Dict));
  return dicts_.emplace_back();
}

Namespace& Runtime::new_namespace() {
  hold(sizeof(Namespace));
  return namespaces_.emplace_back();
}

Callable& Runtime::new_callable(std::string_view name) {
  hold(sizeof(Callable));
  callables_.emplace_back().name = name;
  return callables_.back();
}

Loop& Runtime::new_loop() {
  hold(sizeof(Loop));
  return loops_.emplace_back();
}

Scope& Runtime::new_scope(Scope* parent) {
  hold(sizeof(Scope) + 4 * sizeof(Value));
  return scopes_.emplace_back(parent);
}

void Runtime::push(List& list, Value item) {
  spend();
  hold(sizeof(Value));
  list.items.push_back(std::move(item));
}

void Runtime::put(Dict& dict, Value key, Value value) {
  spend();
  if (!is_hashable(key)) render_fail("a {} cannot be a key", type_name(key));
  hold(4 * sizeof(Value));  // with its place in the index
  dict.set(std::move(key), std::move(value));
}

}  // namespace stretto::jinja
