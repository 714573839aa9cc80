#include "cuda/memory.h"

#include "base/error.h"
#include "cuda/launch.h"

namespace stretto::cuda {

void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  fail(ErrorKind::kCuda, "CUDA: {}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
}

namespace {

std::byte* allocate_device(uint64_t bytes, std::string_view purpose) {
  void* data = nullptr;
  if (bytes == 0) return nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaSuccess) return static_cast<std::byte*>(data);
  (void)cudaGetLastError();
  fail(ErrorKind::kCuda, "CUDA: {} bytes of device memory for {}: {}", bytes, purpose, cudaGetErrorString(status));
}

std::byte* allocate_pinned(uint64_t bytes, std::string_view purpose) {
  void* data = nullptr;
  if (bytes == 0) return nullptr;
  const cudaError_t status = cudaHostAlloc(&data, bytes, cudaHostAllocPortable);
  if (status == cudaSuccess) return static_cast<std::byte*>(data);
  (void)cudaGetLastError();
  fail(ErrorKind::kHostMemory, "CUDA: {} bytes of pinned host memory for {}: {}", bytes, purpose,
       cudaGetErrorString(status));
}

}  // namespace

void free_device(std::byte* data, uint64_t) { (void)cudaFree(data); }
void free_pinned(std::byte* data, uint64_t) { (void)cudaFreeHost(data); }

DeviceArena::DeviceArena(uint64_t bytes, std::string_view purpose)
    : OwnedBytes(allocate_device(bytes, purpose), bytes) {}
void DeviceArena::clear() const {
  if (bytes() > 0) check_cuda(cudaMemset(data(), 0, bytes()), "clearing device memory");
}

PinnedBuffer::PinnedBuffer(uint64_t bytes, std::string_view purpose)
    : OwnedBytes(allocate_pinned(bytes, purpose), bytes) {}

Stream::Stream() { check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream"); }
Stream::~Stream() { (void)cudaStreamDestroy(stream_); }
void Stream::wait() const { check_cuda(cudaStreamSynchronize(stream_), "waiting for the device"); }

Event::Event() { check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "event"); }
Event::~Event() { (void)cudaEventDestroy(event_); }

Graph::~Graph() {
  if (graph_ != nullptr) (void)cudaGraphExecDestroy(graph_);
}

void Graph::begin(cudaStream_t stream) {
  if (graph_ != nullptr) check_cuda(cudaGraphExecDestroy(std::exchange(graph_, nullptr)), "graph");
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "start of capture");
}

void Graph::end(cudaStream_t stream) {
  cudaGraph_t captured = nullptr;
  check_cuda(cudaStreamEndCapture(stream, &captured), "end of capture");
  const cudaError_t status = cudaGraphInstantiate(&graph_, captured, 0);
  (void)cudaGraphDestroy(captured);
  check_cuda(status, "graph");
  check_cuda(cudaGraphUpload(graph_, stream), "upload of the graph");
}

void Graph::replay(cudaStream_t stream) const { check_cuda(cudaGraphLaunch(graph_, stream), "graph launch"); }

}  // namespace stretto::cuda
