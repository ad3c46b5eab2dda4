// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <google/protobuf/timestamp.pb.h>

#include "lib/base/result.h"

namespace sluice::flow {

// "90s", "5m", "2h" before now; or a time of RFC 3339.
Result<google::protobuf::Timestamp> parse_time(const std::string& text);

}  // namespace sluice::flow
