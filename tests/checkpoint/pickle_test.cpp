#include "checkpoint/pickle.h"

#include <gtest/gtest.h>

#include "checkpoint/fixtures.h"
#include "checkpoint/pt_bytes.h"

namespace stretto {
namespace {

using test::error_of;
using test::expect_contains;
using test::little_endian;
using namespace test::pickled;

Pickle parse(const std::string& bytes) {
  const test::ExactCopy copy(bytes);
  return parse_pickle(copy.bytes(), "data.pkl");
}

std::string refusal(const std::string& bytes) {
  return error_of(ErrorKind::kInvalidModel, [&] { parse(bytes); });
}

TEST(Pickle, PlainValues) {
  // [None, True, False, 255, 65535, -2, -3 (LONG1), 0 (LONG1 of no bytes), 1.5, "é", bytes]
  const std::string bytes = whole("](N\x88\x89K\xffM\xff\xffJ\xfe\xff\xff\xff\x8a\x01\xfd\x8a" + std::string(1, '\0') +
                                  "G\x3f\xf8" + std::string(6, '\0') + text("\xc3\xa9") +
                                  "C\x02"
                                  "ab"
                                  "e");
  const Pickle p = parse(bytes);
  const std::vector<PickleId>& items = p[p.root].items;
  ASSERT_EQ(items.size(), 11U);
  EXPECT_EQ(p[items[0]].kind, PickleKind::kNone);
  EXPECT_EQ(p[items[1]].integer, 1);
  EXPECT_EQ(p[items[3]].integer, 255);
  EXPECT_EQ(p[items[4]].integer, 65535);
  EXPECT_EQ(p[items[5]].integer, -2);
  EXPECT_EQ(p[items[6]].integer, -3);
  EXPECT_EQ(p[items[7]].integer, 0);
  EXPECT_EQ(p[items[8]].number, 1.5);
  EXPECT_EQ(p[items[9]].text, "\xc3\xa9");
  EXPECT_EQ(p[items[10]].text, "ab");
}

TEST(Pickle, ContainersMemoAndLaterKeys) {
  const Pickle p = parse(whole(dict({text("a") + std::string("q\x05", 2), integer(1), std::string("h\x05", 2),
                                     integer(2), text("t"), integer(1) + integer(2) + "\x86"})));
  const auto a = p.find(p.root, "a");
  ASSERT_TRUE(a.has_value());
  EXPECT_EQ(p[*a].integer, 2);
  EXPECT_EQ(p[*p.find(p.root, "t")].items.size(), 2U);
  EXPECT_FALSE(p.find(p.root, "b").has_value());
  // Protocol 4: frame, short strings, MEMOIZE, STACK_GLOBAL, sets.
  const Pickle four = parse("\x80\x04\x95" + little_endian(3, 8) +
                            "\x8f(K\x01\x90\x94"
                            "0"
                            "\x8c\x0b"
                            "collections\x8c\x0b"
                            "OrderedDict\x93)\x81.");
  EXPECT_TRUE(four[four.root].ordered);
}

TEST(Pickle, TensorsAndParameters) {
  const std::string t = tensor(storage("HalfStorage", "12", 6), 1, {2, 2}, {1, 2});
  const Pickle p = parse(whole(call(global("torch._utils", "_rebuild_parameter"), {t, "\x88", "}"})));
  ASSERT_EQ(p[p.root].kind, PickleKind::kTensor);
  ASSERT_EQ(p.tensors.size(), 1U);
  EXPECT_EQ(p.tensors[0].offset, 1U);
  EXPECT_EQ(p.tensors[0].stride, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(p.storages[0].key, "12");
  EXPECT_EQ(p.storages[0].type, DType::kF16);
  EXPECT_EQ(parse(whole(tensor(storage("FloatStorage", "0", 0), 0, {0, 5}, {5, 1}))).tensors.size(), 1U);
}

struct Malformed {
  const char* name;
  std::string bytes;
  const char* message;
};

std::string of_storage(int64_t offset, const std::vector<int64_t>& size, const std::vector<int64_t>& stride) {
  return whole(tensor(storage("FloatStorage", "0", 6), offset, size, stride));
}

// What is wrong with the stream itself.
std::vector<Malformed> broken_streams() {
  return {

      {"empty", "", "does not begin with a protocol"},
      {"protocol 1", "\x80\x01N.", "protocol 1, wanted 2 to 5"},
      {"protocol 6", "\x80\x06N.", "protocol 6"},
      {"text protocol", "(lp0\n.", "does not begin with a protocol"},
      {"no STOP", "\x80\x02N", "ends without STOP"},
      {"behind STOP", whole("N") + "x", "1 bytes behind STOP"},
      {"two values", whole("NN"), "2 values and 0 marks are left"},
      {"mark left", whole("N("), "1 marks are left"},
      {"nothing", whole(""), "0 values"},
      {"unknown opcode", whole("\xff"), "opcode 0xff is not one"},
      {"INST", whole("(ios\nsystem\n"), "opcode 0x69"},
      {"OBJ", whole("(o"), "opcode 0x6f"},
      {"PERSID", whole("P0\n"), "opcode 0x50"},
      {"EXT1", whole("\x82\x01"), "opcode 0x82"},
      {"NEWOBJ_EX", whole("\x92"), "opcode 0x92"},
      {"DUP", whole("N2"), "opcode 0x32"},
      {"LONG4", whole("\x8b" + little_endian(1, 4) + "x"), "opcode 0x8b"},
      {"text INT", whole("I5\n"), "opcode 0x49"},
  };
}

// Names, calls, containers.
std::vector<Malformed> broken_objects() {
  const std::string ordered = call(global("collections", "OrderedDict"), {});
  return {
      {"os.system", whole(call(global("os", "system"), {text("x")})), "wants to use os.system"},
      {"builtins.exec", whole(call(global("builtins", "exec"), {text("x")})), "builtins.exec"},
      {"name with spaces", whole(global("torch FloatStorage", "")), "not allowed"},
      {"stack global", whole(text("posix") + text("popen") + "\x93"), "wants to use posix.popen"},
      {"stack global of numbers", whole(integer(1) + integer(2) + "\x93"), "whose name is no string"},
      {"endless name",
       "\x80\x02"
       "c" +
           std::string(9000, 'a'),
       "a name without an end"},
      {"storage called", whole(call(global("torch", "FloatStorage"), {})), "torch FloatStorage cannot be called"},
      {"dtype called", whole(call(global("torch", "float32"), {})), "torch float32 cannot be called"},
      {"call of a string", whole(text("x") + ")R"), "what is called is no global"},
      {"arguments no tuple", whole(global("collections", "OrderedDict") + "]R"), "arguments of a call are no tuple"},
      {"OrderedDict of a list", whole(call(global("collections", "OrderedDict"), {"]"})), "with 1 arguments"},
      {"many arguments", whole(call(global("torch", "device"), std::vector<std::string>(9, text("a")))), "9 arguments"},
      {"NEWOBJ of a storage", whole(global("torch", "FloatStorage") + ")\x81"), "no OrderedDict without arguments"},
      {"BUILD on a dict", whole("}}b"), "no OrderedDict"},
      {"BUILD of a list", whole(ordered + "]b"), "are no dict"},
      {"underflow", whole("R"), "a value is missing"},
      {"underflow below a mark", whole("N(a"), "a value is missing"},
      {"no mark", whole("Nt"), "a mark is missing"},
      {"append to a dict", whole("}Na"), "no list"},
      {"add to a list", whole("](N\x90"), "no set"},
      {"odd items", whole("}(Nu"), "a key without a value"},
      {"key of a tuple", whole("})Ns"), "neither a string nor an integer"},
      {"items on a list", whole("](" + text("a") + "Nu"), "no dict"},
      {"memo unset", whole("h\x07"), "memo 7 was never written"},
      {"memo huge", whole("Nr\xff\xff\xff\xff"), "memo 4294967295, at most"},
      {"memo of nothing", whole("q\x01"), "a value is missing"},
      {"long of 9 bytes",
       whole("\x8a\x09"
             "123456789"),
       "an integer of 9 bytes"},
      {"long cut off",
       "\x80\x02\x8a\x08"
       "12",
       "a string of 8 bytes, 2 bytes are left"},
      {"float cut off", "\x80\x02G\x01", "ends inside a number"},
      {"string of 4 GiB",
       "\x80\x02X\xff\xff\xff\xff"
       "a",
       "a string of 4294967295 bytes"},
      {"negative string", whole("T\xff\xff\xff\xff"), "a string of -1 bytes"},
      {"not UTF-8", whole(text("\xc3(")), "is not UTF-8"},
      {"frame beyond the end", "\x80\x04\x95" + little_endian(1000, 8) + "N.", "a frame of 1000 bytes"},
      {"list in itself", whole("]q" + std::string(1, '\0') + "h" + std::string(1, '\0') + "a"), "contains itself"},
      {"dict in its list",
       whole("}q\x01" + text("a") +
             "]q\x02h\x01"
             "as"),
       "contains itself"},
      {"101 levels", whole(std::string(102, ']') + std::string(101, 'a')), "nested deeper than 100"},
  };
}

// Storages and tensors that lie.
std::vector<Malformed> broken_tensors() {
  return {
      {"id no tuple", whole(text("0") + "Q"), "no storage of five fields"},
      {"id of four", whole(tuple({text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu")}) + "Q"),
       "five fields"},
      {"key with a path", whole(storage("FloatStorage", "../0", 1)), "is no decimal number"},
      {"key of 13 digits", whole(storage("FloatStorage", "1234567890123", 1)), "is no decimal number"},
      {"empty key", whole(storage("FloatStorage", "", 1)), "is no decimal number"},
      {"negative storage", whole(storage("FloatStorage", "0", -1)), "the size of a storage is -1"},
      {"id of another global",
       whole(tuple({text("storage"), global("torch", "Size"), text("0"), text("cpu"), integer(1)}) + "Q"),
       "torch Size is no storage type"},
      {"untyped",
       whole(tuple({text("storage"), global("torch.storage", "UntypedStorage"), text("0"), text("cpu"), integer(1)}) +
             "Q"),
       "an untyped storage"},
      {"unknown storage", whole(storage("ComplexDoubleStorage", "0", 1)), "torch.ComplexDoubleStorage"},
      {"tensor of five arguments", whole(call(global("torch._utils", "_rebuild_tensor_v2"), {"N", "N", "N", "N", "N"})),
       "5 arguments"},
      {"tensor of a string", whole(tensor(text("x"), 0, {1}, {1})), "a tensor without a storage"},
      {"beyond the storage", of_storage(1, {2, 3}, {3, 1}), "reaches element 6 of a storage of 6"},
      {"stride beyond", of_storage(0, {2, 3}, {4, 1}), "reaches element 6"},
      {"offset huge", of_storage(INT64_MAX, {1}, {1}), "reaches element 9223372036854775807"},
      {"strides overflow", of_storage(0, {INT64_MAX, INT64_MAX}, {INT64_MAX, 1}), "overflow 64 bits"},
      {"negative size", of_storage(0, {-1}, {1}), "size is -1"},
      {"negative stride", of_storage(5, {6}, {-1}), "stride is -1"},
      {"negative offset", of_storage(-1, {1}, {1}), "the offset of a tensor is -1"},
      {"ranks differ", of_storage(0, {2, 3}, {1}), "2 sizes and 1 strides"},
      {"17 dimensions", of_storage(0, std::vector<int64_t>(17, 1), std::vector<int64_t>(17, 1)), "17 dimensions"},
      {"parameter of a dict", whole(call(global("torch._utils", "_rebuild_parameter"), {"}", "\x88", "}"})),
       "a parameter without a tensor"},
      {"encode to utf-8", whole(call(global("_codecs", "encode"), {text("x"), text("utf-8")})), "\"latin1\""},
      {"encode beyond latin1", whole(call(global("_codecs", "encode"), {text("\xe2\x82\xac"), text("latin1")})),
       "beyond latin1"},
      {"Size of a tuple of 17", whole(call(global("torch", "Size"), {tuple(std::vector<std::string>(17, "N"))})),
       "at most 16"},
  };
}

TEST(Pickle, EveryMalformedOneIsRefusedWithAReason) {
  for (const auto& list : {broken_streams(), broken_objects(), broken_tensors()})
    for (const Malformed& m : list) {
      SCOPED_TRACE(m.name);
      expect_contains(refusal(m.bytes), m.message);
    }
}

// A long string or tuple that is used again and again from the memo must not cost its length each time.
TEST(Pickle, RepetitionDoesNotMultiplyMemory) {
  std::string bytes(kProto);
  bytes += global("_codecs", "encode") + "q\x01" + text(std::string(8 << 20, 'x')) + "q\x02";
  for (int i = 0; i < 40; ++i) bytes += "h\x01h\x02" + text("latin1") + "\x86R0";
  expect_contains(refusal(bytes + "0."), "bytes of strings");
}

TEST(Pickle, EveryTruncationAndBitFlipIsAnAnswer) {
  const std::string good = whole(dict({text("w"), tensor(storage("FloatStorage", "0", 6), 0, {2, 3}, {3, 1}), text("n"),
                                       call(global("torch", "Size"), {tuple({integer(3)})})}));
  EXPECT_EQ(parse(good).tensors.size(), 1U);
  for (size_t n = 0; n < good.size(); ++n) refusal(good.substr(0, n));
  for (size_t i = 0; i < good.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = good;
      changed[i] = static_cast<char>(changed[i] ^ 1 << bit);
      try {
        parse(changed);
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::kInvalidModel);
      }
    }
}

}  // namespace
}  // namespace stretto
