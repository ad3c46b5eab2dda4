// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "lib/base/result.h"
#include "lib/explain/find_ends.h"
#include "lib/explain/reach_ports.h"
#include "lib/explain/view.h"
#include "lib/policy/translator.h"

namespace sluice::explain {

// As explain_cluster(), for every port that the policies of the two ends or the
// receiver's containers name, and one that stands for all others of each
// protocol; of a Service, for its ports. Those with the same verdicts by the
// same rules are one answer, whose `port` lists them ("80/TCP, other/UDP") and
// whose details are those of the first. Near misses are left out: they are
// about a single port. `request.port` is not read. A Service without ports is
// an error.
Result<std::vector<ExplainView>> explain_all_ports(
    const policy::Translator& translator, const ExplainRequest& request,
    const KnownPods& known_pods);

// The same in pieces, for who has other things to do: what the translator holds
// may change in between. Each piece is then about what it holds at that moment.
class AllPorts {
 public:
  // `translator` must outlive this object.
  static Result<AllPorts> begin(const policy::Translator& translator,
                                ExplainRequest request, KnownPods known_pods);

  // Explains the next port. False: there is none after it.
  bool step();
  // After the last step.
  [[nodiscard]] Result<std::vector<ExplainView>> take() &&;

 private:
  AllPorts(const policy::Translator& translator, ExplainRequest request,
           KnownPods known_pods, std::vector<ReachPorts> ports)
      : translator_(&translator),
        request_(std::move(request)),
        known_pods_(std::move(known_pods)),
        ports_(std::move(ports)) {}
  void add(ExplainView view, const ReachPorts& port);

  const policy::Translator* translator_;
  ExplainRequest request_;
  KnownPods known_pods_;
  std::vector<ReachPorts> ports_;
  std::size_t next_ = 0;
  std::vector<ExplainView> answers_;
  std::vector<std::vector<ReachPorts>> ports_of_answers_;
  std::optional<Error> failure_;
};

}  // namespace sluice::explain
