// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/relay.h"

#include <algorithm>
#include <utility>

#include <grpcpp/support/status.h>

namespace sluice::flow {
namespace {

// Batches of one request that may be on their way; no reader asks for more.
constexpr std::uint32_t kWantedMax = 4;

}  // namespace

std::optional<Relay::Route> Relay::choose(const Node& node) {
  if (node.own) {
    return Route{.link = kHere, .gives_flows = *node.own};
  }
  const auto latest = std::ranges::max_element(
      node.told, {}, [](const auto& item) { return item.second.order; });
  if (latest == node.told.end()) {
    return std::nullopt;
  }
  return Route{.link = latest->first,
               .gives_flows = latest->second.gives_flows};
}

bool Relay::shows(Link to, const Peer& peer, const Route& route) const {
  if (route.link == kHere) {
    return true;
  }
  const auto behind = peers_.find(route.link);
  return !peer.leads && route.link != to && behind != peers_.end() &&
         !behind->second.leads;
}

// Something has changed at `changed`: who is asked for the node?
void Relay::update(const std::string& name, Link changed) {
  auto& node = nodes_[name];
  const auto next = choose(node);
  const auto before = node.route;
  if (before && next ? before->link == next->link && before->link != changed
                     : !before && !next) {
    return;
  }
  void_requests(node);
  node.route = next;
  for (auto& [link, peer] : peers_) {
    const bool showed = before && shows(link, peer, *before);
    const bool shown = next && shows(link, peer, *next);
    if (showed || shown) {
      peer.news.push_back({.node = name,
                           .connected = shown,
                           .gives_flows = shown && next->gives_flows});
    }
  }
  if (!next) {
    nodes_.erase(name);
  }
  ends_.on_node(name, next ? std::optional(next->gives_flows) : std::nullopt);
}

// Those who have asked learn from what they are told of the node. The other end
// may take a request that has crossed its own news for one to the node's new
// agent, so each is cancelled.
void Relay::void_requests(Node& node) {
  for (const auto id : std::exchange(node.open, {})) {
    const auto found = forwards_.find(id);
    const auto& forward = found->second;
    if (forward.to != kHere) {
      pass_on(forward, {.id = id, .cancel = true});
    }
    if (const auto from = peers_.find(forward.from); from != peers_.end()) {
      from->second.ids.erase(forward.from_id);
    }
    forwards_.erase(found);
  }
}

void Relay::tell_news() {
  for (auto& [link, peer] : peers_) {
    auto news = std::exchange(peer.news, {});
    for (std::size_t at = 0; at < news.size(); at += wire::kRelayNodesMax) {
      const auto size = std::min(wire::kRelayNodesMax, news.size() - at);
      const auto begin = news.begin() + static_cast<std::ptrdiff_t>(at);
      ends_.send(link, std::vector<wire::RelayNode>(
                           begin, begin + static_cast<std::ptrdiff_t>(size)));
    }
  }
}

void Relay::agent_connected(const std::string& node, bool gives_flows) {
  nodes_[node].own = gives_flows;
  update(node, kHere);
  tell_news();
}

void Relay::agent_left(const std::string& node) {
  const auto found = nodes_.find(node);
  if (found != nodes_.end() && found->second.own) {
    found->second.own.reset();
    update(node, kHere);
    tell_news();
  }
}

void Relay::link_opened(Link link, bool to_leader) {
  auto& peer = peers_[link];
  peer.leads = to_leader;
  for (const auto& [name, node] : nodes_) {
    if (node.route && shows(link, peer, *node.route)) {
      peer.news.push_back({.node = name,
                           .connected = true,
                           .gives_flows = node.route->gives_flows});
    }
  }
  tell_news();
}

void Relay::link_closed(Link link) {
  const auto found = peers_.find(link);
  if (found == peers_.end()) {
    return;
  }
  auto& peer = found->second;
  peer.closed = true;
  for (const auto& [theirs, id] : std::exchange(peer.ids, {})) {
    const auto forward = forwards_.at(id);
    pass_on(forward, {.id = id, .cancel = true});
    erase(id);
  }
  std::vector<std::string> names;
  for (const auto& [name, node] : nodes_) {
    if (node.told.contains(link)) {
      names.push_back(name);
    }
  }
  for (const auto& name : names) {
    withdraw(name, link);
  }
  peers_.erase(found);
  tell_news();
}

void Relay::withdraw(const std::string& name, Link link) {
  const auto node = nodes_.find(name);
  if (node != nodes_.end() && node->second.told.erase(link) != 0) {
    --peers_.at(link).nodes;
    update(name, link);
  }
}

Result<void> Relay::take_nodes(Link link,
                               const std::vector<wire::RelayNode>& nodes) {
  auto& peer = peers_.at(link);
  for (const auto& [name, connected, gives_flows] : nodes) {
    if (!connected) {
      withdraw(name, link);
      continue;
    }
    auto& told = nodes_[name].told;
    peer.nodes += told.contains(link) ? 0 : 1;
    told[link] = {.gives_flows = gives_flows, .order = ++order_};
    update(name, link);
    if (peer.nodes > options_.nodes_max) {
      return fail("more than " + std::to_string(options_.nodes_max) + " nodes");
    }
  }
  return {};
}

Result<void> Relay::on_message(Link link, wire::RelayMessage message) {
  if (!peers_.contains(link)) {
    return {};
  }
  Result<void> done;
  if (const auto* nodes = std::get_if<std::vector<wire::RelayNode>>(&message)) {
    done = take_nodes(link, *nodes);
    tell_news();
  } else if (const auto* request = std::get_if<wire::RelayRequest>(&message)) {
    for (const auto& to : request->to) {
      forward(link, to, request->request);
    }
  } else if (const auto* control = std::get_if<wire::FlowControl>(&message)) {
    take_control(link, *control);
  } else if (auto* batch = std::get_if<wire::FlowBatch>(&message)) {
    const auto found = forwards_.find(batch->id);
    // Others are of requests that are void.
    if (found != forwards_.end() && found->second.to == link) {
      deliver(found->first, std::move(*batch));
    }
  }
  return done;
}

void Relay::forward(Link from, const wire::RelayRequest::To& to,
                    const std::shared_ptr<const wire::FlowRequest>& request) {
  auto& peer = peers_.at(from);
  if (peer.ids.contains(to.id)) {
    return;
  }
  const auto found = nodes_.find(to.node);
  if (found == nodes_.end() || !found->second.route ||
      !found->second.route->gives_flows ||
      !shows(from, peer, *found->second.route)) {
    refuse(from, to.id, grpc::StatusCode::UNAVAILABLE,
           "the agent is not connected");
    return;
  }
  if (found->second.open.size() >= options_.requests_max) {
    refuse(from, to.id, grpc::StatusCode::RESOURCE_EXHAUSTED,
           "other replicas have too many requests to the node");
    return;
  }
  const auto link = found->second.route->link;
  const auto id = ends_.next_id();
  if (link == kHere && !ends_.request(to.node, id, request)) {
    refuse(from, to.id, grpc::StatusCode::UNAVAILABLE,
           "the agent cannot be asked");
    return;
  }
  add(id, {.from = from, .from_id = to.id, .to = link, .node = to.node});
  if (link != kHere) {
    ends_.send(link, wire::RelayRequest{.to = {{.node = to.node, .id = id}},
                                        .request = request});
  }
}

void Relay::add(std::uint64_t id, Forward forward) {
  nodes_.at(forward.node).open.insert(id);
  if (forward.from != kHere) {
    peers_.at(forward.from).ids[forward.from_id] = id;
  }
  forwards_.emplace(id, std::move(forward));
}

void Relay::erase(std::uint64_t id) {
  const auto forward = forwards_.extract(id).mapped();
  if (const auto node = nodes_.find(forward.node); node != nodes_.end()) {
    node->second.open.erase(id);
  }
  if (const auto from = peers_.find(forward.from); from != peers_.end()) {
    from->second.ids.erase(forward.from_id);
  }
}

void Relay::refuse(Link link, std::uint64_t id, std::uint32_t code,
                   const std::string& why) {
  ends_.send(
      link,
      wire::FlowBatch{
          .id = id, .items = {}, .last = true, .code = code, .error = why});
}

void Relay::pass_on(const Forward& forward, const wire::FlowControl& control) {
  if (forward.to == kHere) {
    ends_.control(forward.node, control);
    return;
  }
  const auto peer = peers_.find(forward.to);
  if (peer != peers_.end() && !peer->second.closed) {
    ends_.send(forward.to, control);
  }
}

void Relay::take_control(Link link, const wire::FlowControl& control) {
  const auto& ids = peers_.at(link).ids;
  const auto found = ids.find(control.id);
  if (found == ids.end()) {
    return;  // it has ended
  }
  const auto id = found->second;
  auto& forward = forwards_.at(id);
  forward.wanted = std::min(forward.wanted + 1, kWantedMax);
  pass_on(forward, {.id = id, .cancel = control.cancel});
  if (control.cancel) {
    erase(id);
  }
}

void Relay::on_flows(const std::string& node, wire::FlowBatch batch) {
  const auto id = batch.id;
  const auto found = forwards_.find(id);
  if (found == forwards_.end()) {
    ends_.on_batch(std::move(batch));
  } else if (found->second.to == kHere && found->second.node == node) {
    deliver(id, std::move(batch));
  }
}

void Relay::deliver(std::uint64_t id, wire::FlowBatch batch) {
  auto& forward = forwards_.at(id);
  if (forward.from == kHere) {
    if (batch.last) {
      erase(id);
    }
    ends_.on_batch(std::move(batch));
    return;
  }
  // What has not been asked for must not fill the link.
  if (forward.wanted == 0 && !batch.last) {
    return;
  }
  if (forward.wanted == 0) {
    batch.items.clear();
  } else {
    --forward.wanted;
  }
  const auto [from, from_id] = std::pair(forward.from, forward.from_id);
  const bool last = batch.last;
  batch.id = from_id;
  const bool sent = ends_.send(from, std::move(batch));
  if (!sent) {
    pass_on(forward, {.id = id, .cancel = true});
    refuse(from, from_id, grpc::StatusCode::RESOURCE_EXHAUSTED,
           "the batch is too large, or too much waits for the other replica");
  }
  if (last || !sent) {
    erase(id);
  }
}

bool Relay::request(const std::string& node, std::uint64_t id,
                    const std::shared_ptr<const wire::FlowRequest>& request) {
  const auto found = nodes_.find(node);
  if (found == nodes_.end() || !found->second.route) {
    return false;
  }
  const auto& route = *found->second.route;
  if (route.link == kHere) {
    return ends_.request(node, id, request);
  }
  if (!route.gives_flows) {
    return false;
  }
  const auto link = route.link;
  add(id, {.from = kHere, .from_id = id, .to = link, .node = node});
  ends_.send(link, wire::RelayRequest{.to = {{.node = node, .id = id}},
                                      .request = request});
  return true;
}

void Relay::control(const std::string& node, const wire::FlowControl& control) {
  const auto found = forwards_.find(control.id);
  if (found == forwards_.end()) {
    ends_.control(node, control);
    return;
  }
  pass_on(found->second, control);
  if (control.cancel) {
    erase(control.id);
  }
}

Relay::Counters Relay::counters() const {
  return {.links = peers_.size(),
          .nodes = nodes_.size(),
          .forwards = forwards_.size()};
}

}  // namespace sluice::flow
