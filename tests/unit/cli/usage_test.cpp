// SPDX-License-Identifier: Apache-2.0
// What users type: names, ports and words, right and wrong.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/node/command_line.h"
#include "cli/cluster.h"
#include "cli/commands.h"
#include "cli/tables.h"
#include "lib/base/suggestion.h"
#include "lib/explain/text.h"
#include "tests/unit/cli/manifests.h"

namespace sluice::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kManifests = R"(
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web}}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: api, labels: {app: api}}
spec:
  nodeName: n1
  containers:
  - name: c
    ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]
status: {phase: Running, podIPs: [{ip: 10.0.0.2}, {ip: "fd00::2"}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: p}
spec:
  podSelector: {matchLabels: {app: api}}
  ingress: [{from: [{podSelector: {}}], ports: [{port: http}]}]
)";

// The exit status of a command line.
int exit_status(void (*add)(CLI::App& app, int& exit_code),
                std::vector<std::string> words) {
  CLI::App app;
  int status = -1;
  add(app, status);
  std::ranges::reverse(words);  // as CLI11 takes them
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    ADD_FAILURE() << error.what();
  }
  return status;
}

// The folder that follows is not one more of them.
TEST(CommandLine, AnOptionThatMayBeRepeatedTakesOneValueEachTime) {
  const auto file =
      std::filesystem::path(::testing::TempDir()) / "one_value_each.yaml";
  std::ofstream(file) << kManifests;
  EXPECT_EQ(exit_status(add_explain,
                        {"explain", "--from", "shop/web", "--to", "192.0.2.1",
                         "--port", "80", "--to-name", "a.test", "--to-name",
                         "b.test", file.string()}),
            node::kExitOk);
  std::filesystem::remove(file);
}

class Usage : public ::testing::Test {
 protected:
  std::string port(const std::string& text) {
    const auto view = ask("shop/web", "shop/api", text);
    return view ? view->port : view.error().message;
  }
  Result<node::ExplainView> ask(const std::string& from, const std::string& to,
                                const std::string& port) {
    return explain(cluster_, {.from = from, .to = to, .port = port});
  }
  Cluster cluster_ = cluster_of(std::string(kManifests));
};

// By the names of their ports, the answers to a question without one.
std::map<std::string, bool> verdicts(
    const Result<std::vector<node::ExplainView>>& views) {
  std::map<std::string, bool> result;
  EXPECT_TRUE(views.has_value()) << views.error().message;
  for (const auto& view : views.value_or(std::vector<node::ExplainView>())) {
    result[view.port] = view.allowed;
  }
  return result;
}

TEST_F(Usage, WithoutAPortEveryNamedOneIsExplained) {
  using Verdicts = std::map<std::string, bool>;
  add_manifests(cluster_, "range.yaml", R"(
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: range}
spec:
  podSelector: {matchLabels: {app: api}}
  ingress: [{from: [{podSelector: {}}], ports: [{port: 9000, endPort: 9006}]}]
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: api}
spec:
  clusterIP: 10.96.0.1
  selector: {app: api}
  ports: [{name: web, port: 80, targetPort: http}, {name: x, port: 81, targetPort: 1}]
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: portless}
spec: {clusterIP: 10.96.0.2, selector: {app: api}}
)");
  const auto between = [&](const std::string& from, const std::string& to) {
    return verdicts(
        explain_all_ports(cluster_, {.from = from, .to = to, .port = ""}));
  };
  EXPECT_EQ(between("shop/web", "shop/api"),
            (Verdicts{{"8080/TCP", true},
                      {"9000-9006/TCP", true},
                      {"other/TCP, 53/UDP, other/UDP", false}}))
      << "one for each rule that decides";
  EXPECT_EQ(between("192.0.2.1", "shop/api"),
            (Verdicts{{"8080/TCP, 9000-9006/TCP, other/TCP, 53/UDP, other/UDP",
                       false}}));
  EXPECT_EQ(between("shop/web", "svc/shop/api"),
            (Verdicts{{"80/TCP", true}, {"81/TCP", false}}));
  const auto portless = explain_all_ports(
      cluster_, {.from = "shop/web", .to = "svc/shop/portless", .port = ""});
  ASSERT_FALSE(portless) << "there is nothing to say, which is not: allowed";
  EXPECT_THAT(portless.error().message,
              HasSubstr("svc/shop/portless: the Service has no ports"));
  EXPECT_FALSE(explain_all_ports(
      cluster_, {.from = "shop/web", .to = "shop/none", .port = ""}));
}

TEST_F(Usage, PortsInTheFormsThatPeopleWrite) {
  for (const auto* text : {"8080", "8080/TCP", "8080/tcp", "tcp/8080", "http",
                           "HTTP", "http/TCP", "tcp/http"}) {
    EXPECT_EQ(port(text), "8080/TCP") << text;
  }
  for (const auto* text : {"53/UDP", "udp/53", "dns", "dns/udp"}) {
    EXPECT_EQ(port(text), "53/UDP") << text;
  }
  for (const auto* text : {"8/ICMP", "icmp/8", "EchoRequest/ICMP"}) {
    EXPECT_EQ(port(text), "8/ICMP") << text;
  }
  EXPECT_EQ(port("EchoRequest/ICMPv6"), "128/ICMPv6");
}

