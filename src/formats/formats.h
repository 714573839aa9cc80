// The closed list of weight encodings that Stretto computes with, and row-wise conversion by DType.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include "base/dtype.h"
#include "formats/bf16.h"
#include "formats/f16.h"
#include "formats/f32.h"
#include "formats/iq4_nl.h"
#include "formats/iq4_xs.h"
#include "formats/mxfp4.h"
#include "formats/q2_k.h"
#include "formats/q3_k.h"
#include "formats/q4_0.h"
#include "formats/q4_1.h"
#include "formats/q4_k.h"
#include "formats/q5_0.h"
#include "formats/q5_1.h"
#include "formats/q5_k.h"
#include "formats/q6_k.h"
#include "formats/q8_0.h"

namespace stretto {

// The one place that lists all formats.
using Formats =
    std::tuple<F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4>;

// Throws Error(kUnsupported): "unsupported tensor type IQ2_XXS ..." with the list of what is supported.
[[noreturn]] void unsupported_format(DType type);

// f(Format{}) for the format of `type`; throws like unsupported_format for a type that is not in Formats.
template <size_t I = 0, class F>
decltype(auto) visit_format(DType type, F&& f) {
  using Format = std::tuple_element_t<I, Formats>;
  if constexpr (I + 1 == std::tuple_size_v<Formats>) {
    if (type != Format::kType) unsupported_format(type);
    return std::forward<F>(f)(Format{});
  } else {
    if (type == Format::kType) return std::forward<F>(f)(Format{});
    return visit_format<I + 1>(type, std::forward<F>(f));
  }
}

// True for the types of Formats: those that a weight may have in a program.
bool has_format(DType type);

// out[n] = the values of one contiguous row of n elements; n must be a multiple of the block (CHECKed). `row` needs no
// alignment. Besides Formats it reads F64 and I8..I64 (rounded to binary32); other types throw Error(kUnsupported).
void decode_row(DType type, const std::byte* row, uint64_t n, float* out);

// The inverse for F32, F16, BF16, Q8_0, Q5_0 and Q4_0; other types throw Error(kUnsupported). row_bytes(type, n) are
// written.
void encode_row(DType type, const float* x, uint64_t n, std::byte* row);

}  // namespace stretto
