#include "swap_suite_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <random>

#include "base/check.h"

namespace stretto::app {
namespace {

constexpr uint16_t kOne = 0x3f80;       // 1 in BF16
constexpr uint64_t kNormals = 1 << 20;  // different random weights
constexpr uint64_t kStagger = 977;      // elements between the begins of tensors in the pool
constexpr float kDeviation = 0.02F;     // as training starts

uint16_t to_bf16(float v) { return static_cast<uint16_t>((std::bit_cast<uint32_t>(v) + 0x8000U) >> 16); }

// n random weights: a run of them again and again, each time from another place on.
std::vector<uint16_t> random_weights(uint64_t n) {
  std::mt19937_64 random(7);
  std::normal_distribution<float> normal(0, kDeviation);
  std::vector<uint16_t> run(kNormals), out;
  for (uint16_t& w : run) w = to_bf16(normal(random));
  out.reserve(n);
  while (out.size() < n) {
    const uint64_t begin = random() % (kNormals / 2), count = std::min(kNormals - begin, n - out.size());
    out.insert(out.end(), run.begin() + static_cast<int64_t>(begin), run.begin() + static_cast<int64_t>(begin + count));
  }
  return out;
}

class RandomSwapModel : public Checkpoint {
 public:
  explicit RandomSwapModel(const SwapShape& s) : ones_(s.d_model * s.n_events, kOne) {
    container_ = Container::kHuggingFace;
    path_ = "random weights";
    describe(s);
    list(s);
    uint64_t most = 0;
    for (const Wanted& w : wanted_) most = std::max(most, w.shape.elements());
    pool_ = random_weights(most + kStagger * wanted_.size());
    for (size_t i = 0; i < wanted_.size(); ++i) {
      const Wanted& w = wanted_[i];
      const uint16_t* const at = w.is_norm ? ones_.data() : pool_.data() + kStagger * i;
      add_tensor({w.name, {DType::kBF16, w.shape, std::as_bytes(std::span(at, w.shape.elements()))}});
    }
  }

 private:
  struct Wanted {
    std::string name;
    Shape shape;
    bool is_norm;
  };

  void describe(const SwapShape& s) {
    metadata_ = Metadata(true);
    const auto number = [&](const char* key, uint64_t v) { metadata_.add(key, {MetaType::kU64, MetaType::kNull, v}); };
    metadata_.add("model_type", MetaValue::string("swap_ffn"));
    number("d_model", s.d_model);
    number("n_layer", s.n_layers);
    number("n_head", s.n_heads);
    number("n_kv_head", s.n_kv_heads);
    number("d_ff", s.d_ff);
    number("vocab_size", s.vocab_size);
    number("n_banks", s.n_banks);
    number("n_events", s.n_events);
    number("k_ffn", s.k_ffn);
    metadata_.add("swap_layers", {MetaType::kArray, MetaType::kU64, s.swap_layers});
    metadata_.add("token_local", MetaValue::boolean(true));
  }

  void add(std::string name, Shape shape) { wanted_.push_back({std::move(name), shape, false}); }
  void norm(std::string name, Shape shape) { wanted_.push_back({std::move(name), shape, true}); }

  void list(const SwapShape& s) {
    const uint64_t d = s.d_model, kv = d / s.n_heads * s.n_kv_heads;
    add("emb.weight", {s.vocab_size, d});
    for (uint64_t l = 0; l < s.n_layers; ++l) {
      const std::string block = fmt::format("blocks.{}.", l);
      norm(block + "n1", {d});
      norm(block + "n2", {d});
      add(block + "qkv.weight", {d + 2 * kv, d});
      add(block + "o.weight", {d, d});
      if (std::ranges::find(s.swap_layers, l) != s.swap_layers.end()) {
        list_module(block + "ffn.", s);
        continue;
      }
      add(block + "w1.weight", {s.d_ff, d});
      add(block + "w3.weight", {s.d_ff, d});
      add(block + "w2.weight", {d, s.d_ff});
    }
    norm("nf", {d});
    add("head.weight", {s.vocab_size, d});
  }
  void list_module(const std::string& ffn, const SwapShape& s) {
    const uint64_t d = s.d_model, e = s.n_events, b = s.n_banks;
    add(ffn + "w1", {b, s.d_ff, d});
    add(ffn + "w3", {b, s.d_ff, d});
    add(ffn + "w2", {b, d, s.d_ff});
    norm(ffn + "event_norm", {e, d});
    add(ffn + "router_w", {e, b, d});
    add(ffn + "router_b", {e, b});
    add(ffn + "switch_w", {e, 6, d});
    add(ffn + "switch_b", {e, 6});
    add(ffn + "read_w", {e, d});
    add(ffn + "read_b", {e});
    norm(ffn + "collapse_norm", {d});
    add(ffn + "collapse_w", {4, d});
    add(ffn + "collapse_b", {4});
  }

  std::vector<Wanted> wanted_;
  std::vector<uint16_t> pool_, ones_;
};

class WithMemory : public Checkpoint {
 public:
  WithMemory(const Checkpoint& base, bool token_local) {
    container_ = base.container();
    path_ = base.path();
    const bool json = container_ == Container::kHuggingFace;
    const std::string key = json ? "token_local" : "swapffn.swap.token_local";
    metadata_ = Metadata(json);
    for (const Metadata::Entry& e : base.metadata().entries())
      if (e.key != key) metadata_.add(e.key, e.value);
    metadata_.add(key, MetaValue::boolean(token_local));
    for (const StoredTensor& t : base.tensors()) add_tensor(t);
  }
};

SwapShape with_layer(SwapShape shape, bool hybrid) {
  if (hybrid) shape.swap_layers = {shape.n_layers / 2};
  return shape;
}

}  // namespace

SwapShape full_swap_shape(bool hybrid) { return with_layer({}, hybrid); }

SwapShape small_swap_shape(bool hybrid) {
  return with_layer({.d_model = 64, .n_layers = 2, .n_heads = 4, .n_kv_heads = 2, .d_ff = 128, .vocab_size = 256},
                    hybrid);
}

std::unique_ptr<Checkpoint> random_swap_model(const SwapShape& shape) {
  CHECK(shape.n_heads > 0 && shape.d_model % shape.n_heads == 0);
  return std::make_unique<RandomSwapModel>(shape);
}

std::unique_ptr<Checkpoint> with_memory(const Checkpoint& base, bool token_local) {
  return std::make_unique<WithMemory>(base, token_local);
}

}  // namespace stretto::app
