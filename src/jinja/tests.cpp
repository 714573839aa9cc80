#include "jinja/access.h"
#include "jinja/arithmetic.h"
#include "jinja/compare.h"
#include "jinja/filters.h"
#include "jinja/print.h"
#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

// A test without arguments.
template <bool (*kIs)(const Value&)>
bool plain(Runtime&, const Value& v, const Arguments& arguments) {
  const Bound bound("the test", arguments, {});
  return kIs(v);
}

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_string(const Value& v) { return v.is_string(); }
bool is_number(const Value& v) { return v.is_numeric(); }
bool is_integer(const Value& v) { return v.type() == Type::kInteger; }
bool is_float(const Value& v) { return v.type() == Type::kFloat; }
bool is_boolean(const Value& v) { return v.type() == Type::kBool; }
bool is_mapping(const Value& v) { return v.is_dict(); }
bool is_callable(const Value& v) { return v.is_undefined() || v.type() == Type::kCallable || v.type() == Type::kLoop; }
bool is_true_constant(const Value& v) { return v.type() == Type::kBool && v.as_bool(); }
bool is_false_constant(const Value& v) { return v.type() == Type::kBool && !v.as_bool(); }
bool is_filter(const Value& v) { return v.is_string() && find_filter(v.view()) != nullptr; }
bool is_test(const Value& v) { return v.is_string() && find_test(v.view()) != nullptr; }

bool lower(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("lower", arguments, {});
  return all_lower(print_text(runtime, v)->bytes);
}

bool upper(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("upper", arguments, {});
  return all_upper(print_text(runtime, v)->bytes);
}

bool has_rest(Runtime& runtime, const Value& v, Int divisor, Int rest) {
  const Value modulo = apply(runtime, BinaryOp::kModulo, v, Value::integer(divisor));
  return equal(runtime, modulo, Value::integer(rest));
}

bool odd(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("odd", arguments, {});
  return has_rest(runtime, v, 2, 1);
}

bool even(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("even", arguments, {});
  return has_rest(runtime, v, 2, 0);
}

bool divisible_by(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("divisibleby", arguments, {"num"}, 1);
  return equal(runtime, apply(runtime, BinaryOp::kModulo, v, bound[0]), Value::integer(0));
}

bool same_as(Runtime&, const Value& v, const Arguments& arguments) {
  const Bound bound("sameas", arguments, {"other"}, 1);
  return v.same_as(bound[0]);
}

bool in(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("in", arguments, {"seq"}, 1);
  return contains(runtime, bound[0], v);
}

bool eq(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("eq", arguments, {"other"}, 1);
  return equal(runtime, v, bound[0]);
}

bool ne(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("ne", arguments, {"other"}, 1);
  return !equal(runtime, v, bound[0]);
}

bool lt(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("lt", arguments, {"other"}, 1);
  return order(runtime, v, bound[0], "<") < 0;
}

bool le(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("le", arguments, {"other"}, 1);
  return order(runtime, v, bound[0], "<=") <= 0;
}

bool gt(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("gt", arguments, {"other"}, 1);
  return order(runtime, v, bound[0], ">") > 0;
}

bool ge(Runtime& runtime, const Value& v, const Arguments& arguments) {
  const Bound bound("ge", arguments, {"other"}, 1);
  return order(runtime, v, bound[0], ">=") >= 0;
}

constexpr Test kTests[] = {
    {"defined", plain<is_defined>},
    {"undefined", plain<is_undefined>},
    {"none", plain<is_none>},
    {"string", plain<is_string>},
    {"number", plain<is_number>},
    {"integer", plain<is_integer>},
    {"float", plain<is_float>},
    {"boolean", plain<is_boolean>},
    {"mapping", plain<is_mapping>},
    {"sequence", plain<is_iterable>},
    {"iterable", plain<is_iterable>},
    {"callable", plain<is_callable>},
    {"true", plain<is_true_constant>},
    {"false", plain<is_false_constant>},
    {"filter", plain<is_filter>},
    {"test", plain<is_test>},
    {"lower", lower},
    {"upper", upper},
    {"odd", odd},
    {"even", even},
    {"divisibleby", divisible_by},
    {"sameas", same_as},
    {"in", in},
    {"eq", eq},
    {"equalto", eq},
    {"==", eq},
    {"ne", ne},
    {"!=", ne},
    {"lt", lt},
    {"<", lt},
    {"lessthan", lt},
    {"le", le},
    {"<=", le},
    {"gt", gt},
    {">", gt},
    {"greaterthan", gt},
    {"ge", ge},
    {">=", ge},
};

}  // namespace

const Test* find_test(std::string_view name) { return find_by_name(kTests, name); }

}  // namespace stretto::jinja
