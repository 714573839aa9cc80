#include "checkpoint/pickle_globals.h"

#include <algorithm>
#include <iterator>

namespace stretto {
namespace {

using G = PickleGlobal;

constexpr PickleGlobalEntry kEntries[] = {
    {"collections OrderedDict", G::kOrderedDict},
    {"torch._utils _rebuild_tensor_v2", G::kRebuildTensor},
    {"torch._utils _rebuild_parameter", G::kRebuildParameter},
    {"torch._utils _rebuild_parameter_with_state", G::kRebuildParameterWithState},
    {"torch Size", G::kSize},
    {"torch device", G::kDevice},
    {"_codecs encode", G::kEncode},
    {"torch DoubleStorage", G::kStorageType, DType::kF64},
    {"torch FloatStorage", G::kStorageType, DType::kF32},
    {"torch HalfStorage", G::kStorageType, DType::kF16},
    {"torch BFloat16Storage", G::kStorageType, DType::kBF16},
    {"torch LongStorage", G::kStorageType, DType::kI64},
    {"torch IntStorage", G::kStorageType, DType::kI32},
    {"torch ShortStorage", G::kStorageType, DType::kI16},
    {"torch CharStorage", G::kStorageType, DType::kI8},
    {"torch ByteStorage", G::kStorageType, DType::kU8},
    {"torch BoolStorage", G::kStorageType, DType::kBool},
    {"torch ComplexFloatStorage", G::kStorageType, DType::kC64},
    {"torch Float8_e4m3fnStorage", G::kStorageType, DType::kF8_E4M3},
    {"torch Float8_e5m2Storage", G::kStorageType, DType::kF8_E5M2},
    {"torch Float8_e4m3fnuzStorage", G::kStorageType, DType::kF8_E4M3FNUZ},
    {"torch Float8_e5m2fnuzStorage", G::kStorageType, DType::kF8_E5M2FNUZ},
    {"torch.storage UntypedStorage", G::kUntyped},
    {"torch.storage TypedStorage", G::kUntyped},
    {"torch.serialization _get_layout", G::kOpaque},
    {"torch float32", G::kOpaque},
    {"torch float", G::kOpaque},
    {"torch float64", G::kOpaque},
    {"torch double", G::kOpaque},
    {"torch float16", G::kOpaque},
    {"torch half", G::kOpaque},
    {"torch bfloat16", G::kOpaque},
    {"torch float8_e4m3fn", G::kOpaque},
    {"torch float8_e5m2", G::kOpaque},
    {"torch int8", G::kOpaque},
    {"torch int16", G::kOpaque},
    {"torch int32", G::kOpaque},
    {"torch int64", G::kOpaque},
    {"torch uint8", G::kOpaque},
    {"torch bool", G::kOpaque},
    {"torch complex64", G::kOpaque},
    {"torch strided", G::kOpaque},
};

}  // namespace

const PickleGlobalEntry* find_pickle_global(std::string_view name) {
  const auto* const found = std::ranges::find(kEntries, name, &PickleGlobalEntry::name);
  return found == std::end(kEntries) ? nullptr : found;
}

const PickleGlobalEntry& pickle_global(int64_t index) { return kEntries[index]; }

int64_t index_of(const PickleGlobalEntry& entry) { return &entry - kEntries; }

}  // namespace stretto
