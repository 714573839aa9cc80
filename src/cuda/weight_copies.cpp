#include "cuda/weight_copies.h"

#include <fmt/format.h>

#include "cuda/dequantize.h"

namespace stretto::cuda {

uint64_t copies_bytes(const Planner& planner) {
  uint64_t bytes = 0;
  for (const Planner::PlannedMatrix& planned : planner.matrices)
    if (planned.is_dense) bytes += Cursor::rounded(dense_bytes(matrix_shape(planned.key, planner.tables())));
  return bytes;
}

DeviceArena copy_weights(const Planner& planner, uint64_t budget_bytes,
                         const std::function<void(const std::string&)>& remark, Machine& m) {
  std::vector<Matrix*> chosen;
  uint64_t bytes = 0;
  size_t n_dense = 0;
  for (const Planner::PlannedMatrix& planned : planner.matrices) {
    if (!planned.is_dense) continue;
    ++n_dense;
    Matrix& matrix = m.matrices.at(planned.key);
    const uint64_t more = Cursor::rounded(dense_bytes(matrix.shape));
    if (bytes + more > budget_bytes) continue;
    bytes += more;
    chosen.push_back(&matrix);
  }
  if (n_dense == 0) return {};
  if (chosen.size() < n_dense || bytes >= (1 << 30))  // small models: nobody wants to know
    remark(fmt::format("prefill: decoded copies of {} of {} matrices take {:.2f} GiB of device memory{}", chosen.size(),
                       n_dense, static_cast<double>(bytes) / (1 << 30),
                       bytes == 0 ? "" : " (--no-weight-copies saves it)"));
  if (bytes == 0) return {};
  DeviceArena arena(bytes, "decoded copies of weights");
  Cursor cursor(arena.data());
  for (Matrix* matrix : chosen) {
    const PackedShape& shape = matrix->shape;
    std::byte* const to = cursor.take(dense_bytes(shape));
    launch_dequantize(m.queue, shape,
                      {.groups = matrix->data,
                       .out = to,
                       .n_groups = static_cast<uint32_t>(shape.n_groups()),
                       .stride = static_cast<uint32_t>(dense_stride(shape))});
    matrix->decoded = to;
  }
  check_cuda(cudaStreamSynchronize(m.queue.stream), "decoding of weights");
  return arena;
}

}  // namespace stretto::cuda
