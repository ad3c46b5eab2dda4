// SPDX-License-Identifier: Apache-2.0
#include "agent/program/status_requests.h"

#include <sstream>
#include <utility>

#include <nlohmann/json.hpp>

#include "agent/node/json_text.h"

namespace sluice::agentd {
namespace {

using nlohmann::json;

// Answers that the operator has not fetched to the end.
constexpr std::size_t kOpenMax = 64;
constexpr std::uint32_t kResourceExhausted = 8;  // gRPC's
constexpr std::uint32_t kInvalidArgument = 3;

wire::FlowBatch refusal(std::uint64_t id, std::uint32_t code,
                        const std::string& why) {
  return {.id = id, .items = {}, .last = true, .code = code, .error = why};
}

// The member "view" of what the socket would send.
json view_of(const node::Server::Answer& answer) {
  while (answer.reply) {
    const auto lines = answer.reply();
    if (!lines) {
      break;
    }
    std::istringstream text(*lines);
    for (std::string line; std::getline(text, line);) {
      auto parsed = json::parse(line, nullptr, false);
      if (parsed.is_object() && parsed.contains("view")) {
        return std::move(parsed["view"]);
      }
    }
  }
  return json::object();
}

}  // namespace

bool StatusRequests::take(const wire::FlowRequest& request) {
  if (request.kind != wire::FlowKind::kStatus || request.request.empty()) {
    return false;
  }
  const auto parsed = json::parse(request.request, nullptr, false);
  const auto command =
      parsed.is_object() ? parsed.value("command", json()) : json();
  Items items;
  if (command == "status") {
    items.push_back(node::dump(view_of(answer_(request.request))));
  } else if (command == "endpoint list") {
    const auto view = view_of(answer_(request.request));
    for (const auto& endpoint : view.value("endpoints", json::array())) {
      items.push_back(node::dump(endpoint));
    }
  } else {
    send_(refusal(request.id, kInvalidArgument, "an unknown request"));
    return true;
  }
  if (open_.size() >= kOpenMax) {
    send_(refusal(request.id, kResourceExhausted, "too many requests"));
    return true;
  }
  send(request.id, std::move(items));
  return true;
}

bool StatusRequests::control(const wire::FlowControl& control) {
  auto found = open_.extract(control.id);
  if (found.empty()) {
    return false;
  }
  if (!control.cancel) {
    send(control.id, std::move(found.mapped()));
  }
  return true;
}

void StatusRequests::send(std::uint64_t id, Items items) {
  wire::FlowBatch batch{.id = id, .items = {}};
  std::size_t bytes = 0;
  while (!items.empty() && bytes < wire::kFlowBatchBytesMax &&
         batch.items.size() < wire::kFlowBatchItemsMax) {
    bytes += items.front().size();
    batch.items.push_back({.time = 0, .message = std::move(items.front())});
    items.pop_front();
  }
  batch.last = items.empty();
  if (!batch.last) {
    open_[id] = std::move(items);
  }
  send_(std::move(batch));
}

}  // namespace sluice::agentd
