// stretto bench --suite swap-ffn: the table that the swap-FFN hybrid is judged by.
#pragma once

#include <string>

#include "model_flags.h"

namespace stretto::app {

struct SwapSuiteFlags {
  std::string shape = "full";  // of random weights, where no model is given: full | small
  std::string tokens, text;    // the prompt: ids, or a text file; neither: random ids
  uint64_t n_prompt = 2048, n_gen = 64;
  int repetitions = 3;
  double row_seconds = 10;  // of measuring a row: where that is too short, a row measures less and says so
  double peak_tflops = 0;   // of the roofline's compute column; 0: what is known of the device
  std::string output = "md", output_err;
};

// `common.model`: comma-separated models, or a folder of them; empty: random weights.
void run_swap_suite(const ModelFlags& common, const SwapSuiteFlags& flags);

}  // namespace stretto::app
