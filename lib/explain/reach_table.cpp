// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/reach_table.h"

#include <algorithm>
#include <bit>
#include <map>
#include <optional>

namespace sluice::explain {
namespace {

enum class Kind : std::uint8_t { kNone, kAllowed, kDenied, kSome };

// The verdict at a port, with the pairs where they differ.
struct Verdict {
  Kind kind = Kind::kNone;
  std::uint64_t allowed = 0;
  std::uint64_t pairs = 0;
  bool operator==(const Verdict&) const = default;
};

std::vector<Verdict> verdicts_of(const ReachCell& cell, std::size_t ports) {
  std::vector<Verdict> result(ports);
  for (const std::size_t port : cell.allowed) {
    result[port].kind = Kind::kAllowed;
  }
  for (const std::size_t port : cell.denied) {
    result[port].kind = Kind::kDenied;
  }
  for (const auto& some : cell.some) {
    result[some.port] = {
        .kind = Kind::kSome, .allowed = some.allowed, .pairs = some.pairs};
  }
  return result;
}

// True if `next` goes on where `ports` ends.
bool continues(const ReachPorts& ports, const ReachPorts& next) {
  return ports.protocol == next.protocol && !ports.other && !next.other &&
         ports.last + 1 == next.first;
}

// Keeps the first of each run of ports; `place`: by old place, the new one.
void renumber(ReachCell& cell, const std::vector<std::size_t>& place,
              const std::vector<bool>& kept) {
  const auto move = [&](std::size_t& port) { port = place[port]; };
  std::erase_if(cell.allowed, [&](std::size_t port) { return !kept[port]; });
  std::erase_if(cell.denied, [&](std::size_t port) { return !kept[port]; });
  std::erase_if(cell.some,
                [&](const ReachSome& some) { return !kept[some.port]; });
  std::ranges::for_each(cell.allowed, move);
  std::ranges::for_each(cell.denied, move);
  for (auto& some : cell.some) {
    move(some.port);
  }
}

// True if the one has a verdict that the other has not. Ports without a verdict
// say nothing.
bool differs(const ReachCell& cell, const ReachCell& other, std::size_t ports) {
  const auto these = verdicts_of(cell, ports);
  const auto those = verdicts_of(other, ports);
  return !std::ranges::equal(
      these, those, [](const Verdict& one, const Verdict& two) {
        return one.kind == Kind::kNone || one.kind == two.kind;
      });
}

}  // namespace

void ReachCount::add(const ReachJudge::Verdicts& verdicts,
                     std::uint64_t pairs) {
  constexpr std::size_t kWordBits = 64;
  for (std::size_t word = 0; word < verdicts.allowed.size(); ++word) {
    auto judged = verdicts.allowed[word] | verdicts.denied[word];
    for (; judged != 0; judged &= judged - 1) {
      const auto bit = static_cast<std::size_t>(std::countr_zero(judged));
      const auto port = (word * kWordBits) + bit;
      pairs_[port] += pairs;
      allowed_[port] += (verdicts.allowed[word] >> bit & 1U) != 0 ? pairs : 0;
    }
  }
}

ReachCell ReachCount::cell(std::size_t from, std::size_t to) const {
  ReachCell cell{
      .from = from, .to = to, .allowed = {}, .denied = {}, .some = {}};
  for (std::size_t port = 0; port < pairs_.size(); ++port) {
    if (pairs_[port] == 0) {
      continue;
    }
    if (allowed_[port] == pairs_[port]) {
      cell.allowed.push_back(port);
    } else if (allowed_[port] == 0) {
      cell.denied.push_back(port);
    } else {
      cell.some.push_back(
          {.port = port, .allowed = allowed_[port], .pairs = pairs_[port]});
    }
  }
  return cell;
}

void merge_ports(std::vector<ReachPorts>& ports,
                 std::vector<ReachCell>& cells) {
  std::vector<bool> kept(ports.size(), true);
  for (std::size_t port = 1; port < ports.size(); ++port) {
    kept[port] = !continues(ports[port - 1], ports[port]);
  }
  for (const auto& cell : cells) {
    const auto verdicts = verdicts_of(cell, ports.size());
    for (std::size_t port = 1; port < ports.size(); ++port) {
      kept[port] = kept[port] || verdicts[port] != verdicts[port - 1];
    }
  }
  std::vector<ReachPorts> merged;
  std::vector<std::size_t> place;
  for (std::size_t port = 0; port < ports.size(); ++port) {
    if (kept[port]) {
      merged.push_back(ports[port]);
    } else {
      merged.back().last = ports[port].last;
    }
    place.push_back(merged.size() - 1);
  }
  if (merged.size() < ports.size()) {
    for (auto& cell : cells) {
      renumber(cell, place, kept);
    }
    ports = std::move(merged);
  }
}

void leave_out_alike(ReachView& view, std::size_t world) {
  // By the pod's end and the direction: what the world may do.
  std::map<std::pair<std::size_t, bool>, const ReachCell*> of_world;
  for (const auto& cell : view.cells) {
    if (cell.from == world || cell.to == world) {
      const bool from = cell.from == world;
      of_world[{from ? cell.to : cell.from, from}] = &cell;
    }
  }
  std::vector<bool> kept(view.ends.size());
  for (std::size_t end = 0; end < kept.size(); ++end) {
    kept[end] = end == world || !view.ends[end].pods.empty();
  }
  for (const auto& cell : view.cells) {
    for (const auto& [outside, pod, from] :
         {std::tuple(cell.from, cell.to, true),
          std::tuple(cell.to, cell.from, false)}) {
      const auto found = of_world.find({pod, from});
      if (!kept[outside] &&
          (found == of_world.end() ||
           differs(cell, *found->second, view.ports.size()))) {
        kept[outside] = true;
      }
    }
  }
  std::vector<std::size_t> place(kept.size());
  std::vector<ReachEnd> ends;
  for (std::size_t end = 0; end < kept.size(); ++end) {
    place[end] = ends.size();
    if (kept[end]) {
      ends.push_back(std::move(view.ends[end]));
    }
  }
  view.ends = std::move(ends);
  std::erase_if(view.cells, [&](const ReachCell& cell) {
    return !kept[cell.from] || !kept[cell.to];
  });
  for (auto& cell : view.cells) {
    cell.from = place[cell.from];
    cell.to = place[cell.to];
  }
}

}  // namespace sluice::explain
