// SPDX-License-Identifier: Apache-2.0
#include "cli/flow_printer.h"

#include <iostream>
#include <utility>

#include "cli/flow_text.h"
#include "lib/flow/message_json.h"
#include "observer.pb.h"

namespace sluice::cli {

bool FlowPrinter::print(const ::observer::GetFlowsResponse& response) {
  const bool first = std::exchange(first_, false);
  if (format_ == FlowFormat::kJson) {
    std::cout << flow::to_json(response) << '\n';
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
