// SPDX-License-Identifier: Apache-2.0
// A preview says where `explain` answers differently for two random worlds.

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cli/cluster.h"
#include "cli/preview_worlds.h"
#include "lib/base/ip.h"
#include "lib/explain/text.h"
#include "lib/preview/preview.h"
#include "tests/reference/generator.h"
#include "tests/unit/cli/manifests.h"
#include "tests/unit/cli/reach_asker.h"

namespace sluice::preview {
namespace {

using cli::Cluster;
using nlohmann::json;
using reference::Random;

std::string key_of(const json& object) {
  const auto& metadata = object["metadata"];
  return object["kind"].get<std::string>() + "/" +
         metadata.value("namespace", "") + "/" +
         metadata["name"].get<std::string>();
}

bool is_policy(const json& object) {
  return object["kind"].get<std::string>().ends_with("NetworkPolicy");
}

// Some pods are of workloads, so that these have several.
void add_owners(json& objects) {
  int number = 0;
  for (auto& object : objects) {
    if (object["kind"] == "Pod" && ++number % 4 != 0) {
      object["metadata"]["ownerReferences"] =
          json::array({{{"apiVersion", "apps/v1"},
                        {"kind", "StatefulSet"},
                        {"name", "w" + std::to_string(number % 2)},
                        {"controller", true},
                        {"uid", "u"}}});
    }
  }
}

struct Scenario {
  json before = json::array();
  json after = json::array();
};

// The same rules for the ports after those that they name.
void move_ports(json& value) {
  constexpr int kMost = 65'000;
  for (const char* field : {"port", "endPort"}) {
    if (!value.is_object() || !value.contains(field)) {
      continue;
    }
    auto& port = value[field];
    if (port.is_number_integer() && port < kMost) {
      port = port.get<int>() + 1;
    } else if (port.is_string()) {
      const auto text = port.get<std::string>();
      if (text.find_first_not_of("0123456789") == std::string::npos &&
          text != "0" && std::stoi(text) < kMost) {
        port = std::to_string(std::stoi(text) + 1);
      }
    }
  }
  if (value.is_structured()) {
    for (auto& member : value) {
      move_ports(member);
    }
  }
}

// The same object with something changed; null: it goes.
json changed(json object, Random& random) {
  auto& metadata = object["metadata"];
  if (is_policy(object)) {
    if (random.percent(20)) {
      move_ports(object["spec"]);
    }
    return random.percent(20) ? json() : object;
  }
  if (object["kind"] == "Pod" && random.percent(15)) {
    metadata["labels"]["app"] = random.percent(50) ? "a" : "web";
  } else if (object["kind"] == "Namespace" && random.percent(15)) {
    metadata["labels"]["team"] = random.percent(50) ? "red" : "blue";
  } else if (object["kind"] != "Namespace" && random.percent(4)) {
    return {};
  }
  return object;
}

Scenario random_change(std::uint64_t seed) {
  reference::Generator generator(seed, {});
  Random random(seed + 0x5eed);
  Scenario result;
  std::set<std::string> known;
  auto objects = generator.cluster();
  add_owners(objects);
  for (auto& policy : generator.policies()) {
    objects.push_back(std::move(policy));
  }
  std::map<std::string, json> after;
  for (const auto& object : objects) {
    if (known.insert(key_of(object)).second) {
      result.before.push_back(object);
      if (auto later = changed(object, random); !later.is_null()) {
        after[key_of(object)] = std::move(later);
      }
    }
  }
  const int count = random.between(0, 2);
  for (int i = 0; i < count; ++i) {
    auto policy = generator.policy(random.between(0, 5));
    const auto key = key_of(policy);
    after[key] = std::move(policy);
  }
  for (auto& [key, object] : after) {
    result.after.push_back(std::move(object));
  }
  return result;
}

// "80/TCP", "8000-8010/TCP" or "other/TCP", taken apart.
struct Column {
  std::string protocol;
  bool other = false;
  int first = 0;
  int last = 0;
};

Column column_of(const std::string& name) {
  const auto slash = name.find('/');
  Column column{.protocol = name.substr(slash)};
  if (name.starts_with("other/")) {
    column.other = true;
    return column;
  }
  const auto dash = name.find('-');
  column.first = std::stoi(name);
  column.last = dash < slash ? std::stoi(name.substr(dash + 1)) : column.first;
  return column;
}

// Compares a view with the answers of `explain` for both worlds.
class Oracle {
 public:
  Oracle(const Scenario& scenario)
      : before_(cli::cluster_of(scenario.before)),
        after_(cli::cluster_of(scenario.after)),
        view_(compare(cli::world_of(before_), cli::world_of(after_))) {
    for (std::size_t end = 0; end < view_.ends.size(); ++end) {
      for (const auto& pod : view_.ends[end].pods) {
        end_of_[pod] = end;
      }
    }
    for (const auto& port : view_.ports) {
      columns_.push_back(column_of(port.name));
    }
    for (const auto* cluster : {&before_, &after_}) {
      const auto table = cli::reach(*cluster, {}).value();
      for (const auto& port : table.ports) {
        add_port(port.asked, 0);
        add_port(cli::last_of(port), 0);
        add_port(cli::last_of(port), 1);
      }
    }
  }

