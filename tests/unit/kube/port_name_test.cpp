// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/port_name.h"

#include <gtest/gtest.h>

namespace sluice::kube {
namespace {

TEST(PortName, IsWhatKubernetesAccepts) {
  for (const char* name :
       {"http", "a", "1a", "http-2", "p-1-x", "fifteen-letters"}) {
    EXPECT_TRUE(is_port_name(name)) << name;
  }
  for (const char* name :
       {"", "80", "8000-8010", "-", "-http", "http-", "ht--tp", "HTTP", "Http",
        "ht_tp", "ht.tp", "h\xc3\xbctte", "ht tp", "sixteen--letters",
        "sixteen-letters1"}) {
    EXPECT_FALSE(is_port_name(name)) << name;
  }
}

}  // namespace
}  // namespace sluice::kube
