// The names that a pickled checkpoint may mention, and what they mean to the reader of checkpoint/pickle.h.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/dtype.h"

namespace stretto {

enum class PickleGlobal : uint8_t {
  kOrderedDict,
  kRebuildTensor,
  kRebuildParameter,
  kRebuildParameterWithState,
  kSize,
  kDevice,
  kEncode,
  kStorageType,  // only inside a persistent id
  kUntyped,      // a storage type without elements of its own: known, refused when a tensor needs it
  kOpaque,       // a value that nothing here looks at: an element type, a layout
};

struct PickleGlobalEntry {
  std::string_view name;  // "module name"
  PickleGlobal meaning;
  DType type = DType::kF32;  // of kStorageType
};

// nullptr: not allowed.
const PickleGlobalEntry* find_pickle_global(std::string_view name);
// The entry at a place that index_of gave.
const PickleGlobalEntry& pickle_global(int64_t index);
int64_t index_of(const PickleGlobalEntry& entry);

}  // namespace stretto
