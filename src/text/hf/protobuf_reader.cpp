#include "text/hf/protobuf_reader.h"

#include <cstring>

#include "base/error.h"

namespace stretto::hf {
namespace {

constexpr uint32_t kMaxFieldNumber = (uint32_t{1} << 29) - 1;

const char* describe(WireType wire) {
  switch (wire) {
    case WireType::kVarint:
      return "a varint (wire type 0)";
    case WireType::kFixed64:
      return "8 bytes (wire type 1)";
    case WireType::kBytes:
      return "a length and bytes (wire type 2)";
    case WireType::kFixed32:
      return "4 bytes (wire type 5)";
  }
  return "?";
}

}  // namespace

uint64_t ProtobufReader::varint() {
  const size_t begin = begin_ + at_;
  uint64_t value = 0;
  for (int shift = 0; at_ < message_.size(); shift += 7) {
    const auto byte = static_cast<uint8_t>(message_[at_++]);
    // The tenth byte holds the last of 64 bits.
    if (shift > 63 || (shift == 63 && byte > 1)) {
      fail(ErrorKind::kInvalidModel, "{}: the number at byte {} has more than 64 bits", file_, begin);
    }
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
  fail(ErrorKind::kInvalidModel, "{}: ends inside the number at byte {}", file_, begin);
}

uint64_t ProtobufReader::fixed(size_t n_bytes) {
  if (message_.size() - at_ < n_bytes) {
    fail(ErrorKind::kInvalidModel, "{}: a value of {} bytes at byte {}, {} are left in its message", file_, n_bytes,
         begin_ + at_, message_.size() - at_);
  }
  uint64_t value = 0;
  for (size_t i = 0; i < n_bytes; ++i) value |= uint64_t{static_cast<uint8_t>(message_[at_ + i])} << 8 * i;
  at_ += n_bytes;
  return value;
}

std::optional<ProtobufField> ProtobufReader::next() {
  if (at_ == message_.size()) return std::nullopt;
  ProtobufField field;
  field.begin = begin_ + at_;
  const uint64_t tag = varint();
  if (tag >> 3 == 0 || tag >> 3 > kMaxFieldNumber) {
    fail(ErrorKind::kInvalidModel, "{}: the field number at byte {} is {}, expected 1 to {}", file_, field.begin,
         tag >> 3, kMaxFieldNumber);
  }
  field.number = static_cast<uint32_t>(tag >> 3);
  switch (tag & 7) {
    case 0:
      field.wire = WireType::kVarint;
      field.value = varint();
      return field;
    case 1:
      field.wire = WireType::kFixed64;
      field.value = fixed(8);
      return field;
    case 5:
      field.wire = WireType::kFixed32;
      field.value = fixed(4);
      return field;
    case 2:
      break;
    default:
      fail(ErrorKind::kInvalidModel, "{}: field {} at byte {} has the wire type {}, expected 0, 1, 2 or 5", file_,
           field.number, field.begin, tag & 7);
  }
  field.wire = WireType::kBytes;
  const uint64_t length = varint();
  if (length > message_.size() - at_) {
    fail(ErrorKind::kInvalidModel, "{}: field {} at byte {} has a length of {}, {} bytes are left in its message",
         file_, field.number, field.begin, length, message_.size() - at_);
  }
  field.bytes = message_.substr(at_, length);
  field.bytes_begin = begin_ + at_;
  at_ += length;
  return field;
}

void ProtobufReader::require_wire(const ProtobufField& field, WireType wanted, std::string_view name) const {
  if (field.wire == wanted) return;
  fail(ErrorKind::kInvalidModel, "{}: {} at byte {} is {}, expected {}", file_, name, field.begin, describe(field.wire),
       describe(wanted));
}

std::string_view ProtobufReader::bytes(const ProtobufField& field, std::string_view name) const {
  require_wire(field, WireType::kBytes, name);
  return field.bytes;
}

ProtobufReader ProtobufReader::message(const ProtobufField& field, std::string_view name) const {
  return ProtobufReader(file_, bytes(field, name), field.bytes_begin);
}

int32_t ProtobufReader::int32(const ProtobufField& field, std::string_view name) const {
  require_wire(field, WireType::kVarint, name);
  const auto value = static_cast<int64_t>(field.value);  // negative numbers are written with all 64 bits
  if (value < INT32_MIN || value > INT32_MAX) {
    fail(ErrorKind::kInvalidModel, "{}: {} at byte {} is {}, expected {} to {}", file_, name, field.begin, value,
         INT32_MIN, INT32_MAX);
  }
  return static_cast<int32_t>(value);
}

bool ProtobufReader::flag(const ProtobufField& field, std::string_view name) const {
  require_wire(field, WireType::kVarint, name);
  if (field.value > 1) {
    fail(ErrorKind::kInvalidModel, "{}: {} at byte {} is {}, expected 0 or 1", file_, name, field.begin, field.value);
  }
  return field.value == 1;
}

float ProtobufReader::real(const ProtobufField& field, std::string_view name) const {
  require_wire(field, WireType::kFixed32, name);
  const auto bits = static_cast<uint32_t>(field.value);
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace stretto::hf
