// SPDX-License-Identifier: Apache-2.0
#include "lib/preview/preview.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <span>
#include <utility>

#include "lib/base/sequence.h"
#include "lib/explain/reach_ends.h"
#include "lib/explain/reach_table.h"
#include "lib/preview/both_worlds.h"
#include "lib/preview/ends.h"
#include "lib/preview/tally.h"

namespace sluice::preview {
namespace {

using End = BothWorlds::End;

End end_of(const Member* pod) {
  return {.pod = pod, .address = nullptr};
}

// Whether two pods of the workloads share a family in both worlds.
bool share_family(const Workload& from, const Workload& to) {
  for (std::size_t family = 0; family < 2; ++family) {
    const auto count = [&](const Workload& workload) {
      std::size_t pods = 0;
      for (const auto& share : workload.shares) {
        const auto& view = share.pods[0]->view;
        if (view.before->peers.at(family) && view.after->peers.at(family)) {
          pods += share.pods.size();
        }
      }
      return pods;
    };
    const auto sources = count(from);
    if (&from == &to ? sources > 1 : sources > 0 && count(to) > 0) {
      return true;
    }
  }
  return false;
}

// Fills in the changes of a view.
class Comparison {
 public:
  Comparison(BothWorlds& worlds, const Pods& pods, std::size_t ports,
             View& view)
      : worlds_(&worlds), pods_(&pods), ports_(ports), view_(&view) {}

  void compare_pods() {
    mark_kinds();
    const auto& workloads = pods_->workloads;
    for (std::size_t from = 0; from < workloads.size(); ++from) {
      for (std::size_t to = 0; to < workloads.size(); ++to) {
        if (marked_[(from * workloads.size()) + to]) {
          Tally tally(*worlds_, ports_);
          between(workloads[from], workloads[to], tally);
          finish(tally, from, to);
        }
        view_->pairs += share_family(workloads[from], workloads[to]) ? 1 : 0;
      }
    }
  }

  // `place`: that of the end among all.
  void compare_outside(Outside& outside, std::size_t place) {
    for (std::size_t pods = 0; pods < pods_->workloads.size(); ++pods) {
      Tally to(*worlds_, ports_);
      Tally from(*worlds_, ports_);
      std::array<bool, 2> differs{};
      std::uint64_t met = 0;
      visit(pods_->workloads[pods], outside,
            [&](const End& pod, const End& address, std::uint64_t /*pairs*/) {
              ++met;
              differs[0] = differs[0] || worlds_->may_differ(pod, address);
              differs[1] = differs[1] || worlds_->may_differ(address, pod);
            });
      if (differs[0] || differs[1]) {
        visit(pods_->workloads[pods], outside,
              [&](const End& pod, const End& address, std::uint64_t pairs) {
                to.add(pod, address, pairs);
                from.add(address, pod, pairs);
              });
      }
      finish(to, pods, place);
      finish(from, place, pods);
      view_->pairs += met == 0 ? 0 : 2;
    }
  }

 private:
  void finish(const Tally& tally, std::size_t from, std::size_t to) {
    if (tally.has_changes()) {
      tally.finish(from, to, *view_);
    }
  }

  // Marks the pairs of workloads with a pair of kinds that the change may
  // concern.
  void mark_kinds() {
    const auto& kinds = pods_->kinds;
    const auto count = pods_->workloads.size();
    marked_.assign(count * count, false);
    std::vector<std::vector<std::size_t>> workloads(kinds.size());
    for (std::size_t place = 0; place < count; ++place) {
      for (const auto& share : pods_->workloads[place].shares) {
        workloads[share.kind].push_back(place);
      }
    }
    for (std::size_t from = 0; from < kinds.size(); ++from) {
      for (std::size_t to = 0; to < kinds.size(); ++to) {
        const auto& sources = kinds[from].pods;
        const auto& destinations = kinds[to].pods;
        const bool same = from == to;
        if ((same && sources.size() < 2) ||
            !worlds_->may_differ(end_of(sources[0]),
                                 end_of(destinations[same ? 1 : 0]))) {
          continue;
        }
        for (const auto source : workloads[from]) {
          for (const auto destination : workloads[to]) {
            marked_[(source * count) + destination] = true;
          }
        }
      }
    }
  }

