#pragma once
// What the ops of a swap layer share: four streams, the rows of memory they point at, and the network that re-wires
// them.

#include "ops/types.h"

namespace stretto {

inline constexpr uint64_t kStreams = 4;        // rows of memory, and streams that point at them
inline constexpr uint64_t kSwitches = 6;       // of the Benes network on four positions
inline constexpr uint8_t kStreamOrder = 0xE4;  // the map in which stream i points at row i

// Where a token's streams stand, a value [tokens, kStreamFields] I32 whose zeros are the beginning: the map,
// exclusive-or kStreamOrder, then an exponent per row. A row stands for ram * 2^exponent.
//
// The definition lets rows grow without bound (carried along random layers they grow fourfold per token, beyond float32
// after 68). A backend that computes in float32 keeps the largest element of what it writes below 2^kRowBits and counts
// the rest in the exponent; an exponent is 0 unless the row's largest element is at least 2^(kRowBits - 1). Next to
// such a row whatever a layer adds unscaled, the FFN's result and the residual stream, is below float32's resolution,
// and the norms that follow do not see the scale. So far up a row joins the residual stream without its exponent: exact
// for one such layer; several of them lose how their rows compare. (Squares of sums of a few rows must fit float32.)
// The oracle's float64 has the range itself and leaves exponents at 0.
inline constexpr uint64_t kStreamFields = 1 + kStreams;
inline constexpr int kRowBits = 52;

// The row that stream i points at: bits 2i, 2i + 1 of the map.
constexpr uint32_t stream_row(uint32_t map, uint32_t i) { return map >> 2 * i & 3; }

// The map after the network, bit j of `switches` being switch j: three stages of two exchanges,
//   0: fields 0 and 1    1: fields 2 and 3    2: 0 and 2    3: 1 and 3    4: 0 and 1    5: 2 and 3
// Each stage is one masked exclusive-or of the packed fields with their partners.
constexpr uint32_t benes(uint32_t map, uint32_t switches) {
  const auto neighbours = [](uint32_t m, uint32_t bits) {
    const uint32_t x = (m ^ m >> 2) & ((bits & 1) * 0x03 | (bits >> 1 & 1) * 0x30);
    return m ^ x ^ x << 2;
  };
  map = neighbours(map, switches);
  const uint32_t x = (map ^ map >> 4) & ((switches >> 2 & 1) * 0x03 | (switches >> 3 & 1) * 0x0C);
  map ^= x ^ x << 4;
  return neighbours(map, switches >> 4);
}

// Hooks for tests: what a layer decides can be recorded, and taken from a recording.
//
// A recording has one row per position, and in it one run of columns per swap layer: the decisions of its events and of
// its collapse, the margins of the same, the map at the end. A decision is bank * 64 + switches, or the stream that the
// layer ends with. A margin is the least distance of a logit from deciding otherwise: best minus second bank and the
// smallest |switch|; best minus second stream.
struct SwapHooks {
  WeightId forced;             // [positions, columns] F32, optional: a recording; positions beyond it decide freely
  StateId trace;               // [n_ctx, columns] F32, optional: where to record
  uint64_t column = 0;         // of this op's decision
  uint64_t margin_column = 0;  // of its margin; the collapse has the map behind it

  template <class Hooks, class V>
  static void tensors(Hooks& hooks, V& v) {
    v.weight("forced", hooks.forced);
    if (hooks.trace) v.state_out("trace", hooks.trace);
  }
  void check(const Tables& t) const {
    CHECK(!forced || (t[forced].type == DType::kF32 && column < t[forced].shape.cols()));
    if (!trace) return;
    const StateInfo& s = t[trace];
    CHECK(s.type == DType::kF32 && s.growth == Growth::kPerPosition && column < s.width && margin_column < s.width);
  }
};

// The columns of one layer in a recording.
constexpr uint64_t swap_trace_columns(uint64_t n_events) { return 2 * (n_events + 1) + 1; }

}  // namespace stretto
