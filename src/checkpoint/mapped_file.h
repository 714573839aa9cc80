// A file mapped read-only into memory. Move-only owner; the views handed out live as long as it does.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace stretto {

class MappedFile {
 public:
  // Throws Error: kNotFound (absent, not readable), kBadArgument (a directory, a pipe), kInvalidModel (empty),
  // kHostMemory (the address space does not take it). A file that another process truncates afterwards raises SIGBUS
  // on access; that is out of scope.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  size_t size() const { return size_; }

 private:
  void unmap();

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Brings a part of a mapping into memory, reading from the disk where needed; returns when it is there.
void bring_into_memory(std::span<const std::byte> bytes);

// The whole of a small file. Throws Error: kNotFound, kBadArgument (not a regular file), kInvalidModel (larger than
// max_bytes).
std::string read_small_file(const std::filesystem::path& path, size_t max_bytes);

}  // namespace stretto
