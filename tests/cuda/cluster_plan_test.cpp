// How layers are divided among clusters; needs no device.
#include <gtest/gtest.h>

#include <functional>

#include "cuda/clusters.h"

namespace stretto::test {
namespace {

using cuda::ClusterParams;
using cuda::ClusterProduct;
using cuda::ClusterShare;
using cuda::StreamKind;
using cuda::StreamLinear;
using cuda::StreamPhase;
using cuda::StreamTape;

struct Sizes {
  DType type = DType::kQ8_0;
  uint32_t n_layers = 2, d = 1024, n_heads = 16, n_kv_heads = 8, head_dim = 128, n_ff = 3072;
};

// A tape of dense layers; vectors are places in one array.
class Tape {
 public:
  explicit Tape(const Sizes& s) : s_(s), places_(16) {
    tape_.n_blocks = 132;
    tape_.stage_bytes = 2304;
    tape_.add(StreamKind::kEmbed).embed = {.type = s.type, .row = {.out = vector(0)}};
    for (uint32_t i = 0; i < s.n_layers; ++i) add_layer();
    StreamLinear& head = add_product({vector(0)}, {1000}, s.d);
    head.norm = vector(15);
    head.is_head = true;
  }
  StreamTape& tape() { return tape_; }

 private:
  float* vector(size_t i) { return places_.data() + i; }
  StreamLinear& add_product(std::vector<float*> to_and_from, std::vector<uint32_t> rows, uint32_t n_in) {
    StreamLinear& l = tape_.add(StreamKind::kLinear).linear;
    l.x = to_and_from[0];
    l.n_in = n_in;
    l.n_products = 1;
    l.eps = 1e-6F;
    l.product[0].type = s_.type;
    l.product[0].n_parts = static_cast<uint32_t>(rows.size());
    for (size_t i = 0; i < rows.size(); ++i)
      l.part[i] = {i + 1 < to_and_from.size() ? to_and_from[i + 1] : nullptr, nullptr, rows[i]};
    return l;
  }
  void add_layer() {
    const uint32_t q = s_.n_heads * s_.head_dim, kv = s_.n_kv_heads * s_.head_dim;
    add_product({vector(0), vector(1), vector(2), vector(3)}, {q, kv, kv}, s_.d).norm = vector(15);
    StreamPhase& attention = tape_.add(StreamKind::kAttention);
    attention.attention = {.q = vector(1), .k = vector(2), .v = vector(3), .out = vector(4)};
    attention.attention.n_heads = s_.n_heads;
    attention.attention.n_kv_heads = s_.n_kv_heads;
    attention.attention.head_dim = s_.head_dim;
    attention.attention.rows.n_pairs = s_.head_dim / 2;
    add_product({vector(4), vector(5)}, {s_.d}, q).residual = vector(0);
    StreamLinear& gate_up = add_product({vector(5), vector(6)}, {s_.n_ff}, s_.d);
    gate_up.norm = vector(15);
    gate_up.gate_up = true;
    add_product({vector(6), vector(0)}, {s_.d}, s_.n_ff).residual = vector(5);
  }

