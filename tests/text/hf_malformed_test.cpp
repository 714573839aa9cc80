#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/cpu_seconds.h"
#include "text/hf_files.h"
#include "text/small_vocabulary.h"
#include "text/utf8.h"

namespace stretto {
namespace {

using Ids = std::vector<int32_t>;

struct Malformed {
  const char* name;
  std::function<void(Json&)> change;
  const char* message;  // part of the error
};

Json added(const char* content, int id) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

Json split(const char* regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json nested(int depth, const char* list) {
  Json json = {{"type", "Sequence"}, {list, Json::array()}};
  for (int i = 0; i < depth; ++i) json = {{"type", "Sequence"}, {list, Json::array({json})}};
  return json;
}

Json repeated(const Json& step, size_t n, const char* list) {
  Json items = Json::array();
  for (size_t i = 0; i < n; ++i) items.push_back(step);
  return {{"type", "Sequence"}, {list, items}};
}

const Malformed kMalformed[] = {
    {"version number", [](Json& j) { j["version"] = 1; }, "version is 1"},
    {"version null", [](Json& j) { j["version"] = nullptr; }, "version is null"},
    {"no model", [](Json& j) { j.erase("model"); }, "model is missing"},
    {"model list", [](Json& j) { j["model"] = Json::array(); }, "model is an array"},
    {"model null", [](Json& j) { j["model"] = nullptr; }, "model is null"},
    {"Unigram", [](Json& j) { j["model"]["type"] = "Unigram"; }, "model.type is \"Unigram\""},
    {"WordPiece", [](Json& j) { j["model"]["type"] = "WordPiece"; }, "model.type"},
    {"type number", [](Json& j) { j["model"]["type"] = 3; }, "model.type is 3"},
    {"no vocab", [](Json& j) { j["model"].erase("vocab"); }, "vocab is missing"},
    {"vocab null", [](Json& j) { j["model"]["vocab"] = nullptr; }, "the vocabulary is null"},
    {"vocab empty", [](Json& j) { j["model"]["vocab"] = Json::object(); }, "no tokens"},
    {"vocab of objects", [](Json& j) { j["model"]["vocab"]["a"] = Json::object(); }, "the id of 'a' is an object"},
    {"id text", [](Json& j) { j["model"]["vocab"]["a"] = "0"; }, "the id of 'a' is \"0\""},
    {"id null", [](Json& j) { j["model"]["vocab"]["a"] = nullptr; }, "the id of 'a' is null"},
    {"id large", [](Json& j) { j["model"]["vocab"]["a"] = 1 << 22; }, "4194304"},
    {"id twice", [](Json& j) { j["model"]["vocab"]["a"] = 1; }, "gives the id 1"},
    {"token too long", [](Json& j) { j["model"]["vocab"][std::string(70000, 'x')] = 900; }, "70000 bytes"},
    {"no merges", [](Json& j) { j["model"].erase("merges"); }, "merges is missing"},
    {"merges object", [](Json& j) { j["model"]["merges"] = Json::object(); }, "model.merges is an object"},
    {"merge number", [](Json& j) { j["model"]["merges"][0] = 1; }, "merges[0]"},
    {"merge of one", [](Json& j) { j["model"]["merges"][1] = Json::array({"a"}); }, "merges[1]"},
    {"merge of numbers",
     [](Json& j) {
       j["model"]["merges"][1] = Json::array({"a", 1});
     },
     "merges[1]"},
    {"merge of lists",
     [](Json& j) {
       j["model"]["merges"][1] = Json::array({Json::array(), "a"});
     },
     "merges[1]"},
    {"merge object", [](Json& j) { j["model"]["merges"][2] = Json::object(); }, "merges[2]"},
    {"merge line", [](Json& j) { j["model"]["merges"] = Json::array({"a"}); }, "merges[0] is 'a'"},
    {"merge lines and pairs", [](Json& j) { j["model"]["merges"].push_back("a b"); }, "mixed"},
    {"merge of unknown",
     [](Json& j) {
       j["model"]["merges"].push_back(Json::array({"a", "?"}));
     },
     "'?' is not in"},
    {"merge to unknown",
     [](Json& j) {
       j["model"]["merges"].push_back(Json::array({"a", "z"}));
     },
     "'az' is not in"},
    {"merge empty part",
     [](Json& j) {
       j["model"]["merges"].push_back(Json::array({"a", ""}));
     },
     "'' is not in"},
    {"prefix longer than part", [](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; }, "shorter than"},
    {"prefix number", [](Json& j) { j["model"]["continuing_subword_prefix"] = 1; }, "continuing_subword_prefix is 1"},
    {"suffix too long", [](Json& j) { j["model"]["end_of_word_suffix"] = std::string(70000, 'x'); }, "65536"},
    {"unk number", [](Json& j) { j["model"]["unk_token"] = 0; }, "unk_token is 0"},
    {"unk missing", [](Json& j) { j["model"]["unk_token"] = "<nope>"; }, "<nope>"},
    {"fuse_unk text", [](Json& j) { j["model"]["fuse_unk"] = "x"; }, "fuse_unk is \"x\""},
    {"dropout", [](Json& j) { j["model"]["dropout"] = 0.1; }, "dropout is 0.1"},
    {"dropout text", [](Json& j) { j["model"]["dropout"] = "0"; }, "dropout is \"0\""},
    {"added object", [](Json& j) { j["added_tokens"] = Json::object(); }, "added_tokens is an object"},
    {"added text", [](Json& j) { j["added_tokens"] = Json::array({"x"}); }, "added_tokens[0] is \"x\""},
    {"added flag", [](Json& j) { (j["added_tokens"] = Json::array({added("x1", 40)}))[0]["special"] = 1; },
     "special is 1"},
    {"added content", [](Json& j) { (j["added_tokens"] = Json::array({added("x", 40)}))[0]["content"] = 1; },
     "content is 1"},
    {"added too long", [](Json& j) { j["added_tokens"] = Json::array({added(std::string(70000, 'x').c_str(), 40)}); },
     "70000 bytes"},
    {"added id taken",
     [](Json& j) {
       j["model"]["vocab"]["<unk>"] = 31;  // 31 entries, ids 0..29 and 31
       j["added_tokens"] = Json::array({added("<x>", 31)});
     },
     "would get the id 31"},
    {"normalizer text", [](Json& j) { j["normalizer"] = "NFC"; }, "normalizer is \"NFC\""},
    {"normalizer type",
     [](Json& j) {
       j["normalizer"] = {{"type", "Nmt"}};
     },
     "\"Nmt\""},
    {"normalizer typeless", [](Json& j) { j["normalizer"] = Json::object(); }, "normalizer.type is missing"},
    {"normalizer list",
     [](Json& j) {
       j["normalizer"] = {{"type", "Sequence"}};
     },
     "normalizers is missing"},
    {"normalizer depth", [](Json& j) { j["normalizer"] = nested(9, "normalizers"); }, "nested deeper"},
    {"normalizer steps",
     [](Json& j) {
       j["normalizer"] = repeated({{"type", "NFC"}}, 65, "normalizers");
     },
     "64 steps"},
    {"prepend",
     [](Json& j) {
       j["normalizer"] = {{"type", "Prepend"}};
     },
     "prepend is missing"},
    {"replace content",
     [](Json& j) {
       j["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}};
     },
     "content"},
    {"replace pattern",
     [](Json& j) {
       j["normalizer"] = {{"type", "Replace"}, {"pattern", "a"}, {"content", ""}};
     },
     "pattern is \"a\""},
    {"pattern kind",
     [](Json& j) {
       j["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Glob", "a"}}}, {"content", ""}};
     },
     "pattern.String is missing"},
    {"pre type",
     [](Json& j) {
       j["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
     },
     "BertPreTokenizer"},
    {"pre regex", [](Json& j) { j["pre_tokenizer"] = split("(a"); }, "')' is missing"},
    {"pre back reference", [](Json& j) { j["pre_tokenizer"] = split("(a)\\1"); }, "not supported"},
    {"pre lookbehind", [](Json& j) { j["pre_tokenizer"] = split("(?<=a*)b"); }, "PCRE2"},
    {"pre too large", [](Json& j) { j["pre_tokenizer"] = split("(?:(?:a{1,900}){1,900}){1,900}"); }, "PCRE2"},
    {"pre depth", [](Json& j) { j["pre_tokenizer"] = nested(9, "pretokenizers"); }, "nested deeper"},
    {"pre steps", [](Json& j) { j["pre_tokenizer"] = repeated(split("a"), 65, "pretokenizers"); }, "64 steps"},
    {"metaspace scheme",
     [](Json& j) {
       j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}};
     },
     "\"last\""},
    {"metaspace empty",
     [](Json& j) {
       j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", ""}};
     },
     "one character"},
    {"post type",
     [](Json& j) {
       j["post_processor"] = {{"type", "Other"}};
     },
     "\"Other\""},
    {"post roberta",
     [](Json& j) {
       j["post_processor"] = {{"type", "RobertaProcessing"}, {"cls", {"a", 999}}, {"sep", {"b", 1}}};
     },
     "cls[1] is 999"},
    {"post B",
     [](Json& j) {
       j["post_processor"] = {{"type", "TemplateProcessing"},
                              {"single", Json::array({{{"Sequence", {{"id", "B"}}}}})},
                              {"special_tokens", Json::object()}};
     },
     "\"B\""},
    {"post A twice",
     [](Json& j) {
       const Json a = {{"Sequence", {{"id", "A"}}}};
       j["post_processor"] = {
           {"type", "TemplateProcessing"}, {"single", Json::array({a, a})}, {"special_tokens", Json::object()}};
     },
     "A once"},
    {"decoder type",
     [](Json& j) {
       j["decoder"] = {{"type", "CTC"}};
     },
     "\"CTC\""},
    {"decoder depth", [](Json& j) { j["decoder"] = nested(9, "decoders"); }, "nested deeper"},
    {"decoder strip",
     [](Json& j) {
       j["decoder"] = {{"type", "Strip"}, {"content", " "}, {"start", -1}, {"stop", 0}};
     },
     "start is -1"},
    {"decoder strip content",
     [](Json& j) {
       j["decoder"] = {{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}};
     },
     "content is \"ab\""},
    {"decoder suffix",
     [](Json& j) {
       j["decoder"] = {{"type", "BPEDecoder"}, {"suffix", ""}};
     },
     "suffix is empty"},
};

