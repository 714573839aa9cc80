#include "cuda/memory.h"

#include "base/error.h"
#include "cuda/launch.h"

namespace stretto::cuda {

void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  fail(ErrorKind::kCuda, "CUDA: {}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
}

DeviceArena::DeviceArena(uint64_t bytes, std::string_view purpose) : bytes_(bytes) {
  if (bytes == 0) return;
  const cudaError_t status = cudaMalloc(reinterpret_cast<void**>(&data_), bytes);
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  fail(ErrorKind::kCuda, "CUDA: {} bytes of device memory for {}: {}", bytes, purpose, cudaGetErrorString(status));
}

DeviceArena::~DeviceArena() {
  if (data_ != nullptr) (void)cudaFree(data_);
}

void DeviceArena::clear() const {
  if (bytes_ > 0) check_cuda(cudaMemset(data_, 0, bytes_), "clearing device memory");
}

PinnedBuffer::PinnedBuffer(uint64_t bytes, std::string_view purpose) : bytes_(bytes) {
  if (bytes == 0) return;
  const cudaError_t status = cudaHostAlloc(reinterpret_cast<void**>(&data_), bytes, cudaHostAllocPortable);
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  fail(ErrorKind::kHostMemory, "CUDA: {} bytes of pinned host memory for {}: {}", bytes, purpose,
       cudaGetErrorString(status));
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) (void)cudaFreeHost(data_);
}

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
