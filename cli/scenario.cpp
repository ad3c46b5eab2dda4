// SPDX-License-Identifier: Apache-2.0
#include "cli/scenario.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "cli/scenario_reader.h"
#include "lib/kube/manifest.h"

namespace sluice::cli {
namespace {

using nlohmann::json;

constexpr int kIcmp = 1;
constexpr int kIcmpV6 = 58;

struct ProtocolName {
  std::string_view name;
  std::uint8_t number;
  bool has_ports;
};
constexpr std::array kProtocols{
    ProtocolName{"TCP", 6, true},           ProtocolName{"UDP", 17, true},
    ProtocolName{"SCTP", 132, true},        ProtocolName{"ICMP", kIcmp, false},
    ProtocolName{"ICMPv6", kIcmpV6, false}, ProtocolName{"IGMP", 2, false},
    ProtocolName{"IPIP", 4, false},         ProtocolName{"GRE", 47, false},
    ProtocolName{"ESP", 50, false},         ProtocolName{"AH", 51, false},
};

constexpr std::array kEntities{
    std::string_view("host"),           std::string_view("remote-node"),
    std::string_view("health"),         std::string_view("init"),
    std::string_view("unmanaged"),      std::string_view("ingress"),
    std::string_view("kube-apiserver"), std::string_view("world-ipv4"),
    std::string_view("world-ipv6"),
};

// Fields that carry information for people or for other tools. Everything else
// that is not known is an error: a misspelt `ingress` would test nothing.
constexpr std::array kScenarioFields{
    std::string_view("name"),      std::string_view("source"),
    std::string_view("features"),  std::string_view("note"),
    std::string_view("objects"),   std::string_view("invalid"),
    std::string_view("enforced"),  std::string_view("probes"),
    std::string_view("manifests"),
};
constexpr std::array kProbeFields{
    std::string_view("from"),     std::string_view("to"),
    std::string_view("protocol"), std::string_view("port"),
    std::string_view("icmpType"), std::string_view("icmpCode"),
    std::string_view("egress"),   std::string_view("ingress"),
    std::string_view("note"),     std::string_view("judge"),
    std::string_view("class"),    std::string_view("right"),
};

template <typename Range>
Result<void> only_known(const json& object, const Range& known) {
  for (const auto& item : object.items()) {
    if (std::ranges::find(known, item.key()) == known.end()) {
      return fail(item.key() + ": unknown field");
    }
  }
  return {};
}

// The member, or null where it is absent or null.
const json* member(const json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Result<std::string> text_of(const json& object, const char* key) {
  const json* value = member(object, key);
  if (value == nullptr) {
    return std::string();
  }
  if (!value->is_string()) {
    return fail(std::string(key) + ": not a string");
  }
  return value->get<std::string>();
}

Result<std::vector<std::string>> texts_of(const json& object, const char* key) {
  std::vector<std::string> result;
  const json* value = member(object, key);
  if (value == nullptr) {
    return result;
  }
  if (!value->is_array()) {
    return fail(std::string(key) + ": not a list");
  }
  for (const auto& element : *value) {
    if (!element.is_string()) {
      return fail(std::string(key) + ": not a list of strings");
    }
    result.push_back(element.get<std::string>());
  }
  return result;
}

std::optional<int> number_of(std::string_view text) {
  int result = 0;
  const char* begin = text.data();
  const char* end = begin + text.size();
  const auto [stop, error] = std::from_chars(begin, end, result);
  if (error != std::errc{} || stop != end) {
    return std::nullopt;
  }
  return result;
}

Result<int> number_in(const json& value, int most, const char* key) {
  if (!value.is_number_integer() || value < 0 || value > most) {
    return fail(std::string(key) + ": not a number from 0 to " +
                std::to_string(most));
  }
  return value.get<int>();
}

const ProtocolName* find_protocol(std::string_view name) {
  const auto* const it =
      std::ranges::find(kProtocols, name, &ProtocolName::name);
  return it == kProtocols.end() ? nullptr : it;
}

bool has_ports(int protocol) {
  return std::ranges::any_of(kProtocols, [&](const auto& p) {
    return p.number == protocol && p.has_ports;
  });
}

Result<std::uint8_t> protocol_of(const json& value) {
  if (value.is_string()) {
    if (const auto* protocol = find_protocol(value.get<std::string>())) {
      return protocol->number;
    }
    return fail("protocol: unknown: " + value.get<std::string>());
  }
  const auto number = number_in(value, 255, "protocol");
  if (!number) {
    return std::unexpected(number.error());
  }
  return static_cast<std::uint8_t>(*number);
}

}  // namespace

Result<ProbeEnd> parse_end(const json& probe, const char* key) {
  const json* value = member(probe, key);
  if (value == nullptr || !value->is_object() || value->size() != 1 ||
      !value->begin()->is_string()) {
    return fail(std::string(key) +
                ": not one of {pod: ns/name}, {ip: address}, {entity: name}");
  }
  const std::string kind = value->begin().key();
  ProbeEnd end;
  end.name = value->begin()->get<std::string>();
  const std::string where = std::string(key) + "." + kind + ": ";
  if (kind == "pod") {
    const auto slash = end.name.find('/');
    if (slash == 0 || slash == std::string::npos ||
        slash + 1 == end.name.size()) {
      return fail(where + "not namespace/name: " + end.name);
    }
    return end;
  }
  if (kind == "ip") {
    const auto ip = parse_ip(end.name);
    if (!ip) {
      return fail(where + "not an address: " + end.name);
    }
    end.kind = ProbeEnd::Kind::kIp;
    end.ip = *ip;
    return end;
  }
  if (kind != "entity") {
    return fail(where + "unknown field");
  }
  if (std::ranges::find(kEntities, end.name) == kEntities.end()) {
    return fail(where + "unknown entity: " + end.name);
  }
  end.kind = ProbeEnd::Kind::kEntity;
  return end;
}

namespace {

Result<std::optional<Verdict>> parse_verdict(const json& probe,
                                             const char* key) {
  const json* value = member(probe, key);
  if (value == nullptr) {
    return std::nullopt;
  }
  for (const auto verdict : {Verdict::kAllow, Verdict::kDeny, Verdict::kNone}) {
    if (value->is_string() && *value == to_string(verdict)) {
      return verdict;
    }
  }
  return fail(std::string(key) + ": not allow, deny or none");
}

// port: 80 | "80" | "80/TCP"; the last names the protocol, too.
Result<void> parse_port(const json& value, bool protocol_named, Probe& probe) {
  std::string text;
  if (value.is_string()) {
    text = value.get<std::string>();
    const auto slash = text.find('/');
    if (slash != std::string::npos) {
      const auto* protocol =
          find_protocol(std::string_view(text).substr(slash + 1));
      if (protocol == nullptr ||
          (protocol_named && protocol->number != probe.protocol)) {
        return fail("port: unknown or contradictory protocol: " + text);
      }
      probe.protocol = protocol->number;
      text.resize(slash);
    }
  } else if (value.is_number_integer()) {
    text = value.dump();
  }
  const auto port = number_of(text);
  if (!port || *port < 0 || *port > 65535) {
    return fail("port: not a number from 0 to 65535");
  }
  if (!has_ports(probe.protocol)) {
    return fail("port: the protocol has no ports");
  }
  probe.port = static_cast<std::uint16_t>(*port);
  return {};
}

Result<void> parse_icmp(const json& json_probe, const json& type,
                        Probe& probe) {
  if (probe.protocol != kIcmp && probe.protocol != kIcmpV6) {
    return fail("icmpType: the protocol is not ICMP or ICMPv6");
  }
  const auto number = number_in(type, 255, "icmpType");
  if (!number) {
    return std::unexpected(number.error());
  }
  int code = 0;
  if (const json* value = member(json_probe, "icmpCode")) {
    const auto parsed = number_in(*value, 255, "icmpCode");
    if (!parsed) {
      return std::unexpected(parsed.error());
    }
    code = *parsed;
  }
  probe.port = static_cast<std::uint16_t>(*number << 8 | code);
  return {};
}

Result<void> parse_l4(const json& json_probe, Probe& probe) {
  const json* protocol = member(json_probe, "protocol");
  const json* port = member(json_probe, "port");
  const json* type = member(json_probe, "icmpType");
  if (protocol != nullptr) {
    const auto number = protocol_of(*protocol);
    if (!number) {
      return std::unexpected(number.error());
    }
    probe.protocol = *number;
  } else if (type != nullptr) {
    probe.protocol = kIcmp;
  }
  if (port != nullptr && type != nullptr) {
    return fail("port: not together with icmpType");
  }
  if (port != nullptr) {
    return parse_port(*port, protocol != nullptr, probe);
  }
  if (type != nullptr) {
    return parse_icmp(json_probe, *type, probe);
  }
  if (has_ports(probe.protocol)) {
    return fail("port: missing");
  }
  if (probe.protocol == kIcmp || probe.protocol == kIcmpV6) {
    return fail("icmpType: missing");
  }
  return {};
}

Result<Probe> parse_probe(const json& json_probe) {
  if (!json_probe.is_object()) {
    return fail("not an object");
  }
  if (auto known = only_known(json_probe, kProbeFields); !known) {
    return std::unexpected(known.error());
  }
  Probe probe;
  auto from = parse_end(json_probe, "from");
  auto to = parse_end(json_probe, "to");
  auto egress = parse_verdict(json_probe, "egress");
  auto ingress = parse_verdict(json_probe, "ingress");
  for (const Error* error :
       {from ? nullptr : &from.error(), to ? nullptr : &to.error(),
        egress ? nullptr : &egress.error(),
        ingress ? nullptr : &ingress.error()}) {
    if (error != nullptr) {
      return std::unexpected(*error);
    }
  }
  probe.from = std::move(*from);
  probe.to = std::move(*to);
  probe.egress = *egress;
  probe.ingress = *ingress;
  if (auto l4 = parse_l4(json_probe, probe); !l4) {
    return std::unexpected(l4.error());
  }
  return probe;
}

std::string at(const char* list, std::size_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

// The list `key` of the scenario; empty where it is absent and may be.
Result<const json*> list_of(const json& scenario, const char* key,
                            bool required) {
  static const json empty = json::array();
  const json* value = member(scenario, key);
  if (value == nullptr) {
    return required ? Result<const json*>(fail(std::string(key) + ": missing"))
                    : &empty;
  }
  if (!value->is_array()) {
    return fail(std::string(key) + ": not a list");
  }
  return value;
}

Result<void> parse_texts(const json& from, Scenario& scenario) {
  struct Field {
    const char* key;
    std::string* target;
  };
  for (const Field& field :
       {Field{"name", &scenario.name}, Field{"source", &scenario.source},
        Field{"note", &scenario.note}}) {
    auto text = text_of(from, field.key);
    if (!text) {
      return std::unexpected(text.error());
    }
    *field.target = std::move(*text);
  }
  auto features = texts_of(from, "features");
  if (!features) {
    return std::unexpected(features.error());
  }
  scenario.features = std::move(*features);
  if (scenario.name.empty()) {
    scenario.name = "line " + std::to_string(scenario.line);
  }
  return {};
}

// `items` of a List, and of what kubectl calls PodList and the like, are
// objects as well.
Result<void> parse_object_list(const json& list, const std::string& name,
                               Scenario& scenario) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const json& object = list[i];
    const auto place = at(name.c_str(), i);
    if (!object.is_object()) {
      return fail(place + ": not an object");
    }
    for (const char* key : {"apiVersion", "kind"}) {
      const json* text = member(object, key);
      if (text == nullptr || !text->is_string()) {
        return fail(place + "." + key + ": missing");
      }
    }
    const json* items = member(object, "items");
    if (object["kind"].get_ref<const std::string&>().ends_with("List") &&
        items != nullptr && items->is_array()) {
      if (auto parsed = parse_object_list(*items, place + ".items", scenario);
          !parsed) {
        return parsed;
      }
      continue;
    }
    scenario.objects.push_back(
        {std::make_shared<const json>(object), scenario.line});
  }
  return {};
}

Result<void> parse_objects(const json& from, Scenario& scenario) {
  const bool required = member(from, "manifests") == nullptr;
  const auto objects = list_of(from, "objects", required);
  if (!objects) {
    return std::unexpected(objects.error());
  }
  return parse_object_list(**objects, "objects", scenario);
}

// Files of manifests, and folders of them; relative to the scenario's file.
Result<void> read_manifests(const json& from, Scenario& scenario) {
  const auto paths = texts_of(from, "manifests");
  if (!paths) {
    return std::unexpected(paths.error());
  }
  const auto folder = std::filesystem::path(scenario.file).parent_path();
  for (const auto& path : *paths) {
    const auto files = manifest_files(folder / path);
    if (!files) {
      return with_context("manifests", files.error());
    }
    for (const auto& file : *files) {
      auto manifest = kube::read_manifest(file);
      if (!manifest || !manifest->errors.empty()) {
        return with_context("manifests", manifest ? manifest->errors.front()
                                                  : manifest.error());
      }
      for (auto& object : manifest->objects) {
        scenario.objects.push_back({std::move(object.object), scenario.line});
      }
    }
  }
  return {};
}

Result<void> parse_invalid(const json& from, Scenario& scenario) {
  const auto invalid = list_of(from, "invalid", false);
  if (!invalid) {
    return std::unexpected(invalid.error());
  }
  for (std::size_t i = 0; i < (*invalid)->size(); ++i) {
    const json& element = (**invalid)[i];
    if (!element.is_object() || member(element, "object") == nullptr) {
      return fail(at("invalid", i) + ".object: missing");
    }
    auto object = text_of(element, "object");
    auto stage = text_of(element, "stage");
    if (!object || !stage) {
      return with_context(at("invalid", i),
                          object ? stage.error() : object.error());
    }
    if (object->starts_with('/')) {  // cluster-wide: no namespace
      object->erase(0, 1);
    }
    scenario.invalid.push_back({std::move(*object), std::move(*stage)});
  }
  return {};
}

Result<void> parse_probes(const json& from, Scenario& scenario) {
  const auto probes = list_of(from, "probes", true);
  if (!probes) {
    return std::unexpected(probes.error());
  }
  for (std::size_t i = 0; i < (*probes)->size(); ++i) {
    auto step = parse_step((**probes)[i]);
    if (!step) {
      return with_context(at("probes", i), step.error());
    }
    if (*step) {
      (*step)->probe = scenario.probes.size();
      scenario.steps.push_back(std::move(**step));
      continue;
    }
    auto probe = parse_probe((**probes)[i]);
    if (!probe) {
      // "probes[3].port: missing"
      return fail(at("probes", i) + "." + probe.error().message);
    }
    probe->line = scenario.line;
    scenario.probes.push_back(std::move(*probe));
  }
  return {};
}

Result<void> parse_all(const json& from, Scenario& scenario) {
  if (!from.is_object()) {
    return fail("a scenario is an object with objects and probes");
  }
  if (auto known = only_known(from, kScenarioFields); !known) {
    return known;
  }
  for (auto* const part : {parse_texts, parse_objects, read_manifests,
                           parse_invalid, parse_probes}) {
    if (auto parsed = part(from, scenario); !parsed) {
      return parsed;
    }
  }
  return {};
}

}  // namespace

std::string to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAllow:
      return "allow";
    case Verdict::kDeny:
      return "deny";
    case Verdict::kNone:
      return "none";
  }
  std::unreachable();
}

