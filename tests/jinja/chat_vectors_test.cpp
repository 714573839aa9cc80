// The rendered conversations and snippets of ../shared: real templates, which are other projects' material.
#include <filesystem>
#include <fstream>
#include <iterator>

#include "jinja/rendering.h"

namespace stretto::jinja {
namespace {

const std::string kData = std::string(STRETTO_SHARED) + "/data";

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

class ChatVectors : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kData + "/chat_vectors.json")) GTEST_SKIP() << "skipped: ../shared absent";
    vectors_ = ordered_json::parse(read(kData + "/chat_vectors.json"));
    ASSERT_EQ(vectors_["now"], "2026-01-02T03:04:05");
  }

  static void check(const std::string& source, const ordered_json& context, const ordered_json& expected,
                    const std::string& what) {
    if (!expected["error"].is_null()) {
      EXPECT_THROW(render(source, context), TemplateError) << what;
      return;
    }
    try {
      EXPECT_EQ(render(source, context), expected["rendered"].get<std::string>()) << what;
    } catch (const Error& e) {
      ADD_FAILURE() << what << "\n" << e.what();
    }
  }

  ordered_json vectors_;
};

TEST_F(ChatVectors, EveryConversationOfEveryTemplate) {
  size_t n = 0;
  for (const ordered_json& vector : vectors_["cases"]) {
    const std::string name = vector["template"];
    check(read(kData + "/templates/" + name), vector["context"], vector,
          name + ", " + vector["conversation"].get<std::string>());
    ++n;
  }
  EXPECT_GE(n, 200u);
}

TEST_F(ChatVectors, EverySnippet) {
  size_t n = 0;
  for (const ordered_json& snippet : vectors_["snippets"]) {
    const std::string source = snippet["template"];
    check(source, vectors_["snippet_context"], snippet, source);
    ++n;
  }
  EXPECT_GE(n, 70u);
}

}  // namespace
}  // namespace stretto::jinja
