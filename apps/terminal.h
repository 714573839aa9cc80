// The person at the other end: progress on a terminal, remarks on stderr, Ctrl-C.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "engine/engine.h"

namespace stretto::app {

// One line on stderr, prefixed with nothing; --quiet drops remarks (never errors).
void remark(const std::string& line);
void set_quiet(bool quiet);

// Progress on stderr: a line that redraws itself on a terminal, one line per 10 % elsewhere (only for work that takes
// longer than two seconds).
void progress(std::string_view what, uint64_t done, uint64_t total);
void end_progress();

EngineLog engine_log();

// The first Ctrl-C sets the flag; a second one ends the process at once with code 130.
const std::atomic<bool>& interrupted();
void clear_interrupt();  // chat: the next Ctrl-C is a first one again
void install_interrupt_handler();
// Readable while the flag is set: for waiting on it together with other descriptors. -1 before the handler is
// installed.
int interrupt_descriptor();

// Writes to stdout, unbuffered beyond this call; a closed pipe ends the process quietly.
void print_out(std::string_view text);

}  // namespace stretto::app
