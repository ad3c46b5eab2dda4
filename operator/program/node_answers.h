// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/flow/node_query.h"
#include "operator/program/policy_facts.h"

// What the agents of all nodes say of themselves, as JSON for people.
namespace sluice::operatord {

// The requests to agents: the same as at their socket; see
// agent/node/requests.h.
std::string node_status_request();
std::string node_endpoints_request();

// The following ones may take long. Any thread.

// {"version", "operator", "nodes": [{"node", "problem", "why_not", "status"}],
// "policies", "policies_invalid", "problems"}: of every node why there is no
// answer, why it does not enforce its policies (empty if it does), and what
// `sluice status -o json` prints there, and what the operator knows of
// policies. `identity`: of this replica.
std::string status_text(const flow::NodeQuery::Answers& nodes,
                        const PolicyFacts& facts, const std::string& version,
                        const std::string& identity);

// {"nodes": [{"node", "problem"}], "endpoints": [...]}: what `sluice endpoint
// list -o json` prints on each node, with the member "node".
std::string endpoints_text(const flow::NodeQuery::Answers& nodes);

// What `sluice policy list -o json` prints, of the whole cluster, and the
// member "nodes" as in status_text(). `nodes`: their status. `facts`: with
// details. A policy is in force if each node with a pod that it selects says
// that its policies are.
std::string policies_text(const flow::NodeQuery::Answers& nodes,
                          const PolicyFacts& facts);

// `nodes`: their status.
NodeShortfalls node_shortfalls(const flow::NodeQuery::Answers& nodes);

// What the web page asks: {"policies": [ui::PolicyView]}, with what each one
// selects and where it is in force. `facts`: with details and subjects.
std::string page_policies_text(const NodeShortfalls& short_of,
                               const PolicyFacts& facts);

}  // namespace sluice::operatord
