// Operators on values, with Python's rules: bools count as 0 and 1, / gives a float, // and % round down, + joins
// strings, lists and tuples, * repeats them. Integers that leave [-2^63, 2^64) and undefined operands fail.
#pragma once

#include "jinja/runtime.h"

namespace stretto::jinja {

enum class BinaryOp : uint8_t { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
enum class UnaryOp : uint8_t { kNegate, kPlus, kNot };

Value apply(Runtime& runtime, BinaryOp op, const Value& a, const Value& b);
Value apply(Runtime& runtime, UnaryOp op, const Value& v);

// Fails when v is out of range.
Value checked_integer(Int v);
// The integer part; fails for NaN, infinities and what is out of range.
Value integer_part(double v);

}  // namespace stretto::jinja
