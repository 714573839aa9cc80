// The merge loop that byte-pair and SentencePiece tokenizers share: among all adjacent pairs take the one with the
// lowest priority number, leftmost on ties, replace it by one symbol, until no pair can be merged.
// O(n^2) on arrays for short inputs, O(n log n) with a heap otherwise.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "text/object_pool.h"

namespace stretto {

// A stretch of the input, `begin` and `length` in bytes.
struct Symbol {
  uint32_t begin;
  uint32_t length;
  int32_t id;
};

struct PairMerge {
  static constexpr uint32_t kNever = UINT32_MAX;
  uint32_t priority = kNever;  // lower merges first
  int32_t id = -1;             // of the merged symbol
};

class SymbolMerger {
 public:
  // Merges `symbols` in place. `lookup(const Symbol& left, const Symbol& right)` -> PairMerge must depend only on the
  // two symbols. symbols.size() < 2^31.
  template <class Lookup>
  void merge(std::vector<Symbol>& symbols, const Lookup& lookup) {
    if (symbols.size() < 2) return;
    if (symbols.size() <= kShort) {
      merge_short(symbols, lookup);
    } else {
      merge_long(symbols, lookup);
    }
  }

  // Gives memory of an unusually long input back.
  void trim() {
    trim_buffer(nodes_);
    trim_buffer(heap_);
  }

 private:
  static constexpr size_t kShort = 48;

  struct Node {
    Symbol symbol;
    int32_t previous;  // -1: none
    int32_t next;      // -1: none
    PairMerge pair;    // with the next one; kNever too when this node was merged away
  };

  template <class Lookup>
  void merge_short(std::vector<Symbol>& symbols, const Lookup& lookup) {
    PairMerge pairs[kShort];
    size_t n = symbols.size();
    for (size_t i = 0; i + 1 < n; ++i) pairs[i] = lookup(symbols[i], symbols[i + 1]);
    while (n > 1) {
      size_t best = 0;
      for (size_t i = 1; i + 1 < n; ++i) {
        if (pairs[i].priority < pairs[best].priority) best = i;
      }
      if (pairs[best].priority == PairMerge::kNever) break;
      symbols[best].length += symbols[best + 1].length;
      symbols[best].id = pairs[best].id;
      std::copy(symbols.begin() + best + 2, symbols.begin() + n, symbols.begin() + best + 1);
      std::copy(pairs + best + 1, pairs + n - 1, pairs + best);
      --n;
      if (best + 1 < n) pairs[best] = lookup(symbols[best], symbols[best + 1]);
      if (best > 0) pairs[best - 1] = lookup(symbols[best - 1], symbols[best]);
    }
    symbols.resize(n);
  }

  template <class Lookup>
  void merge_long(std::vector<Symbol>& symbols, const Lookup& lookup) {
    const auto n = static_cast<int32_t>(symbols.size());
    nodes_.resize(n);
    heap_.clear();
    for (int32_t i = 0; i < n; ++i) nodes_[i] = {symbols[i], i - 1, i + 1 < n ? i + 1 : -1, {}};
    for (int32_t i = 0; i < n; ++i) renew_pair(i, lookup);
    std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
      const uint64_t entry = heap_.back();
      heap_.pop_back();
      const auto left = static_cast<int32_t>(entry & UINT32_MAX);
      Node& node = nodes_[left];
      // Entries of pairs that have changed since are dropped here. A changed pair of the same priority would get the
      // very same entry, so it may as well be taken now.
      if (node.pair.priority != entry >> 32) continue;
      Node& right = nodes_[node.next];
      node.symbol.length += right.symbol.length;
      node.symbol.id = node.pair.id;
      node.next = right.next;
      right.pair.priority = PairMerge::kNever;
      if (node.next >= 0) nodes_[node.next].previous = left;
      push_pair(left, lookup);
      if (node.previous >= 0) push_pair(node.previous, lookup);
    }
    symbols.clear();
    for (int32_t i = 0; i >= 0; i = nodes_[i].next) symbols.push_back(nodes_[i].symbol);
  }

  // Recomputes the pair that starts at node i and appends its heap entry (priority << 32 | i); false: no merge.
  template <class Lookup>
  bool renew_pair(int32_t i, const Lookup& lookup) {
    Node& node = nodes_[i];
    node.pair = node.next < 0 ? PairMerge{} : lookup(node.symbol, nodes_[node.next].symbol);
    if (node.pair.priority == PairMerge::kNever) return false;
    heap_.push_back(uint64_t{node.pair.priority} << 32 | static_cast<uint32_t>(i));
    return true;
  }

  template <class Lookup>
  void push_pair(int32_t i, const Lookup& lookup) {
    if (renew_pair(i, lookup)) std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  std::vector<Node> nodes_;
  std::vector<uint64_t> heap_;
};

}  // namespace stretto
