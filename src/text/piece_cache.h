// A bounded memory of the ids of short pieces: text repeats its words, and looking one up is cheaper than merging it.
// One slot per hash, the newest entry wins. Not thread-safe: one per thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "text/flat_map.h"

namespace stretto {

class PieceCache {
 public:
  static constexpr size_t kMaxBytes = 30;
  static constexpr size_t kMaxIds = 6;

  // Appends the ids of `piece` if they are known.
  bool append(std::string_view piece, std::vector<int32_t>& ids) const {
    if (piece.size() > kMaxBytes || entries_.empty()) return false;
    const Entry& entry = entries_[slot(piece)];
    if (entry.n_bytes != piece.size() || std::memcmp(entry.bytes, piece.data(), piece.size()) != 0) return false;
    ids.insert(ids.end(), entry.ids, entry.ids + entry.n_ids);
    return true;
  }

  void remember(std::string_view piece, const int32_t* ids, size_t n_ids) {
    if (piece.empty() || piece.size() > kMaxBytes || n_ids > kMaxIds) return;
    if (entries_.empty()) entries_.resize(kEntries);
    Entry& entry = entries_[slot(piece)];
    std::memcpy(entry.bytes, piece.data(), piece.size());
    std::copy(ids, ids + n_ids, entry.ids);
    entry.n_bytes = static_cast<uint8_t>(piece.size());
    entry.n_ids = static_cast<uint8_t>(n_ids);
  }

 private:
  static constexpr size_t kEntries = 8192;  // 448 KiB

  struct Entry {
    int32_t ids[kMaxIds];
    char bytes[kMaxBytes];
    uint8_t n_bytes = 0;  // 0: free
    uint8_t n_ids = 0;
  };

  static size_t slot(std::string_view piece) { return hash_bytes(piece) % kEntries; }

  std::vector<Entry> entries_;
};

}  // namespace stretto
