#include "jinja/access.h"
#include "jinja/compare.h"
#include "jinja/filters.h"
#include "jinja/interpreter.h"
#include "jinja/print.h"

namespace stretto::jinja {

Value Interpreter::evaluate(const Expression& e, Scope* scope) {
  runtime_.spend();
  runtime_.at = e.at;
  const Runtime::Level level(runtime_);
  switch (e.kind) {
    case ExpressionKind::kConstant:
      return static_cast<const ConstantExpression&>(e).value;
    case ExpressionKind::kName:
      return evaluate_name(static_cast<const NameExpression&>(e), scope);
    case ExpressionKind::kSequence:
      return evaluate_sequence(static_cast<const SequenceExpression&>(e), scope);
    case ExpressionKind::kDict:
      return evaluate_dict(static_cast<const DictExpression&>(e), scope);
    case ExpressionKind::kUnary: {
      const auto& node = static_cast<const UnaryExpression&>(e);
      const Value operand = evaluate(*node.operand, scope);
      runtime_.at = e.at;
      return apply(runtime_, node.op, operand);
    }
    case ExpressionKind::kArithmetic:
      return evaluate_arithmetic(static_cast<const ArithmeticExpression&>(e), scope);
    case ExpressionKind::kConcat:
      return evaluate_concat(static_cast<const ConcatExpression&>(e), scope);
    case ExpressionKind::kLogic:
      return evaluate_logic(static_cast<const LogicExpression&>(e), scope);
    case ExpressionKind::kComparison:
      return evaluate_comparison(static_cast<const ComparisonExpression&>(e), scope);
    case ExpressionKind::kConditional:
      return evaluate_conditional(static_cast<const ConditionalExpression&>(e), scope);
    case ExpressionKind::kAttribute: {
      const auto& node = static_cast<const AttributeExpression&>(e);
      const Value object = evaluate(*node.object, scope);
      runtime_.at = e.at;
      return attribute(runtime_, object, node.name);
    }
    case ExpressionKind::kItem:
      return evaluate_item(static_cast<const ItemExpression&>(e), scope);
    case ExpressionKind::kSlice:
      return evaluate_slice(static_cast<const SliceExpression&>(e), scope);
    case ExpressionKind::kCall:
      return evaluate_call(static_cast<const CallExpression&>(e), scope);
    case ExpressionKind::kFilter:
      return evaluate_filter(static_cast<const FilterExpression&>(e), scope);
    case ExpressionKind::kTest:
      return evaluate_test(static_cast<const TestExpression&>(e), scope);
  }
  return Value();
}

Value Interpreter::evaluate_name(const NameExpression& e, Scope* scope) {
  const Value* found = find_in_scopes(scope, e.name);
  return found != nullptr ? *found : names_[e.name];
}

Value Interpreter::evaluate_sequence(const SequenceExpression& e, Scope* scope) {
  std::vector<Value> items;
  items.reserve(e.items.size());
  for (const ExpressionPtr& item : e.items) items.push_back(evaluate(*item, scope));
  runtime_.at = e.at;
  return runtime_.list_of(std::move(items), e.is_tuple);
}

Value Interpreter::evaluate_dict(const DictExpression& e, Scope* scope) {
  Dict& dict = runtime_.new_dict();
  for (const auto& [key, value] : e.entries) {
    Value name = evaluate(*key, scope);
    Value content = evaluate(*value, scope);
    runtime_.at = key->at;
    runtime_.put(dict, std::move(name), std::move(content));
  }
  return Value::dict(&dict);
}

Value Interpreter::evaluate_arithmetic(const ArithmeticExpression& e, Scope* scope) {
  Value value = evaluate(*e.first, scope);
  for (const auto& step : e.steps) {
    const Value operand = evaluate(*step.operand, scope);
    runtime_.at = step.at;
    value = apply(runtime_, step.op, value, operand);
  }
  return value;
}

Value Interpreter::evaluate_concat(const ConcatExpression& e, Scope* scope) {
  std::string joined;
  for (const ExpressionPtr& part : e.parts) {
    const Value value = evaluate(*part, scope);
    runtime_.at = part->at;
    const Text text = print_text(runtime_, value);
    runtime_.hold(text->bytes.size());  // until the whole is counted as a string of its own
    joined += text->bytes;
  }
  runtime_.at = e.at;
  runtime_.release(joined.size());
  return runtime_.text(std::move(joined));
}

Value Interpreter::evaluate_logic(const LogicExpression& e, Scope* scope) {
  Value value;
  for (const ExpressionPtr& operand : e.operands) {
    value = evaluate(*operand, scope);
    if (is_true(value) == e.is_or) break;
  }
  return value;
}

bool Interpreter::is_member(const Value& item, const Expression& container, Scope* scope) {
  if (container.kind != ExpressionKind::kSequence) return contains(runtime_, evaluate(container, scope), item);
  // A list written in place needs no list: `role in ['user', 'tool']` is often inside loops.
  bool found = false;
  for (const ExpressionPtr& member : static_cast<const SequenceExpression&>(container).items) {
    const Value value = evaluate(*member, scope);
    found = found || equal(runtime_, value, item);
  }
  return found;
}

Value Interpreter::evaluate_comparison(const ComparisonExpression& e, Scope* scope) {
  Value left = evaluate(*e.first, scope);
  for (const auto& step : e.steps) {
    const bool is_last = &step == &e.steps.back();
    const bool is_membership = step.op == CompareOp::kIn || step.op == CompareOp::kNotIn;
    bool holds = false;
    if (is_membership && is_last) {
      holds = is_member(left, *step.operand, scope) == (step.op == CompareOp::kIn);
    } else {
      Value right = evaluate(*step.operand, scope);
      runtime_.at = step.at;
      switch (step.op) {
        case CompareOp::kEqual:
          holds = equal(runtime_, left, right);
          break;
        case CompareOp::kNotEqual:
          holds = !equal(runtime_, left, right);
          break;
        case CompareOp::kLess:
          holds = order(runtime_, left, right, "<") < 0;
          break;
        case CompareOp::kLessEqual:
          holds = order(runtime_, left, right, "<=") <= 0;
          break;
        case CompareOp::kGreater:
          holds = order(runtime_, left, right, ">") > 0;
          break;
        case CompareOp::kGreaterEqual:
          holds = order(runtime_, left, right, ">=") >= 0;
          break;
        case CompareOp::kIn:
          holds = contains(runtime_, right, left);
          break;
        case CompareOp::kNotIn:
          holds = !contains(runtime_, right, left);
          break;
      }
      left = std::move(right);
    }
    if (!holds) return Value::boolean(false);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_conditional(const ConditionalExpression& e, Scope* scope) {
  if (is_true(evaluate(*e.test, scope))) return evaluate(*e.when_true, scope);
  if (e.when_false != nullptr) return evaluate(*e.when_false, scope);
  static const Text kWhat = make_text("an 'if' expression without 'else'");
  return Value::undefined(kWhat);
}

Value Interpreter::evaluate_item(const ItemExpression& e, Scope* scope) {
  const Value object = evaluate(*e.object, scope);
  const Value key = evaluate(*e.key, scope);
  runtime_.at = e.at;
  return item(runtime_, object, key);
}

Value Interpreter::evaluate_slice(const SliceExpression& e, Scope* scope) {
  const auto bound = [this, scope](const ExpressionPtr& part) {
    return part == nullptr ? Value() : evaluate(*part, scope);
  };
  const Value object = evaluate(*e.object, scope);
  const Value start = bound(e.start);
  const Value stop = bound(e.stop);
  const Value step = bound(e.step);
  runtime_.at = e.at;
  return slice(runtime_, object, start, stop, step);
}

Value Interpreter::evaluate_filter(const FilterExpression& e, Scope* scope, const Value* block) {
  Value input;
  if (e.input == nullptr) {
    input = *block;
  } else if (block != nullptr) {  // a chain of filters over a block: the innermost takes the block
    input = evaluate_filter(static_cast<const FilterExpression&>(*e.input), scope, block);
  } else {
    input = evaluate(*e.input, scope);
  }
  const Arguments arguments = evaluate_arguments(e.arguments, scope);
  runtime_.at = e.at;
  if (e.filter == nullptr) render_fail("there is no filter '{}'", e.name);
  return e.filter->function(runtime_, input, arguments);
}

Value Interpreter::evaluate_test(const TestExpression& e, Scope* scope) {
  const Value input = evaluate(*e.input, scope);
  const Arguments arguments = evaluate_arguments(e.arguments, scope);
  runtime_.at = e.at;
  if (e.test == nullptr) render_fail("there is no test '{}'", e.name);
  return Value::boolean(e.test->function(runtime_, input, arguments) != e.is_negated);
}

}  // namespace stretto::jinja
