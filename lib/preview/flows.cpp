// SPDX-License-Identifier: Apache-2.0
#include "lib/preview/flows.h"

#include <algorithm>
#include <tuple>

#include "lib/explain/cluster.h"
#include "lib/preview/reasons.h"

namespace sluice::preview {

FlowsView judge_flows(const policy::Translator& before,
                      const policy::Translator& after,
                      const std::vector<Flows>& flows) {
  FlowsView view;
  for (const auto& seen : flows) {
    view.seen += seen.count;
    const explain::ExplainRequest request{.from = seen.from,
                                          .to = seen.to,
                                          .port = seen.port,
                                          .to_names = seen.names};
    const auto earlier = explain::explain_cluster(before, request);
    const auto later = explain::explain_cluster(after, request);
    if (!earlier || !later) {
      view.unknown += seen.count;
    } else if (earlier->allowed != later->allowed) {
      const auto decided = deciding_sides(*earlier, *later);
      view.changes.push_back({.flows = seen,
                              .allowed = later->allowed,
                              .before = decision_of(decided.before),
                              .after = decision_of(decided.after)});
    }
  }
  std::ranges::sort(view.changes, [](const auto& a, const auto& b) {
    return std::tuple(a.allowed, b.flows.count, a.flows.from, a.flows.to,
                      a.flows.port) < std::tuple(b.allowed, a.flows.count,
                                                 b.flows.from, b.flows.to,
                                                 b.flows.port);
  });
  return view;
}

}  // namespace sluice::preview
