#include "checkpoint/huggingface.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/json.h"
#include "checkpoint/fixtures.h"
#include "checkpoint/safetensors.h"

namespace stretto {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::expect_contains;
using test::write_file;

// ---- config.json ----

TEST(FlattenConfig, NestedObjectsAndKinds) {
  const Metadata m = flatten_config(R"({"model_type":"qwen3","n":4096,"neg":-1,"eps":1e-06,"tie":true,"none":null,
    "rope_parameters":{"rope_theta":1000000,"full_attention":{"factor":8.0}},"empty":{}})",
                                    "config.json");
  EXPECT_EQ(m.get_string("model_type"), "qwen3");
  EXPECT_EQ(m.find("n")->type, MetaType::kU64);
  EXPECT_EQ(m.find("neg")->type, MetaType::kI64);
  EXPECT_EQ(m.find("eps")->type, MetaType::kF64);
  EXPECT_EQ(m.get_float("eps"), 1e-6);
  EXPECT_EQ(m.get_bool("tie"), true);
  EXPECT_FALSE(m.has("none"));
  EXPECT_NE(m.find("none"), nullptr);
  EXPECT_EQ(m.get_float("rope_parameters.rope_theta"), 1e6);
  EXPECT_EQ(m.get_float("rope_parameters.full_attention.factor"), 8.0);
  EXPECT_EQ(m.find("empty"), nullptr);
  EXPECT_EQ(m.entries()[1].key, "n");
}

TEST(FlattenConfig, Arrays) {
  const Metadata m = flatten_config(R"({"u":[1,2],"i":[1,-2],"f":[0.5,1,-3],"b":[true,false],"s":["x","y"],"e":[],
    "o":[{"b":1},{"b":[2,3]}],"aa":[[0,1],[2]],"mixed":[1,"x",null],"huge":[18446744073709551615,-1]})",
                                    "c");
  EXPECT_EQ(m.get_uints("u"), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(m.get_ints("i"), (std::vector<int64_t>{1, -2}));
  EXPECT_EQ(m.get_floats("f"), (std::vector<double>{0.5, 1, -3}));
  EXPECT_EQ(m.get_bools("b"), (std::vector<bool>{true, false}));
  EXPECT_EQ(m.get_strings("s")->at(1), "y");
  EXPECT_TRUE(m.get_uints("e")->empty());
  EXPECT_EQ(m.get_uint("o.0.b"), 1u);
  EXPECT_EQ(m.get_uints("o.1.b"), (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(m.get_uints("aa.0"), (std::vector<uint64_t>{0, 1}));
  EXPECT_EQ(m.get_uint("mixed.0"), 1u);
  EXPECT_EQ(m.get_string("mixed.1"), "x");
  EXPECT_FALSE(m.has("mixed.2"));
  EXPECT_EQ(m.get_floats("huge"), (std::vector<double>{0x1p64, -1}));
}

TEST(FlattenConfig, FloatsThatJsonLacks) {
  const Metadata m = flatten_config(R"({"a":[0.0,{"__float__":"Infinity"}],"b":[0.0, Infinity],"c":-Infinity,"d":NaN,
    "e":{"__float__":"x"},"max":1000000000000000019884624838656})",
                                    "c");
  EXPECT_EQ(m.get_floats("a"), (std::vector<double>{0, INFINITY}));
  EXPECT_EQ(m.get_floats("b"), (std::vector<double>{0, INFINITY}));
  EXPECT_EQ(m.get_float("c"), -INFINITY);
  EXPECT_TRUE(std::isnan(*m.get_float("d")));
  EXPECT_EQ(m.get_string("e.__float__"), "x");
  EXPECT_EQ(m.get_float("max"), 1e30);
}

TEST(FlattenConfig, Refusals) {
  const auto refusal = [](const std::string& text) {
    return error_of(ErrorKind::kInvalidModel, [&text] { flatten_config(text, "dir/config.json"); });
  };
  expect_contains(refusal("[1]"), "dir/config.json: the top level is not a JSON object");
  expect_contains(refusal("{\"a\":"), "dir/config.json: invalid JSON at byte 5");
  expect_contains(refusal(R"({"a":1,"a":2})"), "duplicate key \"a\"");
  expect_contains(refusal(R"({"a.b":1,"a":{"b":2}})"), "two values for the key \"a.b\"");
  std::string deep = "1";
  for (int i = 0; i < 40; ++i) deep = "{\"a\":" + deep + "}";
  expect_contains(refusal(deep), "nested deeper than 32 levels");
  const std::string name(600, 'k');
  expect_contains(refusal("{\"" + name + "\":{\"" + name + "\":1}}"), "a key of more than 1024 bytes");
}

// The configurations of the reference models, flattened without loss.
TEST(FlattenConfig, ReferenceModels) {
  const fs::path dir = fs::path(STRETTO_TEST_DATA) / "hf_ref";
  int n = 0;
  for (const auto& file : fs::directory_iterator(dir)) {
    if (file.path().extension() != ".json") continue;
    const Json config = parse_json(test::read_file(file.path()), file.path().string())["config"];
    const Metadata m = flatten_config(dump_json(config), file.path().string());
    for (const auto& item : config.items()) {
      if (item.value().is_object()) continue;
      const bool found = m.find(item.key()) != nullptr || m.find(item.key() + ".0") != nullptr;
      EXPECT_TRUE(found) << file.path() << " " << item.key();
    }
    ++n;
  }
  EXPECT_GE(n, 10);
}

