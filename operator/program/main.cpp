// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "lib/base/log_option.h"
#include "lib/base/man_page.h"
#include "lib/base/process.h"
#include "lib/base/version_text.h"
#include "lib/health/health_option.h"
#include "operator/command_line.h"
#include "operator/program/operator.h"

namespace sluice::operatord {
namespace {

constexpr int kOk = 0;
constexpr int kFailed = 2;

constexpr const char* kFooter = R"(
Watches the API server, works out what every node must enforce and sends it to
the agents. Any number of replicas may run; one of them writes status. SIGTERM
and SIGINT end the process; agents keep what they have.)";

struct Arguments {
  OperatorOptions options;
  std::filesystem::path kubeconfig;
  std::string context;
};

int complain(const std::string& what) {
  std::cerr << "sluice-operator: " << what << '\n';
  return kFailed;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) {
    return "sluice-operator";
  }
  return name.data();
}

// The address at which other replicas reach a server that listens on `address`:
// the same if it names one address of the host, otherwise the pod's.
std::string advertised(const std::string& address, const std::string& pod_ip) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) {
    return {};
  }
  const auto host = address.substr(0, colon);
  if (host != "0.0.0.0" && host != "[::]" && !host.empty()) {
    return address;
  }
  if (pod_ip.empty()) {
    return {};
  }
  const bool v6 = pod_ip.find(':') != std::string::npos;
  return (v6 ? "[" + pod_ip + "]" : pod_ip) + address.substr(colon);
}

void add_cluster_options(CLI::App& app, Arguments& arguments) {
  const char* group = "Cluster";
  app.add_option("--kubeconfig", arguments.kubeconfig,
                 "How to reach the API server; default: the pod's service "
                 "account, else $KUBECONFIG, else ~/.kube/config")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--context", arguments.context,
                 "Context of the kubeconfig; default: its current one")
      ->type_name("NAME")
      ->group(group);
  auto& options = arguments.options;
  app.add_option("--namespace", options.ns,
                 "Where operators and agents run, and where the Lease, the "
                 "Secret and the ConfigMap are")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  app.add_option("--identity", options.identity,
                 "Name of this replica, unlike all others; default: that of "
                 "the host")
      ->type_name("NAME")
      ->group(group);
  app.add_option("--lease-name", options.lease,
                 "Lease that elects who writes status")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
}

void add_server_options(CLI::App& app, OperatorOptions& options) {
  const char* group = "Agents";
  app.add_option("--listen", options.server.address, "Where agents connect")
      ->type_name("ADDRESS:PORT")
      ->capture_default_str()
      ->group(group);
  app.add_option("--advertise", options.advertise,
                 "Where other replicas reach --listen; default: the same, or "
                 "$POD_IP where that is every address")
      ->type_name("ADDRESS:PORT")
      ->group(group);
  app.add_option("--service-name", options.service,
                 "Service by which agents name the operator; in the "
                 "certificate")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  app.add_option("--agent-service-account", options.agent_account,
                 "Whose tokens are let in")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  app.add_option("--tls-dir", options.certificate.dir,
                 "Certificate to use, as a mounted Secret: tls.crt, tls.key "
                 "and ca.crt; default: the operators make one")
      ->type_name("DIR")
      ->group(group);
  app.add_flag("--plain-text", options.server.plain_text,
               "No TLS: for tests. Whoever can reach the connection can read "
               "and change what is enforced")
      ->group(group);
}

void add_translation_options(CLI::App& app, OperatorOptions& options) {
  app.add_option("--cluster-name", options.translator.cluster_name,
                 "Value of the label io.cilium.k8s.policy.cluster")
      ->type_name("NAME")
      ->capture_default_str();
  op::add_policy_options(app, options.translator, options.on_invalid);
  add_log_level_option(app);
  health::add_health_option(app, options.health);
  app.add_option(
         "--explain", options.explain,
         "Where `sluice` with --operator is answered, by TLS and for tokens "
         "of the service accounts sluice-explain and, for flows, "
         "sluice-observer; default, and if it is empty: nowhere")
      ->take_last()
      ->type_name("ADDRESS:PORT");
  app.add_option("--observer", options.observer,
                 "Where flows of all nodes are given by Hubble's API, by TLS "
                 "and for Kubernetes tokens that may list flows.sluice.io; "
                 "default: nowhere")
      ->take_last()
      ->type_name("ADDRESS:PORT");
  app.add_option("--observer-socket", options.observer_socket,
                 "The same for the user of this process alone, at a socket of "
                 "this host; default: none")
      ->type_name("FILE");
}

int run(Arguments arguments) {
  auto& options = arguments.options;
  auto cluster =
      kube::load_cluster_config(arguments.kubeconfig, arguments.context);
  if (!cluster) {
    return complain(cluster.error().message);
  }
  options.cluster = std::move(*cluster);
  if (options.identity.empty()) {
    options.identity = host_name();
  }
  if (options.advertise.empty()) {
    // There is no other thread yet. NOLINTNEXTLINE(concurrency-mt-unsafe)
    const char* pod_ip = std::getenv("POD_IP");
    options.advertise =
        advertised(options.server.address, pod_ip == nullptr ? "" : pod_ip);
  }
  options.client.user_agent = "sluice-operator/" SLUICE_VERSION;
  options.server.program_version = SLUICE_VERSION;
  auto signals = open_signals();
  if (!signals) {
    return complain(signals.error().message);
  }
  start_log("sluice-operator");
  auto started = Operator::start(std::move(options));
  if (!started) {
    return complain(started.error().message);
  }
  if (auto result = (*started)->run(signals->get()); !result) {
    return complain(result.error().message);
  }
  return kOk;
}

int parse_and_run(int argc, char** argv) {
  CLI::App app("Sluice's operator: translates network policies for the nodes",
               "sluice-operator");
  app.footer(kFooter);
  app.set_version_flag("--version",
                       version_text("sluice-operator", SLUICE_VERSION));
  add_man_pages_option(app, {.version = SLUICE_VERSION,
                             .section = 8,
                             .related = {"sluice(1)", "sluice-agent(8)"}});
  Arguments arguments;
  add_cluster_options(app, arguments);
  add_server_options(app, arguments.options);
  add_translation_options(app, arguments.options);
  try {
    op::parse(app, argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kFailed;
  }
  return run(std::move(arguments));
}

}  // namespace
}  // namespace sluice::operatord

int main(int argc, char** argv) {
  // When a reader disconnects, write() fails instead of ending the process.
  (void)std::signal(SIGPIPE, SIG_IGN);
  try {
    return sluice::operatord::parse_and_run(argc, argv);
  } catch (const std::exception& error) {
    return sluice::operatord::complain(error.what());
  }
}
