// Working memory of const, thread-safe objects: each concurrent call leases one object and returns it afterwards, so
// buffers and caches are reused without sharing them between threads.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace stretto {

// Gives the memory of an unusually large buffer (a vector or a string) back before its owner returns to a pool.
template <class Buffer>
void trim_buffer(Buffer& buffer) {
  constexpr size_t kKeptBytes = size_t{1} << 20;
  if (buffer.capacity() * sizeof(buffer[0]) > kKeptBytes) Buffer().swap(buffer);
}

template <class T>
class ObjectPool {
 public:
  class Lease {
   public:
    Lease(ObjectPool& pool, std::unique_ptr<T> object) : pool_(pool), object_(std::move(object)) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() {
      const std::lock_guard lock(pool_.mutex_);
      pool_.free_.push_back(std::move(object_));
    }
    T& operator*() const { return *object_; }
    T* operator->() const { return object_.get(); }

   private:
    ObjectPool& pool_;
    std::unique_ptr<T> object_;
  };

  Lease lease() {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<T> object = std::move(free_.back());
        free_.pop_back();
        return Lease(*this, std::move(object));
      }
    }
    return Lease(*this, std::make_unique<T>());
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> free_;
};

}  // namespace stretto
