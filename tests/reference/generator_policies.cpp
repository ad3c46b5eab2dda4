// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "tests/reference/generator.h"
#include "tests/reference/generator_pools.h"

namespace sluice::reference {
namespace {

using nlohmann::json;

class PolicyMaker {
 public:
  PolicyMaker(Random& random, bool v6, const std::vector<std::string>& spaces,
              const std::vector<std::string>& groups)
      : random_(random), v6_(v6), namespaces_(spaces), groups_(groups) {}

  json network_policy(int number);
  json cilium(int number, bool clusterwide);
  json cluster_policy(int number);

 private:
  bool percent(int chance) { return random_.percent(chance); }

  json np_rule(const std::string& way);
  json np_peer();
  json np_port();

  json cilium_selector(bool subject);
  std::string cilium_key();
  json cilium_rule(const std::string& way, bool allows);
  void cilium_l3(json& rule, const std::string& way);
  void cilium_l4(json& rule, bool dns);
  json cilium_port();
  json cilium_entity();
  json cidr_rule();
  json service_peer();
  json cilium_spec();
  json icmps();

  json pods_or_namespaces();
  json cluster_rule(const std::string& way);
  json cluster_protocol(bool names);

  int number() {
    static constexpr std::array kNumbers{1,   53,   80,   81,   443,
                                         444, 1024, 8080, 9100, 65535};
    return percent(80) ? random_.pick(kNumbers) : random_.between(1, 65535);
  }
  std::string port_name() {
    static constexpr std::array kNames{"http", "dns", "metrics", "sig",
                                       "absent"};
    return random_.pick(kNames);
  }

