#include "jinja/arithmetic.h"

#include <cmath>

#include "jinja/compare.h"

namespace stretto::jinja {
namespace {

constexpr Int kMin = -(Int(1) << 63);
constexpr Int kMax = (Int(1) << 64) - 1;

std::string_view symbol(BinaryOp op) {
  constexpr std::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};
  return kSymbols[static_cast<size_t>(op)];
}

[[noreturn]] void overflow(std::string_view operation) {
  render_fail("the integer result of '{}' is outside 64 bits", operation);
}

[[noreturn]] void bad_operands(BinaryOp op, const Value& a, const Value& b) {
  for (const Value* v : {&a, &b}) {
    if (v->is_undefined()) {
      render_fail("{} is undefined, operand of '{}'", v->undefined_what() ? v->undefined_what()->bytes : "a value",
                  symbol(op));
    }
  }
  render_fail("'{}' does not work between {} and {}", symbol(op), type_name(a), type_name(b));
}

Int floor_divide(Int a, Int b) {
  const Int quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

Value integer_power(Int base, Int exponent) {
  if (exponent < 0) {
    if (base == 0) render_fail("zero to a negative power");
    return Value::number(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  if (base == 0 || base == 1) return Value::integer(exponent == 0 ? 1 : base);
  if (base == -1) return Value::integer(exponent % 2 == 0 ? 1 : -1);
  Int result = 1;
  for (Int i = 0; i < exponent; ++i) {  // at most 64 times: |base| >= 2
    result *= base;
    if (result < kMin || result > kMax) overflow("**");
  }
  return Value::integer(result);
}

Value integers(BinaryOp op, Int a, Int b) {
  const bool divides = op == BinaryOp::kDivide || op == BinaryOp::kFloorDivide || op == BinaryOp::kModulo;
  if (divides && b == 0) render_fail("division by zero");
  switch (op) {
    case BinaryOp::kAdd:
      return checked_integer(a + b);
    case BinaryOp::kSubtract:
      return checked_integer(a - b);
    case BinaryOp::kMultiply: {
      Int product;
      if (__builtin_mul_overflow(a, b, &product)) overflow("*");
      return checked_integer(product);
    }
    case BinaryOp::kDivide:
      return Value::number(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case BinaryOp::kFloorDivide:
      return checked_integer(floor_divide(a, b));
    case BinaryOp::kModulo:
      return checked_integer(a - floor_divide(a, b) * b);
    case BinaryOp::kPower:
      return integer_power(a, b);
  }
  return Value();
}

double modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double floor_divide(double a, double b) {
  const double quotient = (a - modulo(a, b)) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

double power(double a, double b) {
  if (a == 0 && b < 0) render_fail("zero to a negative power");
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b)) {
    render_fail("a negative number to a fractional power");
  }
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) render_fail("the result of '**' is too large");
  return result;
}

Value floats(BinaryOp op, double a, double b) {
  const bool divides = op == BinaryOp::kDivide || op == BinaryOp::kFloorDivide || op == BinaryOp::kModulo;
  if (divides && b == 0) render_fail("division by zero");
  switch (op) {
    case BinaryOp::kAdd:
      return Value::number(a + b);
    case BinaryOp::kSubtract:
      return Value::number(a - b);
    case BinaryOp::kMultiply:
      return Value::number(a * b);
    case BinaryOp::kDivide:
      return Value::number(a / b);
    case BinaryOp::kFloorDivide:
      return Value::number(floor_divide(a, b));
    case BinaryOp::kModulo:
      return Value::number(modulo(a, b));
    case BinaryOp::kPower:
      return Value::number(power(a, b));
  }
  return Value();
}

Value joined(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_string()) {
    std::string s;
    s.reserve(a.view().size() + b.view().size());
    s += a.view();
    s += b.view();
    return runtime.text(std::move(s));
  }
  const List& left = a.as_list();
  const List& right = b.as_list();
  runtime.spend(left.items.size() + right.items.size());
  std::vector<Value> items = left.items;
  items.insert(items.end(), right.items.begin(), right.items.end());
  return runtime.list_of(std::move(items), left.is_tuple);
}

Value repeated(Runtime& runtime, const Value& v, Int count) {
  const uint64_t limit = runtime.limits().max_repetition;
  const size_t size = v.is_string() ? v.view().size() : v.as_list().items.size();
  if (count < 0 || size == 0) count = 0;
  if (count > 0 && count > limit / size) {
    render_fail("a {} of {} repeated beyond {} (max_repetition)", type_name(v), size, limit);
  }
  const auto times = static_cast<size_t>(count);
  if (v.is_string()) {
    std::string s;
    s.reserve(size * times);
    for (size_t i = 0; i < times; ++i) s += v.view();
    return runtime.text(std::move(s));
  }
  const List& list = v.as_list();
  std::vector<Value> items;
  items.reserve(size * times);
  for (size_t i = 0; i < times; ++i) items.insert(items.end(), list.items.begin(), list.items.end());
  return runtime.list_of(std::move(items), list.is_tuple);
}

}  // namespace

Value checked_integer(Int v) {
  if (v < kMin || v > kMax) render_fail("an integer is outside 64 bits");
  return Value::integer(v);
}

Value integer_part(double v) {
  if (!std::isfinite(v)) render_fail("{} is no integer", v);
  const double whole = std::trunc(v);
  if (whole < -0x1p63 || whole >= 0x1p64) render_fail("the integer part of {} is outside 64 bits", v);
  return Value::integer(static_cast<Int>(whole));
}

Value apply(Runtime& runtime, BinaryOp op, const Value& a, const Value& b) {
  if (a.is_numeric() && b.is_numeric()) {
    if (a.is_integral() && b.is_integral()) return integers(op, a.as_integer(), b.as_integer());
    return floats(op, a.as_float(), b.as_float());
  }
  const auto is_sequence = [](const Value& v) { return v.is_string() || v.is_list(); };
  if (op == BinaryOp::kAdd && is_sequence(a) && a.type() == b.type() &&
      (a.is_string() || a.as_list().is_tuple == b.as_list().is_tuple)) {
    return joined(runtime, a, b);
  }
  if (op == BinaryOp::kMultiply && is_sequence(a) && b.is_integral()) return repeated(runtime, a, b.as_integer());
  if (op == BinaryOp::kMultiply && is_sequence(b) && a.is_integral()) return repeated(runtime, b, a.as_integer());
  bad_operands(op, a, b);
}

Value apply(Runtime&, UnaryOp op, const Value& v) {
  if (op == UnaryOp::kNot) return Value::boolean(!is_true(v));
  const bool negate = op == UnaryOp::kNegate;
  if (v.is_integral()) return checked_integer(negate ? -v.as_integer() : v.as_integer());
  if (v.type() == Type::kFloat) return Value::number(negate ? -v.as_float() : v.as_float());
  render_fail("unary '{}' does not work on a {}", negate ? '-' : '+', type_name(v));
}

}  // namespace stretto::jinja
