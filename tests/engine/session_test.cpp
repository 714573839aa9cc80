// Sessions and generation on a tiny reference model.

#include "engine/session.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cpu/cpu_backend.h"
#include "engine/engine.h"
#include "engine/generate.h"
#include "oracle/oracle_backend.h"

namespace stretto {
namespace {

EngineLog silent() {
  return {.line = [](const std::string&) {}, .progress = [](std::string_view, uint64_t, uint64_t) {}};
}

SamplingParams greedy_params() {
  SamplingParams p;
  p.temperature = 0;
  return p;
}

class SessionTest : public ::testing::Test {
 protected:
  SessionTest()
      : checkpoint_(open_checkpoint(STRETTO_BINARY_DIR "/refs/hf/qwen3")),
        backend_(make_cpu_backend({})),
        engine_(*checkpoint_, *backend_, {.n_ctx = 64, .max_tokens = 8, .max_outputs = 8}, silent()) {}

  ErrorKind error_of(const std::vector<int32_t>& tokens) {
    Session s = engine_.make_session();
    try {
      s.append(tokens);
    } catch (const Error& e) {
      return e.kind();
    }
    return ErrorKind::kInternal;
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Backend> backend_;
  Engine engine_;
};

TEST_F(SessionTest, RefusesBadRequests) {
  EXPECT_EQ(error_of({}), ErrorKind::kBadArgument);
  EXPECT_EQ(error_of({1, 512}), ErrorKind::kBadArgument);
  EXPECT_EQ(error_of({-1}), ErrorKind::kBadArgument);
  EXPECT_EQ(error_of(std::vector<int32_t>(65, 1)), ErrorKind::kCapacity);
}

TEST_F(SessionTest, RewindGivesTheSameLogitsAgain) {
  Session s = engine_.make_session();
  s.append(std::vector<int32_t>{5, 6, 7, 8, 9});
  const int32_t next = 10;
  const auto first = s.append(std::span(&next, 1));
  const std::vector<float> kept(first.begin(), first.end());
  s.append(std::vector<int32_t>{1, 2, 3});
  s.rewind(5);
  const auto again = s.append(std::span(&next, 1));
  EXPECT_TRUE(std::equal(kept.begin(), kept.end(), again.begin()));
}

TEST_F(SessionTest, PrefillStopsBetweenChunks) {
  Session s = engine_.make_session();
  uint64_t seen = 0;
  const auto logits = s.append(std::vector<int32_t>(40, 3), 8, [&](uint64_t done, uint64_t) {
    seen = done;
    return done < 16;
  });
  EXPECT_TRUE(logits.empty());
  EXPECT_EQ(seen, 16U);
  EXPECT_EQ(s.position(), 16U);
}

TEST_F(SessionTest, GenerateCountsAndStops) {
  const std::vector<int32_t> prompt = {1, 2, 3};
  Session a = engine_.make_session();
  const GenerateParams greedy{.max_tokens = 10, .sampling = greedy_params(), .stop_ids = {}, .stop_strings = {}};
  const Generation g = generate(a, nullptr, prompt, greedy, {});
  EXPECT_EQ(g.tokens.size(), 10U);
  EXPECT_EQ(g.finish, FinishReason::kLength);
  EXPECT_EQ(g.timings.prompt_n, 3U);
  Session b = engine_.make_session();
  GenerateParams stopping = greedy;
  stopping.stop_ids = {g.tokens[4]};
  const Generation h = generate(b, nullptr, prompt, stopping, {});
  EXPECT_EQ(h.finish, FinishReason::kStop);
  EXPECT_LE(h.tokens.size(), 4U);
}

TEST_F(SessionTest, GenerateEndsWithTheContext) {
  Session s = engine_.make_session();
  const Generation g =
      generate(s, nullptr, std::vector<int32_t>(60, 1),
               {.max_tokens = -1, .sampling = greedy_params(), .stop_ids = {}, .stop_strings = {}}, {});
  EXPECT_EQ(g.finish, FinishReason::kLength);
  EXPECT_EQ(g.tokens.size(), 5U);  // four more positions, and the token after the last of them
}

TEST_F(SessionTest, CancelStopsWithinAToken) {
  Session s = engine_.make_session();
  std::atomic<bool> cancel{false};
  GenerateHooks hooks{.on_text = {}, .on_token = [&](int32_t) { cancel = true; }, .on_prefill = {}, .cancel = &cancel};
  const Generation g =
      generate(s, nullptr, std::vector<int32_t>{1},
               {.max_tokens = 50, .sampling = greedy_params(), .stop_ids = {}, .stop_strings = {}}, hooks);
  EXPECT_EQ(g.finish, FinishReason::kCancelled);
  EXPECT_EQ(g.tokens.size(), 1U);
}

// A backend with little memory: the plan is refused before anything is loaded, and names a context that works.
class SmallBackend : public Backend {
 public:
  explicit SmallBackend(uint64_t bytes) : inner_(make_oracle_backend()), bytes_(bytes) {}
  std::string name() const override { return "small"; }
  std::string description() const override { return ""; }
  uint64_t available_bytes() const override { return bytes_; }
  int thread_count() const override { return 1; }
  std::unique_ptr<ReadSweep> make_read_sweep() const override { return inner_->make_read_sweep(); }
  Program lower(const Program& p) const override { return inner_->lower(p); }
  std::unique_ptr<Executable> compile(const Program& p, const CompileOptions& o) const override {
    return inner_->compile(p, o);
  }