  const Sizes s_;
  std::vector<float> places_;
  StreamTape tape_;
};

constexpr cuda::DeviceShape kDevice{.n_sm = 132, .shared_bytes_per_sm = 233'472, .shared_bytes_per_block = 232'448};

std::string problem_of(Tape& tape, uint32_t n_clusters, ClusterParams& params) {
  const cuda::FillRopeParams rope{};
  std::vector<cuda::ClusterLayer> layers;
  return plan_clusters(tape.tape(), &rope, 1, kDevice, n_clusters, {}, params, layers);
}

// Rows and columns that a product has room for.
uint32_t columns(const ClusterProduct& p, DType type) { return p.n_steps * p.lanes * (type == DType::kQ8_0 ? 16 : 8); }

TEST(ClusterPlan, SharesCoverEveryHeadActivationRowAndColumn) {
  for (const uint32_t n_clusters : {4, 5, 7, 8})
    for (const Sizes& s : {Sizes{}, Sizes{.type = DType::kF16},
                           Sizes{.type = DType::kBF16, .n_heads = 10, .n_kv_heads = 10, .n_ff = 1504},
                           Sizes{.d = 2048, .n_heads = 8, .n_kv_heads = 2, .head_dim = 64, .n_ff = 256}}) {
      Tape tape(s);
      ClusterParams params;
      ASSERT_EQ(problem_of(tape, n_clusters, params), "");
      const cuda::ClusterShape& shape = params.shape;
      EXPECT_EQ(shape.n_layers, s.n_layers);
      uint32_t kv = 0, runs = 0;
      uint64_t begin = 0, most = 0, least = UINT64_MAX;
      for (uint32_t c = 0; c < n_clusters; ++c) {
        const ClusterShare& share = shape.share[c];
        EXPECT_EQ(share.first_kv, kv);
        EXPECT_EQ(share.first_run, runs);
        EXPECT_EQ(share.begin, begin);
        EXPECT_GT(share.n_runs, 0U);
        EXPECT_EQ(share.n_kv > 0, c < shape.n_attending);
        kv += share.n_kv;
        runs += share.n_runs;
        begin += 16 * s.n_layers * share.layer_bytes;
        most = std::max(most, share.layer_bytes);
        least = std::min(least, share.layer_bytes);
        const uint32_t per_kv = s.n_heads / s.n_kv_heads;
        EXPECT_EQ(16 * 4 * share.qkv.n_groups, share.n_kv * (per_kv + 2) * s.head_dim);
        EXPECT_EQ(16 * 4 * share.gate_up.n_groups, 2 * 32 * share.n_runs);
        EXPECT_EQ(16 * 4 * share.down.n_groups, s.d);
        EXPECT_GE(columns(share.gate_up, s.type), s.d);
        EXPECT_GE(columns(share.down, s.type), 32 * share.n_runs);
        EXPECT_LE(columns(share.down, s.type), params.at.n_acted);
        EXPECT_LE(columns(share.out, s.type), params.at.n_attended);
        EXPECT_GE(columns(share.out, s.type), share.n_kv * per_kv * s.head_dim);
        for (const ClusterProduct* p : {&share.qkv, &share.out, &share.gate_up, &share.down}) {
          EXPECT_LE(p->n_groups * p->lanes, 512U);
          // What the kernel's sums are made for.
          EXPECT_TRUE(p->n_groups == 0 || p->lanes >= (s.type == DType::kQ8_0 ? 4U : 16U));
        }
      }
      EXPECT_EQ(kv, s.n_kv_heads);
      EXPECT_EQ(runs, s.n_ff / 32);
      EXPECT_EQ(shape.bytes(), begin);
      EXPECT_LE(params.at.bytes, kDevice.shared_bytes_per_block);
      EXPECT_GE(params.at.n_stages, 2U);
      // Qwen3-0.6B: what the blocks read is balanced to a few percent, and little of it fills up rows.
      if (s.n_ff != 3072) continue;
      EXPECT_LT(static_cast<double>(most), 1.25 * static_cast<double>(least)) << n_clusters;
    }
}

TEST(ClusterPlan, OtherLayersAreRefusedByName) {
  const auto refused = [](const Sizes& s, const std::function<void(StreamTape&)>& change, const char* why) {
    Tape tape(s);
    change(tape.tape());
    ClusterParams params;
    const std::string problem = problem_of(tape, 7, params);
    EXPECT_NE(problem.find(why), std::string::npos) << "got: " << problem << ", wanted: " << why;
  };
  const float bias = 0;
  const auto nothing = [](StreamTape&) {};
  refused({.type = DType::kQ4_K}, nothing, "weights of");
  refused({.d = 1000}, nothing, "vectors of 1000");
  refused({.d = 4096}, nothing, "vectors of 4096");
  refused({.type = DType::kF16, .d = 2048, .n_ff = 8192}, nothing, "layers of 1");
  refused({.n_layers = 49}, nothing, "49 layers");
  refused({.n_ff = 96}, nothing, "96 activations");
  refused(
      {}, [&](StreamTape& t) { t.phases[1].linear.part[1].bias = &bias; }, "products of one format");
  refused(
      {}, [](StreamTape& t) { t.phases[3].linear.product[0].type = DType::kF16; }, "products of one format");
  refused(
      {}, [](StreamTape& t) { t.phases[2].attention.window = 128; }, "attention of another form");
  refused(
      {}, [](StreamTape& t) { t.phases[2].attention.rows.n_pairs = 32; }, "attention of another form");
  refused(
      {}, [](StreamTape& t) { t.phases[4].linear.x = t.phases[1].linear.x; }, "layers of another form");
  refused(
      {}, [](StreamTape& t) { t.phases[10].linear.n_in = 1536; }, "layers of another form");
  refused(
      {}, [](StreamTape& t) { t.phases[7].attention.scale = 2; }, "layers that differ");
  refused(
      {}, [](StreamTape& t) { t.phases.back().linear.norm = nullptr; }, "a head of another form");
  refused(
      {}, [](StreamTape& t) { t.phases.pop_back(); }, "form");
  Tape large({.type = DType::kF16, .d = 2048, .n_ff = 3072});
  ClusterParams params;
  EXPECT_NE(problem_of(large, 4, params).find("stages of a layer"), std::string::npos) << problem_of(large, 4, params);
  Tape tape({});
  EXPECT_NE(problem_of(tape, 3, params).find("on this device"), std::string::npos);
}

}  // namespace
}  // namespace stretto::test
