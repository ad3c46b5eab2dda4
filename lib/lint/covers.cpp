// SPDX-License-Identifier: Apache-2.0
#include "lib/lint/covers.h"

#include <algorithm>

#include <netinet/in.h>

#include "lib/policy/identity.h"

namespace sluice::lint {
namespace {

using policy::CidrPeer;
using policy::Entity;
using policy::L4;
using policy::LabelSelector;
using policy::NamedPort;
using policy::NamePeer;
using policy::PeerSelector;
using policy::PortRange;
using policy::Requirement;
using policy::Rule;
using Op = Requirement::Op;

constexpr std::uint16_t kPortMax = 65'535;

bool is_positive(const Requirement& requirement) {
  return requirement.op == Op::kIn || requirement.op == Op::kExists;
}

bool includes(const std::vector<std::string>& values,
              const std::vector<std::string>& part) {
  return std::ranges::includes(values, part);
}

bool share_none(const std::vector<std::string>& a,
                const std::vector<std::string>& b) {
  return std::ranges::none_of(a, [&](const std::string& value) {
    return std::ranges::binary_search(b, value);
  });
}

// Whatever fulfils `given` fulfils `wanted`; both are about the same key.
bool implies(const Requirement& given, const Requirement& wanted) {
  switch (wanted.op) {
    case Op::kIn:
      return given.op == Op::kIn && includes(wanted.values, given.values);
    case Op::kExists:
      return is_positive(given);
    case Op::kNotIn:
      return given.op == Op::kDoesNotExist ||
             (given.op == Op::kNotIn &&
              includes(given.values, wanted.values)) ||
             (given.op == Op::kIn && share_none(given.values, wanted.values));
    case Op::kDoesNotExist:
      return given.op == Op::kDoesNotExist;
  }
  return false;
}

// A requirement that only pods fulfil: of their namespace and cluster.
bool means_pods(const Requirement& requirement) {
  const std::string_view key = requirement.key;
  return is_positive(requirement) &&
         (key == policy::kNamespaceKey || key == policy::kClusterKey ||
          key.starts_with(policy::kNamespaceLabelPrefix));
}

bool is_only_pods(const LabelSelector& selector) {
  return std::ranges::any_of(selector.requirements, means_pods);
}

bool is_implied(const Requirement& wanted, const LabelSelector& given) {
  const bool every_pod_has =
      wanted.op == Op::kExists && (wanted.key == policy::kNamespaceKey ||
                                   wanted.key == policy::kClusterKey);
  return (every_pod_has && is_only_pods(given)) ||
         std::ranges::any_of(given.requirements,
                             [&](const Requirement& requirement) {
                               return requirement.key == wanted.key &&
                                      implies(requirement, wanted);
                             });
}

bool covers_cidr(const CidrPeer& wide, const CidrPeer& narrow) {
  if (!wide.cidr.contains(narrow.cidr) ||
      (wide.external_only && !narrow.external_only)) {
    return false;
  }
  return std::ranges::all_of(wide.except, [&](const IpPrefix& except) {
    const bool apart =
        !except.contains(narrow.cidr) && !narrow.cidr.contains(except);
    return apart || std::ranges::any_of(narrow.except, [&](const auto& out) {
             return out.contains(except);
           });
  });
}

bool covers_by_entity(Entity wide, const PeerSelector& narrow) {
  if (const auto* entity = std::get_if<Entity>(&narrow)) {
    return *entity == wide ||
           (wide == Entity::kCluster &&
            (*entity == Entity::kHost || *entity == Entity::kRemoteNode));
  }
  if (wide == Entity::kCluster) {
    const auto* labels = std::get_if<LabelSelector>(&narrow);
    return labels != nullptr && is_only_pods(*labels);
  }
  // Not of CIDRs: what these are apart from world depends on --cidr-match.
  const auto* name = std::get_if<NamePeer>(&narrow);
  return wide == Entity::kWorld && name != nullptr && name->external_only;
}

bool covers_name(const NamePeer& wide, const NamePeer& narrow) {
  return wide.external_only == narrow.external_only &&
         (wide.pattern == narrow.pattern || wide.pattern.matches_every_name());
}

bool covers_range(const L4& wide, const PortRange& narrow) {
  // Ranges are merged where a rule is parsed.
  return std::ranges::any_of(wide.ranges, [&](const PortRange& range) {
    return range.protocol == narrow.protocol && range.first <= narrow.first &&
           range.last >= narrow.last;
  });
}

bool covers_named(const L4& wide, const NamedPort& narrow) {
  const bool same =
      std::ranges::any_of(wide.named, [&](const NamedPort& named) {
        return named.name == narrow.name && named.end_port == narrow.end_port &&
               (named.protocol == 0 || named.protocol == narrow.protocol);
      });
  const auto has_all = [&](std::uint8_t protocol) {
    return covers_range(wide,
                        {.protocol = protocol, .first = 0, .last = kPortMax});
  };
  return same ||
         (narrow.protocol != 0 ? has_all(narrow.protocol)
                               : has_all(IPPROTO_TCP) && has_all(IPPROTO_UDP) &&
                                     has_all(IPPROTO_SCTP));
}

// Who may be asked for names is a server whose answers count; who may be
// talked to is none, so that neither covers the other.
bool covers_questions(const Rule& wide, const Rule& narrow) {
  if (!wide.dns || !narrow.dns) {
    return !wide.dns && !narrow.dns;
  }
  return std::ranges::all_of(narrow.dns->names, [&](const auto& name) {
    return std::ranges::any_of(wide.dns->names, [&](const auto& other) {
      return other == name || other.matches_every_name();
    });
  });
}

}  // namespace

bool covers(const LabelSelector& wide, const LabelSelector& narrow) {
  return std::ranges::all_of(wide.requirements, [&](const Requirement& wanted) {
    return is_implied(wanted, narrow);
  });
}

bool covers(const PeerSelector& wide, const PeerSelector& narrow) {
  if (wide == narrow) {
    return true;
  }
  if (const auto* entity = std::get_if<Entity>(&wide)) {
    return covers_by_entity(*entity, narrow);
  }
  const auto both = [&]<typename T>(const T* a, const auto& compare) {
    const auto* b = std::get_if<T>(&narrow);
    return a != nullptr && b != nullptr && compare(*a, *b);
  };
  return both(std::get_if<LabelSelector>(&wide),
              [](const auto& a, const auto& b) { return covers(a, b); }) ||
         both(std::get_if<CidrPeer>(&wide), covers_cidr) ||
         both(std::get_if<NamePeer>(&wide), covers_name);
}

bool covers(const L4& wide, const L4& narrow) {
  if (wide.any || narrow.any) {
    return wide.any;
  }
  return std::ranges::all_of(narrow.ranges,
                             [&](const PortRange& range) {
                               return covers_range(wide, range);
                             }) &&
         std::ranges::all_of(narrow.named, [&](const NamedPort& named) {
           return covers_named(wide, named);
         });
}

bool covers(const Rule& wide, const PeerSelector& narrow_peer,
            const Rule& narrow) {
  const bool questions =
      wide.action != policy::Action::kAllow || covers_questions(wide, narrow);
  return covers(wide.l4, narrow.l4) && questions &&
         (wide.any_peer ||
          std::ranges::any_of(wide.peers, [&](const PeerSelector& peer) {
            return covers(peer, narrow_peer);
          }));
}

bool are_disjoint(const LabelSelector& a, const LabelSelector& b) {
  return std::ranges::any_of(a.requirements, [&](const Requirement& first) {
    return std::ranges::any_of(b.requirements, [&](const Requirement& second) {
      if (first.key != second.key) {
        return false;
      }
      if (first.op == Op::kIn && second.op == Op::kIn) {
        return share_none(first.values, second.values);
      }
      const auto excludes = [](const Requirement& x, const Requirement& y) {
        return is_positive(x) && (y.op == Op::kDoesNotExist ||
                                  (y.op == Op::kNotIn && x.op == Op::kIn &&
                                   includes(y.values, x.values)));
      };
      return excludes(first, second) || excludes(second, first);
    });
  });
}

bool is_empty(const Rule& rule) {
  const bool no_peer = !rule.any_peer && rule.peers.empty();
  const bool no_port =
      !rule.l4.any && rule.l4.ranges.empty() && rule.l4.named.empty();
  return no_peer || no_port;
}

}  // namespace sluice::lint
