#include "checkpoint/pt_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "base/checked.h"
#include "base/error.h"
#include "checkpoint/mapped_file.h"
#include "checkpoint/pickle.h"
#include "checkpoint/utf8.h"
#include "checkpoint/zip_archive.h"

namespace stretto {
namespace {

constexpr std::string_view kLegacyMagic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14);
constexpr std::string_view kStateKeys[] = {"model_state_dict", "state_dict", "model",  "module",
                                           "ema_state_dict",   "net",        "params", "weights"};
constexpr std::string_view kPrefixes[] = {"module.", "_orig_mod."};
constexpr size_t kMaxNameBytes = 4096, kMaxConfigValues = 100'000;
constexpr int kMaxConfigDepth = 16;
// Copies of views, in sizes of the file: views that repeat elements could otherwise ask for any amount.
constexpr uint64_t kMaxCopies = 4;

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class PtReader {
 public:
  PtReader(std::span<const std::byte> file, std::string_view label, const PtOptions& options)
      : file_(file), label_(label), options_(options) {}

  PtContent read() {
    if (as_text(file_).starts_with(kLegacyMagic))
      refuse("written by PyTorch before 1.6; load it there and save it again, then convert that file");
    members_ = parse_zip(file_, label_);
    const ZipMember& pickle = find_pickle();
    check_layout();
    verify(pickle);
    pickle_ = parse_pickle(pickle.bytes, fmt::format("{}: {}", label_, printable(pickle.name)));
    take_tensors(find_state());
    if (const auto config = pickle_.find(pickle_.root, "config"))
      if (pickle_[*config].kind == PickleKind::kDict) take_config("", *config, 0);
    return std::move(out_);
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... args) const {
    fail(ErrorKind::kInvalidModel, "{}: {}", label_, fmt::format(text, std::forward<Args>(args)...));
  }
  const ZipMember* find(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &members_[found->second];
  }

  // The one data.pkl; the folder it lies in is the root of all other names.
  const ZipMember& find_pickle() {
    const ZipMember* pickle = nullptr;
    for (size_t i = 0; i < members_.size(); ++i) {
      const std::string& name = members_[i].name;
      by_name_.emplace(name, i);
      const size_t slash = name.find('/');
      if (slash == std::string::npos || name.substr(slash + 1) != "data.pkl") continue;
      if (pickle != nullptr) refuse("two members named data.pkl");
      pickle = &members_[i];
      root_ = name.substr(0, slash + 1);
    }
    if (pickle == nullptr) refuse("no data.pkl: not a checkpoint of torch.save");
    return *pickle;
  }

  void check_layout() const {
    for (const ZipMember& m : members_) {
      const bool script = m.name.starts_with(root_ + "code/") || m.name == root_ + "constants.pkl";
      if (script) refuse("a TorchScript archive (it holds {}); save the state dict instead", printable(m.name));
    }
    const ZipMember* const order = find(root_ + "byteorder");
    if (order != nullptr && as_text(order->bytes) != "little")
      refuse("its byte order is \"{}\", wanted \"little\"", printable(as_text(order->bytes)));
  }

  void verify(const ZipMember& member) const {
    if (const uint32_t sum = crc32(member.bytes); sum != member.crc32)
      refuse("member \"{}\" has the checksum {:08x}, the directory says {:08x} (damaged)", printable(member.name), sum,
             member.crc32);
  }

  static bool is_dict(const PickleValue& v) { return v.kind == PickleKind::kDict && !v.items.empty(); }

  // Whether most values are tensors.
  bool is_state(PickleId id) const {
    const PickleValue& v = pickle_[id];
    if (!is_dict(v)) return false;
    size_t n_tensors = 0;
    for (size_t i = 1; i < v.items.size(); i += 2) n_tensors += pickle_[v.items[i]].kind == PickleKind::kTensor;
    return 2 * n_tensors > v.items.size() / 2;
  }

  PickleId find_state() const {
    if (pickle_[pickle_.root].kind != PickleKind::kDict) refuse("its top value is no dict");
    if (is_state(pickle_.root)) return pickle_.root;
    for (const std::string_view key : kStateKeys) {
      const auto found = pickle_.find(pickle_.root, key);
      if (!found) continue;
      if (is_state(*found)) return *found;
      for (const std::string_view inner : kStateKeys) {
        const auto below = pickle_.find(*found, inner);
        if (below && is_state(*below)) return *below;
      }
    }
    std::string keys;
    const std::vector<PickleId>& items = pickle_[pickle_.root].items;
    for (size_t i = 0; i < items.size() && keys.size() < 400; i += 2) keys += " " + printable(key_text(items[i]));
    refuse("no dict of tensors at the top or under one of the usual keys; the top has:{}", keys);
  }

  std::string key_text(PickleId id) const {
    const PickleValue& key = pickle_[id];
    return key.kind == PickleKind::kInt ? std::to_string(key.integer) : key.text;
  }

  void take_tensors(PickleId state) {
    const std::vector<PickleId>& items = pickle_[state].items;
    std::vector<std::pair<std::string, const PickleTensor*>> named;
    size_t n_others = 0;
    for (size_t i = 0; i < items.size(); i += 2) {
      const PickleValue& v = pickle_[items[i + 1]];
      if (v.kind != PickleKind::kTensor) {
        ++n_others;
        continue;
      }
      named.emplace_back(key_text(items[i]), &pickle_.tensors[static_cast<size_t>(v.integer)]);
    }
    if (n_others > 0) out_.warnings.push_back(fmt::format("{} entries of the state dict are no tensors", n_others));
    strip_prefixes(named);
    std::unordered_set<std::string> names;
    for (const auto& [name, tensor] : named) {
      check_name(name);
      if (!names.insert(name).second) refuse("two tensors with the name \"{}\"", printable(name));
      out_.tensors.push_back({name, view(name, *tensor)});
    }
  }

  static void strip_prefixes(std::vector<std::pair<std::string, const PickleTensor*>>& named) {
    for (bool again = true; again;) {
      again = false;
      for (const std::string_view prefix : kPrefixes) {
        if (!std::ranges::all_of(named, [&](const auto& n) { return n.first.starts_with(prefix); })) continue;
        for (auto& n : named) n.first.erase(0, prefix.size());
        again = true;
      }
    }
  }

  void check_name(const std::string& name) const {
    const bool plain = std::ranges::none_of(name, [](char c) { return static_cast<uint8_t>(c) < 32 || c == 127; });
    if (name.empty() || name.size() > kMaxNameBytes || !plain)
      refuse("a tensor's name, {} bytes, is empty, too long or has control characters", name.size());
  }

  // The bytes of a storage, verified once.
  std::span<const std::byte> storage_bytes(const std::string& name, const PickleStorage& storage) {
    const std::string member_name = root_ + "data/" + storage.key;
    const ZipMember* const member = find(member_name);
    if (member == nullptr) refuse("tensor \"{}\": its storage {} is missing", printable(name), printable(member_name));
    const auto wanted = checked_mul(storage.n_elements, info(storage.type).block_bytes);
    if (!wanted || *wanted > member->bytes.size())
      refuse("tensor \"{}\": {} has {} bytes, too few for {} elements of {}", printable(name), printable(member_name),
             member->bytes.size(), storage.n_elements, stretto::name(storage.type));
    if (options_.verify_storages && verified_.insert(member).second) verify(*member);
    return member->bytes;
  }

  TensorView view(const std::string& name, const PickleTensor& t) {
    const PickleStorage& storage = pickle_.storages[t.storage];
    const std::span<const std::byte> bytes = storage_bytes(name, storage);
    const uint64_t element = info(storage.type).block_bytes;
    uint64_t n = 1, leading = 1;
    bool contiguous = true;
    for (size_t i = t.size.size(); i-- > 0;) {
      contiguous &= t.size[i] == 1 || t.stride[i] == n;
      const auto product = checked_mul(n, t.size[i]);
      if (!product) refuse("tensor \"{}\": its size overflows 64 bits", printable(name));
      n = *product;
    }
    TensorView out{.type = storage.type, .shape = {}, .bytes = {}};
    const size_t n_joined = t.size.size() > Shape::kMaxRank ? t.size.size() - Shape::kMaxRank : 0;
    for (size_t i = 0; i < n_joined; ++i) leading *= t.size[i];
    std::vector<uint64_t> dims(t.size.begin() + static_cast<int64_t>(n_joined), t.size.end());
    if (n_joined > 0) dims[0] *= leading;
    out.shape = Shape(dims);
    if (n == 0) return out;
    // Elements of a contiguous view are elements of its storage, so these products fit.
    out.bytes = contiguous ? bytes.subspan(t.offset * element, n * element) : copy(name, t, bytes, n, element);
    return out;
  }

  std::span<const std::byte> copy(const std::string& name, const PickleTensor& t, std::span<const std::byte> from,
                                  uint64_t n, uint64_t element) {
    const auto n_bytes = checked_mul(n, element);
    const auto total = n_bytes ? checked_add(copied_bytes_, *n_bytes) : std::nullopt;
    if (!total || *total / kMaxCopies > file_.size())
      refuse("tensor \"{}\": its view of {} elements is too large for a file of {} bytes", printable(name), n,
             file_.size());
    copied_bytes_ = *total;
    out_.copies.push_back(std::make_unique<std::byte[]>(*n_bytes));
    std::byte* const to = out_.copies.back().get();
    std::vector<uint64_t> index(t.size.size());
    uint64_t at = t.offset;
    for (uint64_t i = 0; i < n; ++i) {
      std::memcpy(to + i * element, from.data() + at * element, element);
      for (size_t k = index.size(); k-- > 0;) {  // the next index, last dimension fastest
        at += t.stride[k];
        if (++index[k] < t.size[k]) break;
        at -= t.stride[k] * t.size[k];
        index[k] = 0;
      }
    }
    return {to, *n_bytes};
  }

  void take_config(const std::string& prefix, PickleId dict, int depth) {
    if (depth > kMaxConfigDepth) refuse("its config is nested deeper than {}", kMaxConfigDepth);
    const std::vector<PickleId>& items = pickle_[dict].items;
    for (size_t i = 0; i < items.size(); i += 2) {
      const std::string key = prefix + key_text(items[i]);
      // Counted as met, not as kept: dicts may be shared, and then there are far more paths than dicts.
      if (key.size() > kMaxNameBytes || ++n_config_values_ > kMaxConfigValues)
        refuse("its config has more than {} values, or a key of more than {} bytes", kMaxConfigValues, kMaxNameBytes);
      if (pickle_[items[i + 1]].kind == PickleKind::kDict) {
        take_config(key + ".", items[i + 1], depth + 1);
      } else if (!out_.config.add(key, config_value(key, items[i + 1]))) {
        refuse("its config has two values for \"{}\"", printable(key));
      }
    }
  }

  MetaValue config_value(const std::string& key, PickleId id) const {
    const PickleValue& v = pickle_[id];
    switch (v.kind) {
      case PickleKind::kNone:
        return {};
      case PickleKind::kBool:
        return MetaValue::boolean(v.integer != 0);
      case PickleKind::kInt:
        if (v.integer < 0) return {MetaType::kI64, MetaType::kNull, v.integer};
        return {MetaType::kU64, MetaType::kNull, static_cast<uint64_t>(v.integer)};
      case PickleKind::kFloat:
        return {MetaType::kF64, MetaType::kNull, v.number};
      case PickleKind::kString:
        return MetaValue::string(v.text);
      case PickleKind::kGlobal:
        return MetaValue::string(v.text);
      case PickleKind::kList:
      case PickleKind::kTuple:
        return config_array(key, v.items);
      default:
        refuse("the value of \"{}\" in its config is neither a scalar nor a list of integers", printable(key));
    }
  }

  MetaValue config_array(const std::string& key, const std::vector<PickleId>& items) const {
    std::vector<uint64_t> numbers;
    for (const PickleId item : items) {
      if (pickle_[item].kind != PickleKind::kInt || pickle_[item].integer < 0)
        refuse("the list \"{}\" in its config holds other than integers from 0 on", printable(key));
      numbers.push_back(static_cast<uint64_t>(pickle_[item].integer));
    }
    const MetaType element = numbers.empty() ? MetaType::kNull : MetaType::kU64;
    return {MetaType::kArray, element, std::move(numbers)};
  }

  std::span<const std::byte> file_;
  std::string_view label_;
  PtOptions options_;
  std::vector<ZipMember> members_;
  std::unordered_map<std::string, size_t> by_name_;
  std::unordered_set<const ZipMember*> verified_;
  std::string root_;
  Pickle pickle_;
  uint64_t copied_bytes_ = 0;
  size_t n_config_values_ = 0;
  PtContent out_;
};

class PtCheckpoint final : public Checkpoint {
 public:
  PtCheckpoint(const std::filesystem::path& path, const PtOptions& options) : file_(path) {
    container_ = Container::kHuggingFace;
    path_ = path;
    PtContent content = parse_pt(file_.bytes(), path.string(), options);
    copies_ = std::move(content.copies);
    warnings_ = std::move(content.warnings);
    metadata_ = std::move(content.config);
    if (metadata_.entries().empty())
      fail(ErrorKind::kInvalidModel, "{}: it holds no dict \"config\" that says what the model is", path.string());
    if (!metadata_.has("model_type") && metadata_.find("swap_layers") != nullptr)
      metadata_.add("model_type", MetaValue::string("swap_ffn"));
    for (StoredTensor& tensor : content.tensors) add_tensor(std::move(tensor));
  }

 private:
  MappedFile file_;
  std::vector<std::unique_ptr<std::byte[]>> copies_;
};

}  // namespace

PtContent parse_pt(std::span<const std::byte> file, std::string_view label, const PtOptions& options) {
  return PtReader(file, label, options).read();
}

std::unique_ptr<Checkpoint> open_pt(const std::filesystem::path& path, const PtOptions& options) {
  return std::make_unique<PtCheckpoint>(path, options);
}

}  // namespace stretto
