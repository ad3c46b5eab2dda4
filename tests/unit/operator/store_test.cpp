// SPDX-License-Identifier: Apache-2.0
#include "operator/store.h"

#include <algorithm>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/kube/manifest.h"
#include "lib/policy/model.h"

namespace sluice::op {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kCluster = R"(
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: v1
kind: Pod
metadata: {namespace: x, name: a, labels: {app: a}}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: x, name: b, labels: {app: b}}
spec: {}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}]}
)";

// Port 80 or whatever is asked for, of x/a from anywhere.
std::string allow(const std::string& name, const std::string& port) {
  return "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: "
         "{namespace: x, name: " +
         name +
         "}\nspec:\n  endpointSelector: {matchLabels: {app: a}}\n  ingress:\n "
         " - toPorts: [{ports: [{port: \"" +
         port + "\", protocol: TCP}]}]\n";
}

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() { put("cluster.yaml", std::string(kCluster)); }

  void put(const std::string& file, const std::string& text) {
    store_.set_source(file, kube::parse_manifest(text, file));
    store_.commit();
  }
  [[nodiscard]] bool allowed(std::uint16_t port) const {
    const policy::Model model(translator_.snapshot("n1"));
    const auto* endpoint = model.endpoint("x/a");
    EXPECT_NE(endpoint, nullptr);
    return endpoint != nullptr &&
           model
               .lookup(*endpoint, policy::Direction::kIngress,
                       *parse_ip("10.0.0.2"), 6, port)
               .allowed;
  }
  [[nodiscard]] ObjectStatus policy(const std::string& name) const {
    for (const auto& status : store_.objects()) {
      if (status.policy && status.key.name == name) {
        return status;
      }
    }
    return {};
  }

  policy::Translator translator_;
  Store store_{translator_};
};

TEST_F(StoreTest, ValidPolicyIsInForce) {
  put("p.yaml", allow("p", "80"));
  EXPECT_TRUE(allowed(80));
  EXPECT_FALSE(allowed(81));
  EXPECT_TRUE(policy("p").valid);
  EXPECT_TRUE(policy("p").in_force);
  EXPECT_THAT(store_.problems(), IsEmpty());
}

TEST_F(StoreTest, InvalidVersionKeepsTheLastValidOneAndNamesTheField) {
  put("p.yaml", allow("p", "80"));
  put("p.yaml", "\n\n" + allow("p", "65536"));
  EXPECT_TRUE(allowed(80));
  EXPECT_FALSE(allowed(81));
  const auto status = policy("p");
  EXPECT_FALSE(status.valid);
  EXPECT_TRUE(status.in_force);
  EXPECT_EQ(status.source, "p.yaml:3");
  EXPECT_THAT(status.reason, HasSubstr("spec.ingress[0].toPorts[0]"));
  EXPECT_THAT(
      store_.problems(),
      ElementsAre(AllOf(Field(&Problem::source, "p.yaml:3"),
                        Field(&Problem::object, "CiliumNetworkPolicy/x/p"))));
  put("p.yaml", allow("p", "81"));
  EXPECT_TRUE(allowed(81));
  EXPECT_FALSE(allowed(80));
  EXPECT_THAT(store_.problems(), IsEmpty());
}

TEST_F(StoreTest, NeverValidHasNoEffect) {
  put("p.yaml", allow("p", "65536"));
  EXPECT_TRUE(allowed(80));
  EXPECT_FALSE(policy("p").in_force);
  EXPECT_FALSE(policy("p").valid);
}

TEST_F(StoreTest, RemovedFromItsFileIsRemoved) {
  put("p.yaml", allow("p", "80") + "---\n" + allow("q", "81"));
  EXPECT_TRUE(allowed(81));
  put("p.yaml", allow("p", "80"));
  EXPECT_TRUE(allowed(80));
  EXPECT_FALSE(allowed(81));
  store_.remove_source("p.yaml");
  store_.commit();
  EXPECT_TRUE(allowed(81)) << "no policy is left";
}

