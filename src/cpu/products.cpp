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

uint64_t rows_per_chunk(const Matrix& matrix, uint64_t n_rows, uint64_t n_vectors, int n_threads) {
  // One vector: the last chunk of a thread should not keep the others waiting. Several: the chunk stays in the
  // second-level cache while tiles of vectors pass, and long runs of rows make few calls.
  const uint64_t chunk_bytes = n_vectors == 1 ? 24 << 10 : 128 << 10;
  const uint64_t step = std::max<uint64_t>(4, matrix.row_step);
  const uint64_t by_size = chunk_bytes / row_bytes(matrix.type, matrix.n_in) / step * step;
  const uint64_t by_threads = div_up(n_rows, 8 * static_cast<uint64_t>(n_threads)) / step * step;
  return std::max(step, std::min(by_size, by_threads));
}

namespace {

void run_chunk(const Machine& m, const Vectors& x, const Product& p, uint64_t first, uint64_t n_rows,
               const Onward& onward) {
  const uint64_t width = p.matrix->n_rows;
  multiply_rows(
      *p.matrix, first, n_rows, x.n, onward, [&](uint64_t i) { return x.at(*p.matrix, i); },
      [&](uint64_t i) { return p.out + i * width + first; },
      [&](uint64_t i) {
        float* out = p.out + i * width + first;
        if (p.bias != nullptr) m.vec.add(out, p.bias + first, n_rows, out);
        if (p.residual != nullptr) m.vec.add(p.residual + i * width + first, out, n_rows, out);
      });
}

// A single vector is multiplied in units of this many rows, for all matrices of an op alike.
uint64_t unit_rows(const Matrix& matrix) { return std::max<uint64_t>(4, matrix.row_step); }
uint64_t unit_rows(const Product* products, int n_products) {
  uint64_t rows = 0;
  for (int i = 0; i < n_products; ++i) rows = std::max(rows, unit_rows(*products[i].matrix));
  return rows;
}

// One vector: runs of units, those of all matrices one after the other.
void run_single(const Machine& m, Worker& w, const Vectors& x, const Product* products, int n_products) {
  const uint64_t unit = unit_rows(products, n_products);
  uint64_t n_units = 0, row_bytes = 1;
  for (int i = 0; i < n_products; ++i) {
    n_units += div_up(products[i].matrix->n_rows, unit);
    row_bytes = std::max(row_bytes, products[i].matrix->row_bytes);
  }
  const uint64_t own_end = w.span_end(n_units), with_later = first_with_later(w, n_units, unit, x.width);
  w.share_runs(n_units, unit * row_bytes, [&](uint64_t begin, uint64_t end) {
    uint64_t before = 0;  // units of the matrices passed
    for (int i = 0; i < n_products && before < end; ++i) {
      const uint64_t rows = products[i].matrix->n_rows, n = div_up(rows, unit);
      const uint64_t from = std::max(begin, before), to = std::min(end, before + n);
      before += n;
      if (from >= to) continue;
      Onward onward{.later = &w.later, .later_row = (std::max(from, with_later) - from) * unit};
      if (to == own_end) onward.next = w.next_weights();
      if (to == before && to != own_end && i + 1 < n_products) onward.next = products[i + 1].matrix->data;
      const uint64_t first = (from - (before - n)) * unit;
      run_chunk(m, x, products[i], first, std::min((to - (before - n)) * unit, rows) - first, onward);
    }
  });
}

}  // namespace

void run_products(const Machine& m, Worker& w, const Vectors& x, const Product* products, int n_products) {
  if (x.n == 1) return run_single(m, w, x, products, n_products);
  uint64_t total = 0;
  for (int i = 0; i < n_products; ++i) {
    const Matrix& matrix = *products[i].matrix;
    total += div_up(matrix.n_rows, rows_per_chunk(matrix, matrix.n_rows, x.n, w.n_threads()));
  }
  w.share(total, 1, [&](uint64_t item) {
    for (int i = 0; i < n_products; ++i) {
      const Matrix& matrix = *products[i].matrix;
      const uint64_t chunk = rows_per_chunk(matrix, matrix.n_rows, x.n, w.n_threads());
      const uint64_t n_chunks = div_up(matrix.n_rows, chunk);
      if (item < n_chunks) {
        const uint64_t first = item * chunk;
        return run_chunk(m, x, products[i], first, std::min(chunk, matrix.n_rows - first), {});
      }
      item -= n_chunks;
    }
  });
}

uint64_t first_with_later(const Worker& w, uint64_t n, uint64_t rows, uint64_t n_in) {
  const uint64_t per_item = div_up(rows, kGroupRows) * later_bytes(n_in);
  const uint64_t begin = w.span_begin(n), end = w.span_end(n);
  return end - std::min(end - begin, div_up(w.later.bytes(), per_item));
}

std::span<const std::byte> first_rows(const Matrix* const* matrices, int n_matrices, int thread, int n_threads) {
  uint64_t unit = 0, n_units = 0;
  for (int i = 0; i < n_matrices; ++i) unit = std::max(unit, unit_rows(*matrices[i]));
  for (int i = 0; i < n_matrices; ++i) n_units += div_up(matrices[i]->n_rows, unit);
  uint64_t first = Worker::span(n_units, thread, n_threads).first;
  for (int i = 0; i < n_matrices; ++i) {
    const uint64_t n = div_up(matrices[i]->n_rows, unit);
    if (first < n) {
      const uint64_t row = first * unit;
      return {matrices[i]->data + row * matrices[i]->row_bytes, (matrices[i]->n_rows - row) * matrices[i]->row_bytes};
    }
    first -= n;
  }
  return {};
}

}  // namespace stretto::cpu
