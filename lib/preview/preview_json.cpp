// SPDX-License-Identifier: Apache-2.0
#include "lib/preview/preview_json.h"

#include <nlohmann/json.hpp>

namespace sluice::preview {
namespace {

using nlohmann::json;

json names_of(const View& view, const std::vector<std::size_t>& ports) {
  auto names = json::array();
  for (const auto port : ports) {
    names.push_back(view.ports[port].name);
  }
  return names;
}

json some_of(const View& view, const std::vector<explain::ReachSome>& list,
             const char* what) {
  auto result = json::array();
  for (const auto& some : list) {
    result.push_back({{"port", view.ports[some.port].name},
                      {what, some.allowed},
                      {"pairs", some.pairs}});
  }
  return result;
}

json decision_json(const Decision& decision) {
  return {{"direction", decision.direction},
          {"reason", decision.reason},
          {"policy", decision.policy},
          {"path", decision.path},
          {"isolating", decision.isolating}};
}

json flows_change_json(const FlowsChange& change) {
  return {{"from", change.flows.from},
          {"to", change.flows.to},
          {"port", change.flows.port},
          {"names", change.flows.names},
          {"count", change.flows.count},
          {"last_seen", change.flows.last_seen},
          {"becomes", change.allowed ? "allowed" : "denied"},
          {"now", decision_json(change.after)},
          {"before", decision_json(change.before)}};
}

json change_json(const View& view, const Change& change) {
  return {
      {"from", view.ends[change.from].name},
      {"to", view.ends[change.to].name},
      {"becomes", change.allowed ? "allowed" : "denied"},
      {"ports", names_of(view, change.ports.allowed)},
      {"some", some_of(view, change.ports.some, "changed")},
      {"now", decision_json(view.decisions[change.after])},
      {"before", decision_json(view.decisions[change.before])},
      {"example", {{"from", change.from_member}, {"to", change.to_member}}}};
}

json stays_json(const View& view, const explain::ReachCell& cell) {
  return {{"from", view.ends[cell.from].name},
          {"to", view.ends[cell.to].name},
          {"allowed", names_of(view, cell.allowed)},
          {"denied", names_of(view, cell.denied)},
          {"some", some_of(view, cell.some, "allowed")}};
}

}  // namespace

json preview_json(const View& view) {
  json result{{"pairs", view.pairs},
              {"unchanged", view.unchanged},
              {"notes", view.notes}};
  for (const char* member : {"ports", "ends", "changes", "stays"}) {
    result[member] = json::array();
  }
  for (const auto& port : view.ports) {
    result["ports"].push_back({{"port", port.name}, {"asked", port.asked}});
  }
  for (const auto& end : view.ends) {
    result["ends"].push_back({{"name", end.name},
                              {"namespace", end.ns},
                              {"kind", end.kind},
                              {"pods", end.pods},
                              {"addresses", end.addresses},
                              {"prefixes", end.prefixes}});
  }
  for (const auto& change : view.changes) {
    result["changes"].push_back(change_json(view, change));
  }
  for (const auto& cell : view.stays) {
    result["stays"].push_back(stays_json(view, cell));
  }
  return result;
}

json flows_json(const FlowsView& view) {
  json result{{"seen", view.seen},
              {"unknown", view.unknown},
              {"changes", json::array()}};
  for (const auto& change : view.changes) {
    result["changes"].push_back(flows_change_json(change));
  }
  return result;
}

}  // namespace sluice::preview
