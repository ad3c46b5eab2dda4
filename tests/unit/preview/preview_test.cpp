// SPDX-License-Identifier: Apache-2.0
// The changes of a preview, its warnings, and how both are printed.

#include "lib/preview/preview.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/preview_flows.h"
#include "cli/preview_text.h"
#include "cli/preview_worlds.h"
#include "lib/preview/preview_json.h"
#include "lib/preview/warnings.h"

namespace sluice::preview {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kShop = R"(
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 10.1.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 80}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {nodeName: n1, containers: [{name: c, ports: [{containerPort: 5432}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: job, labels: {app: job}}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.0.3}]}
)";

// Lets web connect to db, at a port.
std::string db_policy(const std::string& port) {
  return R"(
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: )" +
         port + "}]\n";
}

// A policy of all pods of a namespace.
std::string policy(const std::string& name, const std::string& spec) {
  return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
         "metadata: {namespace: shop, name: " +
         name + "}\nspec: " + spec + "\n";
}

// Files that are there for one test.
class Preview : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "previewXXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    fs::create_directory(root_ / "there");
    put("there/shop.yaml", kShop);
  }
  void TearDown() override { fs::remove_all(root_); }

  void put(const std::string& name, const std::string& text) const {
    std::ofstream(root_ / name) << text;
  }

  [[nodiscard]] Result<cli::PreviewWorlds> read(
      const std::vector<std::string>& files,
      const std::vector<std::string>& deletes = {}) const {
    cli::PreviewInput input{
        .files = {}, .deletes = deletes, .against = root_ / "there"};
    for (const auto& file : files) {
      input.files.push_back(root_ / file);
    }
    return cli::read_worlds(input);
  }

  [[nodiscard]] View preview(
      const std::vector<std::string>& files,
      const std::vector<std::string>& deletes = {}) const {
    const auto worlds = read(files, deletes).value();
    EXPECT_FALSE(worlds.refused);
    return compare(cli::world_of(worlds.before), cli::world_of(worlds.after));
  }

  [[nodiscard]] std::vector<std::string> warnings(
      const std::vector<std::string>& files,
      const std::vector<std::string>& deletes = {}) const {
    const auto worlds = read(files, deletes).value();
    const auto view =
        compare(cli::world_of(worlds.before), cli::world_of(worlds.after));
    std::vector<std::string> result;
    for (const auto& warning :
         warnings_of({.translator = &worlds.after.translator(),
                      .inputs_before = &worlds.before.inputs(),
                      .inputs = &worlds.after.inputs(),
                      .findings = &worlds.after.findings()},
                     view, worlds.changed)) {
      result.push_back(warning.object + ": " + warning.message);
    }
    return result;
  }

  static std::vector<std::string> lines_of(const View& view, bool expand) {
    std::ostringstream out;
    cli::print_preview(out, view, expand);
    std::istringstream in(out.str());
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
      lines.push_back(line);
    }
    return lines;
  }

  fs::path root_;
};

TEST_F(Preview, APolicyThatIsAddedDeniesWhatItDoesNotAllow) {
  put("new.yaml", db_policy("5432"));
  const auto view = preview({"new.yaml"});
  ASSERT_FALSE(view.changes.empty());
  const auto json = preview_json(view);
  const auto& change = json["changes"][0];
  EXPECT_EQ(change["from"], "shop/job");
  EXPECT_EQ(change["to"], "shop/db");
  EXPECT_EQ(change["becomes"], "denied");
  EXPECT_EQ(change["now"]["reason"], "default deny");
  EXPECT_THAT(change["now"]["isolating"], ElementsAre("NetworkPolicy/shop/db"));
  EXPECT_EQ(change["before"]["reason"], "default allow");
  EXPECT_EQ(change["example"]["to"], "shop/db");
  // What stays between web and db.
  const auto& stays = json["stays"];
  ASSERT_TRUE(std::ranges::any_of(stays, [](const auto& cell) {
    return cell["from"] == "shop/web" && cell["to"] == "shop/db" &&
           cell["allowed"] == nlohmann::json::array({"5432/TCP"});
  })) << stays.dump(2);
}

