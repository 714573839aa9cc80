// The command line before CLI11 sees it: llama.cpp's spellings, flags that have no effect here, and the nearest name of
// a flag that nobody knows.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}  // namespace CLI

namespace stretto::app {

struct RewrittenArguments {
  std::vector<std::string> arguments;  // without the program's name
  std::vector<std::string> remarks;    // "-ngl 99 has no effect here: ..."
};

// CLI11 cannot define `-ngl` and would read `-ngl 99` as `-n gl`: single-dash names of several letters become the long
// flags they stand for. Flags without effect are dropped, each with a remark that says why.
RewrittenArguments rewrite_arguments(const std::vector<std::string>& arguments);

// "unknown flag --tmp (did you mean --temp?)": the known name of `command` with the fewest edits, if any is near.
std::string explain_unknown(const std::string& unknown, const CLI::App& command);

}  // namespace stretto::app
