// A bounded reading position in the bytes of a GGUF file, and the place that its messages name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "checkpoint/utf8.h"

namespace stretto {

// Position in the file plus what is being read, for messages. Every read checks what remains first.
class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> file, std::string_view label) : file_(file), label_(label) {}

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return file_.size() - offset_; }
  uint64_t size() const { return file_.size(); }

  // What messages call the present item: `tensor "blk.0.attn_q.weight"`.
  void set_context(std::string context) { context_ = std::move(context); }
  void set_context(std::string_view what, std::string_view name) {
    context_.assign(what);
    name_ = name;
    quoted_ = true;
  }
  void clear_context() {
    context_.clear();
    quoted_ = false;
  }

  template <class... Args>
  [[noreturn]] void bad_at(uint64_t offset, fmt::format_string<Args...> text, Args&&... args) const {
    std::string where = context_;
    if (quoted_) where += fmt::format(" \"{}\"", printable(name_));
    if (!where.empty()) where += ": ";
    throw Error(ErrorKind::kInvalidModel, fmt::format("{}: invalid GGUF at byte {}: {}{}", label_, offset, where,
                                                      fmt::format(text, std::forward<Args>(args)...)));
  }

  const std::byte* take(uint64_t n, std::string_view what) {
    if (n > remaining()) bad_at(offset_, "{} needs {} bytes, {} remain in the file", what, n, remaining());
    const std::byte* at = file_.data() + offset_;
    offset_ += n;
    return at;
  }

  template <class T>
  T read(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what), sizeof(T));
    return value;
  }

  // Counts memory that values take once read.
  void charge(uint64_t n) {
    memory_ += n;  // a sum of amounts below 2^35, each paid for with bytes of the file
    if (memory_ > kMaxMetadataMemory)
      bad_at(offset_, "the metadata takes more than {} bytes of memory", kMaxMetadataMemory);
  }

  // A view of the string's bytes in the file.
  std::string_view read_string(std::string_view what) {
    const uint64_t start = offset_;
    const auto n = read<uint64_t>(what);
    if (n > kMaxStringBytes) bad_at(start, "{} of {} bytes, at most {} are accepted", what, n, kMaxStringBytes);
    if (n > remaining()) bad_at(start, "{} of {} bytes, {} remain in the file", what, n, remaining());
    return {reinterpret_cast<const char*>(take(n, what)), static_cast<size_t>(n)};
  }

 private:
  static constexpr uint64_t kMaxStringBytes = uint64_t{1} << 30;
  static constexpr uint64_t kMaxMetadataMemory = uint64_t{2} << 30;  // a sparse file can announce more than it holds

  std::span<const std::byte> file_;
  std::string_view label_;
  uint64_t offset_ = 0;
  uint64_t memory_ = 0;
  std::string context_;
  std::string_view name_;
  bool quoted_ = false;
};

}  // namespace stretto