TEST_F(Preview, EqualChangesAreOneRowAndExpandedOnes) {
  put("new.yaml", db_policy("5432"));
  const auto view = preview({"new.yaml"});
  const std::string row =
      "denied   2      shop/job -> shop/db  any                 ingress: "
      "default deny of NetworkPolicy/shop/db  ingress: default allow";
  const auto lines = lines_of(view, false);
  EXPECT_THAT(lines, Contains(row));
  // 3 workloads, each with each other one, the world and the node.
  EXPECT_EQ(lines.back(),
            "deny: 3 pairs, allow: 0 pairs; of 18 pairs of workloads, 15 stay "
            "as they are");
  const auto expanded = lines_of(view, true);
  EXPECT_THAT(expanded,
              Contains(HasSubstr("denied   shop/web  shop/db  other/TCP, "
                                 "any/UDP  ingress: default deny")));
  EXPECT_THAT(expanded, Contains(HasSubstr("denied   world     shop/db")));
}

TEST_F(Preview, APortOfOneWorldOnlyIsAColumnOfBoth) {
  put("there/db.yaml", db_policy("5432"));
  put("new.yaml", db_policy("5433"));
  const auto view = preview({"new.yaml"});
  const auto lines = lines_of(view, true);
  EXPECT_THAT(lines, Contains(HasSubstr(
                         "allowed  shop/web  shop/db  5433/TCP  ingress: "
                         "NetworkPolicy/shop/db spec.ingress[0]")));
  EXPECT_THAT(lines,
              Contains(HasSubstr("denied   shop/web  shop/db  5432/TCP  "
                                 "ingress: default deny of "
                                 "NetworkPolicy/shop/db  ingress: "
                                 "NetworkPolicy/shop/db spec.ingress[0]")));
  EXPECT_EQ(view.changes.size(), 2U);
}

TEST_F(Preview, APrefixOfOneWorldOnlyIsAnEndOfBoth) {
  put("there/a.yaml", policy("a",
                             "{podSelector: {}, ingress: [{from: [{"
                             "ipBlock: {cidr: 198.51.100.0/24}}]}]}"));
  put("new.yaml", policy("a",
                         "{podSelector: {}, ingress: [{from: [{ipBlock: "
                         "{cidr: 198.51.100.0/24, except: "
                         "[198.51.100.8/29]}}]}]}"));
  const auto view = preview({"new.yaml"});
  ASSERT_EQ(view.changes.size(), 3U);
  for (const auto& change : view.changes) {
    EXPECT_EQ(view.ends[change.from].name, "198.51.100.8/29");
    EXPECT_FALSE(change.allowed);
  }
}

TEST_F(Preview, APrefixThatChangesAsTheWorldIsLeftOut) {
  put("there/a.yaml",
      policy("a",
             "{podSelector: {matchLabels: {app: web}}, ingress: [{from: "
             "[{ipBlock: {cidr: 198.51.100.0/24}}]}]}"));
  put("new.yaml", db_policy("5432"));
  std::vector<std::string> names;
  for (const auto& end : preview({"new.yaml"}).ends) {
    names.push_back(end.name);
  }
  EXPECT_THAT(names, ElementsAre("shop/db", "shop/job", "shop/web", "world"));
  // Not where it changes otherwise.
  put("new.yaml",
      policy("a",
             "{podSelector: {matchLabels: {app: web}}, ingress: [{from: "
             "[{ipBlock: {cidr: 0.0.0.0/0, except: [198.51.100.0/24]}}]}"
             "]}"));
  names.clear();
  for (const auto& end : preview({"new.yaml"}).ends) {
    names.push_back(end.name);
  }
  EXPECT_THAT(names, ::testing::IsSupersetOf({"198.51.100.0/24", "world"}));
}

TEST_F(Preview, WhatIsDeletedNoLongerIsolates) {
  put("there/db.yaml", db_policy("5432"));
  const auto view = preview({}, {"networkpolicy/shop/db"});
  for (const auto& change : view.changes) {
    EXPECT_TRUE(change.allowed);
    EXPECT_EQ(view.decisions[change.after].reason, "default allow");
  }
  EXPECT_EQ(lines_of(view, false).back(),
            "deny: 0 pairs, allow: 3 pairs; of 18 pairs of workloads, 15 stay "
            "as they are");
}

TEST_F(Preview, TheSameObjectChangesNothing) {
  put("there/db.yaml", db_policy("5432"));
  put("new.yaml", db_policy("5432"));
  const auto view = preview({"new.yaml"});
  EXPECT_TRUE(view.changes.empty());
  EXPECT_EQ(view.unchanged, view.pairs);
  EXPECT_THAT(lines_of(view, false),
              ElementsAre("deny: 0 pairs, allow: 0 pairs; of 18 pairs of "
                          "workloads, 18 stay as they are"));
}

TEST_F(Preview, TheFileOfTheFolderItselfReplacesItsObjects) {
  put("there/db.yaml", db_policy("5432"));
  auto worlds = read({"there/db.yaml"}).value();
  EXPECT_FALSE(worlds.refused);
  EXPECT_THAT(worlds.after.errors(), IsEmpty());
  EXPECT_THAT(worlds.changed, IsEmpty());
}

