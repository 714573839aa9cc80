#include "checkpoint/zip_archive.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/utf8.h"

namespace stretto {
namespace {

constexpr uint32_t kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50, kLocator64Signature = 0x07064b50;
constexpr uint32_t kCentralSignature = 0x02014b50, kLocalSignature = 0x04034b50;
constexpr uint64_t kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20, kCentralBytes = 46, kLocalBytes = 30;
constexpr uint64_t kMaxCommentBytes = 65535, kMaxMembers = 4'000'000;
constexpr uint16_t kEncrypted = 1 << 0, kStrongEncryption = 1 << 6, kMaskedHeaders = 1 << 13;
constexpr uint16_t kExtra64 = 1;
constexpr uint32_t kIn64 = 0xffffffff;

class Reader {
 public:
  Reader(std::span<const std::byte> file, std::string_view label) : file_(file), label_(label) {}

  uint64_t size() const { return file_.size(); }
  template <class T>
  T at(uint64_t offset) const {
    need(offset, sizeof(T));
    T value;
    std::memcpy(&value, file_.data() + offset, sizeof(T));
    return value;
  }
  std::span<const std::byte> bytes(uint64_t offset, uint64_t n) const {
    need(offset, n);
    return file_.subspan(offset, n);
  }
  std::string text(uint64_t offset, uint64_t n) const {
    const auto b = bytes(offset, n);
    return {reinterpret_cast<const char*>(b.data()), b.size()};
  }
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... args) const {
    fail(ErrorKind::kInvalidModel, "{}: {}", label_, fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  void need(uint64_t offset, uint64_t n) const {
    if (offset > file_.size() || n > file_.size() - offset)
      refuse("{} bytes at offset {} reach beyond the {} bytes of the archive", n, offset, file_.size());
  }
  std::span<const std::byte> file_;
  std::string_view label_;
};

struct Directory {
  uint64_t offset = 0, bytes = 0, n_members = 0;
};

uint64_t find_end(const Reader& r) {
  if (r.size() < kEndBytes) r.refuse("{} bytes are no ZIP archive", r.size());
  const uint64_t last = r.size() - kEndBytes, reach = std::min(last, kMaxCommentBytes);
  for (uint64_t back = 0; back <= reach; ++back)
    if (r.at<uint32_t>(last - back) == kEndSignature && r.at<uint16_t>(last - back + 20) == back) return last - back;
  r.refuse("no end of a ZIP directory in the last {} bytes (truncated, or not an archive)", reach + kEndBytes);
}

Directory read_end(const Reader& r) {
  const uint64_t end = find_end(r);
  if (r.at<uint16_t>(end + 4) != 0 || r.at<uint16_t>(end + 6) != 0) r.refuse("an archive in several parts");
  Directory d{
      .offset = r.at<uint32_t>(end + 16), .bytes = r.at<uint32_t>(end + 12), .n_members = r.at<uint16_t>(end + 10)};
  if (r.at<uint16_t>(end + 8) != d.n_members) r.refuse("an archive in several parts");
  uint64_t limit = end;
  if (end >= kLocatorBytes && r.at<uint32_t>(end - kLocatorBytes) == kLocator64Signature) {
    limit = r.at<uint64_t>(end - kLocatorBytes + 8);
    const auto after = checked_add(limit, kEnd64Bytes);
    if (!after || *after > end - kLocatorBytes || r.at<uint32_t>(limit) != kEnd64Signature)
      r.refuse("no 64-bit end of directory at offset {}", limit);
    if (r.at<uint64_t>(limit + 24) != r.at<uint64_t>(limit + 32)) r.refuse("an archive in several parts");
    d = {.offset = r.at<uint64_t>(limit + 48),
         .bytes = r.at<uint64_t>(limit + 40),
         .n_members = r.at<uint64_t>(limit + 32)};
  }
  const auto directory_end = checked_add(d.offset, d.bytes);
  if (!directory_end || *directory_end > limit)
    r.refuse("the directory, {} bytes at offset {}, reaches beyond its end at {}", d.bytes, d.offset, limit);
  if (d.n_members > kMaxMembers || d.n_members > d.bytes / kCentralBytes)
    r.refuse("{} members do not fit into a directory of {} bytes", d.n_members, d.bytes);
  return d;
}

struct Central {
  std::string name;
  uint64_t stored_bytes = 0, bytes = 0, local = 0, total_bytes = 0;
  uint32_t crc32 = 0;
};

// Numbers that do not fit 32 bits stand in an extra field, in this order, each only where its 32-bit field is full.
void read_extra64(const Reader& r, uint64_t at, uint64_t end, Central& c) {
  while (end - at >= 4) {
    const auto id = r.at<uint16_t>(at);
    const uint64_t n = r.at<uint16_t>(at + 2);
    if (n > end - at - 4) r.refuse("member \"{}\": an extra field of {} bytes is cut off", printable(c.name), n);
    if (id == kExtra64) {
      uint64_t next = at + 4;
      for (uint64_t* field : {&c.bytes, &c.stored_bytes, &c.local}) {
        if (*field != kIn64) continue;
        if (next + 8 > at + 4 + n) r.refuse("member \"{}\": its 64-bit sizes are cut off", printable(c.name));
        *field = r.at<uint64_t>(next);
        next += 8;
      }
      return;
    }
    at += 4 + n;
  }
}

Central read_central(const Reader& r, uint64_t at, uint64_t end) {
  if (end - at < kCentralBytes || r.at<uint32_t>(at) != kCentralSignature)
    r.refuse("no directory entry at offset {}", at);
  const uint64_t name_bytes = r.at<uint16_t>(at + 28), extra_bytes = r.at<uint16_t>(at + 30);
  Central c{.name = r.text(at + kCentralBytes, name_bytes),
            .stored_bytes = r.at<uint32_t>(at + 20),
            .bytes = r.at<uint32_t>(at + 24),
            .local = r.at<uint32_t>(at + 42),
            .total_bytes = kCentralBytes + name_bytes + extra_bytes + r.at<uint16_t>(at + 32),
            .crc32 = r.at<uint32_t>(at + 16)};
  if (c.total_bytes > end - at) r.refuse("the directory entry at offset {} is cut off", at);
  const auto flags = r.at<uint16_t>(at + 8);
  if (flags & (kEncrypted | kStrongEncryption | kMaskedHeaders))
    r.refuse("member \"{}\" is encrypted", printable(c.name));
  if (r.at<uint16_t>(at + 10) != 0)
    r.refuse("member \"{}\" is compressed (method {}); torch.save stores members as they are", printable(c.name),
             r.at<uint16_t>(at + 10));
  if (r.at<uint16_t>(at + 34) != 0) r.refuse("an archive in several parts");
  const uint64_t extra = at + kCentralBytes + name_bytes;
  read_extra64(r, extra, extra + extra_bytes, c);
  if (c.stored_bytes != c.bytes)
    r.refuse("member \"{}\": {} bytes stored as {}", printable(c.name), c.bytes, c.stored_bytes);
  return c;
}

// Where a member's data begins: the local header has an extra field of its own length (padding).
uint64_t data_offset(const Reader& r, const Central& c, uint64_t directory) {
  const auto header_end = checked_add(c.local, kLocalBytes);
  if (!header_end || *header_end > directory || r.at<uint32_t>(c.local) != kLocalSignature)
    r.refuse("member \"{}\": no header at offset {}", printable(c.name), c.local);
  const uint64_t name_bytes = r.at<uint16_t>(c.local + 26), extra_bytes = r.at<uint16_t>(c.local + 28);
  const uint64_t data = *header_end + name_bytes + extra_bytes;
  if (data > directory || c.bytes > directory - data)
    r.refuse("member \"{}\": {} bytes at offset {} reach into the directory at {}", printable(c.name), c.bytes, data,
             directory);
  if (r.text(*header_end, name_bytes) != c.name)
    r.refuse("member \"{}\" has another name in its own header", printable(c.name));
  if (r.at<uint16_t>(c.local + 8) != 0) r.refuse("member \"{}\" is compressed by its own header", printable(c.name));
  if (r.at<uint16_t>(c.local + 6) & kEncrypted) r.refuse("member \"{}\" is encrypted", printable(c.name));
  return data;
}

// Neither data twice: reading members must not take longer than reading the file.
void refuse_overlaps(const Reader& r, std::span<const std::byte> file, const std::vector<ZipMember>& members) {
  std::vector<const ZipMember*> order;
  for (const ZipMember& m : members) order.push_back(&m);
  std::sort(order.begin(), order.end(),
            [](const ZipMember* a, const ZipMember* b) { return a->bytes.data() < b->bytes.data(); });
  const std::byte* end = file.data();
  for (const ZipMember* m : order) {
    if (m->bytes.data() < end) r.refuse("member \"{}\" overlaps another", printable(m->name));
    end = m->bytes.data() + m->bytes.size();
  }
}

constexpr int kSlices = 8;
using CrcTables = std::array<std::array<uint32_t, 256>, kSlices>;

// tables[k][b]: what byte b contributes when k more bytes follow.
constexpr CrcTables make_crc_tables() {
  CrcTables tables{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
    tables[0][b] = crc;
  }
  for (size_t k = 1; k < kSlices; ++k)
    for (uint32_t b = 0; b < 256; ++b) tables[k][b] = tables[k - 1][b] >> 8 ^ tables[0][tables[k - 1][b] & 255];
  return tables;
}

constexpr CrcTables kCrcTables = make_crc_tables();

}  // namespace

std::vector<ZipMember> parse_zip(std::span<const std::byte> file, std::string_view label) {
  const Reader r(file, label);
  const Directory d = read_end(r);
  std::vector<ZipMember> members;
  std::unordered_set<std::string> names;
  uint64_t at = d.offset;
  const uint64_t end = d.offset + d.bytes;
  for (uint64_t i = 0; i < d.n_members; ++i) {
    const Central c = read_central(r, at, end);
    at += c.total_bytes;
    if (!names.insert(c.name).second) r.refuse("two members with the name \"{}\"", printable(c.name));
    members.push_back({c.name, r.bytes(data_offset(r, c, d.offset), c.bytes), c.crc32});
  }
  if (at != end) r.refuse("the directory has {} bytes behind its {} entries", end - at, d.n_members);
  refuse_overlaps(r, file, members);
  return members;
}

uint32_t crc32(std::span<const std::byte> bytes) {
  uint32_t crc = 0xffffffff;
  const std::byte* p = bytes.data();
  size_t n = bytes.size();
  for (; n >= kSlices; n -= kSlices, p += kSlices) {
    std::array<uint8_t, kSlices> b{};
    std::memcpy(b.data(), p, kSlices);
    for (size_t i = 0; i < 4; ++i) b[i] ^= static_cast<uint8_t>(crc >> 8 * i);
    crc = 0;
    for (size_t i = 0; i < kSlices; ++i) crc ^= kCrcTables[kSlices - 1 - i][b[i]];
  }
  for (; n > 0; --n, ++p) crc = crc >> 8 ^ kCrcTables[0][(crc ^ std::to_integer<uint32_t>(*p)) & 255];
  return ~crc;
}

}  // namespace stretto
