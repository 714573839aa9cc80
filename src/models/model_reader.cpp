#include "models/model_reader.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "formats/formats.h"
#include "models/known_keys.h"

namespace stretto {
namespace {

// Multimodal checkpoints put the text model below language_model; the text names are what remains without it.
std::string text_name(std::string name) {
  static constexpr std::string_view kMark = "language_model.";
  if (const size_t at = name.find(kMark); at != std::string::npos) name.erase(at, kMark.size());
  return name;
}

// Equal but for leading dimensions of 1, which GGUF does not keep.
bool same_shape(const Shape& a, const Shape& b) {
  int i = 0, j = 0;
  while (i < a.rank() && a[i] == 1) ++i;
  while (j < b.rank() && b[j] == 1) ++j;
  if (a.rank() - i != b.rank() - j) return false;
  for (; i < a.rank(); ++i, ++j)
    if (a[i] != b[j]) return false;
  return true;
}

}  // namespace

ModelReader::ModelReader(const Checkpoint& checkpoint, std::string architecture, std::span<const TensorName> deviations)
    : checkpoint_(checkpoint),
      architecture_(std::move(architecture)),
      deviations_(deviations),
      recorder_(architecture_) {
  const bool nested = std::any_of(checkpoint.metadata().entries().begin(), checkpoint.metadata().entries().end(),
                                  [](const Metadata::Entry& e) { return e.key.starts_with("text_config."); });
  if (!is_gguf() && nested) hf_prefix_ = "text_config.";
  for (const StoredTensor& t : checkpoint.tensors()) {
    const std::string name = is_gguf() ? t.name : text_name(t.name);
    if (!is_gguf() && is_known_unused_tensor(name)) continue;
    tensors_.emplace(name, &t);
  }
}

std::string ModelReader::key_name(ConfigKey key) const {
  if (is_gguf()) return architecture_ + "." + std::string(key.gguf);
  return hf_prefix_ + std::string(key.hf);
}

const MetaValue* ModelReader::lookup(ConfigKey key, std::string* full_name) {
  if ((is_gguf() ? key.gguf : key.hf).empty()) return nullptr;
  *full_name = key_name(key);
  if (!is_gguf() && !checkpoint_.metadata().has(*full_name)) *full_name = std::string(key.hf);
  used_keys_.insert(*full_name);
  return checkpoint_.metadata().has(*full_name) ? checkpoint_.metadata().find(*full_name) : nullptr;
}

uint64_t ModelReader::uint(ConfigKey key, uint64_t max) {
  if (const auto v = find_uint(key, max)) return *v;
  fail(ErrorKind::kInvalidModel, "{}: required key {} is missing", checkpoint_.path().string(), key_name(key));
}

double ModelReader::number(ConfigKey key) {
  if (const auto v = find_number(key)) return *v;
  fail(ErrorKind::kInvalidModel, "{}: required key {} is missing", checkpoint_.path().string(), key_name(key));
}

std::optional<uint64_t> ModelReader::find_uint(ConfigKey key, uint64_t max) {
  std::string name;
  return lookup(key, &name) ? checkpoint_.metadata().get_uint(name, max) : std::nullopt;
}

std::optional<double> ModelReader::find_number(ConfigKey key) {
  std::string name;
  return lookup(key, &name) ? checkpoint_.metadata().get_float(name) : std::nullopt;
}

std::optional<bool> ModelReader::find_bool(ConfigKey key) {
  std::string name;
  return lookup(key, &name) ? checkpoint_.metadata().get_bool(name) : std::nullopt;
}

std::optional<std::string> ModelReader::find_string(ConfigKey key) {
  std::string name;
  return lookup(key, &name) ? checkpoint_.metadata().get_string(name) : std::nullopt;
}

std::optional<std::vector<uint64_t>> ModelReader::find_uints(ConfigKey key) {
  std::string name;
  return lookup(key, &name) ? checkpoint_.metadata().get_uints(name) : std::nullopt;
}

void ModelReader::expect_bool(ConfigKey key, bool value, std::string_view why) {
  if (find_bool(key).value_or(value) != value) fail(ErrorKind::kUnsupported, "{} = {}: {}", key_name(key), !value, why);
}

void ModelReader::expect_string(ConfigKey key, std::string_view value, std::string_view why) {
  const std::string got = find_string(key).value_or(std::string(value));
  if (got != value) fail(ErrorKind::kUnsupported, "{} = \"{}\", wanted \"{}\": {}", key_name(key), got, value, why);
}

void ModelReader::ignore(std::initializer_list<ConfigKey> keys) {
  std::string name;
  for (const ConfigKey& key : keys) lookup(key, &name);
}

std::string_view ModelReader::pattern(std::string_view role) const {
  for (const auto names : {deviations_, standard_tensor_names()})
    for (const TensorName& n : names)
      if (n.role == role) return is_gguf() ? n.gguf : n.hf;
  CHECK(!"a role without a name");
  return {};
}

std::string ModelReader::stored_name(std::string_view role, int layer, int expert) const {
  return expand_tensor_name(pattern(role), layer, expert);
}

const StoredTensor* ModelReader::find_stored(const std::string& name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : it->second;
}

bool ModelReader::has(std::string_view role, int layer) const {
  return find_stored(stored_name(role, layer)) != nullptr;
}

uint64_t ModelReader::rows_of(std::string_view role, int layer) const {
  const StoredTensor* t = find_stored(stored_name(role, layer));
  return t == nullptr ? 0 : t->view.shape.rows();
}

void ModelReader::ignore_tensor(std::string_view role, int layer) { used_tensors_.insert(stored_name(role, layer)); }

const StoredTensor& ModelReader::take(const std::string& name, const Shape& shape) {
  const StoredTensor* t = find_stored(name);
  if (t == nullptr) fail(ErrorKind::kInvalidModel, "{}: tensor {} is missing", checkpoint_.path().string(), name);
  if (!same_shape(t->view.shape, shape)) {
    fail(ErrorKind::kInvalidModel, "{}: tensor {} has shape {}, the model's configuration wants {}",
         checkpoint_.path().string(), name, t->view.shape.str(), shape.str());
  }
  if (!has_format(t->view.type)) {
    fail(ErrorKind::kUnsupported, "{}: tensor {} is {}, an encoding that Stretto does not read",
         checkpoint_.path().string(), name, stretto::name(t->view.type));
  }
  used_tensors_.insert(name);
  return *t;
}

WeightId ModelReader::record(std::string_view role, int layer, const Shape& shape, const Layout& layout,
                             std::vector<WeightSlice> slices) {
  const bool vector = shape.rank() == 1;
  const DType type = layout.as_f32 || vector ? DType::kF32 : slices.front().source.type;
  for (WeightSlice& s : slices) {
    s.order = layout.order;
    s.head_dim = layout.head_dim;
    if (type != DType::kF32 && s.source.type != type) {
      fail(ErrorKind::kUnsupported, "{}: layer {} {} mixes {} and {}; one weight must have one encoding",
           checkpoint_.path().string(), layer, role, name(type), name(s.source.type));
    }
  }
  std::string own = layer < 0 ? std::string(role) : fmt::format("blk.{}.{}", layer, role);
  return recorder_.weight({std::move(own), type, shape}, {std::move(slices)});
}

WeightId ModelReader::weight(std::string_view role, int layer, const Shape& shape, const Layout& layout) {
  const StoredTensor& t = take(stored_name(role, layer), shape);
  WeightSlice slice{.source = t.view, .first_row = 0, .n_rows = shape.rows()};
  if (shape.rank() == 1 && layout.order != RowOrder::kAsStored) {  // a vector whose elements are reordered
    slice.source.shape = Shape{shape.cols(), 1};
    slice.n_rows = shape.cols();
  }
  return record(role, layer, shape, layout, {slice});
}

WeightId ModelReader::find_weight(std::string_view role, int layer, const Shape& shape, const Layout& layout) {
  return has(role, layer) ? weight(role, layer, shape, layout) : WeightId{};
}

WeightId ModelReader::weight_rows(std::string_view role, std::string_view fused_role, int layer, const Shape& shape,
                                  uint64_t first_row, uint64_t fused_rows, const Layout& layout) {
  const bool vector = shape.rank() == 1;
  const StoredTensor& t =
      take(stored_name(fused_role, layer), vector ? Shape{fused_rows} : Shape{fused_rows, shape.cols()});
  WeightSlice slice{.source = t.view, .first_row = first_row, .n_rows = vector ? shape.cols() : shape.rows()};
  if (vector) slice.source.shape = Shape{fused_rows, 1};
  return record(role, layer, shape, layout, {slice});
}

WeightId ModelReader::weight_part(std::string_view role, int layer, const Shape& stored, uint64_t part,
                                  const Shape& shape) {
  const StoredTensor& t = take(stored_name(role, layer), stored);
  if (shape.cols() % info(t.view.type).block_elements != 0)
    fail(ErrorKind::kUnsupported, "{}: tensor {} is {}, whose blocks do not divide into its {} parts",
         checkpoint_.path().string(), stored_name(role, layer), stretto::name(t.view.type), stored[0]);
  WeightSlice slice{.source = t.view, .first_row = part * shape.rows(), .n_rows = shape.rows()};
  slice.source.shape = Shape{stored.elements() / shape.cols(), shape.cols()};
  return record(fmt::format("{}.{}", role, part), layer, shape, {.as_f32 = true}, {slice});
}

WeightId ModelReader::expert_weight(std::string_view role, int layer, const Shape& shape) {
  if (pattern(role).find("{e}") == std::string_view::npos) return weight(role, layer, shape);
  std::vector<WeightSlice> slices;
  for (uint64_t e = 0; e < shape[0]; ++e) {
    const StoredTensor& t = take(stored_name(role, layer, static_cast<int>(e)), Shape{shape[1], shape[2]});
    slices.push_back({.source = t.view, .first_row = 0, .n_rows = shape[1]});
  }
  return record(role, layer, shape, {}, std::move(slices));
}

WeightId ModelReader::expert_half(std::string_view role, std::string_view fused_role, int layer, const Shape& shape,
                                  int part) {
  const StoredTensor& t = take(stored_name(fused_role, layer), Shape{shape[0], 2 * shape[1], shape[2]});
  std::vector<WeightSlice> slices;
  for (uint64_t e = 0; e < shape[0]; ++e)
    slices.push_back(
        {.source = t.view, .first_row = (2 * e + static_cast<uint64_t>(part)) * shape[1], .n_rows = shape[1]});
  return record(role, layer, shape, {}, std::move(slices));
}

std::vector<float> ModelReader::read_vector(std::string_view role, uint64_t n) {
  const std::string name = stored_name(role, -1);
  if (name.empty() || find_stored(name) == nullptr) return {};
  const StoredTensor& t = take(name, Shape{n});
  std::vector<float> out(n);
  decode_row(t.view.type, t.view.bytes.data(), n, out.data());
  return out;
}

std::vector<std::string> ModelReader::finish(Strictness strictness) {
  std::vector<std::string> left;
  const std::string own_prefix = architecture_ + ".";
  for (const Metadata::Entry& e : checkpoint_.metadata().entries()) {
    const bool relevant = is_gguf()
                              ? e.key.starts_with(own_prefix)
                              : !is_known_unused_config_key(e.key, hf_prefix_) && checkpoint_.metadata().has(e.key);
    if (relevant && !used_keys_.contains(e.key))
      left.push_back(fmt::format("unknown key {} = {}", e.key, describe(e.value)));
  }
  for (const StoredTensor& t : checkpoint_.tensors()) {
    const std::string name = is_gguf() ? t.name : text_name(t.name);
    if (tensors_.contains(name) && !used_tensors_.contains(name))
      left.push_back(fmt::format("unused tensor {} {} {}", name, stretto::name(t.view.type), t.view.shape.str()));
  }
  if (strictness == Strictness::kLenient || left.empty()) return left;
  std::string all;
  for (size_t i = 0; i < left.size() && i < 8; ++i) all += "\n  " + left[i];
  if (left.size() > 8) all += fmt::format("\n  and {} more", left.size() - 8);
  fail(ErrorKind::kInvalidModel,
       "{}: architecture {} does not use everything in this model, so its result would be wrong without a word:{}\n"
       "--lenient turns this into warnings",
       checkpoint_.path().string(), architecture_, all);
}

}  // namespace stretto
