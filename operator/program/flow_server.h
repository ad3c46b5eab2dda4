// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lib/base/loop.h"
#include "lib/base/result.h"
#include "lib/flow/cluster.h"
#include "lib/flow/flow_pull.h"
#include "lib/flow/node_query.h"
#include "lib/kube/api/client.h"
#include "lib/wire/protocol.h"
#include "lib/wire/tls.h"

namespace sluice::operatord {

struct FlowServerOptions {
  std::string address;           // empty: no port
  bool plain_text = false;       // at that address
  std::filesystem::path socket;  // for root of this host; empty: none
  std::string version;           // of the program
  std::string identity;          // of this replica: the pod's name
};

// Gives the flows of the nodes that can be asked, here or by way of another
// replica (FlowRelay), by Hubble's API (flow::ClusterObserver): at a port by
// TLS and for Kubernetes tokens with the right to (FlowGate), and at a socket
// of this host to its owner. Belongs to the loop's thread; gRPC's threads serve
// clients.
class FlowServer {
 public:
  using Links = flow::Cluster::Links;

  // `loop` and `client` must outlive this object. `links.wake` is not needed.
  FlowServer(Loop& loop, kube::Client& client, FlowServerOptions options,
             Links links);
  FlowServer(const FlowServer&) = delete;
  FlowServer& operator=(const FlowServer&) = delete;
  FlowServer(FlowServer&&) = delete;
  FlowServer& operator=(FlowServer&&) = delete;
  ~FlowServer();  // ends all streams

  // Begins to listen; if that fails, turn() tries again. nullopt: plain text.
  void open(const std::optional<wire::TlsCertificate>& certificate);
  // For new connections. With the first one, the port opens at the next turn.
  void set_certificate(const wire::TlsCertificate& certificate);

  // The Node object exists, or does not any more.
  void node_exists(const std::string& node, bool exists);
  // The node can be asked, anew; what was asked before is void.
  void node_connected(const std::string& node, bool gives_flows);
  void node_left(const std::string& node);
  void on_flows(wire::FlowBatch batch);
  // To be called often.
  void turn();

  // Reads flows, for the bearer of a token that FlowGate admits. Any thread;
  // the call must be gone before this object.
  std::shared_ptr<flow::FlowPull> read(const std::string& authorization,
                                       std::string request);
  // Asks all nodes; see wire::FlowRequest of kStatus. `done` is called once, in
  // any thread, and must not call this object.
  void ask_nodes(std::string request, flow::NodeQuery::Done done);

  [[nodiscard]] flow::Cluster::Counters counters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::operatord
