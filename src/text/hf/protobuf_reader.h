// Reads the protobuf wire format of files that nobody vouches for: every length is checked, nothing is recursive, and
// whatever this code does not know is skipped or refused, never guessed.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace stretto::hf {

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct ProtobufField {
  uint32_t number = 0;
  WireType wire = WireType::kVarint;
  uint64_t value = 0;      // of kVarint, kFixed64, kFixed32
  std::string_view bytes;  // of kBytes: a view of the message
  size_t begin = 0;        // offset of the field in the file
  size_t bytes_begin = 0;  // offset of `bytes` in the file
};

// The fields of one message in file order. All functions throw Error(kInvalidModel) with file, byte and field.
class ProtobufReader {
 public:
  // `file` names the file; `message` begins at byte `begin` of it. Both texts must outlive this object.
  ProtobufReader(std::string_view file, std::string_view message, size_t begin = 0)
      : file_(file), message_(message), begin_(begin) {}

  // The next field, nothing at the end. Groups (obsolete) are refused.
  std::optional<ProtobufField> next();

  // The value of a field whose type is known; `name` is for the message.
  std::string_view bytes(const ProtobufField& field, std::string_view name) const;
  ProtobufReader message(const ProtobufField& field, std::string_view name) const;
  int32_t int32(const ProtobufField& field, std::string_view name) const;
  bool flag(const ProtobufField& field, std::string_view name) const;
  float real(const ProtobufField& field, std::string_view name) const;

 private:
  uint64_t varint();
  uint64_t fixed(size_t n_bytes);
  void require_wire(const ProtobufField& field, WireType wanted, std::string_view name) const;

  std::string_view file_;
  std::string_view message_;
  size_t begin_;
  size_t at_ = 0;
};

}  // namespace stretto::hf
