// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/result.h"
#include "lib/wire/protocol.h"

namespace sluice::flow {

// Which nodes one replica of an operator can ask for flows, and by whom: its
// own agents, or other replicas, each behind a link. Passes requests and their
// batches on, for its own clients and for those of the other replicas.
//
// Links form a star: each replica has one to the leader. The leader tells a
// replica its own nodes and those of the other replicas; a replica tells the
// leader its own nodes only. So a request takes two links at most, also while
// replicas disagree about who leads.
//
// A node's own agent takes precedence over a replica, and of several replicas
// the one that has spoken of the node last. Each change of who is asked, and
// each new connection of a node's agent, voids the open requests to the node.
//
// Requests get a new id of this replica at every link. Memory is bounded by the
// nodes and by the requests that clients have open.
//
// Not thread-safe. Needs no I/O.
class Relay {
 public:
  // A number that no other link has had; not 0.
  using Link = std::uint64_t;

  // Called by the members of Relay; must not call them.
  struct Ends {
    // False if the other replica cannot take this batch. Other messages are
    // taken, or the link is closed later.
    std::function<bool(Link, wire::RelayMessage)> send;
    // This replica's own agents, as flow::Cluster::Links.
    std::function<bool(const std::string& node, std::uint64_t id,
                       const std::shared_ptr<const wire::FlowRequest>&)>
        request;
    std::function<void(const std::string& node, const wire::FlowControl&)>
        control;
    // For this replica's own clients: the node can be asked, anew, and whether
    // it gives flows; not set: it cannot be asked any more.
    std::function<void(const std::string& node,
                       const std::optional<bool>& gives_flows)>
        on_node;
    std::function<void(wire::FlowBatch)> on_batch;
    // An id that no request of this replica has had.
    std::function<std::uint64_t()> next_id;
  };

  struct Options {
    std::size_t nodes_max = 20'000;  // of one link
    // Requests of other replicas to one node at a time; others are refused.
    std::size_t requests_max = 1'024;
  };

  explicit Relay(Ends ends) : Relay(std::move(ends), Options()) {}
  Relay(Ends ends, Options options)
      : ends_(std::move(ends)), options_(options) {}

  // An agent has connected to this replica; also if one of the node was
  // connected before.
  void agent_connected(const std::string& node, bool gives_flows);
  void agent_left(const std::string& node);
  // What an agent of this replica has sent, which may be anything.
  void on_flows(const std::string& node, wire::FlowBatch batch);

  // `to_leader`: this replica has opened it; else the other one has.
  void link_opened(Link link, bool to_leader);
  void link_closed(Link link);
  // An error if the other replica does what it must not: the link is to be
  // closed.
  Result<void> on_message(Link link, wire::RelayMessage message);

  // For this replica's own clients, as flow::Cluster::Links.
  bool request(const std::string& node, std::uint64_t id,
               const std::shared_ptr<const wire::FlowRequest>& request);
  void control(const std::string& node, const wire::FlowControl& control);

  struct Counters {
    std::size_t links = 0;
    std::size_t nodes = 0;     // that can be asked, here or behind links
    std::size_t forwards = 0;  // open requests that go over links
  };
  [[nodiscard]] Counters counters() const;

 private:
  static constexpr Link kHere = 0;  // in place of a link: this replica

  struct Route {
    Link link = kHere;
    bool gives_flows = false;
  };
  struct Told {
    bool gives_flows = false;
    std::uint64_t order = 0;  // grows with each word of any link
  };
  struct Node {
    std::optional<bool> own;  // an agent is connected here: it gives flows
    std::map<Link, Told> told;
    std::optional<Route> route;    // who is asked
    std::set<std::uint64_t> open;  // ids of forwards to it
  };
  // A request that comes from a link, or goes to one, or both.
  struct Forward {
    Link from = kHere;
    std::uint64_t from_id = 0;
    Link to = kHere;
    std::string node;
    std::uint32_t wanted = 1;  // batches that have been asked for
  };
  struct Peer {
    bool leads = false;
    bool closed = false;
    std::size_t nodes = 0;                                 // that it has told
    std::unordered_map<std::uint64_t, std::uint64_t> ids;  // its own: ours
    std::vector<wire::RelayNode> news;                     // to be told
  };

  static std::optional<Route> choose(const Node& node);
  // Whether the other replica may ask for a node with this route.
  [[nodiscard]] bool shows(Link to, const Peer& peer, const Route& route) const;
  void update(const std::string& name, Link changed);
  void withdraw(const std::string& name, Link link);
  void void_requests(Node& node);
  void tell_news();
  Result<void> take_nodes(Link link, const std::vector<wire::RelayNode>& nodes);
  void forward(Link from, const wire::RelayRequest::To& to,
               const std::shared_ptr<const wire::FlowRequest>& request);
  void add(std::uint64_t id, Forward forward);
  void erase(std::uint64_t id);
  void refuse(Link link, std::uint64_t id, std::uint32_t code,
              const std::string& why);
  void pass_on(const Forward& forward, const wire::FlowControl& control);
  void take_control(Link link, const wire::FlowControl& control);
  void deliver(std::uint64_t id, wire::FlowBatch batch);

  const Ends ends_;
  const Options options_;
  std::map<std::string, Node> nodes_;
  std::map<Link, Peer> peers_;
  std::unordered_map<std::uint64_t, Forward> forwards_;  // by our own id
  std::uint64_t order_ = 0;
};

}  // namespace sluice::flow
