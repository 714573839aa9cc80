#include "checkpoint/gguf_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/gguf_cursor.h"
#include "checkpoint/utf8.h"

namespace stretto {
namespace {

constexpr uint64_t kLimit63 = uint64_t{1} << 63;
constexpr uint64_t kMaxArrayCount = uint64_t{1} << 30;
constexpr uint64_t kReserveLimit = 65536;
constexpr uint64_t kMemoryPerKey = 256;  // of an entry besides its strings, about
constexpr uint64_t kHeaderBytes = 24;
constexpr uint64_t kMinKvBytes = 14;      // 8 + 1 key, 4 type, 1 value
constexpr uint64_t kMinTensorBytes = 25;  // 8 + 1 name, 4 n_dims, 4 type, 8 offset
constexpr uint32_t kMaxDims = 4;
constexpr uint32_t kMaxValueType = 12;

uint64_t value_bytes(MetaType type) {
  switch (type) {
    case MetaType::kU8:
    case MetaType::kI8:
    case MetaType::kBool:
      return 1;
    case MetaType::kU16:
    case MetaType::kI16:
      return 2;
    case MetaType::kU32:
    case MetaType::kI32:
    case MetaType::kF32:
      return 4;
    case MetaType::kU64:
    case MetaType::kI64:
    case MetaType::kF64:
    case MetaType::kString:
      return 8;  // a string: at least its length field
    case MetaType::kArray:
    case MetaType::kNull:
      break;
  }
  CHECK(false);
}

// A key or a tensor name.
std::string_view read_name(GgufCursor& in, std::string_view what, size_t max_bytes) {
  const uint64_t start = in.offset();
  const std::string_view name = in.read_string(what);
  if (name.empty()) in.bad_at(start, "{} is empty", what);
  if (name.size() > max_bytes) {
    in.bad_at(start, "{} \"{}\" has {} bytes, at most {} are allowed", what, printable(name), name.size(), max_bytes);
  }
  if (name.find('\0') != std::string_view::npos) {
    in.bad_at(start, "{} \"{}\" contains a NUL byte", what, printable(name));
  }
  if (!is_valid_utf8(name)) in.bad_at(start, "{} \"{}\" is not valid UTF-8", what, printable(name));
  return name;
}

MetaType read_type(GgufCursor& in, std::string_view what) {
  const uint64_t start = in.offset();
  const auto id = in.read<uint32_t>(what);
  if (id > kMaxValueType) in.bad_at(start, "{} is {}, known are 0..{}", what, id, kMaxValueType);
  return static_cast<MetaType>(id);
}

bool read_bool(GgufCursor& in) {
  const uint64_t start = in.offset();
  const auto byte = in.read<uint8_t>("a bool");
  if (byte > 1) in.bad_at(start, "a bool byte is {}, only 0 and 1 are allowed", byte);
  return byte == 1;
}

// `count` elements stored as Stored, widened to Wide. The bytes are known to be there.
template <class Stored, class Wide>
std::vector<Wide> read_elements(GgufCursor& in, uint64_t count) {
  const std::byte* from = in.take(count * sizeof(Stored), "array");
  std::vector<Wide> out(count);
  for (uint64_t i = 0; i < count; ++i) {
    Stored element;
    std::memcpy(&element, from + i * sizeof(Stored), sizeof(Stored));
    out[i] = Wide{element};
  }
  return out;
}

MetaValue::Data read_array_data(GgufCursor& in, MetaType element, uint64_t count) {
  switch (element) {
    case MetaType::kU8:
      return read_elements<uint8_t, uint64_t>(in, count);
    case MetaType::kU16:
      return read_elements<uint16_t, uint64_t>(in, count);
    case MetaType::kU32:
      return read_elements<uint32_t, uint64_t>(in, count);
    case MetaType::kU64:
      return read_elements<uint64_t, uint64_t>(in, count);
    case MetaType::kI8:
      return read_elements<int8_t, int64_t>(in, count);
    case MetaType::kI16:
      return read_elements<int16_t, int64_t>(in, count);
    case MetaType::kI32:
      return read_elements<int32_t, int64_t>(in, count);
    case MetaType::kI64:
      return read_elements<int64_t, int64_t>(in, count);
    case MetaType::kF32:
      return read_elements<float, double>(in, count);
    case MetaType::kF64:
      return read_elements<double, double>(in, count);
    case MetaType::kBool: {
      std::vector<bool> out(count);
      for (uint64_t i = 0; i < count; ++i) out[i] = read_bool(in);
      return out;
    }
    case MetaType::kString: {
      std::vector<std::string> out;
      out.reserve(count);
      for (uint64_t i = 0; i < count; ++i) out.emplace_back(in.read_string("a string of the array"));
      return out;
    }
    case MetaType::kArray:
    case MetaType::kNull:
      break;
  }
  CHECK(false);
}

MetaValue read_array(GgufCursor& in) {
  const uint64_t start = in.offset();
  const MetaType element = read_type(in, "array element type");
  if (element == MetaType::kArray) in.bad_at(start, "an array of arrays");
  const uint64_t count_at = in.offset();
  const auto count = in.read<uint64_t>("array count");
  if (count > kMaxArrayCount)
    in.bad_at(count_at, "array of {} elements, at most {} are accepted", count, kMaxArrayCount);
  const std::optional<uint64_t> bytes = checked_mul(count, value_bytes(element));
  if (!bytes || *bytes > in.remaining()) {
    in.bad_at(count_at, "array of {} elements of at least {} bytes, {} bytes remain in the file", count,
              value_bytes(element), in.remaining());
  }
  in.charge(*bytes + count * (element == MetaType::kString ? sizeof(std::string) : sizeof(uint64_t)));
  return {MetaType::kArray, element, read_array_data(in, element, count)};
}

MetaValue read_value(GgufCursor& in, MetaType type) {
  constexpr MetaType kNone = MetaType::kNull;
  switch (type) {
    case MetaType::kU8:
      return {type, kNone, uint64_t{in.read<uint8_t>("value")}};
    case MetaType::kU16:
      return {type, kNone, uint64_t{in.read<uint16_t>("value")}};
    case MetaType::kU32:
      return {type, kNone, uint64_t{in.read<uint32_t>("value")}};
    case MetaType::kU64:
      return {type, kNone, in.read<uint64_t>("value")};
    case MetaType::kI8:
      return {type, kNone, int64_t{in.read<int8_t>("value")}};
    case MetaType::kI16:
      return {type, kNone, int64_t{in.read<int16_t>("value")}};
    case MetaType::kI32:
      return {type, kNone, int64_t{in.read<int32_t>("value")}};
    case MetaType::kI64:
      return {type, kNone, in.read<int64_t>("value")};
    case MetaType::kF32:
      return {type, kNone, double{in.read<float>("value")}};
    case MetaType::kF64:
      return {type, kNone, in.read<double>("value")};
    case MetaType::kBool:
      return {type, kNone, read_bool(in)};
    case MetaType::kString:
      return {type, kNone, std::string(in.read_string("string value"))};
    case MetaType::kArray:
      return read_array(in);
    case MetaType::kNull:
      break;
  }
  CHECK(false);
}

uint64_t alignment_from(const GgufCursor& in, uint64_t offset, const MetaValue& value) {
  if (value.type != MetaType::kU32)
    in.bad_at(offset, "its type is {}, wanted 4 (u32)", static_cast<uint32_t>(value.type));
  const uint64_t alignment = std::get<uint64_t>(value.data);
  if (!std::has_single_bit(alignment)) in.bad_at(offset, "{} is not a power of two", alignment);
  return alignment;
}

void read_metadata(GgufCursor& in, uint64_t count, GgufContent& out) {
  for (uint64_t i = 0; i < count; ++i) {
    in.set_context(fmt::format("key {} of {}", i + 1, count));
    const uint64_t start = in.offset();
    const std::string_view key = read_name(in, "key", kGgufMaxKeyBytes);
    in.set_context("key", key);
    in.charge(kMemoryPerKey + key.size());
    const MetaType type = read_type(in, "value type");
    const uint64_t value_at = in.offset();
    MetaValue value = read_value(in, type);
    if (key == "general.alignment") out.alignment = alignment_from(in, value_at, value);
    if (!out.metadata.add(std::string(key), std::move(value))) in.bad_at(start, "duplicate key");
    in.clear_context();
  }
}

// One row of the tensor table before its data has been located.
struct TensorInfo {
  std::string_view name;
  DType type = DType::kF32;
  Shape shape;
  uint64_t bytes = 0;
  uint64_t offset = 0;
  uint64_t offset_at = 0;  // where the offset field lies in the file
};

DType read_tensor_type(GgufCursor& in) {
  const uint64_t start = in.offset();
  const auto id = in.read<uint32_t>("tensor type");
  if (id == 9 || id == 15) {
    in.bad_at(start, "type {} ({}) exists only in memory and is not allowed in a file", id, id == 9 ? "Q8_1" : "Q8_K");
  }
  const std::optional<DType> type = dtype_from_ggml_id(id);
  if (!type) in.bad_at(start, "tensor type {} is unknown or was removed from the format", id);
  return *type;
}

Shape read_shape(GgufCursor& in) {
  const uint64_t start = in.offset();
  const auto n_dims = in.read<uint32_t>("number of dimensions");
  if (n_dims > kMaxDims) in.bad_at(start, "{} dimensions, at most {} are allowed", n_dims, kMaxDims);
  uint64_t dims[kMaxDims] = {};
  uint64_t elements = 1;
  for (uint32_t i = 0; i < n_dims; ++i) {
    const uint64_t dim_at = in.offset();
    const auto dim = in.read<uint64_t>("dimension");
    if (dim == 0 || dim >= kLimit63) in.bad_at(dim_at, "dimension {} is {}, wanted 1..2^63-1", i, dim);
    const std::optional<uint64_t> product = checked_mul(elements, dim);
    if (!product || *product >= kLimit63) in.bad_at(dim_at, "2^63 elements or more");
    elements = *product;
    dims[n_dims - 1 - i] = dim;
  }
  return Shape(std::span<const uint64_t>(dims, n_dims));
}

TensorInfo read_tensor_info(GgufCursor& in, uint64_t alignment) {
  TensorInfo out;
  out.name = read_name(in, "tensor name", kGgufMaxNameBytes);
  in.set_context("tensor", out.name);
  const uint64_t shape_at = in.offset();
  out.shape = read_shape(in);
  out.type = read_tensor_type(in);
  const DTypeInfo& type = info(out.type);
  if (out.shape.cols() % type.block_elements != 0) {
    in.bad_at(shape_at, "rows of {} elements are not a multiple of the {}-element blocks of {}", out.shape.cols(),
              type.block_elements, type.name);
  }
  const std::optional<uint64_t> bytes = checked_mul(out.shape.elements() / type.block_elements, type.block_bytes);
  if (!bytes) in.bad_at(shape_at, "{} {} does not fit in 64 bits of bytes", type.name, out.shape.str());
  out.bytes = *bytes;
  out.offset_at = in.offset();
  out.offset = in.read<uint64_t>("tensor offset");
  if (out.offset % alignment != 0)
    in.bad_at(out.offset_at, "offset {} is not a multiple of the alignment {}", out.offset, alignment);
  in.clear_context();
  return out;
}

std::vector<TensorInfo> read_tensor_table(GgufCursor& in, uint64_t count, uint64_t alignment) {
  std::vector<TensorInfo> table;
  table.reserve(std::min(count, kReserveLimit));
  std::unordered_set<std::string_view> names;
  names.reserve(std::min(count, kReserveLimit));
  for (uint64_t i = 0; i < count; ++i) {
    in.set_context(fmt::format("tensor {} of {}", i + 1, count));
    const uint64_t start = in.offset();
    const TensorInfo& row = table.emplace_back(read_tensor_info(in, alignment));
    if (!names.insert(row.name).second) in.bad_at(start, "duplicate tensor name \"{}\"", printable(row.name));
  }
  return table;
}

void locate_data(GgufCursor& in, std::span<const std::byte> file, const std::vector<TensorInfo>& table,
                 GgufContent& out) {
  out.data_start = in.offset();
  if (table.empty()) return;
  const std::optional<uint64_t> start = checked_round_up(in.offset(), out.alignment);
  if (!start || *start > in.size()) {
    in.bad_at(in.offset(), "the data section would start beyond the end of the file ({} bytes, alignment {})",
              in.size(), out.alignment);
  }
  out.data_start = *start;
  const uint64_t data_bytes = in.size() - out.data_start;
  uint64_t expected = 0;
  out.tensors.reserve(table.size());
  for (const TensorInfo& row : table) {
    in.set_context("tensor", row.name);
    if (row.offset != expected) {
      in.bad_at(row.offset_at, "offset {}, wanted {} (tensors follow each other without gaps or overlaps)", row.offset,
                expected);
    }
    if (row.bytes > data_bytes || row.offset > data_bytes - row.bytes) {
      in.bad_at(row.offset_at, "needs {} bytes at data offset {}, the file ends after {} (truncated?)", row.bytes,
                row.offset, data_bytes);
    }
    // row.offset + row.bytes <= data_bytes: the sum cannot overflow, rounding it up can.
    const std::optional<uint64_t> next = checked_round_up(row.offset + row.bytes, out.alignment);
    if (!next) in.bad_at(row.offset_at, "its end does not fit in 64 bits");
    expected = *next;
    const auto bytes = file.subspan(out.data_start + row.offset, row.bytes);
    out.tensors.push_back({std::string(row.name), TensorView{row.type, row.shape, bytes}});
  }
}

uint64_t read_count(GgufCursor& in, std::string_view what, uint64_t min_bytes) {
  const uint64_t start = in.offset();
  const auto count = in.read<uint64_t>(what);
  const uint64_t after_header = in.size() - kHeaderBytes;
  if (count >= kLimit63 || count > after_header / min_bytes) {
    in.bad_at(start, "{} is {}, but {} bytes of the file remain for items of at least {} bytes", what, count,
              after_header, min_bytes);
  }
  return count;
}

uint32_t read_version(GgufCursor& in) {
  const uint64_t start = in.offset();
  const auto version = in.read<uint32_t>("version");
  if (version != 0 && (version & 0xffff) == 0) {
    in.bad_at(start, "version 0x{:08x}: big-endian GGUF is not supported", version);
  }
  if (version != 2 && version != 3) in.bad_at(start, "version {}, supported are 2 and 3", version);
  return version;
}

}  // namespace

GgufContent parse_gguf(std::span<const std::byte> file, std::string_view label) {
  GgufCursor in(file, label);
  const std::byte* magic = in.take(4, "magic");
  if (std::memcmp(magic, "GGUF", 4) != 0) {
    in.bad_at(0, "magic is {:02x} {:02x} {:02x} {:02x}, wanted 47 47 55 46 (GGUF)", std::to_integer<int>(magic[0]),
              std::to_integer<int>(magic[1]), std::to_integer<int>(magic[2]), std::to_integer<int>(magic[3]));
  }
  GgufContent out;
  out.version = read_version(in);
  if (in.size() < kHeaderBytes)
    in.bad_at(in.offset(), "the header needs {} bytes, the file has {}", kHeaderBytes, in.size());
  const uint64_t n_tensors = read_count(in, "tensor count", kMinTensorBytes);
  const uint64_t n_keys = read_count(in, "key count", kMinKvBytes);
  read_metadata(in, n_keys, out);
  if (n_tensors > in.remaining() / kMinTensorBytes) {
    in.bad_at(in.offset(), "{} tensors announced, {} bytes remain for their table", n_tensors, in.remaining());
  }
  const std::vector<TensorInfo> table = read_tensor_table(in, n_tensors, out.alignment);
  locate_data(in, file, table, out);
  return out;
}

}  // namespace stretto
