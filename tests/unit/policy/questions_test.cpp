// SPDX-License-Identifier: Apache-2.0
// The lists of names that pods may ask for by DNS (rules.dns).
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/policy/model.h"
#include "lib/policy/parse.h"
#include "lib/policy/translator.h"
#include "tests/unit/policy/parse_helpers.h"
#include "tests/unit/policy/world.h"

namespace sluice::policy {
namespace {

using test::pod;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint8_t kUdp = 17;
constexpr auto kDns = "10.0.2.53";

class QuestionsTest : public testing::Test {
 protected:
  void SetUp() override {
    t_.set(pod("web", "web", "10.0.1.1", "n1"));
    t_.set(pod("dns", "dns", kDns, "n2"));
    t_.watch_node("n1");
    t_.watch_node("n2");
  }

  void apply(const std::string& name, nlohmann::json object) {
    object["metadata"]["name"] = name;
    const auto policy = parse_policy(object);
    ASSERT_TRUE(policy.has_value()) << policy.error().message;
    t_.set(*policy);
  }
  // Of pods with app=web. `rule`: without its braces.
  void apply_egress(const std::string& name, const std::string& rule,
                    const std::string& more = "") {
    apply(name,
          test::cnp(R"({"endpointSelector": {"matchLabels": {"app": "web"}},)" +
                    more + R"("egress": [{)" + rule + "}]}"));
  }
  static std::string port53(const std::string& names) {
    return R"("toPorts": [{"ports": [{"port": "53", "protocol": "UDP"}])" +
           (names.empty() ? "" : R"(, "rules": {"dns": [)" + names + "]}") +
           "}]";
  }
  static std::string to_dns(const std::string& names) {
    return R"("toEndpoints": [{"matchLabels": {"app": "dns"}}], )" +
           port53(names);
  }

  // What the pod may ask a server for: "denied", "no dns", "*", or patterns.
  std::vector<std::string> asked(const std::string& server = kDns,
                                 std::uint16_t port = 53) {
    State state;
    std::swap(state, state_);
    sluice::apply(state, t_.take("n1"));
    std::swap(state, state_);
    const auto whole = t_.snapshot("n1");
    EXPECT_EQ(whole.entries, state_.entries);
    EXPECT_EQ(whole.names, state_.names);
    const Model model(state_);
    const auto verdict =
        model.lookup(*model.endpoint("x/web"), Direction::kEgress,
                     *parse_ip(server), kUdp, port);
    if (!verdict.allowed) {
      return {"denied"};
    }
    if (!verdict.entry || verdict.entry->value.flags == 0) {
      return {"no dns"};
    }
    if (verdict.entry->value.flags == SLUICE_DNS_ANY) {
      return {"*"};
    }
    std::vector<std::string> result;
    for (const auto& name : state_.names) {
      if (model.may_ask(*verdict.entry, std::array{name.id}) != nullptr) {
        result.push_back(name.pattern);
      }
    }
    std::ranges::sort(result);
    return result;
  }

