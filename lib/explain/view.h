// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

// The question and the answer of `sluice explain`. view_json.h converts the
// answer to JSON. Member names are the field names of the JSON, which programs
// rely on.
namespace sluice::explain {

struct ExplainRequest {
  std::string from;  // "namespace/pod" or an address
  std::string to;
  std::string port;  // "80/TCP", "8/ICMP"
  // DNS names for which the receiver's address counts as known to the sender.
  std::vector<std::string> to_names = {};  // NOLINT(readability-redundant*)
};

struct NearMissView {
  std::string policy;
  std::string path;
  std::string action;
  std::string differs;
  std::string detail;
};

// The verdict of one end on a flow, in one address family.
struct SideView {
  std::string direction;
  std::string endpoint;
  std::string node;
  std::string peer;  // address
  // At egress: the DNS names by which the endpoint knows the peer's address.
  std::vector<std::string> names;
  // If a rule for names decided: its pattern, and which of `names` it matches.
  std::string pattern;
  std::vector<std::string> matched;
  bool judged = false;  // false: the end has no policy of its own, or
  std::string unknown;  // why the verdict is unknown here
  bool allowed = true;
  bool isolated = false;
  std::string reason;
  std::string policy;
  std::string path;
  // Of the policy map, where an entry decided. Nobody but a node knows the
  // generation bit of the policy id; elsewhere it is 0, as on a node that has
  // been started a moment ago.
  std::uint32_t policy_id = 0;
  std::string entry;  // the other fields of its key, and its value
  std::vector<std::string> isolating;
  std::vector<NearMissView> near_misses;
  // At egress to a Service: its name and its backends, a line each.
  std::vector<std::string> behind;
  // At ingress behind a Service: address and port of this backend.
  std::string backend;
};
struct ExplainView {
  std::string from;
  std::string to;
  std::string port;
  bool allowed = false;  // by every side
  // Of a Service: "allowed at egress; 0 of 1 backends accept". Otherwise empty.
  std::string summary;
  std::vector<SideView> sides;
};

}  // namespace sluice::explain
