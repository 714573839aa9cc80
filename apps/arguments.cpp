#include "arguments.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <numeric>
#include <span>

namespace stretto::app {
namespace {

struct Alias {
  std::string_view from, to;
};
constexpr Alias kAliases[] = {
    {"-hf", "--model"},
    {"-hfr", "--model"},
    {"--hf-repo", "--model"},
    {"-ctk", "--cache-type"},
    {"--cache-type-k", "--cache-type"},
    {"-ctv", "--cache-type-v"},
    {"-pg", "--pg"},
    {"-oe", "--oe"},
    {"-sys", "--system"},
    {"-dev", "--device"},
    {"--main-gpu", "--device"},
    {"-cnv", "--chat"},
    {"--conversation", "--chat"},
    {"-sp", "--show-special"},
    {"-st", "--single-turn"},
    {"-cb", "--chat"},
};

// What people type from habit and what need not be said here. `values` follow the flag.
struct NoEffect {
  std::string_view flag;
  int values;
  std::string_view why;
};
constexpr NoEffect kNoEffect[] = {
    {"-ngl", 1, "a model runs on one device as a whole (--device)"},
    {"--gpu-layers", 1, "a model runs on one device as a whole (--device)"},
    {"--n-gpu-layers", 1, "a model runs on one device as a whole (--device)"},
    {"-sm", 1, "a model runs on one device as a whole (--device)"},
    {"--split-mode", 1, "a model runs on one device as a whole (--device)"},
    {"-ts", 1, "a model runs on one device as a whole (--device)"},
    {"--tensor-split", 1, "a model runs on one device as a whole (--device)"},
    {"-fa", -1, "attention is always computed this way"},
    {"--flash-attn", -1, "attention is always computed this way"},
    {"-ub", 1, "a prefill step has one size (-b)"},
    {"--ubatch-size", 1, "a prefill step has one size (-b)"},
    {"-tb", 1, "prefill and decode use the same threads (-t)"},
    {"--threads-batch", 1, "prefill and decode use the same threads (-t)"},
    {"--mlock", 0, "all weights are read before the first token"},
    {"--mmap", 0, "files are always mapped"},
    {"--no-mmap", 0, "files are always mapped, and read once in order before the first token"},
    {"--load-mode", 1, "files are always mapped, and read once in order before the first token"},
    {"--numa", 1, "threads are not pinned"},
    {"--jinja", 0, "chat templates are always Jinja"},
    {"--no-cnv", 0, "run completes text as it is"},
    {"-no-cnv", 0, "run completes text as it is"},
    {"--no-conversation", 0, "run completes text as it is"},
    {"-np", 1, "one stream at a time"},
    {"--parallel", 1, "one stream at a time"},
    {"-co", 0, "output is plain text"},
    {"--color", -1, "output is plain text"},
    {"--offline", 0, "nothing is ever downloaded"},
    {"--no-display-prompt", 0, "the prompt is never printed"},
    {"--simple-io", 0, "input and output are plain"},
    {"--log-disable", 0, "use -q for silence"},
    {"--no-perf", 0, "use -q for silence"},
    {"--no-context-shift", 0, "contexts are never shifted"},
};

bool is_switch_value(const std::string& text) {
  static constexpr std::string_view kValues[] = {"on", "off", "auto", "0", "1", "always", "never", "true", "false"};
  return std::find(std::begin(kValues), std::end(kValues), text) != std::end(kValues);
}

// How many of the following arguments belong to the flag; -1 in the table: one if it looks like on/off/auto.
size_t values_after(const NoEffect& n, std::span<const std::string> rest) {
  if (n.values >= 0) return std::min(rest.size(), static_cast<size_t>(n.values));
  return !rest.empty() && is_switch_value(rest[0]) ? 1 : 0;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

RewrittenArguments rewrite_arguments(const std::vector<std::string>& arguments) {
  RewrittenArguments out;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") {  // everything after it is text
      out.arguments.insert(out.arguments.end(), arguments.begin() + static_cast<int64_t>(i), arguments.end());
      break;
    }
    const size_t equals = argument.starts_with("-") ? argument.find('=') : std::string::npos;
    const std::string flag = argument.substr(0, equals);
    const std::string attached = equals == std::string::npos ? "" : argument.substr(equals);
    const auto* none =
        std::find_if(std::begin(kNoEffect), std::end(kNoEffect), [&](const NoEffect& n) { return n.flag == flag; });
    if (none != std::end(kNoEffect)) {
      out.remarks.push_back(fmt::format("{} has no effect here: {}", flag, none->why));
      if (attached.empty()) i += values_after(*none, std::span(arguments).subspan(i + 1));
      continue;
    }
    const auto* alias =
        std::find_if(std::begin(kAliases), std::end(kAliases), [&](const Alias& a) { return a.from == flag; });
    out.arguments.push_back(alias != std::end(kAliases) ? std::string(alias->to) + attached : argument);
    // The value of a text flag is never a flag itself.
    static constexpr std::string_view kText[] = {"-p", "--prompt", "--system", "-sys", "--stop", "-r"};
    if (std::find(std::begin(kText), std::end(kText), flag) != std::end(kText) && attached.empty() &&
        i + 1 < arguments.size())
      out.arguments.push_back(arguments[++i]);
  }
  return out;
}

std::string explain_unknown(const std::string& unknown, const CLI::App& command) {
  const std::string flag = unknown.substr(0, unknown.find('='));
  std::string best;
  size_t fewest = std::max<size_t>(2, flag.size() / 3) + 1;
  const auto consider = [&](const std::string& name) {
    const size_t edits = edit_distance(flag, name);
    if (edits < fewest) {
      fewest = edits;
      best = name;
    }
  };
  for (const CLI::Option* o : command.get_options()) {
    for (const std::string& n : o->get_lnames()) consider("--" + n);
    for (const std::string& n : o->get_snames()) consider("-" + n);
  }
  for (const CLI::App* sub : command.get_subcommands({})) consider(sub->get_name());
  const char* kind = flag.starts_with("-") ? "flag" : "argument";
  if (best.empty())
    return fmt::format("unknown {} {} (stretto {} --help lists what there is)", kind, flag, command.get_name());
  return fmt::format("unknown {} {} (did you mean {}?)", kind, flag, best);
}

}  // namespace stretto::app
