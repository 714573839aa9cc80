// Anonymous memory of the process: zeroed, aligned to a page, with huge pages asked for. Move-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace stretto::cpu {

class Arena {
 public:
  Arena() = default;
  // Throws Error(kHostMemory) naming `purpose` when the system refuses.
  Arena(uint64_t bytes, std::string_view purpose);
  ~Arena();
  Arena(Arena&& o) noexcept : data_(std::exchange(o.data_, nullptr)), bytes_(std::exchange(o.bytes_, 0)) {}
  Arena& operator=(Arena&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(bytes_, o.bytes_);
    return *this;
  }

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

// Memory that a plan may use now: what the kernel calls available, within the cgroup v2 limit of the process.
uint64_t available_host_bytes();

}  // namespace stretto::cpu