// ---- directories ----

class HuggingFaceDirectory : public testing::Test {
 protected:
  HuggingFaceDirectory() { write_file(dir_ / "config.json", R"({"model_type":"llama","vocab_size":8})"); }

  // One U8 tensor [2] per name.
  static void write_weights(const fs::path& path, const std::vector<std::string>& names) {
    static const std::string kData = "xy";
    std::vector<SafetensorsEntry> entries;
    for (const std::string& name : names) entries.push_back({name, DType::kU8, Shape({2}), test::as_bytes(kData)});
    write_safetensors(path, entries);
  }
  void write_index(const std::string& weight_map, const std::string& metadata = R"({"total_size":6})") const {
    write_file(dir_ / "model.safetensors.index.json",
               "{\"metadata\":" + metadata + ",\"weight_map\":" + weight_map + "}");
  }
  void write_shards() const {
    write_weights(dir_ / "s1.safetensors", {"a", "b"});
    write_weights(dir_ / "s2.safetensors", {"c"});
    write_index(R"({"a":"s1.safetensors","b":"s1.safetensors","c":"s2.safetensors"})");
  }
  std::unique_ptr<Checkpoint> open(bool metadata_only = false) const {
    return open_checkpoint(dir_.path().string(), OpenOptions{metadata_only});
  }
  std::string refusal(ErrorKind kind = ErrorKind::kInvalidModel) const {
    return error_of(kind, [this] { open(); });
  }
  std::string names() const {
    std::string out;
    const auto checkpoint = open();
    for (const StoredTensor& tensor : checkpoint->tensors()) out += tensor.name;
    return out;
  }

  test::TempDir dir_;
};

TEST_F(HuggingFaceDirectory, SingleFile) {
  write_weights(dir_ / "model.safetensors", {"w"});
  write_weights(dir_ / "other.safetensors", {"not used"});
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->container(), Container::kHuggingFace);
  EXPECT_EQ(checkpoint->path(), dir_.path());
  EXPECT_EQ(checkpoint->metadata().get_string("model_type"), "llama");
  EXPECT_EQ(checkpoint->tensors().size(), 1u);
  EXPECT_EQ(std::to_integer<char>(checkpoint->find("w")->view.bytes[1]), 'y');
  EXPECT_EQ(checkpoint->find("not used"), nullptr);
}

TEST_F(HuggingFaceDirectory, Sharded) {
  write_shards();
  EXPECT_EQ(names(), "abc");
  EXPECT_TRUE(open()->warnings().empty());
}

TEST_F(HuggingFaceDirectory, WithoutIndexAllFilesInNameOrder) {
  write_weights(dir_ / "part-2.safetensors", {"b"});
  write_weights(dir_ / "part-1.safetensors", {"a"});
  write_file(dir_ / "._part-1.safetensors", "junk of another operating system");
  EXPECT_EQ(names(), "ab");
  write_weights(dir_ / "part-3.safetensors", {"a"});
  expect_contains(refusal(), "tensor \"a\" is already in another file");
}

TEST_F(HuggingFaceDirectory, TotalSizeIsOnlyAWarning) {
  write_shards();
  write_index(R"({"a":"s1.safetensors","b":"s1.safetensors","c":"s2.safetensors"})", R"({"total_size":99})");
  const auto checkpoint = open();
  ASSERT_EQ(checkpoint->warnings().size(), 1u);
  expect_contains(checkpoint->warnings()[0], "total_size is 99, the tensors have 6 bytes");
}

TEST_F(HuggingFaceDirectory, IndexAndShardsMustAgree) {
  write_shards();
  write_weights(dir_ / "s2.safetensors", {"c", "a"});
  expect_contains(refusal(), "tensor \"a\" is already in another file");
  write_weights(dir_ / "s2.safetensors", {"c", "extra"});
  expect_contains(refusal(), "holds tensor \"extra\", but model.safetensors.index.json does not list it");
  write_weights(dir_ / "s2.safetensors", {});
  expect_contains(refusal(), "tensor \"c\" is not in s2.safetensors");
  write_weights(dir_ / "s1.safetensors", {"a"});
  write_weights(dir_ / "s2.safetensors", {"b", "c"});
  expect_contains(refusal(), "holds tensor \"b\", but model.safetensors.index.json places it in s1.safetensors");
  fs::remove(dir_ / "s2.safetensors");
  expect_contains(refusal(ErrorKind::kNotFound), "s2.safetensors: the weight file is missing");
}

