#include <gtest/gtest.h>

#include <thread>

#include "text/small_vocabulary.h"
#include "text/tokenizer.h"

namespace stretto {
namespace {

// Every kind of tokenizer, encoding and decoding from four threads, against one thread.
TEST(Threads, FourThreadsGiveTheIdsOfOne) {
  std::vector<SmallVocabulary> vocabularies;
  for (const char* pre : {"qwen2", "llama-bpe", "deepseek-llm", "deepseek-v3"}) {
    vocabularies.push_back(SmallVocabulary::byte_level(pre));
  }
  for (SmallVocabulary& v : vocabularies) {
    v.merge("t", "h");
    v.merge("th", "e");
    v.merge("b", "b");
  }
  vocabularies.push_back(SmallVocabulary::spm());
  vocabularies.push_back(SmallVocabulary::gemma4());
  std::vector<std::string> texts;
  Noise noise(12);
  for (int i = 0; i < 60; ++i) texts.push_back(noise.bytes(200, 9) + "<|im_end|>" + noise.text(100));
  for (SmallVocabulary& v : vocabularies) {
    v.add("<|im_end|>", 3);
    const auto tokenizer = make_tokenizer(v.metadata());
    std::vector<std::vector<int32_t>> expected;
    for (const std::string& text : texts) expected.push_back(tokenizer->encode(text));
    std::vector<int> mismatches(4, 0);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (size_t round = 0; round < 3; ++round) {
          for (size_t i = 0; i < texts.size(); ++i) {
            const size_t at = (i + 15 * t) % texts.size();
            const std::vector<int32_t> ids = tokenizer->encode(texts[at]);
            if (ids != expected[at] || tokenizer->decode(ids, true).empty()) ++mismatches[t];
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(mismatches, std::vector<int>(4, 0)) << v.model << " " << v.pre;
  }
}

}  // namespace
}  // namespace stretto
