// A file being written beside its final name: the target appears, or is replaced, complete or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace stretto {

class OutputFile {
 public:
  // Creates "<target>.part-<pid>-<n>". Throws Error(kBadArgument) when the place is not writable or `target` is a
  // directory.
  explicit OutputFile(const std::filesystem::path& target);
  ~OutputFile();  // removes the partial file unless commit() succeeded
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Claims disk space ahead, where the file system can, so that a full disk is known at once.
  void reserve(uint64_t total_bytes);
  void write(std::span<const std::byte> bytes);
  void write_zeros(uint64_t n);
  uint64_t written() const { return written_; }
  // Flushes to the disk and takes the target's name. Nothing may be written afterwards.
  void commit();

 private:
  [[noreturn]] void failed(const char* what, int error) const;

  std::filesystem::path target_;
  std::filesystem::path partial_;
  int fd_ = -1;
  uint64_t written_ = 0;
};

}  // namespace stretto
