// SPDX-License-Identifier: Apache-2.0
// The backends of a Service's ports: those that kube-proxy would use, on all
// nodes or, by traffic policy and hints, on some.
#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "lib/base/sequence.h"
#include "lib/policy/services.h"

namespace sluice::policy {
namespace {

using Backends = std::vector<Backend>;

std::uint16_t target_on(const kube::Pod& pod, const kube::ServicePort& port) {
  if (port.target_name.empty()) {
    return port.target_port;
  }
  const auto found =
      std::ranges::find_if(pod.ports, [&](const kube::ContainerPort& own) {
        return own.name == port.target_name && own.protocol == port.protocol;
      });
  return found == pod.ports.end() ? std::uint16_t{0} : found->port;
}

// How likely kube-proxy uses an endpoint; it uses those of the best grade.
enum Grade : std::uint8_t { kReady, kEnding, kOther, kGrades };

Grade grade_of(const kube::SliceEndpoint& endpoint) {
  if (endpoint.ready) {
    return kReady;
  }
  return endpoint.serving && endpoint.terminating ? kEnding : kOther;
}

// Endpoints by grade.
class Graded {
 public:
  void add(Grade grade, const Backend& backend) {
    grades_[grade].push_back(backend);
  }
  [[nodiscard]] const Backends& of(Grade grade) const { return grades_[grade]; }
  [[nodiscard]] Backends best() const {
    Backends result;
    for (const auto& list : grades_) {
      result = result.empty() ? list : result;
    }
    sort_unique(result);
    return result;
  }

 private:
  std::array<Backends, kGrades> grades_;
};

void make_unique(std::map<std::string, Backends, std::less<>>& places) {
  for (auto& [place, backends] : places) {
    sort_unique(backends);
  }
}

}  // namespace

// The endpoints of one port and family.
struct Services::Found {
  struct Endpoint {
    Backend backend;
    Grade grade = kReady;
    const std::string* node = nullptr;
    const kube::SliceEndpoint* hints = nullptr;  // there may be none
  };
  std::vector<Endpoint> endpoints;

