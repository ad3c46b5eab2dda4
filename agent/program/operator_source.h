// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/node/source.h"
#include "lib/base/ip.h"
#include "lib/base/result.h"
#include "lib/wire/client.h"

namespace sluice::agentd {

struct OperatorSourceOptions {
  wire::ClientOptions client;
  bool deny_unknown = false;  // pods, unless the operator says otherwise
};

// The wanted state from an operator. Resumes from the journal of the previous
// process and continues with what operators send, reports to them what is in
// force, and handles what a CNI plugin announces.
class OperatorSource : public node::Source {
 public:
  explicit OperatorSource(OperatorSourceOptions options);
  OperatorSource(const OperatorSource&) = delete;
  OperatorSource& operator=(const OperatorSource&) = delete;
  OperatorSource(OperatorSource&&) = delete;
  OperatorSource& operator=(OperatorSource&&) = delete;
  ~OperatorSource() override;

  Result<void> start(node::Runtime& runtime) override;
  [[nodiscard]] const std::string& node() const override;
  [[nodiscard]] const node::PolicyInfo& policies() const override;
  [[nodiscard]] std::string problem() const override;
  [[nodiscard]] std::string unready() const override;
  void add_metrics(health::MetricFamilies& families) const override;
  void on_node_addresses(const std::vector<IpAddress>& addresses) override;
  void on_outcome() override;
  std::optional<node::Server::Answer> answer(
      const std::string& request) override;
  bool ask_ends(const std::vector<IpAddress>& addresses,
                const LearnEnd& learn) override;
  void turn() override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agentd
