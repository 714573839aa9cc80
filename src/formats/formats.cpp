#include "formats/formats.h"

#include <string>

#include "base/check.h"
#include "base/error.h"

namespace stretto {
namespace {

template <class T>
void decode_plain(const std::byte* row, uint64_t n, float* out) {
  for (uint64_t i = 0; i < n; ++i) {
    T value;
    std::memcpy(&value, row + i * sizeof(T), sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

template <size_t... I>
constexpr bool geometry_is_consistent(std::index_sequence<I...>) {
  return ((std::tuple_element_t<I, Formats>::kBlockBytes == sizeof(typename std::tuple_element_t<I, Formats>::Block)) &&
          ...);
}
static_assert(geometry_is_consistent(std::make_index_sequence<std::tuple_size_v<Formats>>()));

template <size_t... I>
std::string list_names(std::index_sequence<I...>) {
  std::string out;
  ((out += (I == 0 ? "" : ", "), out += name(std::tuple_element_t<I, Formats>::kType)), ...);
  return out;
}

template <size_t... I>
bool is_listed(DType type, std::index_sequence<I...>) {
  return ((type == std::tuple_element_t<I, Formats>::kType) || ...);
}

}  // namespace

void unsupported_format(DType type) {
  fail(ErrorKind::kUnsupported,
       "unsupported tensor type {}: weights may be {}; convert or quantize the model to one of these", name(type),
       list_names(std::make_index_sequence<std::tuple_size_v<Formats>>()));
}

bool has_format(DType type) { return is_listed(type, std::make_index_sequence<std::tuple_size_v<Formats>>()); }

void decode_row(DType type, const std::byte* row, uint64_t n, float* out) {
  switch (type) {
    case DType::kF64:
      return decode_plain<double>(row, n, out);
    case DType::kI8:
      return decode_plain<int8_t>(row, n, out);
    case DType::kI16:
      return decode_plain<int16_t>(row, n, out);
    case DType::kI32:
      return decode_plain<int32_t>(row, n, out);
    case DType::kI64:
      return decode_plain<int64_t>(row, n, out);
    default:
      break;
  }
  visit_format(type, [&](auto format) {
    using F = decltype(format);
    CHECK(n % F::kBlockElements == 0);
    const auto* blocks = as_blocks<F>(row);
    for (uint64_t i = 0; i < n / F::kBlockElements; ++i) F::decode(blocks[i], out + i * F::kBlockElements);
  });
}

void encode_row(DType type, const float* x, uint64_t n, std::byte* row) {
  visit_format(type, [&](auto format) {
    using F = decltype(format);
    if constexpr (has_encoder<F>) {
      CHECK(n % F::kBlockElements == 0);
      auto* blocks = as_blocks<F>(row);
      for (uint64_t i = 0; i < n / F::kBlockElements; ++i) F::encode(x + i * F::kBlockElements, blocks[i]);
    } else {
      fail(ErrorKind::kUnsupported, "no encoder for {}: F32, F16, BF16, Q8_0, Q5_0 and Q4_0 can be written",
           name(type));
    }
  });
}

}  // namespace stretto
