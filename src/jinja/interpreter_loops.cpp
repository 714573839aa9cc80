#include "jinja/access.h"
#include "jinja/compare.h"
#include "jinja/interpreter.h"

namespace stretto::jinja {
namespace {

// Counts the items of a loop while it runs.
class HeldItems {
 public:
  HeldItems(Runtime& runtime, size_t n_items) : runtime_(runtime), n_bytes_(n_items * sizeof(Value)) {
    runtime_.hold(n_bytes_);
  }
  ~HeldItems() { runtime_.release(n_bytes_); }
  HeldItems(const HeldItems&) = delete;
  HeldItems& operator=(const HeldItems&) = delete;

 private:
  Runtime& runtime_;
  uint64_t n_bytes_;
};

// After its loop, a Loop that the template kept answers nothing that would need the loop's scopes.
class EndOfLoop {
 public:
  explicit EndOfLoop(Loop& loop) : loop_(loop) {}
  ~EndOfLoop() {
    loop_.accepts = nullptr;
    loop_.recurse = nullptr;
    loop_.waiting.clear();
    loop_.waiting.shrink_to_fit();
    loop_.accepted.clear();
    loop_.accepted.shrink_to_fit();
    loop_.index0 = 0;
  }
  EndOfLoop(const EndOfLoop&) = delete;
  EndOfLoop& operator=(const EndOfLoop&) = delete;

 private:
  Loop& loop_;
};

}  // namespace

Interpreter::Flow Interpreter::execute_for(const ForStatement& node, Scope* scope) {
  const Value items = evaluate(*node.items, scope);
  runtime_.at = node.items->at;
  return run_loop(node, items, scope, 0);
}

Interpreter::Flow Interpreter::run_loop(const ForStatement& node, const Value& items, Scope* scope, uint32_t depth0) {
  std::vector<Value> all = iterate(runtime_, items, "for");
  const HeldItems held(runtime_, 2 * all.size());
  if (node.uses_loop) return run_visible_loop(node, std::move(all), scope, depth0);
  return run_plain_loop(node, std::move(all), scope);
}

bool Interpreter::accepts(const ForStatement& node, const Value& item, Scope* scope) {
  if (node.condition == nullptr) return true;
  Scope inner(scope);
  assign(node.target, item, &inner);
  return is_true(evaluate(*node.condition, &inner));
}

// As in Jinja2, not only where nothing was accepted: also where every round ended with `break` or `continue`.
Interpreter::Flow Interpreter::run_otherwise(const ForStatement& node, Scope* scope) {
  BodyScope inner(runtime_, node.otherwise, scope);
  return execute(node.otherwise, inner.get());
}

Interpreter::Flow Interpreter::run_plain_loop(const ForStatement& node, std::vector<Value> items, Scope* scope) {
  bool ran_to_its_end = false;
  for (const Value& item : items) {
    runtime_.spend();
    if (!accepts(node, item, scope)) continue;
    BodyScope inner(runtime_, node.body, scope);
    assign(node.target, item, inner.get());
    const Flow flow = execute(node.body, inner.get());
    if (flow == Flow::kBreak) break;
    ran_to_its_end = ran_to_its_end || flow == Flow::kNormal;
  }
  return ran_to_its_end ? Flow::kNormal : run_otherwise(node, scope);
}

Interpreter::Flow Interpreter::run_visible_loop(const ForStatement& node, std::vector<Value> items, Scope* scope,
                                                uint32_t depth0) {
  Loop& loop = runtime_.new_loop();
  const EndOfLoop end(loop);
  loop.depth0 = depth0;
  if (node.condition == nullptr) {
    loop.accepted = std::move(items);
  } else {
    loop.waiting = std::move(items);
    loop.accepts = [this, &node, scope](const Value& item) { return accepts(node, item, scope); };
  }
  if (node.is_recursive) {
    loop.recurse = [this, &node, scope, depth0](const Value& inner_items) {
      OutputBuffer buffer(*this);
      run_loop(node, inner_items, scope, depth0 + 1);
      return buffer.take();
    };
  }
  bool ran_to_its_end = false;
  for (size_t i = 0; loop.has(i); ++i) {
    runtime_.spend();
    loop.index0 = i;
    const Value item = loop.accepted[i];
    BodyScope inner(runtime_, node.body, scope);
    (*inner).set(program_.known.loop, Value::loop(&loop));
    assign(node.target, item, inner.get());
    const Flow flow = execute(node.body, inner.get());
    if (flow == Flow::kBreak) break;
    ran_to_its_end = ran_to_its_end || flow == Flow::kNormal;
  }
  return ran_to_its_end ? Flow::kNormal : run_otherwise(node, scope);
}

}  // namespace stretto::jinja
