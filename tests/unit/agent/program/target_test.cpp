// SPDX-License-Identifier: Apache-2.0
#include "agent/program/target.h"

#include <gtest/gtest.h>

namespace sluice::agentd {
namespace {

TEST(OperatorTarget, is_a_host_and_a_port) {
  for (const char* good : {"10.0.0.1:9443", "sluice-operator.svc:1",
                           "localhost:65535", "[fd00::1]:9443"}) {
    EXPECT_EQ(operator_target(good).value(), good);
  }
  EXPECT_EQ(operator_target("fd00::1:9443").value(), "[fd00::1]:9443");
}

TEST(OperatorTarget, what_cannot_be_meant_is_an_error) {
  for (const char* bad :
       {"", "host", ":9443", "host:", "host:0", "host:65536", "host:90x",
        "a:b:9443", "[10.0.0.1]:9443", "[fd00::1]", "fd00::1",
        "$(SLUICE_OPERATOR_SERVICE_HOST):$(SLUICE_OPERATOR_SERVICE_PORT)"}) {
    EXPECT_FALSE(operator_target(bad)) << bad;
  }
}

}  // namespace
}  // namespace sluice::agentd
