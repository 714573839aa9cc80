#include "cpu/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>

#include "base/error.h"

namespace stretto::cpu {
namespace {

constexpr double kMiB = 1 << 20;

std::optional<uint64_t> read_number(const std::string& path) {
  std::ifstream file(path);
  uint64_t value;
  if (!(file >> value)) return std::nullopt;  // "max" is no number
  return value;
}

uint64_t meminfo_available() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  uint64_t kib;
  while (file >> key >> kib) {
    if (key == "MemAvailable:") return kib * 1024;
    std::getline(file, unit);
  }
  return 0;
}

// The folder of this process in the cgroup v2 tree.
std::string cgroup_folder() {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line))
    if (line.rfind("0::", 0) == 0) return "/sys/fs/cgroup" + line.substr(3);
  return "/sys/fs/cgroup";
}

// What memory.max of the process's cgroup and of each one above it leaves, page cache not counted as used.
uint64_t cgroup_available() {
  uint64_t least = UINT64_MAX;
  for (std::string folder = cgroup_folder(); folder.size() >= std::strlen("/sys/fs/cgroup");
       folder.resize(folder.rfind('/'))) {
    const auto limit = read_number(folder + "/memory.max");
    const auto used = read_number(folder + "/memory.current");
    if (!limit || !used) continue;
    uint64_t cache = 0;
    std::ifstream stat(folder + "/memory.stat");
    std::string key;
    uint64_t value;
    while (stat >> key >> value)
      if (key == "inactive_file" || key == "active_file") cache += value;
    const uint64_t held = *used - std::min(*used, cache);
    least = std::min(least, *limit - std::min(*limit, held));
  }
  return least;
}

std::byte* map(uint64_t bytes, std::string_view purpose) {
  if (bytes == 0) return nullptr;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    fail(ErrorKind::kHostMemory,
         "{:.1f} MiB for {} cannot be had ({}), {:.1f} MiB are available; a smaller --ctx-size needs less",
         static_cast<double>(bytes) / kMiB, purpose, std::strerror(errno),
         static_cast<double>(available_host_bytes()) / kMiB);
#ifdef MADV_HUGEPAGE
  madvise(p, bytes, MADV_HUGEPAGE);  // refused by kernels without huge pages, which costs speed only
#endif
  return static_cast<std::byte*>(p);
}

}  // namespace

void unmap(std::byte* data, uint64_t bytes) { munmap(data, bytes); }

Arena::Arena(uint64_t bytes, std::string_view purpose) : OwnedBytes(map(bytes, purpose), bytes) {}

FileMappings::FileMappings() {
  std::ifstream maps("/proc/self/maps");
  // begin-end rwxs offset device inode path
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0, inode = 0;
    char access[5] = {};
    const int n = std::sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %lu", &begin, &end, access, &inode);
    if (n == 4 && access[3] == 's' && inode != 0) ranges_.push_back({begin, end});
  }
}

void FileMappings::release(std::span<const std::byte> bytes) const {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin = (first + page - 1) / page * page, end = (first + bytes.size()) / page * page;
  for (const Range& r : ranges_)
    if (begin < end && r.begin <= begin && end <= r.end) {
#ifdef MADV_COLD
      madvise(reinterpret_cast<void*>(begin), end - begin, MADV_COLD);  // the first to go when memory is short
#endif
      madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    }
}

uint64_t available_host_bytes() { return std::min(meminfo_available(), cgroup_available()); }

}  // namespace stretto::cpu
