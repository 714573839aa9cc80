// Products of weight rows with the step's vectors, shared by every op that multiplies.
#pragma once

#include <span>

#include "cpu/machine.h"

namespace stretto::cpu {

// Some vectors of equal width in the forms that weights multiply.
struct Vectors {
  const float* floats = nullptr;         // [n, width]
  const std::byte* quantized = nullptr;  // n operands; may be nullptr when no weight needs them
  uint64_t n = 0;
  uint64_t width = 0;

  // Vector i as `w` wants it.
  const std::byte* at(const Matrix& w, uint64_t i) const {
    if (w.integer) return quantized + i * operand_bytes(width);
    return reinterpret_cast<const std::byte*>(floats + i * width);
  }
};

// Bytes of n quantised vectors; 0 when the width is no multiple of the activation block (such weights are not integer).
inline uint64_t quantized_bytes(uint64_t n, uint64_t width) {
  return width % kActivationBlock == 0 ? n * operand_bytes(width) : 0;
}

// Quantises x [n, width] into `memory`; every thread calls it, then syncs.
void quantize_vectors(const Machine& m, Worker& w, const float* x, uint64_t n, uint64_t width, std::byte* memory);

// Vectors that a thread takes at a time: all, or as many as stay in its caches while the rows pass.
uint64_t vectors_per_slice(const Matrix& matrix, uint64_t n_vectors);

// Rows of a weight that a thread takes at a time, to multiply them with n_vectors vectors.
uint64_t rows_per_chunk(const Matrix& matrix, uint64_t n_rows, uint64_t n_vectors, int n_threads);

// What the calling thread reads after some rows, or beside them (Tile has the same).
struct Onward {
  const std::byte* next = nullptr;
  Later* later = nullptr;
  uint64_t later_row = 0;
  const std::atomic<uint32_t>* interrupt = nullptr;
};

// For a thread's n items of weights, `rows` rows of n_in each: the item from which on a kernel fetches w.later, so that
// it is through with it at the end of them, and not sooner.
uint64_t first_with_later(const Worker& w, uint64_t n, uint64_t rows, uint64_t n_in);

// out_at(i)[r] = rows[first_row + r] . x_at(i)      r < n_rows, i < n, first_row a multiple of matrix.row_step
// then finish(i, n_done) once that vector's results are there. Runs on the calling thread. Returns n_done, the number
// of rows it has done: fewer than n_rows only where it was interrupted, n being 1.
template <class XAt, class OutAt, class Finish>
uint64_t multiply_rows(const Matrix& matrix, uint64_t first_row, uint64_t n_rows, uint64_t n, const Onward& onward,
                       const XAt& x_at, const OutAt& out_at, const Finish& finish) {
  Tile tile{.row_bytes = matrix.row_bytes, .n_in = matrix.n_in, .later = onward.later, .interrupt = onward.interrupt};
  uint64_t n_done = 0;
  tile.n_done = &n_done;
  const std::byte* x[kManyVectors];
  float* out[kManyVectors];
  tile.x = x;
  tile.out = out;
  for (uint64_t i = 0; i < n; i += static_cast<uint64_t>(tile.n)) {
    const TileKernel kernel = matrix.takes_many(n - i) ? matrix.many : matrix.kernel;
    tile.n = static_cast<int>(matrix.next_tile(n - i));
    for (uint64_t row = 0; row < n_rows; row += tile.n_rows) {
      const Matrix::Run run = matrix.run_from(first_row + row);
      tile.rows = run.data;
      tile.n_rows = std::min(run.n_rows, n_rows - row);
      tile.next = row + tile.n_rows == n_rows ? onward.next : matrix.run_from(first_row + row + tile.n_rows).data;
      tile.later_row = onward.later_row > row ? onward.later_row - row : 0;
      for (int t = 0; t < tile.n; ++t) {
        x[t] = x_at(i + static_cast<uint64_t>(t));
        out[t] = out_at(i + static_cast<uint64_t>(t)) + row;
      }
      n_done = tile.n_rows;
      kernel(tile);
      if (n_done < tile.n_rows) n_rows = row + n_done;
    }
    for (int t = 0; t < tile.n; ++t) finish(i + static_cast<uint64_t>(t), n_rows);
  }
  return n_rows;
}

// out = matrix x + bias + residual; bias and residual may be nullptr.
struct Product {
  const Matrix* matrix = nullptr;
  const float* bias = nullptr;      // [n_rows]
  const float* residual = nullptr;  // [n, n_rows]
  float* out = nullptr;             // [n, n_rows]
};

// All of some products of the same vectors, divided among the threads by rows. A single vector: each thread has a span
// of the rows of every matrix.
void run_products(const Machine& m, Worker& w, const Vectors& x, const Product* products, int n_products);

// What a thread reads first when run_products multiplies a single vector, and what lies behind it.
std::span<const std::byte> first_rows(const Matrix* const* matrices, int n_matrices, int thread, int n_threads);

}  // namespace stretto::cpu
