// Owners of CUDA objects; move-only. All throw Error with what was asked for.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/owned_bytes.h"

namespace stretto::cuda {

void free_device(std::byte* data, uint64_t bytes);
void free_pinned(std::byte* data, uint64_t bytes);

// Device memory, not initialised.
class DeviceArena : public OwnedBytes<free_device> {
 public:
  DeviceArena() = default;
  DeviceArena(uint64_t bytes, std::string_view purpose);  // Error(kCuda) naming `purpose`
  void clear() const;                                     // to zeros
};

// Host memory that the device can copy from and write to directly.
class PinnedBuffer : public OwnedBytes<free_pinned> {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(uint64_t bytes, std::string_view purpose);
};

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }
  void wait() const;

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class Graph {
 public:
  Graph() = default;
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  // Records what `launch` puts into `stream`.
  template <class F>
  void capture(cudaStream_t stream, F&& launch) {
    begin(stream);
    launch();
    end(stream);
  }
  explicit operator bool() const { return graph_ != nullptr; }
  void replay(cudaStream_t stream) const;

 private:
  void begin(cudaStream_t stream);
  void end(cudaStream_t stream);
  cudaGraphExec_t graph_ = nullptr;
};

// For tests: gaps behind every buffer (and before the first one of an arena), filled with a pattern that no kernel may
// read into a result nor write.
struct GuardBands {
  struct Band {
    std::byte* begin = nullptr;
    uint64_t bytes = 0;
  };
  uint64_t bytes = 0;  // of each gap at least, a multiple of Cursor::kAlign; 0: no gaps
  std::vector<Band> bands = {};
};

// Walks an arena piece by piece.
class Cursor {
 public:
  static constexpr uint64_t kAlign = 256;
  explicit Cursor(std::byte* at, GuardBands* guards = nullptr) : at_(at), guards_(guards) {
    if (guards_ != nullptr && guards_->bytes > 0) take(0);
  }
  std::byte* take(uint64_t bytes) {
    std::byte* const piece = at_;
    at_ += rounded(bytes);
    if (guards_ != nullptr && guards_->bytes > 0) {
      at_ += guards_->bytes;
      guards_->bands.push_back({piece + bytes, static_cast<uint64_t>(at_ - piece) - bytes});
    }
    return piece;
  }
  static uint64_t rounded(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

 private:
  std::byte* at_;
  GuardBands* guards_;
};

}  // namespace stretto::cuda
