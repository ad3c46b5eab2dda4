// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/reach.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "lib/explain/text.h"
#include "lib/flow/cluster_end.h"

namespace sluice::ui {
namespace {

using policy::Direction;
using policy::Translator;

// A row costs two questions to the rules for each column and port.
constexpr std::size_t kWorkloadsMax = 60;
constexpr std::size_t kPortsMax = 12;

Workload workload_at(const kube::Pod& pod) {
  auto owner = flow::workload_of(pod);
  return {.ns = pod.ns,
          .kind = std::move(owner.kind),
          .name = std::move(owner.name)};
}

bool is_subject(const kube::Pod& pod) {
  return !pod.host_network && !pod.finished && !pod.ips.empty();
}

// Of every workload its first pod.
std::map<Workload, const kube::Pod*> first_pods(
    const Translator& translator, const std::vector<std::string>& pods) {
  std::map<Workload, const kube::Pod*> result;
  for (const auto& name : pods) {
    const auto* pod = translator.pod(name);
    if (pod != nullptr && is_subject(*pod)) {
      result.try_emplace(workload_at(*pod), pod);
    }
  }
  return result;
}

bool allows(const Translator& translator, const kube::Pod& subject,
            Direction direction, const IpAddress& peer,
            const explain::PortArgument& port) {
  const auto answer =
      translator.explain({.subject = subject.ns + "/" + subject.name,
                          .direction = direction,
                          .peer = peer,
                          .protocol = port.protocol,
                          .port = port.port});
  return !answer || answer->allowed;  // no answer: it has no policy of its own
}

bool reaches(const Translator& translator, const kube::Pod& from,
             const kube::Pod& to, const explain::PortArgument& port) {
  bool any = false;
  for (const auto& source : from.ips) {
    for (const auto& destination : to.ips) {
      if (source.v6 != destination.v6) {
        continue;
      }
      if (!allows(translator, from, Direction::kEgress, destination, port) ||
          !allows(translator, to, Direction::kIngress, source, port)) {
        return false;
      }
      any = true;
    }
  }
  return any;
}

}  // namespace

Result<ReachView> reach_of(const Translator& translator, const std::string& ns,
                           const std::vector<std::string>& pods,
                           const std::vector<std::string>& ports) {
  ReachView view;
  view.ns = ns;
  std::set<std::pair<std::uint16_t, std::uint8_t>> named;
  for (const auto& [workload, pod] : first_pods(translator, pods)) {
    if (view.workloads.size() == kWorkloadsMax) {
      view.more = true;
      break;
    }
    view.workloads.push_back(workload);
    view.pods.push_back(ns + "/" + pod->name);
    for (const auto& port : pod->ports) {
      named.emplace(port.port, port.protocol);
    }
  }
  view.ports = ports;
  for (const auto& [port, protocol] : named) {
    auto text = std::to_string(port) + "/" + explain::protocol_text(protocol);
    if (std::ranges::find(view.ports, text) == view.ports.end()) {
      view.ports.push_back(std::move(text));
    }
  }
  view.ports.resize(std::min(view.ports.size(), kPortsMax));
  for (const auto& port : view.ports) {
    if (const auto parsed = explain::parse_port(port); !parsed) {
      return std::unexpected(parsed.error());
    }
  }
  view.allowed.resize(view.workloads.size());
  return view;
}

void fill_reach_row(const Translator& translator, std::size_t source,
                    ReachView& view) {
  const auto* from = translator.pod(view.pods[source]);  // may have gone
  auto& row = view.allowed[source];
  row.assign(view.workloads.size(), 0);
  for (std::size_t column = 0; from != nullptr && column < row.size();
       ++column) {
    const auto* to = translator.pod(view.pods[column]);
    for (std::size_t bit = 0; to != nullptr && bit < view.ports.size(); ++bit) {
      const auto port = explain::parse_port(view.ports[bit]);
      if (port && reaches(translator, *from, *to, *port)) {
        row[column] |= 1U << bit;
      }
    }
  }
}

}  // namespace sluice::ui
