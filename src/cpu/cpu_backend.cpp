#include "cpu/cpu_backend.h"

#include <fmt/format.h>

#include <fstream>

#include "base/error.h"
#include "cpu/executable.h"
#include "cpu/fetch.h"
#include "cpu/limits.h"
#include "cpu/ops.h"
#include "cpu/read_sweep.h"
#include "program/lower.h"

namespace stretto {
namespace {

// Forwards to the overloads of cpu::supports; an op without one is expanded.
struct CpuKernels {
  template <class T>
  requires requires(const T& op, const Tables& t) { cpu::supports(op, t); }
  static bool supports(const T& op, const Tables& t) { return cpu::supports(op, t); }
};

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  return "CPU";
}

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options) : options_(options), isa_(cpu::choose_isa(options.isa)) {
    if (options.n_threads < 0)
      fail(ErrorKind::kBadArgument, "--threads {}: wanted 0 (all cores) or more", options.n_threads);
  }

  std::string name() const override { return "cpu"; }
  std::string description() const override {
    return fmt::format("{}, {}, {}, {} threads", processor_name(), isa_.name, cpu::name(cpu::fetch_of_machine()),
                       n_threads(0));
  }
  uint64_t available_bytes() const override { return cpu::available_host_bytes(); }
  int thread_count() const override { return n_threads(0); }
  std::unique_ptr<ReadSweep> make_read_sweep() const override { return cpu::make_read_sweep(n_threads(0)); }
  std::vector<DeviceLimit> measure_limits() const override { return cpu::measure_limits(n_threads(0)); }
  Program lower(const Program& program) const override { return stretto::lower<CpuKernels>(program); }
  std::unique_ptr<Executable> compile(const Program& program, const CompileOptions& options) const override {
    return std::make_unique<cpu::CpuExecutable>(lower(program), options, isa_, n_threads(options.n_threads));
  }

 private:
  int n_threads(int wanted) const {
    if (wanted > 0) return wanted;
    return options_.n_threads > 0 ? options_.n_threads : default_thread_count();
  }

  const CpuOptions options_;
  const cpu::Isa isa_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) { return std::make_unique<CpuBackend>(options); }

std::vector<std::string> cpu_isas() {
  std::vector<std::string> names;
  for (const cpu::Isa& isa : cpu::supported_isas()) names.emplace_back(isa.name);
  return names;
}

std::string cpu_amx_problem() { return cpu::amx_problem(); }

}  // namespace stretto
