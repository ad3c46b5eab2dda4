// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "lib/base/printable.h"
#include "lib/wire/codec.h"

// Requests for flows and their answers as messages.
namespace sluice::wire {
namespace {

constexpr std::size_t kNamespaceMax = 63;  // Kubernetes'
constexpr std::size_t kErrorMax = 512;

}  // namespace

v1::FlowRequest encode(const FlowRequest& request) {
  v1::FlowRequest message;
  message.set_id(request.id);
  switch (request.kind) {
    case FlowKind::kFlows:
      message.set_kind(v1::FlowRequest::KIND_FLOWS);
      break;
    case FlowKind::kStatus:
      message.set_kind(v1::FlowRequest::KIND_STATUS);
      break;
    case FlowKind::kNamespaces:
      message.set_kind(v1::FlowRequest::KIND_NAMESPACES);
      break;
  }
  message.set_request(request.request);
  message.set_batch_bytes(request.batch_bytes);
  for (const auto& name : request.namespaces) {
    message.add_namespaces(name);
  }
  return message;
}

Result<FlowRequest> decode(v1::FlowRequest&& message) {
  FlowRequest request;
  request.id = message.id();
  switch (message.kind()) {
    case v1::FlowRequest::KIND_FLOWS:
      request.kind = FlowKind::kFlows;
      break;
    case v1::FlowRequest::KIND_STATUS:
      request.kind = FlowKind::kStatus;
      break;
    case v1::FlowRequest::KIND_NAMESPACES:
      request.kind = FlowKind::kNamespaces;
      break;
    default:
      return fail("a request for flows of an unknown kind");
  }
  if (message.request().size() > kFlowRequestBytesMax) {
    return fail("a request for flows of " +
                std::to_string(message.request().size()) + " bytes");
  }
  if (static_cast<std::size_t>(message.namespaces_size()) >
      kFlowNamespacesMax) {
    return fail("a request for the flows of " +
                std::to_string(message.namespaces_size()) + " namespaces");
  }
  request.request = std::move(*message.mutable_request());
  request.batch_bytes = std::min(message.batch_bytes(), kFlowBatchBytesMax);
  for (const auto& name : message.namespaces()) {
    if (name.empty() || name.size() > kNamespaceMax) {
      return fail("a request for the flows of what is no namespace");
    }
    request.namespaces.push_back(name);
  }
  return request;
}

v1::FlowControl encode(const FlowControl& control) {
  v1::FlowControl message;
  message.set_id(control.id);
  message.set_cancel(control.cancel);
  return message;
}

FlowControl decode(const v1::FlowControl& message) {
  return {.id = message.id(), .cancel = message.cancel()};
}

v1::FlowBatch encode(FlowBatch&& batch) {
  v1::FlowBatch message;
  message.set_id(batch.id);
  for (auto& item : batch.items) {
    message.add_times(item.time);
    message.add_items(std::move(item.message));
  }
  message.set_lost(batch.lost);
  message.set_caught_up(batch.caught_up);
  message.set_last(batch.last);
  message.set_code(batch.code);
  message.set_error(std::move(batch.error));
  return message;
}

Result<FlowBatch> decode(v1::FlowBatch&& message) {
  if (message.times_size() != message.items_size()) {
    return fail("flows: columns of different lengths");
  }
  if (static_cast<std::size_t>(message.items_size()) > kFlowBatchItemsMax) {
    return fail("flows: " + std::to_string(message.items_size()) +
                " in one batch");
  }
  FlowBatch batch{.id = message.id(),
                  .items = {},
                  .lost = message.lost(),
                  .caught_up = message.caught_up(),
                  .last = message.last(),
                  .code = message.code(),
                  .error = printable(message.error().substr(0, kErrorMax))};
  batch.items.reserve(static_cast<std::size_t>(message.items_size()));
  for (int i = 0; i < message.items_size(); ++i) {
    batch.items.push_back({.time = message.times(i),
                           .message = std::move(*message.mutable_items(i))});
  }
  return batch;
}

}  // namespace sluice::wire
