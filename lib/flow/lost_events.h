// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "observer.pb.h"

namespace sluice::flow {

// Events that are missing where a reader is told of them.
struct LostEvents {
  ::flow::LostEventSource source = ::flow::HUBBLE_RING_BUFFER;
  std::uint64_t count = 0;
  // Nanoseconds since 1970. None was before `first` or after `last`, as far as
  // that is known; 0: it is not.
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::int64_t time = 0;  // when it was noticed
};

// Makes the response one that tells of them. `name`: where they are missing.
void write_lost(const LostEvents& lost, const std::string& name,
                ::observer::GetFlowsResponse& response);

}  // namespace sluice::flow
