// Where a program's weights lie while it runs: packed into row groups where there is a kernel for that, else in place
// in the checkpoint's mapping, else gathered. A packed weight's pages of the mapping are given back at once, so that
// the weights are in memory once.
#include <atomic>

#include "cpu/executable.h"
#include "cpu/packed.h"
#include "formats/formats.h"

namespace stretto::cpu {
namespace {

// Groups must not straddle two experts of a stacked weight.
bool is_packed(const WeightInfo& w, const Isa& isa) {
  if (packed_tile_kernel(w.type, isa) == nullptr) return false;
  return w.shape.rank() == 2 || w.shape[w.shape.rank() - 2] % kGroupRows == 0;
}

uint64_t padded_rows(const WeightInfo& w) { return round_up(w.shape.rows(), kGroupRows); }

// What one weight needs of the arena.
struct Need {
  bool packed = false;
  bool gathered = false;  // its rows as stored, for products or look-ups
  bool decoded = false;   // to a vector of floats
};

Need need_of(const Program& program, const Planner& planner, size_t i, const Isa& isa) {
  const WeightInfo& w = program.tables.weights[i];
  Need need;
  need.packed = planner.matrices[i] && is_packed(w, isa);
  const bool rows = planner.lookups[i] || (planner.matrices[i] && !need.packed);
  need.gathered = rows && program.bindings[i].contiguous(w.type) == nullptr;
  need.decoded = planner.vectors[i];
  return need;
}

uint64_t bytes_of(const WeightInfo& w, const Need& need) {
  uint64_t bytes = 0;
  if (need.packed) bytes += round_up(padded_rows(w) * row_bytes(w.type, w.shape.cols()), Cursor::kAlign);
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

// Groups lie `distance` bytes from each other.
void pack_weight(const WeightInfo& w, const WeightBinding& binding, ThreadPool& pool, uint64_t distance,
                 std::byte* out) {
  const std::vector<const std::byte*> rows = rows_of(w, binding);
  const uint64_t n_in = w.shape.cols(), n_groups = rows.size() / kGroupRows;
  std::atomic<uint64_t> next{0};
  pool.run([&](int) {
    for (uint64_t g = next.fetch_add(1); g < n_groups; g = next.fetch_add(1))
      pack_group(w.type, rows.data() + g * kGroupRows, n_in, out + g * distance);
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

}  // namespace

void CpuExecutable::place_weights(const Planner& planner) {
  const std::vector<WeightInfo>& weights = program_.tables.weights;
  uint64_t bytes = 0;
  for (size_t i = 0; i < weights.size(); ++i) bytes += bytes_of(weights[i], need_of(program_, planner, i, isa_));
  weights_ = Arena(bytes, "weights that cannot be used in place");
  machine_.matrices.resize(weights.size());
  machine_.lookups.resize(weights.size());
  machine_.vectors.resize(weights.size());
  Cursor cursor(weights_.data());
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
      Matrix& matrix = machine_.matrices[i] = stored;
      const WeightId partner = planner.partners[i];
      const auto j = static_cast<size_t>(partner.index);
      const bool in_turn = partner && need_of(program_, planner, j, isa_).packed && interleaves(weights, i, j);
      if (in_turn) matrix.row_bytes *= 2;
      if (in_turn && machine_.matrices[j].data != nullptr) {  // the partner's memory has room for this one
        matrix.data = machine_.matrices[j].data + kGroupRows * stored.row_bytes;
      } else {
        matrix.data = cursor.take(padded_rows(w) * matrix.row_bytes);
      }
      pack_weight(w, binding, pool_, kGroupRows * matrix.row_bytes, const_cast<std::byte*>(matrix.data));
      for (const WeightSlice& slice : binding.slices) mappings.release(slice.source.bytes);
      machine_.matrices[i].kernel = packed_tile_kernel(w.type, isa_);
      machine_.matrices[i].tile = kWideTile;
      machine_.matrices[i].row_step = kGroupRows;
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
