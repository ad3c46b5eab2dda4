// SPDX-License-Identifier: Apache-2.0
#include "cli/scenario_nodes.h"

#include <algorithm>
#include <set>
#include <string_view>

#include <nlohmann/json.hpp>

namespace sluice::cli {
namespace {

using nlohmann::json;

// Null where it, or its parent, is absent.
const json& get(const json& object, std::string_view key) {
  static const json null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

std::string text(const json& value) {
  return value.is_string() ? value.get<std::string>() : std::string{};
}

// The texts of a string, or of a list of them.
std::vector<std::string> texts(const json& value) {
  std::vector<std::string> result;
  if (value.is_array()) {
    for (const auto& element : value) {
      result.push_back(text(element));
    }
  } else {
    result.push_back(text(value));
  }
  return result;
}

class Ranges {
 public:
  void add(const json& object) {
    const std::string kind = text(get(object, "kind"));
    const std::string name = text(get(get(object, "metadata"), "name"));
    if (kind == "Node") {
      add_node(name, object);
    } else if (kind == "Pod") {
      add_pod(object);
    } else if (kind == "Service") {
      for (const char* list : {"clusterIP", "clusterIPs", "externalIPs"}) {
        for (const auto& ip : texts(get(get(object, "spec"), list))) {
          take(ip);
        }
      }
    }
  }

  [[nodiscard]] std::vector<IpAddress> first_two(
      const std::vector<IpPrefix>& ranges) const {
    std::vector<IpAddress> result;
    for (const auto& range : ranges) {
      IpAddress second = range.address;
      second.bytes.at(second.v6 ? 15 : 3) |= 1;
      for (const auto& address : {range.address, second}) {
        if (!taken_.contains(address)) {
          result.push_back(address);
        }
      }
    }
    return result;
  }
  [[nodiscard]] const std::map<std::string, std::vector<IpPrefix>>& nodes()
      const {
    return nodes_;
  }

 private:
  void take(const std::string& address) {
    if (const auto ip = parse_ip(address)) {
      taken_.insert(*ip);
    }
  }

  void add_node(const std::string& name, const json& object) {
    auto& ranges = nodes_[name];
    for (const char* field : {"podCIDR", "podCIDRs"}) {
      for (const auto& cidr : texts(get(get(object, "spec"), field))) {
        const auto prefix = parse_prefix(cidr);
        // Such a one has more addresses than these two.
        if (prefix && prefix->length < prefix->address.bits() - 1 &&
            std::ranges::find(ranges, *prefix) == ranges.end()) {
          ranges.push_back(*prefix);
        }
      }
    }
    for (const auto& element : get(get(object, "status"), "addresses")) {
      take(text(get(element, "address")));
    }
  }

  void add_pod(const json& object) {
    const json& status = get(object, "status");
    take(text(get(status, "podIP")));
    for (const auto& element : get(status, "podIPs")) {
      take(text(get(element, "ip")));
    }
  }

  std::map<std::string, std::vector<IpPrefix>> nodes_;  // their podCIDRs
  std::set<IpAddress> taken_;
};

}  // namespace

std::map<std::string, std::vector<IpAddress>> found_addresses(
    const std::vector<ScenarioObject>& objects) {
  Ranges ranges;
  for (const auto& item : objects) {
    ranges.add(*item.object);
  }
  std::map<std::string, std::vector<IpAddress>> result;
  for (const auto& [node, given] : ranges.nodes()) {
    result[node] = ranges.first_two(given);
  }
  return result;
}

}  // namespace sluice::cli
