#include "checkpoint/huggingface.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/mapped_file.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/utf8.h"

namespace stretto {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr size_t kMaxIndexBytes = size_t{256} << 20;
constexpr int kMaxConfigDepth = 32;
constexpr int kMaxIndexDepth = 8;
constexpr size_t kMaxConfigKeys = 200'000;
constexpr size_t kMaxConfigKeyBytes = 1024;
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kSingleName = "model.safetensors";

// ---- config.json ----

MetaValue unsigned_value(uint64_t v) { return {MetaType::kU64, MetaType::kNull, v}; }
MetaValue signed_value(int64_t v) { return {MetaType::kI64, MetaType::kNull, v}; }
MetaValue float_value(double v) { return {MetaType::kF64, MetaType::kNull, v}; }

// transformers 5 writes the floats that JSON lacks as {"__float__": "Infinity"}.
std::optional<double> spelled_float(const Json& value) {
  if (!value.is_object() || value.size() != 1 || !value.contains("__float__")) return std::nullopt;
  const Json& text = value["__float__"];
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

// nullopt: an object or an array.
std::optional<MetaValue> scalar(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return MetaValue{};
    case Json::value_t::boolean:
      return MetaValue::boolean(value.get<bool>());
    case Json::value_t::string:
      return MetaValue::string(value.get<std::string>());
    case Json::value_t::number_unsigned:
      return unsigned_value(value.get<uint64_t>());
    case Json::value_t::number_float:
      return float_value(value.get<double>());
    case Json::value_t::number_integer: {
      const auto v = value.get<int64_t>();
      return v >= 0 ? unsigned_value(static_cast<uint64_t>(v)) : signed_value(v);
    }
    default:
      break;
  }
  if (const auto v = spelled_float(value)) return float_value(*v);
  return std::nullopt;
}

double as_double(const MetaValue& v) {
  if (const auto* u = std::get_if<uint64_t>(&v.data)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<int64_t>(&v.data)) return static_cast<double>(*i);
  return std::get<double>(v.data);
}

bool fits_signed(const MetaValue& v) {
  const auto* u = std::get_if<uint64_t>(&v.data);
  return u == nullptr || *u <= static_cast<uint64_t>(INT64_MAX);
}

int64_t as_signed(const MetaValue& v) {
  if (const auto* u = std::get_if<uint64_t>(&v.data)) return static_cast<int64_t>(*u);
  return std::get<int64_t>(v.data);
}

template <class T, class Get>
MetaValue array_of(MetaType element, const std::vector<MetaValue>& items, Get get) {
  std::vector<T> out;
  out.reserve(items.size());
  for (const MetaValue& item : items) out.push_back(get(item));
  return {MetaType::kArray, element, std::move(out)};
}

// An array of scalars of one kind; nullopt when the kinds do not go together.
std::optional<MetaValue> uniform_array(const std::vector<MetaValue>& items) {
  if (items.empty()) return MetaValue{MetaType::kArray, MetaType::kNull, std::vector<uint64_t>{}};
  const auto count = [&items](MetaType type) {
    return static_cast<size_t>(
        std::count_if(items.begin(), items.end(), [type](const auto& v) { return v.type == type; }));
  };
  const size_t n_unsigned = count(MetaType::kU64);
  const size_t n_signed = count(MetaType::kI64);
  const size_t n_float = count(MetaType::kF64);
  const size_t n = items.size();
  if (count(MetaType::kString) == n) {
    return array_of<std::string>(MetaType::kString, items, [](const auto& v) { return std::get<std::string>(v.data); });
  }
  if (count(MetaType::kBool) == n) {
    return array_of<bool>(MetaType::kBool, items, [](const auto& v) { return std::get<bool>(v.data); });
  }
  if (n_unsigned == n) {
    return array_of<uint64_t>(MetaType::kU64, items, [](const auto& v) { return std::get<uint64_t>(v.data); });
  }
  if (n_unsigned + n_signed == n && std::all_of(items.begin(), items.end(), fits_signed)) {
    return array_of<int64_t>(MetaType::kI64, items, as_signed);
  }
  if (n_unsigned + n_signed + n_float == n) return array_of<double>(MetaType::kF64, items, as_double);
  return std::nullopt;
}

class Flattener {
 public:
  explicit Flattener(std::string_view label) : label_(label) {}

  void flatten(const std::string& key, const Json& value) {
    if (std::optional<MetaValue> v = scalar(value)) return add(key, std::move(*v));
    if (value.is_object()) {
      for (const auto& item : value.items()) flatten(key.empty() ? item.key() : key + "." + item.key(), item.value());
      return;
    }
    if (std::optional<MetaValue> v = array_of_scalars(value)) return add(key, std::move(*v));
    size_t index = 0;
    for (const Json& item : value) flatten(fmt::format("{}.{}", key, index++), item);
  }
  Metadata take() { return std::move(out_); }

