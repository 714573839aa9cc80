#include "base/json.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <string>

namespace stretto {
namespace {

// The message of the Error that parsing `text` throws; fails the test when it is accepted.
std::string refusal(std::string_view text, const JsonOptions& options = {}) {
  try {
    parse_json(text, "here.json", options);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), options.error_kind);
    return e.what();
  }
  ADD_FAILURE() << "accepted: " << text.substr(0, 80);
  return "";
}

void expect_contains(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks: " << part;
}

TEST(Json, KeepsOrderAndKinds) {
  const Json v = parse_json(R"( {"z":1,"a":-2,"m":[3.0,1e2,"x\u00e9",true,null,{}],"":18446744073709551615} )", "t");
  std::string keys;
  for (const auto& item : v.items()) keys += item.key() + ",";
  EXPECT_EQ(keys, "z,a,m,,");
  EXPECT_TRUE(v["z"].is_number_unsigned());
  EXPECT_TRUE(v["a"].is_number_integer() && !v["a"].is_number_unsigned());
  EXPECT_TRUE(v["m"][0].is_number_float());
  EXPECT_TRUE(v["m"][1].is_number_float());
  EXPECT_EQ(v["m"][2], "x\xc3\xa9");
  EXPECT_EQ(v[""].get<uint64_t>(), UINT64_MAX);
  EXPECT_EQ(parse_json("-9223372036854775808", "t").get<int64_t>(), INT64_MIN);
  EXPECT_EQ(parse_json(dump_json(v), "t"), v);
}

TEST(Json, NamesThePlaceOfAnError) {
  expect_contains(refusal("{\"a\": x}"), "here.json: invalid JSON at byte 6");
  expect_contains(refusal("{} {}"), "at byte 3");
  expect_contains(refusal(""), "at byte 0");
  expect_contains(refusal("[1,2"), "at byte 4");
  JsonOptions request;
  request.error_kind = ErrorKind::kBadArgument;
  refusal("[", request);
}

TEST(Json, RefusesWhatStrictJsonDoesNotAllow) {
  for (const char* text : {"[1,]", "{\"a\":1,}", "{a:1}", "'a'", "[01]", "[+1]", "[.5]", "[1.]", "[0x10]", "[NaN]",
                           "[Infinity]", "// c\n1", "\"\t\"", "\"\\x\"", "tru", "1 2", "\"abc"}) {
    refusal(text);
  }
}

TEST(Json, RefusesInvalidUtf8) {
  for (const char* bytes : {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80"}) {
    refusal(std::string("\"") + bytes + "\"");
  }
  refusal("\"\\ud800\"");
  refusal("\"\\udc00\\ud800\"");
  EXPECT_EQ(parse_json("\"\\ud83d\\ude00\"", "t"), "\xf0\x9f\x98\x80");
}

TEST(Json, RefusesDuplicateKeysAtEveryLevel) {
  expect_contains(refusal(R"({"a":1,"b":2,"a":3})"), "duplicate key \"a\"");
  expect_contains(refusal(R"([{"x":{"k":1,"\u006b":2}}])"), "duplicate key \"k\"");
  EXPECT_EQ(parse_json(R"({"a":{"a":{"a":1}}})", "t")["a"]["a"]["a"], 1);
}

TEST(Json, BoundsDepth) {
  JsonOptions three;
  three.max_depth = 3;
  EXPECT_EQ(parse_json("[[[1]]]", "t", three).size(), 1u);
  expect_contains(refusal("[[[[1]]]]", three), "at byte 4: nested deeper than 3 levels");
  expect_contains(refusal("{\"a\":[{\"b\":[]}]}", three), "nested deeper than 3 levels");
  for (const char* opening : {"[", "{\"a\":"}) {
    std::string deep;
    for (int i = 0; i < 1'000'000; ++i) deep += opening;
    expect_contains(refusal(deep), "nested deeper than 64 levels");
  }
}

TEST(Json, BoundsTheNumberOfValues) {
  JsonOptions five;
  five.max_values = 5;
  EXPECT_EQ(parse_json("[1,2,3,4]", "t", five).size(), 4u);
  expect_contains(refusal("[1,2,3,4,5]", five), "more than 5 values");
}

TEST(Json, IntegersOutside64Bits) {
  for (const char* text : {"18446744073709551616", "-9223372036854775809", "[1000000000000000019884624838656]"}) {
    expect_contains(refusal(text), "is outside 64 bits");
  }
  JsonOptions wide;
  wide.wide_integers_as_double = true;
  EXPECT_EQ(parse_json("1000000000000000019884624838656", "t", wide).get<double>(), 1e30);
  refusal("1e999", wide);
}

TEST(Json, PythonConstantsOnlyWhenAskedFor) {
  JsonOptions python;
  python.python_constants = true;
  const Json v = parse_json(R"([0.0, Infinity,-Infinity , NaN, "Infinity", "\"NaN"])", "t", python);
  EXPECT_EQ(v[1].get<double>(), INFINITY);
  EXPECT_EQ(v[2].get<double>(), -INFINITY);
  EXPECT_TRUE(std::isnan(v[3].get<double>()));
  EXPECT_EQ(v[4], "Infinity");
  EXPECT_EQ(v[5], "\"NaN");
  expect_contains(refusal("[Infinity, x]", python), "at byte 11");
  refusal("[Infinity1]", python);
  refusal("[aNaN]", python);
}

// An object with many keys must not take quadratic time (a vocabulary has 250 k).
TEST(Json, LargeObjectsAreLinear) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += fmt::format("\"token{}\":{},", i, i);
  text.back() = '}';
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(parse_json(text, "t").size(), 200'000u);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 10.0);  // the quadratic search takes minutes
}

TEST(Json, DumpNeverThrows) {
  Json v = Json::object();
  v["text"] = "a\xff\xc3";
  EXPECT_EQ(dump_json(v), "{\"text\":\"a\xef\xbf\xbd\xef\xbf\xbd\"}");
  EXPECT_EQ(dump_json(Json::array({1, 2}), 1), "[\n 1,\n 2\n]");
}

}  // namespace
}  // namespace stretto
