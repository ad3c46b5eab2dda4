// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>

#include <gtest/gtest.h>

#include "tests/unit/wire/world.h"

namespace sluice::wire::test {

// An operator, and one agent that has its snapshot.
class OneAgentTest : public ::testing::Test {
 protected:
  void begin(const ServerOptions& options = Operator::plain()) {
    op.emplace(options);
    agent.emplace(Agent::plain(*op, folder));
    ASSERT_TRUE(run([&] { return !op->snapshot_needed.empty(); }));
    op->send_snapshot("a", 1, make_state(3));
    ASSERT_TRUE(run([&] { return op->acks["a"].received == 1; }));
  }
  bool run(const std::function<bool()>& done) {
    return run_until({&*op}, {&*agent}, done, 60s);
  }

  TemporaryFolder folder;
  std::optional<Operator> op;
  std::optional<Agent> agent;
};

}  // namespace sluice::wire::test
