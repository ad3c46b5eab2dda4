// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/reach_json.h"

#include <string>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

namespace sluice::explain {
namespace {

using nlohmann::json;
using Places = std::unordered_map<std::string, std::size_t>;

json names_of(const ReachView& view, const std::vector<std::size_t>& ports) {
  auto names = json::array();
  for (const std::size_t port : ports) {
    names.push_back(view.ports[port].name);
  }
  return names;
}

std::vector<std::size_t> places_of(const json& names, const Places& places) {
  std::vector<std::size_t> result;
  for (const auto& name : names) {
    result.push_back(places.at(name.get<std::string>()));
  }
  return result;
}

ReachCell cell_of(const json& in, const Places& ends, const Places& ports) {
  ReachCell cell{.from = ends.at(in.at("from").get<std::string>()),
                 .to = ends.at(in.at("to").get<std::string>()),
                 .allowed = places_of(in.at("allowed"), ports),
                 .denied = places_of(in.at("denied"), ports),
                 .some = {}};
  for (const auto& some : in.at("some")) {
    cell.some.push_back({.port = ports.at(some.at("port").get<std::string>()),
                         .allowed = some.at("allowed").get<std::uint64_t>(),
                         .pairs = some.at("pairs").get<std::uint64_t>()});
  }
  return cell;
}

ReachView view_of(const json& in) {
  ReachView view{.ns = in.at("namespace").get<std::string>(),
                 .ports = {},
                 .ends = {},
                 .cells = {},
                 .notes = in.at("notes").get<std::vector<std::string>>()};
  Places ports;
  for (const auto& port : in.at("ports")) {
    view.ports.push_back({.name = port.at("port").get<std::string>(),
                          .asked = port.at("asked").get<std::string>()});
    ports.emplace(view.ports.back().name, ports.size());
  }
  Places ends;
  for (const auto& end : in.at("ends")) {
    view.ends.push_back(
        {.name = end.at("name").get<std::string>(),
         .ns = end.at("namespace").get<std::string>(),
         .kind = end.at("kind").get<std::string>(),
         .pods = end.at("pods").get<std::vector<std::string>>(),
         .addresses = end.at("addresses").get<std::vector<std::string>>(),
         .prefixes = end.at("prefixes").get<std::vector<std::string>>()});
    ends.emplace(view.ends.back().name, ends.size());
  }
  for (const auto& cell : in.at("cells")) {
    view.cells.push_back(cell_of(cell, ends, ports));
  }
  return view;
}

}  // namespace

json reach_head(const ReachView& view) {
  auto ports = json::array();
  for (const auto& port : view.ports) {
    ports.push_back({{"port", port.name}, {"asked", port.asked}});
  }
  auto ends = json::array();
  for (const auto& end : view.ends) {
    ends.push_back({{"name", end.name},
                    {"namespace", end.ns},
                    {"kind", end.kind},
                    {"pods", end.pods},
                    {"addresses", end.addresses},
                    {"prefixes", end.prefixes}});
  }
  return {{"namespace", view.ns},
          {"ports", std::move(ports)},
          {"ends", std::move(ends)},
          {"cells", json::array()},
          {"notes", view.notes}};
}

json reach_cell(const ReachView& view, const ReachCell& cell) {
  auto some = json::array();
  for (const auto& of : cell.some) {
    some.push_back({{"port", view.ports[of.port].name},
                    {"allowed", of.allowed},
                    {"pairs", of.pairs}});
  }
  return {{"from", view.ends[cell.from].name},
          {"to", view.ends[cell.to].name},
          {"allowed", names_of(view, cell.allowed)},
          {"denied", names_of(view, cell.denied)},
          {"some", std::move(some)}};
}

json reach_json(const ReachView& view) {
  auto result = reach_head(view);
  for (const auto& cell : view.cells) {
    result["cells"].push_back(reach_cell(view, cell));
  }
  return result;
}

Result<ReachView> reach_view(const json& json) {
  try {
    return view_of(json);
  } catch (const std::exception& error) {
    return fail(std::string("no answer about reachability: ") + error.what());
  }
}

}  // namespace sluice::explain