TEST_F(Preview, PodsOfOneWorldOnlyAreNamedAndLeftOut) {
  put("new.yaml", R"(
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: fresh, labels: {app: fresh}}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.0.9}]}
)");
  const auto view = preview({"new.yaml"}, {"Pod/shop/job"});
  EXPECT_TRUE(view.changes.empty());
  EXPECT_THAT(view.notes,
              ElementsAre("shop/job: left out (there before the change only)",
                          "shop/fresh: left out (there after the change "
                          "only)"));
}

TEST_F(Preview, WhatCannotBeDoneIsRefused) {
  put("there/db.yaml", db_policy("5432"));
  put("new.yaml", db_policy("5432"));
  put("empty.yaml", "# nothing\n");
  EXPECT_THAT(read({"new.yaml"}, {"NetworkPolicy/shop/db"}).error().message,
              HasSubstr("NetworkPolicy/shop/db is in -f, too"));
  EXPECT_THAT(read({}, {"NetworkPolicy/shop/dbs"}).error().message,
              HasSubstr("did you mean \"NetworkPolicy/shop/db\"?"));
  EXPECT_THAT(read({"empty.yaml"}).error().message,
              HasSubstr("empty.yaml has no Kubernetes objects"));
  EXPECT_THAT(read({"none.yaml"}).error().message, HasSubstr("none.yaml"));
}

TEST_F(Preview, AnInvalidObjectIsNamedWithFileLineAndPath) {
  put("new.yaml", db_policy("65536"));
  const auto worlds = read({"new.yaml"}).value();
  EXPECT_TRUE(worlds.refused);
  ASSERT_EQ(worlds.problems.size(), 1U);
  EXPECT_THAT(worlds.problems[0].source, HasSubstr("new.yaml:2"));
  EXPECT_EQ(worlds.problems[0].object, "NetworkPolicy/shop/db");
  EXPECT_THAT(worlds.problems[0].message,
              HasSubstr("spec.ingress[0].ports[0].port"));
}

TEST_F(Preview, WarnsOfWhatIsolatesDns) {
  put("there/dns.yaml",
      policy("dns",
             "{podSelector: {matchLabels: {app: web}}, policyTypes: "
             "[Egress], egress: [{ports: [{port: 53, protocol: "
             "UDP}]}]}"));
  put("new.yaml", policy("all", "{podSelector: {}, policyTypes: [Egress]}"));
  // Not web, which another policy lets ask.
  EXPECT_THAT(warnings({"new.yaml"}),
              Contains(": isolates DNS: no rule lets shop/db, shop/job ask a "
                       "DNS server (UDP port 53) any longer"));
  EXPECT_THAT(warnings({}, {"NetworkPolicy/shop/dns"}),
              Not(Contains(HasSubstr("isolates DNS"))));
  put("there/all.yaml", policy("all",
                               "{podSelector: {}, policyTypes: "
                               "[Egress]}"));
  EXPECT_THAT(warnings({}, {"NetworkPolicy/shop/dns"}),
              Contains(HasSubstr("no rule lets shop/web ask")));
  // They could not before.
  EXPECT_THAT(warnings({"new.yaml"}), Not(Contains(HasSubstr("isolates DNS"))));
}

TEST_F(Preview, WarnsOfWhatOpensToTheWorld) {
  put("there/db.yaml", db_policy("5432"));
  put("new.yaml",
      policy("db", "{podSelector: {matchLabels: {app: db}}, ingress: [{}]}"));
  EXPECT_THAT(warnings({"new.yaml"}),
              Contains("NetworkPolicy/shop/db: spec.ingress[0]: opens shop/db "
                       "to the world for ingress"));
  EXPECT_THAT(warnings({}, {"NetworkPolicy/shop/db"}),
              Contains(": opens shop/db to the world for ingress: no policy "
                       "isolates this direction any longer"));
  // It was open before.
  put("there/db.yaml",
      policy("db", "{podSelector: {matchLabels: {app: db}}, ingress: [{}]}"));
  put("new.yaml", policy("db",
                         "{podSelector: {matchLabels: {app: db}}, "
                         "ingress: [{}, {}]}"));
  EXPECT_THAT(warnings({"new.yaml"}), Not(Contains(HasSubstr("the world"))));
}

