#include "checkpoint/pt_bytes.h"

#include "checkpoint/fixtures.h"
#include "checkpoint/zip_archive.h"

namespace stretto::test {

std::string little_endian(uint64_t value, int n_bytes) {
  std::string out;
  for (int i = 0; i < n_bytes; ++i) out.push_back(i < 8 ? static_cast<char>(value >> 8 * i) : 0);
  return out;
}

namespace pickled {

std::string text(std::string_view s) { return "X" + little_endian(s.size(), 4) + std::string(s); }
std::string integer(int64_t v) { return "\x8a\x08" + little_endian(static_cast<uint64_t>(v), 8); }
std::string global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}

namespace {
std::string marked(const std::vector<std::string>& items, char end) {
  std::string out = "(";
  for (const std::string& item : items) out += item;
  return out + end;
}
std::string integers(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (const int64_t v : values) items.push_back(integer(v));
  return tuple(items);
}
}  // namespace

std::string tuple(const std::vector<std::string>& items) { return marked(items, 't'); }
std::string dict(const std::vector<std::string>& keys_and_values) { return "}" + marked(keys_and_values, 'u'); }
std::string call(const std::string& callable, const std::vector<std::string>& arguments) {
  return callable + tuple(arguments) + "R";
}
std::string storage(std::string_view type, std::string_view key, int64_t n) {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), integer(n)}) + "Q";
}
std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& size,
                   const std::vector<int64_t>& stride) {
  return call(global("torch._utils", "_rebuild_tensor_v2"), {storage, integer(offset), integers(size), integers(stride),
                                                             "\x89", call(global("collections", "OrderedDict"), {})});
}
std::string whole(const std::string& value) { return std::string(kProto) + value + "."; }

}  // namespace pickled

std::string zip_of(const std::vector<ZipEntry>& entries, const std::string& comment) {
  std::string out, directory;
  for (const ZipEntry& e : entries) {
    const uint32_t sum = crc32(as_bytes(e.data)) ^ e.crc_change;
    const uint64_t size = e.data.size() + static_cast<uint64_t>(e.size_change);
    const std::string& local = e.local_name.empty() ? e.name : e.local_name;
    const std::string sizes = little_endian(sum, 4) + little_endian(size, 4) + little_endian(size, 4);
    const std::string form = little_endian(e.flags, 2) + little_endian(e.method, 2) + little_endian(0, 4) + sizes;
    directory += little_endian(0x02014b50, 4) + little_endian(20, 2) + little_endian(20, 2) + form +
                 little_endian(e.name.size(), 2) + little_endian(0, 12) + little_endian(out.size(), 4) + e.name;
    out += little_endian(0x04034b50, 4) + little_endian(20, 2) + form + little_endian(local.size(), 2) +
           little_endian(e.extra.size(), 2) + local + e.extra + e.data;
  }
  const std::string n = little_endian(entries.size(), 2);
  return out + directory + little_endian(0x06054b50, 4) + little_endian(0, 4) + n + n +
         little_endian(directory.size(), 4) + little_endian(out.size(), 4) + little_endian(comment.size(), 2) + comment;
}

std::string pt_of(const std::string& pickle, const std::vector<std::string>& storages) {
  std::vector<ZipEntry> entries{{"m/data.pkl", pickle}, {"m/byteorder", "little"}};
  for (size_t i = 0; i < storages.size(); ++i) entries.push_back({"m/data/" + std::to_string(i), storages[i]});
  return zip_of(entries);
}

}  // namespace stretto::test
