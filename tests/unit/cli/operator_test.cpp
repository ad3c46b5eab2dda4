// SPDX-License-Identifier: Apache-2.0
// Commands that ask the operator, through an API server that answers as each
// test wants.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <mutex>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/ask_operator.h"
#include "cli/commands.h"
#include "cli/operator_options.h"
#include "cli/operator_views.h"
#include "tests/unit/kube/api/server.h"

namespace sluice::cli {
namespace {

using kube::test::HttpRequest;
using kube::test::Peer;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

struct Output {
  int status = -1;
  std::string out;
  std::string err;
};

class OperatorCommand : public ::testing::Test {
 protected:
  OperatorCommand() {
    std::ofstream(kubeconfig_)
        << "{apiVersion: v1, kind: Config, current-context: c,\n"
           " clusters: [{name: c, cluster: {server: 'http://127.0.0.1:"
        << server_.port()
        << "'}}],\n"
           " users: [{name: u, user: {token: t}}],\n"
           " contexts: [{name: c, context: {cluster: c, user: u}}]}\n";
    access_.kubeconfig = kubeconfig_;
  }
  void TearDown() override {
    ::unsetenv("SLUICE_SOCKET");
    ::unsetenv("HUBBLE_SERVER");
    ::unsetenv("KUBECONFIG");
    set_command_line(0, nullptr);
    std::filesystem::remove(kubeconfig_);
  }

  // What the operator says.
  void answer(int status, std::string body) {
    reply_ = [status, body = std::move(body)](Peer& peer) {
      peer.reply(status, body);
    };
  }
  // `program`: the name by which it was called.
  static Output run(void (*add)(CLI::App& app, int& exit_code),
                    const std::vector<std::string>& words,
                    const std::string& program = "sluice") {
    std::vector<const char*> argv{program.c_str()};
    for (const auto& word : words) {
      argv.push_back(word.c_str());
    }
    set_command_line(static_cast<int>(argv.size()), argv.data());
    CLI::App app;
    Output output;
    add(app, output.status);
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    try {
      app.parse(static_cast<int>(argv.size()), const_cast<char**>(argv.data()));
    } catch (const CLI::ParseError& error) {
      output.status = 2;
      std::cerr << error.what();
    }
    std::cout.flush();
    output.out = testing::internal::GetCapturedStdout();
    output.err = testing::internal::GetCapturedStderr();
    return output;
  }
  Output ask(void (*add)(CLI::App& app, int& exit_code),
             std::vector<std::string> words) {
    words.insert(words.end(), {"--operator", "--kubeconfig", kubeconfig_});
    return run(add, words);
  }

