#include "checkpoint/gguf_writer.h"

#include <bit>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/gguf_reader.h"
#include "checkpoint/utf8.h"

namespace stretto {
namespace {

constexpr uint32_t kVersion = 3;

class ByteSink {
 public:
  template <class T>
  void put(T value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    out_.insert(out_.end(), bytes.begin(), bytes.end());
  }
  void put_string(std::string_view text) {
    put<uint64_t>(text.size());
    const auto bytes = std::as_bytes(std::span(text));
    out_.insert(out_.end(), bytes.begin(), bytes.end());
  }
  void pad_to(uint64_t alignment) { out_.resize(round_up(out_.size(), alignment)); }
  std::vector<std::byte> take() { return std::move(out_); }

 private:
  std::vector<std::byte> out_;
};

// One scalar in its stored width. `data` holds the alternative that goes with `type`.
template <class T>
void put_scalar(ByteSink& out, MetaType type, const T& data) {
  if constexpr (std::is_same_v<T, std::string>) {
    CHECK(type == MetaType::kString);
    return out.put_string(data);
  } else if constexpr (std::is_same_v<T, bool>) {
    CHECK(type == MetaType::kBool);
    return out.put<uint8_t>(data ? 1 : 0);
  } else if constexpr (std::is_same_v<T, double>) {
    if (type == MetaType::kF32) return out.put(static_cast<float>(data));
    CHECK(type == MetaType::kF64);
    return out.put(data);
  } else {
    switch (type) {
      case MetaType::kU8:
        return out.put(static_cast<uint8_t>(data));
      case MetaType::kI8:
        return out.put(static_cast<int8_t>(data));
      case MetaType::kU16:
        return out.put(static_cast<uint16_t>(data));
      case MetaType::kI16:
        return out.put(static_cast<int16_t>(data));
      case MetaType::kU32:
        return out.put(static_cast<uint32_t>(data));
      case MetaType::kI32:
        return out.put(static_cast<int32_t>(data));
      case MetaType::kU64:
        return out.put(static_cast<uint64_t>(data));
      case MetaType::kI64:
        return out.put(static_cast<int64_t>(data));
      case MetaType::kF32:
      case MetaType::kF64:
      case MetaType::kBool:
      case MetaType::kString:
      case MetaType::kArray:
      case MetaType::kNull:
        break;
    }
    CHECK(false);
  }
}

template <class T>
void put_array(ByteSink& out, MetaType element, const std::vector<T>& data) {
  out.put(static_cast<uint32_t>(element));
  out.put<uint64_t>(data.size());
  for (const T& item : data) put_scalar<T>(out, element, item);
}
void put_data(ByteSink&, const MetaValue&, std::monostate) { CHECK(false); }  // null exists in JSON only
template <class T>
void put_data(ByteSink& out, const MetaValue& value, const std::vector<T>& data) {
  put_array(out, value.element_type, data);
}
template <class T>
void put_data(ByteSink& out, const MetaValue& value, const T& data) {
  put_scalar(out, value.type, data);
}

uint64_t alignment_of(const Metadata& metadata) {
  const uint64_t alignment = metadata.get_uint("general.alignment").value_or(kGgufDefaultAlignment);
  if (!std::has_single_bit(alignment)) {
    fail(ErrorKind::kUnsupported, "general.alignment is {}, not a power of two", alignment);
  }
  return alignment;
}

uint64_t planned_bytes(const GgufTensorPlan& tensor) {
  return row_bytes(tensor.type, tensor.shape.cols()) * tensor.shape.rows();
}

void check_tensor(const GgufTensorPlan& tensor) {
  const auto refuse = [&tensor](const std::string& why) {
    fail(ErrorKind::kUnsupported, "tensor \"{}\" cannot be stored in a GGUF file: {}", printable(tensor.name), why);
  };
  const DTypeInfo& type = info(tensor.type);
  if (tensor.name.empty() || tensor.name.size() > kGgufMaxNameBytes) {
    refuse(fmt::format("its name has {} bytes, allowed are 1..{}", tensor.name.size(), kGgufMaxNameBytes));
  }
  if (tensor.name.find('\0') != std::string::npos || !is_valid_utf8(tensor.name)) refuse("its name is not plain UTF-8");
  if (type.ggml_id < 0) refuse(fmt::format("the format has no type {}", type.name));
  if (tensor.shape.elements() == 0) refuse(fmt::format("its shape {} is empty", tensor.shape.str()));
  if (tensor.shape.cols() % type.block_elements != 0) {
    refuse(fmt::format("rows of {} elements are not a multiple of the {}-element blocks of {}", tensor.shape.cols(),
                       type.block_elements, type.name));
  }
}

void put_tensor_info(ByteSink& out, const GgufTensorPlan& tensor, uint64_t offset) {
  int first = 0;  // of the dimensions to write: the last one always
  while (first < tensor.shape.rank() - 1 && tensor.shape[first] == 1) ++first;
  out.put_string(tensor.name);
  if (tensor.shape.rank() == 0) {
    out.put<uint32_t>(1);
    out.put<uint64_t>(1);
  } else {
    out.put(static_cast<uint32_t>(tensor.shape.rank() - first));
    for (int i = tensor.shape.rank() - 1; i >= first; --i) out.put(tensor.shape[i]);
  }
  out.put(static_cast<uint32_t>(info(tensor.type).ggml_id));
  out.put(offset);
}

}  // namespace

std::vector<std::byte> encode_gguf_header(const Metadata& metadata, const std::vector<GgufTensorPlan>& tensors) {
  const uint64_t alignment = alignment_of(metadata);
  ByteSink out;
  for (const char c : {'G', 'G', 'U', 'F'}) out.put(c);
  out.put(kVersion);
  out.put<uint64_t>(tensors.size());
  out.put<uint64_t>(metadata.entries().size());
  for (const Metadata::Entry& entry : metadata.entries()) {
    CHECK(!entry.key.empty() && entry.key.size() <= kGgufMaxKeyBytes);
    out.put_string(entry.key);
    out.put(static_cast<uint32_t>(entry.value.type));
    std::visit([&](const auto& data) { put_data(out, entry.value, data); }, entry.value.data);
  }
  std::unordered_set<std::string_view> names;
  uint64_t offset = 0;
  for (const GgufTensorPlan& tensor : tensors) {
    check_tensor(tensor);
    if (!names.insert(tensor.name).second) {
      fail(ErrorKind::kUnsupported, "two tensors with the name \"{}\"", printable(tensor.name));
    }
    put_tensor_info(out, tensor, offset);
    offset += round_up(planned_bytes(tensor), alignment);
  }
  if (!tensors.empty()) out.pad_to(alignment);
  return out.take();
}

GgufWriter::GgufWriter(const std::filesystem::path& path, const Metadata& metadata, std::vector<GgufTensorPlan> tensors)
    : tensors_(std::move(tensors)), alignment_(alignment_of(metadata)), file_(path) {
  const std::vector<std::byte> header = encode_gguf_header(metadata, tensors_);
  total_bytes_ = header.size();
  for (const GgufTensorPlan& tensor : tensors_) total_bytes_ += round_up(planned_bytes(tensor), alignment_);
  file_.reserve(total_bytes_);
  file_.write(header);
}

void GgufWriter::append(std::span<const std::byte> bytes) {
  CHECK(current_ < tensors_.size());
  const uint64_t wanted = planned_bytes(tensors_[current_]);
  CHECK(bytes.size() <= wanted - current_bytes_);
  file_.write(bytes);
  current_bytes_ += bytes.size();
  if (current_bytes_ < wanted) return;
  file_.write_zeros(round_up(wanted, alignment_) - wanted);
  ++current_;
  current_bytes_ = 0;
}

void GgufWriter::finish() {
  CHECK(current_ == tensors_.size());
  CHECK(file_.written() == total_bytes_);
  file_.commit();
}

}  // namespace stretto
