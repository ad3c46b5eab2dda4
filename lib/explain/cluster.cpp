// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/cluster.h"

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "lib/base/sequence.h"
#include "lib/dns/name.h"
#include "lib/explain/find_ends.h"
#include "lib/explain/pieces.h"
#include "lib/explain/text.h"

namespace sluice::explain {
namespace {

using policy::Direction;
using policy::Translator;

// Backends that are judged for one question. A bound on the work, because
// agents may ask the operator.
constexpr std::size_t kBackendsJudged = 256;
// Sides that are shown of backends that accept; all others are only counted.
constexpr std::size_t kAcceptingShown = 8;

std::string at_port(const IpAddress& address, std::uint16_t port) {
  const auto text = to_string(address);
  return (address.v6 ? "[" + text + "]" : text) + ":" + std::to_string(port);
}

// Lists the backends of the Service that are not allowed first, then the number
// of those that are.
std::vector<std::string> behind_lines(const Translator::Answer& answer) {
  constexpr std::size_t kMost = 5;
  std::vector<std::string> lines;
  lines.reserve(answer.services.size() + answer.local_services.size() +
                answer.host_port_nodes.size() + kMost + 2);
  for (const auto& name : answer.services) {
    lines.push_back("through Service " + name);
  }
  for (const auto& node : answer.host_port_nodes) {
    lines.push_back("through a host port of node " + node);
  }
  for (const auto& name : answer.local_services) {
    lines.push_back("of Service " + name +
                    ", only endpoints on the pod's own node count "
                    "(internalTrafficPolicy: Local)");
  }
  if (!answer.services.empty() && answer.backends.empty()) {
    lines.emplace_back(answer.local_services.empty()
                           ? "which has no endpoint for this port"
                           : "which has no endpoint for this port there");
  }
  std::size_t denied = 0;
  for (const auto& backend : answer.backends) {
    const bool itself = backend.decided.id == SLUICE_RULE_SELF;
    if (!itself && (backend.allowed || ++denied > kMost)) {
      continue;
    }
    std::string line = "backend " + at_port(backend.address, backend.port);
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

class Explainer {
 public:
  // `names`: for which the sender knows the receiver's address.
  Explainer(const Translator& translator, const PortArgument& port,
            const End& from, const End& to, std::vector<dns::Name> names)
      : translator_(&translator),
        port_(port),
        from_(&from),
        to_(&to),
        names_(std::move(names)) {}

  // An end that is not a pod has no policy to describe.
  void describe(ExplainView& view, SideView side, Direction direction,
                const IpAddress& own, const IpAddress& peer) {
    const auto* pod = (direction == Direction::kEgress ? from_ : to_)->pod;
    if (pod != nullptr) {
      judge(side, *pod, direction, peer, port_.port);
    } else if (direction == Direction::kIngress &&
               add_backends(view, own, peer)) {
      return;
    }
    view.sides.push_back(std::move(side));
  }

  // Of what stands behind a Service; empty if there is none.
  [[nodiscard]] std::string summary(const ExplainView& view) const {
    if (through_.empty()) {
      return {};
    }
    const bool egress =
        std::ranges::none_of(view.sides, [](const SideView& side) {
          return side.direction == direction_text(SLUICE_EGRESS) &&
                 !side.allowed;
        });
    std::string text = egress ? "allowed" : "denied";
    text += " at egress; ";
    // A Service that has an address of each family mostly has the same backends
    // in both.
    const auto& first = fronts_.front();
    if (std::ranges::all_of(fronts_, [&](const Front& front) {
          return front.accepting == first.accepting &&
                 front.backends == first.backends;
        })) {
      text += first.text();
    } else {
      std::vector<std::string> texts;
      texts.reserve(fronts_.size());
      for (const auto& front : fronts_) {
        texts.push_back(front.text() + (front.v6 ? " by IPv6" : " by IPv4"));
      }
      text += joined(texts);
    }
    if (backends_ < all_backends_) {
      text += " (" + std::to_string(all_backends_ - backends_) +
              " more were not asked)";
    }
    return text;
  }
  // Describes the pod's end for every part of the other end's prefixes that is
  // judged in its own way, those with the same verdict by the same rule as one
  // side.
  void describe_prefixes(ExplainView& view, const kube::Pod& pod,
                         Direction direction, const End& other) const {
    std::vector<IpPrefix> known;
    for (const auto& peer : translator_->snapshot(pod.node).peers) {
      known.push_back(peer.prefix);
    }
    std::vector<std::pair<Verdict, std::vector<std::string>>> groups;
    for (const auto& prefix : other.prefixes) {
      if (!has_family(pod, prefix.address.v6)) {
        continue;
      }
      for (const auto& piece : pieces_of(prefix, known)) {
        if (!is_entity(*translator_, other.entity, pod, piece.sample)) {
          continue;
        }
        auto side = piece_side(pod, direction, piece);
        const Verdict verdict{side.allowed, side.reason, side.policy,
                              side.path};
        auto same = std::ranges::find(
            groups, verdict, [](const auto& group) { return group.first; });
        if (same == groups.end()) {
          same = groups.insert(same, {verdict, {}});
          view.sides.push_back(std::move(side));
        }
        same->second.push_back(named(piece.prefix));
      }
    }
    for (std::size_t i = 0; i < groups.size(); ++i) {
      view.sides[i].peer = listed(groups[i].second);
    }
  }

  // The Services and host ports that lead to the backends, as text.
  [[nodiscard]] const std::set<std::string>& through() const {
    return through_;
  }

 private:
  using Verdict = std::tuple<bool, std::string, std::string, std::string>;

  static bool has_family(const kube::Pod& pod, bool v6) {
    return std::ranges::any_of(
        pod.ips, [v6](const IpAddress& ip) { return ip.v6 == v6; });
  }

  [[nodiscard]] SideView piece_side(const kube::Pod& pod, Direction direction,
                                    const Piece& piece) const {
    SideView side;
    side.direction = direction_text(static_cast<unsigned>(direction));
    judge(side, pod, direction, piece.sample, port_.port);
    // What holds at the sample's address alone is left out.
    side.behind.clear();
    for (auto& miss : side.near_misses) {
      replace_end(miss.detail, to_string(piece.sample),
                  to_string(piece.prefix));
    }
    return side;
  }

  // "10.0.0.1/32 (shop/web)".
  [[nodiscard]] std::string named(const IpPrefix& prefix) const {
    const auto name = prefix.length == prefix.address.bits()
                          ? translator_->name_of(prefix.address)
                          : std::string();
    return to_string(prefix) + (name.empty() ? "" : " (" + name + ")");
  }

  static void replace_end(std::string& text, const std::string& end,
                          const std::string& by) {
    if (text.ends_with(" " + end)) {
      text.replace(text.size() - end.size(), end.size(), by);
    }
  }

  // "10.0.0.0/8, 10.1.0.0/16 and 3 more".
  static std::string listed(const std::vector<std::string>& texts) {
    constexpr std::size_t kMost = 5;
    const auto shown = std::min(kMost, texts.size());
    auto text = joined(std::vector(
        texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(shown)));
    if (shown < texts.size()) {
      text += " and " + std::to_string(texts.size() - shown) + " more";
    }
    return text;
  }

  void judge(SideView& side, const kube::Pod& pod, Direction direction,
             const IpAddress& peer, std::uint16_t port) const {
    side.endpoint = pod.ns + "/" + pod.name;
    side.node = pod.node;
    for (const auto& name : names_) {
      if (direction == Direction::kEgress) {
        side.names.push_back(name.text());
      }
    }
    auto answer = translator_->explain({.subject = side.endpoint,
                                        .direction = direction,
                                        .peer = peer,
                                        .protocol = port_.protocol,
                                        .port = port,
                                        .names = names_});
    if (!answer) {
      return;
    }
    set_verdict(side, answer->allowed, answer->reason,
                answer->decided.policy.empty() ? nullptr : &answer->decided,
                answer->entry);
    set_pattern(side, answer->pattern);
    side.isolated = answer->isolated;
    side.isolating = std::move(answer->isolating);
    add_near_misses(side, std::move(answer->near_misses));
    side.behind = behind_lines(*answer);
    if (!answer->problem.empty()) {
      side.reason += " (isolated: " + answer->problem + ")";
    }
  }

  // Whom a backend's policy sees. A cluster address keeps the sender's address.
  // A node port masquerades: the node of the backend still knows the client if
  // the packet entered there; otherwise it sees the node that masqueraded. See
  // docs/services.md.
  [[nodiscard]] IpAddress seen_as(const IpAddress& front,
                                  const IpAddress& sender,
                                  const kube::Pod& backend) const {
    auto entered = translator_->name_of(front);
    if (!entered.starts_with("node/")) {
      return sender;
    }
    entered.erase(0, sizeof("node/") - 1);
    if (backend.node != entered) {
      return front;
    }
    if (from_->pod == nullptr || from_->pod->node == entered) {
      return sender;
    }
    return translator_->node_address(from_->pod->node, sender.v6)
        .value_or(sender);
  }

  // Adds the ingress of every backend. False if nothing is behind the address.
  bool add_backends(ExplainView& view, const IpAddress& front,
                    const IpAddress& sender) {
    const auto found = translator_->destination(
        front, port_.protocol, port_.port,
        from_->pod == nullptr ? std::string() : from_->pod->node);
    if (found.empty()) {
      return false;
    }
    for (const auto& name : found.services) {
      through_.insert("Service " + name);
    }
    for (const auto& name : found.host_port_nodes) {
      through_.insert("host port of node " + name);
    }
    all_backends_ += found.backends.size();
    auto& counted = fronts_.emplace_back(Front{.v6 = front.v6});
    std::vector<SideView> accepting;
    for (const auto& [address, port] : found.backends) {
      if (backends_ == kBackendsJudged) {
        break;
      }
      ++backends_;
      ++counted.backends;
      auto side = backend_side(address, port, front, sender);
      if (side.allowed) {
        ++counted.accepting;
        accepting.push_back(std::move(side));
      } else {
        view.sides.push_back(std::move(side));
      }
    }
    accepting.resize(std::min(accepting.size(), kAcceptingShown));
    std::ranges::move(accepting, std::back_inserter(view.sides));
    if (found.backends.empty()) {
      view.sides.push_back(no_backend(front, sender));
    }
    return true;
  }

  [[nodiscard]] SideView backend_side(const IpAddress& address,
                                      std::uint16_t port,
                                      const IpAddress& front,
                                      const IpAddress& sender) const {
    SideView side;
    side.direction = direction_text(SLUICE_INGRESS);
    side.backend = at_port(address, port);
    side.endpoint = side.backend;
    side.peer = to_string(sender);
    const auto* pod = translator_->pod(translator_->name_of(address));
    if (pod != nullptr) {
      const auto seen = seen_as(front, sender, *pod);
      side.peer = to_string(seen);
      judge(side, *pod, Direction::kIngress, seen, port);
    }
    return side;
  }

  static SideView no_backend(const IpAddress& front, const IpAddress& sender) {
    SideView side;
    side.direction = direction_text(SLUICE_INGRESS);
    side.endpoint = to_string(front);
    side.peer = to_string(sender);
    side.allowed = false;
    side.judged = true;
    side.reason = "the Service has no endpoint for this port";
    return side;
  }

  const Translator* translator_;
  PortArgument port_;
  const End* from_;
  const End* to_;
  std::vector<dns::Name> names_;
  std::set<std::string> through_;
  std::size_t backends_ = 0;  // judged
  std::size_t all_backends_ = 0;
  // What stands behind one address.
  struct Front {
    bool v6 = false;
    std::size_t backends = 0;
    std::size_t accepting = 0;
    [[nodiscard]] std::string text() const {
      return std::to_string(accepting) + " of " + std::to_string(backends) +
             (backends == 1 ? " backend accepts" : " backends accept");
    }
  };
  std::vector<Front> fronts_;
};

// Explains the end that is a pod, against prefixes at the other.
Result<ExplainView> explain_prefixes(const Explainer& explainer,
                                     const End& from, const End& to,
                                     const PortArgument& port) {
  const bool egress = !to.prefixes.empty();
  const auto& end = egress ? from : to;
  const auto& other = egress ? to : from;
  if (end.pod == nullptr) {
    return fail("the other end of " + other.text + " must be a pod");
  }
  ExplainView view{.from = from.text,
                   .to = to.text,
                   .port = port_text(port),
                   .allowed = true,
                   .summary = {},
                   .sides = {}};
  explainer.describe_prefixes(
      view, *end.pod, egress ? Direction::kEgress : Direction::kIngress, other);
  if (view.sides.empty()) {
    return fail(end.text + " and " + other.text +
                " have no address family in common, or nothing is " +
                other.text);
  }
  view.allowed = std::ranges::all_of(view.sides, &SideView::allowed);
  if (!view.allowed && std::ranges::any_of(view.sides, &SideView::allowed)) {
    view.summary = "a part of it is allowed";
  }
  return view;
}

// Fails if none of the ends is one that the question may be about; see
// explain_cluster().
Result<void> check_ends(const Translator& translator, const End& from,
                        const End& to, const PortArgument& port,
                        const std::string& node) {
  const auto there = [&](const End& end) {
    return end.pod != nullptr && (node.empty() || end.pod->node == node);
  };
  if (there(from) || there(to)) {
    return {};
  }
  if (!node.empty()) {
    return fail("neither end is a pod of node " + node);
  }
  const bool leads_on = std::ranges::any_of(to.ips, [&](const IpAddress& ip) {
    return !translator.destination(ip, port.protocol, port.port, {}).empty();
  });
  return leads_on ? Result<void>() : fail("neither end is a pod");
}

}  // namespace

Result<ExplainView> explain_cluster(const Translator& translator,
                                    const ExplainRequest& request,
                                    const std::string& node,
                                    const KnownPods& known_pods) {
  const auto ends = find_ends(translator, request, known_pods);
  if (!ends) {
    return std::unexpected(ends.error());
  }
  const auto& [from, to] = *ends;
  const auto port = find_port(request.port, to);
  if (!port) {
    return std::unexpected(port.error());
  }
  if (const auto checked = check_ends(translator, from, to, *port, node);
      !checked) {
    return std::unexpected(checked.error());
  }
  std::vector<dns::Name> names;
  for (const auto& text : request.to_names) {
    auto name = dns::Name::from_text(text);
    if (!name) {
      return fail("--to-name: \"" + text + "\" " + name.error().message);
    }
    names.push_back(std::move(*name));
  }
  Explainer explainer(translator, *port, from, to, std::move(names));
  if (!from.prefixes.empty() || !to.prefixes.empty()) {
    return explain_prefixes(explainer, from, to, *port);
  }
  auto view = explain_ends(
      from, to, *port,
      [&](ExplainView& all, SideView side, sluice_direction direction,
          const IpAddress& own, const IpAddress& peer) {
        explainer.describe(all, std::move(side),
                           static_cast<Direction>(direction), own, peer);
      });
  if (view) {
    view->summary = explainer.summary(*view);
    if (!explainer.through().empty() && to.service == nullptr) {
      view->to += " (" + joined(explainer.through()) + ")";
    }
  }
  return view;
}

}  // namespace sluice::explain
