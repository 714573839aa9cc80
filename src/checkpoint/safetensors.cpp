#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "checkpoint/output_file.h"
#include "checkpoint/utf8.h"

namespace stretto {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr int kMaxDepth = 8;
constexpr size_t kMaxTensors = 1'000'000;
constexpr size_t kMaxNameBytes = 4096;
constexpr size_t kMaxStoredRank = 64;
constexpr std::string_view kMetadataName = "__metadata__";

// The dtypes of the format and their bits per element.
struct StoredDType {
  DType type;
  uint32_t bits;
};
constexpr StoredDType kDTypes[] = {
    {DType::kBool, 8},        {DType::kU8, 8},      {DType::kI8, 8},   {DType::kF8_E5M2, 8},
    {DType::kF8_E4M3, 8},     {DType::kF8_E8M0, 8}, {DType::kI16, 16}, {DType::kF8_E4M3FNUZ, 8},
    {DType::kF8_E5M2FNUZ, 8}, {DType::kU16, 16},    {DType::kF16, 16}, {DType::kBF16, 16},
    {DType::kI32, 32},        {DType::kU32, 32},    {DType::kF32, 32}, {DType::kF64, 64},
    {DType::kI64, 64},        {DType::kU64, 64},    {DType::kC64, 64}, {DType::kF4, 4},
    {DType::kF6_E2M3, 6},     {DType::kF6_E3M2, 6},
};

const StoredDType* find_dtype(std::string_view wanted) {
  for (const StoredDType& entry : kDTypes) {
    if (name(entry.type) == wanted) return &entry;
  }
  return nullptr;
}

// One header entry before its bytes have been located.
struct Entry {
  std::string name;
  DType type = DType::kF32;
  Shape shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

class HeaderReader {
 public:
  explicit HeaderReader(std::string_view label) : label_(label) {}

  template <class... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> text, Args&&... args) const {
    std::string where = name_.empty() ? "" : fmt::format("tensor \"{}\": ", printable(name_));
    throw Error(ErrorKind::kInvalidModel, fmt::format("{}: invalid safetensors: {}{}", label_, where,
                                                      fmt::format(text, std::forward<Args>(args)...)));
  }

  Entry read_entry(const std::string& entry_name, const Json& value) {
    name_ = entry_name;
    check_name(entry_name);
    if (!value.is_object()) bad("its entry is not an object");
    for (const auto& field : value.items()) {
      const std::string& key = field.key();
      if (key != "dtype" && key != "shape" && key != "data_offsets") bad("unknown field \"{}\"", printable(key));
    }
    Entry out;
    out.name = entry_name;
    const StoredDType dtype = read_dtype(field(value, "dtype"));
    out.type = dtype.type;
    const uint64_t bytes = read_shape(field(value, "shape"), dtype, out);
    const Json& offsets = field(value, "data_offsets");
    if (!offsets.is_array() || offsets.size() != 2) bad("data_offsets must be an array of two integers");
    out.begin = integer(offsets[0], "data_offsets[0]");
    out.end = integer(offsets[1], "data_offsets[1]");
    if (out.begin > out.end) bad("data_offsets [{}, {}] end before they begin", out.begin, out.end);
    if (out.end - out.begin != bytes) {
      bad("{} {} takes {} bytes, data_offsets [{}, {}] give {}", name(out.type), shape_text_, bytes, out.begin, out.end,
          out.end - out.begin);
    }
    name_.clear();
    return out;
  }

  std::vector<std::pair<std::string, std::string>> read_metadata(const Json& value) const {
    std::vector<std::pair<std::string, std::string>> out;
    if (!value.is_object()) bad("__metadata__ is not an object");
    for (const auto& item : value.items()) {
      if (!item.value().is_string()) bad("__metadata__ value \"{}\" is not a string", printable(item.key()));
      out.emplace_back(item.key(), item.value().get<std::string>());
    }
    return out;
  }

 private:
  void check_name(const std::string& text) const {
    if (text.empty()) bad("a tensor name is empty");
    if (text.size() > kMaxNameBytes) bad("a name of {} bytes, at most {} are accepted", text.size(), kMaxNameBytes);
    for (const char c : text) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) bad("its name contains a control character");
    }
  }

  const Json& field(const Json& value, const char* key) const {
    const auto it = value.find(key);
    if (it == value.end()) bad("the field \"{}\" is missing", key);
    return *it;
  }

  uint64_t integer(const Json& value, std::string_view what) const {
    if (!value.is_number_unsigned()) {
      bad("{} is {}, wanted an integer >= 0 without sign, fraction or exponent", what, printable(dump_json(value)));
    }
    return value.get<uint64_t>();
  }

  StoredDType read_dtype(const Json& value) const {
    if (!value.is_string()) bad("dtype is not a string");
    const auto& text = value.get_ref<const std::string&>();
    const StoredDType* dtype = find_dtype(text);
    if (dtype == nullptr) bad("unknown dtype \"{}\"", printable(text));
    return *dtype;
  }

  // Fills out.shape, returns the bytes of the tensor.
  uint64_t read_shape(const Json& value, const StoredDType& dtype, Entry& out) {
    if (!value.is_array()) bad("shape is not an array");
    if (value.size() > kMaxStoredRank) bad("{} dimensions, at most {} are accepted", value.size(), kMaxStoredRank);
    shape_text_ = printable(dump_json(value));
    std::vector<uint64_t> dims;
    std::optional<uint64_t> bits = dtype.bits;
    for (const Json& item : value) {
      dims.push_back(integer(item, "a dimension"));
      bits = bits ? checked_mul(*bits, dims.back()) : std::nullopt;
    }
    // A zero dimension leaves no bytes, but a product that overflows before it is refused all the same.
    if (!bits) bad("the size of {} {} overflows 64 bits", name(out.type), shape_text_);
    if (*bits % 8 != 0) bad("{} elements of {} bits do not fill whole bytes", *bits / dtype.bits, dtype.bits);
    while (dims.size() > Shape::kMaxRank) {
      dims[1] *= dims[0];
      dims.erase(dims.begin());
    }
    out.shape = Shape(dims);
    return *bits / 8;
  }

  std::string_view label_;
  std::string name_;        // of the tensor being read
  std::string shape_text_;  // its shape as written
};

