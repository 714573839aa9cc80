// Memory of some kind that has one owner. Move-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace stretto {

// release(data, bytes) gives back what `allocate` gave; both know the kind.
template <void (*release)(std::byte* data, uint64_t bytes)>
class OwnedBytes {
 public:
  OwnedBytes() = default;
  OwnedBytes(std::byte* data, uint64_t bytes) : data_(data), bytes_(bytes) {}
  ~OwnedBytes() {
    if (data_ != nullptr) release(data_, bytes_);
  }
  OwnedBytes(OwnedBytes&& o) noexcept : data_(std::exchange(o.data_, nullptr)), bytes_(std::exchange(o.bytes_, 0)) {}
  OwnedBytes& operator=(OwnedBytes&& o) noexcept {
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

}  // namespace stretto
