// A restricted reader of Python pickles: tensors, strings, numbers and plain containers, nothing else. Nothing is ever
// called: the few names that checkpoints need have a fixed meaning here, every other one is refused by name. (Low-bit
// checkpoint specification, section 6.2.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace stretto {

enum class PickleKind : uint8_t {
  kNone,
  kBool,     // integer: 0 or 1
  kInt,      // integer
  kFloat,    // number
  kString,   // text, UTF-8
  kBytes,    // text
  kList,     // items
  kTuple,    // items
  kSet,      // items
  kDict,     // items: key, value, key, value, ... in the order they were set; keys are strings or integers
  kGlobal,   // text: "module name"; integer: what it means to the reader
  kStorage,  // integer: index into Pickle::storages
  kTensor,   // integer: index into Pickle::tensors
};

// Values refer to each other by index into Pickle::values, so shared ones stay shared and no destructor recurses.
using PickleId = uint32_t;

struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  bool ordered = false;  // of a dict: an OrderedDict
  uint16_t depth = 0;    // of a container: at least how many more are inside each other below it
  int64_t integer = 0;
  double number = 0;
  std::string text;
  std::vector<PickleId> items;
};

struct PickleStorage {
  std::string key;  // decimal digits: the member "data/<key>" of the archive
  DType type = DType::kF32;
  uint64_t n_elements = 0;
};

// A strided view whose last element lies in its storage.
struct PickleTensor {
  size_t storage = 0;
  uint64_t offset = 0;                 // elements
  std::vector<uint64_t> size, stride;  // elements, at most 16 dimensions
};

struct Pickle {
  std::vector<PickleValue> values;
  std::vector<PickleStorage> storages;
  std::vector<PickleTensor> tensors;
  PickleId root = 0;

  const PickleValue& operator[](PickleId id) const { return values[id]; }
  // The value of a string key, the last one set; nullopt when `dict` is none or has no such key.
  std::optional<PickleId> find(PickleId dict, std::string_view key) const;
};

// Reads a whole pickle of protocol 2 to 5. No container of the result contains itself, however deep. Throws
// Error(kInvalidModel), `label` in its message.
Pickle parse_pickle(std::span<const std::byte> bytes, std::string_view label);

}  // namespace stretto
