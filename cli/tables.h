// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "agent/node/views.h"

// Prints views as tables for people.
namespace sluice::cli {

void print(std::ostream& out, const std::vector<node::ProblemView>& problems);
void print(std::ostream& out, const node::StatusView& view);
// `nodes`: if there are any, of each endpoint.
void print(std::ostream& out, const node::EndpointListView& view,
           const std::vector<std::string>& nodes = {});
void print(std::ostream& out, const node::PolicyListView& view);
void print(std::ostream& out, const node::PolicyDumpView& view);
void print(std::ostream& out, const node::PeerListView& view);
void print(std::ostream& out, const node::ConntrackListView& view);
void print(std::ostream& out, const node::ResolvedNameListView& view);
// `verbose`: with the entries of the policy map.
void print(std::ostream& out, const node::ExplainView& view, bool verbose);
// One line.
void print(std::ostream& out, const node::FlowView& view);

}  // namespace sluice::cli
