// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "lib/wire/codec.h"

// What replicas say to each other about flows, as messages.
namespace sluice::wire {
namespace {

constexpr std::size_t kNodeNameMax = 253;  // Kubernetes'

Result<RelayMessage> nodes_of(const v1::RelayNodes& message) {
  if (static_cast<std::size_t>(message.nodes_size()) > kRelayNodesMax) {
    return fail(std::to_string(message.nodes_size()) + " nodes in one message");
  }
  std::vector<RelayNode> nodes;
  nodes.reserve(static_cast<std::size_t>(message.nodes_size()));
  for (const auto& node : message.nodes()) {
    if (!is_node_name(node.node())) {
      return fail("what is no node's name");
    }
    nodes.push_back({.node = node.node(),
                     .connected = node.connected(),
                     .gives_flows = node.gives_flows()});
  }
  return nodes;
}

Result<RelayMessage> request_of(v1::RelayRequest&& message) {
  if (message.nodes_size() != message.ids_size() ||
      static_cast<std::size_t>(message.nodes_size()) > kRelayNodesMax) {
    return fail("a request to " + std::to_string(message.nodes_size()) +
                " nodes with " + std::to_string(message.ids_size()) + " ids");
  }
  auto what = decode(std::move(*message.mutable_request()));
  if (!what) {
    return std::unexpected(what.error());
  }
  RelayRequest request{
      .to = {},
      .request = std::make_shared<const FlowRequest>(std::move(*what))};
  request.to.reserve(static_cast<std::size_t>(message.nodes_size()));
  for (int i = 0; i < message.nodes_size(); ++i) {
    request.to.push_back(
        {.node = std::move(*message.mutable_nodes(i)), .id = message.ids(i)});
  }
  return request;
}

}  // namespace

bool is_node_name(const std::string& name) {
  return !name.empty() && name.size() <= kNodeNameMax &&
         std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.';
         });
}

void encode(RelayMessage&& message, v1::RelayMessage& to) {
  if (const auto* nodes = std::get_if<std::vector<RelayNode>>(&message)) {
    auto& list = *to.mutable_nodes();
    for (const auto& node : *nodes) {
      auto& one = *list.add_nodes();
      one.set_node(node.node);
      one.set_connected(node.connected);
      one.set_gives_flows(node.gives_flows);
    }
  } else if (auto* request = std::get_if<RelayRequest>(&message)) {
    auto& one = *to.mutable_request();
    *one.mutable_request() = encode(*request->request);
    for (auto& target : request->to) {
      one.add_nodes(std::move(target.node));
      one.add_ids(target.id);
    }
  } else if (const auto* control = std::get_if<FlowControl>(&message)) {
    *to.mutable_control() = encode(*control);
  } else if (auto* batch = std::get_if<FlowBatch>(&message)) {
    *to.mutable_flows() = encode(std::move(*batch));
  }
}

Result<std::optional<RelayMessage>> decode(v1::RelayMessage&& message) {
  Result<RelayMessage> decoded;
  switch (message.message_case()) {
    case v1::RelayMessage::kNodes:
      decoded = nodes_of(message.nodes());
      break;
    case v1::RelayMessage::kRequest:
      decoded = request_of(std::move(*message.mutable_request()));
      break;
    case v1::RelayMessage::kControl:
      decoded = decode(message.control());
      break;
    case v1::RelayMessage::kFlows:
      if (auto batch = decode(std::move(*message.mutable_flows()))) {
        decoded = std::move(*batch);
      } else {
        decoded = std::unexpected(batch.error());
      }
      break;
    case v1::RelayMessage::kHello:
      return fail("a second hello");
    case v1::RelayMessage::MESSAGE_NOT_SET:
      return std::nullopt;
  }
  if (!decoded) {
    return std::unexpected(decoded.error());
  }
  return std::move(*decoded);
}

}  // namespace sluice::wire
