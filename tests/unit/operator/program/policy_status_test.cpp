// SPDX-License-Identifier: Apache-2.0
#include "operator/program/policy_status.h"

#include <memory>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/kube/api/resource.h"

// What the replica that leads makes of what all of them say.
namespace sluice::operatord {
namespace {

using nlohmann::json;
using op::Clock;
using std::chrono::seconds;

// A policy for pod x/a on node n, and nobody who would write anything.
class PolicyStatusTest : public testing::Test {
 protected:
  PolicyStatusTest() {
    kube::Pod pod;
    pod.ns = "x";
    pod.name = "a";
    pod.node = "n";
    pod.ips = {*parse_ip("10.0.0.1")};
    put(kube::pods(), "a", pod);
    put(kube::cilium_network_policies(), "p",
        kube::Event::Json(std::make_shared<const json>(
            json{{"apiVersion", "cilium.io/v2"},
                 {"kind", "CiliumNetworkPolicy"},
                 {"metadata", {{"name", "p"}, {"namespace", "x"}}},
                 {"spec",
                  {{"endpointSelector", json::object()},
                   {"ingress", json::array({json::object()})}}}})));
    status_.objects_changed(store_.take_changed());
  }

  template <typename Object>
  void put(const kube::Resource& resource, const std::string& name,
           Object object) {
    kube::Event event;
    event.resource = &resource;
    event.ns = "x";
    event.name = name;
    event.uid = "u";
    event.generation = 1;
    event.resource_version = "101";
    event.object = std::move(object);
    store_.take(event);
  }
  [[nodiscard]] static wire::NodeReport has_it() {
    return {.node = "n",
            .connected = true,
            .in_force = {101, 101, 101, 101},
            .failures = {}};
  }
  // Judged again, patience over.
  bool enforced() {
    for (int i = 0; i < 3; ++i) {
      now_ += seconds(10);
      status_.turn(1, now_);
    }
    return status_.counts()["CiliumNetworkPolicy"].enforced == 1;
  }

  Clock::time_point now_ = Clock::now();
  std::unique_ptr<Loop> loop_ = *Loop::create();
  std::unique_ptr<kube::Client> client_ = *kube::Client::create(
      *loop_, kube::ClusterConfig{.server = "http://127.0.0.1:1"});
  policy::Translator translator_;
  op::ClusterStore store_{translator_, "sluice-system"};
  op::NodeProgress progress_;
  StatusWriter writer_{*client_, "test"};
  KeptVersions kept_{*client_, store_, "sluice-system", [] {}};
  PolicyStatus status_{store_, translator_, progress_, writer_, kept_};
};

TEST_F(PolicyStatusTest, WhatAnotherReplicaSaysCounts) {
  status_.set_leading(true);
  EXPECT_FALSE(enforced());
  status_.report("other", true, {has_it()});
  EXPECT_TRUE(enforced());
  status_.forget_replica("other");
  EXPECT_FALSE(enforced());
}

// Others do not notice that a leader could not renew its lease for a while:
// they tell it changes only.
TEST_F(PolicyStatusTest, OneThatLeadsAgainKnowsWhatOthersSaid) {
  status_.set_leading(true);
  status_.report("other", true, {has_it()});
  EXPECT_TRUE(enforced());
  status_.set_leading(false);
  status_.set_leading(true);
  EXPECT_TRUE(enforced());
}

TEST_F(PolicyStatusTest, OneThatLeadsAgainAsksItsOwnAgentsAnew) {
  status_.set_leading(true);
  progress_.connected("n", false);
  progress_.snapshot("n", 1);
  progress_.acknowledged("n", {.received = 1, .applied = 1, .failures = {}});
  progress_.advance({.versions = {101, 101, 101, 101}, .held = {}});
  status_.nodes_changed(progress_.nodes());
  EXPECT_TRUE(enforced());
  status_.set_leading(false);
  progress_.forget("n");
  status_.set_leading(true);
  status_.nodes_changed(progress_.nodes());
  EXPECT_FALSE(enforced());
}

}  // namespace
}  // namespace sluice::operatord
