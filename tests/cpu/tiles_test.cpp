// The tile kernels of every weight encoding and instruction set against the scalar definition on the same operands.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "base/checked.h"
#include "base/error.h"
#include "cpu/kernels.h"
#include "cpu/packed.h"
#include "formats/formats.h"
#include "ops/case_builder.h"

namespace stretto::cpu {
namespace {

// Vectors and weight rows of one width, in both forms of the vectors.
struct Operands {
  DType type;
  uint64_t n_in, n_rows;
  std::vector<std::byte> rows;
  std::vector<std::vector<float>> x;
  std::vector<std::byte> quantized;
  std::byte* aligned = nullptr;

  Operands(DType type, uint64_t n_in, uint64_t n_rows, float spread, uint64_t n_vectors = kWideTile)
      : type(type), n_in(n_in), n_rows(n_rows) {
    std::mt19937 rng(static_cast<uint32_t>(n_in * 31 + n_rows));
    rows = test::random_bytes(type, n_rows, n_in, rng);
    rows.insert(rows.begin(), std::byte{0});
    std::normal_distribution<float> normal(0.3F, spread);
    x.assign(n_vectors, std::vector<float>(n_in));
    for (auto& v : x)
      for (float& f : v) f = normal(rng);
    if (!has_integer_dot(type)) return;
    quantized.resize(n_vectors * operand_bytes(n_in) + 64);
    aligned = quantized.data() + (64 - reinterpret_cast<uintptr_t>(quantized.data()) % 64) % 64;
    quantize_all();
  }
  void quantize_all() {
    for (uint64_t t = 0; t < x.size(); ++t) {
      std::byte* const memory = aligned + t * operand_bytes(n_in);
      quantize_activation(x[t].data(), activation_row(memory, n_in));
      set_operand_offsets(memory, n_in, 0, n_in / kActivationBlock);
    }
  }
  const std::byte* vector(uint64_t t) const {
    if (aligned == nullptr) return reinterpret_cast<const std::byte*>(x[t].data());
    return aligned + t * operand_bytes(n_in);
  }
  const std::byte* row(uint64_t r) const { return rows.data() + 1 + r * row_bytes(type, n_in); }
};

struct Expected {
  double dot = 0;
  double magnitude = 0;  // sum of |w x|
};

Expected expected(const Operands& o, uint64_t r, uint64_t t) {
  std::vector<float> w(o.n_in);
  decode_row(o.type, o.row(r), o.n_in, w.data());
  Expected e;
  for (uint64_t i = 0; i < o.n_in; ++i) {
    double x = o.x[t][i];
    if (o.aligned != nullptr) {
      const ActivationView v = activation_view(o.vector(t), o.n_in);
      x = static_cast<double>(v.scale[i / kActivationBlock]) * v.q[i];
    }
    e.dot += w[i] * x;
    e.magnitude += std::fabs(w[i] * x);
  }
  return e;
}

std::vector<std::vector<float>> run_rows(const Operands& o, const std::byte* rows, TileKernel kernel, int n,
                                         Later* later = nullptr) {
  std::vector<std::vector<float>> out(kWideTile, std::vector<float>(o.n_rows, NAN));
  const std::byte* x[kWideTile];
  float* results[kWideTile];
  for (int t = 0; t < n; ++t) {
    x[t] = o.vector(static_cast<uint64_t>(t));
    results[t] = out[static_cast<size_t>(t)].data();
  }
  kernel({.rows = rows,
          .row_bytes = row_bytes(o.type, o.n_in),
          .n_rows = o.n_rows,
          .n_in = o.n_in,
          .x = x,
          .out = results,
          .n = n,
          .later = later,
          .later_row = kGroupRows});
  return out;
}

std::vector<std::vector<float>> run(const Operands& o, TileKernel kernel, int n) {
  return run_rows(o, o.row(0), kernel, n);
}

// The rows of `o` packed into groups.
std::vector<std::byte> pack(const Operands& o) {
  const uint64_t bytes = kGroupRows * row_bytes(o.type, o.n_in);
  std::vector<std::byte> out(div_up(o.n_rows, kGroupRows) * bytes, std::byte{0x5a});
  for (uint64_t first = 0; first < o.n_rows; first += kGroupRows) {
    const std::byte* rows[kGroupRows] = {};
    for (uint64_t r = first; r < std::min(first + kGroupRows, o.n_rows); ++r) rows[r - first] = o.row(r);
    pack_group(o.type, rows, o.n_in, out.data() + first / kGroupRows * bytes);
  }
  return out;
}

// The reference results, and the same for every number of vectors.
void expect_packed_results(const Operands& o, TileKernel kernel) {
  const std::vector<std::byte> packed = pack(o);
  const auto all = run_rows(o, packed.data(), kernel, kWideTile);
  for (uint64_t t = 0; t < kWideTile; ++t)
    for (uint64_t r = 0; r < o.n_rows; ++r) {
      const Expected e = expected(o, r, t);
      EXPECT_NEAR(all[t][r], e.dot, 1e-6 * e.magnitude) << name(o.type) << ' ' << o.n_in << " row " << r;
    }
  for (int n = 1; n < kWideTile; ++n) {
    const auto some = run_rows(o, packed.data(), kernel, n);
    for (int t = 0; t < n; ++t) EXPECT_EQ(some[static_cast<size_t>(t)], all[static_cast<size_t>(t)]) << name(o.type);
  }
  Later later;
  later.add(packed.data(), packed.size());
  EXPECT_EQ(run_rows(o, packed.data(), kernel, 1, &later)[0], all[0]) << name(o.type) << " fetching beside the rows";
}

constexpr Fetch kFetches[] = {Fetch::kAscending, Fetch::kPagesInTurn};
constexpr DType kPackedTypes[] = {DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

class Tiles : public testing::TestWithParam<Isa> {};

TEST(Later, GivesItsPiecesInOrderAndHasABound) {
  const std::vector<std::byte> memory(1 << 20);
  Later later;
  EXPECT_EQ(later.take(64), nullptr);
  later.add(memory.data() + 4096, 100);
  later.add(memory.data(), 64);
  EXPECT_EQ(later.bytes(), 164);
  EXPECT_EQ(later.take(64), memory.data() + 4096);
  EXPECT_EQ(later.take(64), memory.data() + 4096 + 64);
  EXPECT_EQ(later.take(640), memory.data());
  EXPECT_EQ(later.take(64), nullptr);
  for (int i = 0; i < 100; ++i) later.add(memory.data(), memory.size() / 100);
  EXPECT_LE(later.bytes(), 192U << 10);
  later.clear();
  EXPECT_EQ(later.take(64), nullptr);
}

TEST_P(Tiles, EqualTheScalarDotOfTheSameOperands) {
  std::vector<DType> types;
  for (int i = 0; i <= static_cast<int>(DType::kMXFP4); ++i)
    if (has_format(static_cast<DType>(i))) types.push_back(static_cast<DType>(i));
  ASSERT_EQ(types.size(), std::tuple_size_v<Formats>);
  for (const DType type : types) {
    const uint64_t block = info(type).block_elements;
    for (const uint64_t blocks : {1, 2, 3, 5, 16}) {
      const Operands o(type, block == 1 ? 13 * blocks : block * blocks, 6, blocks == 5 ? 40.0F : 1.0F);
      const auto all = run(o, tile_kernel(type, GetParam()), kTile);
      for (uint64_t t = 0; t < kTile; ++t)
        for (uint64_t r = 0; r < o.n_rows; ++r) {
          const Expected e = expected(o, r, t);
          EXPECT_NEAR(all[t][r], e.dot, 1e-6 * e.magnitude) << name(type) << ' ' << o.n_in << " row " << r;
        }
      // Neither the number of vectors nor that of rows changes a result.
      for (int n = 1; n < kTile; ++n) {
        const auto some = run(o, tile_kernel(type, GetParam()), n);
        for (int t = 0; t < n; ++t) EXPECT_EQ(some[static_cast<size_t>(t)], all[static_cast<size_t>(t)]) << name(type);
      }
      Operands fewer(type, o.n_in, 6, blocks == 5 ? 40.0F : 1.0F);
      fewer.n_rows = 1;
      EXPECT_EQ(run(fewer, tile_kernel(type, GetParam()), 1)[0][0], all[0][0]) << name(type);
    }
  }
}

TEST_P(Tiles, PackedRowsEqualTheScalarDotOfTheSameOperands) {
  int n_kernels = 0;
  for (const DType type : kPackedTypes)
    for (const Fetch fetch : kFetches) {
      const TileKernel kernel = packed_tile_kernel(type, GetParam(), fetch);
      if (kernel == nullptr) continue;
      ++n_kernels;
      for (const uint64_t blocks : {1, 2, 3, 5})
        for (const uint64_t n_rows : {16, 19, 32})
          expect_packed_results(Operands(type, info(type).block_elements * blocks, n_rows, blocks == 5 ? 40.0F : 1.0F),
                                kernel);
    }
  const bool has_avx2 = GetParam().target == HWY_AVX2 || GetParam().target == HWY_AVX3;
  EXPECT_EQ(n_kernels, has_avx2 ? 8 : 0);
}

// Vectors order[0], order[1], ... of `o`.
std::vector<std::vector<float>> run_in_order(const Operands& o, const std::byte* rows, TileKernel kernel,
                                             const std::vector<uint64_t>& order) {
  std::vector<std::vector<float>> out(order.size(), std::vector<float>(o.n_rows + 1, -7.0F));
  std::vector<const std::byte*> x;
  std::vector<float*> results;
  for (size_t i = 0; i < order.size(); ++i) {
    x.push_back(o.vector(order[i]));
    results.push_back(out[i].data());
  }
  kernel({.rows = rows,
          .row_bytes = row_bytes(o.type, o.n_in),
          .n_rows = o.n_rows,
          .n_in = o.n_in,
          .x = x.data(),
          .out = results.data(),
          .n = static_cast<int>(order.size())});
  return out;
}

// The bits of a vector do not depend on how many share its step: those of many in one call are those of each alone.
void expect_many_like_single(const Operands& o, TileKernel many, TileKernel few) {
  const std::vector<std::byte> packed = pack(o);
  std::vector<std::vector<float>> single;
  for (uint64_t t = 0; t < o.x.size(); ++t) single.push_back(run_in_order(o, packed.data(), few, {t})[0]);
  for (const uint64_t n : {kLeastMany, kLeastMany + 1, uint64_t{47}, uint64_t{48}, o.x.size()}) {
    if (n > o.x.size()) continue;
    std::vector<uint64_t> order(n);
    std::iota(order.begin(), order.end(), uint64_t{0});
    for (const bool scattered : {false, true}) {
      if (scattered) std::shuffle(order.begin(), order.end(), std::mt19937(static_cast<uint32_t>(n)));
      const auto got = run_in_order(o, packed.data(), many, order);
      for (uint64_t i = 0; i < n; ++i)
        EXPECT_EQ(got[i], single[order[i]]) << name(o.type) << ' ' << o.n_in << " vector " << i << " of " << n;
    }
  }
}

TEST_P(Tiles, KernelsOfManyVectorsGiveTheBitsOfOne) {
  int n_kernels = 0;
  for (const DType type : kPackedTypes) {
    const TileKernel many = many_tile_kernel(type, GetParam());
    if (many == nullptr) continue;
    ++n_kernels;
    const TileKernel few = packed_tile_kernel(type, GetParam(), Fetch::kAscending);
    for (const uint64_t blocks : {1, 3, 11})
      for (const uint64_t n_rows : {5, 16, 35, 64, 80, 144})
        expect_many_like_single(Operands(type, info(type).block_elements * blocks, n_rows, blocks == 3 ? 40.0F : 1.0F,
                                         n_rows == 16 ? kManyVectors : 50),
                                many, few);
  }
  EXPECT_EQ(n_kernels, GetParam().amx ? 3 : 0);
}

TEST(Isa, AmxIsListedOrSaysWhyNot) {
  const std::vector<Isa> isas = supported_isas();
  const bool listed = std::ranges::any_of(isas, [](const Isa& isa) { return isa.amx; });
  EXPECT_EQ(listed, amx_problem().empty()) << amx_problem();
  EXPECT_EQ(choose_isa("").name, isas.front().name);
  if (!listed) {
    EXPECT_THROW(choose_isa("avx512-amx"), Error);
  }
}

TEST_P(Tiles, KernelsOfPackedRowsStopBetweenGroupsWhenAsked) {
  const TileKernel kernel = packed_tile_kernel(DType::kQ4_K, GetParam(), Fetch::kPagesInTurn);
  if (kernel == nullptr) GTEST_SKIP() << "no packed rows";
  constexpr uint64_t kRows = 5 * kGroupRows, kIn = 256;
  const Operands o(DType::kQ4_K, kIn, kRows, 1.0F);
  const uint64_t bytes = row_bytes(DType::kQ4_K, kIn);
  std::vector<std::byte> packed(kRows * bytes, std::byte{0x11});
  std::vector<float> all(kRows), some(kRows, -1.0F);
  const std::byte* const x = o.aligned;
  float* out = all.data();
  std::atomic<uint32_t> asked{0};
  uint64_t n_done = kRows;
  Tile tile{.rows = packed.data(), .row_bytes = bytes, .n_rows = kRows, .n_in = kIn, .x = &x, .out = &out, .n = 1};
  tile.interrupt = &asked;
  tile.n_done = &n_done;
  kernel(tile);
  EXPECT_EQ(n_done, kRows);  // nobody has asked
  asked = 1;
  out = some.data();
  kernel(tile);
  EXPECT_EQ(n_done, 2 * kGroupRows);
  EXPECT_EQ(std::memcmp(some.data(), all.data(), n_done * sizeof(float)), 0);
  EXPECT_EQ(std::count(some.begin(), some.end(), -1.0F), static_cast<int64_t>(kRows - n_done));
}

TEST_P(Tiles, ExtremeCodesDoNotSaturate) {
  // All activations at +-127 and all code bits set: the largest integer sums of every encoding.
  for (int i = 0; i <= static_cast<int>(DType::kMXFP4); ++i) {
    const auto type = static_cast<DType>(i);
    if (!has_integer_dot(type)) continue;
    for (const int byte : {0x00, 0x80, 0xff}) {
      Operands o(type, 512, 16, 1.0F, kLeastMany);
      visit_format(type, [&](auto format) {
        using F = decltype(format);
        for (uint64_t b = 0; b < o.n_rows * 512 / F::kBlockElements; ++b) {
          auto& block = as_blocks<F>(o.rows.data() + 1)[b];
          auto bytes = block;
          std::memset(&bytes, byte, sizeof bytes);
          // Keep the scales of the random block, replace its codes.
          if constexpr (requires { block.qs; }) std::memcpy(&block.qs, &bytes.qs, sizeof block.qs);
          if constexpr (requires { block.ql; }) std::memcpy(&block.ql, &bytes.ql, sizeof block.ql);
          if constexpr (requires { block.qh; }) std::memcpy(&block.qh, &bytes.qh, sizeof block.qh);
          if constexpr (requires { block.hmask; }) std::memcpy(&block.hmask, &bytes.hmask, sizeof block.hmask);
          if constexpr (requires { block.scales; }) std::memcpy(&block.scales, &bytes.scales, sizeof block.scales);
        }
      });
      for (uint64_t t = 0; t < o.x.size(); ++t)
        for (float& f : o.x[t]) f = t % 2 == 0 ? 127.0F : -127.0F;
      o.quantize_all();
      for (const Fetch fetch : kFetches)
        if (const TileKernel packed = packed_tile_kernel(type, GetParam(), fetch); packed != nullptr)
          expect_packed_results(o, packed);
      const TileKernel few = packed_tile_kernel(type, GetParam(), Fetch::kAscending);
      if (const TileKernel many = many_tile_kernel(type, GetParam()); many != nullptr)
        expect_many_like_single(o, many, few);
      const auto out = run(o, tile_kernel(type, GetParam()), kTile);
      for (uint64_t t = 0; t < kTile; ++t) {
        const Expected e = expected(o, 1, t);
        EXPECT_NEAR(out[t][1], e.dot, 1e-6 * e.magnitude) << name(type) << ' ' << byte;
      }
    }
  }
}

TEST_P(Tiles, QuantisationEqualsTheReferenceBitForBit) {
  const VectorKernels vec = vector_kernels(GetParam());
  std::mt19937 rng(3);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> x(32 * 62);
  for (float& f : x) f = normal(rng);
  std::fill_n(x.begin() + 32, 32, 0.0F);
  for (int i = 0; i < 32; ++i) x[64 + static_cast<size_t>(i)] = static_cast<float>(i) - 15.5F;  // exact halves
  x[64] = 127;
  x[100] = NAN;
  x[140] = -INFINITY;
  x[170] = 3e38F;
  std::fill_n(x.begin() + 192, 32, 1e-42F);  // the inverse of the scale overflows
  // Sixteen blocks at once: 12 .. 27 are finite, zeros and exact halves among them, 28 .. 43 are not.
  std::copy_n(x.begin() + 32, 64, x.begin() + 32 * 14);
  x[32 * 14 + 32] = 15.5F;
  std::copy_n(x.begin(), 32 * 12, x.begin() + 32 * 30);
  Operands expected(DType::kQ8_0, x.size(), 1, 1), actual(DType::kQ8_0, x.size(), 1, 1);
  const ActivationRow a = activation_row(expected.aligned, x.size()), b = activation_row(actual.aligned, x.size());
  quantize_activation(x.data(), a);
  vec.quantize(x.data(), x.size(), actual.aligned, 0, 5);
  vec.quantize(x.data(), x.size(), actual.aligned, 5, 7);
  vec.quantize(x.data(), x.size(), actual.aligned, 12, 50);
  EXPECT_EQ(std::memcmp(a.q, b.q, x.size()), 0);
  EXPECT_EQ(std::memcmp(a.scale, b.scale, x.size() / 32 * 4), 0);
  EXPECT_EQ(std::memcmp(a.sum, b.sum, x.size() / 32 * 4), 0);
  EXPECT_EQ(std::memcmp(a.half_sum, b.half_sum, x.size() / 16 * 4), 0);
  set_operand_offsets(expected.aligned, x.size(), 0, x.size() / 32);
  const Operand with = operand_view(expected.aligned, x.size()), from = operand_view(actual.aligned, x.size());
  EXPECT_EQ(std::memcmp(with.offset128, from.offset128, x.size() / 32 * 4), 0);
  EXPECT_EQ(std::memcmp(with.offset32, from.offset32, x.size() / 16 * 4), 0);
}

TEST_P(Tiles, TheCacheIsRoundedLikeTheScalarConversion) {
  std::vector<float> x;
  for (uint32_t bits = 0; bits < 0xff000000u; bits += 0x000fe789u) {  // all signs and exponents, no NaN
    const float f = std::bit_cast<float>(bits);
    if (!std::isnan(f)) x.push_back(f);
  }
  for (int i = -40; i < 40; ++i) x.push_back(std::ldexp(1 + 0x1p-11F, i));  // halfway between two binary16 values
  x.push_back(65520.0F);
  ASSERT_GT(x.size(), 4000u);
  std::vector<uint16_t> out(x.size());
  attention_kernels(DType::kF16, GetParam()).store(x.data(), x.size(), reinterpret_cast<std::byte*>(out.data()));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(out[i], f32_to_f16(x[i])) << x[i];
  attention_kernels(DType::kBF16, GetParam()).store(x.data(), x.size(), reinterpret_cast<std::byte*>(out.data()));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(out[i], f32_to_bf16(x[i])) << x[i];
}

INSTANTIATE_TEST_SUITE_P(Isa, Tiles, testing::ValuesIn(supported_isas()), [](const auto& info) {
  std::string name(info.param.name);
  for (char& c : name)
    if (c == '-') c = '_';
  return name;
});

}  // namespace
}  // namespace stretto::cpu