TEST(HfMalformed, EveryVariantIsRefusedWithItsPath) {
  EXPECT_EQ(make_hf_tokenizer_from(dump_json(small_tokenizer_json()))->encode("abcab"), (Ids{28, 26}));
  for (const Malformed& variant : kMalformed) {
    SCOPED_TRACE(variant.name);
    Json json = small_tokenizer_json();
    variant.change(json);
    try {
      make_hf_tokenizer_from(dump_json(json));
      ADD_FAILURE() << "not refused";
    } catch (const Error& e) {
      EXPECT_TRUE(e.kind() == ErrorKind::kInvalidModel || e.kind() == ErrorKind::kUnsupported) << e.what();
      EXPECT_NE(std::string(e.what()).find(variant.message), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("tokenizer.json"), std::string::npos) << e.what();
    }
  }
  EXPECT_GE(std::size(kMalformed), 60u);
}

TEST(HfMalformed, NotJson) {
  const std::string good = dump_json(small_tokenizer_json());
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"), good + "x", "\xEF\xBB\xBF" + good,
        "// comment\n" + good, good.substr(0, good.size() / 2), std::string(100000, '['), std::string(100000, '{'),
        std::string("{\"model\":{\"vocab\":{\"\\ud800\":1}}}"), std::string("{\"model\":{\"vocab\":{\"\xFF\":1}}}"),
        std::string("{\"x\":NaN}"), std::string("{\"model\":{\"vocab\":[[[["), std::string("{\"\\u0000\":"),
        std::string("{\"model\":{\"vocab\":{\"a\":18446744073709551616}}}")}) {
    try {
      make_hf_tokenizer_from(text);
      ADD_FAILURE() << text.substr(0, 60);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidModel) << e.what();
    }
  }
  HfTokenizerFiles none;
  EXPECT_FALSE(has_hf_tokenizer(none));
  try {
    make_hf_tokenizer(none);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kNotFound);
  }
}

