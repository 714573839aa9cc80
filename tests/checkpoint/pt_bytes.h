// Builds pickles and ZIP archives for tests, well-formed or not.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stretto::test {

std::string little_endian(uint64_t value, int n_bytes);

// Opcodes of protocol 2, one after the other.
namespace pickled {
inline constexpr std::string_view kProto("\x80\x02", 2);
std::string text(std::string_view s);  // BINUNICODE
std::string integer(int64_t v);        // LONG1 of eight bytes
std::string global(std::string_view module, std::string_view name);
std::string tuple(const std::vector<std::string>& items);
std::string dict(const std::vector<std::string>& keys_and_values);
std::string call(const std::string& callable, const std::vector<std::string>& arguments);
std::string storage(std::string_view type, std::string_view key, int64_t n);
// _rebuild_tensor_v2 of a view of `storage`.
std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& size,
                   const std::vector<int64_t>& stride);
std::string whole(const std::string& value);  // PROTO value STOP
}  // namespace pickled

struct ZipEntry {
  std::string name;
  std::string data;
  uint16_t method = 0;
  uint16_t flags = 0;
  uint32_t crc_change = 0;      // exclusive-or'ed to the checksum
  std::string local_name = {};  // another name in the local header
  std::string extra = {};       // of the local header
  int64_t size_change = 0;      // added to both sizes in the directory
};
std::string zip_of(const std::vector<ZipEntry>& entries, const std::string& comment = {});

// What torch.save writes: root/data.pkl, root/byteorder and root/data/<i>.
std::string pt_of(const std::string& pickle, const std::vector<std::string>& storages);

}  // namespace stretto::test
