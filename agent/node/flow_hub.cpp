// SPDX-License-Identifier: Apache-2.0
#include "agent/node/flow_hub.h"

#include <optional>

namespace sluice::node {

void FlowHub::on_event(const sluice_flow_event& event) const {
  std::optional<FlowView> flow;
  for (const auto& subscriber : subscribers_) {
    if (!subscriber.wants()) {
      continue;
    }
    if (!flow) {
      flow = make_flow_(event);
    }
    subscriber.take(*flow, event.verdict != SLUICE_VERDICT_ALLOW);
  }
}

}  // namespace sluice::node
