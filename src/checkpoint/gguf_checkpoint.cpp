#include "checkpoint/gguf_checkpoint.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/error.h"
#include "checkpoint/gguf_reader.h"
#include "checkpoint/mapped_file.h"
#include "checkpoint/utf8.h"

namespace stretto {
namespace {

constexpr uint64_t kMaxSplitCount = 65535;  // split.no and split.count are u16

// One part of a (possibly split) file and what it says about itself.
struct Part {
  MappedFile file;
  GgufContent content;
  uint64_t number = 0;  // split.no, from 0
  uint64_t count = 0;   // split.count; 0 or 1: not split

  bool is_split() const { return count > 1; }
};

Part read_part(const std::filesystem::path& path) {
  MappedFile file(path);
  GgufContent content = parse_gguf(file.bytes(), path.string());
  const uint64_t number = content.metadata.get_uint("split.no", kMaxSplitCount).value_or(0);
  const uint64_t count = content.metadata.get_uint("split.count", kMaxSplitCount).value_or(0);
  return {std::move(file), std::move(content), number, count};
}

// The split name of a part, checked against its own keys.
SplitName name_of(const Part& part) {
  const std::string file_name = part.file.path().filename().string();
  std::optional<SplitName> name = parse_split_name(file_name);
  if (!name || name->count != part.count || name->number != part.number + 1) {
    fail(ErrorKind::kInvalidModel,
         "{}: split.no is {} and split.count is {}, so the file must be named <prefix>{}; rename it so that the other "
         "parts can be found",
         part.file.path().string(), part.number, part.count, split_file_name("", part.number + 1, part.count));
  }
  return std::move(*name);
}

class GgufCheckpoint final : public Checkpoint {
 public:
  GgufCheckpoint(const std::filesystem::path& path, const OpenOptions& options) {
    container_ = Container::kGguf;
    Part first = read_part(path);
    if (first.is_split() && first.number != 0) {
      const SplitName name = name_of(first);
      const std::filesystem::path start = path.parent_path() / split_file_name(name.prefix, 1, name.count);
      const uint64_t count = first.count;
      first = read_part(start);
      require_part(first, 0, count);
    }
    path_ = first.file.path();
    metadata_ = std::move(first.content.metadata);
    if (const auto v = metadata_.get_uint("general.quantization_version"); v && *v != 2) {
      warnings_.push_back(fmt::format("general.quantization_version is {}, known is 2", *v));
    }
    if (!first.is_split()) {
      adopt(std::move(first));
      return;
    }
    const SplitName name = name_of(first);
    adopt(std::move(first));
    if (options.metadata_only) return;
    for (uint64_t i = 1; i < name.count; ++i) {
      Part part = read_part(path_.parent_path() / split_file_name(name.prefix, i + 1, name.count));
      require_part(part, i, name.count);
      adopt(std::move(part));
    }
    require_total();
  }

 private:
  static void require_part(const Part& part, uint64_t number, uint64_t count) {
    if (part.number != number || part.count != count) {
      fail(ErrorKind::kInvalidModel, "{}: split.no is {} and split.count is {}, wanted {} and {}",
           part.file.path().string(), part.number, part.count, number, count);
    }
  }

  void adopt(Part part) {
    for (StoredTensor& tensor : part.content.tensors) {
      if (find(tensor.name) != nullptr) {
        fail(ErrorKind::kInvalidModel, "{}: tensor \"{}\" is already in an earlier part of the split file",
             part.file.path().string(), printable(tensor.name));
      }
      add_tensor(std::move(tensor));
    }
    files_.push_back(std::move(part.file));
  }

  void require_total() const {
    const auto total = metadata_.get_uint("split.tensors.count", INT32_MAX);
    if (!total) fail(ErrorKind::kInvalidModel, "{}: the key split.tensors.count is missing", path_.string());
    if (*total != tensors_.size()) {
      fail(ErrorKind::kInvalidModel, "{}: split.tensors.count is {}, the {} parts hold {} tensors", path_.string(),
           *total, files_.size(), tensors_.size());
    }
  }

  std::vector<MappedFile> files_;
};

// Decimal digits only, in the canonical width.
std::optional<uint64_t> parse_number(std::string_view digits) {
  uint64_t value = 0;
  if (digits.size() < 5 || digits.size() > 9) return std::nullopt;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (fmt::format("{:05}", value) != digits) return std::nullopt;
  return value;
}

}  // namespace

std::optional<SplitName> parse_split_name(const std::string& file_name) {
  std::string_view rest = file_name;
  constexpr std::string_view kExtension = ".gguf";
  constexpr std::string_view kOf = "-of-";
  if (!rest.ends_with(kExtension)) return std::nullopt;
  rest.remove_suffix(kExtension.size());
  const size_t of = rest.rfind(kOf);
  if (of == std::string_view::npos || of == 0) return std::nullopt;
  const size_t dash = rest.rfind('-', of - 1);
  if (dash == std::string_view::npos) return std::nullopt;
  const std::optional<uint64_t> number = parse_number(rest.substr(dash + 1, of - dash - 1));
  const std::optional<uint64_t> count = parse_number(rest.substr(of + kOf.size()));
  if (!number || !count || *number == 0 || *number > *count) return std::nullopt;
  return SplitName{std::string(rest.substr(0, dash)), *number, *count};
}

std::string split_file_name(const std::string& prefix, uint64_t number, uint64_t count) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, number, count);
}

std::unique_ptr<Checkpoint> open_gguf(const std::filesystem::path& path, const OpenOptions& options) {
  return std::make_unique<GgufCheckpoint>(path, options);
}

}  // namespace stretto
