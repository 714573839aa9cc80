#include "checkpoint/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace stretto {
namespace {

// An open descriptor of a regular file, closed at the end of the scope.
class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) fail(ErrorKind::kNotFound, "{}: cannot open: {}", path.string(), std::strerror(errno));
    struct stat status = {};
    const bool known = ::fstat(fd_, &status) == 0;
    if (!known || !S_ISREG(status.st_mode)) {
      const int error = errno;
      ::close(fd_);
      if (!known) fail(ErrorKind::kNotFound, "{}: cannot read its size: {}", path.string(), std::strerror(error));
      fail(ErrorKind::kBadArgument, "{}: {}, not a file", path.string(),
           S_ISDIR(status.st_mode) ? "is a directory" : "is a device or a pipe");
    }
    size_ = static_cast<size_t>(status.st_size);
  }
  ~OpenFile() { ::close(fd_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int fd() const { return fd_; }
  size_t size() const { return size_; }

 private:
  int fd_;
  size_t size_ = 0;
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const OpenFile file(path);
  if (file.size() == 0) fail(ErrorKind::kInvalidModel, "{}: the file is empty (0 bytes)", path.string());
  void* address = ::mmap(nullptr, file.size(), PROT_READ, MAP_SHARED, file.fd(), 0);
  if (address == MAP_FAILED) {
    fail(ErrorKind::kHostMemory, "{}: cannot map {} bytes: {}", path.string(), file.size(), std::strerror(errno));
  }
  data_ = static_cast<const std::byte*>(address);
  size_ = file.size();
}

MappedFile::~MappedFile() { unmap(); }

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap();
    path_ = std::move(other.path_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void MappedFile::unmap() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  data_ = nullptr;
  size_ = 0;
}

void bring_into_memory(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t start = first / page * page;
  const size_t length = first + bytes.size() - start;
  void* address = reinterpret_cast<void*>(start);
#ifdef MADV_POPULATE_READ
  if (::madvise(address, length, MADV_POPULATE_READ) == 0) return;
#endif
  // Kernels before 5.14: start the reads, then touch every page.
  ::madvise(address, length, MADV_WILLNEED);
  const volatile std::byte* at = bytes.data();
  for (size_t i = 0; i < bytes.size(); i += page) static_cast<void>(at[i]);
  static_cast<void>(at[bytes.size() - 1]);
}

std::string read_small_file(const std::filesystem::path& path, size_t max_bytes) {
  const OpenFile file(path);
  if (file.size() > max_bytes) {
    fail(ErrorKind::kInvalidModel, "{}: {} bytes, at most {} are accepted", path.string(), file.size(), max_bytes);
  }
  std::string text(file.size(), '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::read(file.fd(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ErrorKind::kNotFound, "{}: cannot read: {}", path.string(), std::strerror(errno));
    if (n == 0) break;  // it became shorter meanwhile
    done += static_cast<size_t>(n);
  }
  text.resize(done);
  return text;
}

}  // namespace stretto
