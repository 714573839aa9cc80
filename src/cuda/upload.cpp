#include "cuda/upload.h"

#include <atomic>
#include <cstring>

#include "base/threads.h"
#include "formats/formats.h"

namespace stretto::cuda {
namespace {

constexpr uint64_t kMaxBufferBytes = 32 << 20;
constexpr int kBuffers = 3;
constexpr uint64_t kGroupsAtOnce = 8;  // that a thread takes

// The stored rows of one weight, in the order that the program wants.
struct StoredRows {
  std::vector<const std::byte*> rows;
  std::vector<std::byte> gathered;  // where they had to be converted

  StoredRows(const WeightInfo& w, const WeightBinding& binding) {
    const uint64_t bytes = row_bytes(w.type, w.shape.cols());
    rows.reserve(w.shape.rows());
    bool as_stored = true;
    for (const WeightSlice& slice : binding.slices) as_stored = as_stored && slice.source.type == w.type;
    if (!as_stored) {
      gathered.resize(w.bytes());
      binding.gather(w.type, gathered.data());
      for (uint64_t r = 0; r < w.shape.rows(); ++r) rows.push_back(gathered.data() + r * bytes);
      return;
    }
    for (const WeightSlice& slice : binding.slices)
      for (uint64_t i = 0; i < slice.n_rows; ++i) rows.push_back(slice.row(i));
  }
};

// Rows of all weights of a key in packed order, whole groups, nullptr where there is none.
std::vector<const std::byte*> packed_order(const MatrixKey& key, const std::vector<StoredRows>& weights,
                                           const PackedShape& shape) {
  std::vector<const std::byte*> out;
  if (!key.gate_up) {
    for (const StoredRows& w : weights) out.insert(out.end(), w.rows.begin(), w.rows.end());
  } else {
    const std::vector<const std::byte*>&gate = weights[0].rows, &up = weights[1].rows;
    for (uint64_t g = 0; g < shape.n_groups(); ++g)
      for (const auto* rows : {&gate, &up})
        for (uint64_t i = 2 * g; i < 2 * g + 2; ++i) out.push_back(i < rows->size() ? (*rows)[i] : nullptr);
  }
  out.resize(shape.n_groups() * kGroupRows);
  return out;
}

// The same for experts, one after the other.
std::vector<const std::byte*> expert_order(const MatrixKey& key, const std::vector<StoredRows>& weights,
                                           const ExpertShape& shape) {
  std::vector<const std::byte*> out(shape.packed.n_groups() * kGroupRows);
  const uint64_t stored_rows = weights[0].rows.size() / shape.n_experts;
  for (uint64_t e = 0; e < shape.n_experts; ++e) {
    const std::byte** to = out.data() + e * shape.n_groups * kGroupRows;
    const auto row = [&](size_t w, uint64_t i) {
      return i < stored_rows ? weights[w].rows[e * stored_rows + i] : nullptr;
    };
    if (key.gate_up) {
      for (uint64_t g = 0; g < shape.n_groups; ++g)
        for (uint64_t i = 0; i < kGroupRows; ++i) *to++ = row(i / 2, 2 * g + i % 2);
    } else {
      // A folded row is two stored ones, which lie one behind the other.
      for (uint64_t i = 0; i < stored_rows; i += shape.fold) *to++ = row(0, i);
    }
  }
  return out;
}

// Pinned buffers in turn: packing fills one while the others are on their way.
class Uploader {
 public:
  Uploader(int n_threads, uint64_t buffer_bytes) : pool_(n_threads), buffer_bytes_(buffer_bytes) {
    for (PinnedBuffer& b : buffers_) b = PinnedBuffer(buffer_bytes, "loading weights");
  }

  void pack(const PackedShape& shape, const std::vector<const std::byte*>& rows, std::byte* to) {
    const uint64_t per_buffer = buffer_bytes_ / shape.group_bytes();
    CHECK(per_buffer > 0);
    for (uint64_t first = 0; first < shape.n_groups(); first += per_buffer) {
      const uint64_t n = std::min(per_buffer, shape.n_groups() - first);
      std::byte* const buffer = next_buffer();
      std::atomic<uint64_t> next{0};
      pool_.run([&](int) {
        for (uint64_t g = next.fetch_add(kGroupsAtOnce); g < n; g = next.fetch_add(kGroupsAtOnce))
          for (uint64_t i = g; i < std::min(n, g + kGroupsAtOnce); ++i)
            pack_group(shape, rows.data() + (first + i) * kGroupRows, buffer + i * shape.group_bytes());
      });
      send(to + first * shape.group_bytes(), n * shape.group_bytes());
    }
  }

