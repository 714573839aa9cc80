// stretto doctor: what this machine offers, what is usable and why not.

#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/hub_cache.h"
#include "cpu/cpu_backend.h"
#include "gpu_device.h"
#include "model_flags.h"
#include "program/print.h"
#include "terminal.h"
#include "version.h"

namespace stretto::app {
namespace {

struct Finding {
  std::string what, state, detail;  // state: ok, warning, no
};

Finding cpu_finding() {
  const auto backend = make_cpu_backend({});
  std::string isas;
  for (const std::string& isa : cpu_isas()) isas += (isas.empty() ? "" : ", ") + isa;
  const std::string amx = cpu_amx_problem().empty() ? "" : "; AMX: " + cpu_amx_problem();
  return {"cpu", "ok", backend->description() + "; instruction sets here: " + isas + amx};
}

Finding memory_finding() {
  const uint64_t free = make_cpu_backend({})->available_bytes();
  const uint64_t all = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return {"memory", free < (1ULL << 30) ? "warning" : "ok", human_bytes(free) + " free of " + human_bytes(all)};
}

Finding cuda_finding() { return {"cuda", cuda_problem().empty() ? "ok" : "no", cuda_report()}; }

Finding hub_finding() {
  try {
    const std::filesystem::path root = hub_cache_root(process_environment);
    const bool present = std::filesystem::is_directory(root);
    return {"hub cache", present ? "ok" : "no",
            root.string() + (present ? "" : " does not exist; models by path work")};
  } catch (const Error& e) {
    return {"hub cache", "no", e.what()};
  }
}

Finding bandwidth_finding() {
  return {"read bandwidth", "ok",
          fmt::format("{:.1f} GB/s (read sweep over all threads)", make_cpu_backend({})->read_bandwidth_gbps())};
}

}  // namespace

void add_doctor(const Flags& app, int&) {
  auto json = std::make_shared<bool>(false);
  const Flags c = app.command("doctor", "what this machine offers, and why a device is unusable");
  c.add("--json", *json, "the findings as JSON on stdout");
  c.run([json] {
    const std::vector<Finding> findings = {cpu_finding(), memory_finding(), bandwidth_finding(), cuda_finding(),
                                           hub_finding()};
    Json list = Json::array();
    std::string text = fmt::format("stretto {}\n", kVersion);
    for (const Finding& f : findings) {
      list.push_back({{"what", f.what}, {"state", f.state}, {"detail", f.detail}});
      text += fmt::format("{:<15} {:<8} {}\n", f.what, f.state, f.detail);
    }
    print_out(*json ? dump_json(Json{{"version", kVersion}, {"findings", list}}) + "\n" : text);
  });
}

}  // namespace stretto::app
