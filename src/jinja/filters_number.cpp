#include <charconv>
#include <cmath>

#include "jinja/arithmetic.h"
#include "jinja/filters.h"
#include "jinja/number_text.h"

namespace stretto::jinja {
namespace {

[[noreturn]] void fail_undefined(std::string_view filter, const Value& v) {
  render_fail("{}: {} is undefined", filter, v.undefined_what() ? v.undefined_what()->bytes : "the value");
}

Value int_filter(Runtime&, const Value& input, const Arguments& arguments) {
  const Bound bound("int", arguments, {"default", "base"});
  const Value fallback = bound.find(0) == nullptr ? Value::integer(0) : bound[0];
  const Int base = bound.integer(1, 10);
  if (input.is_undefined()) fail_undefined("int", input);
  if (input.is_integral()) return Value::integer(input.as_integer());
  double number = 0;
  if (input.type() == Type::kFloat) {
    number = input.as_float();
    if (std::isnan(number)) return fallback;
  } else if (!input.is_string()) {
    return fallback;
  } else {
    if (base != 0 && (base < 2 || base > 36)) return fallback;
    if (const auto whole = parse_integer(input.view(), static_cast<int>(base))) return checked_integer(*whole);
    const auto parsed = parse_float(input.view());
    if (!parsed) return fallback;
    number = *parsed;
  }
  if (!std::isfinite(number)) return fallback;
  return integer_part(number);
}

Value float_filter(Runtime&, const Value& input, const Arguments& arguments) {
  const Bound bound("float", arguments, {"default"});
  if (input.is_undefined()) fail_undefined("float", input);
  if (input.is_numeric()) return Value::number(input.as_float());
  if (input.is_string()) {
    if (const auto parsed = parse_float(input.view())) return Value::number(*parsed);
  }
  return bound.find(0) == nullptr ? Value::number(0) : bound[0];
}

Value abs_filter(Runtime&, const Value& input, const Arguments& arguments) {
  const Bound bound("abs", arguments, {});
  if (input.is_integral()) return checked_integer(input.as_integer() < 0 ? -input.as_integer() : input.as_integer());
  if (input.type() == Type::kFloat) return Value::number(std::fabs(input.as_float()));
  render_fail("abs needs a number, not {}", type_name(input));
}

// Half to even in decimal: the exact decimal expansion of v decides, as in Python.
double round_decimal(double v, Int digits) {
  if (!std::isfinite(v) || digits > 330) return v;
  if (digits < -310) return std::copysign(0.0, v);
  if (digits < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(v / scale) * scale;
  }
  const std::string text = fmt::format("{:.{}f}", v, static_cast<int>(digits));
  double result = v;
  std::from_chars(text.data(), text.data() + text.size(), result);
  return result;
}

Value round_integer(Int v, Int digits) {
  if (digits >= 0) return Value::integer(v);
  if (digits < -20) return Value::integer(0);
  Int scale = 1;
  for (Int i = 0; i < -digits; ++i) scale *= 10;
  Int quotient = v / scale;
  const Int rest = v < 0 ? -(v % scale) : v % scale;
  const bool up = rest * 2 > scale || (rest * 2 == scale && quotient % 2 != 0);
  if (up) quotient += v < 0 ? -1 : 1;
  return checked_integer(quotient * scale);
}

Value round_filter(Runtime&, const Value& input, const Arguments& arguments) {
  const Bound bound("round", arguments, {"precision", "method"});
  const Int digits = bound.integer(0, 0);
  const std::string_view method = bound.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") {
    render_fail("round: method must be common, ceil or floor, not '{}'", method);
  }
  if (!input.is_numeric()) render_fail("round needs a number, not {}", type_name(input));
  if (method == "common") {
    return input.is_integral() ? round_integer(input.as_integer(), digits)
                               : Value::number(round_decimal(input.as_float(), digits));
  }
  if (digits > 300 || digits < -300) render_fail("round: precision {} is beyond 300", digits);
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = input.as_float() * scale;
  return Value::number((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

constexpr Filter kFilters[] = {
    {"int", int_filter},
    {"float", float_filter},
    {"abs", abs_filter},
    {"round", round_filter},
};

}  // namespace

const Filter* find_number_filter(std::string_view name) { return find_by_name(kFilters, name); }

}  // namespace stretto::jinja