std::string to_string(const Probe& probe) {
  const auto* const protocol =
      std::ranges::find(kProtocols, probe.protocol, &ProtocolName::number);
  const std::string name = protocol == kProtocols.end()
                               ? "protocol " + std::to_string(probe.protocol)
                               : std::string(protocol->name);
  std::string result = probe.from.name + " -> " + probe.to.name + " ";
  if (has_ports(probe.protocol)) {
    return result + std::to_string(probe.port) + "/" + name;
  }
  if (probe.protocol != kIcmp && probe.protocol != kIcmpV6) {
    return result + name;
  }
  result += name + " type " + std::to_string(probe.port >> 8);
  return (probe.port & 0xff) == 0
             ? result
             : result + " code " + std::to_string(probe.port & 0xff);
}

Result<Scenario> parse_scenario(const json& json_scenario,
                                const std::string& file, int line) {
  Scenario scenario;
  scenario.file = file;
  scenario.line = line;
  if (auto parsed = parse_all(json_scenario, scenario); !parsed) {
    return with_context(file + ":" + std::to_string(line), parsed.error());
  }
  return scenario;
}

bool is_scenario_file(const std::filesystem::path& path) {
  return scenario_format(path) != ScenarioFormat::kUnknown;
}

Result<void> read_scenarios(const std::filesystem::path& path,
                            const ScenarioHandler& handler) {
  bool some = false;
  const auto read = read_json_scenarios(
      path, [&](const json& value, int line) -> Result<void> {
        some = true;
        const auto scenario = parse_scenario(value, path.string(), line);
        return scenario ? handler(*scenario)
                        : std::unexpected(scenario.error());
      });
  // Must not look like tests that pass.
  return !read || some ? read : fail(path.string() + ": holds no scenario");
}

}  // namespace sluice::cli
