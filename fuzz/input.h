// What the fuzz targets share: the rule that an input may only be refused with an Error, never anything else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"
#include "checkpoint/checkpoint.h"

namespace stretto::fuzz {

inline std::span<const std::byte> as_bytes(const uint8_t* data, size_t size) {
  return std::as_bytes(std::span(data, size));
}

inline std::string_view as_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Runs `action`; an Error of kind kInvalidModel is a fine answer, any other exception ends the process.
template <class Action>
void expect_answer(Action action) {
  try {
    action();
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::kInvalidModel);
    CHECK(!std::string_view(e.what()).empty());
  }
}

// Reads both ends of a view and checks its size against its type and shape.
inline void check_view(const TensorView& view, std::span<const std::byte> file) {
  const DTypeInfo& type = info(view.type);
  CHECK(view.bytes.size() == view.shape.elements() / type.block_elements * type.block_bytes);
  if (view.bytes.empty()) return;
  CHECK(view.bytes.data() >= file.data() && view.bytes.data() + view.bytes.size() <= file.data() + file.size());
  volatile std::byte sink = view.bytes.front();
  sink = view.bytes.back();
  static_cast<void>(sink);
}

// Every getter on every key: each gives a value, nothing, or an Error.
inline void check_metadata(const Metadata& metadata) {
  for (const Metadata::Entry& entry : metadata.entries()) {
    CHECK(metadata.find(entry.key) == &entry.value);
    CHECK(!describe(entry.value).empty());
    expect_answer([&] { metadata.get_uint(entry.key); });
    expect_answer([&] { metadata.get_int(entry.key); });
    expect_answer([&] { metadata.get_float(entry.key); });
    expect_answer([&] { metadata.get_bool(entry.key); });
    expect_answer([&] { metadata.get_string(entry.key); });
    expect_answer([&] { metadata.get_uints(entry.key); });
    expect_answer([&] { metadata.get_ints(entry.key); });
    expect_answer([&] { metadata.get_floats(entry.key); });
    expect_answer([&] { metadata.get_bools(entry.key); });
    expect_answer([&] { metadata.get_strings(entry.key); });
  }
}

}  // namespace stretto::fuzz