// Rule 5: sorted by position, the ranges cover the data section exactly.
void check_coverage(const HeaderReader& header, const std::vector<Entry>& entries, uint64_t data_bytes) {
  uint64_t expected = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != expected) {
      header.bad("tensor \"{}\" begins at data offset {}, wanted {} (no gaps, overlaps or shared bytes)",
                 printable(entry.name), entry.begin, expected);
    }
    expected = entry.end;
  }
  if (expected != data_bytes) {
    header.bad("the tensors end at data offset {}, the file has {} data bytes{}", expected, data_bytes,
               expected > data_bytes ? " (truncated?)" : "");
  }
}

std::string_view header_text(std::span<const std::byte> file, const HeaderReader& header) {
  if (file.size() < 8) header.bad("the file has {} bytes, the header length alone needs 8", file.size());
  uint64_t n = 0;
  std::memcpy(&n, file.data(), 8);
  if (n > kMaxHeaderBytes) header.bad("header of {} bytes, at most {} are accepted", n, kMaxHeaderBytes);
  if (n > file.size() - 8) header.bad("header of {} bytes, {} bytes of the file remain", n, file.size() - 8);
  std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, n);
  if (text.empty() || text.front() != '{') header.bad("the header at byte 8 does not start with '{{'");
  text = text.substr(0, text.find_last_not_of(' ') + 1);
  if (text.back() != '}') header.bad("the header does not end with '}}' and spaces (byte {})", 8 + text.size() - 1);
  return text;
}

}  // namespace

SafetensorsContent parse_safetensors(std::span<const std::byte> file, std::string_view label) {
  HeaderReader header(label);
  const std::string_view text = header_text(file, header);
  JsonOptions options;
  options.max_depth = kMaxDepth;
  const Json root = parse_json(text, fmt::format("{}: header (from byte 8)", label), options);
  if (root.size() > kMaxTensors + 1) header.bad("{} tensors, at most {} are accepted", root.size(), kMaxTensors);

  SafetensorsContent out;
  std::vector<Entry> entries;
  entries.reserve(root.size());
  for (const auto& item : root.items()) {
    if (item.key() == kMetadataName) {
      out.metadata = header.read_metadata(item.value());
    } else {
      entries.push_back(header.read_entry(item.key(), item.value()));
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t n = 0;
  std::memcpy(&n, file.data(), 8);
  const std::span<const std::byte> data = file.subspan(8 + n);
  check_coverage(header, entries, data.size());
  out.tensors.reserve(entries.size());
  for (Entry& entry : entries) {
    out.tensors.push_back({std::move(entry.name),
                           TensorView{entry.type, entry.shape, data.subspan(entry.begin, entry.end - entry.begin)}});
  }
  return out;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), content_(parse_safetensors(file_.bytes(), path.string())) {}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  for (const StoredTensor& tensor : content_.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

SafetensorsFile open_safetensors(const std::filesystem::path& path) { return SafetensorsFile(path); }

void write_safetensors(const std::filesystem::path& path, const std::vector<SafetensorsEntry>& entries,
                       const std::vector<std::pair<std::string, std::string>>& metadata) {
  Json header = Json::object();
  for (const auto& [key, value] : metadata) header[std::string(kMetadataName)][key] = value;
  uint64_t offset = 0;
  for (const SafetensorsEntry& entry : entries) {
    CHECK(find_dtype(stretto::name(entry.type)) != nullptr);
    CHECK(entry.bytes.size() == row_bytes(entry.type, entry.shape.elements()));
    CHECK(entry.name != kMetadataName && !header.contains(entry.name));
    std::vector<uint64_t> dims(static_cast<size_t>(entry.shape.rank()));
    for (int i = 0; i < entry.shape.rank(); ++i) dims[static_cast<size_t>(i)] = entry.shape[i];
    Json& item = header[entry.name];
    item["dtype"] = stretto::name(entry.type);
    item["shape"] = dims;
    item["data_offsets"] = {offset, offset + entry.bytes.size()};
    offset += entry.bytes.size();
  }
  std::string text = dump_json(header);
  text.resize(round_up(text.size(), 8), ' ');

  OutputFile file(path);
  const uint64_t n = text.size();
  file.reserve(8 + n + offset);
  file.write(std::as_bytes(std::span(&n, 1)));
  file.write(std::as_bytes(std::span(text)));
  for (const SafetensorsEntry& entry : entries) file.write(entry.bytes);
  file.commit();
}

}  // namespace stretto
