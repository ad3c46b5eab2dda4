// SPDX-License-Identifier: Apache-2.0
// Rules whose peers are DNS names: what they become, and for which addresses
// they count.
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

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
using testing::SizeIs;

constexpr auto kWorld = "203.0.113.7";

class NamesTest : public testing::Test {
 protected:
  void SetUp() override {
    t_.set(
        kube::Node{.name = "n1", .labels = {}, .ips = {*parse_ip("10.9.0.1")}});
    t_.set(
        kube::Node{.name = "n2", .labels = {}, .ips = {*parse_ip("10.9.0.2")}});
    t_.set(pod("web", "web", "10.0.1.1", "n1"));
    t_.set(pod("db", "db", "10.0.2.1", "n2"));
    for (const char* node : {"n1", "n2"}) {
      t_.watch_node(node);
      (void)t_.take(node);
    }
  }

  void apply(const std::string& name, nlohmann::json object) {
    object["metadata"]["name"] = name;
    const auto policy = parse_policy(object);
    ASSERT_TRUE(policy.has_value()) << policy.error().message;
    t_.set(*policy);
  }
  // Of pods with app=web.
  void apply_egress(const std::string& name, const std::string& rules) {
    apply(name,
          test::cnp(R"({"endpointSelector": {"matchLabels": {"app": "web"}},
                              "egress": [)" +
                    rules + "]}"));
  }
  void apply_admin(const std::string& name, int priority,
                   const std::string& rules) {
    apply(name, test::kcnp(R"({"tier": "Admin", "priority": )" +
                           std::to_string(priority) +
                           R"(, "subject": {"namespaces": {}}, "egress": [)" +
                           rules + "]}"));
  }

  // The verdict for x/web if it has learned the address for these patterns.
  bool allowed(const std::string& address, std::uint16_t port,
               const std::vector<std::string>& patterns) {
    const auto state = t_.snapshot("n1");
    std::vector<std::uint32_t> ids;
    for (const auto& selector : state.names) {
      if (std::ranges::find(patterns, selector.pattern) != patterns.end()) {
        ids.push_back(selector.id);
      }
    }
    EXPECT_EQ(ids.size(), patterns.size());
    const Model model(state);
    return model
        .lookup(*model.endpoint("x/web"), Direction::kEgress,
                *parse_ip(address), 6, port, ids)
        .allowed;
  }
  static std::vector<std::string> patterns(const State& state) {
    std::vector<std::string> result;
    result.reserve(state.names.size());
    for (const auto& selector : state.names) {
      result.push_back(selector.pattern);
    }
    std::ranges::sort(result);
    return result;
  }

  Translator t_;
};

TEST_F(NamesTest, AnAddressOfTheNameIsAllowedAtTheRulesPortsAlone) {
  apply_egress("p", R"({"toFQDNs": [{"matchName": "api.example.com"}],
                        "toPorts": [{"ports": [{"port": "443", "protocol": "TCP"}]}]})");
  EXPECT_TRUE(allowed(kWorld, 443, {"api.example.com"}));
  EXPECT_FALSE(allowed(kWorld, 80, {"api.example.com"}));
  EXPECT_FALSE(allowed(kWorld, 443, {}));
}

TEST_F(NamesTest, FqdnsNeverLeadToPodsOrNodes) {
  apply_egress("p", R"({"toFQDNs": [{"matchPattern": "*"}]})");
  EXPECT_TRUE(allowed(kWorld, 80, {"*"}));
  EXPECT_FALSE(allowed("10.0.2.1", 80, {"*"}));
  EXPECT_FALSE(allowed("10.9.0.2", 80, {"*"}));
}

TEST_F(NamesTest, DomainNamesLeadToPodsToo) {
  apply_egress("closed", "{}");
  apply_admin("p", 10, R"({"action": "Accept", "name": "a",
                           "to": [{"domainNames": ["*.example.com"]}]})");
  EXPECT_TRUE(allowed(kWorld, 80, {"**.example.com"}));
  EXPECT_TRUE(allowed("10.0.2.1", 80, {"**.example.com"}));
}

TEST_F(NamesTest, ADenyOfTheSameTierWinsAndSoDoesTheAdminTier) {
  apply_egress("names", R"({"toFQDNs": [{"matchName": "a.example.com"}]})");
  apply("deny", test::cnp(R"({"endpointSelector": {},
    "egressDeny": [{"toCIDR": ["203.0.113.0/28"]}]})"));
  EXPECT_FALSE(allowed(kWorld, 80, {"a.example.com"}));
  EXPECT_TRUE(allowed("203.0.113.99", 80, {"a.example.com"}));
  apply_admin("no", 10, R"({"action": "Deny", "name": "d",
                            "to": [{"networks": ["203.0.113.96/28"]}]})");
  EXPECT_FALSE(allowed("203.0.113.99", 80, {"a.example.com"}));
}