TEST_F(HuggingFaceDirectory, IndexMustHaveItsForm) {
  write_file(dir_ / "model.safetensors.index.json", "[]");
  expect_contains(refusal(), "\"weight_map\" is missing or not an object");
  write_index("[]");
  expect_contains(refusal(), "\"weight_map\" is missing or not an object");
  write_index(R"({"a":1})");
  expect_contains(refusal(), "the file of tensor \"a\" is not a string");
  write_index(R"({"a":"x.safetensors","a":"y.safetensors"})");
  expect_contains(refusal(), "duplicate key \"a\"");
  write_index(R"({"a":[[[[[[[[1]]]]]]]]})");
  expect_contains(refusal(), "nested deeper than 8 levels");
}

TEST_F(HuggingFaceDirectory, PathsInTheIndexAreRefused) {
  write_weights(dir_.path().parent_path() / (dir_.path().filename().string() + "-outside.safetensors"), {"a"});
  for (const char* name :
       {"../x.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "..", ".", "", "a\\\\x.safetensors",
        "a\\u0000.safetensors", "..x.safetensors", "pytorch_model.bin", "config.json"}) {
    write_index(std::string(R"({"a":")") + name + "\"}");
    expect_contains(refusal(), "wanted the plain name of a .safetensors file");
  }
  fs::remove(dir_.path().parent_path() / (dir_.path().filename().string() + "-outside.safetensors"));
}

TEST_F(HuggingFaceDirectory, LinksMayNotLeaveTheDirectory) {
  const test::TempDir outside;
  write_weights(outside / "w.safetensors", {"a"});
  fs::create_symlink(outside / "w.safetensors", dir_ / "model.safetensors");
  expect_contains(refusal(), "outside of the model's directory; copy the file");
  fs::remove(dir_ / "model.safetensors");
  write_weights(dir_ / "real.safetensors", {"a"});
  fs::create_symlink("real.safetensors", dir_ / "model.safetensors");
  EXPECT_EQ(names(), "a");
  fs::remove(dir_ / "model.safetensors");
  fs::create_symlink("nowhere", dir_ / "model.safetensors");
  expect_contains(refusal(ErrorKind::kNotFound), "a link to nowhere");
  // A neighbour whose name starts with the directory's name is outside too.
  const fs::path neighbour = dir_.path().string() + "-x";
  write_weights(
      [&neighbour] {
        fs::create_directory(neighbour);
        return neighbour / "w";
      }(),
      {"a"});
  fs::remove(dir_ / "model.safetensors");
  fs::create_symlink(neighbour / "w", dir_ / "model.safetensors");
  expect_contains(refusal(), "outside of the model's directory");
  fs::remove_all(neighbour);
}

TEST_F(HuggingFaceDirectory, AHubSnapshotMayLinkToItsBlobs) {
  const fs::path repository = dir_ / "models--o--n";
  const fs::path snapshot = repository / "snapshots" / "abc";
  fs::create_directories(snapshot);
  fs::create_directories(repository / "blobs");
  write_file(repository / "blobs/c", R"({"model_type":"llama"})");
  write_weights(repository / "blobs/w", {"a"});
  fs::create_symlink("../../blobs/c", snapshot / "config.json");
  fs::create_symlink("../../blobs/w", snapshot / "model.safetensors");
  EXPECT_EQ(open_checkpoint(snapshot)->tensors().size(), 1u);
  EXPECT_EQ(open_checkpoint(snapshot)->side_file("config.json"), R"({"model_type":"llama"})");
  fs::create_symlink(dir_ / "config.json", snapshot / "tokenizer.json");
  error_of(ErrorKind::kInvalidModel, [&] { open_checkpoint(snapshot)->side_file("tokenizer.json"); });
}

TEST_F(HuggingFaceDirectory, MissingPieces) {
  expect_contains(refusal(ErrorKind::kNotFound), "config.json but no *.safetensors weights");
  EXPECT_EQ(open(true)->metadata().get_uint("vocab_size"), 8u);
  write_file(dir_ / "pytorch_model.bin", "PK");
  expect_contains(refusal(ErrorKind::kUnsupported), "save them as safetensors");
  fs::remove(dir_ / "config.json");
  expect_contains(refusal(ErrorKind::kNotFound), "the directory has no config.json");
  write_file(dir_ / "m-Q8_0.gguf", "GGUF");
  expect_contains(refusal(ErrorKind::kBadArgument), "m-Q8_0.gguf");
}

TEST_F(HuggingFaceDirectory, SideFiles) {
  write_weights(dir_ / "model.safetensors", {"a"});
  write_file(dir_ / "generation_config.json", "{\"top_k\":20}");
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->side_file("generation_config.json"), "{\"top_k\":20}");
  EXPECT_EQ(checkpoint->side_file("tokenizer.json"), std::nullopt);
  error_of(ErrorKind::kInvalidModel, [&] { checkpoint->side_file("../config.json"); });
  error_of(ErrorKind::kInvalidModel, [&] { checkpoint->side_file("/etc/passwd"); });
}

TEST_F(HuggingFaceDirectory, BadWeightsNameTheFile) {
  write_shards();
  write_file(dir_ / "s2.safetensors", "12345678");
  expect_contains(refusal(), "s2.safetensors: invalid safetensors");
}

}  // namespace
}  // namespace stretto
