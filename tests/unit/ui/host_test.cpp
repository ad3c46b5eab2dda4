// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/host.h"

#include <gtest/gtest.h>

namespace sluice::ui {
namespace {

TEST(OwnHost, IsLoopbackOrTheServersAddressAtAnyPort) {
  const auto listen = parse_ip("192.0.2.1").value();
  for (const auto* host :
       {"localhost", "LocalHost:80", "127.0.0.1", "127.9.9.9:8080", "[::1]:80",
        "[::1]", "192.0.2.1:8080"}) {
    EXPECT_TRUE(is_own_host(host, listen)) << host;
  }
}

TEST(OwnHost, IsNoOtherName) {
  const auto listen = parse_ip("127.0.0.1").value();
  for (const auto* host :
       {"", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example",
        "192.0.2.1", "localhost:", "localhost:80x", "[::1", "[::1]x", "::1",
        "[::2]:80", "evil.example:80", "localhost@evil.example"}) {
    EXPECT_FALSE(is_own_host(host, listen)) << host;
  }
}

TEST(OwnHost, OfAServerEverywhereIsAnyAddressButNoName) {
  for (const auto* all : {"0.0.0.0", "::"}) {
    const auto listen = parse_ip(all).value();
    EXPECT_TRUE(is_own_host("198.51.100.7:80", listen));
    EXPECT_TRUE(is_own_host("[2001:db8::1]:80", listen));
    EXPECT_FALSE(is_own_host("node.example:80", listen));
  }
}

}  // namespace
}  // namespace sluice::ui
