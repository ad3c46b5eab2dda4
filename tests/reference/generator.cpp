// SPDX-License-Identifier: Apache-2.0
// The cluster and the probes; policies are made in generator_policies.cpp.
#include "tests/reference/generator.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "lib/base/ip.h"
#include "tests/reference/generator_pools.h"

namespace sluice::reference {
namespace {

using nlohmann::json;

struct LabelPool {
  const char* key;
  std::vector<const char*> values;
};
const std::array kPodLabels{
    LabelPool{"app", {"web", "db", "api"}},
    LabelPool{"tier", {"front", "back"}},
    LabelPool{"version", {"v1", "v2"}},
    LabelPool{"pod-template-hash", {"x1", "x2"}},
    LabelPool{"empty", {""}},
};

struct NamedPort {
  const char* name;
  std::vector<int> numbers;
  const char* protocol;
};
const std::array kNamedPorts{
    NamedPort{"http", {80, 8080}, "TCP"},
    NamedPort{"dns", {53, 5353}, "UDP"},
    NamedPort{"metrics", {9100, 0x2000}, "TCP"},
    NamedPort{"sig", {2905}, "SCTP"},
};

json labels(Random& random) {
  json result = json::object();
  for (const auto& label : kPodLabels) {
    if (random.percent(55)) {
      result[label.key] = random.pick(label.values);
    }
  }
  if (random.percent(5)) {
    result["io.cilium.k8s.policy.serviceaccount"] = "forged";
  }
  return result;
}

json containers(Random& random) {
  json result = json::array();
  const int count = random.between(1, 2);
  std::set<std::string> used;
  for (int i = 0; i < count; ++i) {
    json ports = json::array();
    for (const auto& port : kNamedPorts) {
      // A name stands once in a pod; which one counts of several is its own
      // test.
      if (!random.percent(40) || !used.insert(port.name).second) {
        continue;
      }
      json element{{"name", port.name},
                   {"containerPort", random.pick(port.numbers)}};
      const std::string protocol = port.protocol;
      if (protocol != "TCP" || random.percent(50)) {
        element["protocol"] = protocol;
      }
      ports.push_back(element);
    }
    if (random.percent(30)) {
      ports.push_back({{"containerPort", 81}});
    }
    if (random.percent(15)) {
      const std::array numbers{80, 8080, 9100};
      const std::array addresses{"", "0.0.0.0", "::", "192.168.0.10",
                                 "fd00:10::10"};
      ports.push_back({{"containerPort", random.pick(numbers)},
                       {"hostPort", random.percent(80) ? 7080 : 30000},
                       {"hostIP", random.pick(addresses)}});
    }
    json container{{"name", "c" + std::to_string(i)}};
    if (!ports.empty()) {
      container["ports"] = ports;
    }
    result.push_back(container);
  }
  return result;
}

json addresses(const std::string& v4, const std::string& v6) {
  json result = json::array();
  for (const auto& ip : {v4, v6}) {
    if (!ip.empty()) {
      result.push_back({{"ip", ip}});
    }
  }
  return result;
}

// ---- probes -----------------------------------------------------------------

// First and last address of a prefix, and their neighbours outside.
std::vector<IpAddress> edges(const IpPrefix& prefix) {
  const IpAddress first = prefix.address;
  IpAddress last = first;
  for (int bit = prefix.length; bit < first.bits(); ++bit) {
    last.bytes[bit / 8] |= static_cast<std::uint8_t>(0x80 >> (bit % 8));
  }
  std::vector<IpAddress> result{first, last};
  const int bytes = first.v6 ? 16 : 4;
  const auto step = [&](IpAddress ip, bool up) {
    for (int i = bytes - 1; i >= 0; --i) {
      const std::uint8_t wraps = up ? 0xff : 0;
      const bool carry = ip.bytes[i] == wraps;
      ip.bytes[i] = static_cast<std::uint8_t>(ip.bytes[i] + (up ? 1 : -1));
      if (!carry) {
        return std::optional(ip);
      }
    }
    return std::optional<IpAddress>();
  };
  if (const auto before = step(first, false)) {
    result.push_back(*before);
  }
  if (const auto after = step(last, true)) {
    result.push_back(*after);
  }
  return result;
}

// Every text in the objects that is an address or a prefix, every number and
// number in a text that could be a port.
struct Named {
  std::set<std::string> ips;
  std::set<int> ports{1, 80, 65535};
};

void collect_text(const std::string& text, Named& named) {
  auto prefix = parse_prefix(text);
  if (const auto ip = parse_ip(text)) {
    prefix = make_prefix(*ip, ip->bits());
  }
  if (prefix) {
    for (const auto& ip : edges(*prefix)) {
      named.ips.insert(to_string(ip));
    }
  }
}

void collect_port(int port, Named& named) {
  for (const int near : {port - 1, port, port + 1}) {
    if (near >= 0 && near <= 65535) {
      named.ports.insert(near);
    }
  }
}

void collect(const json& value, Named& named) {
  if (value.is_number_integer()) {
    collect_port(value.get<int>(), named);
  } else if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    collect_text(text, named);
    if (!text.empty() && text.size() <= 5 &&
        std::ranges::all_of(text,
                            [](char c) { return c >= '0' && c <= '9'; })) {
      collect_port(std::stoi(text), named);
    }
  } else if (value.is_structured()) {
    for (const auto& element : value) {
      collect(element, named);
    }
  }
}

json l4(Random& random, const std::vector<int>& ports) {
  if (random.percent(82)) {
    const std::array protocols{"TCP", "TCP", "TCP", "UDP", "UDP", "SCTP"};
    return {{"protocol", random.pick(protocols)}, {"port", random.pick(ports)}};
  }
  if (random.percent(25)) {
    const std::array protocols{"GRE", "ESP", "IGMP"};
    return {{"protocol", random.pick(protocols)}};
  }
  const bool v6 = random.percent(40);
  const auto& types = v6 ? kIcmp6Types : kIcmp4Types;
  int type = random.pick(types) + random.between(-1, 1);
  type = std::clamp(type, 0, 255);
  json result{{"protocol", v6 ? "ICMPv6" : "ICMP"}, {"icmpType", type}};
  if (random.percent(30)) {
    result["icmpCode"] = random.percent(50) ? 255 : 1;
  }
  return result;
}

}  // namespace