  static void between(const Workload& from, const Workload& to, Tally& tally) {
    for (const auto& source : from.shares) {
      for (const auto& destination : to.shares) {
        if (&source != &destination) {
          tally.add(end_of(source.pods[0]), end_of(destination.pods[0]),
                    source.pods.size() * destination.pods.size());
        } else if (source.pods.size() > 1) {  // every pod and every other one
          tally.add(end_of(source.pods[0]), end_of(source.pods[1]),
                    source.pods.size() * (source.pods.size() - 1));
        }
      }
    }
  }

  // Calls `add` for pods and addresses of which all pairs are alike.
  template <typename Add>
  static void visit(const Workload& workload, Outside& outside,
                    const Add& add) {
    for (const auto& share : workload.shares) {
      std::map<Nodes, std::vector<const Member*>> by_nodes;
      for (const auto* pod : share.pods) {
        by_nodes[nodes_of(*pod)].push_back(pod);
      }
      for (const auto& [nodes, pods] : by_nodes) {
        for (const auto& [first, count] : outside.seen_by(*pods[0])) {
          const auto family = first.before.address.v6 ? 1U : 0U;
          const auto& view = pods[0]->view;
          if (view.before->peers.at(family) && view.after->peers.at(family)) {
            add(end_of(pods[0]), End{.pod = nullptr, .address = &first},
                pods.size() * count);
          }
        }
      }
    }
  }

