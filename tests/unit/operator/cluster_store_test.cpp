// SPDX-License-Identifier: Apache-2.0
#include "operator/cluster_store.h"

#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/kube/api/resource.h"
#include "lib/policy/model.h"
#include "operator/kept_version.h"

namespace sluice::op {
namespace {

using kube::Event;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const ObjectKey kPolicy{.kind = "CiliumNetworkPolicy", .ns = "x", .name = "p"};

// A CiliumNetworkPolicy x/p for all pods of x with these ingress rules.
json policy(const json& ingress) {
  return {
      {"apiVersion", "cilium.io/v2"},
      {"kind", "CiliumNetworkPolicy"},
      {"metadata", {{"name", "p"}, {"namespace", "x"}}},
      {"spec", {{"endpointSelector", json::object()}, {"ingress", ingress}}}};
}

json port(const std::string& number) {
  return json::array(
      {{{"toPorts",
         json::array({{{"ports", json::array({{{"port", number},
                                               {"protocol", "TCP"}}})}}})}}});
}

class ClusterStoreTest : public ::testing::Test {
 protected:
  ClusterStoreTest() {
    put(kube::namespaces(), {}, "x", kube::Namespace{.name = "x"});
    put_pod("a", "n1", "10.0.0.1");
  }

  template <typename Object>
  bool put(const kube::Resource& resource, const std::string& ns,
           const std::string& name, Object object, std::int64_t generation = 1,
           const std::string& uid = "u") {
    Event event;
    event.resource = &resource;
    event.ns = ns;
    event.name = name;
    event.uid = uid;
    event.generation = generation;
    event.resource_version = std::to_string(++version_);
    event.object = std::move(object);
    return store_.take(event);
  }
  bool put_policy(json object, std::int64_t generation,
                  const std::string& uid = "u") {
    return put(kube::cilium_network_policies(), "x", "p",
               Event::Json(std::make_shared<const json>(std::move(object))),
               generation, uid);
  }
  bool put_pod(const std::string& name, const std::string& node,
               const std::string& ip, const std::string& ns = "x") {
    kube::Pod pod;
    pod.ns = ns;
    pod.name = name;
    pod.node = node;
    if (!ip.empty()) {
      pod.ips.push_back(*parse_ip(ip));
    }
    return put(kube::pods(), ns, name, std::move(pod));
  }
  bool tell(Event::Type type, const kube::Resource& resource,
            const std::string& ns, const std::string& name,
            const std::string& error = {}) {
    Event event;
    event.type = type;
    event.resource = &resource;
    event.ns = ns;
    event.name = name;
    event.uid = "u";
    event.error = error;
    event.resource_version = std::to_string(++version_);
    return store_.take(event);
  }
  void annotate(const std::string& ns, const std::string& word) {
    kube::Namespace space{.name = ns};
    if (!word.empty()) {
      space.annotations["sluice.io/on-unknown"] = word;
    }
    put(kube::namespaces(), {}, ns, std::move(space));
  }
  [[nodiscard]] bool allowed(std::uint16_t number) const {
    const policy::Model model(translator_.snapshot("n1"));
    const auto* endpoint = model.endpoint("x/a");
    EXPECT_NE(endpoint, nullptr);
    return endpoint != nullptr &&
           model
               .lookup(*endpoint, policy::Direction::kIngress,
                       *parse_ip("203.0.113.1"), 6, number)
               .allowed;
  }

