// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/ui/edges.h"
#include "lib/ui/query.h"
#include "lib/ui/sources.h"

namespace sluice::ui {

// What a feed says besides flows.
struct FeedNotes {
  std::uint64_t lost = 0;  // flows that are missing
  // Nodes whose flows are missing now, and why.
  std::map<std::string, std::string> away;

  void take(const ::observer::GetFlowsResponse& response);
};

// The edges of one choice of flows. Readers with the same filters share it.
struct EdgeView {
  std::uint64_t id = 0;  // nobody else's
  std::string filters;
  std::unique_ptr<FlowFeed> feed;
  EdgeTable table;
  FeedNotes notes;
  bool caught_up = false;  // has read all flows that there were
  // There will be no more flows, and why: the next reader gets another view.
  bool ended = false;
  std::string problem;
};

// A few of them: of the filters that were asked for last. One thread.
class EdgeViews {
 public:
  // `first`: the id of the first one; random, so that a reader of another
  // process's views knows that they are gone.
  EdgeViews(Sources& sources, std::uint64_t first)
      : sources_(&sources), next_(first) {}

  // Reads flows for at most `patience`, or until there are no more for now. The
  // view is valid until the next call.
  Result<EdgeView*> read(const EdgeQuery& query,
                         std::chrono::milliseconds patience);

 private:
  Result<void> choose(const EdgeQuery& query);

  Sources* sources_;
  std::uint64_t next_;
  std::list<EdgeView> views_;  // the one that was asked for last is the first
};

}  // namespace sluice::ui