  void vector(const WeightInfo& w, const WeightBinding& binding, std::byte* to) {
    std::vector<std::byte> stored(w.bytes());
    binding.gather(w.type, stored.data());
    CHECK(w.shape.elements() * sizeof(float) <= buffer_bytes_);
    auto* const out = reinterpret_cast<float*>(next_buffer());
    const uint64_t n_in = w.shape.cols(), bytes = row_bytes(w.type, n_in);
    for (uint64_t r = 0; r < w.shape.rows(); ++r) decode_row(w.type, stored.data() + r * bytes, n_in, out + r * n_in);
    send(to, w.shape.elements() * sizeof(float));
  }

  void finish() { stream_.wait(); }

 private:
  std::byte* next_buffer() {
    turn_ = (turn_ + 1) % kBuffers;
    check_cuda(cudaEventSynchronize(sent_[turn_].get()), "loading weights");
    return buffers_[turn_].data();
  }
  void send(std::byte* to, uint64_t bytes) {
    check_cuda(cudaMemcpyAsync(to, buffers_[turn_].data(), bytes, cudaMemcpyHostToDevice, stream_.get()),
               "loading weights");
    check_cuda(cudaEventRecord(sent_[turn_].get(), stream_.get()), "loading weights");
  }

  ThreadPool pool_;
  const uint64_t buffer_bytes_;
  PinnedBuffer buffers_[kBuffers];
  Event sent_[kBuffers];
  int turn_ = 0;
  Stream stream_;
};

}  // namespace

DeviceArena upload_weights(const Planner& planner, int n_threads, Machine& m) {
  const Tables& t = planner.tables();
  const std::vector<WeightBinding>& bindings = planner.program->bindings;
  uint64_t bytes = 0;
  for (const auto& matrix : planner.matrices) bytes += Cursor::rounded(matrix_shape(matrix.key, t).bytes());
  for (size_t i = 0; i < t.weights.size(); ++i)
    if (planner.vectors[i]) bytes += Cursor::rounded(t.weights[i].shape.elements() * sizeof(float));
  DeviceArena arena(bytes, "weights");
  Cursor cursor(arena.data());
  Uploader uploader(n_threads, std::min(kMaxBufferBytes, std::max<uint64_t>(bytes, 1)));
  std::vector<Matrix*> in_order;
  for (const auto& [key, run_groups, beside_attention, is_dense, role] : planner.matrices) {
    const PackedShape shape = matrix_shape(key, t);
    std::byte* const to = cursor.take(shape.bytes());
    std::vector<StoredRows> stored;
    for (const int32_t w : key.weights)
      stored.emplace_back(t.weights[static_cast<size_t>(w)], bindings[static_cast<size_t>(w)]);
    const auto rows = key.experts
                          ? expert_order(key, stored, expert_shape(t[WeightId{key.weights.front()}], key.gate_up))
                          : packed_order(key, stored, shape);
    uploader.pack(shape, rows, to);
    m.matrices[key] = {.shape = shape,
                       .data = reinterpret_cast<const uint8_t*>(to),
                       .decoded = nullptr,
                       .run_groups = run_groups,
                       .beside_attention = beside_attention,
                       .role = role,
                       .next = nullptr,
                       .plain = {},
                       .normed = {},
                       .n_plain = 0,
                       .n_normed = 0};
    if (!key.experts) in_order.push_back(&m.matrices[key]);
  }
  for (size_t i = 0; i < in_order.size(); ++i) in_order[i]->next = in_order[(i + 1) % in_order.size()];
  m.vectors.resize(t.weights.size());
  for (size_t i = 0; i < t.weights.size(); ++i) {
    if (!planner.vectors[i]) continue;
    std::byte* const to = cursor.take(t.weights[i].shape.elements() * sizeof(float));
    uploader.vector(t.weights[i], bindings[i], to);
    m.vectors[i] = reinterpret_cast<const float*>(to);
  }
  uploader.finish();
  return arena;
}

}  // namespace stretto::cuda
