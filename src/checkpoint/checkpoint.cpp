#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <new>
#include <thread>

#include "base/error.h"
#include "checkpoint/gguf_checkpoint.h"
#include "checkpoint/hub_cache.h"
#include "checkpoint/huggingface.h"
#include "checkpoint/mapped_file.h"
#include "checkpoint/utf8.h"

namespace stretto {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxSideFileBytes = size_t{256} << 20;
constexpr size_t kPrefaultChunkBytes = size_t{4} << 20;
constexpr auto kProgressPeriod = std::chrono::milliseconds(100);

// The first bytes of a file; fewer when it is shorter.
std::string first_bytes(const fs::path& path, size_t n) {
  std::string bytes(n, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(bytes.data(), static_cast<std::streamsize>(n));
  bytes.resize(static_cast<size_t>(in.gcount()));
  return bytes;
}

// A weight file of a Hugging Face model, given instead of its directory.
std::unique_ptr<Checkpoint> open_safetensors_model(const fs::path& path, const OpenOptions& options) {
  const fs::path dir = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (find_side_file(dir, "config.json")) return open_huggingface(dir, options);
  fail(ErrorKind::kBadArgument,
       "{}: a safetensors file is only the weights of a model; name a directory that also holds config.json",
       path.string());
}

std::unique_ptr<Checkpoint> open_file(const fs::path& path, const OpenOptions& options) {
  const std::string extension = path.extension().string();
  std::error_code error;
  const bool readable = fs::is_regular_file(path, error);  // a pipe would block; the mapping refuses it with a reason
  if (extension == ".gguf" || !readable || first_bytes(path, 4) == "GGUF") return open_gguf(path, options);
  if (extension == ".safetensors") return open_safetensors_model(path, options);
  for (const std::string_view pickled : {".bin", ".pt", ".pth"}) {
    if (extension == pickled) {
      fail(ErrorKind::kUnsupported,
           "{}: pickled weights are not run; `stretto convert` reads those of swap-FFN models, from others save them "
           "as safetensors beside a config.json",
           path.string());
    }
  }
  return open_gguf(path, options);  // its own message says what the file begins with
}

std::unique_ptr<Checkpoint> open_path(const fs::path& path, const OpenOptions& options) {
  std::error_code error;
  return fs::is_directory(path, error) ? open_huggingface(path, options) : open_file(path, options);
}

}  // namespace

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto it = tensor_index_.find(std::string(name));
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

void Checkpoint::add_tensor(StoredTensor tensor) {
  CHECK(tensor_index_.emplace(tensor.name, tensors_.size()).second);
  tensors_.push_back(std::move(tensor));
}

uint64_t Checkpoint::tensor_bytes() const {
  uint64_t total = 0;
  for (const StoredTensor& tensor : tensors_) total += tensor.view.bytes.size();
  return total;
}

std::optional<std::string> Checkpoint::side_file(std::string_view file_name) const {
  if (container_ != Container::kHuggingFace) return std::nullopt;
  const std::optional<fs::path> path = find_side_file(path_, std::string(file_name));
  if (!path) return std::nullopt;
  return read_small_file(*path, kMaxSideFileBytes);
}

double Checkpoint::prefault(int threads, const std::function<void(uint64_t, uint64_t)>& progress) const {
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::span<const std::byte>> chunks;
  for (const StoredTensor& tensor : tensors_) {
    for (auto rest = tensor.view.bytes; !rest.empty();) {
      const size_t n = std::min(rest.size(), kPrefaultChunkBytes);
      chunks.push_back(rest.first(n));
      rest = rest.subspan(n);
    }
  }
  const uint64_t total = tensor_bytes();
  std::atomic<size_t> next = 0;
  std::atomic<uint64_t> done = 0;
  std::mutex mutex;
  std::condition_variable finished;
  int running = std::max(1, threads);
  {
    std::vector<std::jthread> readers;  // joined before anything they use goes away, also when progress throws
    const auto stop_all = [&next, &chunks](void*) { next = chunks.size(); };
    const std::unique_ptr<void, decltype(stop_all)> stop_on_exit(&next, stop_all);
    for (int i = running; i > 0; --i) {
      readers.emplace_back([&] {
        for (size_t c = next++; c < chunks.size(); c = next++) {
          bring_into_memory(chunks[c]);
          done += chunks[c].size();
        }
        const std::lock_guard lock(mutex);
        if (--running == 0) finished.notify_one();
      });
    }
    std::unique_lock lock(mutex);
    while (!finished.wait_for(lock, kProgressPeriod, [&running] { return running == 0; })) {
      lock.unlock();
      if (progress) progress(done, total);
      lock.lock();
    }
  }
  if (progress) progress(total, total);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& model, const OpenOptions& options) {
  std::error_code error;
  try {
    if (fs::exists(model, error)) return open_path(model, options);
    const std::optional<HubName> hub_name = parse_hub_name(model);
    const std::string extension = fs::path(model).extension().string();
    const bool file_name =
        hub_name && hub_name->selector.empty() && (extension == ".gguf" || extension == ".safetensors");
    if (!hub_name || file_name) fail(ErrorKind::kNotFound, "{}: no such file or directory", printable(model, 500));
    return open_path(resolve_hub_name(*hub_name, process_environment), options);
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::kHostMemory, "{}: its metadata does not fit into host memory", printable(model, 500));
  } catch (const std::length_error&) {
    fail(ErrorKind::kHostMemory, "{}: its metadata does not fit into host memory", printable(model, 500));
  }
}

}  // namespace stretto
