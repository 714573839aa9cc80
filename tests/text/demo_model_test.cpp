// The tokenizer of the model that the repository carries.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "text/tokenizer.h"

namespace stretto {
namespace {

const std::filesystem::path kModels = std::filesystem::path(STRETTO_SOURCE_DIR) / "models";

TEST(DemoModel, EncodesAndDecodesAsExpected) {
  const auto checkpoint = open_checkpoint((kModels / "stretto-demo.gguf").string(), {.metadata_only = true});
  const auto tokenizer = make_tokenizer(checkpoint->metadata());
  EXPECT_TRUE(tokenizer->warnings().empty());
  std::ifstream in(kModels / "stretto-demo.expected.json");
  const auto expected = nlohmann::json::parse(in);
  ASSERT_GE(expected.at("tokenizer").size(), 30u);
  for (const auto& c : expected.at("tokenizer")) {
    const std::string text = c.at("text");
    const auto ids = tokenizer->encode(text, {.add_special = false});
    EXPECT_EQ(ids, c.at("ids").get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer->decode(ids, true), text);
  }
  for (const auto& p : expected.at("prompts")) {
    EXPECT_EQ(tokenizer->encode(p.at("text").get<std::string>()), p.at("ids").get<std::vector<int32_t>>());
    EXPECT_EQ(tokenizer->decode(p.at("greedy").get<std::vector<int32_t>>(), true), p.at("greedy_text"));
  }
}

}  // namespace
}  // namespace stretto