 private:
  void add(const std::string& key, MetaValue value) {
    if (key.size() > kMaxConfigKeyBytes || out_.entries().size() >= kMaxConfigKeys) {
      fail(ErrorKind::kInvalidModel, "{}: more than {} values, or a key of more than {} bytes (\"{}\")", label_,
           kMaxConfigKeys, kMaxConfigKeyBytes, printable(key));
    }
    if (!out_.add(key, std::move(value))) {
      fail(ErrorKind::kInvalidModel, "{}: two values for the key \"{}\"", label_, printable(key));
    }
  }

  static std::optional<MetaValue> array_of_scalars(const Json& array) {
    std::vector<MetaValue> items;
    for (const Json& item : array) {
      std::optional<MetaValue> v = scalar(item);
      if (!v) return std::nullopt;
      items.push_back(std::move(*v));
    }
    return uniform_array(items);
  }

  std::string_view label_;
  Metadata out_{/*from_json=*/true};
};

// ---- files of the directory ----

bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name.find("..") == std::string::npos &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

// The directory that a file of the model may really lie in.
fs::path allowed_root(const fs::path& real_dir) {
  const fs::path snapshots = real_dir.parent_path();
  const fs::path repository = snapshots.parent_path();
  const bool cached = snapshots.filename() == "snapshots" && repository.filename().string().starts_with("models--");
  return cached ? repository : real_dir;
}

bool is_below(const fs::path& path, const fs::path& root) {
  return std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first == root.end();
}

std::vector<std::string> names_with_extension(const fs::path& dir, std::string_view extension) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename().string();
    if (name.ends_with(extension) && name[0] != '.') names.push_back(std::move(name));
  }
  if (error) fail(ErrorKind::kNotFound, "{}: cannot list the directory: {}", dir.string(), error.message());
  std::sort(names.begin(), names.end());
  return names;
}

// model.safetensors.index.json: which tensor lies in which file.
struct WeightIndex {
  std::unordered_map<std::string, std::string> file_of;  // by tensor name
  std::vector<std::string> files;                        // sorted
  std::optional<uint64_t> total_size;
};

WeightIndex read_index(const fs::path& path) {
  const std::string label = path.string();
  JsonOptions options;
  options.max_depth = kMaxIndexDepth;
  const Json root = parse_json(read_small_file(path, kMaxIndexBytes), label, options);
  const auto map = root.is_object() ? root.find("weight_map") : root.end();
  if (!root.is_object() || map == root.end() || !map->is_object()) {
    fail(ErrorKind::kInvalidModel, "{}: \"weight_map\" is missing or not an object", label);
  }
  WeightIndex out;
  for (const auto& item : map->items()) {
    if (!item.value().is_string()) {
      fail(ErrorKind::kInvalidModel, "{}: the file of tensor \"{}\" is not a string", label, printable(item.key()));
    }
    const auto file = item.value().get<std::string>();
    if (!is_plain_name(file) || !file.ends_with(".safetensors")) {
      fail(ErrorKind::kInvalidModel,
           "{}: tensor \"{}\" is in \"{}\", wanted the plain name of a .safetensors file in the same directory", label,
           printable(item.key()), printable(file));
    }
    out.file_of.emplace(item.key(), file);
    out.files.push_back(file);
  }
  std::sort(out.files.begin(), out.files.end());
  out.files.erase(std::unique(out.files.begin(), out.files.end()), out.files.end());
  if (const auto metadata = root.find("metadata"); metadata != root.end() && metadata->is_object()) {
    const auto size = metadata->find("total_size");
    if (size != metadata->end() && size->is_number_unsigned()) out.total_size = size->get<uint64_t>();
  }
  return out;
}

class HuggingFaceCheckpoint final : public Checkpoint {
 public:
  HuggingFaceCheckpoint(const fs::path& dir, const OpenOptions& options) {
    container_ = Container::kHuggingFace;
    path_ = dir;
    const std::optional<fs::path> config = find_side_file(dir, "config.json");
    if (!config && options.metadata_only && has_tokenizer(dir)) return;  // a tokenizer on its own
    if (!config) no_config();
    metadata_ = flatten_config(read_small_file(*config, kMaxConfigBytes), config->string());
    if (options.metadata_only) return;
    if (const std::optional<fs::path> index = find_side_file(dir, kIndexName)) {
      open_indexed(*index);
    } else if (find_side_file(dir, kSingleName)) {
      open_file(kSingleName);
    } else {
      open_all();
    }
  }

