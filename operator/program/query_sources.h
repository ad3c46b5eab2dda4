// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/base/loop.h"
#include "lib/policy/translator.h"
#include "operator/cluster_store.h"
#include "operator/program/flow_server.h"
#include "operator/program/policy_status.h"
#include "operator/program/query_server.h"

namespace sluice::operatord {

// What answers for the cluster are made of. All of it must outlive the server
// that uses the sources.
struct QueryContext {
  Loop& loop;
  FlowServer& flows;
  const policy::Translator& translator;
  const op::ClusterStore& store;
  const PolicyStatus& status;
  std::string version;
  std::string identity;  // of this replica
};

// Answers from what this replica knows and what the agents of all nodes say.
// The loop does a piece of one question's work per turn, and another thread
// makes the texts.
QueryServer::Sources query_sources(QueryContext context);

}  // namespace sluice::operatord
