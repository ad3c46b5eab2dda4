// SPDX-License-Identifier: Apache-2.0
#include "cli/observe_operator.h"

#include <string>

#include <google/protobuf/util/json_util.h>

#include "agent/node/command_line.h"
#include "cli/ask_operator.h"
#include "observer.pb.h"

namespace sluice::cli {

int observe_operator(const OperatorAccess& access,
                     const ::observer::GetFlowsRequest& request,
                     FlowFormat format) {
  FlowPrinter printer(format);
  const auto read =
      read_operator_flows(access, request.SerializeAsString(), request.follow(),
                          [&](const std::string& text) {
                            // Members of newer operators are passed over.
                            google::protobuf::util::JsonParseOptions options;
                            options.ignore_unknown_fields = true;
                            ::observer::GetFlowsResponse response;
                            return !google::protobuf::util::JsonStringToMessage(
                                        text, &response, options)
                                        .ok() ||
                                   printer.print(response);
                          });
  return read ? node::kExitOk : node::complain(read.error().message);
}

}  // namespace sluice::cli
