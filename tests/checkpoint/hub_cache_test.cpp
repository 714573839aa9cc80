#include "checkpoint/hub_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "checkpoint/fixtures.h"

namespace stretto {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::expect_contains;
using test::write_file;

Environment environment_of(std::map<std::string, std::string> variables) {
  return [variables](const char* name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    return it == variables.end() ? std::nullopt : std::optional<std::string>(it->second);
  };
}

TEST(HubName, Parses) {
  const std::optional<HubName> full = parse_hub_name("Qwen/Qwen3-0.6B@refs/pr/1:Q4_K_M");
  ASSERT_TRUE(full.has_value());
  EXPECT_EQ(full->organisation, "Qwen");
  EXPECT_EQ(full->name, "Qwen3-0.6B");
  EXPECT_EQ(full->revision, "refs/pr/1");
  EXPECT_EQ(full->selector, "Q4_K_M");
  EXPECT_EQ(parse_hub_name("a/b:sub/m-00001-of-00002.gguf")->selector, "sub/m-00001-of-00002.gguf");
  EXPECT_EQ(parse_hub_name("a/b")->revision, "");
  for (const char* bad : {"",         "a",       "/a",        "a/",       "a/b/c",
                          "./b",      "../b",    "a/..",      "a/.",      "a b/c",
                          "a/b:",     "a/b@",    "a/b@../x",  "a/b:../x", "a/b:/etc/passwd",
                          "a/b:x//y", "a/b:./x", "a/b@x:y:z", "a/b@x@y",  "a/b\\c",
                          "~/b",      "a/b\n",   "a/b%2e"}) {
    EXPECT_FALSE(parse_hub_name(bad).has_value()) << bad;
  }
  EXPECT_FALSE(parse_hub_name(std::string("a/b\0c", 5)).has_value());
}

TEST(HubCacheRoot, TheFirstSetVariableWins) {
  std::map<std::string, std::string> variables = {
      {"LLAMA_CACHE", "/1"}, {"HF_HUB_CACHE", "/2"},   {"HUGGINGFACE_HUB_CACHE", "/3"},
      {"HF_HOME", "/4"},     {"XDG_CACHE_HOME", "/5"}, {"HOME", "/6"},
  };
  const std::pair<const char*, const char*> expected[] = {
      {"LLAMA_CACHE", "/1"},
      {"HF_HUB_CACHE", "/2"},
      {"HUGGINGFACE_HUB_CACHE", "/3"},
      {"HF_HOME", "/4/hub"},
      {"XDG_CACHE_HOME", "/5/huggingface/hub"},
      {"HOME", "/6/.cache/huggingface/hub"},
  };
  for (const auto& [variable, root] : expected) {
    EXPECT_EQ(hub_cache_root(environment_of(variables)), root);
    variables[variable] = "";  // empty counts as not set
  }
  expect_contains(error_of(ErrorKind::kNotFound, [&] { hub_cache_root(environment_of(variables)); }),
                  "set HF_HUB_CACHE or HOME");
}

class HubCache : public testing::Test {
 protected:
  HubCache() {
    write_file(repository() / "refs/main", "c0ffee\n");
    fs::create_directories(snapshot());
  }

  fs::path repository() const { return dir_ / "hub/models--org--name"; }
  fs::path snapshot(const std::string& commit = "c0ffee") const { return repository() / "snapshots" / commit; }
  // A file of the snapshot, as the hub client stores it: a link to a blob.
  void add(const std::string& name, const std::string& commit = "c0ffee") const {
    static int n = 0;
    const std::string blob = "blob" + std::to_string(n++);
    write_file(repository() / "blobs" / blob, "GGUF");
    const fs::path link = snapshot(commit) / name;
    fs::create_directories(link.parent_path());
    fs::create_symlink(fs::relative(repository() / "blobs" / blob, link.parent_path()), link);
  }
  fs::path resolve(const std::string& text) const {
    return resolve_hub_name(*parse_hub_name(text), environment_of({{"HF_HUB_CACHE", (dir_ / "hub").string()}}));
  }
  std::string refusal(ErrorKind kind, const std::string& text) const {
    return error_of(kind, [this, &text] { resolve(text); });
  }

