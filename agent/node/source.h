// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "agent/node/policy_info.h"
#include "agent/node/server.h"
#include "lib/base/ip.h"
#include "lib/base/result.h"
#include "lib/flow/record.h"
#include "lib/health/metric_families.h"

namespace sluice::node {

class Runtime;

// Where the wanted state of a node comes from: an operator, or a folder of
// manifests. A source belongs to one runtime and is called from its thread.
class Source {
 public:
  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  Source(Source&&) = delete;
  Source& operator=(Source&&) = delete;
  virtual ~Source() = default;

  // Opens the input before the datapath is loaded. On failure the program ends
  // and the kernel is unchanged.
  virtual Result<void> open() { return {}; }
  // Begins to call resume(), snapshot() and change() of `runtime`, now or later
  // from callbacks of its loop. The runtime outlives the source. On failure the
  // program ends, and what is in force stays in force.
  virtual Result<void> start(Runtime& runtime) = 0;

  // The name of the node. Known after start().
  [[nodiscard]] virtual const std::string& node() const = 0;
  // The source's part of answers. Valid after start().
  [[nodiscard]] virtual const PolicyInfo& policies() const = 0;
  // Why the newest policies are not in force although everything that the
  // runtime was given is; empty if they are.
  [[nodiscard]] virtual std::string problem() const = 0;
  // Why /readyz fails; empty if it does not. Valid after start(), like the next
  // one.
  [[nodiscard]] virtual std::string unready() const = 0;
  // Adds the metrics that only a node with this source has.
  virtual void add_metrics(health::MetricFamilies& /*families*/) const {}

  // Receives all addresses of the node: once after start() and at every change.
  virtual void on_node_addresses(const std::vector<IpAddress>& addresses) = 0;
  // Called after every attempt to put the wanted state into force.
  virtual void on_outcome() {}
  // Says by `learn`, now or later, who has the addresses. False if nobody can
  // be asked now.
  using LearnEnd = std::function<void(const IpAddress& address, flow::End end)>;
  virtual bool ask_ends(const std::vector<IpAddress>& /*addresses*/,
                        const LearnEnd& /*learn*/) {
    return false;
  }
  // Called for SIGHUP.
  virtual void reload() {}
  // Answers a request that only this source knows or that has to wait for it;
  // nullopt for all other requests.
  virtual std::optional<Server::Answer> answer(const std::string& /*request*/) {
    return std::nullopt;
  }
  // Called at the end of every turn of the loop, ten times a second at least.
  virtual void turn() {}
};

}  // namespace sluice::node