 private:
  std::unique_ptr<Backend> inner_;
  uint64_t bytes_;
};

TEST_F(SessionTest, TooLargeAContextIsRefusedWithTheLargestThatFits) {
  const SmallBackend small(4 << 20);
  try {
    Engine(*checkpoint_, small, {.n_ctx = 1 << 20, .max_tokens = 8}, silent());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kHostMemory);
    const std::string text = e.what();
    const size_t at = text.find("(-c ");
    ASSERT_NE(at, std::string::npos) << text;
    const uint64_t fits = std::stoull(text.substr(at + 4));
    EXPECT_NO_THROW(Engine(*checkpoint_, small, {.n_ctx = fits, .max_tokens = 8, .kv_type = DType::kF16}, silent()));
  }
  // Without -c the engine takes what fits.
  EXPECT_LT(Engine(*checkpoint_, small, {.max_tokens = 8, .kv_type = DType::kF32}, silent()).limits().n_ctx, 4097U);
  EXPECT_THROW(Engine(*checkpoint_, SmallBackend(1000), {}, silent()), Error);
}

// The largest context grows as a position's bytes shrink.
TEST_F(SessionTest, ACacheOfEightBitsHoldsTwiceTheContext) {
  const auto largest = [&](DType type) {
    try {
      Engine(*checkpoint_, SmallBackend(16 << 20), {.n_ctx = 1 << 20, .max_tokens = 8, .kv_type = type}, silent());
    } catch (const Error& e) {
      const std::string text = e.what();
      return std::stoull(text.substr(text.find("(-c ") + 4));
    }
    return 0ULL;
  };
  const uint64_t f16 = largest(DType::kF16), f8 = largest(DType::kF8_E4M3);
  EXPECT_GT(f16, 0U);
  EXPECT_NEAR(static_cast<double>(f8), 2 * static_cast<double>(f16), 2);
  EXPECT_NO_THROW(Engine(*checkpoint_, SmallBackend(16 << 20),
                         {.n_ctx = f8, .max_tokens = 8, .kv_type = DType::kF8_E4M3}, silent()));
}

TEST_F(SessionTest, AContextBeyondTheModelsIsAWarning) {
  std::string lines;
  EngineLog log = silent();
  log.line = [&](const std::string& line) { lines += line + "\n"; };
  const uint64_t own = engine_.model().spec.context_length;
  Engine(*checkpoint_, *backend_, {.n_ctx = own, .max_tokens = 8}, log);
  EXPECT_EQ(lines.find("warning: a context of"), std::string::npos) << lines;
  Engine(*checkpoint_, *backend_, {.n_ctx = own + 1, .max_tokens = 8}, log);
  EXPECT_NE(lines.find("warning: a context of"), std::string::npos) << lines;
}

TEST_F(SessionTest, EndIdsComeFromConfig) { EXPECT_EQ(end_ids(*checkpoint_, nullptr), std::vector<int32_t>{2}); }

}  // namespace
}  // namespace stretto