  test::TempDir dir_;
};

TEST_F(HubCache, TheOnlyGguf) {
  add("Name-Q8_0.gguf");
  add("mmproj-F16.gguf");
  add("imatrix_name.gguf");
  add("README.md");
  EXPECT_EQ(resolve("org/name"), snapshot() / "Name-Q8_0.gguf");
  EXPECT_EQ(resolve("org/name:q8_0"), snapshot() / "Name-Q8_0.gguf");
  EXPECT_EQ(resolve("org/name:Name-Q8_0.gguf"), snapshot() / "Name-Q8_0.gguf");
  EXPECT_EQ(resolve("org/name:mmproj-F16.gguf"), snapshot() / "mmproj-F16.gguf");
}

TEST_F(HubCache, SeveralQuantisationsAreListed) {
  add("N-Q4_K_M.gguf");
  add("N-Q8_0.gguf");
  add("N-IQ4_XS.gguf");
  const std::string message = refusal(ErrorKind::kBadArgument, "org/name");
  for (const char* choice : {"\n  org/name:N-IQ4_XS.gguf", "\n  org/name:N-Q4_K_M.gguf", "\n  org/name:N-Q8_0.gguf"})
    expect_contains(message, choice);
  EXPECT_EQ(resolve("org/name:Q4_K_M"), snapshot() / "N-Q4_K_M.gguf");
  expect_contains(refusal(ErrorKind::kBadArgument, "org/name:Q6_K"),
                  "holds no file or quantisation \"Q6_K\"; it has:\n  org/name:N-IQ4_XS");
  expect_contains(refusal(ErrorKind::kBadArgument, "org/name:K_M.x"), "holds no file or quantisation");
  add("UD-Q4_K_M.gguf");
  expect_contains(refusal(ErrorKind::kBadArgument, "org/name:Q4_K_M"), "has several files for \"Q4_K_M\"");
  EXPECT_EQ(resolve("org/name:UD-Q4_K_M"), snapshot() / "UD-Q4_K_M.gguf");
}

TEST_F(HubCache, SplitFilesCountOnce) {
  for (const char* part : {"Q6_K/N-Q6_K-00001-of-00002.gguf", "Q6_K/N-Q6_K-00002-of-00002.gguf"}) add(part);
  EXPECT_EQ(resolve("org/name"), snapshot() / "Q6_K/N-Q6_K-00001-of-00002.gguf");
  EXPECT_EQ(resolve("org/name:Q6_K"), snapshot() / "Q6_K/N-Q6_K-00001-of-00002.gguf");
  add("BF16/N-00001-of-00001.gguf");
  EXPECT_EQ(resolve("org/name:bf16"), snapshot() / "BF16/N-00001-of-00001.gguf");
}

TEST_F(HubCache, SafetensorsModelIsItsDirectory) {
  add("config.json");
  add("model.safetensors");
  EXPECT_EQ(resolve("org/name"), snapshot());
}

TEST_F(HubCache, Revisions) {
  add("a.gguf");
  add("b.gguf", "feed");
  write_file(repository() / "refs/refs/pr/7", "feed");
  write_file(repository() / "refs/v1", "../../escape");
  EXPECT_EQ(resolve("org/name@feed"), snapshot("feed") / "b.gguf");
  EXPECT_EQ(resolve("org/name@refs/pr/7"), snapshot("feed") / "b.gguf");
  EXPECT_EQ(resolve("org/name@main"), snapshot() / "a.gguf");
  expect_contains(refusal(ErrorKind::kInvalidModel, "org/name@v1"), "does not hold a commit name");
  expect_contains(refusal(ErrorKind::kNotFound, "org/name@v2"), "revision v2 is not in the local cache");
  expect_contains(refusal(ErrorKind::kNotFound, "org/name@v2"), "hf download org/name --revision v2");
}

TEST_F(HubCache, WithoutRefsMain) {
  add("a.gguf");
  fs::remove(repository() / "refs/main");
  EXPECT_EQ(resolve("org/name"), snapshot() / "a.gguf");
  add("b.gguf", "feed");
  expect_contains(refusal(ErrorKind::kBadArgument, "org/name"),
                  "choose a snapshot:\n  org/name@c0ffee\n  org/name@feed");
  fs::remove_all(repository() / "snapshots");
  expect_contains(refusal(ErrorKind::kNotFound, "org/name"), "hf download org/name");
}

TEST_F(HubCache, NotInTheCache) {
  const std::string message = refusal(ErrorKind::kNotFound, "org/other");
  expect_contains(message, (dir_ / "hub").string());
  expect_contains(message, "get it with `hf download org/other`");
  expect_contains(refusal(ErrorKind::kNotFound, "org/name"), "has neither a *.gguf file nor config.json");
}

TEST_F(HubCache, LinksMayNotLeaveTheCache) {
  write_file(dir_ / "outside.gguf", "GGUF");
  fs::create_symlink(dir_ / "outside.gguf", snapshot() / "N-Q8_0.gguf");
  expect_contains(refusal(ErrorKind::kInvalidModel, "org/name"), "outside of the cache");
  expect_contains(refusal(ErrorKind::kInvalidModel, "org/name:Q8_0"), "outside of the cache");
  expect_contains(refusal(ErrorKind::kInvalidModel, "org/name:N-Q8_0.gguf"), "outside of the cache");
  fs::remove(snapshot() / "N-Q8_0.gguf");
  fs::create_symlink("../../blobs/gone", snapshot() / "N-Q8_0.gguf");
  expect_contains(refusal(ErrorKind::kNotFound, "org/name"), "a link to nowhere (an interrupted download?)");
  fs::create_directory(dir_ / "elsewhere");
  fs::create_symlink(dir_ / "elsewhere", snapshot("feed"));
  expect_contains(refusal(ErrorKind::kInvalidModel, "org/name@feed"), "outside of the cache");
}

// Nothing in the cache is created, changed or removed by looking.
TEST_F(HubCache, IsOnlyRead) {
  add("a-Q8_0.gguf");
  const auto listing = [this] {
    std::string out;
    for (const auto& entry : fs::recursive_directory_iterator(dir_.path())) {
      out +=
          entry.path().string() + std::to_string(fs::last_write_time(entry.path()).time_since_epoch().count()) + "\n";
    }
    return out;
  };
  const std::string before = listing();
  resolve("org/name");
  refusal(ErrorKind::kNotFound, "org/absent");
  refusal(ErrorKind::kNotFound, "org/name@absent");
  EXPECT_EQ(listing(), before);
}

}  // namespace
}  // namespace stretto
