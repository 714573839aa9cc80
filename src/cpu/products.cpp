#include "cpu/products.h"

#include "cpu/packed.h"
#include "formats/formats.h"

namespace stretto::cpu {

void quantize_vectors(const Machine& m, Worker& w, const float* x, uint64_t n, uint64_t width, std::byte* memory) {
  constexpr uint64_t kBlocks = 32;  // per share: 1024 values
  const uint64_t n_blocks = width / kActivationBlock, parts = div_up(n_blocks, kBlocks);
  w.share(n * parts, 1, [&](uint64_t item) {
    const uint64_t row = item / parts, first = item % parts * kBlocks;
    m.vec.quantize(x + row * width, width, memory + row * operand_bytes(width), first,
                   std::min(kBlocks, n_blocks - first));
  });
}

uint64_t vectors_per_slice(const Matrix& matrix, uint64_t n_vectors) {
  return matrix.takes_many(n_vectors) ? kManyVectors : std::max<uint64_t>(1, n_vectors);  // a step may have none
}

uint64_t rows_per_chunk(const Matrix& matrix, uint64_t n_rows, uint64_t n_vectors, int n_threads) {
  // One vector: the last chunk of a thread should not keep the others waiting. Several: the chunk stays in the
  // second-level cache while tiles of vectors pass, and long runs of rows make few calls.
  // A kernel of many vectors reads all of them once per chunk, which should be seldom.
  const bool many = matrix.takes_many(n_vectors);
  const uint64_t chunk_bytes = many ? 512 << 10 : n_vectors == 1 ? 24 << 10 : 128 << 10;
  const uint64_t n_slices = div_up(n_vectors, vectors_per_slice(matrix, n_vectors));
  const uint64_t step = many ? 4 * kGroupRows : std::max<uint64_t>(4, matrix.row_step);
  const uint64_t by_size = chunk_bytes / row_bytes(matrix.type, matrix.n_in) / step * step;
  const uint64_t by_threads = n_slices * n_rows / (8 * static_cast<uint64_t>(n_threads)) / step * step;
  return std::max(step, std::min(by_size, by_threads));
}

namespace {

// Neighbouring vectors.
struct Slice {
  uint64_t first = 0;
  uint64_t n = 1;
};

// Returns how many rows it has done.
uint64_t run_chunk(const Machine& m, const Vectors& x, const Product& p, uint64_t first, uint64_t n_rows,
                   const Slice& slice, const Onward& onward) {
  const uint64_t width = p.matrix->n_rows;
  const auto at = [&](uint64_t i) { return (slice.first + i) * width + first; };
  return multiply_rows(
      *p.matrix, first, n_rows, slice.n, onward, [&](uint64_t i) { return x.at(*p.matrix, slice.first + i); },
      [&](uint64_t i) { return p.out + at(i); },
      [&](uint64_t i, uint64_t n_done) {
        float* out = p.out + at(i);
        if (p.bias != nullptr) m.vec.add(out, p.bias + first, n_done, out);
        if (p.residual != nullptr) m.vec.add(p.residual + at(i), out, n_done, out);
      });
}

// How the products of several vectors with a matrix are cut into items: chunks of rows, and of each slices of vectors.
struct Cut {
  uint64_t rows, vectors, n_slices, n_items;
  Cut(const Matrix& matrix, uint64_t n_vectors, int n_threads)
      : rows(rows_per_chunk(matrix, matrix.n_rows, n_vectors, n_threads)),
        vectors(vectors_per_slice(matrix, n_vectors)),
        n_slices(div_up(n_vectors, vectors)),
        n_items(div_up(matrix.n_rows, rows) * n_slices) {}
};

// A single vector is multiplied in units of this many rows, for all matrices of an op alike.
uint64_t unit_rows(const Matrix& matrix) { return std::max<uint64_t>(4, matrix.row_step); }
uint64_t unit_rows(const Product* products, int n_products) {
  uint64_t rows = 0;
  for (int i = 0; i < n_products; ++i) rows = std::max(rows, unit_rows(*products[i].matrix));
  return rows;
}

// Units `from` .. `to` - 1 of a thread's, those of all matrices one after the other, as far as it is not interrupted.
// Returns where it ends.
uint64_t run_units(const Machine& m, const Worker& w, const Vectors& x, std::span<const Product> products,
                   uint64_t unit, const Worker::Run& run, uint64_t with_later) {
  uint64_t before = 0;  // of the thread's units, those of the matrices passed
  for (size_t i = 0; i < products.size() && before < run.end; ++i) {
    const uint64_t rows = products[i].matrix->n_rows;
    const auto [begin, end] = Worker::span(div_up(rows, unit), run.owner, w.n_threads());
    const uint64_t from = std::max(run.begin, before), to = std::min(run.end, before + end - begin);
    if (from < to) {
      Onward onward{
          .later = run.later, .later_row = (std::max(from, with_later) - from) * unit, .interrupt = run.interrupt};
      if (to == before + end - begin && run.owner == w.thread()) {
        onward.next = i + 1 == products.size()
                          ? w.next_weights()
                          : first_rows(&products[i + 1].matrix, 1, run.owner, w.n_threads()).data();
      }
      const uint64_t first = (begin + from - before) * unit;
      const uint64_t n_rows = std::min((begin + to - before) * unit, rows) - first;
      if (const uint64_t done = run_chunk(m, x, products[i], first, n_rows, {}, onward); done < n_rows)
        return from + done / unit;
    }
    before += end - begin;
  }
  return run.end;
}

// One vector: runs of units.
void run_single(const Machine& m, Worker& w, const Vectors& x, std::span<const Product> products) {
  const uint64_t unit = unit_rows(products.data(), static_cast<int>(products.size()));
  const auto units_of = [&](int owner) {
    uint64_t n = 0;
    for (const Product& p : products) n += Worker::span_size(div_up(p.matrix->n_rows, unit), owner, w.n_threads());
    return n;
  };
  uint64_t row_bytes = 1;
  for (const Product& p : products) row_bytes = std::max(row_bytes, p.matrix->row_bytes);
  const uint64_t with_later = first_with_later(w, units_of(w.thread()), unit, x.width);
  w.share_runs(units_of, unit * row_bytes,
               [&](const Worker::Run& run) { return run_units(m, w, x, products, unit, run, with_later); });
}

}  // namespace

void run_products(const Machine& m, Worker& w, const Vectors& x, const Product* products, int n_products) {
  if (x.n == 1) return run_single(m, w, x, {products, static_cast<size_t>(n_products)});
  uint64_t total = 0;
  for (int i = 0; i < n_products; ++i) total += Cut(*products[i].matrix, x.n, w.n_threads()).n_items;
  w.share(total, 1, [&](uint64_t item) {
    for (int i = 0; i < n_products; ++i) {
      const Matrix& matrix = *products[i].matrix;
      const Cut cut(matrix, x.n, w.n_threads());
      if (item < cut.n_items) {
        const uint64_t first = item / cut.n_slices * cut.rows, vector = item % cut.n_slices * cut.vectors;
        run_chunk(m, x, products[i], first, std::min(cut.rows, matrix.n_rows - first),
                  {vector, std::min(cut.vectors, x.n - vector)}, {});
        return;
      }
      item -= cut.n_items;
    }
  });
}

uint64_t first_with_later(const Worker& w, uint64_t n, uint64_t rows, uint64_t n_in) {
  const uint64_t per_item = div_up(rows, kGroupRows) * later_bytes(n_in);
  return n - std::min(n, div_up(w.later.bytes(), per_item));
}

std::span<const std::byte> first_rows(const Matrix* const* matrices, int n_matrices, int thread, int n_threads) {
  uint64_t unit = 0;
  for (int i = 0; i < n_matrices; ++i) unit = std::max(unit, unit_rows(*matrices[i]));
  for (int i = 0; i < n_matrices; ++i) {
    const Matrix& matrix = *matrices[i];
    const auto [begin, end] = Worker::span(div_up(matrix.n_rows, unit), thread, n_threads);
    if (!matrix.pieces.empty()) return matrix.pieces[static_cast<size_t>(thread)].data;
    const uint64_t row = begin * unit;
    if (begin < end) return {matrix.data + row * matrix.row_bytes, (matrix.n_rows - row) * matrix.row_bytes};
  }
  return {};
}

}  // namespace stretto::cpu
