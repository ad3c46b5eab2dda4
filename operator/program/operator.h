// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/loop.h"
#include "lib/base/result.h"
#include "lib/kube/api/client.h"
#include "lib/kube/api/cluster_config.h"
#include "lib/policy/translator.h"
#include "lib/wire/server.h"
#include "operator/object.h"
#include "operator/program/certificate.h"

namespace sluice::operatord {

struct OperatorOptions {
  kube::ClusterConfig cluster;
  kube::ClientOptions client;
  // The operator fills in the certificate and the replica token.
  wire::ServerOptions server;
  CertificateOptions certificate;  // `ns` and names are filled in if empty
  std::string health;              // address; empty: no HTTP
  std::string explain;   // address of QueryServer; empty: it does not run
  std::string observer;  // address of FlowServer; empty: none
  std::string observer_socket;  // file; empty: none
  std::string ns = "sluice-system";
  std::string identity;   // unique among replicas: the pod's name
  std::string advertise;  // "ADDRESS:PORT" at which other replicas reach it
  std::string lease = "sluice-operator";
  std::string service = "sluice-operator";     // name in the certificate
  std::string agent_account = "sluice-agent";  // service account of agents
  policy::TranslatorOptions translator;
  op::OnInvalid on_invalid = op::OnInvalid::kOpen;
  std::chrono::milliseconds lease_duration{15'000};
};

// Measurements of the program, for metrics and benchmarks.
struct OperatorFigures {
  // Number of sets of changes passed to the agents' streams, and the duration
  // of the last one, from the first event read to the last transaction passed
  // on.
  std::uint64_t revision = 0;
  std::chrono::nanoseconds handed_in{};
  wire::ServerStats server;
  std::size_t nodes_behind = 0;
};

// One replica of the operator: watches the API server, translates, serves
// agents and, while it leads, writes status. Everything happens in the thread
// that calls run() or turn().
class Operator {
 public:
  // Begins to watch, and serves as soon as everything has been listed once. If
  // another process has the health address, the operator waits until the
  // address is free.
  static Result<std::unique_ptr<Operator>> start(OperatorOptions options);
  Operator(const Operator&) = delete;
  Operator& operator=(const Operator&) = delete;
  Operator(Operator&&) = delete;
  Operator& operator=(Operator&&) = delete;
  ~Operator();

  // Runs until SIGTERM or SIGINT arrives through `signals` (see
  // open_signals()), then releases the Lease. Agents keep what is in force.
  Result<void> run(int signals);
  // Waits for work, at most for `wait`, and does it.
  void turn(std::chrono::milliseconds wait);

  // The port of the server; 0 until it serves.
  [[nodiscard]] int port() const;
  // Why the operator does not serve yet; empty if it does.
  [[nodiscard]] std::string problem() const;
  [[nodiscard]] OperatorFigures figures() const;

 private:
  Operator();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::operatord
