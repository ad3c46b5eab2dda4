// SPDX-License-Identifier: Apache-2.0
// The translator against the reference evaluator, and against itself.
// SLUICE_SEED and SLUICE_SCENARIOS choose other and more scenarios.
#include "tests/unit/reference/differential.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>

#include <gtest/gtest.h>

#include "tests/reference/generator.h"

namespace sluice::testing {
namespace {

using nlohmann::json;
using policy::Translator;
using reference::Generator;
using reference::Random;

TEST(Differential, RandomScenariosGetTheReferenceVerdicts) {
  const auto seed = number_from_environment("SLUICE_SEED", 1);
  const auto count = number_from_environment("SLUICE_SCENARIOS", 400);
  std::size_t checks = 0;
  std::size_t by_name = 0;
  std::size_t lists = 0;
  int failures = 0;
  for (std::uint64_t i = 0; i < count && failures < 3; ++i) {
    const json scenario = reference::random_scenario(seed + i);
    const auto result = compare(scenario);
    ASSERT_TRUE(result) << "seed " << seed + i << ": " << result.error().message
                        << "\n"
                        << scenario.dump();
    checks += result->checks;
    by_name += result->by_name;
    lists += result->lists;
    if (result->disagrees_at) {
      ++failures;
      const json small = shrink(scenario);
      const auto again = compare(small);
      ADD_FAILURE() << "seed " << seed + i << ": " << result->how
                    << "\nshrunk: " << (again ? again->how : "") << "\n"
                    << small.dump();
    }
  }
  // Probes between ends without policy check nothing; most must check.
  EXPECT_GT(checks, count * 20);
  EXPECT_GT(by_name, count / 8);
  EXPECT_GT(lists, count / 8);
  RecordProperty("checks", static_cast<int>(checks));
  RecordProperty("by_name", static_cast<int>(by_name));
  RecordProperty("lists", static_cast<int>(lists));
}

// ---- one translator, changed step by step
// -------------------------------------

std::string key_of(const json& object) {
  return object["kind"].get<std::string>() + "/" +
         object["metadata"].value("namespace", "") + "/" +
         object["metadata"]["name"].get<std::string>();
}

std::string first_difference(const State& a, const State& b) {
  if (a.peers != b.peers) {
    return "peers";
  }
  if (a.entries != b.entries) {
    return "entries";
  }
  if (a.endpoints != b.endpoints) {
    return "endpoints";
  }
  if (a.rules != b.rules) {
    return "rules";
  }
  if (a.sets != b.sets) {
    return "sets";
  }
  if (a.names != b.names) {
    return "names";
  }
  return a.resolvers != b.resolvers ? "resolvers" : "";
}

constexpr std::array kNodes{"node0", "node1", "node2"};

struct Step {
  json object;
  bool remove = false;
  bool take = false;  // take what has changed so far
};

// Random changes of a cluster: its objects appear, change and go.
std::vector<Step> random_steps(std::uint64_t seed, std::size_t count) {
  Generator generator(seed, {.probes = 0, .reuse_addresses = false});
  // Versions of the same cluster, and policies for all of them.
  std::vector<json> pool;
  for (int version = 0; version < 3; ++version) {
    for (auto& object : generator.cluster()) {
      pool.push_back(object);
    }
    for (int number = 0; number < 5; ++number) {
      pool.push_back(generator.policy(number));
    }
  }
  Random random(seed ^ 0x5eed);
  std::vector<Step> steps;
  steps.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    steps.push_back({.object = random.pick(pool),
                     .remove = random.percent(30),
                     .take = random.percent(30)});
  }
  return steps;
}

// The objects that are there after all steps, in a random order.
std::vector<json> objects_after(const std::vector<Step>& steps,
                                Random& random) {
  std::map<std::string, json> present;
  for (const auto& step : steps) {
    if (step.remove) {
      present.erase(key_of(step.object));
    } else {
      present[key_of(step.object)] = step.object;
    }
  }
  std::vector<json> result;
  result.reserve(present.size());
  for (const auto& [key, object] : present) {
    result.push_back(object);
  }
  for (std::size_t i = result.size(); i > 1; --i) {
    std::swap(result[i - 1], result[random.below(i)]);
  }
  return result;
}

// A namespace that is not there (yet) still has its name as a label.
void add_namespaces(json& objects) {
  std::map<std::string, bool> known;
  for (const auto& object : objects) {
    if (object["kind"] == "Namespace") {
      known[object["metadata"]["name"]] = true;
    } else if (object["kind"] == "Pod") {
      known.try_emplace(object["metadata"]["namespace"], false);
    }
  }
  for (const auto& [name, there] : known) {
    if (!there) {
      objects.push_back(
          {{"apiVersion", "v1"},
           {"kind", "Namespace"},
           {"metadata",
            {{"name", name},
             {"labels", {{"kubernetes.io/metadata.name", name}}}}}});
    }
  }
}

// Where what the nodes hold and the reference evaluator disagree, or empty.
std::string disagreement(const std::vector<Step>& steps,
                         const Translator& translator,
                         const std::map<std::string, State>& views) {
  Random random(steps.size());
  json objects = json::array();
  for (json& object : objects_after(steps, random)) {
    objects.push_back(std::move(object));
  }
  add_namespaces(objects);
  Generator generator(steps.size(), {.probes = 40, .reuse_addresses = false});
  static_cast<void>(generator.cluster());
  // A pod in its node's network is its node; here the node may be missing.
  json pods = json::array();
  std::ranges::copy_if(objects, std::back_inserter(pods),
                       [](const json& object) {
                         return object["kind"] != "Pod" ||
                                !object["spec"].value("hostNetwork", false);
                       });
  json probes = generator.probes(pods);
  if (probes.empty()) {
    return {};
  }
  const auto result = compare({{"name", "changed"},
                               {"objects", std::move(objects)},
                               {"probes", std::move(probes)}},
                              translator, views);
  if (!result) {
    return "not a scenario: " + result.error().message;
  }
  return result->disagrees_at ? "changed: " + result->how : std::string();
}

// What is wrong after all steps, or empty: the state must be what a translator
// gives that has only seen the final objects, and so must what was taken; and
// it must give the reference evaluator's verdicts.
std::string replay(const std::vector<Step>& steps) {
  Translator changed;
  set_reserved(changed);
  std::map<std::string, State> taken;
  for (const char* node : kNodes) {
    changed.watch_node(node);
  }
  const auto take_all = [&] {
    for (const auto& node : changed.changed_nodes()) {
      apply(taken[node], changed.take(node));
    }
  };
  for (const auto& step : steps) {
    if (step.remove) {
      remove_object(changed, step.object);
    } else if (auto set = set_object(changed, step.object); !set) {
      return "not accepted: " + set.error().message;
    }
    if (step.take) {
      take_all();
    }
  }
  take_all();
  Translator fresh;
  set_reserved(fresh);
  Random random(steps.size());
  for (const json& object : objects_after(steps, random)) {
    if (auto set = set_object(fresh, object); !set) {
      return "not accepted anew: " + set.error().message;
    }
  }
  for (const char* node : kNodes) {
    const State now = changed.snapshot(node);
    std::string wrong = first_difference(now, fresh.snapshot(node));
    if (!wrong.empty()) {
      return std::string(node) + ": " + wrong + " differ from a fresh one's";
    }
    wrong = first_difference(taken[node], now);
    if (!wrong.empty()) {
      return std::string(node) + ": " + wrong + " taken, differ from snapshot";
    }
  }
  return disagreement(steps, changed, taken);
}

std::vector<Step> shrink(std::vector<Step> steps) {
  for (std::size_t size = steps.size() / 2; size > 0; size /= 2) {
    for (std::size_t at = 0; at < steps.size();) {
      auto fewer = steps;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(at),
                  fewer.begin() + static_cast<std::ptrdiff_t>(
                                      std::min(at + size, fewer.size())));
      if (replay(fewer).empty()) {
        at += size;
      } else {
        steps = std::move(fewer);
      }
    }
  }
  return steps;
}

std::string to_text(const std::vector<Step>& steps) {
  std::string result;
  for (const auto& step : steps) {
    result += (step.remove ? "remove " : "set ") +
              (step.remove ? key_of(step.object) : step.object.dump()) +
              (step.take ? " (take)" : "") + "\n";
  }
  return result;
}

TEST(Differential, ChangesGiveWhatAFreshTranslatorGives) {
  const auto seed = number_from_environment("SLUICE_SEED", 1);
  const auto count = number_from_environment("SLUICE_SCENARIOS", 400);
  int failures = 0;
  for (std::uint64_t i = 0; i < count && failures < 3; ++i) {
    const auto steps = random_steps(seed + i, 10 + ((seed + i) % 90));
    const std::string wrong = replay(steps);
    if (!wrong.empty()) {
      ++failures;
      const auto fewer = shrink(steps);
      ADD_FAILURE() << "seed " << seed + i << ": " << wrong
                    << "\nshrunk: " << replay(fewer) << "\n"
                    << to_text(fewer);
    }
  }
}

}  // namespace
}  // namespace sluice::testing
