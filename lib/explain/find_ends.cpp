// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/find_ends.h"

#include <algorithm>
#include <cctype>
#include <string_view>
#include <utility>

#include <strings.h>

#include "lib/base/protocol.h"
#include "lib/base/suggestion.h"

namespace sluice::explain {
namespace {

using policy::Translator;

constexpr std::string_view kServicePrefix = "svc/";
constexpr std::string_view kNodePrefix = "node/";

// "namespace/name" of a Service that is asked for as "svc/namespace/name" or by
// its DNS name; empty if it is none.
std::string service_name(std::string_view text) {
  if (text.starts_with(kServicePrefix)) {
    return std::string(text.substr(kServicePrefix.size()));
  }
  const auto name_end = text.find('.');
  const auto ns_end = text.find('.', name_end + 1);
  if (name_end == std::string_view::npos || ns_end == std::string_view::npos) {
    return {};
  }
  const auto rest = text.substr(ns_end + 1);
  if (rest != "svc" && !rest.starts_with("svc.")) {
    return {};
  }
  return std::string(text.substr(name_end + 1, ns_end - name_end - 1)) + "/" +
         std::string(text.substr(0, name_end));
}

Result<End> service_end(const Translator& translator, const std::string& name,
                        const std::string& option) {
  const auto* service = translator.service(name);
  if (service == nullptr) {
    return fail(option + ": there is no Service " + name);
  }
  if (option == "--from") {
    return fail(option + ": a Service sends nothing; name a pod");
  }
  if (service->cluster_ips.empty()) {
    return fail(option + ": Service " + name +
                (service->headless
                     ? " is headless: its name leads to the pods themselves; "
                       "name one of them"
                     : " has no cluster IP"));
  }
  End end;
  end.text = "svc/" + name;
  end.ips = service->cluster_ips;
  end.service = service;
  return end;
}

std::optional<End> node_end(const Translator& translator,
                            const std::string& text) {
  if (!text.starts_with(kNodePrefix)) {
    return std::nullopt;
  }
  End end;
  end.text = text;
  for (const bool v6 : {false, true}) {
    if (const auto ip =
            translator.node_address(text.substr(kNodePrefix.size()), v6)) {
      end.ips.push_back(*ip);
    }
  }
  return end.ips.empty() ? std::nullopt : std::optional(std::move(end));
}

Entity entity_of(std::string_view text) {
  if (text == "world") {
    return Entity::kWorld;
  }
  if (text == "host") {
    return Entity::kHost;
  }
  if (text == "remote-node") {
    return Entity::kRemoteNode;
  }
  return text == "kube-apiserver" ? Entity::kApiServer : Entity::kNone;
}

}  // namespace

bool is_entity(const Translator& translator, Entity entity,
               const kube::Pod& pod, const IpAddress& address) {
  const auto found = translator.occupant(address);
  switch (entity) {
    case Entity::kWorld:
      return found.pod.empty() && found.node.empty() &&
             found.services.empty() && !found.api_server;
    case Entity::kHost:
      return found.node == pod.node && !pod.node.empty();
    case Entity::kRemoteNode:
      return !found.node.empty() && found.node != pod.node;
    case Entity::kApiServer:
      return found.api_server;
    case Entity::kNone:
      break;
  }
  return true;
}

Result<End> find_end(const Translator& translator, const std::string& text,
                     const char* option, const KnownPods& known_pods) {
  End end;
  end.text = text;
  std::string name = text;
  const auto ip = parse_ip(text);
  if (ip) {
    end.ips = {*ip};
    name = translator.name_of(*ip);
    if (name.empty() || name.starts_with(kNodePrefix)) {
      return end;
    }
    end.text = pod_at(name, *ip);
  } else if (const auto prefix = parse_prefix(text)) {
    end.text = to_string(*prefix);
    end.prefixes = {*prefix};
    return end;
  } else if (const auto entity = entity_of(text); entity != Entity::kNone) {
    end.prefixes = {make_prefix(IpAddress(), 0),
                    make_prefix(IpAddress{.v6 = true}, 0)};
    end.entity = entity;
    return end;
  } else if (const auto service = service_name(text); !service.empty()) {
    return service_end(translator, service, option);
  }
  end.pod = translator.pod(name);
  if (end.pod == nullptr) {
    if (auto node = node_end(translator, name)) {
      return std::move(*node);
    }
    const auto meant =
        known_pods ? did_you_mean(name, known_pods()) : std::string();
    return fail(
        std::string(option) + ": " +
        (name.contains('/')
             ? "there is no pod " + name
             : "\"" + text + "\" is neither namespace/pod nor an address") +
        meant);
  }
  if (!ip) {
    end.ips = end.pod->ips;
    if (end.ips.empty()) {
      return fail(std::string(option) + ": pod " + name +
                  " has no address yet");
    }
  }
  return end;
}

Result<Ends> find_ends(const Translator& translator,
                       const ExplainRequest& request,
                       const KnownPods& known_pods) {
  auto from = find_end(translator, request.from, "--from", known_pods);
  if (!from) {
    return std::unexpected(from.error());
  }
  auto to = find_end(translator, request.to, "--to", known_pods);
  if (!to) {
    return std::unexpected(to.error());
  }
  return Ends{.from = std::move(*from), .to = std::move(*to)};
}

Result<PortArgument> find_port(const std::string& text, const End& to) {
  auto port = parse_port(text);
  const auto halves = split_port(text);
  if (port || (to.pod == nullptr && to.service == nullptr) || !halves ||
      is_icmp(halves->protocol.value_or(0)) ||
      std::ranges::all_of(
          halves->port, [](unsigned char c) { return std::isdigit(c) != 0; })) {
    return port;
  }
  const std::string name(halves->port);
  std::vector<std::string> known;
  std::optional<PortArgument> found;
  const auto look = [&](const auto& ports) {
    for (const auto& candidate : ports) {
      if (halves->protocol.value_or(candidate.protocol) != candidate.protocol) {
        continue;
      }
      if (!found && ::strcasecmp(candidate.name.c_str(), name.c_str()) == 0) {
        found = {.protocol = candidate.protocol, .port = candidate.port};
      }
      known.push_back(candidate.name);
    }
  };
  to.pod != nullptr ? look(to.pod->ports) : look(to.service->ports);
  if (found) {
    return *found;
  }
  const auto protocol =
      halves->protocol ? protocol_text(*halves->protocol) + " " : std::string();
  const auto whose = to.pod != nullptr
                         ? to.pod->ns + "/" + to.pod->name
                         : "Service " + to.service->ns + "/" + to.service->name;
  return fail("port \"" + text + "\": " + whose + " has no " + protocol +
              "port of this name" + did_you_mean(name, known));
}

}  // namespace sluice::explain
