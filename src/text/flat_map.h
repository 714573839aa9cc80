// Open-addressing hash tables for the tables that are built once per model and read on every token: one array, linear
// probing, at most half full.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace stretto {

// Folded 64 x 64 -> 128 bit product: every output bit depends on every input bit.
inline uint64_t hash_mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hash_word(uint64_t word) { return hash_mix(word ^ 0x9E3779B97F4A7C15u, 0xD6E8FEB86659FD93u); }

inline uint64_t hash_bytes(std::string_view bytes) {
  uint64_t hash = 0xA0761D6478BD642Fu ^ bytes.size();
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = hash_mix(hash ^ word, 0xE7037ED1A0B428DBu);
  }
  uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, at, left);
  return hash_mix(hash ^ tail, 0x8EBC6AF09C88C6E3u);
}

// Slots for `entries` entries at a load of at most one half: a power of two.
inline size_t hash_slots(size_t entries) {
  size_t slots = 16;
  while (slots < 2 * entries) slots *= 2;
  return slots;
}

// uint64_t -> Value. The key ~0 is reserved.
template <class Value>
class FlatMap {
 public:
  explicit FlatMap(size_t max_entries = 0) : slots_(hash_slots(max_entries)) {}

  // false (and no change) if the key is present.
  bool insert(uint64_t key, const Value& value) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    Slot& slot = slots_[locate(key)];
    if (slot.key == key) return false;
    slot = {key, value};
    ++size_;
    return true;
  }

  const Value* find(uint64_t key) const {
    const Slot& slot = slots_[locate(key)];
    return slot.key == key ? &slot.value : nullptr;
  }

  size_t size() const { return size_; }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};
  struct Slot {
    uint64_t key = kFree;
    Value value{};
  };

  size_t locate(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t at = hash_word(key) & mask;
    while (slots_[at].key != key && slots_[at].key != kFree) at = (at + 1) & mask;
    return at;
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.key != kFree) slots_[locate(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;
  size_t size_ = 0;
};

}  // namespace stretto
