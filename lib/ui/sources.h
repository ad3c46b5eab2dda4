// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/explain/view.h"
#include "lib/flow/cursor.h"
#include "observer.pb.h"

// What the web page shows, from whoever serves it: a node or an operator.
namespace sluice::ui {

// What owns pods, as in flows.
struct Workload {
  std::string ns;
  std::string kind;
  std::string name;
  auto operator<=>(const Workload&) const = default;
};

// Where a policy has pods.
struct PolicyNode {
  std::string node;
  std::string problem;  // why it is not in force there; empty: it is
};

struct PolicyView {
  std::string kind;
  std::string ns;  // empty for cluster-wide kinds
  std::string name;
  bool valid = false;
  bool in_force = false;
  std::string source;
  std::string reason;  // why it is not valid or not in force
  std::vector<std::string> warnings;
  // Of the pods that it selects; the first ones, sorted.
  std::vector<Workload> subjects;
  bool more_subjects = false;
  // Of the nodes of these pods: the first ones, sorted, those on which it is
  // not in force before the others; and how many there are.
  std::vector<PolicyNode> nodes;
  std::uint64_t nodes_in_all = 0;
  std::uint64_t nodes_in_force = 0;
};

// Who may reach whom in a namespace, by the rules and not by traffic.
struct ReachView {
  std::string ns;
  std::vector<Workload> workloads;  // rows: sources; columns: destinations
  // Of each one the first and the last pod, for questions to `explain` from one
  // and to the other; the same if there is only one.
  std::vector<std::string> pods;
  std::vector<std::string> last_pods;
  std::vector<std::string> ports;  // "80/TCP"
  bool more = false;               // there are more workloads than these
  // [source][destination]: a bit for each of the ports, 1: all pods of the
  // source may reach all of the destination, or some may reach some.
  std::vector<std::vector<std::uint32_t>> allowed;
  std::vector<std::vector<std::uint32_t>> some;
};

// The flows of a request, one after the other. One thread.
class FlowFeed {
 public:
  using Step = flow::FlowCursor::Step;
  FlowFeed() = default;
  FlowFeed(const FlowFeed&) = delete;
  FlowFeed& operator=(const FlowFeed&) = delete;
  FlowFeed(FlowFeed&&) = delete;
  FlowFeed& operator=(FlowFeed&&) = delete;
  virtual ~FlowFeed() = default;
  // As FlowCursor::next().
  virtual Step next(::observer::GetFlowsResponse& response) = 0;
  // After kEnd: why there are no more, or an empty text if these were all.
  [[nodiscard]] virtual std::string problem() const { return {}; }
};

class Sources {
 public:
  Sources() = default;
  Sources(const Sources&) = delete;
  Sources& operator=(const Sources&) = delete;
  Sources(Sources&&) = delete;
  Sources& operator=(Sources&&) = delete;
  virtual ~Sources() = default;

  // Called in the server's thread.

  // Fails if the request is not valid.
  virtual Result<std::unique_ptr<FlowFeed>> open(
      const ::observer::GetFlowsRequest& request) = 0;
  // Has a thread of the program call it, now or later, or never if the program
  // ends.
  virtual void post(std::function<void()> callback) = 0;

  // Called by what was posted.

  virtual Result<std::vector<std::string>> namespaces() = 0;
  virtual Result<std::vector<PolicyView>> policies() = 0;
  virtual Result<explain::ExplainView> explain(
      const explain::ExplainRequest& request) = 0;
  // `ports`: those asked for; a namespace's own are added.
  virtual Result<ReachView> reach(const std::string& ns,
                                  const std::vector<std::string>& ports) = 0;
};

}  // namespace sluice::ui
