#include <algorithm>

#include "jinja/access.h"
#include "jinja/compare.h"
#include "jinja/interpreter.h"
#include "jinja/print.h"

namespace stretto::jinja {

Value Interpreter::evaluate_call(const CallExpression& e, Scope* scope, const Value* caller) {
  Value callee;
  const Method* method = nullptr;
  if (e.callee->kind == ExpressionKind::kAttribute) {
    // A method is called on its object without a callable value in between.
    const auto& node = static_cast<const AttributeExpression&>(*e.callee);
    callee = evaluate(*node.object, scope);
    runtime_.at = node.at;
    method = find_method(callee, node.name->bytes);
    if (method == nullptr) callee = attribute(runtime_, callee, node.name);
  } else {
    callee = evaluate(*e.callee, scope);
  }
  Arguments arguments = evaluate_arguments(e.arguments, scope);
  if (caller != nullptr) arguments.named.emplace_back(program_.names[program_.known.caller], *caller);
  runtime_.at = e.at;
  return method != nullptr ? method->function(runtime_, callee, arguments) : call(callee, arguments);
}

Arguments Interpreter::evaluate_arguments(const ArgumentExpressions& e, Scope* scope) {
  Arguments arguments;
  arguments.positional.reserve(e.positional.size());
  for (const ExpressionPtr& argument : e.positional) arguments.positional.push_back(evaluate(*argument, scope));
  if (e.spread_list != nullptr) {
    for (Value& item : iterate(runtime_, evaluate(*e.spread_list, scope), "a '*' argument")) {
      arguments.positional.push_back(std::move(item));
    }
  }
  for (const auto& [name, argument] : e.named) arguments.named.emplace_back(name, evaluate(*argument, scope));
  if (e.spread_dict == nullptr) return arguments;
  const Value spread = evaluate(*e.spread_dict, scope);
  if (!spread.is_dict()) render_fail("a '**' argument must be a dict, not {}", type_name(spread));
  for (const auto& [key, value] : spread.as_dict().entries) {
    runtime_.spend();
    if (!key.is_string()) render_fail("the keys of a '**' argument must be strings, not {}", type_name(key));
    for (size_t i = 0; i < e.named.size(); ++i) {
      if (e.named[i].first->bytes == key.view()) render_fail("argument '{}' is given twice", key.view());
    }
    arguments.named.emplace_back(key.as_text(), value);
  }
  return arguments;
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) {
    render_fail("{} is undefined and cannot be called",
                callee.undefined_what() ? fmt::format("'{}'", callee.undefined_what()->bytes) : "the value");
  }
  if (callee.type() == Type::kLoop) {
    Loop& loop = callee.as_loop();
    if (!loop.recurse) render_fail("only the loop of a running 'for ... recursive' can be called");
    const Bound bound("loop", arguments, {"iterable"}, 1);
    if (macro_depth_ >= runtime_.limits().max_macro_depth) {
      render_fail("loops inside loops deeper than {} (max_macro_depth)", runtime_.limits().max_macro_depth);
    }
    ++macro_depth_;
    // A copy: the loop may end before the call returns only by an exception, but it must not lose what runs.
    const auto recurse = loop.recurse;
    Value output = recurse(bound[0]);
    --macro_depth_;
    return output;
  }
  if (callee.type() != Type::kCallable) render_fail("a {} cannot be called", type_name(callee));
  const Callable& callable = callee.as_callable();
  if (callable.macro != nullptr) return call_macro(*callable.macro, callable.scope, arguments);
  return callable.native(runtime_, callable.input, arguments);
}

Value Interpreter::call_macro(const MacroStatement& macro, Scope* closure, const Arguments& arguments) {
  if (macro_depth_ >= runtime_.limits().max_macro_depth) {
    render_fail("macros inside macros deeper than {} (max_macro_depth)", runtime_.limits().max_macro_depth);
  }
  ++macro_depth_;
  BodyScope scope(runtime_, macro.body, closure);
  bind_parameters(macro, arguments, *scope);
  OutputBuffer buffer(*this);
  execute(macro.body, scope.get());
  --macro_depth_;
  return buffer.take();
}

void Interpreter::bind_parameters(const MacroStatement& macro, const Arguments& arguments, Scope& scope) {
  const size_t n_parameters = macro.parameters.size();
  const size_t n_positional = std::min(arguments.positional.size(), n_parameters);
  if (arguments.positional.size() > n_parameters && !macro.uses_varargs) {
    render_fail("macro '{}' takes at most {} arguments, {} given", macro.text->bytes, n_parameters,
                arguments.positional.size());
  }
  std::vector<const Value*> given(n_parameters);
  for (size_t i = 0; i < n_positional; ++i) given[i] = &arguments.positional[i];
  Dict* rest = macro.uses_kwargs ? &runtime_.new_dict() : nullptr;
  const Value* caller = nullptr;
  for (const auto& [name, value] : arguments.named) {
    size_t i = n_positional;
    while (i < n_parameters && macro.parameters[i].text->bytes != name->bytes) ++i;
    if (i < n_parameters) {
      given[i] = &value;
    } else if (macro.uses_caller && name->bytes == "caller") {
      caller = &value;
    } else if (rest != nullptr) {
      runtime_.put(*rest, Value::string(name), value);
    } else {
      render_fail("macro '{}' has no argument '{}'", macro.text->bytes, name->bytes);
    }
  }
  // The macro's own `caller` hides that of the macro it is written in.
  const KnownNames& known = program_.known;
  if (macro.uses_caller && macro.name != known.caller) {
    scope.set(known.caller, caller != nullptr ? *caller : Value::undefined(program_.names[known.caller]));
  }
  if (rest != nullptr) scope.set(known.kwargs, Value::dict(rest));
  if (macro.uses_varargs) {
    std::vector<Value> extra(arguments.positional.begin() + static_cast<std::ptrdiff_t>(n_positional),
                             arguments.positional.end());
    scope.set(known.varargs, runtime_.list_of(std::move(extra), true));
  }
  // In order: a default may read the parameters before it.
  for (size_t i = 0; i < n_parameters; ++i) {
    const Parameter& parameter = macro.parameters[i];
    if (given[i] != nullptr) {
      scope.set(parameter.name, *given[i]);
    } else if (parameter.fallback != nullptr) {
      scope.set(parameter.name, evaluate(*parameter.fallback, &scope));
    } else {
      scope.set(parameter.name, Value::undefined(parameter.text));
    }
  }
}

}  // namespace stretto::jinja
