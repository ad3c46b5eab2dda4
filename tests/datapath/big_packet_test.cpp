// SPDX-License-Identifier: Apache-2.0
// Packets over 64 KiB, which the kernel moves about whole and cuts at the
// interface: their IP headers say a length of zero. Here they are as short as
// all others; what tells them is that they are to be cut.
#include <string>

#include <gtest/gtest.h>

#include "tests/datapath/net.h"

namespace sluice::testing {
namespace {

constexpr Entry kAllowIn80 = {
    .direction = SLUICE_INGRESS, .protocol = kTcp, .port = 80, .port_bits = 16};
constexpr Metadata kToBeCut = {.gso_size = 64};
// RFC 2675.
const Extension kJumbo = {.type = kHopByHop, .body = {0xc2, 4, 0, 2, 0, 0}};

class BigPacket : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(runner_.forget());
    ASSERT_TRUE(runner_.set(net_.isolated({kAllowIn80})));
  }
  [[nodiscard]] Bytes frame(std::uint16_t port,
                            const IpOptions& options = {}) const {
    Bytes bytes = net_.from(net_.b, kTcp, tcp(1000, port, kAck, 128), options);
    const std::size_t length = kEthernetSize + (net_.v6 ? 4 : 2);
    bytes.at(length) = 0;
    bytes.at(length + 1) = 0;
    return bytes;
  }
  // IPv6: what the kernel itself puts there.
  [[nodiscard]] IpOptions options() const {
    if (net_.v6) {
      return {.extensions = {kJumbo}};
    }
    return {.options = {1, 1, 1, 0}};
  }
  void expect(const Bytes& frame, const Metadata& metadata,
              sluice_reason reason) {
    const auto outcome = runner_.run(SLUICE_INGRESS, frame, metadata);
    ASSERT_TRUE(outcome) << outcome.error().message;
    ASSERT_TRUE(outcome->reason) << "not exactly one counter grew";
    EXPECT_EQ(reason_name(*outcome->reason), reason_name(reason));
  }

  Net net_ = make_net(GetParam());
  Runner& runner_ = shared_runner();
};

TEST_P(BigPacket, IsJudgedByItsPorts) {
  expect(frame(81), kToBeCut, SLUICE_REASON_DEFAULT_DENY);
  expect(frame(80), kToBeCut, SLUICE_REASON_POLICY_ALLOW);
  expect(frame(80), kToBeCut, SLUICE_REASON_ESTABLISHED);
}

TEST_P(BigPacket, IsJudgedByItsPortsBehindOptions) {
  expect(frame(81, options()), kToBeCut, SLUICE_REASON_DEFAULT_DENY);
  expect(frame(80, options()), kToBeCut, SLUICE_REASON_POLICY_ALLOW);
  expect(frame(80, options()), kToBeCut, SLUICE_REASON_ESTABLISHED);
}

TEST_P(BigPacket, HasNoLengthOnlyIfItIsToBeCut) {
  const sluice_reason reason =
      net_.v6 ? SLUICE_REASON_TRUNCATED : SLUICE_REASON_BAD_HEADER;
  expect(frame(80), {}, reason);
  expect(frame(80, options()), {}, reason);
}

INSTANTIATE_TEST_SUITE_P(Kernel, BigPacket, ::testing::Bool(),
                         [](const auto& value) {
                           return value.param ? std::string("V6")
                                              : std::string("V4");
                         });

}  // namespace
}  // namespace sluice::testing