  BothWorlds* worlds_;
  const Pods* pods_;
  std::size_t ports_;
  View* view_;
  std::vector<bool> marked_;  // by the places of two workloads
};

using Changes = std::span<const Change>;

// True if the changes of the end `one` are those of the end `two`.
bool are_alike(Changes of_one, std::size_t one, Changes of_two,
               std::size_t two) {
  const auto same_end = [&](std::size_t a, std::size_t b) {
    return a == b || (a == one && b == two);
  };
  return std::ranges::equal(
      of_one, of_two, [&](const Change& a, const Change& b) {
        return same_end(a.from, b.from) && same_end(a.to, b.to) &&
               a.allowed == b.allowed && a.before == b.before &&
               a.after == b.after && a.ports.allowed == b.ports.allowed &&
               std::ranges::equal(a.ports.some, b.ports.some, {},
                                  &explain::ReachSome::port,
                                  &explain::ReachSome::port);
      });
}

void add_outside(View& view, Comparison& comparison, const ReachJudge& before,
                 const ReachJudge& after) {
  const auto world = view.ends.size();
  const auto first = view.changes.size();
  std::size_t of_world = 0;
  for (auto& outside : outside_ends(before, after, view.notes)) {
    const auto place = view.ends.size();
    const auto pairs = view.pairs;
    const auto changes = view.changes.size();
    const auto stays = view.stays.size();
    comparison.compare_outside(outside, place);
    const Changes all(view.changes);
    const auto added = all.subspan(changes);
    if (place == world) {
      of_world = added.size();
    } else if (!added.empty() &&
               outside.kind == explain::Outside::Kind::kFixed &&
               are_alike(added, place, all.subspan(first, of_world), world)) {
      view.changes.resize(changes);
      view.stays.resize(stays);
      view.pairs = pairs;
      continue;
    }
    view.ends.push_back(std::move(outside.end));
  }
}

// Leaves out the ends without changes, and numbers the others anew.
void leave_out_unchanged(View& view) {
  std::vector<std::size_t> place(view.ends.size());
  std::vector<bool> kept(view.ends.size());
  for (const auto& change : view.changes) {
    kept[change.from] = true;
    kept[change.to] = true;
  }
  std::vector<explain::ReachEnd> ends;
  for (std::size_t end = 0; end < kept.size(); ++end) {
    place[end] = ends.size();
    if (kept[end]) {
      ends.push_back(std::move(view.ends[end]));
    }
  }
  view.ends = std::move(ends);
  const auto renumber = [&](explain::ReachCell& cell) {
    cell.from = place[cell.from];
    cell.to = place[cell.to];
  };
  for (auto& change : view.changes) {
    renumber(change.ports);
    change.from = change.ports.from;
    change.to = change.ports.to;
  }
  std::ranges::for_each(view.stays, renumber);
}

// Makes one port of neighbours that change alike everywhere.
void set_ports(View& view, std::vector<explain::ReachPorts> ports) {
  std::vector<explain::ReachCell> cells;
  cells.reserve(view.changes.size() + view.stays.size());
  for (auto& change : view.changes) {
    cells.push_back(std::move(change.ports));
  }
  std::ranges::move(view.stays, std::back_inserter(cells));
  explain::merge_ports(ports, cells);
  std::size_t place = 0;
  for (auto& change : view.changes) {
    change.ports = std::move(cells[place++]);
  }
  for (auto& cell : view.stays) {
    cell = std::move(cells[place++]);
  }
  for (const auto& port : ports) {
    view.ports.push_back(port.view());
  }
}

void add_notes(View& view, const std::vector<std::string>& notes) {
  for (const auto& note : notes) {
    if (std::ranges::find(view.notes, note) == view.notes.end()) {
      view.notes.push_back(note);
    }
  }
}

std::vector<const kube::Pod*> pods_of(
    const std::vector<explain::Workload>& workloads) {
  std::vector<const kube::Pod*> pods;
  for (const auto& workload : workloads) {
    pods.insert(pods.end(), workload.pods.begin(), workload.pods.end());
  }
  return pods;
}

void sort_changes(View& view) {
  std::ranges::stable_sort(view.changes, {}, [](const Change& change) {
    return std::pair(change.from, change.to);
  });
  std::ranges::stable_sort(view.stays, {}, [](const explain::ReachCell& cell) {
    return std::pair(cell.from, cell.to);
  });
}

}  // namespace

View compare(const World& before, const World& after, bool outside) {
  View view;
  std::vector<std::string> notes;
  const auto earlier =
      explain::workloads_of(*before.translator, before.pods, view.notes);
  const auto later =
      explain::workloads_of(*after.translator, after.pods, notes);
  add_notes(view, notes);
  ReachJudge judge_before(*before.translator, pods_of(earlier));
  ReachJudge judge_after(*after.translator, pods_of(later));
  auto ports = judge_before.collector();
  ports.add(judge_after.collector());
  judge_before.set_ports(ports.pieces());
  judge_after.set_ports(ports.pieces());
  if (judge_before.uses_names() || judge_after.uses_names()) {
    view.notes.emplace_back(
        "rules for DNS names allow nothing here, because only a node knows "
        "the addresses of names");
  }
  const auto pods = pods_of(earlier, judge_before, judge_after, view.notes);
  for (const auto& workload : pods.workloads) {
    view.ends.push_back(workload.end);
  }
  BothWorlds worlds(*before.translator, *after.translator, judge_before,
                    judge_after);
  Comparison comparison(worlds, pods, judge_before.ports().size(), view);
  comparison.compare_pods();
  if (outside) {
    add_outside(view, comparison, judge_before, judge_after);
  }
  if (worlds.has_left_out()) {
    view.notes.emplace_back(
        "node ports and host ports are not compared, only the pods behind "
        "them");
  }
  view.decisions = worlds.decisions();
  view.unchanged = view.pairs - view.stays.size();
  leave_out_unchanged(view);
  set_ports(view, judge_before.ports());
  sort_changes(view);
  return view;
}

}  // namespace sluice::preview