TEST_F(NamesTest, PriorityDecidesBetweenDomainNamesAndDenies) {
  apply_admin("first", 10, R"({"action": "Accept", "name": "a",
                               "to": [{"domainNames": ["a.example.com"]}]})");
  apply_admin("deny", 20, R"({"action": "Deny", "name": "d",
                              "to": [{"networks": ["0.0.0.0/0"]}]})");
  apply_admin("last", 30, R"({"action": "Accept", "name": "b",
                              "to": [{"domainNames": ["b.example.com"]}]})");
  EXPECT_TRUE(allowed(kWorld, 80, {"a.example.com"}));
  EXPECT_FALSE(allowed(kWorld, 80, {"b.example.com"}));
  EXPECT_TRUE(allowed(kWorld, 80, {"a.example.com", "b.example.com"}));
}

TEST_F(NamesTest, WhatIsPassedIsNotAcceptedByALaterRuleOfTheTier) {
  apply_egress("closed", R"({"toFQDNs": [{"matchName": "c.example.com"}]})");
  apply_admin("pass", 10, R"({"action": "Pass", "name": "p",
                              "to": [{"networks": ["203.0.113.0/24"]}]})");
  apply_admin("accept", 20, R"({"action": "Accept", "name": "a",
                                "to": [{"domainNames": ["a.example.com"]}]})");
  EXPECT_FALSE(allowed(kWorld, 80, {"a.example.com"}));
  EXPECT_TRUE(allowed("198.51.100.1", 80, {"a.example.com"}));
  EXPECT_TRUE(allowed(kWorld, 80, {"c.example.com"}));
}

TEST_F(NamesTest, OnlyNodesWithEndpointsThatUseThemHearOfPatterns) {
  apply_egress("p", R"({"toFQDNs": [{"matchName": "a.example.com"},
                                    {"matchPattern": "*.example.org"}]})");
  auto change = t_.take("n1");
  State state;
  sluice::apply(state, change);
  EXPECT_THAT(patterns(state), ElementsAre("*.example.org", "a.example.com"));
  EXPECT_THAT(t_.take("n2").names, IsEmpty());

  apply_egress("p", R"({"toFQDNs": [{"matchPattern": "*.example.org"}]})");
  change = t_.take("n1");
  ASSERT_EQ(change.names.size(), 1U);
  EXPECT_FALSE(change.names[0].value.has_value());
  sluice::apply(state, change);
  EXPECT_THAT(patterns(state), ElementsAre("*.example.org"));

  t_.remove_policy({.kind = "CiliumNetworkPolicy", .ns = "x", .name = "p"});
  sluice::apply(state, t_.take("n1"));
  EXPECT_THAT(state.names, IsEmpty());
  EXPECT_EQ(patterns(t_.snapshot("n1")), patterns(state));
}

TEST_F(NamesTest, ExplainSaysWhatANameWouldAllow) {
  apply_egress("p", R"({"toFQDNs": [{"matchPattern": "*.example.com"}],
                        "toPorts": [{"ports": [{"port": "443", "protocol": "TCP"}]}]})");
  Translator::Question question{.subject = "x/web",
                                .direction = Direction::kEgress,
                                .peer = *parse_ip(kWorld),
                                .protocol = 6,
                                .port = 443};
  auto answer = t_.explain(question);
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->allowed);
  ASSERT_EQ(answer->near_misses.size(), 1U);
  EXPECT_EQ(answer->near_misses[0].detail,
            "allows 443/TCP, if the address belongs to *.example.com");

  question.names = {*dns::Name::from_text("a.example.com")};
  answer = t_.explain(question);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->allowed);
  EXPECT_EQ(answer->decided.policy, "CiliumNetworkPolicy/x/p");
  EXPECT_EQ(answer->pattern, "*.example.com");

  question.peer = *parse_ip("10.0.2.1");
  answer = t_.explain(question);
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->allowed);
  ASSERT_EQ(answer->near_misses.size(), 1U);
  EXPECT_EQ(answer->near_misses[0].detail,
            "allows 443/TCP, by name (*.example.com), but not in the cluster");
}

kube::Service cluster_dns() {
  kube::Service service;
  service.ns = "kube-system";
  service.name = "kube-dns";
  service.labels = {{"k8s-app", "kube-dns"}};
  service.cluster_ips = {*parse_ip("10.96.0.10"), *parse_ip("fd00::10")};
  for (const std::uint8_t protocol : {IPPROTO_UDP, IPPROTO_TCP}) {
    service.ports.push_back({.name = std::to_string(int{protocol}),
                             .protocol = protocol,
                             .port = 53,
                             .target_port = 1053,
                             .target_name = {}});
  }
  service.ports.push_back({.name = "metrics",
                           .protocol = IPPROTO_TCP,
                           .port = 9153,
                           .target_port = 9153,
                           .target_name = {}});
  return service;
}