  Random& random_;
  bool v6_;
  const std::vector<std::string>& namespaces_;
  const std::vector<std::string>& groups_;
};

// ---- NetworkPolicy
// ------------------------------------------------------------

json PolicyMaker::np_peer() {
  if (percent(30)) {
    json block{{"cidr", random_cidr(random_, v6_, false)}};
    const std::string hole = random_hole(random_, block["cidr"]);
    if (!hole.empty() && percent(50)) {
      block["except"] = json::array({hole});
    }
    return {{"ipBlock", block}};
  }
  json peer = json::object();
  if (percent(60)) {
    peer["podSelector"] = random_pod_selector(random_);
  }
  if (peer.empty() || percent(40)) {
    peer["namespaceSelector"] = random_namespace_selector(random_, namespaces_);
  }
  return peer;
}

json PolicyMaker::np_port() {
  static constexpr std::array kProtocols{"TCP", "UDP", "SCTP"};
  json port = json::object();
  if (percent(70)) {
    port["protocol"] = random_.pick(kProtocols);
  }
  if (percent(30)) {
    port["port"] = port_name();
  } else if (percent(80)) {
    const int first = number();
    port["port"] = first;
    if (percent(40)) {
      port["endPort"] = std::min(65535, first + random_.between(0, 400));
    }
  }
  return port;
}

json PolicyMaker::np_rule(const std::string& way) {
  json rule = json::object();
  if (percent(80)) {
    json peers = json::array();
    for (int i = random_.between(0, 2); i > 0; --i) {
      peers.push_back(np_peer());
    }
    rule[way] = peers;
  }
  if (percent(60)) {
    json ports = json::array();
    for (int i = random_.between(0, 3); i > 0; --i) {
      ports.push_back(np_port());
    }
    rule["ports"] = ports;
  }
  return rule;
}

json PolicyMaker::network_policy(int number) {
  json spec{{"podSelector", random_pod_selector(random_)}};
  const auto rules = [&](const std::string& way) {
    json list = json::array();
    for (int i = random_.between(0, 2); i > 0; --i) {
      list.push_back(np_rule(way));
    }
    return list;
  };
  if (percent(75)) {
    spec["ingress"] = rules("from");
  }
  if (percent(60)) {
    spec["egress"] = rules("to");
  }
  switch (random_.below(4)) {
    case 0:
      spec["policyTypes"] = json::array({"Ingress"});
      break;
    case 1:
      spec["policyTypes"] = json::array({"Egress"});
      break;
    case 2:
      spec["policyTypes"] = json::array({"Ingress", "Egress"});
      break;
    default:
      break;
  }
  return {{"apiVersion", "networking.k8s.io/v1"},
          {"kind", "NetworkPolicy"},
          {"metadata",
           {{"name", "policy" + std::to_string(number)},
            {"namespace", random_.pick(namespaces_)}}},
          {"spec", spec}};
}

// ---- CiliumNetworkPolicy
// ------------------------------------------------------

std::string PolicyMaker::cilium_key() {
  static constexpr std::array kSources{"", "", "k8s:", "any:"};
  const std::string source = random_.pick(kSources);
  if (percent(2)) {
    return "container:app";
  }
  return source + random_.pick(kLabelKeys);
}

json PolicyMaker::cilium_selector(bool subject) {
  static constexpr std::array kSources{"", "k8s:", "any:"};
  static constexpr std::array kReserved{
      "reserved:host",           "reserved:remote-node", "reserved:world",
      "reserved:world-ipv4",     "reserved:world-ipv6",  "reserved:health",
      "reserved:kube-apiserver", "reserved:init",        "reserved:ingress",
      "reserved:unmanaged"};
  json result = json::object();
  const auto bare = [](const std::string& key) {
    return key.substr(key.find(':') == std::string::npos ? 0
                                                         : key.find(':') + 1);
  };
  if (percent(50)) {
    const std::string key = cilium_key();
    result["matchLabels"][key] = random_.pick(label_values(bare(key)));
  }
  if (percent(subject ? 8 : 15)) {
    result["matchLabels"][std::string(random_.pick(kSources)) +
                          "io.kubernetes.pod.namespace"] =
        random_.pick(namespaces_);
  }
  if (percent(8)) {
    result["matchLabels"][std::string(random_.pick(kSources)) +
                          "io.cilium.k8s.namespace.labels.env"] = "prod";
  }
  if (percent(8)) {
    result["matchLabels"]["io.cilium.k8s.policy.serviceaccount"] =
        percent(50) ? "web-sa" : "default";
  }
  if (percent(5)) {
    result["matchLabels"]["io.cilium.k8s.policy.cluster"] =
        percent(70) ? "default" : "other";
  }
  json terms = json::array();
  if (percent(25)) {
    const std::string key = cilium_key();
    terms.push_back(random_expression(random_, key, label_values(bare(key))));
  }
  if (!subject && percent(8)) {
    terms.push_back(random_expression(random_, random_.pick(kReserved), {""}));
  }
  if (percent(5)) {
    static constexpr std::array kKinds{"io.kubernetes.pod.namespace",
                                       "io.cilium.k8s.policy.cluster",
                                       "io.cilium.k8s.namespace.labels.team"};
    terms.push_back(
        random_expression(random_, random_.pick(kKinds), {"default", "red"}));
  }
  if (!terms.empty()) {
    result["matchExpressions"] = terms;
  }
  return result;
}

json PolicyMaker::cilium_entity() {
  static constexpr std::array kEntities{
      "all",         "world",   "cluster",        "host",
      "remote-node", "none",    "kube-apiserver", "health",
      "init",        "ingress", "unmanaged"};
  return random_.pick(kEntities);
}

json PolicyMaker::cidr_rule() {
  json rule = json::object();
  json except = json::array();
  switch (random_.below(4)) {
    case 0:
      rule["cidrGroupRef"] = random_.pick(groups_);
      break;
    case 1: {
      json wanted = json::object();
      if (percent(60)) {
        wanted["matchLabels"][percent(50) ? "zone" : "env"] =
            percent(50) ? "a" : "b";
      } else if (percent(70)) {
        wanted["matchExpressions"] = json::array({random_expression(
            random_, percent(50) ? "zone" : "env", {"a", "b"})});
      }
      rule["cidrGroupSelector"] = wanted;
      break;
    }
    default:
      rule["cidr"] = random_cidr(random_, v6_, true);
      break;
  }
  if (percent(45)) {
    const bool plain = rule.contains("cidr");
    const std::string hole = plain ? random_hole(random_, rule["cidr"])
                                   : random_cidr(random_, v6_, true);
    if (!hole.empty()) {
      except.push_back(hole);
    }
    if (percent(40) && plain) {
      const std::string other = random_hole(random_, rule["cidr"]);
      if (!other.empty()) {
        except.push_back(other);
      }
    }
  }
  if (!except.empty()) {
    rule["except"] = except;
  }
  return rule;
}

json PolicyMaker::service_peer() {
  json element = json::object();
  if (percent(50)) {
    element["serviceName"] = "svc" + std::to_string(random_.below(4));
  } else {
    json labels = json::object();
    if (percent(70)) {
      labels["kind"] = percent(50) ? "a" : "b";
    }
    element["selector"] = {{"matchLabels", labels}};
  }
  const bool named = element.contains("serviceName");
  if (named || percent(60)) {
    element["namespace"] = random_.pick(namespaces_);
  }
  return {{named ? "k8sService" : "k8sServiceSelector", element}};
}

void PolicyMaker::cilium_l3(json& rule, const std::string& way) {
  static constexpr std::array kLists{"Endpoints", "Entities", "CIDR", "CIDRSet",
                                     "Services"};
  if (percent(15)) {
    return;
  }
  std::string list = random_.pick(kLists);
  if (list == "Services" && way == "from") {
    list = "Endpoints";
  }
  json elements = json::array();
  const int count = percent(6) ? 0 : random_.between(1, 3);
  for (int i = 0; i < count; ++i) {
    if (list == "Endpoints") {
      elements.push_back(cilium_selector(false));
    } else if (list == "Entities") {
      elements.push_back(cilium_entity());
    } else if (list == "Services") {
      elements.push_back(service_peer());
    } else if (list == "CIDRSet") {
      elements.push_back(cidr_rule());
    } else {
      elements.push_back(random_cidr(random_, v6_, true));
    }
  }
  rule[way + list] = elements;
  if (percent(3)) {
    rule[way + (list == "CIDR" ? "Entities" : "CIDR")] = json::array();
  }
}

json PolicyMaker::cilium_port() {
  static constexpr std::array kProtocols{"TCP", "UDP", "SCTP", "ANY"};
  json port = json::object();
  if (percent(75)) {
    port["protocol"] = random_.pick(kProtocols);
  }
  if (percent(25)) {
    port["port"] = percent(20) ? "HTTP" : port_name();
    if (percent(20)) {
      port["endPort"] = 9000;
    }
  } else if (percent(10)) {
    static constexpr std::array kEnds{0, 1, 79, 65534, 65535};
    port["port"] = "0";
    if (percent(70)) {
      port["endPort"] = random_.pick(kEnds);
    }
  } else {
    const int first = number();
    port["port"] = std::to_string(first);
    if (percent(35)) {
      port["endPort"] = std::clamp(first + random_.between(-50, 700), 0, 65535);
    }
  }
  return port;
}

json PolicyMaker::icmps() {
  json fields = json::array();
  for (int i = random_.between(1, 3); i > 0; --i) {
    const bool v6 = percent(40);
    json field = json::object();
    if (v6 || percent(50)) {
      field["family"] = v6 ? "IPv6" : "IPv4";
    }
    if (percent(25)) {
      static constexpr std::array kNames{"EchoRequest", "EchoReply"};
      field["type"] = random_.pick(kNames);
    } else {
      field["type"] = random_.pick(v6 ? kIcmp6Types : kIcmp4Types);
    }
    fields.push_back(field);
  }
  return json::array({{{"fields", fields}}});
}

void PolicyMaker::cilium_l4(json& rule, bool dns) {
  if (percent(35)) {
    return;
  }
  if (percent(20)) {
    rule["icmps"] = icmps();
    return;
  }
  json elements = json::array();
  for (int i = percent(5) ? 0 : random_.between(1, 2); i > 0; --i) {
    json ports = json::array();
    for (int j = percent(4) ? 0 : random_.between(1, 3); j > 0; --j) {
      ports.push_back(cilium_port());
    }
    elements.push_back({{"ports", ports}});
  }
  if (dns && percent(60)) {
    elements.push_back(random_dns_element(random_));
    if (percent(70)) {
      elements.erase(elements.begin(), elements.end() - 1);
    }
  }
  rule["toPorts"] = elements;
}

json PolicyMaker::cilium_rule(const std::string& way, bool allows) {
  json rule = json::object();
  if (allows && way == "to" && percent(30)) {
    json names = json::array();
    for (int i = random_.between(1, 2); i > 0; --i) {
      names.push_back(random_fqdn(random_));
    }
    rule["toFQDNs"] = names;
    cilium_l4(rule, false);
    return rule;
  }
  cilium_l3(rule, way);
  cilium_l4(rule, allows && way == "to");
  return rule;
}

json PolicyMaker::cilium_spec() {
  json spec{{"endpointSelector", cilium_selector(true)}};
  const std::array sections{"ingress", "ingressDeny", "egress", "egressDeny"};
  const auto fill = [&](const char* section, int least) {
    json rules = json::array();
    for (int i = random_.between(least, 2); i > 0; --i) {
      rules.push_back(
          cilium_rule(std::string(section).starts_with("in") ? "from" : "to",
                      !std::string(section).ends_with("Deny")));
    }
    spec[section] = rules;
  };
  for (const char* section : sections) {
    if (percent(45)) {
      fill(section, percent(10) ? 0 : 1);
    }
  }
  // One of them must be there and not empty.
  if (std::ranges::none_of(sections, [&](const char* section) {
        return spec.contains(section) && !spec[section].empty();
      })) {
    fill(random_.pick(sections), 1);
  }
  if (percent(25)) {
    json wanted = json::object();
    for (const char* way : {"ingress", "egress"}) {
      if (percent(60)) {
        wanted[way] = percent(40);
      }
    }
    spec["enableDefaultDeny"] = wanted;
  }
  return spec;
}

json PolicyMaker::cilium(int number, bool clusterwide) {
  json policy{{"apiVersion", "cilium.io/v2"},
              {"kind", clusterwide ? "CiliumClusterwideNetworkPolicy"
                                   : "CiliumNetworkPolicy"},
              {"metadata", {{"name", "policy" + std::to_string(number)}}}};
  if (!clusterwide) {
    policy["metadata"]["namespace"] = random_.pick(namespaces_);
  }
  const bool several = percent(15);
  if (several) {
    policy["specs"] = json::array({cilium_spec(), cilium_spec()});
  }
  if (!several || percent(30)) {
    policy["spec"] = cilium_spec();
  }
  return policy;
}

// ---- ClusterNetworkPolicy
// -------------------------------------------------------

json PolicyMaker::pods_or_namespaces() {
  if (percent(50)) {
    return {{"namespaces", random_namespace_selector(random_, namespaces_)}};
  }
  return {
      {"pods",
       {{"namespaceSelector", random_namespace_selector(random_, namespaces_)},
        {"podSelector", random_pod_selector(random_)}}}};
}

json PolicyMaker::cluster_protocol(bool names) {
  static constexpr std::array kKinds{"tcp", "udp", "sctp"};
  if (names && percent(30)) {
    return {{"destinationNamedPort", port_name()}};
  }
  json port;
  if (percent(60)) {
    port = {{"number", number()}};
  } else {
    const int start = random_.between(1, 1200);
    port = {{"range",
             {{"start", start}, {"end", start + random_.between(1, 9000)}}}};
  }
  return {{random_.pick(kKinds), {{"destinationPort", port}}}};
}

json PolicyMaker::cluster_rule(const std::string& way) {
  static constexpr std::array kActions{"Accept", "Deny", "Pass"};
  json rule{{"action", random_.pick(kActions)}};
  json peers = json::array();
  bool networks = false;  // nodes or names: no named ports beside these
  for (int i = random_.between(1, 2); i > 0; --i) {
    if (way == "to" && rule["action"] == "Accept" && percent(30)) {
      peers.push_back(random_domain_names(random_));
      networks = true;
    } else if (way == "to" && percent(35)) {
      peers.push_back(
          {{"networks", json::array({random_cidr(random_, v6_, false)})}});
      networks = true;
    } else if (way == "to" && percent(25)) {
      static constexpr std::array kRoles{"worker", "control", "nobody"};
      json labels = json::object();
      if (percent(75)) {
        labels["role"] = random_.pick(kRoles);
      }
      peers.push_back({{"nodes", {{"matchLabels", labels}}}});
      networks = true;
    } else {
      peers.push_back(pods_or_namespaces());
    }
  }
  rule[way] = peers;
  if (percent(60)) {
    json protocols = json::array();
    for (int i = random_.between(1, 2); i > 0; --i) {
      protocols.push_back(cluster_protocol(!networks));
    }
    rule["protocols"] = protocols;
  }
  return rule;
}

json PolicyMaker::cluster_policy(int number) {
  json spec{{"tier", percent(60) ? "Admin" : "Baseline"},
            // Which of two at the same priority comes first is not specified.
            {"priority", (random_.between(0, 9) * 100) + number},
            {"subject", pods_or_namespaces()}};
  const std::array<std::array<const char*, 2>, 2> sections{
      {{"ingress", "from"}, {"egress", "to"}}};
  for (const auto& [section, way] : sections) {
    json rules = json::array();
    for (int i = random_.between(0, 3); i > 0; --i) {
      rules.push_back(cluster_rule(way));
    }
    spec[section] = rules;
  }
  return {{"apiVersion", "policy.networking.k8s.io/v1alpha2"},
          {"kind", "ClusterNetworkPolicy"},
          {"metadata", {{"name", "policy" + std::to_string(number)}}},
          {"spec", spec}};
}

}  // namespace

json Generator::policy(int number) {
  PolicyMaker maker(random_, v6_, namespaces_, groups_);
  switch (random_.below(10)) {
    case 0:
    case 1:
      return maker.network_policy(number);
    case 2:
    case 3:
    case 4:
      return maker.cluster_policy(number);
    case 5:
    case 6:
      return maker.cilium(number, true);
    default:
      return maker.cilium(number, false);
  }
}

}  // namespace sluice::reference
