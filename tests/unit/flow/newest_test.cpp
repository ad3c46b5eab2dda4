// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/newest.h"

#include <cstdint>
#include <string>

#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

// Flows that a node gives again count once.
TEST(FlowNewest, FlowsThatComeAgainAreNotLost) {
  auto newest = Newest(100, 1'000);
  for (std::uint64_t number = 0; number < 8; ++number) {
    newest.add({.time = 1, .node = 0, .number = number, .message = {}});
  }
  newest.remove(0);
  for (std::uint64_t number = 0; number < 20; ++number) {
    newest.add({.time = 1,
                .node = 0,
                .number = number,
                .message = std::string(200, 'x')});
  }
  EXPECT_EQ(newest.cut() + newest.take().size(), 20U);
}

}  // namespace
}  // namespace sluice::flow