std::uint64_t Random::next() {
  std::uint64_t mixed = state_ += 0x9e3779b97f4a7c15ULL;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
  return mixed ^ (mixed >> 31);
}

Generator::Generator(std::uint64_t seed, const GeneratorOptions& options)
    : random_(seed), options_(options) {}

json Generator::make_node(int number) {
  const std::string suffix = std::to_string(10 + number);
  json list = json::array();
  list.push_back({{"type", "Hostname"}, {"address", nodes_[number]}});
  list.push_back({{"type", "InternalIP"}, {"address", "192.168.0." + suffix}});
  if (v6_) {
    list.push_back({{"type", "InternalIP"}, {"address", "fd00:10::" + suffix}});
  }
  if (random_.percent(30)) {
    list.push_back(
        {{"type", "ExternalIP"}, {"address", "198.51.100." + suffix}});
  }
  json labels{{"role", number == 0 ? "control" : "worker"}};
  if (random_.percent(80)) {
    labels["topology.kubernetes.io/zone"] = random_.percent(50) ? "z1" : "z2";
  }
  return {{"apiVersion", "v1"},
          {"kind", "Node"},
          {"metadata", {{"name", nodes_[number]}, {"labels", labels}}},
          {"status", {{"addresses", list}}}};
}

json Generator::make_pod(int number) {
  const std::size_t node = random_.below(nodes_.size());
  const bool host = random_.percent(8);
  // Pods of one name in several namespaces do not share addresses.
  const std::size_t space = random_.below(namespaces_.size());
  const std::string v4_prefix = "10.100." + std::to_string(space) + ".";
  std::string v4 = v4_prefix + std::to_string(5 + number);
  std::string v6 = v6_ && !random_.percent(10)
                       ? "fd00:100::" + std::to_string(space) + ":" +
                             std::to_string(5 + number)
                       : std::string();
  if (host) {
    v4 = "192.168.0." + std::to_string(10 + node);
    v6 = v6_ ? "fd00:10::" + std::to_string(10 + node) : std::string();
  } else if (!v6.empty() && random_.percent(5)) {
    v4.clear();
  }
  const char* phase = "Running";
  if (random_.percent(8)) {
    phase = random_.percent(50) ? "Succeeded" : "Failed";
    if (options_.reuse_addresses && number > 0 && random_.percent(50)) {
      v4 = v4_prefix + std::to_string(4 + number);
    }
  }
  json spec{{"nodeName", nodes_[node]}, {"containers", containers(random_)}};
  if (random_.percent(60)) {
    spec["serviceAccountName"] = random_.percent(50) ? "web-sa" : "default";
  }
  if (host) {
    spec["hostNetwork"] = true;
  }
  const json ips = addresses(v4, v6);
  return {
      {"apiVersion", "v1"},
      {"kind", "Pod"},
      {"metadata",
       {{"name", "pod" + std::to_string(number)},
        {"namespace", namespaces_[space]},
        {"labels", labels(random_)}}},
      {"spec", spec},
      {"status", {{"phase", phase}, {"podIP", ips[0]["ip"]}, {"podIPs", ips}}}};
}

json Generator::make_group(int number) {
  json cidrs = json::array();
  for (int i = random_.between(0, 3); i > 0; --i) {
    cidrs.push_back(random_cidr(random_, v6_, true));
  }
  json group_labels = json::object();
  for (const char* key : {"zone", "env"}) {
    if (random_.percent(60)) {
      group_labels[key] = random_.percent(50) ? "a" : "b";
    }
  }
  return {
      {"apiVersion", "cilium.io/v2"},
      {"kind", "CiliumCIDRGroup"},
      {"metadata",
       {{"name", "group" + std::to_string(number)}, {"labels", group_labels}}},
      {"spec", {{"externalCIDRs", cidrs}}}};
}

