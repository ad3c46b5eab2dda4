// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/flow_mask.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include <google/protobuf/util/field_mask_util.h>

namespace sluice::flow {
namespace {

using google::protobuf::util::FieldMaskUtil;

// Also those that an operator adds.
constexpr int kPathsMax = 100;

// Fields of Hubble's flows that those of Sluice never have. Its command asks
// for some of them.
constexpr std::array<std::string_view, 11> kNeverSet{
    "auth_type",     "cgroup_id",    "debug_capture_point",
    "ethernet",      "extensions",   "l7",
    "proxy_port",    "reply",        "sock_xlate_point",
    "socket_cookie", "trace_context"};

bool is_never_set(std::string_view path) {
  return std::ranges::find(kNeverSet, path.substr(0, path.find('.'))) !=
         kNeverSet.end();
}

}  // namespace

Result<FlowMask> FlowMask::parse(const google::protobuf::FieldMask& mask) {
  if (mask.paths_size() > kPathsMax) {
    return fail("field_mask: " + std::to_string(mask.paths_size()) +
                " paths, limit " + std::to_string(kPathsMax));
  }
  FlowMask result;
  result.all_ = mask.paths().empty();
  for (const auto& path : mask.paths()) {
    // A path without names is valid for the library, and is passed over.
    if (path.find_first_not_of('.') != std::string::npos &&
        FieldMaskUtil::IsValidPath<::flow::Flow>(path)) {
      result.mask_.add_paths(path);
    } else if (!is_never_set(path)) {
      return fail("field_mask: a flow has no field '" + path + "'");
    }
  }
  return result;
}

void FlowMask::apply(::flow::Flow& flow) const {
  if (all_) {
    return;
  }
  if (mask_.paths().empty()) {
    flow.Clear();  // TrimMessage would leave everything
  } else {
    FieldMaskUtil::TrimMessage(mask_, &flow);
  }
}

}  // namespace sluice::flow
