// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/explain/view.h"

// The outputs of commands, one struct each, including the answers of a running
// program. views_json.h converts them to JSON, the `sluice` command prints them
// as tables. Member names are the field names of the JSON, which programs rely
// on.
namespace sluice::node {

struct ProblemView {
  std::string severity;  // "error", "note"
  std::string source;    // "file:line"
  std::string object;
  std::string message;
};

struct MapView {
  std::string name;
  std::uint64_t used = 0;
  std::uint64_t capacity = 0;
};

struct ReasonView {
  std::string reason;
  std::string direction;
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
};

struct StatusView {
  std::string version;
  std::string node;
  std::string source;     // of the policies: a folder, or "operator ADDRESS"
  bool enforced = false;  // the kernel holds the current policies
  std::string problem;    // why not
  std::uint64_t revision = 0;
  std::uint64_t epoch = 0;
  std::uint64_t objects = 0;
  std::uint64_t policies = 0;
  std::uint64_t policies_invalid = 0;
  std::uint64_t endpoints = 0;
  std::uint64_t endpoints_attached = 0;
  // Which endpoints are not enforced for, although all that can be is; or
  // empty.
  std::string endpoints_problem;
  std::uint64_t events_lost = 0;
  std::vector<MapView> maps;
  std::vector<ReasonView> reasons;
  std::vector<ProblemView> problems;
};

struct EndpointView {
  std::string name;
  std::string interface;
  std::uint32_t ifindex = 0;
  std::vector<std::string> ips;
  bool attached = false;
  bool isolated_ingress = false;
  bool isolated_egress = false;
  std::uint32_t policy_set = 0;
  std::vector<std::string> policies;
  std::string problem;
};
struct EndpointListView {
  std::vector<EndpointView> endpoints;
};

struct PolicyView {
  std::string kind;
  std::string ns;  // JSON: "namespace"
  std::string name;
  bool valid = false;
  bool in_force = false;
  std::string source;
  std::string reason;
  std::vector<std::string> warnings;
};
struct PolicyListView {
  std::vector<PolicyView> policies;
  std::vector<ProblemView> problems;  // of objects that are not policies
};

struct EntryView {
  std::uint32_t prefixlen = 0;  // the five fields of the key, as stored
  std::uint32_t policy_id = 0;
  std::uint32_t cidr_id = 0;
  std::uint32_t direction = 0;
  std::uint32_t protocol = 0;
  std::uint32_t port = 0;     // host order
  std::uint32_t verdict = 0;  // the four fields of the value
  std::uint32_t flags = 0;
  std::uint32_t jump = 0;
  std::uint32_t rule = 0;
  // What they mean.
  std::vector<std::string> endpoints;
  std::string peers;    // "10.0.0.1, 10.0.0.2 and 7 more", "any"
  std::string l4;       // "80/TCP", "any"
  std::string decides;  // "allow", "deny"
  std::string policy;
  std::string path;
};
struct PolicyDumpView {
  std::vector<EntryView> entries;
};

struct PeerView {
  std::string prefix;
  std::uint32_t cidr_id = 0;
};
struct PeerListView {
  std::vector<PeerView> peers;
};

struct ConntrackView {
  std::string endpoint;
  std::uint32_t ifindex = 0;
  std::string protocol;
  std::string direction;  // of the packet that opened it
  std::string remote;
  std::string remote_name;
  // The opener of a flow to the pod if it differs from the source address: the
  // address before masquerading, "own node", "unknown"; otherwise empty.
  std::string origin;
  std::string origin_name;
  // Of an ICMP echo, the ports are 0, and the identifier is in `echo_id`.
  std::uint32_t local_port = 0;
  std::uint32_t remote_port = 0;
  std::uint32_t echo_id = 0;
  std::string state;
  std::string reason;
  std::string rule;  // policy and path, or the name of a built-in rule
  std::uint32_t rule_id = 0;
  std::string policy;
  std::uint32_t epoch = 0;
  bool current = false;  // decided by the policies in force now
  std::uint64_t packets_ingress = 0;
  std::uint64_t packets_egress = 0;
  std::uint64_t bytes_ingress = 0;
  std::uint64_t bytes_egress = 0;
};
struct ConntrackListView {
  std::string names_problem;  // why names of other ends lack; or empty
  std::vector<ConntrackView> entries;
};

// A name that an endpoint has resolved, with one of its addresses.
struct ResolvedNameView {
  std::string endpoint;
  std::string name;
  std::string address;
  std::int64_t expires_in = 0;         // seconds; negative: it has expired
  std::vector<std::string> selectors;  // patterns that match the name
  std::vector<std::string> policies;   // that have rules with these patterns
};
struct ResolvedNameListView {
  std::vector<ResolvedNameView> names;
};

struct FlowView {
  std::string time;  // RFC 3339
  std::string verdict;
  std::string reason;
  std::string direction;
  std::string endpoint;
  std::string from;  // address
  std::string from_name;
  std::string origin;  // the source address before masquerading, or empty
  std::string origin_name;
  std::string to;
  std::string to_name;
  std::string protocol;
  std::uint32_t source_port = 0;
  std::uint32_t port = 0;
  std::string icmp;  // "type 8 code 0"
  std::string policy;
  std::string path;
  std::string log;
  std::vector<std::string> isolating;  // for default deny
  std::string rule;  // policy and path, or the name of a built-in rule
  std::uint32_t rule_id = 0;
  std::uint32_t policy_id = 0;
  std::uint32_t cidr_id = 0;
  std::uint32_t length = 0;
};

// The answer to `explain` is the same whoever gives it; see lib/explain.
using explain::ExplainView;
using explain::NearMissView;
using explain::SideView;

}  // namespace sluice::node