json Generator::make_api_server() {
  json list = json::array();
  if (random_.percent(70)) {
    list.push_back(random_.percent(50) ? "203.0.113.100" : "10.200.0.5");
  }
  if (list.empty() || random_.percent(30)) {
    list.push_back("192.168.0.10");
  }
  return {{"apiVersion", "discovery.k8s.io/v1"},
          {"kind", "EndpointSlice"},
          {"metadata",
           {{"name", "kubernetes"},
            {"namespace", "default"},
            {"labels", {{"kubernetes.io/service-name", "kubernetes"}}}}},
          {"addressType", "IPv4"},
          {"endpoints", json::array({{{"addresses", list},
                                      {"conditions", {{"ready", true}}}}})}};
}

json Generator::cluster() {
  v6_ = random_.percent(60);
  namespaces_ = {"default", "prod", "dev"};
  namespaces_.resize(std::size_t(random_.between(1, 3)));
  nodes_ = {"node0", "node1", "node2"};
  nodes_.resize(std::size_t(random_.between(1, 3)));
  json objects = json::array();
  for (const auto& ns : namespaces_) {
    json list{{"kubernetes.io/metadata.name", ns}};
    if (random_.percent(60)) {
      list["env"] = random_.percent(50) ? "prod" : "dev";
    }
    if (random_.percent(40)) {
      list["team"] = random_.percent(50) ? "red" : "blue";
    }
    objects.push_back({{"apiVersion", "v1"},
                       {"kind", "Namespace"},
                       {"metadata", {{"name", ns}, {"labels", list}}}});
  }
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    objects.push_back(make_node(static_cast<int>(i)));
  }
  const int pods = random_.between(2, 7);
  for (int i = 0; i < pods; ++i) {
    objects.push_back(make_pod(i));
  }
  for (int i = random_.between(0, 3); i > 0; --i) {
    json service = make_service(i);
    for (auto& slice : make_slices(service)) {
      objects.push_back(std::move(slice));
    }
    objects.push_back(std::move(service));
  }
  groups_ = {"group0", "group1", "missing"};
  for (int i = 0; i < 2; ++i) {
    if (random_.percent(60)) {
      objects.push_back(make_group(i));
    }
  }
  if (random_.percent(50)) {
    objects.push_back(make_api_server());
  }
  return objects;
}

json Generator::policies() {
  json result = json::array();
  const int count = random_.between(1, 5);
  for (int i = 0; i < count; ++i) {
    result.push_back(policy(i));
  }
  return result;
}

json Generator::probe_end(const std::vector<std::string>& pods,
                          const std::vector<std::string>& ips) {
  if (random_.percent(50)) {
    return {{"pod", random_.pick(pods)}};
  }
  if (random_.percent(80)) {
    return {{"ip", random_.pick(ips)}};
  }
  const std::array entities{"host",      "health",  "init",
                            "unmanaged", "ingress", "host"};
  return {{"entity", random_.pick(entities)}};
}

json Generator::probes(const json& objects) {
  Named named;
  std::vector<std::string> pods;
  for (const auto& object : objects) {
    collect(object, named);
    const bool finished = object.contains("status") &&
                          object["status"].contains("phase") &&
                          object["status"]["phase"] != "Running";
    if (object["kind"] == "Pod" && !finished) {
      pods.push_back(object["metadata"]["namespace"].get<std::string>() + "/" +
                     object["metadata"]["name"].get<std::string>());
    }
  }
  const std::vector<std::string> ips(named.ips.begin(), named.ips.end());
  const std::vector<int> ports(named.ports.begin(), named.ports.end());
  json result = json::array();
  if (pods.empty()) {
    return result;
  }
  for (int i = 0; i < options_.probes; ++i) {
    if (random_.percent(25)) {
      json probe = service_probe(objects, pods);
      if (!probe.is_null()) {
        result.push_back(std::move(probe));
        continue;
      }
    }
    json probe = l4(random_, ports);
    const bool dns = random_.percent(15);
    if (dns) {
      probe = {{"protocol", random_.percent(50) ? "UDP" : "TCP"}, {"port", 53}};
    }
    const bool out = dns || random_.percent(50);
    probe[out ? "from" : "to"] = {{"pod", random_.pick(pods)}};
    probe[out ? "to" : "from"] = probe_end(pods, ips);
    result.push_back(probe);
  }
  return result;
}

json random_scenario(std::uint64_t seed, const GeneratorOptions& options) {
  Generator generator(seed, options);
  json objects = generator.cluster();
  for (auto& policy : generator.policies()) {
    objects.push_back(policy);
  }
  json probes = generator.probes(objects);
  return {{"name", "random-" + std::to_string(seed)},
          {"source", "generator"},
          {"objects", std::move(objects)},
          {"probes", std::move(probes)}};
}

}  // namespace sluice::reference