TEST_F(Usage, PortsThatThereAreNot) {
  EXPECT_EQ(port("htp"),
            "port \"htp\": shop/api has no port of this name; did you mean "
            "\"http\"?");
  EXPECT_EQ(port("http/UDP"),
            "port \"http/UDP\": shop/api has no UDP port of this name");
  EXPECT_EQ(port("70000"),
            "port \"70000\": must be a number of 0 to 65535, as in 80/TCP");
  EXPECT_THAT(port("echo/ICMP"), HasSubstr("a type of 0 to 255 or its name"));
  EXPECT_THAT(port("256/ICMP"), HasSubstr("a type of 0 to 255"));
  EXPECT_EQ(port("80/IGMP"),
            "port \"80/IGMP\": the protocol is TCP, UDP, SCTP, ICMP or ICMPv6");
  EXPECT_THAT(port(""), HasSubstr("a number of 0 to 65535"));
}

TEST_F(Usage, PodsThatThereAreNot) {
  EXPECT_EQ(ask("shop/wbe", "shop/api", "80").error().message,
            "--from: there is no pod shop/wbe; did you mean \"shop/web\"?");
  EXPECT_EQ(ask("web", "shop/api", "80").error().message,
            "--from: \"web\" is neither namespace/pod nor an address; did you "
            "mean \"shop/web\"?");
  EXPECT_EQ(ask("shop/web", "bank/ledger", "80").error().message,
            "--to: there is no pod bank/ledger");
}

TEST_F(Usage, NodesThatThereAreNot) {
  EXPECT_EQ(choose_node(cluster_, "n1").value(), "n1");
  EXPECT_EQ(choose_node(cluster_, "n2").error().message,
            "--node: there is no node \"n2\"; did you mean \"n1\"?");
}

TEST_F(Usage, EqualAnswersOfBothFamiliesAreOne) {
  const auto view = ask("shop/web", "shop/api", "http");
  ASSERT_TRUE(view.has_value()) << view.error().message;
  ASSERT_EQ(view->sides.size(), 4U);
  std::ostringstream out;
  print(out, *view, false);
  EXPECT_EQ(out.str(),
            "shop/web -> shop/api 8080/TCP: allowed\n"
            "  egress of shop/web to 10.0.0.2, fd00::2: allowed, default "
            "allow\n"
            "  ingress of shop/api from 10.0.0.1, fd00::1: allowed, policy "
            "allow\n"
            "    by NetworkPolicy/shop/p spec.ingress[0]\n"
            "    isolated by NetworkPolicy/shop/p\n");
}

TEST_F(Usage, EqualNearMissesOfBothFamiliesAreOne) {
  const auto view = ask("shop/web", "shop/api", "dns");
  ASSERT_TRUE(view.has_value()) << view.error().message;
  std::ostringstream out;
  print(out, *view, false);
  EXPECT_THAT(out.str(),
              HasSubstr("from 10.0.0.1, fd00::1: denied, default deny"));
  auto stranger = ask("10.9.9.9", "shop/api", "http").value();
  std::ostringstream denied;
  print(denied, stranger, false);
  EXPECT_THAT(denied.str(), HasSubstr("but does not select this peer\n"));
}

TEST_F(Usage, EntriesAreShownOnDemand) {
  const auto view = ask("shop/web", "shop/api", "http");
  ASSERT_TRUE(view.has_value()) << view.error().message;
  std::ostringstream brief;
  print(brief, *view, false);
  EXPECT_THAT(brief.str(), Not(HasSubstr("entry policy")));
  std::ostringstream verbose;
  print(verbose, *view, true);
  EXPECT_THAT(verbose.str(), HasSubstr("entry policy"));
}

TEST_F(Usage, AFamilyThatDiffersIsShownByItself) {
  auto view = ask("shop/web", "shop/api", "http").value();
  view.sides[3].allowed = false;
  std::ostringstream out;
  print(out, view, false);
  EXPECT_THAT(out.str(), HasSubstr("from 10.0.0.1: allowed"));
  EXPECT_THAT(out.str(), HasSubstr("from fd00::1: denied"));
}

TEST(Suggestion, IsTheNearestName) {
  const std::vector<std::string> known{"shop/web", "shop/api",
                                       "kube-system/dns"};
  EXPECT_EQ(did_you_mean("shop/wbe", known), "; did you mean \"shop/web\"?");
  EXPECT_EQ(did_you_mean("shop/ap", known), "; did you mean \"shop/api\"?");
  EXPECT_EQ(did_you_mean("dns", known), "; did you mean \"kube-system/dns\"?");
  EXPECT_EQ(did_you_mean("bank/ledger", known), "");
  EXPECT_EQ(did_you_mean("", known), "");
  EXPECT_EQ(did_you_mean("x", {}), "");
  EXPECT_EQ(did_you_mean(std::string(100'000, 'x'), known), "");
}

}  // namespace
}  // namespace sluice::cli
