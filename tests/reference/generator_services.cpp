// SPDX-License-Identifier: Apache-2.0
// Services with their EndpointSlices, and probes to them.
#include <array>
#include <set>
#include <string>
#include <vector>

#include "tests/reference/generator.h"

namespace sluice::reference {
namespace {

using nlohmann::json;

json service_ports(Random& random, bool node_ports, int number) {
  struct Port {
    const char* name;
    const char* protocol;
    int port;
    std::vector<int> targets;
    const char* target_name;
  };
  static const std::array known_ports{
      Port{"web", "TCP", 80, {80, 8080}, "http"},
      Port{"dns", "UDP", 53, {53, 5353}, "dns"},
      Port{"sig", "SCTP", 2905, {2905}, "sig"},
      Port{"web2", "TCP", 443, {8080, 9100}, "metrics"},
  };
  json result = json::array();
  for (std::size_t i = 0; i < known_ports.size(); ++i) {
    const auto& port = known_ports[i];
    if (!random.percent(i == 0 ? 80 : 35)) {
      continue;
    }
    json element{
        {"name", port.name}, {"protocol", port.protocol}, {"port", port.port}};
    if (random.percent(40)) {
      element["targetPort"] = port.target_name;
    } else if (random.percent(80)) {
      element["targetPort"] = random.pick(port.targets);
    }
    if (node_ports) {
      element["nodePort"] = 30000 + (number * 10) + static_cast<int>(i);
    }
    result.push_back(std::move(element));
  }
  return result;
}

json conditions(Random& random) {
  json result = json::object();
  if (random.percent(60)) {
    return result;
  }
  result["ready"] = random.percent(50);
  if (random.percent(50)) {
    result["serving"] = random.percent(50);
    result["terminating"] = random.percent(60);
  }
  return result;
}

json hints(Random& random, const std::vector<std::string>& nodes) {
  json result = json::object();
  const std::array zones{"z1", "z2"};
  if (random.percent(85)) {
    result["forZones"] = json::array({{{"name", random.pick(zones)}}});
    if (random.percent(15)) {
      result["forZones"].push_back({{"name", random.pick(zones)}});
    }
  }
  if (random.percent(50)) {
    result["forNodes"] = json::array({{{"name", random.pick(nodes)}}});
  }
  return result;
}

// What a Service says of which endpoints its clients get.
void add_traffic_policy(Random& random, json& spec) {
  if (random.percent(25)) {
    spec["internalTrafficPolicy"] = random.percent(80) ? "Local" : "Cluster";
  }
  if (random.percent(20)) {
    spec["externalTrafficPolicy"] = random.percent(80) ? "Local" : "Cluster";
  }
  if (random.percent(40)) {
    const std::array wishes{"PreferClose", "PreferSameZone", "PreferSameNode",
                            "PreferSameNode", "example.com/other"};
    spec["trafficDistribution"] = random.pick(wishes);
  }
}

// Mostly a pod's, now and then a node's or one outside.
std::string endpoint_address(Random& random, std::size_t namespaces, bool v6) {
  const auto space = std::to_string(random.below(namespaces));
  const auto host = std::to_string(5 + random.below(7));
  if (random.percent(10)) {
    return v6 ? "fd00:10::10" : "192.168.0.10";
  }
  if (random.percent(10)) {
    return v6 ? "2001:db8::7" : "203.0.113.7";
  }
  return v6 ? "fd00:100::" + space + ":" + host
            : "10.100." + space + "." + host;
}

// Probes to one port of the Service at each of its addresses; from nowhere yet.
json service_targets(const json& service, const json& port, bool v6) {
  json found = json::array();
  const auto add = [&](const json& number, const json& address) {
    found.push_back({{"protocol", port["protocol"]},
                     {"port", number},
                     {"to", {{"ip", address}}}});
  };
  for (const char* list : {"clusterIPs", "externalIPs"}) {
    for (const auto& address : service["spec"].value(list, json::array())) {
      if (address != "None") {
        add(port["port"], address);
      }
    }
  }
  if (port.contains("nodePort")) {
    add(port["nodePort"], "192.168.0.10");
    if (v6) {
      add(port["nodePort"], "fd00:10::11");
    }
  }
  if (service["status"].contains("loadBalancer")) {
    add(port["port"], "203.0.113.60");
  }
  return found;
}

// Probes to the host ports of a pod, at the addresses of nodes.
json host_targets(const json& pod, bool v6) {
  json found = json::array();
  for (const auto& container : pod["spec"]["containers"]) {
    for (const auto& port : container.value("ports", json::array())) {
      if (!port.contains("hostPort")) {
        continue;
      }
      for (int node = 10; node < 13; ++node) {
        const auto suffix = std::to_string(node);
        const json target{{"protocol", port.value("protocol", "TCP")},
                          {"port", port["hostPort"]},
                          {"to", {{"ip", "192.168.0." + suffix}}}};
        found.push_back(target);
        if (v6) {
          found.push_back(target);
          found.back()["to"]["ip"] = "fd00:10::" + suffix;
        }
      }
    }
  }
  return found;
}

// "namespace/name" of pods that may stand behind the Service, by their labels
// or by its slices.
std::vector<std::string> pods_behind(const json& objects, const json& service) {
  const json& meta = service["metadata"];
  std::set<std::string> addresses;
  for (const auto& object : objects) {
    const json labels = object["metadata"].value("labels", json::object());
    if (object["kind"] == "EndpointSlice" &&
        meta["name"] == json(labels.value("kubernetes.io/service-name", ""))) {
      for (const auto& endpoint : object["endpoints"]) {
        for (const auto& address : endpoint["addresses"]) {
          addresses.insert(address.get<std::string>());
        }
      }
    }
  }
  const json selector = service["spec"].value("selector", json::object());
  std::vector<std::string> result;
  for (const auto& object : objects) {
    if (object["kind"] != "Pod" || object["spec"].value("hostNetwork", false)) {
      continue;
    }
    const json& pod = object["metadata"];
    const json labels = pod.value("labels", json::object());
    bool behind = !selector.empty() && pod["namespace"] == meta["namespace"];
    for (const auto& term : selector.items()) {
      behind = behind && term.value() == json(labels.value(term.key(), ""));
    }
    const json status = object.value("status", json::object());
    behind = behind || addresses.contains(status.value("podIP", ""));
    for (const auto& ip : status.value("podIPs", json::array())) {
      behind = behind || addresses.contains(ip.value("ip", ""));
    }
    if (behind) {
      result.push_back(pod["namespace"].get<std::string>() + "/" +
                       pod["name"].get<std::string>());
    }
  }
  return result;
}

}  // namespace

json Generator::make_service(int number) {
  const std::size_t space = random_.below(namespaces_.size());
  const std::string suffix =
      std::to_string(space) + "." + std::to_string(10 + number);
  json spec = json::object();
  if (random_.percent(10)) {
    spec["clusterIP"] = "None";
    spec["clusterIPs"] = json::array({"None"});
  } else {
    json ips = json::array({"10.96." + suffix});
    if (v6_ && random_.percent(70)) {
      ips.push_back("fd00:96::" + std::to_string(space) + ":" +
                    std::to_string(10 + number));
    }
    spec["clusterIP"] = ips[0];
    spec["clusterIPs"] = ips;
  }
  add_traffic_policy(random_, spec);
  const bool node_ports = random_.percent(30);
  spec["type"] = node_ports ? "NodePort" : "ClusterIP";
  spec["ports"] = service_ports(random_, node_ports, number);
  if (random_.percent(75)) {
    const std::array apps{"web", "db", "api"};
    spec["selector"] = {{"app", random_.pick(apps)}};
    if (random_.percent(30)) {
      spec["selector"]["tier"] = random_.percent(50) ? "front" : "back";
    }
  }
  if (random_.percent(20)) {
    // Shared with other Services, or a node's.
    spec["externalIPs"] =
        json::array({random_.percent(70) ? "203.0.113.50" : "192.168.0.10"});
  }
  json status = json::object();
  if (random_.percent(15)) {
    json ingress{{"ip", "203.0.113.60"}};
    if (random_.percent(30)) {
      ingress["ipMode"] = "Proxy";
    }
    status["loadBalancer"] = {{"ingress", json::array({ingress})}};
  }
  json annotations = json::object();
  if (random_.percent(15)) {
    annotations["service.kubernetes.io/topology-mode"] =
        random_.percent(70) ? "Auto" : "Disabled";
  }
  return {{"apiVersion", "v1"},
          {"kind", "Service"},
          {"metadata",
           {{"name", "svc" + std::to_string(number)},
            {"namespace", namespaces_[space]},
            {"annotations", std::move(annotations)},
            {"labels", {{"kind", random_.percent(50) ? "a" : "b"}}}}},
          {"spec", std::move(spec)},
          {"status", std::move(status)}};
}

json Generator::make_slices(const json& service) {
  json result = json::array();
  if (random_.percent(35)) {
    return result;  // the pods that the Service selects, if it selects any
  }
  const std::string name = service["metadata"]["name"];
  const bool hinted = random_.percent(50);
  for (int i = random_.between(1, 3); i > 0; --i) {
    const bool v6 = v6_ && random_.percent(40);
    json ports = json::array();
    for (const auto& port : service["spec"]["ports"]) {
      const std::array numbers{80, 8080, 53, 5353, 2905, 9100};
      if (random_.percent(85)) {
        ports.push_back({{"name", port["name"]},
                         {"protocol", port["protocol"]},
                         {"port", random_.pick(numbers)}});
      }
    }
    json endpoints = json::array();
    for (int j = random_.between(0, 3); j > 0; --j) {
      const std::string address =
          endpoint_address(random_, namespaces_.size(), v6);
      json endpoint{{"addresses", json::array({address})},
                    {"conditions", conditions(random_)}};
      if (random_.percent(70)) {
        endpoint["nodeName"] = random_.pick(nodes_);
      }
      if (hinted && random_.percent(90)) {
        endpoint["hints"] = hints(random_, nodes_);
      }
      endpoints.push_back(std::move(endpoint));
    }
    result.push_back({{"apiVersion", "discovery.k8s.io/v1"},
                      {"kind", "EndpointSlice"},
                      {"metadata",
                       {{"name", name + "-" + std::to_string(i)},
                        {"namespace", service["metadata"]["namespace"]},
                        {"labels", {{"kubernetes.io/service-name", name}}}}},
                      {"addressType", v6 ? "IPv6" : "IPv4"},
                      {"ports", std::move(ports)},
                      {"endpoints", std::move(endpoints)}});
  }
  return result;
}

json Generator::service_probe(const json& objects,
                              const std::vector<std::string>& pods) {
  json found = json::array();
  std::size_t at = 0;  // the Service, or the pod with host ports
  for (; at < objects.size(); ++at) {
    const json& object = objects[at];
    if (object["kind"] == "Pod") {
      for (json target : host_targets(object, v6_)) {
        target["from"] = at;
        found.push_back(std::move(target));
      }
    }
    if (object["kind"] != "Service") {
      continue;
    }
    for (const auto& port : object["spec"].value("ports", json::array())) {
      for (json target : service_targets(object, port, v6_)) {
        target["from"] = at;
        found.push_back(std::move(target));
      }
    }
  }
  if (found.empty()) {
    return nullptr;
  }
  json probe = random_.pick(found);
  const json& chosen = objects[probe["from"].get<std::size_t>()];
  // Often a pod that stands behind the Service itself.
  const auto own = chosen["kind"] == "Service" ? pods_behind(objects, chosen)
                                               : std::vector<std::string>();
  const bool to_itself = !own.empty() && random_.percent(40);
  probe["from"] = {{"pod", random_.pick(to_itself ? own : pods)}};
  return probe;
}

}  // namespace sluice::reference
