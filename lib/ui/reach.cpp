// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/reach.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>

#include "lib/explain/reach.h"
#include "lib/explain/text.h"

namespace sluice::ui {
namespace {

constexpr std::size_t kWorkloadsMax = 60;
constexpr std::size_t kPortsMax = 12;

// Those asked for, then those with names, as far as they fit.
std::vector<std::string> ports_of(const policy::Translator& translator,
                                  const std::vector<std::string>& pods,
                                  std::vector<std::string> ports) {
  std::set<std::pair<std::uint16_t, std::uint8_t>> named;
  for (const auto& name : pods) {
    const auto* pod = translator.pod(name);
    if (pod != nullptr && !pod->host_network && !pod->finished) {
      for (const auto& port : pod->ports) {
        named.emplace(port.port, port.protocol);
      }
    }
  }
  for (const auto& [port, protocol] : named) {
    auto text = std::to_string(port) + "/" + explain::protocol_text(protocol);
    if (std::ranges::find(ports, text) == ports.end()) {
      ports.push_back(std::move(text));
    }
  }
  ports.resize(std::min(ports.size(), kPortsMax));
  return ports;
}

// A bit for each port that has a place.
void add_cell(const explain::ReachCell& cell, ReachView& view) {
  const auto bit = [&](std::size_t port) {
    return port < view.ports.size() ? 1U << port : 0U;
  };
  for (const std::size_t port : cell.allowed) {
    view.allowed[cell.from][cell.to] |= bit(port);
  }
  for (const auto& some : cell.some) {
    view.some[cell.from][cell.to] |= bit(some.port);
  }
}

}  // namespace

Result<ReachView> reach_of(const policy::Translator& translator,
                           const std::string& ns,
                           const std::vector<std::string>& pods,
                           const std::vector<std::string>& ports) {
  const explain::ReachRequest request{
      .ns = {},
      .ports = ports_of(translator, pods, ports),
      .outside = false,
      .most_ends = kWorkloadsMax};
  auto judged = explain::reach(translator, request, pods, {});
  if (!judged) {
    return std::unexpected(judged.error());
  }
  if (request.ports.empty()) {  // the page asks for some
    judged->ports.clear();
  }
  judged->ports.resize(std::min(judged->ports.size(), kPortsMax));
  ReachView view;
  view.ns = ns;
  view.more = judged->more;
  for (const auto& port : judged->ports) {
    view.ports.push_back(port.asked);
  }
  for (const auto& end : judged->ends) {
    view.workloads.push_back({.ns = end.ns,
                              .kind = end.kind,
                              .name = end.name.substr(end.ns.size() + 1)});
    view.pods.push_back(end.pods.front());
    view.last_pods.push_back(end.pods.back());
  }
  const auto count = view.workloads.size();
  view.allowed.assign(count, std::vector<std::uint32_t>(count));
  view.some = view.allowed;
  for (std::size_t end = 0; end < count; ++end) {
    if (judged->ends[end].pods.size() == 1) {  // it reaches itself
      view.allowed[end][end] = (1U << view.ports.size()) - 1;
    }
  }
  for (const auto& cell : judged->cells) {
    add_cell(cell, view);
  }
  return view;
}

}  // namespace sluice::ui
