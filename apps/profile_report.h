// What profile prints: the time of a token by role against the bytes that each role must read.
#pragma once

#include <string>
#include <vector>

#include "backend/instruments.h"
#include "base/json.h"
#include "program/plan.h"

namespace stretto::app {

// How many pieces a token is made of, under one way to cut it.
struct TokenCut {
  std::string name, key;  // for people; of the JSON
  uint64_t ops = 0;
  int phases = 0;
};

struct ProfileReport {
  std::string model_path, backend, device;
  uint64_t depth = 0;
  double roofline_gbps = 0;  // read sweep of the same run
  Profile profile;
  std::vector<TokenCut> cuts;        // from nothing fused to what runs
  const Program* program = nullptr;  // as it runs
  Accounting token;                  // of that program at this depth

  // Weights and state: what must cross the memory bus; activations stay in caches.
  uint64_t floor_bytes() const { return token.total.weight_bytes + token.total.state_bytes; }
  double floor_us() const;
  // T = bytes / peak + phases * t, solved for t.
  double us_per_phase() const;
  double sum_of_roles_us() const;
};

std::string profile_text(const ProfileReport& r);
Json profile_json(const ProfileReport& r);

}  // namespace stretto::app