  std::function<void(Peer&)> reply_ = [](Peer& peer) { peer.reply(200, "{}"); };
  kube::test::FakeServer server_{
      [this](const HttpRequest& request, Peer& peer) {
        if (request.method == "POST") {
          peer.reply(201, R"({"status":{"token":"of the account"}})");
        } else {
          reply_(peer);
        }
      }};
  const std::string kubeconfig_ =
      ::testing::TempDir() + "operator_" + std::to_string(server_.port());
  OperatorAccess access_;
};

json node_row(const std::string& name, const std::string& why_not = {}) {
  return {{"node", name},
          {"problem", ""},
          {"why_not", why_not},
          {"status", {{"node", name}, {"enforced", why_not.empty()}}}};
}

json status_of(const std::vector<json>& nodes) {
  return {{"version", "1"}, {"operator", "o"}, {"nodes", nodes}};
}

TEST_F(OperatorCommand, status_checks_that_there_are_nodes_and_all_enforce) {
  for (const auto& [nodes, expected] :
       {std::pair{std::vector<json>{}, 1},
        {{node_row("a"), node_row("b")}, 0},
        {{node_row("a"), node_row("b", "the kernel is too old")}, 1}}) {
    answer(200, status_of(nodes).dump());
    EXPECT_EQ(ask(add_status, {"status", "--check"}).status, expected);
    EXPECT_EQ(ask(add_status, {"status"}).status, 0);
  }
}

TEST_F(OperatorCommand, the_operator_decides_whether_and_why_not) {
  answer(200, status_of({node_row("a", "for this reason")}).dump());
  const auto output = ask(add_status, {"status"});
  EXPECT_THAT(output.out, HasSubstr("for this reason"));
  EXPECT_THAT(output.out, HasSubstr("on 0 of 1 nodes"));
  auto row = node_row("a");
  row.erase("why_not");
  answer(200, status_of({row}).dump());
  EXPECT_EQ(ask(add_status, {"status", "--check"}).status, 1)
      << "of an operator that does not say";
}

TEST_F(OperatorCommand, wrong_types_of_one_agent_do_not_hide_the_other_nodes) {
  auto wrong = node_row("a");
  wrong["status"] = {{"enforced", "yes"}, {"revision", json::object()}};
  answer(200, status_of({wrong, node_row("b")}).dump());
  const auto output = ask(add_status, {"status", "--check"});
  EXPECT_EQ(output.status, 1);
  EXPECT_THAT(output.out, HasSubstr("its agent's answer cannot be read"));
  EXPECT_THAT(output.out, HasSubstr("on 1 of 2 nodes"));

  answer(200, json{{"nodes", {{{"node", "a"}}, {{"node", "b"}}}},
                   {"endpoints",
                    {{{"node", "a"}, {"name", 7}},
                     {{"node", "b"}, {"name", "shop/web"}}}}}
                  .dump());
  const auto endpoints = ask(add_endpoint, {"endpoint", "list"});
  EXPECT_EQ(endpoints.status, 0);
  EXPECT_THAT(endpoints.out, HasSubstr("its agent's answer cannot be read"));
  EXPECT_THAT(endpoints.out, HasSubstr("shop/web"));
}

TEST_F(OperatorCommand, an_answer_of_a_large_cluster_is_taken) {
  const std::string large(20 << 20, ' ');
  answer(200, large + "{}");
  const auto text = ask_operator(access_, "/status");
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(text->size(), large.size() + 2);
}

TEST_F(OperatorCommand, what_may_be_asked_again_is_said) {
  for (const int status : {429, 503}) {
    answer(status, "too many questions are open");
    const auto text = ask_operator(access_, "/status");
    ASSERT_FALSE(text);
    EXPECT_THAT(text.error().message, HasSubstr("too many questions are open"));
    EXPECT_THAT(text.error().message, HasSubstr("try again"));
    const auto flows = ask(add_observe, {"observe"});
    EXPECT_EQ(flows.status, 2);
    EXPECT_THAT(flows.err, HasSubstr("try again"));
  }
  answer(422, "there is no pod");
  const auto text = ask_operator(access_, "/explain");
  ASSERT_FALSE(text);
  EXPECT_THAT(text.error().message, Not(HasSubstr("try again")));
}

TEST_F(OperatorCommand, a_line_without_an_end_is_not_kept_for_ever) {
  reply_ = [](Peer& peer) {
    const std::string part(1 << 20, 'x');
    bool more = peer.begin();
    while (more) {
      more = peer.chunk(part);
    }
  };
  const auto read = read_operator_flows(
      access_, {}, false, [](const std::string&) { return true; });
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message,
              HasSubstr("a line of the answer is longer than 67108864 bytes"));
}

TEST_F(OperatorCommand, filters_are_carried_up_to_a_bound_that_is_said) {
  std::vector<std::string> words{"observe"};
  const auto add = [&](int count) {
    for (int i = 0; i < count; ++i) {
      words.insert(words.end(), {"--to-ip", "fd00::1:" + std::to_string(i)});
    }
  };
  add(1'300);
  answer(200, "\n");
  const auto output = ask(add_observe, words);
  EXPECT_EQ(output.status, 0) << output.err;
  const auto asked = server_.requests().back().get("request");
  EXPECT_GT(asked.size(), 20'000);
  add(3'000);
  const auto refused = ask(add_observe, words);
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("the filters are too long"));
}

TEST_F(OperatorCommand, a_receiver_without_ports_is_an_error) {
  answer(200, R"({"answers": []})");
  const auto output = ask(
      add_explain, {"explain", "--from", "shop/web", "--to", "svc/shop/none"});
  EXPECT_EQ(output.status, 2);
  EXPECT_THAT(output.err,
              HasSubstr("svc/shop/none: there is no port to ask about"));
}

TEST_F(OperatorCommand, a_service_without_ports_is_an_error_for_files_too) {
  const std::string file = kubeconfig_ + ".yaml";
  std::ofstream(file) << R"(
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: portless}
spec: {clusterIP: 10.96.0.2, selector: {app: api}}
)";
  const auto output = run(add_explain, {"explain", "--from", "shop/web", "--to",
                                        "svc/shop/portless", file});
  std::filesystem::remove(file);
  EXPECT_EQ(output.status, 2);
  EXPECT_THAT(output.err, HasSubstr("there is no port to ask about"));
}

TEST_F(OperatorCommand, the_environment_does_not_divert_a_question) {
  ::setenv("SLUICE_SOCKET", "/nowhere.sock", 1);
  ::setenv("HUBBLE_SERVER", "unix:/nowhere.sock", 1);
  ::setenv("KUBECONFIG", kubeconfig_.c_str(), 1);
  answer(200, status_of({node_row("a")}).dump());
  const char* plugin = "/usr/bin/kubectl-sluice";
  EXPECT_EQ(run(add_status, {"status"}, plugin).status, 0);
  EXPECT_EQ(run(add_status, {"status", "--operator"}).status, 0);
  EXPECT_EQ(run(add_status, {"status", "--context", "c"}).status, 0);
  EXPECT_EQ(server_.count("/proxy/status"), 3);
  answer(200, "\n");
  EXPECT_EQ(run(add_observe, {"observe"}, plugin).status, 0);
  EXPECT_EQ(run(add_observe, {"observe", "--operator"}).status, 0);
  EXPECT_EQ(server_.count("/proxy/flows"), 2);
  // Neither is meant here.
  const auto node = run(add_status, {"status"});
  EXPECT_EQ(node.status, 2);
  EXPECT_THAT(node.err, HasSubstr("/nowhere.sock"));
  const auto named =
      run(add_status, {"status", "--socket=/nowhere.sock"}, plugin);
  EXPECT_EQ(named.status, 2);
  EXPECT_THAT(named.err, HasSubstr("/nowhere.sock"));
  EXPECT_EQ(server_.count("/proxy/"), 5);
}

TEST_F(OperatorCommand, options_that_contradict_each_other_are_refused) {
  for (const auto* environment : {"", "/x"}) {
    ::setenv("SLUICE_SOCKET", environment, 1);
    for (const auto& access : {std::vector<std::string>{"--operator"},
                               {"--kubeconfig", kubeconfig_},
                               {"--context", "c"}}) {
      std::vector<std::string> words{"status", "--socket", "/x"};
      words.insert(words.end(), access.begin(), access.end());
      const auto output = run(add_status, words);
      EXPECT_EQ(output.status, 2);
      EXPECT_THAT(output.err, HasSubstr("--socket"));
      EXPECT_THAT(output.err, HasSubstr(access.front()));
    }
  }
  const auto observe =
      run(add_observe, {"observe", "--operator", "--server", "unix:/x"});
  EXPECT_EQ(observe.status, 2);
  EXPECT_THAT(observe.err, HasSubstr("--server"));
  for (auto* add : {add_observe, add_monitor}) {
    const auto output = run(add, {add == add_observe ? "observe" : "monitor",
                                  "--service-account", "shop/reader"});
    EXPECT_EQ(output.status, 2);
    EXPECT_THAT(output.err, HasSubstr("--service-account"));
    EXPECT_THAT(output.err, HasSubstr("--operator"));
  }
  EXPECT_EQ(server_.count("/proxy/"), 0);
}

}  // namespace
}  // namespace sluice::cli