kube::EndpointSlice dns_endpoints(const std::string& address) {
  kube::EndpointSlice slice{.ns = "kube-system",
                            .name = "kube-dns-1",
                            .service = "kube-dns",
                            .ports = {},
                            .endpoints = {{.addresses = {*parse_ip(address)}}}};
  for (const std::uint8_t protocol : {IPPROTO_UDP, IPPROTO_TCP}) {
    slice.ports.push_back({.name = std::to_string(int{protocol}),
                           .protocol = protocol,
                           .port = 1053});
  }
  return slice;
}

std::vector<std::string> texts(const std::vector<Resolver>& resolvers) {
  std::vector<std::string> result;
  result.reserve(resolvers.size());
  for (const auto& resolver : resolvers) {
    result.push_back(to_string(resolver.address) + " " +
                     std::to_string(resolver.port) +
                     (resolver.protocol == IPPROTO_UDP ? "/udp" : "/tcp"));
  }
  return result;
}

TEST_F(NamesTest, EveryNodeKnowsTheClustersResolvers) {
  std::map<std::string, State> states;
  const auto take = [&] {
    for (const char* node : {"n1", "n2"}) {
      sluice::apply(states[node], t_.take(node));
      EXPECT_EQ(texts(states[node].resolvers),
                texts(t_.snapshot(node).resolvers));
    }
    return texts(states["n2"].resolvers);
  };
  EXPECT_THAT(take(), IsEmpty());
  t_.set(cluster_dns());
  t_.set(dns_endpoints("10.0.2.53"));
  EXPECT_THAT(take(), ElementsAre("10.0.2.53 1053/tcp", "10.0.2.53 1053/udp",
                                  "10.96.0.10 53/tcp", "10.96.0.10 53/udp",
                                  "fd00::10 53/tcp", "fd00::10 53/udp"));
  EXPECT_EQ(texts(states["n1"].resolvers), texts(states["n2"].resolvers));

  t_.set(dns_endpoints("10.0.2.54"));
  EXPECT_THAT(take(), testing::Contains("10.0.2.54 1053/udp"));
  EXPECT_THAT(take(), testing::Not(testing::Contains("10.0.2.53 1053/udp")));

  auto unlabelled = cluster_dns();
  unlabelled.labels.clear();
  t_.set(unlabelled);
  EXPECT_THAT(take(), IsEmpty());
  t_.set(cluster_dns());
  EXPECT_THAT(take(), SizeIs(6));
  t_.remove_service("kube-system", "kube-dns");
  EXPECT_THAT(take(), IsEmpty());
}

TEST_F(NamesTest, AServiceOfAnotherNamespaceIsNoResolver) {
  auto service = cluster_dns();
  service.ns = "x";
  t_.set(service);
  EXPECT_THAT(t_.snapshot("n1").resolvers, IsEmpty());
}

TEST_F(NamesTest, AResolverOfTwoServicesStaysWithOne) {
  t_.set(cluster_dns());
  auto other = cluster_dns();
  other.name = "kube-dns-upstream";
  t_.set(other);
  (void)t_.take("n1");
  t_.remove_service("kube-system", "kube-dns");
  EXPECT_THAT(t_.take("n1").resolvers, IsEmpty());
  EXPECT_THAT(t_.snapshot("n1").resolvers, SizeIs(4));
}

TEST_F(NamesTest, APodWithMoreLevelsThanFitIsIsolated) {
  for (int i = 0; i <= kNameLevelsMax; ++i) {
    const auto number = std::to_string(i);
    apply_admin("n" + number, 2 * i,
                R"({"action": "Accept", "name": "a",
                    "to": [{"domainNames": ["a)" +
                    number + R"(.example.com"]}]})");
    apply_admin("d" + number, (2 * i) + 1,
                R"({"action": "Deny", "name": "d",
                    "to": [{"networks": ["198.51.100.)" +
                    number + R"(/32"]}]})");
  }
  const auto state = t_.snapshot("n1");
  EXPECT_THAT(state.entries, IsEmpty());
  EXPECT_THAT(state.names, IsEmpty());
  ASSERT_EQ(state.sets.size(), 1U);
  EXPECT_THAT(state.sets[0].problem, testing::HasSubstr("8 levels"));
  EXPECT_TRUE(state.endpoints[0].isolated[SLUICE_EGRESS]);
}

}  // namespace
}  // namespace sluice::policy
