// The sampling flags of run and chat: what is given on the command line wins over the model's own defaults.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "engine/sampling_params.h"
#include "flags.h"

namespace stretto::app {

class SamplingFlags {
 public:
  void add_to(const Flags& command);
  // The model's defaults, then the flags; says on stderr what the model asked for and which seed was drawn.
  SamplingParams resolve(const Checkpoint& checkpoint) const;

 private:
  struct Number {
    std::optional<Flag> flag;
    double value;
    void (*set)(SamplingParams&, double);
  };
  void add_number(const Flags& command, const std::string& names, const std::string& help,
                  void (*set)(SamplingParams&, double));
  std::vector<std::unique_ptr<Number>> numbers_;
  std::vector<std::string> logit_bias_;
  std::vector<std::string> breakers_;
  std::string order_;
  int64_t seed_ = -1;
};

}  // namespace stretto::app