// One byte of a real file changed: refused or usable, never anything else.
TEST(HfMalformed, MutatedFilesNeverCrash) {
  Noise noise(5);
  size_t n_loaded = 0;
  for (const char* name : {"flags", "llama2", "norm_nfkc", "behaviors"}) {
    const std::string good = read_tokjson(std::string(name) + "/tokenizer.json");
    for (int i = 0; i < 60; ++i) {
      std::string text = good;
      for (uint32_t n = 1 + noise.below(2); n > 0; --n) {
        // Often in the part before the vocabulary.
        const auto at = noise.below(static_cast<uint32_t>(noise.below(2) == 0 ? text.size() : text.size() / 8));
        static constexpr std::string_view kBytes = "\"{}[],:0159aetrufnls\\ ";
        text[at] = kBytes[noise.below(kBytes.size())];
      }
      try {
        const auto t = make_hf_tokenizer_from(text);
        t->decode(t->encode("Hello  w\xC3\xB6rld <s>\n<l> x"), false);
        ++n_loaded;
      } catch (const Error& e) {
        EXPECT_NE(e.kind(), ErrorKind::kInternal) << e.what();
      }
    }
  }
  EXPECT_GT(n_loaded, 10u);
}

TEST(HfMalformed, AnyBytesCanBeEncoded) {
  Noise noise(6);
  for (const std::string& name : tokjson_pipelines()) {
    const auto t = make_hf_tokenizer_from(read_tokjson(name + "/tokenizer.json"));
    for (int i = 0; i < 30; ++i) {
      const std::string bytes = i % 2 == 0 ? noise.bytes(noise.below(200), 5) : noise.text(noise.below(100));
      const Ids ids = t->encode(bytes);
      for (const int32_t id : ids) ASSERT_LT(static_cast<uint32_t>(id), static_cast<uint32_t>(t->size())) << name;
      std::string storage;
      EXPECT_EQ(ids, t->encode(sanitise_utf8(bytes, storage))) << name;
      const std::string decoded = t->decode(ids, true);
      EXPECT_EQ(sanitise_utf8(decoded, storage), decoded) << name;
    }
    EXPECT_EQ(t->decode(Ids{-1, INT32_MAX, t->size()}, true), t->decode(Ids{}, true)) << name;
  }
}