  [[nodiscard]] const View& view() const { return view_; }
  [[nodiscard]] std::size_t asked() const { return asked_; }
  [[nodiscard]] std::size_t addresses() const { return addresses_; }

  // Between all pods that are in both worlds, exactly.
  void compare_pods() {
    const auto there = subjects();
    for (const auto& port : ports_) {
      std::map<std::pair<std::size_t, std::size_t>, Count> expected;
      for (const auto& from : there) {
        for (const auto& to : there) {
          const auto answer = ask(from, to, port);
          if (from == to || !answer) {
            continue;
          }
          const auto source = end_of_.find(from);
          const auto destination = end_of_.find(to);
          if (source == end_of_.end() || destination == end_of_.end()) {
            EXPECT_EQ(answer->first, answer->second)
                << from << " -> " << to << " " << port;
            continue;
          }
          expected[{source->second, destination->second}].add(*answer);
        }
      }
      for (const auto& [ends, count] : expected) {
        EXPECT_EQ(shown(ends.first, ends.second, port, true, count.pairs),
                  count.allowed)
            << name(ends) << port;
        EXPECT_EQ(shown(ends.first, ends.second, port, false, count.pairs),
                  count.denied)
            << name(ends) << port;
      }
    }
  }

  // Every difference for an address outside is one of an end that it is in.
  void compare_address(const std::string& address) {
    const auto ip = parse_ip(address);
    const auto before = before_.translator().occupant(*ip);
    const auto after = after_.translator().occupant(*ip);
    if (!before.pod.empty() || !before.services.empty() || !after.pod.empty() ||
        !after.services.empty() || before.node != after.node ||
        before.api_server != after.api_server) {
      return;  // no end outside, or not the same one
    }
    ++addresses_;
    for (const auto& pod : subjects()) {
      for (const auto& port : ports_) {
        if (!leads_on(*ip, port)) {
          expect_outside(pod, *ip, ask(pod, address, port), port, true);
        }
        expect_outside(pod, *ip, ask(address, pod, port), port, false);
      }
    }
  }

  // Every change is one, at the first and the last of its ports, by the rules
  // that it names.
  void verify_changes() {
    for (const auto& change : view_.changes) {
      auto places = change.ports.allowed;
      for (const auto& some : change.ports.some) {
        places.push_back(some.port);
      }
      std::ranges::sort(places);
      ASSERT_FALSE(places.empty());
      const auto& first = view_.ports[places.front()].asked;
      const auto answer = ask(change.from_member, change.to_member, first);
      ASSERT_TRUE(answer) << change.from_member << " -> " << change.to_member
                          << " " << first;
      EXPECT_EQ(*answer, std::pair(!change.allowed, change.allowed))
          << change.from_member << " -> " << change.to_member << " " << first;
      verify_decision(before_, change, view_.decisions[change.before], first,
                      !change.allowed);
      verify_decision(after_, change, view_.decisions[change.after], first,
                      change.allowed);
    }
  }