 private:
  static bool has_tokenizer(const fs::path& dir) {
    return find_side_file(dir, "tokenizer.json") || find_side_file(dir, "vocab.json") ||
           find_side_file(dir, "tokenizer.model") || find_side_file(dir, "tekken.json");
  }
  [[noreturn]] void no_config() const {
    const std::vector<std::string> gguf = names_with_extension(path_, ".gguf");
    if (gguf.empty()) fail(ErrorKind::kNotFound, "{}: the directory has no config.json", path_.string());
    std::string list;
    for (const std::string& name : gguf) list += "\n  " + (path_ / name).string();
    fail(ErrorKind::kBadArgument, "{}: the directory has no config.json but GGUF files; name one of them:{}",
         path_.string(), list);
  }

  void open_file(const std::string& name) {
    const std::optional<fs::path> path = find_side_file(path_, name);
    if (!path) fail(ErrorKind::kNotFound, "{}: the weight file is missing", (path_ / name).string());
    const SafetensorsFile& file = files_.emplace_back(*path);
    for (const StoredTensor& tensor : file.tensors()) {
      if (find(tensor.name) != nullptr) {
        fail(ErrorKind::kInvalidModel, "{}: tensor \"{}\" is already in another file of the model", path->string(),
             printable(tensor.name));
      }
      add_tensor(tensor);
    }
  }

  void open_indexed(const fs::path& index_path) {
    const WeightIndex index = read_index(index_path);
    for (const std::string& name : index.files) {
      const size_t first = tensors_.size();
      open_file(name);
      for (size_t i = first; i < tensors_.size(); ++i) {
        const auto it = index.file_of.find(tensors_[i].name);
        if (it == index.file_of.end() || it->second != name) {
          fail(ErrorKind::kInvalidModel, "{}: holds tensor \"{}\", but {} {}", (path_ / name).string(),
               printable(tensors_[i].name), kIndexName,
               it == index.file_of.end() ? "does not list it" : "places it in " + it->second);
        }
      }
    }
    for (const auto& [tensor, file] : index.file_of) {
      if (find(tensor) == nullptr) {
        fail(ErrorKind::kInvalidModel, "{}: tensor \"{}\" is not in {}", index_path.string(), printable(tensor), file);
      }
    }
    if (index.total_size && *index.total_size != tensor_bytes()) {
      warnings_.push_back(fmt::format("{}: total_size is {}, the tensors have {} bytes", kIndexName, *index.total_size,
                                      tensor_bytes()));
    }
  }

  void open_all() {
    const std::vector<std::string> names = names_with_extension(path_, ".safetensors");
    if (names.empty()) no_weights();
    for (const std::string& name : names) open_file(name);
  }

  [[noreturn]] void no_weights() const {
    for (const std::string_view extension : {".bin", ".pt", ".pth"}) {
      const std::vector<std::string> pickled = names_with_extension(path_, extension);
      if (pickled.empty()) continue;
      fail(ErrorKind::kUnsupported, "{}: pickled weights are not read; save them as safetensors",
           (path_ / pickled.front()).string());
    }
    fail(ErrorKind::kNotFound, "{}: the directory has config.json but no *.safetensors weights", path_.string());
  }

  std::vector<SafetensorsFile> files_;
};

}  // namespace

Metadata flatten_config(std::string_view json_text, std::string_view label) {
  JsonOptions options;
  options.max_depth = kMaxConfigDepth;
  options.wide_integers_as_double = true;
  options.python_constants = true;
  const Json root = parse_json(json_text, label, options);
  if (!root.is_object()) fail(ErrorKind::kInvalidModel, "{}: the top level is not a JSON object", label);
  Flattener flattener(label);
  for (const auto& item : root.items()) flattener.flatten(item.key(), item.value());
  return flattener.take();
}

std::optional<fs::path> find_side_file(const fs::path& dir, const std::string& name) {
  const size_t slash = name.find('/');
  const bool plain = slash == std::string::npos
                         ? is_plain_name(name)
                         : is_plain_name(name.substr(0, slash)) && is_plain_name(name.substr(slash + 1));
  if (!plain)
    fail(ErrorKind::kInvalidModel, "{}: \"{}\" is not the plain name of a file", dir.string(), printable(name));
  const fs::path path = dir / name;
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return std::nullopt;
  const fs::path real = fs::canonical(path, error);
  if (error) fail(ErrorKind::kNotFound, "{}: a link to nowhere (an interrupted download?)", path.string());
  const fs::path root = allowed_root(fs::canonical(dir, error));
  if (error || !is_below(real, root)) {
    fail(ErrorKind::kInvalidModel,
         "{}: leads to {}, outside of the model's directory; copy the file instead of linking it", path.string(),
         real.string());
  }
  return path;
}

std::unique_ptr<Checkpoint> open_huggingface(const fs::path& dir, const OpenOptions& options) {
  return std::make_unique<HuggingFaceCheckpoint>(dir, options);
}

}  // namespace stretto
