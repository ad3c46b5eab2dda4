// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/event.h"

#include <cstring>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::agent {
namespace {

std::vector<std::byte> bytes_of(std::uint16_t size, std::size_t behind) {
  const sluice_dns_event head{.ifindex = 7, .size = size};
  std::vector<std::byte> result(sizeof(head) + behind);
  std::memcpy(result.data(), &head, sizeof(head));
  return result;
}

TEST(DnsEvent, WhatTheBufferPadsIsNotOfTheMessage) {
  const auto bytes = bytes_of(5, 8);
  const auto event = read_event(bytes);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->head.ifindex, 7U);
  EXPECT_EQ(event->data.size(), 5U);
  EXPECT_EQ(event->data.data(), bytes.data() + sizeof(sluice_dns_event));
}

TEST(DnsEvent, NoMoreIsReadThanThereIs) {
  EXPECT_EQ(read_event(bytes_of(5000, 8))->data.size(), 8U);
  EXPECT_TRUE(read_event(bytes_of(5, 0))->data.empty());
}

TEST(DnsEvent, HalfAHeadIsNoEvent) {
  auto bytes = bytes_of(0, 0);
  bytes.pop_back();
  EXPECT_FALSE(read_event(bytes));
  EXPECT_FALSE(read_event({}));
}

}  // namespace
}  // namespace sluice::agent
