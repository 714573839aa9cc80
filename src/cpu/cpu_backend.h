// The CPU as a backend: any x86-64 or arm64 machine, the instruction set chosen at run time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace stretto {

struct CpuOptions {
  int n_threads = 0;  // 0: one per physical core; CompileOptions::n_threads, where given, wins
  std::string isa;    // one of cpu_isas(), empty for the best one
};

// Throws Error(kBadArgument) for an instruction set that this machine has not.
std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options);

// Names of the instruction sets that this machine can run, best first.
std::vector<std::string> cpu_isas();

// Why AMX is not among them; empty where it is.
std::string cpu_amx_problem();

}  // namespace stretto
