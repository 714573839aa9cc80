// A read-only view of a stored tensor: encoding, shape and bytes. It owns nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "base/check.h"
#include "base/dtype.h"

namespace stretto {

// Up to four dimensions, outermost first, the last one contiguous: a linear layer is [n_out, n_in], stacked experts
// are [n_experts, n_out, n_in]. (GGUF files list the same numbers in the opposite order.)
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<uint64_t> dims) : Shape(std::span<const uint64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const uint64_t> dims) : rank_(static_cast<int>(dims.size())) {
    CHECK(dims.size() <= kMaxRank);
    for (int i = 0; i < rank_; ++i) dims_[i] = dims[i];
  }

  int rank() const { return rank_; }
  uint64_t operator[](int i) const { return dims_[i]; }
  // The contiguous dimension; 1 for a scalar.
  uint64_t cols() const { return rank_ == 0 ? 1 : dims_[rank_ - 1]; }
  uint64_t rows() const { return cols() == 0 ? 0 : elements() / cols(); }
  uint64_t elements() const {
    uint64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dims_[i];
    return n;
  }
  bool operator==(const Shape& o) const {
    if (rank_ != o.rank_) return false;
    for (int i = 0; i < rank_; ++i)
      if (dims_[i] != o.dims_[i]) return false;
    return true;
  }
  std::string str() const;  // "[4096, 1024]"

 private:
  std::array<uint64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

struct TensorView {
  DType type = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;  // row_bytes(type, cols) * rows; not necessarily aligned to anything
};

}  // namespace stretto