  [[nodiscard]] Backends best() const;
  [[nodiscard]] Nearby local() const;
  [[nodiscard]] Nearby hinted(kube::Closeness wanted) const;
  [[nodiscard]] Backends with_ending(Backends best) const;
};

bool Services::selects(const kube::Labels& selector,
                       const kube::Labels& labels) {
  return std::ranges::all_of(selector, [&](const auto& term) {
    const auto it = labels.find(term.first);
    return it != labels.end() && it->second == term.second;
  });
}

std::vector<Backend> Services::Found::best() const {
  Graded all;
  for (const auto& endpoint : endpoints) {
    all.add(endpoint.grade, endpoint.backend);
  }
  return all.best();
}

// Every node by itself.
Nearby Services::Found::local() const {
  std::map<std::string, Graded> nodes;
  for (const auto& endpoint : endpoints) {
    if (!endpoint.node->empty()) {
      nodes[*endpoint.node].add(endpoint.grade, endpoint.backend);
    }
  }
  Nearby result{.only = true, .by_node = {}, .by_zone = {}};
  for (const auto& [node, graded] : nodes) {
    result.by_node[node] = graded.best();
  }
  return result;
}

Nearby Services::Found::hinted(kube::Closeness wanted) const {
  Nearby result;
  bool nodes = wanted != kube::Closeness::kNone;
  bool zones = nodes;
  for (const auto& endpoint : endpoints) {
    if (endpoint.grade != kReady) {
      continue;
    }
    nodes = nodes && endpoint.hints != nullptr &&
            !endpoint.hints->for_nodes.empty();
    zones = zones && endpoint.hints != nullptr &&
            !endpoint.hints->for_zones.empty();
  }
  // Versions of kube-proxy disagree whether hints for nodes count for a Service
  // that asks for zones.
  if (nodes && wanted == kube::Closeness::kZone) {
    return result;
  }
  const auto add = [](auto& places, const std::vector<std::string>& names,
                      const Backend& backend) {
    for (const auto& name : names) {
      if (!name.empty()) {
        places[name].push_back(backend);
      }
    }
  };
  for (const auto& endpoint : endpoints) {
    if (endpoint.grade != kReady) {
      continue;
    }
    if (nodes) {
      add(result.by_node, endpoint.hints->for_nodes, endpoint.backend);
    }
    if (zones) {
      add(result.by_zone, endpoint.hints->for_zones, endpoint.backend);
    }
  }
  make_unique(result.by_node);
  make_unique(result.by_zone);
  return result;
}

// With externalTrafficPolicy Local, a node without ready endpoints sends
// packets from outside to those of its own that end, whatever there is
// elsewhere. A pod's packets may be taken for such. Empty if this adds nothing.
std::vector<Backend> Services::Found::with_ending(Backends best) const {
  std::map<std::string, Graded> nodes;
  for (const auto& endpoint : endpoints) {
    nodes[*endpoint.node].add(endpoint.grade, endpoint.backend);
  }
  const std::size_t before = best.size();
  for (const auto& [node, graded] : nodes) {
    const auto& ending = graded.of(kEnding);
    if (!node.empty() && graded.of(kReady).empty()) {
      best.insert(best.end(), ending.begin(), ending.end());
    }
  }
  sort_unique(best);
  return best.size() == before ? Backends() : best;
}

void Services::find_in_slice(const kube::EndpointSlice& slice,
                             const kube::ServicePort& port,
                             std::array<Found, 2>& found) {
  for (const auto& own : slice.ports) {
    if (own.name != port.name || own.protocol != port.protocol ||
        own.port == 0) {
      continue;
    }
    for (const auto& endpoint : slice.endpoints) {
      for (const auto& address : endpoint.addresses) {
        found[address.v6 ? 1 : 0].endpoints.push_back(
            {.backend = {.address = address, .port = own.port},
             .grade = grade_of(endpoint),
             .node = &endpoint.node,
             .hints = &endpoint});
      }
    }
  }
}

void Services::find_pods(const Record& record, const kube::ServicePort& port,
                         std::array<Found, 2>& found) const {
  for (const auto* pod : pods_of_(record.object.ns)) {
    const auto target = target_on(*pod, port);
    if (pod->finished || target == 0 ||
        !selects(record.object.selector, pod->labels)) {
      continue;
    }
    for (const auto& address : pod->ips) {
      found[address.v6 ? 1 : 0].endpoints.push_back(
          {.backend = {.address = address, .port = target},
           .grade = kReady,
           .node = &pod->node,
           .hints = nullptr});
    }
  }
}

std::vector<ServicePortView> Services::resolve(const Record& record) const {
  std::vector<ServicePortView> result;
  const auto& object = record.object;
  if (!record.known || object.headless) {
    return result;
  }
  for (const auto& port : object.ports) {
    std::array<Found, 2> found;
    if (record.derived()) {
      find_pods(record, port, found);
    } else {
      for (const auto& [key, slice] : record.slices) {
        find_in_slice(slice, port, found);
      }
    }
    ServicePortView view{.protocol = port.protocol,
                         .port = port.port,
                         .node_port = port.node_port,
                         .backends = {}};
    for (std::size_t i = 0; i < found.size(); ++i) {
      view.backends[i] = found[i].best();
      auto hinted = found[i].hinted(object.closeness);
      if (object.external_local) {
        view.outside[i] = found[i].with_ending(view.backends[i]);
      } else {
        view.external[i] = hinted;
      }
      view.cluster[i] =
          object.internal_local ? found[i].local() : std::move(hinted);
    }
    result.push_back(std::move(view));
  }
  return result;
}

std::vector<ServicePortView> Services::resolve_hosted(const Record& record) {
  std::vector<ServicePortView> result;
  for (const auto& [name, pod] : record.hosted) {
    for (const auto& port : pod.ports) {
      ServicePortView view{.protocol = port.protocol,
                           .port = port.host_port,
                           .node_port = 0,
                           .backends = {},
                           .host_ip = port.host_ip};
      for (const auto& address : pod.ips) {
        view.backends[address.v6 ? 1 : 0] = {
            {.address = address, .port = port.port}};
      }
      result.push_back(std::move(view));
    }
  }
  return result;
}

const Nearby* ServicePortView::nearby(Front front, bool v6) const {
  switch (front) {
    case Front::kCluster:
      return &cluster[v6 ? 1 : 0];
    case Front::kExternal:
      return &external[v6 ? 1 : 0];
    case Front::kNode:
      break;
  }
  return nullptr;
}

bool ServicePortView::is_special(Front front, bool v6) const {
  const auto* near = nearby(front, v6);
  return near != nullptr && (!near->empty() || (front == Front::kExternal &&
                                                !outside[v6 ? 1 : 0].empty()));
}

const std::vector<Backend>& ServicePortView::at(Front front, bool v6,
                                                const Site& site) const {
  static const Backends none;
  const std::size_t family = v6 ? 1 : 0;
  if (const auto* near = nearby(front, v6)) {
    if (const auto it = near->by_node.find(site.node);
        it != near->by_node.end()) {
      return it->second;
    }
    if (const auto it = near->by_zone.find(site.zone);
        it != near->by_zone.end()) {
      return it->second;
    }
    if (near->only) {
      return none;
    }
  }
  return front == Front::kCluster || outside[family].empty() ? backends[family]
                                                             : outside[family];
}

std::string host_ports_of(const std::string& node) {
  return "/" + node;
}

std::string_view node_of_host_ports(std::string_view name) {
  return name.starts_with('/') ? name.substr(1) : std::string_view();
}

}  // namespace sluice::policy
