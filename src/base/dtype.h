// The closed list of element encodings that a stored tensor, an activation or a state may have.
// Source of names, ids and block geometry: the GGUF type table and the safetensors dtype list.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace stretto {

// clang-format off
enum class DType : uint8_t {
  kF32, kF16, kBF16, kF64,
  kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0,
  kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K,
  kIQ4_NL, kIQ4_XS, kMXFP4, kNVFP4,
  kI8, kI16, kI32, kI64,
  kU8, kU16, kU32, kU64, kBool,
  kF8_E4M3, kF8_E5M2, kF8_E8M0,
  // Known by name and size only: recognised in a file, refused when used.
  kF8_E4M3FNUZ, kF8_E5M2FNUZ, kC64,
  kIQ2_XXS, kIQ2_XS, kIQ3_XXS, kIQ1_S, kIQ3_S, kIQ2_S, kIQ1_M, kTQ1_0, kTQ2_0, kQ1_0, kQ2_0,
  kF4, kF6_E2M3, kF6_E3M2,
};
// clang-format on

struct DTypeInfo {
  DType type;
  std::string_view name;    // the field's spelling: "Q4_K", "BF16"
  int32_t ggml_id;          // id in GGUF files, -1 when the type does not occur there
  uint32_t block_elements;  // elements per block, 1 for plain types
  uint32_t block_bytes;
};

const DTypeInfo& info(DType type);
std::optional<DType> dtype_from_ggml_id(uint32_t id);
std::optional<DType> dtype_from_name(std::string_view wanted);

inline std::string_view name(DType type) { return info(type).name; }

// Bytes of `n` contiguous elements; n must be a multiple of the block (CHECKed).
uint64_t row_bytes(DType type, uint64_t n);

}  // namespace stretto
