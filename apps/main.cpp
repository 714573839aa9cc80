// stretto: the command line. Answers on stdout, everything else on stderr, exit codes of base/error.h.

#include <CLI/CLI.hpp>

#include <cstdio>
#include <new>

#include "base/error.h"
#include "model_flags.h"
#include "terminal.h"

namespace stretto::app {
namespace {

int report(const std::string& message, int code) {
  end_progress();
  std::fprintf(stderr, "error: %s\n", message.c_str());
  return code;
}

int run_command_line(int argc, char** argv) {
  CLI::App app("Stretto: large language models for one stream, at the speed of the memory.", "stretto");
  app.require_subcommand(1);
  app.set_version_flag("--version", "stretto 0.1.0");
  int exit_code = 0;
  for (const Command add : {add_run, add_logits, add_tokenize, add_template, add_plan, add_inspect})
    add(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);  // --help, --version
  } catch (const CLI::ParseError& e) {
    return report(std::string(e.what()) + " (stretto --help)", static_cast<int>(ErrorKind::kBadArgument));
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
