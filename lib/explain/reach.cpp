// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/reach.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "lib/base/suggestion.h"
#include "lib/explain/reach_ends.h"
#include "lib/explain/reach_judge.h"
#include "lib/explain/reach_ports.h"
#include "lib/explain/reach_table.h"

namespace sluice::explain {
namespace {

using NodePods = std::map<const ReachJudge::NodeView*,
                          std::vector<const ReachJudge::PodView*>>;

// Fills in the cells of a view.
class Reacher {
 public:
  Reacher(ReachJudge& judge, const std::vector<Workload>& workloads,
          const std::string& ns)
      : judge_(&judge), ns_(&ns) {
    std::unordered_map<const kube::Pod*, const ReachJudge::PodView*> views;
    for (const auto& view : judge.pods()) {
      views[view.pod] = &view;
    }
    for (const auto& workload : workloads) {
      std::vector<const ReachJudge::PodView*> pods;
      pods.reserve(workload.pods.size());
      for (const auto* pod : workload.pods) {
        pods.push_back(views.at(pod));
      }
      ends_.push_back({.ns = workload.end.ns, .variants = variants_of(pods)});
    }
  }

  // From and to all workloads.
  void add_pods(std::vector<ReachCell>& cells) {
    for (std::size_t from = 0; from < ends_.size(); ++from) {
      for (std::size_t to = 0; to < ends_.size(); ++to) {
        if (is_asked(ends_[from]) || is_asked(ends_[to])) {
          add(cells, between(from, to).cell(from, to));
        }
      }
    }
  }

  // `place`: that of the end among all.
  void add_outside(const Outside& outside, std::size_t place,
                   std::vector<ReachCell>& cells) {
    for (std::size_t pods = 0; pods < ends_.size(); ++pods) {
      if (is_asked(ends_[pods])) {
        ReachCount to(judge_->ports().size());
        ReachCount from(judge_->ports().size());
        for (const auto& variant : ends_[pods].variants) {
          count(variant, outside, to, from);
        }
        add(cells, to.cell(pods, place));
        add(cells, from.cell(place, pods));
      }
    }
  }

 private:
  struct End {
    std::string ns;
    std::vector<Variant> variants;
  };

  [[nodiscard]] bool is_asked(const End& end) const {
    return ns_->empty() || end.ns == *ns_;
  }

  static void add(std::vector<ReachCell>& cells, ReachCell cell) {
    if (!cell.allowed.empty() || !cell.denied.empty() || !cell.some.empty()) {
      cells.push_back(std::move(cell));
    }
  }

  [[nodiscard]] ReachCount between(std::size_t from, std::size_t to) {
    ReachCount count(judge_->ports().size());
    for (const auto& source : ends_[from].variants) {
      for (const auto& destination : ends_[to].variants) {
        if (&source == &destination) {
          if (source.pods.size() > 1) {  // every pod and every other one
            count.add(judge_->between(*source.pods[0], *source.pods[1]),
                      source.pods.size() * (source.pods.size() - 1));
          }
        } else {
          count.add(judge_->between(source.first(), destination.first()),
                    source.pods.size() * destination.pods.size());
        }
      }
    }
    return count;
  }

  // Pods of one variant and one node see the same addresses.
  void count(const Variant& variant, const Outside& outside, ReachCount& to,
             ReachCount& from) {
    NodePods by_node;
    for (const auto* pod : variant.pods) {
      by_node[pod->node].push_back(pod);
    }
    for (const auto& [node, pods] : by_node) {
      for (const auto& [peer, number] : outside.seen_by(*pods[0])) {
        const auto pairs = pods.size() * number;
        from.add(judge_->from_outside(peer, *pods[0]), pairs);
        if (!judge_->leads_on(pods[0]->pod->node, peer.address)) {
          to.add(judge_->to_outside(*pods[0], peer), pairs);
          continue;
        }
        for (const auto* pod : pods) {
          to.add(judge_->to_outside(*pod, peer), number);
        }
      }
    }
  }

  ReachJudge* judge_;
  const std::string* ns_;
  std::vector<End> ends_;
};

Result<void> check_namespace(const std::string& ns,
                             const std::vector<std::string>& namespaces,
                             const std::vector<Workload>& workloads) {
  std::set<std::string> known(namespaces.begin(), namespaces.end());
  for (const auto& workload : workloads) {
    known.insert(workload.end.ns);
  }
  if (ns.empty() || known.contains(ns)) {
    return {};
  }
  return fail("--namespace: there is no namespace \"" + ns + "\"" +
              did_you_mean(ns, {known.begin(), known.end()}));
}

std::vector<const kube::Pod*> pods_of(const std::vector<Workload>& workloads) {
  std::vector<const kube::Pod*> pods;
  for (const auto& workload : workloads) {
    pods.insert(pods.end(), workload.pods.begin(), workload.pods.end());
  }
  return pods;
}

void add_outside(ReachView& view, ReachJudge& judge, Reacher& reacher) {
  auto outside = outside_ends(judge, view.notes);
  const auto world = view.ends.size();
  for (auto& end : outside) {
    reacher.add_outside(end, view.ends.size(), view.cells);
    view.ends.push_back(std::move(end.end));
  }
  leave_out_alike(view, world);
}

}  // namespace

Result<ReachView> reach(const policy::Translator& translator,
                        const ReachRequest& request,
                        const std::vector<std::string>& pods,
                        const std::vector<std::string>& namespaces) {
  ReachView view;
  view.ns = request.ns;
  auto workloads = workloads_of(translator, pods, view.notes);
  if (auto known = check_namespace(request.ns, namespaces, workloads); !known) {
    return std::unexpected(known.error());
  }
  if (request.most_ends != 0 && workloads.size() > request.most_ends) {
    workloads.resize(request.most_ends);
    view.more = true;
  }
  auto ports = parse_reach_ports(request.ports, pods_of(workloads));
  if (!ports) {
    return std::unexpected(ports.error());
  }
  ReachJudge judge(translator, pods_of(workloads));
  judge.set_ports(request.ports.empty() ? judge.named_ports() : *ports);
  if (judge.uses_names()) {
    view.notes.emplace_back(
        "rules for DNS names allow nothing here, because only a node knows "
        "the addresses of names");
  }
  for (const auto& workload : workloads) {
    view.ends.push_back(workload.end);
  }
  Reacher reacher(judge, workloads, request.ns);
  reacher.add_pods(view.cells);
  view.ports.resize(judge.ports().size());
  if (request.outside) {
    add_outside(view, judge, reacher);
  }
  auto shown = judge.ports();
  if (request.ports.empty()) {
    merge_ports(shown, view.cells);
  }
  view.ports.clear();
  for (const auto& port : shown) {
    view.ports.push_back(port.view());
  }
  std::ranges::sort(view.cells, {}, [](const ReachCell& cell) {
    return std::pair(cell.from, cell.to);
  });
  view.lookups = judge.lookups();
  view.questions = judge.questions();
  return view;
}

}  // namespace sluice::explain