 private:
  struct Count {
    std::uint64_t pairs = 0;
    std::uint64_t allowed = 0;
    std::uint64_t denied = 0;
    void add(const std::pair<bool, bool>& answer) {
      ++pairs;
      allowed += !answer.first && answer.second ? 1 : 0;
      denied += answer.first && !answer.second ? 1 : 0;
    }
  };
  using Answer = std::optional<std::pair<bool, bool>>;

  [[nodiscard]] std::string name(
      const std::pair<std::size_t, std::size_t>& ends) const {
    return view_.ends[ends.first].name + " -> " + view_.ends[ends.second].name +
           " ";
  }

  void add_port(const std::string& text, int more) {
    const int number = std::stoi(text) + more;
    const auto protocol = text.substr(text.find('/'));
    const int last = protocol.starts_with("/ICMP") ? 255 : 65535;
    if (number <= last) {
      ports_.insert(std::to_string(number) + protocol);
    }
  }

  // Pods with policies of their own in both worlds.
  [[nodiscard]] std::vector<std::string> subjects() const {
    std::vector<std::string> result;
    for (const auto& name : cli::names_of_pods(before_.store())) {
      const auto is_subject = [&](const Cluster& cluster) {
        const auto* pod = cluster.translator().pod(name);
        return pod != nullptr && !pod->finished && !pod->host_network &&
               !pod->ips.empty();
      };
      if (is_subject(before_) && is_subject(after_)) {
        result.push_back(name);
      }
    }
    return result;
  }

  // Before and after; nullopt where one of the worlds has no answer.
  Answer ask(const std::string& from, const std::string& to,
             const std::string& port) {
    const explain::ExplainRequest request{.from = from, .to = to, .port = port};
    const auto before = cli::explain(before_, request);
    const auto after = cli::explain(after_, request);
    if (!before || !after) {
      return std::nullopt;
    }
    ++asked_;
    return std::pair(before->allowed, after->allowed);
  }

  [[nodiscard]] bool leads_on(const IpAddress& address,
                              const std::string& port) const {
    const auto argument = explain::parse_port(port).value();
    const auto leads = [&](const Cluster& cluster) {
      return !cluster.translator()
                  .destination(address, argument.protocol, argument.port, {})
                  .empty();
    };
    return leads(before_) || leads(after_);
  }

  // The column in which a port is.
  [[nodiscard]] std::size_t column(const std::string& port) const {
    const auto wanted = column_of(port);
    std::size_t other = columns_.size();
    for (std::size_t place = 0; place < columns_.size(); ++place) {
      const auto& column = columns_[place];
      if (column.protocol != wanted.protocol) {
        continue;
      }
      if (column.other) {
        other = place;
      } else if (column.first <= wanted.first && wanted.first <= column.last) {
        return place;
      }
    }
    EXPECT_LT(other, columns_.size()) << port;
    return other;
  }

  // How many pairs change, by the view.
  [[nodiscard]] std::uint64_t shown(std::size_t from, std::size_t to,
                                    const std::string& port, bool allowed,
                                    std::uint64_t pairs) const {
    std::uint64_t sum = 0;
    const auto place = column(port);
    for (const auto& change : view_.changes) {
      if (change.from != from || change.to != to || change.allowed != allowed) {
        continue;
      }
      const auto& all = change.ports.allowed;
      sum += std::ranges::find(all, place) != all.end() ? pairs : 0;
      for (const auto& some : change.ports.some) {
        sum += some.port == place ? some.allowed : 0;
      }
    }
    return sum;
  }

  // Whether the address is one that the end stands for. The world also stands
  // for prefixes that are treated as it is.
  [[nodiscard]] static bool stands_for(const explain::ReachEnd& end,
                                       const IpAddress& address) {
    return end.pods.empty() &&
           (end.kind == "entity" ||
            std::ranges::any_of(end.prefixes, [&](const std::string& prefix) {
              return parse_prefix(prefix)->contains(address);
            }));
  }