  Translator t_;
  State state_;
};

TEST_F(QuestionsTest, ARulesPatternsAreTheListOfItsServers) {
  apply_egress("p", to_dns(R"({"matchPattern": "*.example.com"},
                              {"matchName": "example.com"})"));
  EXPECT_THAT(asked(), ElementsAre("*.example.com", "example.com"));
  EXPECT_THAT(asked(kDns, 54), ElementsAre("denied"));
  EXPECT_THAT(asked("203.0.113.1"), ElementsAre("denied"));
}

TEST_F(QuestionsTest, ThePatternOfAllNamesIsNoList) {
  apply_egress("p", to_dns(R"({"matchPattern": "*"},
                              {"matchName": "example.com"})"));
  EXPECT_THAT(asked(), ElementsAre("*"));
  EXPECT_THAT(state_.names, IsEmpty());
}

TEST_F(QuestionsTest, RulesForTheSameServersAddUp) {
  apply_egress("p", to_dns(R"({"matchName": "a.com"})"));
  apply_egress("q", to_dns(R"({"matchName": "b.com"})"));
  EXPECT_THAT(asked(), ElementsAre("a.com", "b.com"));
  t_.remove_policy({.kind = "CiliumNetworkPolicy", .ns = "x", .name = "p"});
  EXPECT_THAT(asked(), ElementsAre("b.com"));
  t_.remove_policy({.kind = "CiliumNetworkPolicy", .ns = "x", .name = "q"});
  EXPECT_THAT(asked(), ElementsAre("no dns"));
  EXPECT_THAT(state_.names, IsEmpty());
  EXPECT_THAT(state_.entries, IsEmpty());
}

TEST_F(QuestionsTest, RulesForAnyPeerAddToThoseOfAServer) {
  apply_egress("p", to_dns(R"({"matchName": "a.com"})"));
  apply_egress("q", port53(R"({"matchName": "b.com"})"));
  EXPECT_THAT(asked(), ElementsAre("a.com", "b.com"));
  EXPECT_THAT(asked("203.0.113.1"), ElementsAre("b.com"));
}

TEST_F(QuestionsTest, ARuleWithoutNamesLetsTheServersBeAskedForAll) {
  apply_egress("p", to_dns(R"({"matchName": "a.com"})"));
  apply_egress("q", to_dns(""));
  EXPECT_THAT(asked(), ElementsAre("*"));
  t_.remove_policy({.kind = "CiliumNetworkPolicy", .ns = "x", .name = "p"});
  EXPECT_THAT(asked(), ElementsAre("no dns"));
}

TEST_F(QuestionsTest, ADenyIsADeny) {
  apply_egress("p", to_dns(R"({"matchName": "a.com"})"));
  apply("deny", test::cnp(R"({"endpointSelector": {},
    "egressDeny": [{"toEndpoints": [{"matchLabels": {"app": "dns"}}]}]})"));
  EXPECT_THAT(asked(), ElementsAre("denied"));
}

TEST_F(QuestionsTest, AnAcceptOfTheAdminTierRestrictsNothing) {
  apply_egress("p", to_dns(R"({"matchName": "a.com"})"));
  apply("admin", test::kcnp(R"({"tier": "Admin", "priority": 1,
      "subject": {"namespaces": {}}, "egress": [
        {"action": "Accept", "name": "a", "to": [{"namespaces": {}}]}]})"));
  EXPECT_THAT(asked(), ElementsAre("no dns"));
}

TEST_F(QuestionsTest, WhereNothingIsIsolatedNoQuestionIsRestricted) {
  apply_egress("p", to_dns(R"({"matchName": "a.com"})"),
               R"("enableDefaultDeny": {"egress": false},)");
  EXPECT_THAT(asked(), ElementsAre("*"));
  EXPECT_THAT(asked("203.0.113.1"), ElementsAre("no dns"));
}

TEST_F(QuestionsTest, AServicesAddressIsAskedAsItsBackends) {
  apply_egress("p", to_dns(R"({"matchName": "a.com"})"));
  apply_egress("q", R"("toEndpoints": [{"matchLabels": {"app": "more"}}], )" +
                        port53(R"({"matchName": "b.com"})"));
  kube::Service service;
  service.ns = "x";
  service.name = "dns";
  service.selector = {{"kind", "dns"}};
  service.cluster_ips = {*parse_ip("10.96.0.10")};
  service.ports = {{.name = {},
                    .protocol = kUdp,
                    .port = 53,
                    .target_port = 53,
                    .target_name = {}}};
  t_.set(service);
  auto backend = pod("dns", "dns", kDns, "n2");
  backend.labels["kind"] = "dns";
  t_.set(backend);
  EXPECT_THAT(asked("10.96.0.10"), ElementsAre("a.com"));

  // Nothing may be asked of both.
  auto more = pod("more", "more", "10.0.2.54", "n2");
  more.labels["kind"] = "dns";
  t_.set(more);
  EXPECT_THAT(asked("10.96.0.10"), IsEmpty());
  apply_egress("r", port53(R"({"matchName": "c.com"})"));
  EXPECT_THAT(asked("10.96.0.10"), ElementsAre("c.com"));
  EXPECT_THAT(asked(), ElementsAre("a.com", "c.com"));
}

TEST_F(QuestionsTest, OnlyNodesWithEndpointsThatUseThemHearOfPatterns) {
  apply_egress("p", to_dns(R"({"matchName": "a.com"})"));
  EXPECT_THAT(t_.take("n2").names, IsEmpty());
  State state;
  sluice::apply(state, t_.take("n1"));
  EXPECT_EQ(state.names.size(), 1U);
  // A peer by the same name keeps the pattern when the list goes.
  apply_egress("q", R"("toFQDNs": [{"matchName": "a.com"}])");
  t_.remove_policy({.kind = "CiliumNetworkPolicy", .ns = "x", .name = "p"});
  sluice::apply(state, t_.take("n1"));
  EXPECT_EQ(state.names.size(), 1U);
  EXPECT_EQ(t_.snapshot("n1").names, state.names);
}

TEST_F(QuestionsTest, RulesWithTheSameNamesShareAList) {
  for (int i = 0; i < 3 * kDnsListsMax; ++i) {
    apply_egress("p" + std::to_string(i),
                 R"("toCIDR": ["203.0.113.)" + std::to_string(i) +
                     R"(/32"], )" + port53(R"({"matchName": "a.com"})"));
  }
  EXPECT_THAT(asked("203.0.113.7"), ElementsAre("a.com"));
}

TEST_F(QuestionsTest, APodWithMoreListsThanFitIsIsolated) {
  for (int i = 0; i <= kDnsListsMax; ++i) {
    EXPECT_TRUE(t_.snapshot("n1").sets.empty() ||
                t_.snapshot("n1").sets[0].problem.empty());
    const auto number = std::to_string(i);
    apply_egress("p" + number,
                 R"("toCIDR": ["203.0.113.)" + number + R"(/32"], )" +
                     port53(R"({"matchName": "a)" + number + R"(.com"})"));
  }
  EXPECT_THAT(asked("203.0.113.1"), ElementsAre("denied"));
  EXPECT_THAT(state_.entries, IsEmpty());
  EXPECT_THAT(state_.names, IsEmpty());
  ASSERT_EQ(state_.sets.size(), 1U);
  EXPECT_THAT(state_.sets[0].problem, testing::HasSubstr("7 lists"));
}

TEST_F(QuestionsTest, EveryUnionOfListsHasItsMembers) {
  // Nested prefixes: the innermost address has all of them.
  for (int i = 0; i < kDnsListsMax; ++i) {
    const auto number = std::to_string(i);
    apply_egress("p" + number,
                 R"("toCIDR": ["203.0.113.0/)" + std::to_string(32 - i) +
                     R"("], )" +
                     port53(R"({"matchName": "a)" + number + R"(.com"})"));
  }
  EXPECT_THAT(asked("203.0.113.0"),
              ElementsAre("a0.com", "a1.com", "a2.com", "a3.com", "a4.com",
                          "a5.com", "a6.com"));
  EXPECT_THAT(asked("203.0.113.33"), ElementsAre("a6.com"));
}

TEST_F(QuestionsTest, QuestionsCountToTheBoundOfTheSet) {
  Translator t({.max_set_entries = 20});
  std::swap(t, t_);
  SetUp();
  std::string names;
  for (int i = 0; i < 30; ++i) {
    names += (i == 0 ? "" : ",") + (R"({"matchName": "a)" + std::to_string(i)) +
             R"(.com"})";
  }
  apply_egress("p", to_dns(names));
  EXPECT_THAT(asked(), ElementsAre("denied"));
  ASSERT_EQ(state_.sets.size(), 1U);
  EXPECT_THAT(state_.sets[0].problem, testing::HasSubstr("20 policy-map"));
  apply_egress("p", to_dns(R"({"matchName": "a.com"})"));
  EXPECT_THAT(asked(), ElementsAre("a.com"));
}

}  // namespace
}  // namespace sluice::policy
