// SPDX-License-Identifier: Apache-2.0
#include "agent/node/requests.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "agent/node/flow.h"
#include "agent/node/json_text.h"
#include "agent/node/resolved.h"
#include "agent/node/version.h"
#include "agent/node/views_json.h"
#include "lib/base/sequence.h"
#include "lib/explain/reach_json.h"
#include "lib/explain/view_json.h"

namespace sluice::node {
namespace {

using nlohmann::json;

constexpr std::size_t kRowsPerLine = 256;
// Limits the long replies, each of which holds a copy of its data while it is
// read.
constexpr int kLongRepliesMax = 4;

Server::Answer error_answer(const std::string& what) {
  return {.reply = reply_line(dump(json{{"error", what}})),
          .drops_only = false};
}

Server::Answer view_answer(const json& view) {
  return {.reply = reply_line(dump(json{{"view", view}}) + "\n{\"end\":true}"),
          .drops_only = false};
}

// Makes a reply of many rows; `row` makes each row when it is sent. `view`:
// what is beside the rows.
template <typename Item, typename MakeRow>
Server::Answer rows_answer(std::vector<Item> items, MakeRow row,
                           const json& view = json::object()) {
  static const auto slots = std::make_shared<int>(0);
  if (slots.use_count() > kLongRepliesMax) {
    return error_answer("busy: too many long replies at once; try again");
  }
  struct Rows {
    std::vector<Item> items;
    std::size_t next = 0;
    bool begun = false;
    bool ended = false;
    std::shared_ptr<int> slot;
  };
  auto all = std::make_shared<Rows>();
  all->items = std::move(items);
  all->slot = slots;
  Reply reply = [all, first = dump(json{{"view", view}}),
                 row = std::move(row)]() -> std::optional<std::string> {
    auto& state = *all;
    if (!std::exchange(state.begun, true)) {
      return first;
    }
    if (state.next == state.items.size()) {
      if (std::exchange(state.ended, true)) {
        return std::nullopt;
      }
      return "{\"end\":true}";
    }
    auto rows = json::array();
    const auto end = std::min(state.next + kRowsPerLine, state.items.size());
    for (; state.next < end; ++state.next) {
      rows.push_back(row(state.items[state.next]));
    }
    return dump(json{{"rows", std::move(rows)}});
  };
  return {.reply = std::move(reply), .drops_only = false};
}

// Which endpoints are not enforced for; empty if there is none.
std::string unenforced(
    const std::vector<std::pair<std::string, std::string>>& problems) {
  if (problems.empty()) {
    return {};
  }
  const auto& [name, problem] = problems.front();
  auto text = name + ": " + problem;
  if (problems.size() > 1) {
    text += " (and " + std::to_string(problems.size() - 1) + " more)";
  }
  return text;
}

Server::Answer status(const RequestContext& context) {
  const auto agent = context.agent->status();
  StatusView view;
  view.version = kVersion;
  view.node = context.node;
  view.problem = agent.problem.empty() ? context.problem : agent.problem;
  view.enforced = view.problem.empty();
  view.revision = agent.revision;
  view.epoch = agent.epoch;
  view.endpoints = agent.endpoints.size();
  view.endpoints_attached = static_cast<std::uint64_t>(std::ranges::count(
      agent.endpoints, true, &agent::EndpointStatus::attached));
  view.endpoints_problem = unenforced(context.agent->endpoint_problems());
  view.events_lost = agent.events_lost;
  for (const auto& map : agent.maps) {
    view.maps.push_back(
        {.name = map.name, .used = map.used, .capacity = map.capacity});
  }
  for (const auto& reason : agent.reasons) {
    if (reason.packets != 0) {
      view.reasons.push_back({.reason = reason.reason,
                              .direction = reason.direction,
                              .packets = reason.packets,
                              .bytes = reason.bytes});
    }
  }
  context.policies->describe(view);
  return view_answer(view);
}

Server::Answer endpoint_list(const RequestContext& context) {
  EndpointListView list;
  for (const auto& endpoint : context.agent->status().endpoints) {
    EndpointView view{.name = endpoint.name,
                      .interface = endpoint.interface,
                      .ifindex = endpoint.ifindex,
                      .ips = {},
                      .attached = endpoint.attached,
                      .isolated_ingress = endpoint.isolated[SLUICE_INGRESS],
                      .isolated_egress = endpoint.isolated[SLUICE_EGRESS],
                      .policy_set = endpoint.policy_set,
                      .policies = {},
                      .problem = endpoint.problem};
    for (const auto& ip : endpoint.ips) {
      view.ips.push_back(to_string(ip));
    }
    if (const auto* set = context.names->set(endpoint.policy_set)) {
      view.policies = set->policies;
    }
    list.endpoints.push_back(std::move(view));
  }
  return view_answer(list);
}

std::string name_of(const PolicyView& policy) {
  return policy.kind + "/" + (policy.ns.empty() ? "" : policy.ns + "/") +
         policy.name;
}

// Of which policies the node's policy map has no room is known here only.
Server::Answer policy_list(const RequestContext& context) {
  auto list = context.policies->policy_list();
  for (const auto& [id, why] : context.agent->shortfalls()) {
    const auto* set = context.names->set(id);
    for (auto& policy : list.policies) {
      if (set != nullptr &&
          std::ranges::find(set->policies, name_of(policy)) !=
              set->policies.end() &&
          policy.reason.find(why) == std::string::npos) {
        policy.reason += (policy.reason.empty() ? "" : "; ") + why;
      }
    }
  }
  return view_answer(list);
}

Server::Answer policy_dump(const RequestContext& context) {
  auto entries = context.agent->dump_policy();
  if (!entries) {
    return error_answer(entries.error().message);
  }
  const auto names = std::make_shared<Names>(*context.names);
  names->set_peers(context.agent->view().peers);
  return rows_answer(std::move(*entries), [names](const PolicyEntry& entry) {
    return json(names->entry_view(entry, true));
  });
}

Server::Answer peer_list(const RequestContext& context) {
  return rows_answer(context.agent->view().peers, [](const PeerEntry& peer) {
    return json(
        PeerView{.prefix = to_string(peer.prefix), .cidr_id = peer.cidr_id});
  });
}

Server::Answer conntrack_list(const RequestContext& context) {
  auto entries = context.agent->dump_conntrack();
  if (!entries) {
    return error_answer(entries.error().message);
  }
  const auto epoch = context.agent->status().epoch;
  std::vector<ConntrackView> views;
  views.reserve(entries->size());
  for (const auto& entry : *entries) {
    const auto name_of = [&](const IpAddress& address) {
      return owner_or_name(*context.policies, *context.agent, entry.ifindex,
                           address);
    };
    views.push_back(make_conntrack(entry,
                                   context.agent->endpoint_name(entry.ifindex),
                                   epoch, *context.names, name_of));
  }
  return rows_answer(
      std::move(views), [](const ConntrackView& view) { return json(view); },
      json{{"names_problem", context.policies->names_problem()}});
}

// By selector of names: its pattern, and the policies with rules for it.
struct SelectorText {
  std::string pattern;
  std::vector<std::string> policies;
};
std::map<std::uint32_t, SelectorText> selector_texts(
    const RequestContext& context) {
  std::map<std::uint32_t, SelectorText> texts;
  const State& wanted = context.agent->wanted();
  for (const auto& name : wanted.names) {
    texts[name.id].pattern = name.pattern;
  }
  for (const auto& entry : wanted.entries) {
    const auto found = texts.find(entry.key.cidr_id);
    const auto* rule = context.names->rule(entry.value.rule);
    if (found != texts.end() && rule != nullptr &&
        entry.key.direction == SLUICE_EGRESS) {
      found->second.policies.push_back(rule->policy);
    }
  }
  for (auto& [id, text] : texts) {
    sort_unique(text.policies);
  }
  return texts;
}

Server::Answer fqdn_list(const RequestContext& context) {
  const auto texts = selector_texts(context);
  std::vector<ResolvedNameView> views;
  for (auto& resolved : resolved_names(*context.agent)) {
    ResolvedNameView view{.endpoint = std::move(resolved.endpoint),
                          .name = std::move(resolved.name),
                          .address = to_string(resolved.address),
                          .expires_in = resolved.expires_in,
                          .selectors = {},
                          .policies = {}};
    for (const std::uint32_t id : resolved.selectors) {
      if (const auto found = texts.find(id); found != texts.end()) {
        const auto& [pattern, policies] = found->second;
        view.selectors.push_back(pattern);
        view.policies.insert(view.policies.end(), policies.begin(),
                             policies.end());
      }
    }
    sort_unique(view.policies);
    views.push_back(std::move(view));
  }
  return rows_answer(std::move(views),
                     [](const ResolvedNameView& view) { return json(view); });
}

// The policy ids as the kernel holds them now; its map is read only if an entry
// has decided.
void set_policy_ids(const agent::Agent& agent, ExplainView& view) {
  if (std::ranges::all_of(view.sides, [](const explain::SideView& side) {
        return side.entry.empty();
      })) {
    return;
  }
  const auto held = agent.dump_policy();
  if (!held) {
    return;
  }
  std::unordered_map<std::uint32_t, std::uint32_t> ids;  // by set
  for (const auto& entry : *held) {
    ids[SLUICE_POLICY_SET(entry.key.policy_id)] = entry.key.policy_id;
  }
  for (auto& side : view.sides) {
    const auto found = ids.find(SLUICE_POLICY_SET(side.policy_id));
    if (!side.entry.empty() && found != ids.end()) {
      side.policy_id = found->second;
    }
  }
}

Server::Answer explain_all_ports(const RequestContext& context,
                                 const ExplainRequest& request) {
  auto views = context.policies->explain_all_ports(request);
  if (!views) {
    return error_answer(views.error().message);
  }
  if (context.agent != nullptr) {
    for (auto& view : *views) {
      set_policy_ids(*context.agent, view);
    }
  }
  return view_answer({{"answers", *views}});
}

Server::Answer explain_flow(const RequestContext& context,
                            const json& request) {
  const auto text = [&](const char* name) {
    const auto found = request.find(name);
    return found != request.end() && found->is_string()
               ? found->get<std::string>()
               : std::string{};
  };
  const ExplainRequest asked{
      .from = text("from"), .to = text("to"), .port = text("port")};
  const auto complete = context.agent == nullptr
                            ? Result<ExplainRequest>(asked)
                            : with_names(*context.agent, asked);
  if (!complete) {
    return error_answer(complete.error().message);
  }
  if (asked.port.empty()) {
    return explain_all_ports(context, *complete);
  }
  auto view = context.policies->explain(*complete);
  if (view && context.agent != nullptr) {
    set_policy_ids(*context.agent, *view);
  }
  return view ? view_answer(*view) : error_answer(view.error().message);
}

// nullopt if `ports` is not a list of texts.
std::optional<std::vector<std::string>> ports_of(const json& request) {
  const auto found = request.find("ports");
  if (found == request.end()) {
    return std::vector<std::string>{};
  }
  if (!found->is_array() || !std::ranges::all_of(*found, [](const json& port) {
        return port.is_string();
      })) {
    return std::nullopt;
  }
  return found->get<std::vector<std::string>>();
}

Server::Answer reach(const RequestContext& context, const json& request) {
  const auto ns = request.find("namespace");
  const auto outside = request.find("outside");
  const auto ports = ports_of(request);
  if ((ns != request.end() && !ns->is_string()) || !ports ||
      (outside != request.end() && !outside->is_boolean())) {
    return error_answer("reach: a field has the wrong type");
  }
  auto view = context.policies->reach(
      {.ns = ns == request.end() ? "" : ns->get<std::string>(),
       .ports = *ports,
       .outside = outside == request.end() || outside->get<bool>()});
  if (!view) {
    return error_answer(view.error().message);
  }
  auto cells = std::exchange(view->cells, {});
  const auto head = explain::reach_head(*view);
  return rows_answer(
      std::move(cells),
      [view = std::make_shared<explain::ReachView>(std::move(*view))](
          const explain::ReachCell& cell) {
        return explain::reach_cell(*view, cell);
      },
      head);
}

Server::Answer dispatch(const RequestContext& context,
                        const std::string& command, const json& request) {
  if (command == "status") {
    return status(context);
  }
  if (command == "endpoint list") {
    return endpoint_list(context);
  }
  if (command == "policy list") {
    return policy_list(context);
  }
  if (command == "policy dump") {
    return policy_dump(context);
  }
  if (command == "peer list") {
    return peer_list(context);
  }
  if (command == "conntrack list") {
    return conntrack_list(context);
  }
  if (command == "fqdn list") {
    return fqdn_list(context);
  }
  if (command == "explain") {
    return explain_flow(context, request);
  }
  if (command == "reach") {
    return reach(context, request);
  }
  if (command == "monitor") {
    const auto drops = request.find("drops");
    return {.reply = {},
            .drops_only = drops != request.end() && drops->is_boolean() &&
                          drops->get<bool>()};
  }
  return error_answer("unknown command");
}

}  // namespace

Server::Answer answer_request(const RequestContext& context,
                              const std::string& request) {
  try {
    const auto parsed = json::parse(request, nullptr, false);
    if (!parsed.is_object()) {
      return error_answer("not a JSON object");
    }
    const auto command = parsed.find("command");
    if (command == parsed.end() || !command->is_string()) {
      return error_answer("command: must be a string");
    }
    return dispatch(context, command->get<std::string>(), parsed);
  } catch (const std::exception& error) {
    return error_answer(error.what());
  }
}

}  // namespace sluice::node
