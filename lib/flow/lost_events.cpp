// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/lost_events.h"

#include "lib/flow/time.h"

namespace sluice::flow {

void write_lost(const LostEvents& lost, const std::string& name,
                ::observer::GetFlowsResponse& response) {
  response.Clear();
  set_time(lost.time, *response.mutable_time());
  response.set_node_name(name);
  auto& event = *response.mutable_lost_events();
  event.set_source(lost.source);
  event.set_num_events_lost(lost.count);
  if (lost.first != 0) {
    set_time(lost.first, *event.mutable_first());
  }
  if (lost.last != 0) {
    set_time(lost.last, *event.mutable_last());
  }
}

}  // namespace sluice::flow