  std::uint64_t version_ = 100;
  policy::Translator translator_;
  ClusterStore store_{translator_, "sluice-system"};
};

TEST_F(ClusterStoreTest, KnowsNamespacesAndTheirPods) {
  put_pod("b", "n1", "10.0.0.2");
  put_pod("a", "n1", "10.0.0.3", "early");  // before its namespace is known
  put(kube::namespaces(), {}, "empty", kube::Namespace{.name = "empty"});
  EXPECT_THAT(store_.pods().namespaces(), ElementsAre("early", "empty", "x"));
  EXPECT_THAT(store_.pods().pods_of("x"), ElementsAre("x/a", "x/b"));
  EXPECT_THAT(store_.pods().pods_of("empty"), IsEmpty());
  tell(Event::Type::kDeleted, kube::pods(), "x", "a");
  tell(Event::Type::kDeleted, kube::pods(), "early", "a");
  tell(Event::Type::kDeleted, kube::namespaces(), "", "empty");
  EXPECT_THAT(store_.pods().namespaces(), ElementsAre("x"));
  EXPECT_THAT(store_.pods().pods_of("x"), ElementsAre("x/b"));
  EXPECT_THAT(store_.pods().pods_of("early"), IsEmpty());
}

TEST_F(ClusterStoreTest, ValidPolicyIsInForce) {
  EXPECT_TRUE(put_policy(policy(port("80")), 1));
  EXPECT_TRUE(allowed(80));
  EXPECT_FALSE(allowed(81));
  const auto* object = store_.policy(kPolicy);
  ASSERT_NE(object, nullptr);
  EXPECT_TRUE(object->valid);
  EXPECT_TRUE(object->in_force);
  EXPECT_EQ(object->resource_version, version_);
  EXPECT_THAT(store_.take_changed(), ElementsAre(kPolicy));
  EXPECT_THAT(store_.take_changed(), IsEmpty());
}

TEST_F(ClusterStoreTest, LastValidVersionStaysInForce) {
  put_policy(policy(port("80")), 1);
  EXPECT_FALSE(put_policy(policy(port("99999")), 2));
  EXPECT_TRUE(allowed(80));
  const auto* object = store_.policy(kPolicy);
  EXPECT_FALSE(object->valid);
  EXPECT_THAT(object->reason, HasSubstr("spec.ingress[0].toPorts[0]"));
  EXPECT_TRUE(object->in_force);
  EXPECT_EQ(object->in_force_generation, 1);
  EXPECT_TRUE(put_policy(policy(port("81")), 3));
  EXPECT_FALSE(allowed(80));
  EXPECT_TRUE(allowed(81));
  EXPECT_EQ(object->in_force_generation, 3);
}

TEST_F(ClusterStoreTest, ObjectThatCannotBeDecodedKeepsWhatItWas) {
  put_policy(policy(port("80")), 1);
  EXPECT_FALSE(tell(Event::Type::kInvalid, kube::cilium_network_policies(), "x",
                    "p", "spec: must be an object"));
  EXPECT_TRUE(allowed(80));
  EXPECT_FALSE(allowed(81));
  EXPECT_FALSE(store_.policy(kPolicy)->valid);
  EXPECT_EQ(store_.policy(kPolicy)->reason, "spec: must be an object");
}

// An operator that starts when the newest version is not valid has seen no
// other.
TEST_F(ClusterStoreTest, LastValidVersionComesBackFromTheStatus) {
  put_policy(policy(port("80")), 1);
  EXPECT_TRUE(to_keep(*store_.policy(kPolicy)).is_null());
  put_policy(policy(port("99999")), 2);
  auto bad = policy(port("99999"));
  const auto kept = to_keep(*store_.policy(kPolicy));
  EXPECT_EQ(kept.at("generation"), 1);
  bad["status"]["inForce"] = kept;
  tell(Event::Type::kDeleted, kube::cilium_network_policies(), "x", "p");
  EXPECT_TRUE(allowed(81));

  EXPECT_TRUE(put_policy(bad, 2));
  EXPECT_TRUE(allowed(80));
  EXPECT_FALSE(allowed(81));
  const auto* object = store_.policy(kPolicy);
  EXPECT_FALSE(object->valid);
  EXPECT_TRUE(object->in_force);
  EXPECT_EQ(object->in_force_generation, 1);
  EXPECT_EQ(object->kept_generation, 1);
  EXPECT_EQ(to_keep(*object), kept);

  // And is nothing to a version that is.
  auto good = policy(port("82"));
  good["status"] = bad["status"];
  EXPECT_TRUE(put_policy(good, 3));
  EXPECT_TRUE(allowed(82));
  EXPECT_FALSE(allowed(80));
  EXPECT_TRUE(to_keep(*store_.policy(kPolicy)).is_null());
}

// Another replica may know it, and writes it later.
TEST_F(ClusterStoreTest, LastValidVersionMayBeInTheStatusLater) {
  auto bad = policy(port("99999"));
  EXPECT_FALSE(put_policy(bad, 2));
  EXPECT_TRUE(allowed(81));
  const json rules{{"spec", policy(port("80")).at("spec")}};
  bad["status"]["inForce"] = {{"generation", 1}, {"rules", rules.dump()}};
  EXPECT_TRUE(put_policy(bad, 2));
  EXPECT_FALSE(allowed(81));
  EXPECT_FALSE(put_policy(bad, 2)) << "it is in force already";
}

// The server has accepted it, and whoever wrote it believes in it.
TEST_F(ClusterStoreTest, NetworkPolicyThatWasNeverValidIsolates) {
  const json bad{{"apiVersion", "networking.k8s.io/v1"},
                 {"kind", "NetworkPolicy"},
                 {"metadata", {{"name", "n"}, {"namespace", "x"}}},
                 {"spec", {{"podSelector", json::object()}, {"surprise", 1}}}};
  const auto given = [&](const json& object, std::int64_t generation) {
    return put(kube::network_policies(), "x", "n",
               Event::Json(std::make_shared<const json>(object)), generation);
  };
  EXPECT_TRUE(given(bad, 1));
  EXPECT_FALSE(allowed(80));
  const ObjectKey key{.kind = "NetworkPolicy", .ns = "x", .name = "n"};
  const auto* object = store_.policy(key);
  EXPECT_FALSE(object->valid);
  EXPECT_FALSE(object->in_force);
  EXPECT_EQ(object->isolation,
            "its pods are isolated for ingress until it is valid");
  auto good = bad;
  good["spec"].erase("surprise");
  good["spec"]["ingress"] = json::array({json::object()});
  EXPECT_TRUE(given(good, 2));
  EXPECT_TRUE(allowed(80));
  EXPECT_TRUE(store_.policy(key)->isolation.empty());
  EXPECT_FALSE(given(bad, 3)) << "the last valid version stays";
  EXPECT_TRUE(allowed(80));
  tell(Event::Type::kDeleted, kube::network_policies(), "x", "n");
  EXPECT_TRUE(given(bad, 1));
  EXPECT_FALSE(allowed(80));
  tell(Event::Type::kDeleted, kube::network_policies(), "x", "n");
  EXPECT_TRUE(allowed(80));
}

// The policy kPolicy as a watch tells of it.
Event policy_event(const json& ingress, std::int64_t generation) {
  Event event;
  event.resource = &kube::cilium_network_policies();
  event.ns = "x";
  event.name = "p";
  event.uid = "u";
  event.generation = generation;
  event.resource_version = std::to_string(generation);
  event.object = Event::Json(std::make_shared<const json>(policy(ingress)));
  return event;
}

TEST_F(ClusterStoreTest, CiliumPolicyThatWasNeverValidIsolatesIfAsked) {
  put_policy(policy(port("99999")), 1);
  EXPECT_TRUE(store_.policy(kPolicy)->isolation.empty());
  EXPECT_TRUE(allowed(80));
  policy::Translator translator;
  ClusterStore store(translator, "sluice-system", OnInvalid::kIsolate);
  EXPECT_TRUE(store.take(policy_event(port("99999"), 1)));
  EXPECT_FALSE(store.policy(kPolicy)->isolation.empty());
}

// CIDRs within each other with a port each.
json nested(int depth) {
  auto ingress = json::array();
  for (int i = 0; i < depth; ++i) {
    auto rule = port(std::to_string(1000 + (2 * i))).at(0);
    rule["fromCIDR"] = json::array({"8.0.0.0/" + std::to_string(8 + i)});
    ingress.push_back(rule);
  }
  return ingress;
}

// It costs its own pods alone, and before any memory for it is spent.
TEST_F(ClusterStoreTest, PolicyThatIsTooLargeIsNotValid) {
  policy::Translator translator({.max_set_entries = 64});
  ClusterStore store(translator, "sluice-system");
  std::int64_t generation = 0;
  const auto give = [&](const json& ingress) {
    store.take(policy_event(ingress, ++generation));
    return store.policy(kPolicy);
  };
  const auto* object = give(nested(20));
  EXPECT_FALSE(object->valid);
  EXPECT_THAT(object->reason, HasSubstr("more than 64 policy-map entries"));
  EXPECT_FALSE(object->isolation.empty()) << "whatever --on-invalid says";
  object = give(nested(5));
  EXPECT_TRUE(object->valid);
  EXPECT_TRUE(object->isolation.empty());
  object = give(nested(20));
  EXPECT_FALSE(object->valid);
  EXPECT_EQ(object->in_force_generation, 2);
}

// Whichever of the two comes first to an operator that starts.
TEST_F(ClusterStoreTest, VersionThatIsKeptElsewhereIsInForceWhereNoOtherIs) {
  put_policy(policy(port("80")), 1);
  EXPECT_EQ(to_keep_elsewhere(*store_.policy(kPolicy)), "") << "it is valid";
  put_policy(policy(port("99999")), 2);
  const auto kept = to_keep_elsewhere(*store_.policy(kPolicy));
  ASSERT_NE(kept, "");
  for (const bool first : {true, false}) {
    policy::Translator translator;
    ClusterStore store(translator, "sluice-system");
    auto event = policy_event(port("99999"), 2);
    EXPECT_EQ(first ? store.take_kept(kept) : store.take(event), false);
    store.take_changed();
    EXPECT_TRUE(first ? store.take(event) : store.take_kept(kept));
    EXPECT_THAT(store.take_changed(), ElementsAre(kPolicy));
    const auto* object = store.policy(kPolicy);
    EXPECT_FALSE(object->valid);
    EXPECT_TRUE(object->in_force);
    EXPECT_EQ(object->in_force_generation, 1);
    EXPECT_EQ(to_keep_elsewhere(*object), kept);
    EXPECT_FALSE(store.take_kept(kept)) << "it is in force";
    // Of another object of that name it says nothing.
    event.uid = "other";
    store.take(event);
    EXPECT_FALSE(store.policy(kPolicy)->in_force);
  }
  for (const char* nonsense : {"", "7", "{}", R"({"generation":"1"})",
                               R"({"generation":1,"kind":7})"}) {
    EXPECT_FALSE(store_.take_kept(nonsense)) << nonsense;
  }
}

TEST_F(ClusterStoreTest, VersionOfAGroupIsKeptElsewhere) {
  const kube::CidrGroup group{.name = "g",
                              .labels = {{"a", "b"}},
                              .cidrs = {*parse_prefix("192.0.2.0/24")}};
  put(kube::cidr_groups(), {}, "g", group);
  const ObjectKey key{.kind = "CiliumCIDRGroup", .ns = {}, .name = "g"};
  tell(Event::Type::kInvalid, kube::cidr_groups(), {}, "g", "no CIDR");
  const auto* object = store_.policy(key);
  EXPECT_FALSE(object->valid);
  EXPECT_TRUE(to_keep(*object).is_null()) << "its status has no room";
  const auto kept = to_keep_elsewhere(*object);
  policy::Translator translator;
  ClusterStore store(translator, "sluice-system");
  Event event;
  event.type = Event::Type::kInvalid;
  event.resource = &kube::cidr_groups();
  event.name = "g";
  event.uid = object->uid;
  event.error = "no CIDR";
  EXPECT_FALSE(store.take(event));
  EXPECT_TRUE(store.take_kept(kept));
  EXPECT_TRUE(store.policy(key)->in_force);
  EXPECT_EQ(to_keep_elsewhere(*store.policy(key)), kept);
}

TEST_F(ClusterStoreTest, NonsenseInTheStatusIsNoVersion) {
  for (const auto& nonsense :
       {json(7), json{{"generation", "1"}, {"rules", "{}"}},
        json{{"generation", 1}, {"rules", 7}},
        json{{"generation", 1}, {"rules", "{"}},
        json{{"generation", 1}, {"rules", "{}"}},
        json{{"generation", 1}, {"rules", R"({"spec":7})"}}}) {
    auto bad = policy(port("99999"));
    bad["status"]["inForce"] = nonsense;
    EXPECT_FALSE(put_policy(bad, 2)) << nonsense;
    EXPECT_FALSE(store_.policy(kPolicy)->in_force);
    tell(Event::Type::kDeleted, kube::cilium_network_policies(), "x", "p");
  }
}

TEST_F(ClusterStoreTest, AnotherObjectOfTheNameInheritsNothing) {
  put_policy(policy(port("80")), 1);
  EXPECT_TRUE(put_policy(policy(port("99999")), 1, "another"));
  EXPECT_TRUE(allowed(81)) << "the first one is gone, the second is not valid";
  EXPECT_FALSE(store_.policy(kPolicy)->in_force);
}

TEST_F(ClusterStoreTest, StatusAloneIsNoNewVersion) {
  put_policy(policy(port("80")), 1);
  const auto first = store_.policy(kPolicy)->resource_version;
  auto object = policy(port("80"));
  object["status"]["conditions"] = json::array({{{"type", "Valid"}}});
  EXPECT_FALSE(put_policy(object, 1));
  EXPECT_EQ(store_.policy(kPolicy)->resource_version, first);
  EXPECT_EQ(store_.policy(kPolicy)->conditions->size(), 1U);
}

TEST_F(ClusterStoreTest, DeletedPolicyIsGone) {
  put_policy(policy(port("80")), 1);
  store_.take_changed();
  EXPECT_TRUE(
      tell(Event::Type::kDeleted, kube::cilium_network_policies(), "x", "p"));
  EXPECT_TRUE(allowed(81));
  EXPECT_EQ(store_.policy(kPolicy), nullptr);
  EXPECT_THAT(store_.take_changed(), ElementsAre(kPolicy));
}

TEST_F(ClusterStoreTest, PodThatCannotBeDecodedStaysWhatItWas) {
  put_policy(policy(port("80")), 1);
  EXPECT_FALSE(
      tell(Event::Type::kInvalid, kube::pods(), "x", "a", "status: no"));
  EXPECT_TRUE(allowed(80));
  EXPECT_EQ(store_.undecodable().size(), 1U);
  put_pod("a", "n1", "10.0.0.1");
  EXPECT_THAT(store_.undecodable(), IsEmpty());
}

TEST_F(ClusterStoreTest, GroupIsTakenIn) {
  put_policy(policy(json::array(
                 {{{"fromCIDRSet", json::array({{{"cidrGroupRef", "g"}}})}}})),
             1);
  EXPECT_FALSE(allowed(80));
  kube::CidrGroup group{.name = "g"};
  group.cidrs.push_back(*parse_prefix("203.0.113.0/24"));
  EXPECT_TRUE(put(kube::cidr_groups(), {}, "g", std::move(group)));
  EXPECT_TRUE(allowed(80));
  EXPECT_TRUE(tell(Event::Type::kDeleted, kube::cidr_groups(), {}, "g"));
  EXPECT_FALSE(allowed(80));
}

TEST_F(ClusterStoreTest, AwaitedPodsSayWhatUnknownOnesMay) {
  using wire::OnUnknown;
  annotate("strict", "deny");
  annotate("lax", "allow");
  store_.take_on_unknown_changes();
  EXPECT_EQ(store_.on_unknown("n1"), OnUnknown::kAgentDefault);
  put_pod("s", "n1", "", "strict");
  EXPECT_THAT(store_.take_on_unknown_changes(), ElementsAre("n1"));
  EXPECT_EQ(store_.on_unknown("n1"), OnUnknown::kDeny);
  EXPECT_EQ(store_.on_unknown("n2"), OnUnknown::kAgentDefault);
  put_pod("l", "n1", "", "lax");
  EXPECT_EQ(store_.on_unknown("n1"), OnUnknown::kDeny) << "the strictest";
  put_pod("s", "n1", "10.0.0.9", "strict");
  EXPECT_EQ(store_.on_unknown("n1"), OnUnknown::kAllow);
  put_pod("d", "n1", "", "x");
  EXPECT_EQ(store_.on_unknown("n1"), OnUnknown::kAgentDefault)
      << "x says nothing";
  tell(Event::Type::kDeleted, kube::pods(), "x", "d");
  EXPECT_EQ(store_.on_unknown("n1"), OnUnknown::kAllow);
  store_.take_on_unknown_changes();
  annotate("lax", "");
  EXPECT_THAT(store_.take_on_unknown_changes(), ElementsAre("n1"));
  EXPECT_EQ(store_.on_unknown("n1"), OnUnknown::kAgentDefault);
  annotate("lax", "nonsense");
  EXPECT_EQ(store_.on_unknown("n1"), OnUnknown::kAgentDefault);
}

TEST_F(ClusterStoreTest, AddressesThatAnAgentHasFoundEndWithItsNode) {
  const auto put_node = [&] {
    put(kube::nodes(), {}, "n2", kube::Node{.name = "n2"});
  };
  const auto is_nodes = [&] {
    const policy::Model model(translator_.snapshot("n1"));
    return (model.peer_class(*parse_ip("10.9.0.2")) & SLUICE_CIDR_NODE) != 0;
  };
  const std::vector<IpAddress> found{*parse_ip("10.9.0.2")};
  EXPECT_FALSE(store_.set_node_addresses("n2", found)) << "no object yet";
  EXPECT_FALSE(is_nodes());
  put_node();
  EXPECT_TRUE(is_nodes());
  EXPECT_FALSE(store_.set_node_addresses("n2", found)) << "the same";
  store_.agent_left("n2");
  EXPECT_TRUE(is_nodes()) << "kept while the agent is away";
  tell(Event::Type::kDeleted, kube::nodes(), {}, "n2");
  EXPECT_FALSE(is_nodes());
  put_node();
  EXPECT_FALSE(is_nodes()) << "nobody has said it of this one";
  EXPECT_TRUE(store_.set_node_addresses("n2", found));
  tell(Event::Type::kDeleted, kube::nodes(), {}, "n2");
  put_node();
  EXPECT_TRUE(is_nodes()) << "the agent is there and need not say it again";
  EXPECT_TRUE(store_.set_node_addresses("n2", {}));
  EXPECT_FALSE(is_nodes());
}

// An agent goes from one replica to another, which may be noticed late.
TEST_F(ClusterStoreTest,
       AddressesAreTakenFromOtherReplicasUnlessTheAgentIsHere) {
  put(kube::nodes(), {}, "n2", kube::Node{.name = "n2"});
  store_.take_address_changes();
  const std::vector<IpAddress> one{*parse_ip("10.9.0.2")};
  const std::vector<IpAddress> two{*parse_ip("10.9.0.3")};
  using Maybe = std::optional<std::vector<IpAddress>>;
  EXPECT_TRUE(store_.set_node_addresses_elsewhere("n2", one));
  EXPECT_THAT(store_.take_address_changes(), ElementsAre("n2"));
  EXPECT_EQ(store_.node_addresses("n2", false), Maybe(one));
  EXPECT_EQ(store_.node_addresses("n2", true), Maybe());
  EXPECT_TRUE(store_.set_node_addresses("n2", two));
  EXPECT_EQ(store_.node_addresses("n2", true), Maybe(two));
  EXPECT_FALSE(store_.set_node_addresses_elsewhere("n2", one));
  EXPECT_EQ(store_.node_addresses("n2", false), Maybe(two));
  EXPECT_TRUE(store_.agent_left("n2"));
  EXPECT_EQ(store_.node_addresses("n2", false), Maybe(one));
  EXPECT_FALSE(store_.agent_left("n2"));
  store_.take_address_changes();
  tell(Event::Type::kDeleted, kube::nodes(), {}, "n2");
  EXPECT_THAT(store_.take_address_changes(), ElementsAre("n2"));
  EXPECT_EQ(store_.node_addresses("n2", false), Maybe());
}

TEST_F(ClusterStoreTest, AgentsPodsHaveTheirNodes) {
  put_pod("sluice-agent-1", "n7", "", "sluice-system");
  EXPECT_EQ(store_.node_of("sluice-agent-1"), "n7");
  EXPECT_EQ(store_.node_of("a"), "") << "of another namespace";
  tell(Event::Type::kDeleted, kube::pods(), "sluice-system", "sluice-agent-1");
  EXPECT_EQ(store_.node_of("sluice-agent-1"), "");
}

}  // namespace
}  // namespace sluice::op
