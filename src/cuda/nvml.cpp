#include "cuda/nvml.h"

#include <cuda_runtime.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "cuda/cuda_backend.h"

namespace stretto::cuda {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(20);
constexpr int kSmClock = 1, kMemoryClock = 2;  // nvmlClockType_t
constexpr int kChipSensor = 0;                 // nvmlTemperatureSensors_t

template <class F>
bool find(void* library, const char* name, F& f) {
  f = reinterpret_cast<F>(dlsym(library, name));
  return f != nullptr;
}

// One device of the management library; its header is not part of the toolkit's minimal installation, the types of its
// stable interface are written out here.
class Sensors {
 public:
  explicit Sensors(int index) {
    problem_ = "libnvidia-ml.so.1 was not found";
    void* const lib = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);  // stays open: threads may be inside
    if (lib == nullptr) return;
    problem_ = "libnvidia-ml.so.1 lacks a function";
    const bool complete =
        find(lib, "nvmlInit_v2", init_) && find(lib, "nvmlDeviceGetHandleByPciBusId_v2", device_by_bus_) &&
        find(lib, "nvmlDeviceGetClockInfo", clock_) && find(lib, "nvmlDeviceGetMaxClockInfo", max_clock_) &&
        find(lib, "nvmlDeviceGetPowerUsage", power_) && find(lib, "nvmlDeviceGetEnforcedPowerLimit", power_limit_) &&
        find(lib, "nvmlDeviceGetTemperature", temperature_) &&
        find(lib, "nvmlSystemGetDriverVersion", driver_version_) && find(lib, "nvmlErrorString", error_string_);
    if (!complete || !succeeded(init_())) return;
    char bus[32] = {};
    if (cudaDeviceGetPCIBusId(bus, sizeof bus, index) != cudaSuccess) {
      problem_ = "the device has no PCI address";
      return;
    }
    if (succeeded(device_by_bus_(bus, &device_))) problem_.clear();
  }

  const std::string& problem() const { return problem_; }
  std::optional<double> clock_mhz(int which) const { return value(clock_, 1, which); }
  std::optional<double> max_clock_mhz(int which) const { return value(max_clock_, 1, which); }
  std::optional<double> power_w() const { return value(power_, 1e-3); }
  std::optional<double> power_limit_w() const { return value(power_limit_, 1e-3); }
  std::optional<double> temperature_c() const { return value(temperature_, 1, kChipSensor); }
  std::string driver_version() const {
    char text[96] = {};
    return problem_.empty() && driver_version_(text, sizeof text) == 0 ? std::string(text) : std::string();
  }

 private:
  using Device = void*;
  bool succeeded(int status) {
    if (status != 0) problem_ = error_string_(status);
    return status == 0;
  }
  template <class F, class... Which>
  std::optional<double> value(F function, double unit, Which... which) const {
    unsigned int v = 0;
    if (!problem_.empty() || function(device_, which..., &v) != 0) return std::nullopt;
    return unit * v;
  }

  std::string problem_;
  Device device_ = nullptr;
  int (*init_)() = nullptr;
  int (*device_by_bus_)(const char*, Device*) = nullptr;
  int (*clock_)(Device, int, unsigned int*) = nullptr;
  int (*max_clock_)(Device, int, unsigned int*) = nullptr;
  int (*power_)(Device, unsigned int*) = nullptr;
  int (*power_limit_)(Device, unsigned int*) = nullptr;
  int (*temperature_)(Device, int, unsigned int*) = nullptr;
  int (*driver_version_)(char*, unsigned int) = nullptr;
  const char* (*error_string_)(int) = nullptr;
};

struct Sum {
  double total = 0, low = 0, high = 0;
  uint64_t n = 0;
  void add(std::optional<double> v) {
    if (!v) return;
    total += *v;
    low = n == 0 ? *v : std::min(low, *v);
    high = n == 0 ? *v : std::max(high, *v);
    ++n;
  }
  std::optional<double> average() const {
    return n == 0 ? std::nullopt : std::optional(total / static_cast<double>(n));
  }
  std::optional<double> least() const { return n == 0 ? std::nullopt : std::optional(low); }
  std::optional<double> most() const { return n == 0 ? std::nullopt : std::optional(high); }
};

class SensorWatch : public DeviceWatch {
 public:
  explicit SensorWatch(int index) : sensors_(index) {
    if (sensors_.problem().empty()) thread_ = std::thread([this] { work(); });
  }
  ~SensorWatch() override {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  SensorWatch(const SensorWatch&) = delete;
  SensorWatch& operator=(const SensorWatch&) = delete;

  std::string problem() const override { return sensors_.problem(); }
  void resume() override { set_running(true); }
  void pause() override { set_running(false); }
  DeviceState take() override {
    const std::lock_guard lock(mutex_);
    DeviceState state{.clock_sm_mhz_min = clock_.least(),
                      .clock_sm_mhz_avg = clock_.average(),
                      .power_w_avg = power_.average(),
                      .power_limit_w = sensors_.power_limit_w(),
                      .temp_c_max = temperature_.most(),
                      .n_samples = clock_.n};
    clock_ = power_ = temperature_ = {};
    return state;
  }

 private:
  void set_running(bool running) {
    {
      const std::lock_guard lock(mutex_);
      running_ = running;
    }
    changed_.notify_all();
  }
  // A sample is read outside the lock, so that neither resume nor pause waits for the driver; one that was under way
  // when the watch was paused still counts.
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return running_ || stopping_; });
      if (stopping_) return;
      // The first sample after half an interval: clocks and power of what went before have died away a little.
      changed_.wait_for(lock, kInterval / 2, [&] { return !running_ || stopping_; });
      while (running_ && !stopping_) {
        lock.unlock();
        const auto clock = sensors_.clock_mhz(kSmClock), power = sensors_.power_w(), heat = sensors_.temperature_c();
        lock.lock();
        clock_.add(clock);
        power_.add(power);
        temperature_.add(heat);
        changed_.wait_for(lock, kInterval, [&] { return !running_ || stopping_; });
      }
    }
  }

  const Sensors sensors_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool running_ = false, stopping_ = false;
  Sum clock_, power_, temperature_;
  std::thread thread_;
};

std::string or_unknown(std::optional<double> v) { return v ? fmt::format("{:.0f}", *v) : "?"; }

}  // namespace

std::unique_ptr<DeviceWatch> make_device_watch(int index) { return std::make_unique<SensorWatch>(index); }

}  // namespace stretto::cuda

namespace stretto {

std::string cuda_sensors(int index) {
  using namespace cuda;
  const Sensors s(index);
  if (!s.problem().empty()) return "clocks and power unknown: " + s.problem();
  return fmt::format("clocks {} of {} MHz (SM), {} of {} MHz (memory), {} of {} W, {} C",
                     or_unknown(s.clock_mhz(kSmClock)), or_unknown(s.max_clock_mhz(kSmClock)),
                     or_unknown(s.clock_mhz(kMemoryClock)), or_unknown(s.max_clock_mhz(kMemoryClock)),
                     or_unknown(s.power_w()), or_unknown(s.power_limit_w()), or_unknown(s.temperature_c()));
}

std::string cuda_driver_version() { return cuda::Sensors(0).driver_version(); }

}  // namespace stretto