TEST_F(Preview, WarnsOfPoliciesThatSelectNothingOrComeToNothing) {
  put("there/deny.yaml", R"(
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: shop, name: deny}
spec:
  endpointSelector: {matchLabels: {app: db}}
  ingressDeny: [{fromEndpoints: [{matchLabels: {app: web}}]}]
)");
  put("new.yaml", db_policy("5432") + "---\n" +
                      policy("typo",
                             "{podSelector: {matchLabels: {app: "
                             "bd}}}"));
  const auto found = warnings({"new.yaml"});
  EXPECT_THAT(found, Contains(HasSubstr("NetworkPolicy/shop/typo: ")));
  EXPECT_THAT(found, Contains(HasSubstr("NetworkPolicy/shop/db: "
                                        "spec.ingress[0]: allows nothing, "
                                        "because CiliumNetworkPolicy/shop/deny "
                                        "spec.ingressDeny[0], which comes "
                                        "first, covers all of it")));
}

// A flow as `sluice observe -o json` prints it.
std::string flow(const std::string& from, const std::string& to,
                 const std::string& port, const std::string& more = {}) {
  return R"({"flow":{"time":"2026-01-02T03:04:05.5Z","verdict":"FORWARDED",)" +
         more + R"("IP":{"source":"10.0.0.8","destination":")" + to +
         R"("},"l4":{"TCP":{"source_port":40000,"destination_port":)" + port +
         R"(}},"source":{"namespace":"shop","pod_name":")" + from +
         R"("},"unknown_field":1},"node_name":"n1"})" + "\n";
}

TEST_F(Preview, FlowsThatWouldBeDeniedAreCounted) {
  put("there/db.yaml", db_policy("5432"));
  put("new.yaml", db_policy("5433"));
  const auto worlds = read({"new.yaml"}).value();
  const auto& before = worlds.before.translator();
  const auto text =
      flow("web", "10.0.0.2", "5432") + "\n" +
      flow("web", "10.0.0.2", "5432",
           R"("destination_names":[],"is_reply":false,)") +
      R"({"node_status":{"state_change":"NODE_CONNECTED"}})" + "\n" +
      flow("web", "10.0.0.2", "5432", R"("is_reply":true,)") +
      flow("web", "10.0.0.2", "5433") + flow("job", "10.0.0.2", "5432") +
      flow("gone", "192.0.2.9", "80");
  const auto flows = cli::parse_flows(text, "flows.json", before);
  ASSERT_TRUE(flows) << flows.error().message;
  const auto view = judge_flows(before, worlds.after.translator(), *flows);
  EXPECT_EQ(view.seen, 5U);
  EXPECT_EQ(view.unknown, 1U);  // an address that no pod has, to another one
  ASSERT_EQ(view.changes.size(), 2U);
  EXPECT_FALSE(view.changes[0].allowed);
  EXPECT_EQ(view.changes[0].flows.count, 2U);
  EXPECT_EQ(view.changes[0].flows.from, "shop/web");
  EXPECT_EQ(view.changes[0].flows.to, "10.0.0.2");
  EXPECT_EQ(view.changes[0].flows.last_seen, "2026-01-02T03:04:05.500Z");
  EXPECT_EQ(view.changes[0].before.path, "spec.ingress[0]");
  EXPECT_EQ(view.changes[0].after.reason, "default deny");
  EXPECT_TRUE(view.changes[1].allowed);
  EXPECT_EQ(view.changes[1].flows.port, "5433/TCP");
  std::ostringstream out;
  cli::print(out, view);
  EXPECT_THAT(out.str(),
              HasSubstr("flows: 2 would be denied, 1 allowed; of 5 seen, 1 "
                        "have ends that are not there\n"));
  EXPECT_EQ(flows_json(view)["changes"][0]["becomes"], "denied");
}

TEST_F(Preview, AFileOfFlowsMayBeEmptyAndMustBeAFile) {
  const cli::Cluster cluster;
  put("flows.json", "");
  EXPECT_TRUE(
      cli::read_flows(root_ / "flows.json", cluster.translator())->empty());
  for (const auto& path : {root_, root_ / "none.json"}) {
    const auto flows = cli::read_flows(path, cluster.translator());
    ASSERT_FALSE(flows);
    EXPECT_THAT(flows.error().message, HasSubstr(path.string() + ": "));
  }
}

TEST_F(Preview, ALineThatIsNoFlowIsNamed) {
  const cli::Cluster cluster;
  const auto flows =
      cli::parse_flows(flow("web", "10.0.0.2", "80") + "{\"flow\": [\n",
                       "flows.json", cluster.translator());
  ASSERT_FALSE(flows);
  EXPECT_THAT(flows.error().message, HasSubstr("flows.json:2: not a flow"));
}

}  // namespace
}  // namespace sluice::preview
