// SPDX-License-Identifier: Apache-2.0
#include "cli/flow_printer.h"

#include <iostream>
#include <string>
#include <utility>

#include <google/protobuf/util/json_util.h>

#include "cli/flow_text.h"
#include "observer.pb.h"

namespace sluice::cli {

bool FlowPrinter::print(const ::observer::GetFlowsResponse& response) {
  const bool first = std::exchange(first_, false);
  if (format_ == FlowFormat::kJson) {
    google::protobuf::util::JsonPrintOptions options;
    options.preserve_proto_field_names = true;
    std::string text;
    (void)google::protobuf::util::MessageToJsonString(response, &text, options);
    std::cout << text << '\n';
  } else if (response.has_lost_events()) {
    std::cout << lost_text(response) << '\n';
  } else if (response.has_node_status()) {
    std::cerr << status_text(response) << '\n';
  } else if (response.has_flow()) {
    if (format_ == FlowFormat::kDict) {
      std::cout << (first ? "" : "------------\n")
                << dict_text(response.flow());
    } else {
      std::cout << compact_text(response.flow()) << '\n';
    }
  }
  return static_cast<bool>(std::cout.flush());
}

}  // namespace sluice::cli
