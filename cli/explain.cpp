// SPDX-License-Identifier: Apache-2.0
#include "agent/instance/explain.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "cli/cluster.h"
#include "lib/policy/model.h"

namespace sluice::cli {
namespace {

// One end of the question.
struct End : instance::ExplainEnd {
  const kube::Pod* pod = nullptr;
};

Result<End> find_end(const op::Store& store, const std::string& text,
                     const char* option) {
  End end;
  end.text = text;
  std::string name = text;
  const auto ip = parse_ip(text);
  if (ip) {
    end.ips = {*ip};
    name = store.name_of(*ip);
    if (name.empty() || name.starts_with("node/")) {
      return end;
    }
    end.text = name + " (" + text + ")";
  }
  const auto slash = name.find('/');
  if (slash == std::string::npos) {
    return fail(std::string(option) + ": \"" + text +
                "\" is neither namespace/pod nor an address");
  }
  end.pod = store.pod(name.substr(0, slash), name.substr(slash + 1));
  if (end.pod == nullptr) {
    return fail(std::string(option) + ": there is no pod " + name);
  }
  if (!ip) {
    end.ips = end.pod->ips;
  }
  return end;
}

class Explainer {
 public:
  Explainer(const Cluster& cluster, instance::PortArgument port)
      : cluster_(&cluster), port_(port) {}

  // An end that is not a pod has no policy to describe.
  void describe(instance::SideView& view, const kube::Pod* pod,
                policy::Direction direction, const IpAddress& peer) {
    if (pod == nullptr) {
      return;
    }
    const auto name = pod->ns + "/" + pod->name;
    const auto& model = model_of(pod->node);
    const auto* endpoint = model.endpoint(name);
    view.endpoint = name;
    view.node = pod->node;
    if (endpoint == nullptr) {
      return;
    }
    const auto verdict =
        model.lookup(*endpoint, direction, peer, port_.protocol, port_.port);
    instance::set_verdict(view, verdict.allowed, verdict.reason,
                          model.rule(verdict.rule), verdict.entry);
    add_rules(view, name, peer, direction);
  }

 private:
  const policy::Model& model_of(const std::string& node) {
    auto found = models_.find(node);
    if (found == models_.end()) {
      found = models_
                  .emplace(node,
                           policy::Model(cluster_->translator().snapshot(node)))
                  .first;
    }
    return found->second;
  }

  void add_rules(instance::SideView& view, const std::string& name,
                 const IpAddress& peer, policy::Direction direction) {
    auto answer = cluster_->translator().explain({.subject = name,
                                                  .direction = direction,
                                                  .peer = peer,
                                                  .protocol = port_.protocol,
                                                  .port = port_.port});
    if (!answer) {
      return;
    }
    view.isolated = answer->isolated;
    view.isolating = std::move(answer->isolating);
    for (auto& miss : answer->near_misses) {
      view.near_misses.push_back({.policy = std::move(miss.rule.policy),
                                  .path = std::move(miss.rule.path),
                                  .action = std::move(miss.rule.action),
                                  .differs = std::move(miss.differs),
                                  .detail = std::move(miss.detail)});
    }
    view.behind = behind_lines(*answer);
    if (!answer->problem.empty()) {
      view.reason += " (isolated: " + answer->problem + ")";
    }
    if (answer->allowed != view.allowed) {
      view.reason += " (a defect: the rules themselves give another verdict)";
    }
  }

  // Lists the backends of the Service that are not allowed first, then the
  // number of those that are.
  static std::vector<std::string> behind_lines(
      const policy::Translator::Answer& answer) {
    constexpr std::size_t kMost = 5;
    std::vector<std::string> lines;
    lines.reserve(answer.services.size() + kMost + 2);
    for (const auto& name : answer.services) {
      lines.push_back("through Service " + name);
    }
    if (!answer.services.empty() && answer.backends.empty()) {
      lines.emplace_back("which has no endpoint for this port");
    }
    std::size_t denied = 0;
    for (const auto& backend : answer.backends) {
      const bool itself = backend.decided.id == SLUICE_RULE_SELF;
      if (!itself && (backend.allowed || ++denied > kMost)) {
        continue;
      }
      const auto address = to_string(backend.address);
      std::string line = "backend " +
                         (backend.address.v6 ? "[" + address + "]" : address) +
                         ":" + std::to_string(backend.port);
      line += backend.pod.empty() ? "" : " (" + backend.pod + ")";
      line += itself ? " is the pod itself" : " is not allowed";
      if (!backend.decided.policy.empty()) {
        line += ", by " + backend.decided.policy + " " + backend.decided.path;
      }
      lines.push_back(std::move(line));
    }
    if (denied > kMost) {
      lines.push_back("and " + std::to_string(denied - kMost) + " more");
    }
    if (!answer.backends.empty()) {
      lines.push_back(std::to_string(answer.backends.size() - denied) + " of " +
                      std::to_string(answer.backends.size()) +
                      " backends allowed");
    }
    return lines;
  }

  const Cluster* cluster_;
  instance::PortArgument port_;
  std::map<std::string, policy::Model> models_;
};

}  // namespace

Result<instance::ExplainView> explain(const Cluster& cluster,
                                      const instance::ExplainRequest& request) {
  const auto port = instance::parse_port(request.port);
  if (!port) {
    return std::unexpected(port.error());
  }
  const auto from = find_end(cluster.store(), request.from, "--from");
  if (!from) {
    return std::unexpected(from.error());
  }
  const auto to = find_end(cluster.store(), request.to, "--to");
  if (!to) {
    return std::unexpected(to.error());
  }
  if (from->pod == nullptr && to->pod == nullptr) {
    return fail("neither end is a pod");
  }
  Explainer explainer(cluster, *port);
  return instance::explain_ends(
      *from, *to, *port,
      [&](instance::SideView& side, sluice_direction direction,
          const IpAddress& /*own*/, const IpAddress& peer) {
        explainer.describe(side,
                           direction == SLUICE_EGRESS ? from->pod : to->pod,
                           static_cast<policy::Direction>(direction), peer);
      });
}

}  // namespace sluice::cli
