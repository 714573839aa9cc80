// Where a program's weights lie while it runs: packed into row groups where there is a kernel for that, else in place
// in the checkpoint's mapping, else gathered. A packed weight's pages of the mapping are given back at once, so that
// the weights are in memory once.
//
// Each thread has a strand: its span of the rows of every packed matrix, in the order in which a step multiplies with
// them. A step of one token then reads one ascending stream per thread; a new place costs about 1 us until the hardware
// follows (docs/performance.md).
#include <atomic>
#include <numeric>

#include "cpu/executable.h"
#include "cpu/packed.h"
#include "formats/formats.h"

namespace stretto::cpu {
namespace {

// Groups must not straddle two experts of a stacked weight.
bool is_packed(const WeightInfo& w, const Isa& isa) {
  if (packed_tile_kernel(w.type, isa, Fetch::kAscending) == nullptr) return false;
  return w.shape.rank() == 2 || w.shape[w.shape.rank() - 2] % kGroupRows == 0;
}

uint64_t padded_rows(const WeightInfo& w) { return round_up(w.shape.rows(), kGroupRows); }

// What one weight needs of the arena.
struct Need {
  bool packed = false;
  bool in_strands = false;  // packed, in pieces
  bool gathered = false;    // its rows as stored, for products or look-ups
  bool decoded = false;     // to a vector of floats
};

Need need_of(const Program& program, const Planner& planner, size_t i, const Isa& isa) {
  const WeightInfo& w = program.tables.weights[i];
  Need need;
  need.packed = planner.matrices[i] && is_packed(w, isa);
  need.in_strands = need.packed && !planner.whole[i];
  const bool rows = planner.lookups[i] || (planner.matrices[i] && !need.packed);
  need.gathered = rows && program.bindings[i].contiguous(w.type) == nullptr;
  need.decoded = planner.vectors[i];
  return need;
}

// Outside of the strands.
uint64_t bytes_of(const WeightInfo& w, const Need& need) {
  uint64_t bytes = 0;
  if (need.packed && !need.in_strands)
    bytes += round_up(padded_rows(w) * row_bytes(w.type, w.shape.cols()), Cursor::kAlign);
  if (need.gathered) bytes += round_up(w.bytes(), Cursor::kAlign);
  if (need.decoded) bytes += round_up(w.shape.elements() * sizeof(float), Cursor::kAlign);
  return bytes;
}

// The rows of a weight in order, padded to whole groups with nullptr.
std::vector<const std::byte*> rows_of(const WeightInfo& w, const WeightBinding& binding) {
  std::vector<const std::byte*> rows;
  rows.reserve(padded_rows(w));
  for (const WeightSlice& slice : binding.slices) {
    CHECK(slice.source.type == w.type);
    for (uint64_t i = 0; i < slice.n_rows; ++i) rows.push_back(slice.row(i));
  }
  CHECK(rows.size() == w.shape.rows());
  rows.resize(padded_rows(w));
  return rows;
}

void pack_weight(const WeightInfo& w, const WeightBinding& binding, ThreadPool& pool, const Matrix& matrix) {
  const std::vector<const std::byte*> rows = rows_of(w, binding);
  const uint64_t n_in = w.shape.cols(), n_groups = rows.size() / kGroupRows;
  std::atomic<uint64_t> next{0};
  pool.run([&](int) {
    for (uint64_t g = next.fetch_add(1); g < n_groups; g = next.fetch_add(1)) {
      const std::byte* const out = matrix.run_from(g * kGroupRows).data;
      pack_group(w.type, rows.data() + g * kGroupRows, n_in, const_cast<std::byte*>(out));
    }
  });
}

void decode_vector(const WeightInfo& w, const WeightBinding& binding, float* out) {
  std::vector<std::byte> stored(w.bytes());
  binding.gather(w.type, stored.data());
  const uint64_t n_in = w.shape.cols(), bytes_per_row = row_bytes(w.type, n_in);
  for (uint64_t r = 0; r < w.shape.rows(); ++r)
    decode_row(w.type, stored.data() + r * bytes_per_row, n_in, out + r * n_in);
}

// Whether the groups of the weights i and j can lie in turn, so that one ascending stream reads both. (Of the formats
// with a packed form all do; a start in the middle of a line would cost.)
bool interleaves(const std::vector<WeightInfo>& weights, size_t i, size_t j) {
  const WeightInfo &a = weights[i], &b = weights[j];
  return a.type == b.type && a.shape == b.shape && kGroupRows * row_bytes(a.type, a.shape.cols()) % Cursor::kAlign == 0;
}

// Where the pieces of a weight lie in the strands.
struct Place {
  uint64_t row_bytes = 0;        // from a row to the next, a partner's included; 0: in no strand
  std::vector<uint64_t> offset;  // per thread, from the beginning of its strand
};

struct Strands {
  std::vector<Place> places;    // per WeightId
  std::vector<uint64_t> bytes;  // per thread
};

Strands lay_out_strands(const Program& program, const Planner& planner, const Isa& isa, int n_threads) {
  const std::vector<WeightInfo>& weights = program.tables.weights;
  const auto in_strands = [&](size_t i) { return need_of(program, planner, i, isa).in_strands; };
  Strands strands{.places = std::vector<Place>(weights.size()),
                  .bytes = std::vector<uint64_t>(static_cast<size_t>(n_threads))};
  for (const WeightId id : planner.in_order) {
    const auto i = static_cast<size_t>(id.index), j = static_cast<size_t>(planner.partners[i].index);
    Place& place = strands.places[i];
    if (place.row_bytes != 0 || !in_strands(i)) continue;
    const uint64_t own_bytes = row_bytes(weights[i].type, weights[i].shape.cols());
    const bool in_turn = planner.partners[i] && in_strands(j) && interleaves(weights, i, j);
    place.row_bytes = in_turn ? 2 * own_bytes : own_bytes;
    for (int t = 0; t < n_threads; ++t) {
      uint64_t& bytes = strands.bytes[static_cast<size_t>(t)];
      place.offset.push_back(bytes);
      const uint64_t n_groups = Worker::span_size(padded_rows(weights[i]) / kGroupRows, t, n_threads);
      bytes += round_up(n_groups * kGroupRows * place.row_bytes, Cursor::kAlign);
    }
    if (!in_turn) continue;
    strands.places[j] = place;
    for (uint64_t& offset : strands.places[j].offset) offset += kGroupRows * own_bytes;
  }
  return strands;
}

// Per WeightId; the threads' strands lie one behind the other from `strand` on.
std::vector<std::vector<Piece>> pieces_of(const Strands& strands, const std::vector<WeightInfo>& weights,
                                          const std::byte* strand) {
  const auto n_threads = static_cast<int>(strands.bytes.size());
  std::vector<std::vector<Piece>> pieces(weights.size());
  for (int t = 0; t < n_threads; ++t) {
    const uint64_t bytes = strands.bytes[static_cast<size_t>(t)];
    for (size_t i = 0; i < weights.size(); ++i) {
      const Place& place = strands.places[i];
      if (place.row_bytes == 0) continue;
      const uint64_t first = Worker::span(padded_rows(weights[i]) / kGroupRows, t, n_threads).first;
      const uint64_t offset = place.offset[static_cast<size_t>(t)];
      // Past the end of the strand where the partner's last groups would begin.
      const uint64_t left = bytes - std::min(bytes, offset);
      pieces[i].push_back({.first_row = first * kGroupRows, .data = {strand + offset, left}});
    }
    strand += bytes;
  }
  return pieces;
}

}  // namespace

void CpuExecutable::place_weights(const Planner& planner) {
  const std::vector<WeightInfo>& weights = program_.tables.weights;
  const Strands strands = lay_out_strands(program_, planner, isa_, pool_.size());
  const uint64_t strand_bytes = std::accumulate(strands.bytes.begin(), strands.bytes.end(), uint64_t{0});
  uint64_t bytes = strand_bytes;
  for (size_t i = 0; i < weights.size(); ++i) bytes += bytes_of(weights[i], need_of(program_, planner, i, isa_));
  weights_ = Arena(bytes, "weights that cannot be used in place");
  machine_.matrices.resize(weights.size());
  machine_.lookups.resize(weights.size());
  machine_.vectors.resize(weights.size());
  pieces_ = pieces_of(strands, weights, weights_.data());
  Cursor cursor(weights_.data() + strand_bytes);
  const FileMappings mappings;
  for (size_t i = 0; i < weights.size(); ++i) {
    const WeightInfo& w = weights[i];
    const WeightBinding& binding = program_.bindings[i];
    const Need need = need_of(program_, planner, i, isa_);
    Matrix stored{.data = binding.contiguous(w.type),
                  .type = w.type,
                  .n_in = w.shape.cols(),
                  .n_rows = w.shape.rows(),
                  .row_bytes = row_bytes(w.type, w.shape.cols()),
                  .integer = has_integer_dot(w.type)};
    if (need.gathered) {
      std::byte* const gathered = cursor.take(w.bytes());
      binding.gather(w.type, gathered);
      stored.data = gathered;
    }
    if (planner.lookups[i]) machine_.lookups[i] = stored;
    if (need.packed) {
      Matrix packed = stored;
      if (need.in_strands) {
        packed.row_bytes = strands.places[i].row_bytes;
        packed.pieces = pieces_[i];
        packed.data = packed.pieces.front().data.data();
      } else {
        packed.data = cursor.take(padded_rows(w) * packed.row_bytes);
      }
      packed.kernel = packed_tile_kernel(w.type, isa_, fetch_of_machine());
      packed.many = many_tile_kernel(w.type, isa_);
      packed.tile = kWideTile;
      packed.row_step = kGroupRows;
      pack_weight(w, binding, pool_, packed);
      for (const WeightSlice& slice : binding.slices) mappings.release(slice.source.bytes);
      machine_.matrices[i] = packed;
    } else if (planner.matrices[i]) {
      machine_.matrices[i] = stored;
      machine_.matrices[i].kernel = tile_kernel(w.type, isa_);
    }
    if (need.decoded) {
      auto* const out = reinterpret_cast<float*>(cursor.take(w.shape.elements() * sizeof(float)));
      decode_vector(w, binding, out);
      machine_.vectors[i] = out;
    }
  }
}

}  // namespace stretto::cpu
