// SPDX-License-Identifier: Apache-2.0
#include "cli/observe_operator.h"

#include <string>

#include <google/protobuf/util/json_util.h>

#include "agent/node/command_line.h"
#include "cli/ask_operator.h"
#include "lib/flow/cluster_reader.h"
#include "observer.pb.h"

namespace sluice::cli {

Result<void> read_operator_messages(
    const OperatorAccess& access, const ::observer::GetFlowsRequest& request,
    const std::function<bool(const ::observer::GetFlowsResponse& message)>&
        take) {
  // Members of newer operators are passed over.
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  return read_operator_flows(
      access, request.SerializeAsString(), request.follow(),
      [&](const std::string& text) {
        ::observer::GetFlowsResponse message;
        return !google::protobuf::util::JsonStringToMessage(text, &message,
                                                            options)
                    .ok() ||
               take(message);
      });
}

int observe_operator(const OperatorAccess& access,
                     const ::observer::GetFlowsRequest& request,
                     FlowFormat format) {
  const auto bytes = request.SerializeAsString();
  if (bytes.size() > flow::kClusterRequestBytesMax) {
    return node::complain(
        "the filters are too long: " + std::to_string(bytes.size()) +
        " bytes, and a request to the operator may have " +
        std::to_string(flow::kClusterRequestBytesMax));
  }
  FlowPrinter printer(format);
  const auto read = read_operator_messages(
      access, request, [&](const ::observer::GetFlowsResponse& message) {
        return printer.print(message);
      });
  return read ? node::kExitOk : node::complain(read.error().message);
}

}  // namespace sluice::cli
