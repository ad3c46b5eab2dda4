// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iosfwd>
#include <vector>

#include "agent/instance/views.h"

// Prints views as tables for people.
namespace sluice::cli {

void print(std::ostream& out,
           const std::vector<instance::ProblemView>& problems);
void print(std::ostream& out, const instance::StatusView& view);
void print(std::ostream& out, const instance::EndpointListView& view);
void print(std::ostream& out, const instance::PolicyListView& view);
void print(std::ostream& out, const instance::PolicyDumpView& view);
void print(std::ostream& out, const instance::PeerListView& view);
void print(std::ostream& out, const instance::ConntrackListView& view);
void print(std::ostream& out, const instance::ExplainView& view);
// One line.
void print(std::ostream& out, const instance::FlowView& view);

}  // namespace sluice::cli
