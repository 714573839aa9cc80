// The order in which lines are fetched (cpu/fetch.h).
#include "cpu/fetch.h"

#include <gtest/gtest.h>

#include <set>

namespace stretto::cpu {
namespace {

TEST(Fetch, AWindowFetchesEachLineOfTheNextOneWithItsPagesInTurn) {
  constexpr uint64_t kWindow = 5 * kTurnBytes;
  std::set<uint64_t> fetched;
  for (uint64_t at = kWindow; at < kWindow + kTurnBytes; at += kLineBytes) fetched.insert(address_in_turn(at));
  EXPECT_EQ(fetched.size(), kTurnBytes / kLineBytes);
  EXPECT_EQ(*fetched.begin(), kWindow + kTurnBytes);
  EXPECT_EQ(*fetched.rbegin(), kWindow + 2 * kTurnBytes - kLineBytes);

  const auto of_line = [](uint64_t line) {
    return address_in_turn(kWindow + line * kLineBytes) - kWindow - kTurnBytes;
  };
  EXPECT_EQ(of_line(0), 0);
  EXPECT_EQ(of_line(1), 4096);
  EXPECT_EQ(of_line(kTurnPages - 1), (kTurnPages - 1) * 4096);
  EXPECT_EQ(of_line(kTurnPages), kLineBytes);
  EXPECT_EQ(address_in_turn(kWindow + kLineBytes + 63), address_in_turn(kWindow + kLineBytes));  // within a line
}

TEST(Fetch, TheLinesOfAGroupAreFetchedFromNeighbouringPages) {
  for (uint64_t group = 0; group < 2 * kTurnBytes; group += kTurnGroupBytes)
    for (uint64_t i = 0; i < kTurnGroupLines; ++i)
      EXPECT_EQ(address_in_turn(group + i * kLineBytes), address_in_turn(group) + i * kPageBytes) << group << " " << i;
}

TEST(Fetch, AnyAddressMayBeFetched) {
  for (const uint64_t address : {uint64_t{0}, uint64_t{4096}, ~uint64_t{0} - 63}) fetch_to_second_level(address);
}

}  // namespace
}  // namespace stretto::cpu
