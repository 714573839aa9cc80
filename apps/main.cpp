// stretto: the command line. Answers on stdout, everything else on stderr, exit codes of base/error.h.

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <new>

#include "arguments.h"
#include "base/error.h"
#include "flags.h"
#include "model_flags.h"
#include "terminal.h"
#include "version.h"

namespace stretto::app {
namespace {

int report(const std::string& message, int code) {
  end_progress();
  std::fprintf(stderr, "error: %s\n", message.c_str());
  return code;
}

// The subcommand that was named, for messages about its flags; else the program itself.
const CLI::App& named_command(const CLI::App& app) {
  const auto used = app.get_subcommands();
  return used.empty() ? app : *used.front();
}

int run_command_line(int argc, char** argv) {
  CLI::App app("Stretto: large language models for one stream, at the speed of the memory.", "stretto");
  app.require_subcommand(1);
  app.set_version_flag("-v,--version", std::string("stretto ") + kVersion);
  int exit_code = 0;
  for (const AddCommand add : {add_run, add_chat, add_bench, add_profile, add_plan, add_inspect, add_tokenize,
                               add_template, add_logits, add_perplexity, add_doctor, add_convert})
    add(Flags(app), exit_code);
  RewrittenArguments rewritten = rewrite_arguments({argv + 1, argv + argc});
  const std::vector<std::string> words = rewritten.arguments;
  std::reverse(rewritten.arguments.begin(), rewritten.arguments.end());  // as CLI11's vector parser wants them
  try {
    for (const std::string& r : rewritten.remarks) remark(r);
    app.parse(rewritten.arguments);
  } catch (const CLI::Success& e) {
    return app.exit(e);  // --help, --version
  } catch (const CLI::ExtrasError&) {
    return report(explain_unknown(app.remaining(true).front(), named_command(app)),
                  static_cast<int>(ErrorKind::kBadArgument));
  } catch (const CLI::RequiredError& e) {
    // CLI11 misses the subcommand before it looks at the word that should have been one.
    const bool unknown =
        named_command(app).get_name() == "stretto" && !words.empty() && !words.front().starts_with("-");
    if (unknown) return report(explain_unknown(words.front(), app), static_cast<int>(ErrorKind::kBadArgument));
    const std::string command = named_command(app).get_name(), what = e.what();
    // The model is the word behind the command; CLI11 calls it by its flag.
    return report(fmt::format("{} ({}{} --help)", what == "--model is required" ? "a MODEL is required" : what,
                              command == "stretto" ? "" : "stretto ", command),
                  static_cast<int>(ErrorKind::kBadArgument));
  } catch (const CLI::ParseError& e) {
    const std::string command = named_command(app).get_name();
    return report(fmt::format("{} ({}{} --help)", e.what(), command == "stretto" ? "" : "stretto ", command),
                  static_cast<int>(ErrorKind::kBadArgument));
  }
  return exit_code;
}

}  // namespace
}  // namespace stretto::app

int main(int argc, char** argv) {
  using stretto::ErrorKind;
  using stretto::app::report;
  try {
    return stretto::app::run_command_line(argc, argv);
  } catch (const stretto::Error& e) {
    return report(e.what(), e.kind() == ErrorKind::kCancelled ? 130 : e.exit_code());
  } catch (const std::bad_alloc&) {
    return report("out of host memory", static_cast<int>(ErrorKind::kHostMemory));
  } catch (const std::exception& e) {
    return report(std::string("internal: ") + e.what(), static_cast<int>(ErrorKind::kInternal));
  }
}
