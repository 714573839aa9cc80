#include "base/dtype.h"

#include "base/check.h"

namespace stretto {
namespace {

constexpr DTypeInfo kTable[] = {
    {DType::kF32, "F32", 0, 1, 4},
    {DType::kF16, "F16", 1, 1, 2},
    {DType::kBF16, "BF16", 30, 1, 2},
    {DType::kF64, "F64", 28, 1, 8},
    {DType::kQ4_0, "Q4_0", 2, 32, 18},
    {DType::kQ4_1, "Q4_1", 3, 32, 20},
    {DType::kQ5_0, "Q5_0", 6, 32, 22},
    {DType::kQ5_1, "Q5_1", 7, 32, 24},
    {DType::kQ8_0, "Q8_0", 8, 32, 34},
    {DType::kQ2_K, "Q2_K", 10, 256, 84},
    {DType::kQ3_K, "Q3_K", 11, 256, 110},
    {DType::kQ4_K, "Q4_K", 12, 256, 144},
    {DType::kQ5_K, "Q5_K", 13, 256, 176},
    {DType::kQ6_K, "Q6_K", 14, 256, 210},
    {DType::kIQ4_NL, "IQ4_NL", 20, 32, 18},
    {DType::kIQ4_XS, "IQ4_XS", 23, 256, 136},
    {DType::kMXFP4, "MXFP4", 39, 32, 17},
    {DType::kNVFP4, "NVFP4", 40, 64, 36},
    {DType::kI8, "I8", 24, 1, 1},
    {DType::kI16, "I16", 25, 1, 2},
    {DType::kI32, "I32", 26, 1, 4},
    {DType::kI64, "I64", 27, 1, 8},
    {DType::kU8, "U8", -1, 1, 1},
    {DType::kU16, "U16", -1, 1, 2},
    {DType::kU32, "U32", -1, 1, 4},
    {DType::kU64, "U64", -1, 1, 8},
    {DType::kBool, "BOOL", -1, 1, 1},
    {DType::kF8_E4M3, "F8_E4M3", -1, 1, 1},
    {DType::kF8_E5M2, "F8_E5M2", -1, 1, 1},
    {DType::kF8_E8M0, "F8_E8M0", -1, 1, 1},
    {DType::kF8_E4M3FNUZ, "F8_E4M3FNUZ", -1, 1, 1},
    {DType::kF8_E5M2FNUZ, "F8_E5M2FNUZ", -1, 1, 1},
    {DType::kC64, "C64", -1, 1, 8},
    {DType::kIQ2_XXS, "IQ2_XXS", 16, 256, 66},
    {DType::kIQ2_XS, "IQ2_XS", 17, 256, 74},
    {DType::kIQ3_XXS, "IQ3_XXS", 18, 256, 98},
    {DType::kIQ1_S, "IQ1_S", 19, 256, 50},
    {DType::kIQ3_S, "IQ3_S", 21, 256, 110},
    {DType::kIQ2_S, "IQ2_S", 22, 256, 82},
    {DType::kIQ1_M, "IQ1_M", 29, 256, 56},
    {DType::kTQ1_0, "TQ1_0", 34, 256, 54},
    {DType::kTQ2_0, "TQ2_0", 35, 256, 66},
    {DType::kQ1_0, "Q1_0", 41, 128, 18},
    {DType::kQ2_0, "Q2_0", 42, 64, 18},
    {DType::kF4, "F4", -1, 2, 1},
    {DType::kF6_E2M3, "F6_E2M3", -1, 4, 3},
    {DType::kF6_E3M2, "F6_E3M2", -1, 4, 3},
};

}  // namespace

const DTypeInfo& info(DType type) {
  const DTypeInfo& entry = kTable[static_cast<size_t>(type)];
  CHECK(entry.type == type);
  return entry;
}

std::optional<DType> dtype_from_ggml_id(uint32_t id) {
  for (const DTypeInfo& e : kTable)
    if (e.ggml_id >= 0 && static_cast<uint32_t>(e.ggml_id) == id) return e.type;
  return std::nullopt;
}

std::optional<DType> dtype_from_name(std::string_view wanted) {
  for (const DTypeInfo& e : kTable)
    if (e.name == wanted) return e.type;
  return std::nullopt;
}

uint64_t row_bytes(DType type, uint64_t n) {
  const DTypeInfo& t = info(type);
  CHECK(n % t.block_elements == 0);
  return n / t.block_elements * t.block_bytes;
}

}  // namespace stretto