TEST(HfTokenizer, FourThreadsGiveTheIdsOfOne) {
  Noise noise(7);
  for (const char* name : {"qwen2", "llama2", "flags", "norm_nfkc", "behaviors", "mistral_metaspace"}) {
    const auto t = make_hf_tokenizer_from(read_tokjson(std::string(name) + "/tokenizer.json"));
    std::vector<std::string> texts;
    std::vector<Ids> expected;
    for (int i = 0; i < 40; ++i) {
      texts.push_back(noise.text(120) + "<l> <|im_end|>" + noise.bytes(80, 8));
      expected.push_back(t->encode(texts.back()));
    }
    std::vector<int> mismatches(4, 0);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&, thread] {
        for (size_t i = 0; i < 3 * texts.size(); ++i) {
          const size_t at = (i + 11 * thread) % texts.size();
          const Ids ids = t->encode(texts[at]);
          if (ids != expected[at] || t->decode(ids, true).empty()) ++mismatches[thread];
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(mismatches, std::vector<int>(4, 0)) << name;
  }
}

// 150,000 tokens and merges over a byte alphabet, as the largest published files have them.
std::string large_tokenizer_json(int n_merges) {
  std::vector<std::string> tokens;
  std::string vocab;
  std::string merges;
  const auto add = [&](const std::string& text) {
    vocab += fmt::format("{}{}:{}", tokens.empty() ? "" : ",", dump_json(text), tokens.size());
    tokens.push_back(text);
  };
  for (int byte = 0; byte < 256; ++byte) {
    std::string text;
    append_utf8(text, byte_symbol(static_cast<uint8_t>(byte)));
    add(text);
  }
  for (int i = 0; i < n_merges; ++i) {
    const std::string& left = tokens[static_cast<size_t>(i / 188)];
    const std::string& right = tokens[static_cast<size_t>(68 + i % 188)];
    merges += fmt::format("{}[{},{}]", i == 0 ? "" : ",", dump_json(left), dump_json(right));
    // Texts may repeat (a pair of pairs): every pair gets the token of its own, repeated keys are fine.
    add(left + right);
  }
  return "{\"added_tokens\":[],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":"
         "true},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{" +
         vocab + "},\"merges\":[" + merges + "]}}";
}

TEST(HfTokenizer, LargeFilesLoadFast) {
  const std::string json = large_tokenizer_json(150000);
  const double before = cpu_seconds();
  const auto t = make_hf_tokenizer_from(json);
  const double seconds = cpu_seconds() - before;
  EXPECT_GT(t->size(), 150000);
  RecordProperty("load_ms", static_cast<int>(seconds * 1000));
  RecordProperty("file_bytes", static_cast<int>(json.size()));
  EXPECT_LT(seconds, 1.0 * kSlowdown);
}

// A piece of a million characters: O(n log n) or it takes hours.
TEST(HfTokenizer, LongPiecesAreFast) {
  const auto t = make_hf_tokenizer_from(read_tokjson("llama2/tokenizer.json"));
  std::string text;
  while (text.size() < 1'000'000) text += "the quick brown fox ";
  const double before = cpu_seconds();
  const Ids ids = t->encode(text, {.add_special = false});
  EXPECT_LT(cpu_seconds() - before, 5.0 * kSlowdown);
  EXPECT_EQ(t->decode(ids, true), text);
}

}  // namespace
}  // namespace stretto
