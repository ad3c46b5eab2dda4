// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "lib/base/loop.h"
#include "lib/base/result.h"
#include "lib/flow/cluster.h"
#include "lib/flow/relay.h"
#include "lib/wire/protocol.h"
#include "lib/wire/relay.h"
#include "lib/wire/tls.h"

namespace sluice::wire {
class Server;
}

namespace sluice::operatord {

class FlowServer;

// Connects this replica's agents, its FlowServer and the other replicas, so
// that each replica gives the flows of all nodes: flow::Relay over
// wire::RelayLinks. One thread, that of the loop.
class FlowRelay {
 public:
  // `loop` must outlive this object. `identity` is this replica's.
  static Result<std::unique_ptr<FlowRelay>> create(Loop& loop,
                                                   const std::string& identity);
  FlowRelay(const FlowRelay&) = delete;
  FlowRelay& operator=(const FlowRelay&) = delete;
  FlowRelay(FlowRelay&&) = delete;
  FlowRelay& operator=(FlowRelay&&) = delete;
  ~FlowRelay();

  // Through which agents are asked, and who is given flows. Both may be null,
  // and must outlive their use here.
  void set_server(wire::Server* server) { server_ = server; }
  void set_clients(FlowServer* clients) { clients_ = clients; }
  // Takes the streams of other replicas.
  [[nodiscard]] std::shared_ptr<wire::RelayAcceptor> acceptor() const;

  // How to reach the others, and by what they are known: nullopt for plain
  // text.
  void set_certificate(const std::optional<wire::TlsMaterial>& tls,
                       const std::string& server_name);
  // Sets the leader's identity; empty if there is none.
  void set_leader(const std::string& identity);

  void agent_connected(const std::string& node, const wire::Version& version);
  void agent_left(const std::string& node);
  void on_flows(const std::string& node, wire::FlowBatch batch);

  // How the clients of this replica reach the agents of all replicas, while
  // this object exists; without `wake`.
  [[nodiscard]] flow::Cluster::Links links();

  [[nodiscard]] flow::Relay::Counters counters() const {
    return relay_.counters();
  }

 private:
  FlowRelay(Loop& loop, std::string identity);
  flow::Relay::Ends ends();
  wire::RelayLinks::Handlers handlers();
  void connect();
  void on_problem(const std::string& why);

  Loop& loop_;
  const std::string identity_;
  wire::Server* server_ = nullptr;
  FlowServer* clients_ = nullptr;
  flow::Relay relay_;
  std::optional<wire::RelayLinks> links_;
  std::optional<wire::TlsMaterial> tls_;
  std::string server_name_;
  std::string leader_;
  std::string told_problem_;
};

}  // namespace sluice::operatord
