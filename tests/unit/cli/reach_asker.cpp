// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/cli/reach_asker.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace sluice::cli {

using explain::ReachCell;
using explain::ReachView;

Asker::Asker(const Cluster& cluster) : cluster_(&cluster) {
  for (const auto& node : cluster.store().nodes()) {
    for (const auto& address : node.ips) {
      addresses_[node.name].insert(to_string(address));
    }
  }
}

Pairs Asker::pairs(const ReachView& view, std::size_t from,
                   std::size_t to) const {
  const auto& source = view.ends[from];
  const auto& destination = view.ends[to];
  Pairs result;
  for (const auto& pod : source.pods) {
    for (const auto& other : members(destination, pod)) {
      if (pod != other) {
        result.emplace_back(pod, other);
      }
    }
  }
  for (const auto& pod : destination.pods) {
    if (source.pods.empty()) {
      for (const auto& other : members(source, pod)) {
        result.emplace_back(other, pod);
      }
    }
  }
  return result;
}

std::string Asker::verdict(const Pairs& pairs, const std::string& port) const {
  std::size_t allowed = 0;
  std::size_t asked = 0;
  for (const auto& [from, to] : pairs) {
    if (const auto view =
            explain(*cluster_, {.from = from, .to = to, .port = port})) {
      ++asked;
      allowed += view->allowed ? 1 : 0;
    }
  }
  if (asked == 0) {
    return {};
  }
  if (allowed == 0 || allowed == asked) {
    return allowed == 0 ? "denied" : "allowed";
  }
  return "some " + std::to_string(allowed) + "/" + std::to_string(asked);
}

std::vector<std::string> Asker::members(const explain::ReachEnd& end,
                                        const std::string& pod) const {
  if (end.name != "host" && end.name != "remote-node") {
    return end.pods.empty() ? end.addresses : end.pods;
  }
  const auto& node = cluster_->translator().pod(pod)->node;
  const auto found = addresses_.find(node);
  const auto own =
      found == addresses_.end() ? std::set<std::string>{} : found->second;
  std::set<std::string> result = own;
  if (end.name == "remote-node") {
    result.clear();
    for (const auto& [name, addresses] : addresses_) {
      for (const auto& address : addresses) {
        if (!own.contains(address)) {
          result.insert(address);
        }
      }
    }
  }
  return {result.begin(), result.end()};
}

std::string shown(const ReachCell* cell, std::size_t port) {
  if (cell == nullptr) {
    return {};
  }
  if (std::ranges::find(cell->allowed, port) != cell->allowed.end()) {
    return "allowed";
  }
  if (std::ranges::find(cell->denied, port) != cell->denied.end()) {
    return "denied";
  }
  const auto some =
      std::ranges::find(cell->some, port, &explain::ReachSome::port);
  return some == cell->some.end() ? ""
                                  : "some " + std::to_string(some->allowed) +
                                        "/" + std::to_string(some->pairs);
}

const ReachCell* cell_of(const ReachView& view, std::size_t from,
                         std::size_t to) {
  const auto found =
      std::ranges::find_if(view.cells, [&](const ReachCell& cell) {
        return cell.from == from && cell.to == to;
      });
  return found == view.cells.end() ? nullptr : &*found;
}

std::string last_of(const explain::ReachPort& port) {
  const auto dash = port.name.find('-');
  return dash == std::string::npos ? port.asked : port.name.substr(dash + 1);
}

std::size_t compare(const Cluster& cluster, const ReachView& view) {
  const Asker asker(cluster);
  std::size_t compared = 0;
  for (std::size_t from = 0; from < view.ends.size(); ++from) {
    for (std::size_t to = 0; to < view.ends.size(); ++to) {
      if (view.ends[from].pods.empty() && view.ends[to].pods.empty()) {
        EXPECT_EQ(cell_of(view, from, to), nullptr);
        continue;
      }
      const auto pairs = asker.pairs(view, from, to);
      const auto* cell = cell_of(view, from, to);
      for (std::size_t port = 0; port < view.ports.size(); ++port) {
        for (const auto& asked :
             {view.ports[port].asked, last_of(view.ports[port])}) {
          ++compared;
          EXPECT_EQ(shown(cell, port), asker.verdict(pairs, asked))
              << view.ends[from].name << " -> " << view.ends[to].name << " "
              << view.ports[port].name << " (" << asked << ")";
        }
      }
    }
  }
  return compared;
}

}  // namespace sluice::cli
