// Products with weights: one launch of the GEMV per row of a small step, decoded weights and dense products for large
// ones.
#include "base/checked.h"
#include "cuda/dequantize.h"
#include "cuda/elementwise.h"
#include "cuda/ops.h"
#include "cuda/rows.h"
#include "formats/formats.h"

namespace stretto::cuda {
namespace {

constexpr uint64_t kMaxDenseBytes = 256 << 20;  // of decoded weights at a time

uint32_t u32(uint64_t v) { return static_cast<uint32_t>(v); }

struct Part {
  WeightId w, bias;
  ValueId out;
};

// Products that one launch computes: they share x and the encoding of their weights.
struct Product {
  ValueId x = {};
  WeightId norm = {};
  float eps = 0;
  std::array<Part, NormLinear::kMaxParts> part = {};
  int n_parts = 0;
  ValueId residual = {};

  std::span<const Part> parts() const { return {part.data(), static_cast<size_t>(n_parts)}; }
  void add(const Part& p) { part[static_cast<size_t>(n_parts++)] = p; }
  MatrixKey key() const {
    MatrixKey k;
    for (const Part& p : parts()) k.weights.push_back(p.w.index);
    return k;
  }
};

Product product_of(const Linear& op) {
  Product p{.x = op.x};
  p.add({op.w, op.bias, op.out});
  return p;
}
Product product_of(const LinearAdd& op) {
  Product p{.x = op.x, .residual = op.residual};
  p.add({op.w, op.bias, op.out});
  return p;
}

// Parts of one encoding go together; all but the last must fill their groups of rows.
template <class F>
void for_each_product(const NormLinear& op, const Tables& t, const F& f) {
  Product p{.x = op.x, .norm = op.norm, .eps = op.eps};
  for (const NormLinear::Part& part : op.parts()) {
    if (p.n_parts > 0) {
      const WeightInfo& last = t[p.part[static_cast<size_t>(p.n_parts - 1)].w];
      if (last.type != t[part.w].type || last.shape.rows() % kGroupRows != 0) {
        f(p);
        p.n_parts = 0;
      }
    }
    p.add({part.w, part.bias, part.out});
  }
  f(p);
}

MatrixKey gate_up_key(const NormGateUp& op) { return {.weights = {op.w_gate.index, op.w_up.index}, .gate_up = true}; }

void plan_dense(Planner& p, const MatrixKey& key, uint64_t max_rows) {
  if (max_rows <= kMaxGemvRows) return;
  const PackedShape shape = matrix_shape(key, p.tables());
  p.dense(key);
  p.dense_x_bytes =
      std::max(p.dense_x_bytes, (p.splits ? 2 : 1) * max_rows * dense_stride(shape) * dense_element_bytes(shape.type));
  const uint64_t most = std::min(dense_bytes(shape), kMaxDenseBytes);
  p.dense_w_bytes = std::max({p.dense_w_bytes, most, dense_group_bytes(shape)});
}

void plan_product(const Product& product, Planner& p) {
  p.vector(product.norm);
  for (const Part& part : product.parts()) p.vector(part.bias);
  const MatrixKey key = product.key();
  p.matrix(key, 1, p.attended[static_cast<size_t>(product.x.index)]);
  const uint64_t max_rows = p.max_rows(product.x);
  plan_dense(p, key, max_rows);
  if (max_rows > kMaxGemvRows && product.n_parts > 1)
    p.wide_bytes = std::max(p.wide_bytes, max_rows * matrix_shape(key, p.tables()).n_rows * sizeof(float));
}

// x, normalised where there is a norm, as dense products with weights of this shape take it.
const void* dense_x(Machine& m, const PackedShape& shape, ValueId x, WeightId norm, float eps) {
  const uint64_t stride = dense_stride(shape);
  const DType type = dense_type(shape.type);
  const bool split = m.splits && type != DType::kF32;
  if (norm) {
    launch_rms_norm(m.queue, u32(m.rows(x)), type,
                    {.x = m.value(x),
                     .weight = m.vector(norm),
                     .out = m.dense_x,
                     .group = u32(shape.n_in),
                     .stride = u32(stride),
                     .eps = eps,
                     .split = split});
  } else if (type != DType::kF32 && m.rounded_type(x) == type) {
    return m.value(x);
  } else {
    launch_round(m.queue, u32(m.rows(x)), type,
                 {.x = m.value(x), .out = m.dense_x, .width = u32(shape.n_in), .stride = u32(stride), .split = split});
  }
  return m.dense_x;
}

// A product, of activations in two parts the sum of both.
void run_gemm(Machine& m, GemmCall call) {
  const bool split = m.splits && call.type != DType::kF32;
  if (split) call.x_stride = 2 * call.stride;
  m.gemm->run(m.queue.stream, call);
  if (!split) return;
  call.x = static_cast<const std::byte*>(call.x) + call.stride * sizeof(uint16_t);
  call.residual = call.out;
  m.gemm->run(m.queue.stream, call);
}

// The rows of the packed matrix, n_out of them, times call.x.
void run_dense(Machine& m, const Matrix& matrix, uint64_t n_out, GemmCall call) {
  const PackedShape& shape = matrix.shape;
  call.type = dense_type(shape.type);
  call.n_in = shape.n_in;
  call.stride = dense_stride(shape);
  if (matrix.decoded != nullptr) {
    call.w = matrix.decoded;
    call.n_out = n_out;
    return run_gemm(m, call);
  }
  const uint64_t tile = m.dense_w_bytes / dense_group_bytes(shape) * kGroupRows;
  float* const out = call.out;
  const float* const residual = call.residual;
  for (uint64_t done = 0; done < n_out; done += tile) {
    const uint64_t n = std::min(tile, n_out - done);
    launch_dequantize(m.queue, shape,
                      {.groups = matrix.data + done / kGroupRows * shape.group_bytes(),
                       .out = m.dense_w,
                       .n_groups = u32(div_up(n, kGroupRows)),
                       .stride = u32(dense_stride(shape))});
    call.w = m.dense_w;
    call.n_out = n;
    call.out = out + done;
    call.residual = residual != nullptr ? residual + done : nullptr;
    run_gemm(m, call);
  }
}

// Several parts are one product into `wide`, which is then taken apart: the products of few rows alone would not fill
// the device.
void run_dense_product(const Product& product, const Matrix& matrix, Machine& m) {
  const uint64_t rows = m.rows(product.x);
  GemmCall call{.x = dense_x(m, matrix.shape, product.x, product.norm, product.eps),
                .n_rows = rows,
                .out = m.wide,
                .out_stride = matrix.shape.n_rows};
  const Part& first = product.part[0];
  if (product.n_parts == 1) {
    call.out = m.value(first.out);
    if (product.residual) call.residual = m.value(product.residual);
    run_dense(m, matrix, matrix.shape.n_rows, call);
    if (first.bias)
      launch_add(m.queue, {.a = call.out,
                           .b = m.vector(first.bias),
                           .out = call.out,
                           .n = rows * call.out_stride,
                           .b_width = call.out_stride});
    return;
  }
  run_dense(m, matrix, matrix.shape.n_rows, call);
  SplitColumnsParams split{.x = m.wide, .stride = u32(call.out_stride), .part = {}};
  static_assert(NormLinear::kMaxParts <= SplitColumnsParams::kMaxParts);
  for (int i = 0; i < product.n_parts; ++i) {
    const Part& part = product.part[static_cast<size_t>(i)];
    split.part[i] = {m.value(part.out), m.vector(part.bias), u32(m.width(part.out))};
  }
  launch_split_columns(m.queue, u32(rows), split);
}

// f(first row, rows) for as many rows at a time as a launch takes.
template <class F>
void for_each_launch(const Matrix& matrix, bool with_norm, uint64_t rows, const F& f) {
  const uint64_t most = matrix.tokens_per_launch(with_norm);
  for (uint64_t r = 0; r < rows; r += most) f(r, std::min(most, rows - r));
}

// The first bytes of the next matrix, and of one with the same input that follows it.
void set_next(const Matrix& matrix, const Machine& m, GemvParams& params) {
  const uint32_t wanted = gemv_ahead_bytes(matrix.shape.type, m.choice_of(matrix));
  if (wanted == 0 || matrix.next == nullptr) return;
  const Matrix* const next[] = {matrix.next, matrix.next->next};
  const bool pair = next[0]->role == next[1]->role && next[0] != &matrix && next[1] != &matrix;
  double bytes = 0;
  for (int i = 0; i < (pair ? 2 : 1); ++i) bytes += static_cast<double>(next[i]->shape.bytes());
  for (int i = 0; i < (pair ? 2 : 1); ++i) {
    const GemvTuning& tuning = next[i]->run_groups > 1 ? next[i]->normed[0] : next[i]->plain[0];
    NextWeights& to = params.next[i];
    to.data = next[i]->data;
    to.n_pieces = tuning.n_blocks * tuning.n_warps;
    to.stride = next[i]->shape.bytes() / to.n_pieces / 16 * 16;
    const double share = static_cast<double>(next[i]->shape.bytes()) / bytes;
    const auto of_piece = static_cast<uint64_t>(share * wanted * m.device.n_sm / to.n_pieces);
    to.bytes = u32(std::min(of_piece / 16 * 16, to.stride));
    if (to.bytes == 0) to = {};
  }
}

// Rows r .. r + n of a product.
GemvParams row_params(const Product& product, const Matrix& matrix, uint64_t r, uint64_t n, const Machine& m) {
  GemvParams params{.weights = matrix.data,
                    .n_tokens = u32(n),
                    .x = m.value(product.x) + r * m.width(product.x),
                    .x_quantized = m.quantized_row(product.x, r),
                    .norm = m.vector(product.norm),
                    .eps = product.eps};
  for (int i = 0; i < product.n_parts; ++i) {
    const Part& part = product.part[static_cast<size_t>(i)];
    const uint64_t width = m.width(part.out);
    params.part[i] = {m.value(part.out) + r * width, m.vector(part.bias), u32(width)};
    if (product.residual) params.residual = m.value(product.residual) + r * width;
  }
  set_next(matrix, m, params);
  return params;
}

GemvParams gate_up_params(const NormGateUp& op, const Matrix& matrix, uint64_t r, uint64_t n, const Machine& m) {
  const uint64_t width = m.width(op.out);
  GemvParams params{.weights = matrix.data,
                    .n_tokens = u32(n),
                    .x = m.value(op.x) + r * m.width(op.x),
                    .norm = m.vector(op.norm),
                    .eps = op.eps,
                    .gate_up = true,
                    .act = op.act,
                    .out_quantized = m.quantized_row(op.out, r)};
  params.part[0] = {m.value(op.out) + r * width, m.vector(op.b_gate), u32(width)};
  params.part[1] = {nullptr, m.vector(op.b_up), 0};
  set_next(matrix, m, params);
  return params;
}

void run_product(const Product& product, Machine& m) {
  const uint64_t rows = m.rows(product.x);
  if (rows == 0) return;
  const Matrix& matrix = m.matrix(product.key());
  if (m.is_large(rows)) return run_dense_product(product, matrix, m);
  const bool norm{product.norm};
  for_each_launch(matrix, norm, rows, [&](uint64_t r, uint64_t n) {
    launch_gemv(m.queue, matrix.shape, matrix.tuning(norm, n), row_params(product, matrix, r, n, m));
  });
}

void tape_product(const Product& product, const Machine& m, StreamTape& t) {
  const Matrix& matrix = m.matrix(product.key());
  t.add_product(matrix.shape, row_params(product, matrix, 0, 1, m), product.part[0].out == m.program->logits);
}

void run_pair(const Product& first, const Product& second, Machine& m) {
  const Matrix &a = m.matrix(first.key()), &b = m.matrix(second.key());
  const GemvPairTuning tuning = tune_gemv_pair(a.shape, b.shape, bool{first.norm}, m.device, m.choice_of(a));
  GemvPairParams params{.first = row_params(first, a, 0, 1, m), .second = row_params(second, b, 0, 1, m)};
  std::ranges::copy(params.second.next, params.first.next);  // the first matrix has most of the blocks
  std::ranges::fill(params.second.next, NextWeights{});
  launch_gemv_pair(m.queue, a.shape, b.shape, tuning, params);
}

}  // namespace

PackedShape matrix_shape(const MatrixKey& key, const Tables& tables) {
  if (key.experts) return expert_shape(tables[WeightId{key.weights.front()}], key.gate_up).packed;
  uint64_t rows = 0;
  for (const int32_t w : key.weights) rows += tables[WeightId{w}].shape.rows();
  const WeightInfo& first = tables[WeightId{key.weights.front()}];
  // Gate and up rows go in pairs.
  if (key.gate_up) rows = 2 * round_up(first.shape.rows(), 2);
  return packed_shape(first.type, rows, first.shape.cols());
}

bool supports(const Linear& op, const Tables& t) { return packs(op.w, t) && decodes(op.bias, t); }
void plan(const Linear& op, Planner& p) { plan_product(product_of(op), p); }
void run(const Linear& op, Machine& m) { run_product(product_of(op), m); }
void tape(const Linear& op, const Machine& m, StreamTape& t) { tape_product(product_of(op), m, t); }

bool supports(const LinearAdd& op, const Tables& t) { return packs(op.w, t) && decodes(op.bias, t); }
void plan(const LinearAdd& op, Planner& p) { plan_product(product_of(op), p); }
void run(const LinearAdd& op, Machine& m) { run_product(product_of(op), m); }
void tape(const LinearAdd& op, const Machine& m, StreamTape& t) { tape_product(product_of(op), m, t); }

bool supports(const NormLinear& op, const Tables& t) {
  return decodes(op.norm, t) && std::ranges::all_of(op.parts(), [&](const NormLinear::Part& p) {
           return packs(p.w, t) && decodes(p.bias, t);
         });
}
void plan(const NormLinear& op, Planner& p) {
  for_each_product(op, p.tables(), [&](const Product& product) { plan_product(product, p); });
}
void run(const NormLinear& op, Machine& m) {
  std::array<Product, NormLinear::kMaxParts> products;
  size_t n = 0;
  for_each_product(op, m.tables(), [&](const Product& product) { products[n++] = product; });
  const auto type = [&](size_t i) { return m.tables()[products[i].part[0].w].type; };
  if (n == 2 && m.rows(op.x) == 1 && gemv_pair_supports(type(0), type(1))) return run_pair(products[0], products[1], m);
  for (size_t i = 0; i < n; ++i) run_product(products[i], m);
}
void tape(const NormLinear& op, const Machine& m, StreamTape& t) {
  for_each_product(op, m.tables(), [&](const Product& product) { tape_product(product, m, t); });
}

bool supports(const NormGateUp& op, const Tables& t) {
  return t[op.w_gate].type == t[op.w_up].type && packs(op.w_gate, t) && packs(op.w_up, t) && decodes(op.norm, t) &&
         decodes(op.b_gate, t) && decodes(op.b_up, t);
}
void plan(const NormGateUp& op, Planner& p) {
  for (const WeightId w : {op.norm, op.b_gate, op.b_up}) p.vector(w);
  const MatrixKey key = gate_up_key(op);
  p.matrix(key, p.quantized[static_cast<size_t>(op.out.index)] ? kQuantizedGroups : 1);
  const PackedShape shape = matrix_shape(key, p.tables());
  const uint64_t max_rows = p.max_rows(op.x);
  plan_dense(p, key, max_rows);
  if (max_rows > kMaxGemvRows)
    p.wide_bytes = std::max(p.wide_bytes, max_rows * kGroupRows * shape.n_groups() * sizeof(float));
}
void run(const NormGateUp& op, Machine& m) {
  const uint64_t rows = m.rows(op.x), width = m.width(op.out);
  if (rows == 0) return;
  const Matrix& matrix = m.matrix(gate_up_key(op));
  if (m.is_large(rows)) {
    const uint64_t stride = kGroupRows * matrix.shape.n_groups();
    const void* const x = dense_x(m, matrix.shape, op.x, op.norm, op.eps);
    run_dense(m, matrix, stride, {.x = x, .n_rows = rows, .out = m.wide, .out_stride = stride});
    launch_gate_up_act(m.queue, u32(rows), m.rounded_type(op.out),
                       {.x = m.wide,
                        .b_gate = m.vector(op.b_gate),
                        .b_up = m.vector(op.b_up),
                        .out = m.value(op.out),
                        .width = u32(width),
                        .x_stride = u32(stride),
                        .out_stride = u32(width),
                        .act = op.act});
    return;
  }
  for_each_launch(matrix, true, rows, [&](uint64_t r, uint64_t n) {
    launch_gemv(m.queue, matrix.shape, matrix.tuning(true, n), gate_up_params(op, matrix, r, n, m));
  });
}
void tape(const NormGateUp& op, const Machine& m, StreamTape& t) {
  const Matrix& matrix = m.matrix(gate_up_key(op));
  t.add_product(matrix.shape, gate_up_params(op, matrix, 0, 1, m), false);
}

}  // namespace stretto::cuda
