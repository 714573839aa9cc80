// The 64 files of tests/data/gguf_cases, decided as their manifest says.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/fixtures.h"
#include "checkpoint/gguf_reader.h"

namespace stretto {
namespace {

const std::string kDirectory = std::string(STRETTO_TEST_DATA) + "/gguf_cases/";

// What the message of each bad file must say: the rule, and the byte offset.
const std::map<std::string, std::string> kMessages = {
    {"bad_magic", "at byte 0: magic is 47 47 55 58, wanted 47 47 55 46 (GGUF)"},
    {"bad_truncated_magic", "at byte 0: magic needs 4 bytes, 3 remain in the file"},
    {"bad_empty_file", "the file is empty (0 bytes)"},
    {"bad_version_0", "at byte 4: version 0, supported are 2 and 3"},
    {"bad_version_1", "at byte 4: version 1, supported are 2 and 3"},
    {"bad_version_4", "at byte 4: version 4, supported are 2 and 3"},
    {"bad_version_big_endian", "at byte 4: version 0x03000000: big-endian GGUF is not supported"},
    {"bad_truncated_header", "at byte 8: the header needs 24 bytes, the file has 20"},
    {"bad_tensor_count_negative", "at byte 8: tensor count is 18446744073709551615, but 45 bytes"},
    {"bad_tensor_count_huge", "at byte 8: tensor count is 1099511627776, but 45 bytes"},
    {"bad_kv_count_huge", "at byte 16: key count is 1099511627776, but 45 bytes"},
    {"bad_kv_count_one_too_many", "at byte 69: key 2 of 2: key needs 8 bytes, 0 remain"},
    {"bad_tensor_count_one_too_many", "at byte 69: 1 tensors announced, 0 bytes remain for their table"},
    {"bad_key_length_huge", "at byte 16: key count is 1, but 11 bytes"},
    {"bad_key_length_past_end", "at byte 24: key 1 of 1: key of 1000 bytes, 11 remain in the file"},
    {"bad_key_empty", "at byte 24: key 1 of 1: key is empty"},
    {"bad_key_duplicate", "at byte 41: key \"a\": duplicate key"},
    {"bad_key_nul", "at byte 24: key 1 of 1: key \"a\\x00b\" contains a NUL byte"},
    {"bad_value_type_13", "at byte 33: key \"a\": value type is 13, known are 0..12"},
    {"bad_value_type_neg", "at byte 33: key \"a\": value type is 4294967295, known are 0..12"},
    {"bad_array_elem_type", "at byte 37: key \"a\": array element type is 77, known are 0..12"},
    {"bad_array_nested", "at byte 37: key \"a\": an array of arrays"},
    {"bad_array_count_huge", "at byte 41: key \"a\": array of 4611686018427387904 elements, at most 1073741824"},
    {"bad_array_count_overflow", "at byte 41: key \"a\": array of 2305843009213693953 elements, at most 1073741824"},
    {"bad_array_string_count", "at byte 41: key \"a\": array of 1125899906842624 elements, at most 1073741824"},
    {"bad_array_past_end", "at byte 41: key \"a\": array of 4 elements of at least 4 bytes, 12 bytes remain"},
    {"bad_string_past_end", "at byte 37: key \"a\": string value of 8589934592 bytes, at most 1073741824"},
    {"bad_bool_value_2", "at byte 37: key \"a\": a bool byte is 2, only 0 and 1 are allowed"},
    {"bad_alignment_0", "at byte 53: key \"general.alignment\": 0 is not a power of two"},
    {"bad_alignment_24", "at byte 53: key \"general.alignment\": 24 is not a power of two"},
    {"bad_alignment_type", "at byte 53: key \"general.alignment\": its type is 10, wanted 4 (u32)"},
    {"bad_tensor_name_64", "has 64 bytes, at most 63 are allowed"},
    {"bad_tensor_name_duplicate", "at byte 102: duplicate tensor name \"a\""},
    {"bad_n_dims_5", "at byte 78: tensor \"a\": 5 dimensions, at most 4 are allowed"},
    {"bad_n_dims_huge", "at byte 78: tensor \"a\": 2147483648 dimensions, at most 4 are allowed"},
    {"bad_dim_negative", "at byte 82: tensor \"a\": dimension 0 is 18446744073709551608, wanted 1..2^63-1"},
    {"bad_dim_zero", "at byte 90: tensor \"a\": dimension 1 is 0, wanted 1..2^63-1"},
    {"bad_elements_overflow", "tensor \"a\": 2^63 elements or more"},
    {"bad_bytes_overflow", "tensor \"a\": 2^63 elements or more"},
    {"bad_type_43", "at byte 90: tensor \"a\": tensor type 43 is unknown or was removed"},
    {"bad_type_removed_4", "at byte 90: tensor \"a\": tensor type 4 is unknown or was removed"},
    {"bad_type_removed_31", "at byte 90: tensor \"a\": tensor type 31 is unknown or was removed"},
    {"bad_type_negative", "at byte 90: tensor \"a\": tensor type 4294967295 is unknown or was removed"},
    {"bad_row_not_block_multiple", "rows of 48 elements are not a multiple of the 32-element blocks of Q4_0"},
    {"bad_row_not_superblock_multiple", "rows of 128 elements are not a multiple of the 256-element blocks of Q4_K"},
    {"bad_offset_misaligned", "at byte 127: tensor \"b\": offset 16 is not a multiple of the alignment 32"},
    {"bad_offset_overlap", "at byte 127: tensor \"b\": offset 32, wanted 64"},
    {"bad_offset_gap", "at byte 127: tensor \"b\": offset 64, wanted 32"},
    {"bad_offset_out_of_order", "at byte 94: tensor \"a\": offset 32, wanted 0"},
    {"bad_offset_past_end", "at byte 94: tensor \"a\": offset 1099511627776, wanted 0"},
    {"bad_offset_wraps", "at byte 94: tensor \"a\": offset 18446744073709551584, wanted 0"},
    {"bad_data_truncated", "tensor \"a\": needs 32 bytes at data offset 0, the file ends after 28"},
    {"bad_second_tensor_truncated", "tensor \"b\": needs 32 bytes at data offset 32, the file ends after 36"},
    {"bad_no_room_for_padding", "at byte 102: the data section would start beyond the end of the file"},
    {"bad_truncated_tensor_info", "at byte 94: tensor \"a\": tensor offset needs 8 bytes, 2 remain"},
};

TEST(GgufCases, EveryFileIsDecidedAsTheManifestSays) {
  const Json manifest = parse_json(test::read_file(kDirectory + "manifest.json"), "manifest.json");
  ASSERT_EQ(manifest.size(), 64u);
  size_t n_bad = 0;
  for (const Json& entry : manifest) {
    const auto file = entry["file"].get<std::string>();
    SCOPED_TRACE(file + " (" + entry["rule"].get<std::string>() + ")");
    const std::string path = kDirectory + file;
    EXPECT_EQ(std::filesystem::file_size(path), entry["size"].get<uint64_t>());
    if (entry["expect"] == "accept") {
      EXPECT_NO_THROW(open_checkpoint(path));
      continue;
    }
    ++n_bad;
    const std::string stem = file.substr(0, file.size() - 5);
    ASSERT_TRUE(kMessages.contains(stem));
    const std::string message = test::error_of(ErrorKind::kInvalidModel, [&path] { open_checkpoint(path); });
    test::expect_contains(message, kMessages.at(stem));
    EXPECT_EQ(message.find(path), 0u) << message;
  }
  EXPECT_EQ(n_bad, kMessages.size());
}

TEST(GgufCases, AllValueTypesAreReadExactly) {
  const auto checkpoint = open_checkpoint(kDirectory + "ok_all_types.gguf");
  const Metadata& m = checkpoint->metadata();
  EXPECT_EQ(checkpoint->container(), Container::kGguf);
  EXPECT_EQ(m.get_string("general.architecture"), "llama");
  EXPECT_EQ(m.get_uint("a.u8"), 255u);
  EXPECT_EQ(m.get_int("a.i8"), -5);
  EXPECT_EQ(m.get_uint("a.u16"), 65535u);
  EXPECT_EQ(m.get_int("a.i16"), -300);
  EXPECT_EQ(m.get_uint("a.u32"), 4294967295u);
  EXPECT_EQ(m.get_int("a.i32"), -7);
  EXPECT_EQ(m.get_float("a.f32"), 1.5);
  EXPECT_EQ(m.get_bool("a.b"), true);
  EXPECT_EQ(m.get_string("a.s"), "h\xc3\xa9llo");
  EXPECT_EQ(m.get_uint("a.u64", UINT64_MAX), uint64_t{1} << 63);
  EXPECT_EQ(m.get_int("a.i64"), -(int64_t{1} << 40));
  EXPECT_EQ(m.get_float("a.f64"), 2.25);
  EXPECT_EQ(m.get_ints("r.i32")->size(), 3u);
  EXPECT_EQ(m.get_floats("r.f32")->size(), 2u);
  EXPECT_EQ(m.get_bools("r.b")->size(), 2u);
  ASSERT_NE(m.get_strings("r.s"), nullptr);
  EXPECT_EQ(m.get_strings("r.s")->size(), 2u);
  EXPECT_EQ(m.find("r.empty")->type, MetaType::kArray);
  EXPECT_EQ(m.find("a.u8")->type, MetaType::kU8);
}

}  // namespace
}  // namespace stretto
