#include "checkpoint/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "base/error.h"

namespace stretto {

OutputFile::OutputFile(const std::filesystem::path& target) : target_(target) {
  static std::atomic<int> counter = 0;
  std::error_code ignored;
  if (std::filesystem::is_directory(target, ignored)) {
    fail(ErrorKind::kBadArgument, "{}: cannot write: is a directory", target.string());
  }
  partial_ = target;
  partial_ += fmt::format(".part-{}-{}", ::getpid(), counter++);
  fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) failed("create", errno);
}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(partial_.c_str());
}

void OutputFile::failed(const char* what, int error) const {
  fail(ErrorKind::kBadArgument, "{}: cannot {} after {} bytes: {}; {}", partial_.string(), what, written_,
       std::strerror(error), "the target file was left as it was");
}

void OutputFile::reserve(uint64_t total_bytes) {
  if (total_bytes == 0) return;
  if (::fallocate(fd_, 0, 0, static_cast<off_t>(total_bytes)) == 0) return;
  if (errno == ENOSPC || errno == EFBIG || errno == EDQUOT) {
    const int error = errno;
    fail(ErrorKind::kBadArgument, "{}: the file needs {} bytes: {}", target_.string(), total_bytes,
         std::strerror(error));
  }
}

void OutputFile::write(std::span<const std::byte> bytes) {
  CHECK(fd_ >= 0);
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) failed("write", errno);
    written_ += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void OutputFile::write_zeros(uint64_t n) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  for (; n > 0; n -= std::min<uint64_t>(n, kZeros.size())) {
    write(std::span(kZeros).first(std::min<uint64_t>(n, kZeros.size())));
  }
}

void OutputFile::commit() {
  CHECK(fd_ >= 0);
  if (::fsync(fd_) != 0) failed("flush", errno);
  if (std::rename(partial_.c_str(), target_.c_str()) != 0) failed("rename to its final name", errno);
  ::close(fd_);
  fd_ = -1;
}

}  // namespace stretto
