#include "checkpoint/pt_checkpoint.h"

#include <gtest/gtest.h>

#include <map>

#include "base/json.h"
#include "checkpoint/fixtures.h"
#include "checkpoint/pt_bytes.h"
#include "formats/formats.h"

namespace stretto {
namespace {

using test::error_of;
using test::expect_contains;
using test::pt_of;
using test::zip_of;
using test::ZipEntry;
using namespace test::pickled;

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

std::string refusal(const std::string& bytes, const PtOptions& options = {}) {
  const test::ExactCopy copy(bytes);
  return error_of(ErrorKind::kInvalidModel, [&] { parse_pt(copy.bytes(), "x.pt", options); });
}

std::vector<float> elements(const TensorView& view) {
  std::vector<float> out(view.shape.elements());
  decode_row(view.type, view.bytes.data(), out.size(), out.data());
  return out;
}

std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

const std::string kSix = floats({0, 1, 2, 3, 4, 5});

// What the message of each bad case must say.
const std::map<std::string, std::string> kMessages = {
    {"os_system", "posix.system"},
    {"eval", "eval"},
    {"getattr", "getattr"},
    {"stack_global", "not allowed"},
    {"inst", "opcode 0x69"},
    {"call_tensor_args", "OrderedDict with"},
    {"build_on_tensor", "no OrderedDict"},
    {"offset_out_of_range", "reaches element"},
    {"stride_out_of_range", "reaches element"},
    {"negative_stride", "stride is -"},
    {"negative_size", "size is -"},
    {"rank_mismatch", "sizes and"},
    {"short_storage", "too few for"},
    {"missing_storage", "is missing"},
    {"key_traversal", "is no decimal number"},
    {"big_endian", "byte order"},
    {"unknown_storage", "not allowed"},
    {"stack_underflow", "a value is missing"},
    {"no_stop", "ends without STOP"},
    {"truncated_unicode", "bytes are left"},
    {"bad_memo", "was never written"},
    {"protocol_9", "protocol 9"},
    {"deep_nesting", "nested deeper"},
    {"top_level_int", "its top value is no dict"},
    {"crc", "checksum"},
    {"deflated", "is compressed"},
    {"duplicate_entry", "two members with the name"},
    {"two_roots", "two members named data.pkl"},
    {"truncated_zip", "no end of a ZIP directory"},
    {"cd_offset", "no header at offset"},
    {"not_zip", "before 1.6"},
};

TEST(PtCheckpoint, EveryCaseIsDecided) {
  const std::string text = test::read_file(std::string(STRETTO_TEST_DATA) + "/container_cases.json");
  size_t n_ok = 0, n_bad = 0;
  const Json root = parse_json(text, "container_cases.json");
  for (const Json& entry : root["cases"]) {
    if (entry["kind"] != "pt") continue;
    const auto name = entry["name"].get<std::string>();
    SCOPED_TRACE(name + ": " + entry["why"].get<std::string>());
    const test::ExactCopy copy(from_hex(entry["hex"].get<std::string>()));
    if (!entry["ok"].get<bool>()) {
      ++n_bad;
      ASSERT_TRUE(kMessages.contains(name));
      expect_contains(error_of(ErrorKind::kInvalidModel, [&] { parse_pt(copy.bytes(), "x.pt"); }), kMessages.at(name));
      continue;
    }
    ++n_ok;
    const PtContent content = parse_pt(copy.bytes(), "x.pt");
    ASSERT_EQ(content.tensors.size(), entry["expect"].size());
    for (const StoredTensor& t : content.tensors) {
      const Json& want = entry["expect"][t.name];
      EXPECT_EQ(stretto::name(t.view.type), want["dtype"].get<std::string>());
      EXPECT_EQ(t.view.shape, Shape(want["shape"].get<std::vector<uint64_t>>()));
      EXPECT_EQ(elements(t.view), want["values"].get<std::vector<float>>());
    }
  }
  EXPECT_EQ(n_ok, 10U);
  EXPECT_EQ(n_bad, kMessages.size());
}

std::string weight(int64_t n = 6) { return tensor(storage("FloatStorage", "0", n), 0, {n}, {1}); }

TEST(PtCheckpoint, StateDictsWhereverTheyAre) {
  const std::string state = dict({text("module._orig_mod.w"), weight()});
  for (const std::string& top :
       {state, dict({text("step"), integer(1), text("model"), state}),
        dict({text("epoch"), "N", text("module"), dict({text("a"), "N", text("state_dict"), state})})}) {
    const std::string file = pt_of(whole(top), {kSix});
    const PtContent content = parse_pt(test::as_bytes(file), "x.pt");
    ASSERT_EQ(content.tensors.size(), 1U);
    EXPECT_EQ(content.tensors[0].name, "w");
    EXPECT_EQ(elements(content.tensors[0].view), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  }
  expect_contains(refusal(pt_of(whole(dict({text("step"), integer(1), text("weird"), state})), {kSix})), "step weird");
  expect_contains(refusal(pt_of(whole(dict({text("module.w"), weight(), text("module.w"), weight()})), {kSix})),
                  "two tensors with the name \"w\"");
}

TEST(PtCheckpoint, ConfigBecomesMetadata) {
  const std::string config =
      dict({text("d"), integer(64), text("eps"), "G\x3f\xf8" + std::string(6, '\0'), text("hard"), "\x88", text("neg"),
            integer(-3), text("name"), text("x"), text("layers"), "](" + integer(1) + integer(3) + "e", text("none"),
            "N", text("in"), dict({text("b"), integer(7)})});
  const std::string file =
      pt_of(whole(dict({text("model_state_dict"), dict({text("w"), weight()}), text("config"), config})), {kSix});
  const PtContent content = parse_pt(test::as_bytes(file), "x.pt");
  EXPECT_EQ(content.config.get_uint("d"), 64U);
  EXPECT_EQ(content.config.get_float("eps"), 1.5);
  EXPECT_EQ(content.config.get_bool("hard"), true);
  EXPECT_EQ(content.config.get_int("neg"), -3);
  EXPECT_EQ(content.config.get_string("name"), "x");
  EXPECT_EQ(content.config.get_uints("layers"), (std::vector<uint64_t>{1, 3}));
  EXPECT_EQ(content.config.get_uint("in.b"), 7U);
  EXPECT_FALSE(content.config.has("none"));
}

TEST(PtCheckpoint, ViewsThatAreNotContiguousAreCopied) {
  const std::string s = storage("FloatStorage", "0", 6);
  const auto values = [&](int64_t offset, const std::vector<int64_t>& size, const std::vector<int64_t>& stride) {
    const std::string file = pt_of(whole(dict({text("w"), tensor(s, offset, size, stride)})), {kSix});
    return elements(parse_pt(test::as_bytes(file), "x.pt").tensors[0].view);
  };
  EXPECT_EQ(values(0, {3, 2}, {1, 3}), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(values(1, {2, 2}, {3, 1}), (std::vector<float>{1, 2, 4, 5}));
  EXPECT_EQ(values(2, {2, 3}, {1, 0}), (std::vector<float>{2, 2, 2, 3, 3, 3}));
  EXPECT_EQ(values(5, {1, 1}, {17, 9}), (std::vector<float>{5}));
  EXPECT_EQ(values(0, {1, 1, 2, 1, 3}, {9, 9, 3, 9, 1}), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  const std::string huge =
      pt_of(whole(dict({text("w"), tensor(s, 0, {1 << 20, 1 << 20, 1 << 20}, {0, 0, 0})})), {kSix});
  expect_contains(refusal(huge), "its view of 1152921504606846976 elements is too large");
  const std::string overflow = pt_of(whole(dict({text("w"), tensor(s, 0, {INT64_MAX, INT64_MAX}, {0, 0})})), {kSix});
  expect_contains(refusal(overflow), "overflows 64 bits");
}

TEST(PtCheckpoint, StoragesAreCheckedAgainstTheArchive) {
  const std::string pickle = whole(dict({text("w"), weight()}));
  expect_contains(refusal(pt_of(pickle, {})), "its storage m/data/0 is missing");
  expect_contains(refusal(pt_of(pickle, {kSix.substr(1)})), "has 23 bytes, too few for 6 elements of F32");
  expect_contains(
      refusal(pt_of(whole(dict({text("w"), tensor(storage("DoubleStorage", "0", 6), 0, {6}, {1})})), {kSix})),
      "too few for 6 elements of F64");
  const std::string overflow = whole(dict({text("w"), tensor(storage("DoubleStorage", "0", INT64_MAX), 0, {1}, {1})}));
  expect_contains(refusal(pt_of(overflow, {kSix})), "too few");
  const std::string damaged = zip_of({{"m/data.pkl", pickle}, {"m/data/0", kSix, 0, 0, 1}});
  expect_contains(refusal(damaged), "damaged");
  EXPECT_EQ(parse_pt(test::as_bytes(damaged), "x.pt", {.verify_storages = false}).tensors.size(), 1U);
  expect_contains(refusal(zip_of({{"m/data.pkl", pickle, 0, 0, 1}, {"m/data/0", kSix}}), {.verify_storages = false}),
                  "damaged");
  expect_contains(refusal(zip_of({{"m/data.pkl", pickle}, {"m/data/0", kSix}, {"m/code/x.py", "1"}})), "TorchScript");
  expect_contains(refusal(zip_of({{"m/other", pickle}})), "no data.pkl");
  expect_contains(refusal(zip_of({{"m/data.pkl", pickle}, {"n/data.pkl", pickle}, {"m/data/0", kSix}})), "two members");
}

// Dicts that share their parts have far more paths than parts.
TEST(PtCheckpoint, ASharedConfigDoesNotMultiply) {
  std::string config = "}q\x01";
  for (int level = 0; level < 14; ++level) {
    std::string next = "}";
    for (int i = 0; i < 8; ++i)
      next += text("k" + std::to_string(i)) +
              "h\x01"
              "s";
    config += "0" + next + "q\x01";
  }
  const std::string file =
      pt_of(whole(dict({text("model"), dict({text("w"), weight()}), text("config"), config})), {kSix});
  expect_contains(refusal(file), "config has more than");
}

TEST(PtCheckpoint, TheTwoRealFilesOpen) {
  const std::string folder = std::string(STRETTO_TEST_DATA) + "/pt/";
  const auto baseline = open_pt(folder + "swap_ffn_baseline_full.pt"), hybrid = open_pt(folder + "swap_ffn_hybrid.pt");
  EXPECT_EQ(baseline->metadata().get_string("model_type"), "swap_ffn");
  EXPECT_EQ(baseline->find("emb.weight")->view.type, DType::kF32);
  EXPECT_EQ(hybrid->find("blocks.1.ffn.w1")->view.shape, Shape({4, 256, 128}));
  EXPECT_EQ(hybrid->metadata().get_uints("swap_layers"), (std::vector<uint64_t>{1}));
}

TEST(PtCheckpoint, TruncationsOfARealFileAreRefused) {
  const std::string bytes = test::read_file(std::string(STRETTO_TEST_DATA) + "/pt/swap_ffn_hybrid.pt");
  for (size_t n = 0; n < bytes.size(); n += 40013) refusal(bytes.substr(0, n));
  for (size_t n = bytes.size() - 100; n < bytes.size(); ++n) refusal(bytes.substr(0, n));
}

}  // namespace
}  // namespace stretto
