// SPDX-License-Identifier: Apache-2.0
#include "agent/node/names.h"

#include <cstdio>
#include <fstream>
#include <utility>

#include <arpa/inet.h>
#include <nlohmann/json.hpp>

#include "agent/node/json_text.h"
#include "agent/node/views_json.h"
#include "lib/explain/text.h"

namespace sluice::node {
namespace {

using nlohmann::json;

constexpr std::size_t kPeersShown = 3;

json to_json(const RuleInfo& rule) {
  return {{"id", rule.id},
          {"policy", rule.policy},
          {"path", rule.path},
          {"action", rule.action},
          {"log_value", rule.log_value}};
}

RuleInfo rule_from(const json& in) {
  return {.id = in.value("id", 0U),
          .policy = in.value("policy", ""),
          .path = in.value("path", ""),
          .action = in.value("action", ""),
          .log_value = in.value("log_value", "")};
}

PolicySetInfo set_from(const json& in) {
  using Texts = std::vector<std::string>;
  return {.id = in.value("id", 0U),
          .policies = in.value("policies", Texts{}),
          .isolating = {in.value("isolating_ingress", Texts{}),
                        in.value("isolating_egress", Texts{})},
          .problem = in.value("problem", "")};
}

std::string full_text(const IpPrefix& prefix) {
  return prefix.length == prefix.address.bits() ? to_string(prefix.address)
                                                : to_string(prefix);
}

}  // namespace

void Names::add_peer(std::uint32_t cidr_id, const IpPrefix& prefix) {
  auto& peers = peers_[cidr_id];
  ++peers.count;
  if (peers.shown < kPeersShown) {
    peers.text += (peers.text.empty() ? "" : ", ") + full_text(prefix);
    ++peers.shown;
  }
}

Names::Names(const State& state) {
  for (const auto& rule : state.rules) {
    rules_.emplace(rule.id, rule);
  }
  for (const auto& set : state.sets) {
    sets_.emplace(set.id, set);
  }
  for (const auto& endpoint : state.endpoints) {
    endpoints_[endpoint.name] = endpoint.policy_set;
  }
  for (const auto& name : state.names) {
    patterns_.emplace(name.id, name.pattern);
  }
  set_peers(state.peers);
}

void Names::set_peers(const std::vector<PeerEntry>& peers) {
  peers_.clear();
  for (const auto& peer : peers) {
    add_peer(peer.cidr_id, peer.prefix);
  }
}

void Names::apply(const Transaction& transaction) {
  for (const auto& change : transaction.rules) {
    if (change.value) {
      rules_[change.id] = *change.value;
    } else {
      rules_.erase(change.id);
    }
  }
  for (const auto& change : transaction.sets) {
    if (change.value) {
      sets_[change.id] = *change.value;
    } else {
      sets_.erase(change.id);
    }
  }
  for (const auto& change : transaction.endpoints) {
    if (change.value) {
      endpoints_[change.name] = change.value->policy_set;
    } else {
      endpoints_.erase(change.name);
    }
  }
  for (const auto& change : transaction.names) {
    if (change.value) {
      patterns_[change.id] = change.value->pattern;
    } else {
      patterns_.erase(change.id);
    }
  }
}

const RuleInfo* Names::rule(std::uint32_t id) const {
  const auto found = rules_.find(id);
  return found == rules_.end() ? nullptr : &found->second;
}

const PolicySetInfo* Names::set(std::uint32_t id) const {
  const auto found = sets_.find(id);
  return found == sets_.end() ? nullptr : &found->second;
}

std::vector<std::string> Names::endpoints_of(std::uint32_t set) const {
  std::vector<std::string> names;
  for (const auto& [name, its_set] : endpoints_) {
    if (its_set == set) {
      names.push_back(name);
    }
  }
  return names;
}

std::string Names::peers(std::uint32_t cidr_id) const {
  if (cidr_id == SLUICE_CIDR_ANY) {
    return "any";
  }
  if (const auto pattern = patterns_.find(cidr_id);
      pattern != patterns_.end()) {
    return pattern->second;
  }
  const auto found = peers_.find(cidr_id);
  if (found == peers_.end()) {
    return "-";
  }
  const auto& peers = found->second;
  return peers.count > peers.shown
             ? peers.text + " and " +
                   std::to_string(peers.count - peers.shown) + " more"
             : peers.text;
}

Result<void> Names::save(const std::filesystem::path& file) const {
  json out = {{"rules", json::array()},
              {"sets", json::array()},
              {"names", json::array()},
              {"endpoints", endpoints_}};
  for (const auto& [id, rule] : rules_) {
    out["rules"].push_back(to_json(rule));
  }
  for (const auto& [id, set] : sets_) {
    out["sets"].push_back({{"id", id},
                           {"policies", set.policies},
                           {"isolating_ingress", set.isolating[0]},
                           {"isolating_egress", set.isolating[1]},
                           {"problem", set.problem}});
  }
  for (const auto& [id, pattern] : patterns_) {
    out["names"].push_back({{"id", id}, {"pattern", pattern}});
  }
  const auto temporary = file.string() + ".new";
  {
    std::ofstream stream(temporary, std::ios::trunc);
    stream << dump(out) << '\n';
    if (!stream.flush()) {
      return fail_errno(temporary, errno != 0 ? errno : EIO);
    }
  }
  if (std::rename(temporary.c_str(), file.c_str()) != 0) {
    return fail_errno(file.string());
  }
  return {};
}

Result<Names> Names::load(const std::filesystem::path& file) {
  std::ifstream stream(file);
  if (!stream) {
    return fail_errno(file.string());
  }
  Names names;
  try {
    const auto in = json::parse(stream);
    for (const auto& item : in.at("rules")) {
      auto rule = rule_from(item);
      names.rules_.emplace(rule.id, std::move(rule));
    }
    for (const auto& item : in.at("sets")) {
      auto set = set_from(item);
      names.sets_.emplace(set.id, std::move(set));
    }
    for (const auto& item : in.value("names", json::array())) {
      names.patterns_.emplace(item.at("id").get<std::uint32_t>(),
                              item.at("pattern").get<std::string>());
    }
    in.at("endpoints").get_to(names.endpoints_);
  } catch (const json::exception& error) {
    return fail(file.string() + ": " + error.what());
  }
  return names;
}

void Names::describe(std::uint32_t id, std::string& policy,
                     std::string& path) const {
  if (const auto* info = rule(id)) {
    policy = info->policy;
    path = info->path;
  } else {
    policy = explain::builtin_rule_text(id);
    path.clear();
  }
}

std::string Names::text_of(std::uint32_t id) const {
  std::string policy;
  std::string path;
  describe(id, policy, path);
  if (policy.empty()) {
    return id == SLUICE_RULE_NONE ? "" : "rule " + std::to_string(id);
  }
  return path.empty() ? policy : policy + " " + path;
}

EntryView Names::entry_view(const PolicyEntry& entry,
                            bool generation_bit) const {
  const auto& key = entry.key;
  const auto set =
      generation_bit ? SLUICE_POLICY_SET(key.policy_id) : key.policy_id;
  EntryView view{
      .prefixlen = key.prefixlen,
      .policy_id =
          generation_bit ? key.policy_id : SLUICE_POLICY_ID(key.policy_id, 0),
      .cidr_id = key.cidr_id,
      .direction = key.direction,
      .protocol = key.protocol,
      .port = ntohs(key.port),
      .verdict = entry.value.verdict,
      .flags = entry.value.flags,
      .jump = entry.value.jump,
      .rule = entry.value.rule,
      .endpoints = endpoints_of(set),
      .peers = peers(key.cidr_id),
      .l4 = explain::l4_text(key),
      .decides = std::string(explain::verdict_text(entry.value.verdict)),
      .policy = {},
      .path = {}};
  describe(entry.value.rule, view.policy, view.path);
  return view;
}

}  // namespace sluice::node