TEST_F(StoreTest, InvalidThenRemovedIsRemoved) {
  put("p.yaml", allow("p", "80"));
  put("p.yaml", allow("p", "65536"));
  put("p.yaml", "");
  EXPECT_TRUE(allowed(81));
  EXPECT_TRUE(policy("p").key.name.empty());
}

TEST_F(StoreTest, BrokenFileSaysNothingAboutWhatIsGone) {
  put("p.yaml", allow("p", "80") + "---\n" + allow("q", "81"));
  put("p.yaml", allow("p", "82") + "---\nkind: [\n");
  EXPECT_TRUE(allowed(82)) << "what can be read counts";
  EXPECT_TRUE(allowed(81)) << "q may be what cannot be read";
  EXPECT_FALSE(allowed(80));
  EXPECT_FALSE(store_.problems().empty());
  store_.fail_source("p.yaml", "read: Input/output error");
  store_.commit();
  EXPECT_TRUE(allowed(82));
  EXPECT_FALSE(policy("p").valid);
}

TEST_F(StoreTest, UnidentifiableObjectSaysNothingAboutWhatIsGone) {
  put("p.yaml", allow("p", "80"));
  put("p.yaml",
      "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: "
      "{namespace: x}\nspec: {}\n");
  EXPECT_TRUE(allowed(80));
  EXPECT_FALSE(allowed(81));
  EXPECT_FALSE(policy("p").valid);
}

TEST_F(StoreTest, SameObjectInTwoFiles) {
  put("p.yaml", allow("p", "80"));
  put("q.yaml", allow("p", "81"));
  EXPECT_TRUE(allowed(80));
  EXPECT_FALSE(allowed(81));
  const auto problems = store_.problems();
  ASSERT_THAT(problems, ElementsAre(Field(&Problem::source, "q.yaml:1")));
  EXPECT_THAT(problems[0].message, HasSubstr("p.yaml:1"));
  put("p.yaml", "");
  EXPECT_TRUE(allowed(81)) << "the other file takes over";
  EXPECT_THAT(store_.problems(), IsEmpty());
}

TEST_F(StoreTest, MoveToAnotherFileIsNoGap) {
  put("p.yaml", allow("p", "80"));
  store_.remove_source("p.yaml");
  store_.set_source("q.yaml",
                    kube::parse_manifest(allow("p", "65536"), "q.yaml"));
  store_.commit();
  EXPECT_TRUE(allowed(80));
  EXPECT_FALSE(allowed(81)) << "the version last valid, in whichever file";
}

TEST_F(StoreTest, WrongVersionOfAPolicyKeepsTheLastValidOne) {
  put("p.yaml", allow("p", "80"));
  auto text = allow("p", "80");
  text.replace(text.find("/v2"), 3, "/v9");
  put("p.yaml", text);
  EXPECT_FALSE(allowed(81));
  EXPECT_THAT(policy("p").reason, HasSubstr("apiVersion"));
}

constexpr const char* kInvalidNetpol =
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
    "metadata: {name: np, namespace: x}\n"
    "spec: {ingress: [{from: [{ipBlock: {cidr: none}}]}]}\n";

// The API server takes more than we understand, and whoever wrote it believes
// in it.
TEST_F(StoreTest, NetworkPolicyThatWasNeverValidIsolates) {
  EXPECT_TRUE(allowed(80));
  put("n.yaml", kInvalidNetpol);
  EXPECT_FALSE(allowed(80));
  const auto status = store_.objects();
  const auto found = std::ranges::find(
      status, ObjectKey{.kind = "NetworkPolicy", .ns = "x", .name = "np"},
      &ObjectStatus::key);
  ASSERT_NE(found, status.end());
  EXPECT_FALSE(found->valid);
  EXPECT_FALSE(found->in_force);
  EXPECT_THAT(found->reason,
              HasSubstr("; its pods are isolated for ingress until it is "));
  put("n.yaml", "");
  EXPECT_TRUE(allowed(80)) << "it is gone";
}

