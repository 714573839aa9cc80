#include "checkpoint/hub_cache.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>

#include "base/error.h"
#include "checkpoint/gguf_checkpoint.h"
#include "checkpoint/mapped_file.h"
#include "checkpoint/utf8.h"

namespace stretto {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxRefBytes = 4096;
constexpr int kMaxSnapshotDepth = 2;  // repositories keep the parts of one quantisation in a directory of its own

bool is_part_name(std::string_view part) {
  const auto allowed = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-'; };
  return !part.empty() && part != "." && part != ".." && std::all_of(part.begin(), part.end(), allowed);
}

// One or more parts joined by '/', none of which is ".", ".." or empty.
bool is_relative_name(std::string_view text) {
  while (true) {
    const size_t slash = text.find('/');
    if (!is_part_name(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// One model file of a snapshot; a split one is represented by its part 1.
struct Candidate {
  std::string name;  // relative to the snapshot
  std::string stem;  // file name without directory, split suffix and extension
};

std::optional<Candidate> as_candidate(const std::string& relative) {
  const std::string file_name = fs::path(relative).filename().string();
  const std::string low = lower(file_name);
  // Repositories also hold vision projectors and importance matrices in this container.
  if (!low.ends_with(".gguf") || low.find("mmproj") != std::string::npos || low.starts_with("imatrix")) {
    return std::nullopt;
  }
  if (const std::optional<SplitName> split = parse_split_name(file_name)) {
    if (split->number != 1) return std::nullopt;
    return Candidate{relative, split->prefix};
  }
  return Candidate{relative, file_name.substr(0, file_name.size() - 5)};
}

// "Qwen3-8B-Q4_K_M" has the quantisation "q4_k_m", and so has anything in a directory of that name.
bool matches_quantisation(const Candidate& candidate, const std::string& wanted) {
  const std::string stem = lower(candidate.stem);
  const std::string directory = lower(fs::path(candidate.name).parent_path().filename().string());
  const std::string quantisation = lower(wanted);
  if (stem == quantisation || directory == quantisation) return true;
  if (!stem.ends_with(quantisation)) return false;
  const char before = stem[stem.size() - quantisation.size() - 1];
  return before == '-' || before == '.' || before == '_';
}

// One repository of the cache.
class Repository {
 public:
  Repository(const HubName& wanted, fs::path root) : wanted_(wanted), root_(std::move(root)) {
    std::error_code error;
    dir_ = root_ / ("models--" + wanted_.organisation + "--" + wanted_.name);
    if (!fs::is_directory(dir_, error)) {
      fail(ErrorKind::kNotFound,
           "{} is neither a file or directory nor in the local cache {}; Stretto does not download: get it with "
           "`hf download {}`",
           id(), root_.string(), id());
    }
    real_root_ = fs::canonical(root_, error);
    snapshot_ = find_snapshot();
    require_inside(snapshot_);
  }

  fs::path resolve() const {
    const std::vector<Candidate> all = candidates();
    if (!wanted_.selector.empty()) return select(all);
    std::error_code error;
    const bool is_directory_model = fs::exists(snapshot_ / "config.json", error) && has_safetensors();
    if (is_directory_model) return snapshot_;
    if (all.size() == 1) return checked(all.front());
    if (all.size() > 1) ambiguous("holds several models; choose one", all);
    if (fs::exists(snapshot_ / "config.json", error)) return snapshot_;
    fail(ErrorKind::kNotFound, "{}: {} has neither a *.gguf file nor config.json; get the model with `hf download {}`",
         id(), snapshot_.string(), id());
  }

 private:
  std::string id() const { return wanted_.organisation + "/" + wanted_.name; }

  fs::path find_snapshot() const {
    std::error_code error;
    const std::string revision = wanted_.revision.empty() ? "main" : wanted_.revision;
    const fs::path ref = dir_ / "refs" / revision;
    if (fs::is_regular_file(ref, error)) {
      require_inside(ref);
      std::string commit = read_small_file(ref, kMaxRefBytes);
      while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back())) != 0) commit.pop_back();
      if (!is_part_name(commit)) fail(ErrorKind::kInvalidModel, "{}: does not hold a commit name", ref.string());
      return existing_snapshot(commit);
    }
    if (!wanted_.revision.empty()) return existing_snapshot(revision);
    // Downloaded by commit only: fine when there is no choice.
    std::vector<std::string> names;
    for (fs::directory_iterator it(dir_ / "snapshots", error), end; !error && it != end; it.increment(error)) {
      names.push_back(it->path().filename().string());
    }
    if (names.size() == 1) return dir_ / "snapshots" / names.front();
    std::sort(names.begin(), names.end());
    std::string list;
    for (const std::string& name : names) list += "\n  " + id() + "@" + printable(name);
    fail(names.empty() ? ErrorKind::kNotFound : ErrorKind::kBadArgument,
         "{}: the local cache {} has no refs/main; {}{}", id(), dir_.string(),
         names.empty() ? fmt::format("get it with `hf download {}`", id()) : "choose a snapshot:", list);
  }

  fs::path existing_snapshot(const std::string& commit) const {
    std::error_code error;
    fs::path snapshot = dir_ / "snapshots" / commit;
    if (fs::is_directory(snapshot, error)) return snapshot;
    fail(ErrorKind::kNotFound,
         "{}: revision {} is not in the local cache {}; get it with `hf download {} --revision {}`", id(), commit,
         dir_.string(), id(), wanted_.revision.empty() ? "main" : wanted_.revision);
  }

  // Links are followed, but only inside the cache.
  void require_inside(const fs::path& path) const {
    std::error_code error;
    const fs::path real = fs::canonical(path, error);
    if (error) fail(ErrorKind::kNotFound, "{}: a link to nowhere (an interrupted download?)", path.string());
    if (std::mismatch(real_root_.begin(), real_root_.end(), real.begin(), real.end()).first != real_root_.end()) {
      fail(ErrorKind::kInvalidModel, "{}: leads to {}, outside of the cache {}", path.string(), real.string(),
           real_root_.string());
    }
  }

  std::vector<std::string> file_names() const {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::recursive_directory_iterator it(snapshot_, error), end; !error && it != end; it.increment(error)) {
      if (it.depth() >= kMaxSnapshotDepth) it.disable_recursion_pending();
      names.push_back(it->path().lexically_relative(snapshot_).generic_string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  bool has_safetensors() const {
    const std::vector<std::string> names = file_names();
    return std::any_of(names.begin(), names.end(), [](const std::string& n) { return n.ends_with(".safetensors"); });
  }

  std::vector<Candidate> candidates() const {
    std::vector<Candidate> out;
    for (const std::string& name : file_names()) {
      if (std::optional<Candidate> candidate = as_candidate(name)) out.push_back(std::move(*candidate));
    }
    return out;
  }

  fs::path checked(const Candidate& candidate) const {
    require_inside(snapshot_ / candidate.name);
    return snapshot_ / candidate.name;
  }

  fs::path select(const std::vector<Candidate>& all) const {
    const std::string& wanted = wanted_.selector;
    std::error_code error;
    if (fs::exists(fs::symlink_status(snapshot_ / wanted, error)) && !fs::is_directory(snapshot_ / wanted, error)) {
      require_inside(snapshot_ / wanted);
      return snapshot_ / wanted;
    }
    std::vector<Candidate> fitting;
    for (const Candidate& candidate : all) {
      if (matches_quantisation(candidate, wanted)) fitting.push_back(candidate);
    }
    if (fitting.size() == 1) return checked(fitting.front());
    if (fitting.size() > 1) ambiguous(fmt::format("has several files for \"{}\"; choose one", wanted), fitting);
    if (all.empty()) {
      fail(ErrorKind::kNotFound, "{}: {} holds no \"{}\" and no *.gguf file", id(), snapshot_.string(), wanted);
    }
    ambiguous(fmt::format("holds no file or quantisation \"{}\"; it has", wanted), all);
  }

  [[noreturn]] void ambiguous(const std::string& what, const std::vector<Candidate>& choices) const {
    std::string list;
    const std::string revision = wanted_.revision.empty() ? "" : "@" + wanted_.revision;
    for (const Candidate& c : choices) list += fmt::format("\n  {}{}:{}", id(), revision, printable(c.name, 200));
    fail(ErrorKind::kBadArgument, "{} {}:{}", id(), what, list);
  }

  const HubName& wanted_;
  fs::path root_;
  fs::path real_root_;
  fs::path dir_;
  fs::path snapshot_;
};

}  // namespace

std::optional<HubName> parse_hub_name(const std::string& text) {
  HubName out;
  std::string rest = text;
  if (const size_t colon = rest.find(':'); colon != std::string::npos) {
    out.selector = rest.substr(colon + 1);
    rest.resize(colon);
    if (!is_relative_name(out.selector)) return std::nullopt;
  }
  if (const size_t at = rest.find('@'); at != std::string::npos) {
    out.revision = rest.substr(at + 1);
    rest.resize(at);
    if (!is_relative_name(out.revision)) return std::nullopt;
  }
  const size_t slash = rest.find('/');
  if (slash == std::string::npos) return std::nullopt;
  out.organisation = rest.substr(0, slash);
  out.name = rest.substr(slash + 1);
  if (!is_part_name(out.organisation) || !is_part_name(out.name)) return std::nullopt;
  return out;
}

std::optional<std::string> process_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

fs::path hub_cache_root(const Environment& environment) {
  struct Source {
    const char* variable;
    const char* below;
  };
  constexpr Source kSources[] = {
      {"LLAMA_CACHE", ""},
      {"HF_HUB_CACHE", ""},
      {"HUGGINGFACE_HUB_CACHE", ""},
      {"HF_HOME", "hub"},
      {"XDG_CACHE_HOME", "huggingface/hub"},
      {"HOME", ".cache/huggingface/hub"},
  };
  for (const Source& source : kSources) {
    const std::optional<std::string> value = environment(source.variable);
    if (value && !value->empty()) return *source.below == '\0' ? fs::path(*value) : fs::path(*value) / source.below;
  }
  fail(ErrorKind::kNotFound, "no place for the local model cache is known: set HF_HUB_CACHE or HOME");
}

fs::path resolve_hub_name(const HubName& wanted, const Environment& environment) {
  return Repository(wanted, hub_cache_root(environment)).resolve();
}

}  // namespace stretto
