// SPDX-License-Identifier: Apache-2.0
#include "lib/lint/covers.h"

#include <utility>

#include <gtest/gtest.h>

// Whether one peer includes another.
namespace sluice::lint {
namespace {

using policy::LabelSelector;
using policy::Requirement;
using Op = Requirement::Op;

LabelSelector with(Op op, std::vector<std::string> values = {}) {
  return {
      .requirements = {{.key = "app", .op = op, .values = std::move(values)}}};
}

TEST(LintCovers, RequirementsThatFollowFromOthers) {
  const auto a = with(Op::kIn, {"a"});
  const auto ab = with(Op::kIn, {"a", "b"});
  const auto exists = with(Op::kExists);
  const auto absent = with(Op::kDoesNotExist);
  const auto not_a = with(Op::kNotIn, {"a"});
  const auto not_ab = with(Op::kNotIn, {"a", "b"});
  const auto c = with(Op::kIn, {"c"});
  EXPECT_TRUE(covers(ab, a));
  EXPECT_FALSE(covers(a, ab));
  EXPECT_TRUE(covers(exists, a));
  EXPECT_FALSE(covers(exists, not_a)) << "which holds without the label";
  EXPECT_TRUE(covers(not_a, not_ab));
  EXPECT_FALSE(covers(not_ab, not_a));
  EXPECT_TRUE(covers(not_ab, c));
  EXPECT_TRUE(covers(not_a, absent));
  EXPECT_FALSE(covers(absent, not_a));
  EXPECT_TRUE(covers(LabelSelector{}, a));
  EXPECT_FALSE(covers(a, LabelSelector{}));
}

TEST(LintCovers, SelectorsThatNoPodMatchesBoth) {
  EXPECT_TRUE(are_disjoint(with(Op::kIn, {"a"}), with(Op::kIn, {"b", "c"})));
  EXPECT_TRUE(are_disjoint(with(Op::kExists), with(Op::kDoesNotExist)));
  EXPECT_TRUE(are_disjoint(with(Op::kNotIn, {"a", "b"}), with(Op::kIn, {"a"})));
  EXPECT_FALSE(
      are_disjoint(with(Op::kNotIn, {"a"}), with(Op::kIn, {"a", "b"})));
  EXPECT_FALSE(are_disjoint(with(Op::kNotIn, {"a"}), with(Op::kNotIn, {"b"})));
}

TEST(LintCovers, PodsAreInTheClusterAndAddressesNeedNotBe) {
  const LabelSelector of_namespace{
      .requirements = {{.key = "io.kubernetes.pod.namespace",
                        .op = Op::kIn,
                        .values = {"shop"}}}};
  const policy::PeerSelector cluster = policy::Entity::kCluster;
  const policy::PeerSelector world = policy::Entity::kWorld;
  const policy::PeerSelector cidr = policy::CidrPeer{
      .cidr = *parse_prefix("192.0.2.0/24"), .external_only = true};
  EXPECT_TRUE(covers(cluster, of_namespace));
  EXPECT_FALSE(covers(cluster, with(Op::kNotIn, {"a"})))
      << "nodes and the world have no label either";
  EXPECT_TRUE(covers(cluster, policy::Entity::kRemoteNode));
  EXPECT_FALSE(covers(cluster, policy::Entity::kKubeApiserver))
      << "which may be outside";
  EXPECT_FALSE(covers(world, cidr)) << "which depends on --cidr-match";
}

TEST(LintCovers, AnExternalCidrDoesNotCoverPodsAddresses) {
  const auto cidr = [](const char* text, bool external) {
    return policy::PeerSelector(policy::CidrPeer{.cidr = *parse_prefix(text),
                                                 .external_only = external});
  };
  EXPECT_TRUE(covers(cidr("10.0.0.0/8", false), cidr("10.1.0.0/16", true)));
  EXPECT_FALSE(covers(cidr("10.0.0.0/8", true), cidr("10.1.0.0/16", false)));
}

TEST(LintCovers, PortsByNumberAndByName) {
  const policy::L4 all_tcp{
      .ranges = {{.protocol = 6, .first = 0, .last = 65535}}};
  const policy::L4 http{.named = {{.name = "http", .protocol = 6}}};
  const policy::L4 any_http{.named = {{.name = "http", .protocol = 0}}};
  const policy::L4 number{.ranges = {{.protocol = 6, .first = 80, .last = 80}}};
  EXPECT_TRUE(covers(all_tcp, number));
  EXPECT_TRUE(covers(all_tcp, http));
  EXPECT_FALSE(covers(all_tcp, any_http));
  EXPECT_TRUE(covers(any_http, http));
  EXPECT_FALSE(covers(http, any_http));
  EXPECT_FALSE(covers(number, http)) << "a name may stand for any number";
  EXPECT_FALSE(covers(all_tcp, policy::L4{.any = true}));
  EXPECT_TRUE(covers(policy::L4{.any = true}, all_tcp));
}

}  // namespace
}  // namespace sluice::lint