TEST_F(StoreTest, CiliumPolicyThatWasNeverValidDoesNothing) {
  put("p.yaml", allow("p", "65536"));
  EXPECT_TRUE(allowed(80));
}

TEST_F(StoreTest, CiliumPolicyThatWasNeverValidIsolatesIfAsked) {
  policy::Translator translator;
  Store store(translator, OnInvalid::kIsolate);
  store.set_source("p.yaml",
                   kube::parse_manifest(allow("p", "65536"), "p.yaml"));
  EXPECT_TRUE(store.commit());
  ASSERT_EQ(store.problems().size(), 1U);
  EXPECT_THAT(store.problems()[0].message, HasSubstr("isolated for ingress"));
  store.set_source("p.yaml", kube::parse_manifest(allow("p", "80"), "p.yaml"));
  EXPECT_TRUE(store.commit());
  EXPECT_THAT(store.problems(), IsEmpty());
}

// A chart's values and a kustomization beside the policies.
TEST_F(StoreTest, FilesThatAreNoObjectsAreNoted) {
  put("values.yaml", "replicas: 3\n");
  put("kustomization.yaml",
      "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
      "resources: [p.yaml]\n");
  put("job.yaml",
      "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: j-}\n");
  const auto problems = store_.problems();
  ASSERT_EQ(problems.size(), 2U);
  for (const auto& problem : problems) {
    EXPECT_EQ(problem.severity, Severity::kNote) << problem.message;
  }
}

TEST_F(StoreTest, PolicyWhoseHeadIsMissingKeepsWhatItWas) {
  put("p.yaml", allow("p", "80"));
  put("p.yaml", "spec: {}\n");
  EXPECT_FALSE(allowed(81));
}

TEST_F(StoreTest, UnknownKindsAreNotedAndCommonOnesPassedOver) {
  put("p.yaml",
      "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n---\n"
      "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n");
  ASSERT_THAT(store_.problems(),
              ElementsAre(Field(&Problem::object, "Thing/t")));
  EXPECT_EQ(store_.problems()[0].severity, Severity::kNote);
}

TEST_F(StoreTest, PodsWithoutANodeAreOfTheLocalOne) {
  store_.set_local_node(
      {.name = "n1", .labels = {}, .ips = {*parse_ip("10.9.9.9")}});
  EXPECT_TRUE(store_.commit());
  EXPECT_NE(policy::Model(translator_.snapshot("n1")).endpoint("x/b"), nullptr);
  EXPECT_EQ(store_.pod("x", "b")->node, "n1");
}

TEST_F(StoreTest, LocalNodeStandsInForTheObjectAndAddsToIt) {
  const auto local = *parse_ip("10.9.9.9");
  const auto listed = *parse_ip("10.8.8.8");
  store_.set_local_node({.name = "n1", .labels = {}, .ips = {local}});
  store_.commit();
  EXPECT_EQ(store_.name_of(local), "node/n1");
  put("node.yaml",
      "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: "
      "[{type: InternalIP, address: 10.8.8.8}]}\n");
  EXPECT_EQ(store_.name_of(local), "node/n1");
  EXPECT_EQ(store_.name_of(listed), "node/n1");
  put("node.yaml", "");
  EXPECT_EQ(store_.name_of(local), "node/n1");
  EXPECT_EQ(store_.name_of(listed), "");
}

TEST_F(StoreTest, NothingNewIsNoChange) {
  put("p.yaml", allow("p", "80"));
  store_.set_source("p.yaml",
                    kube::parse_manifest("\n" + allow("p", "80"), "p.yaml"));
  EXPECT_FALSE(store_.commit());
}

TEST_F(StoreTest, NamesOfAddressesFollowPods) {
  EXPECT_EQ(store_.name_of(*parse_ip("10.0.0.1")), "x/a");
  put("cluster.yaml", "");
  EXPECT_EQ(store_.name_of(*parse_ip("10.0.0.1")), "");
}

}  // namespace
}  // namespace sluice::op
