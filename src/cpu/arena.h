// Anonymous memory of the process: zeroed, aligned to a page, with huge pages asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/owned_bytes.h"

namespace stretto::cpu {

void unmap(std::byte* data, uint64_t bytes);

class Arena : public OwnedBytes<unmap> {
 public:
  Arena() = default;
  // Throws Error(kHostMemory) naming `purpose` when the system refuses.
  Arena(uint64_t bytes, std::string_view purpose);
};

// Walks the memory of an arena piece by piece.
class Cursor {
 public:
  static constexpr uint64_t kAlign = 64;
  explicit Cursor(std::byte* at) : at_(at) {}
  std::byte* take(uint64_t bytes) {
    std::byte* const piece = at_;
    at_ += (bytes + kAlign - 1) / kAlign * kAlign;
    return piece;
  }

 private:
  std::byte* at_;
};

// The shared mappings of files that this process had when the object was made.
class FileMappings {
 public:
  FileMappings();
  // Takes the pages of `bytes` out of the process where they belong to such a mapping: the next access reads them from
  // the page cache, or from the file if the cache has dropped them meanwhile. Any other memory is left alone.
  void release(std::span<const std::byte> bytes) const;

 private:
  struct Range {
    uintptr_t begin, end;
  };
  std::vector<Range> ranges_;
};

// Memory that a plan may use now: what the kernel calls available, within the cgroup v2 limit of the process.
uint64_t available_host_bytes();

}  // namespace stretto::cpu
