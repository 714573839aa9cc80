#include "jinja/interpreter.h"

#include "jinja/access.h"
#include "jinja/compare.h"
#include "jinja/functions.h"
#include "jinja/json.h"
#include "jinja/print.h"

namespace stretto::jinja {

std::string Interpreter::render(const nlohmann::ordered_json& context) {
  bind_context(context);
  std::string text;
  out_ = &text;
  execute(program_.body, nullptr);
  out_ = nullptr;
  return text;
}

void Interpreter::bind_context(const nlohmann::ordered_json& context) {
  if (!context.is_object()) render_fail("the variables of a template must be an object");
  names_.reserve(program_.names.size());
  for (const Text& name : program_.names) {
    const auto given = context.find(name->bytes);
    if (given != context.end()) {
      names_.push_back(from_json(runtime_, *given));
    } else if (const Function* function = find_function(name->bytes)) {
      Callable& callable = runtime_.new_callable(function->name);
      callable.native = function->function;
      names_.push_back(Value::callable(&callable));
    } else {
      names_.push_back(Value::undefined(name));
    }
  }
}

void Interpreter::emit(std::string_view text) {
  const uint64_t limit = runtime_.limits().max_output_bytes;
  if (text.size() > limit || out_->size() > limit - text.size()) {
    render_fail("the output is longer than {} bytes (max_output_bytes)", limit);
  }
  runtime_.spend_bytes(text.size());
  runtime_.hold(text.size());
  out_->append(text);
}

Interpreter::Flow Interpreter::execute(const Body& body, Scope* scope) {
  for (const StatementPtr& statement : body.statements) {
    const Flow flow = execute(*statement, scope);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Statement& statement, Scope* scope) {
  runtime_.spend();
  runtime_.at = statement.at;
  const Runtime::Level level(runtime_);
  Flow flow = Flow::kNormal;
  switch (statement.kind) {
    case StatementKind::kText:
      emit(static_cast<const TextStatement&>(statement).text);
      break;
    case StatementKind::kOutput: {
      const Value value = evaluate(*static_cast<const OutputStatement&>(statement).value, scope);
      runtime_.at = statement.at;
      emit(print_text(runtime_, value)->bytes);
      break;
    }
    case StatementKind::kIf:
      return execute_if(static_cast<const IfStatement&>(statement), scope);
    case StatementKind::kFor:
      return execute_for(static_cast<const ForStatement&>(statement), scope);
    case StatementKind::kSet: {
      const auto& node = static_cast<const SetStatement&>(statement);
      assign(node.target, evaluate(*node.value, scope), scope);
      break;
    }
    case StatementKind::kSetBlock:
      execute_set_block(static_cast<const SetBlockStatement&>(statement), scope, flow);
      break;
    case StatementKind::kMacro:
      define_macro(static_cast<const MacroStatement&>(statement), scope);
      break;
    case StatementKind::kCallBlock:
      execute_call_block(static_cast<const CallBlockStatement&>(statement), scope);
      break;
    case StatementKind::kFilterBlock:
      execute_filter_block(static_cast<const FilterBlockStatement&>(statement), scope, flow);
      break;
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
    case StatementKind::kGroup:
      return execute(static_cast<const GroupStatement&>(statement).body, scope);
  }
  return flow;
}

Interpreter::Flow Interpreter::execute_if(const IfStatement& node, Scope* scope) {
  for (const auto& [test, body] : node.branches) {
    if (is_true(evaluate(*test, scope))) return execute(body, scope);
  }
  return execute(node.otherwise, scope);
}

Value Interpreter::capture(const Body& body, Scope* scope, Flow& flow) {
  BodyScope inner(runtime_, body, scope);
  OutputBuffer buffer(*this);
  flow = execute(body, inner.get());
  return buffer.take();
}

void Interpreter::execute_set_block(const SetBlockStatement& node, Scope* scope, Flow& flow) {
  Value value = capture(node.body, scope, flow);
  if (flow != Flow::kNormal) return;  // break and continue leave before the assignment
  if (node.filter != nullptr) {
    value = evaluate_filter(static_cast<const FilterExpression&>(*node.filter), scope, &value);
  }
  assign(node.target, value, scope);
}

void Interpreter::execute_filter_block(const FilterBlockStatement& node, Scope* scope, Flow& flow) {
  const Value body = capture(node.body, scope, flow);
  if (flow != Flow::kNormal) return;
  const Value value = evaluate_filter(static_cast<const FilterExpression&>(*node.filter), scope, &body);
  emit(print_text(runtime_, value)->bytes);
}

void Interpreter::define_macro(const MacroStatement& node, Scope* scope) {
  Callable& macro = runtime_.new_callable(node.text->bytes);
  macro.macro = &node;
  macro.scope = scope;
  set_name(node.name, Value::callable(&macro), scope);
}

void Interpreter::execute_call_block(const CallBlockStatement& node, Scope* scope) {
  Callable& caller = runtime_.new_callable(node.caller->text->bytes);
  caller.macro = node.caller.get();
  caller.scope = scope;
  const Value value = Value::callable(&caller);
  const Value output = evaluate_call(static_cast<const CallExpression&>(*node.call), scope, &value);
  emit(print_text(runtime_, output)->bytes);
}

void Interpreter::set_name(Symbol name, Value value, Scope* scope) {
  if (scope == nullptr) {
    names_[name] = std::move(value);
  } else {
    scope->set(name, std::move(value));
  }
}

void Interpreter::assign(const Target& target, const Value& value, Scope* scope) {
  switch (target.kind) {
    case Target::Kind::kName:
      return set_name(target.name, value, scope);
    case Target::Kind::kAttribute: {
      runtime_.at = target.at;
      const Value* found = find_in_scopes(scope, target.name);
      const Value object = found != nullptr ? *found : names_[target.name];
      if (object.type() != Type::kNamespace) {
        render_fail("cannot set '{}' of '{}', which is no namespace", target.attribute->bytes,
                    program_.names[target.name]->bytes);
      }
      return runtime_.put(object.as_namespace().attributes, Value::string(target.attribute), value);
    }
    case Target::Kind::kTuple: {
      runtime_.at = target.at;
      const std::vector<Value> parts = iterate(runtime_, value, "assignment to several names");
      if (parts.size() != target.items.size()) {
        render_fail("{} values for {} names", parts.size(), target.items.size());
      }
      for (size_t i = 0; i < parts.size(); ++i) assign(target.items[i], parts[i], scope);
    }
  }
}

}  // namespace stretto::jinja