  void expect_outside(const std::string& pod, const IpAddress& address,
                      const Answer& answer, const std::string& port,
                      bool egress) const {
    if (!answer || answer->first == answer->second) {
      return;
    }
    const auto end = end_of_.find(pod);
    ASSERT_TRUE(end != end_of_.end()) << pod << " " << to_string(address);
    bool found = false;
    for (std::size_t other = 0; other < view_.ends.size(); ++other) {
      if (stands_for(view_.ends[other], address)) {
        found = found || shown(egress ? end->second : other,
                               egress ? other : end->second, port,
                               answer->second, 1) > 0;
      }
    }
    EXPECT_TRUE(found) << pod << (egress ? " -> " : " <- ")
                       << to_string(address) << " " << port << " becomes "
                       << (answer->second ? "allowed" : "denied");
  }

  static void verify_decision(const Cluster& cluster, const Change& change,
                              const Decision& decision, const std::string& port,
                              bool allowed) {
    const auto view = cli::explain(
        cluster,
        {.from = change.from_member, .to = change.to_member, .port = port});
    ASSERT_TRUE(view);
    EXPECT_TRUE(std::ranges::any_of(
        view->sides,
        [&](const explain::SideView& side) {
          return side.allowed == allowed &&
                 side.direction == decision.direction &&
                 side.reason == decision.reason &&
                 side.policy == decision.policy && side.path == decision.path &&
                 side.isolating == decision.isolating;
        }))
        << change.from_member << " -> " << change.to_member << " " << port
        << ": " << decision.direction << ", " << decision.reason << ", "
        << decision.policy << " " << decision.path;
  }

  Cluster before_;
  Cluster after_;
  View view_;
  std::map<std::string, std::size_t> end_of_;
  std::vector<Column> columns_;
  std::set<std::string> ports_;
  std::size_t asked_ = 0;
  std::size_t addresses_ = 0;
};

// The first addresses of all prefixes in the objects, and addresses beside
// them.
std::set<std::string> addresses_in(const json& objects) {
  std::set<std::string> result{"192.0.2.1", "2001:db8::1"};
  const auto values = objects.flatten();
  for (const auto& value : values) {
    if (!value.is_string()) {
      continue;
    }
    const auto text = value.get<std::string>();
    if (const auto prefix = parse_prefix(text)) {
      result.insert(to_string(prefix->address));
      auto last = prefix->address;
      last.bytes.at(last.v6 ? 15 : 3) |= 1U;
      result.insert(to_string(last));
    }
  }
  return result;
}

TEST(PreviewDifferential, IsTheDifferenceOfExplainsAnswersForRandomWorlds) {
  std::size_t asked = 0;
  std::size_t addresses_compared = 0;
  std::size_t changes = 0;
  std::size_t some = 0;
  std::size_t outside = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    const auto scenario = random_change(seed);
    Oracle oracle(scenario);
    oracle.compare_pods();
    oracle.verify_changes();
    auto addresses = addresses_in(scenario.before);
    addresses.merge(addresses_in(scenario.after));
    std::size_t number = seed;
    for (const auto& address : addresses) {
      if (++number % 4 == 0) {
        oracle.compare_address(address);
      }
    }
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
    asked += oracle.asked();
    addresses_compared += oracle.addresses();
    changes += oracle.view().changes.size();
    for (const auto& change : oracle.view().changes) {
      some += change.ports.some.size();
      outside += oracle.view().ends[change.from].pods.empty() ? 1 : 0;
    }
  }
  // The worlds have all that the comparison is about.
  EXPECT_GT(asked, 100'000U);
  EXPECT_GT(addresses_compared, 100U);
  EXPECT_GT(changes, 500U);
  EXPECT_GT(some, 50U);
  EXPECT_GT(outside, 50U);
}

}  // namespace
}  // namespace sluice::preview
