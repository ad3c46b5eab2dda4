// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/filter_options.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <functional>
#include <utility>

#include "lib/flow/entity.h"

namespace sluice::flow {
namespace {

namespace api = ::flow;

using Side = FilterOptions::Side;
using Text = const std::string&;
using Set = std::function<Result<void>(Side& side, Text value)>;

std::string upper(std::string text) {
  for (auto& c : text) {
    c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return text;
}

Result<void> set_flag(api::TCPFlags& flags, Text name) {
  const auto word = upper(name);
  using Flag = std::pair<const char*, void (api::TCPFlags::*)(bool)>;
  const std::array<Flag, 9> known{{{"FIN", &api::TCPFlags::set_fin},
                                   {"SYN", &api::TCPFlags::set_syn},
                                   {"RST", &api::TCPFlags::set_rst},
                                   {"PSH", &api::TCPFlags::set_psh},
                                   {"ACK", &api::TCPFlags::set_ack},
                                   {"URG", &api::TCPFlags::set_urg},
                                   {"ECE", &api::TCPFlags::set_ece},
                                   {"CWR", &api::TCPFlags::set_cwr},
                                   {"NS", &api::TCPFlags::set_ns}}};
  for (const auto& [text, set] : known) {
    if (word == text) {
      (flags.*set)(true);
      return {};
    }
  }
  return fail("\"" + name + "\" is not a TCP flag");
}

Result<void> set_flags(Side& side, Text names) {
  auto& flags = *side.filter.add_tcp_flags();
  std::size_t begin = 0;
  while (begin <= names.size()) {
    const auto end = std::min(names.find(',', begin), names.size());
    if (auto done = set_flag(flags, names.substr(begin, end - begin)); !done) {
      return done;
    }
    begin = end + 1;
  }
  return {};
}

// An option whose value is a word of the API.
template <typename Enum, typename Parse, typename Add>
Set word(Parse parse, Add add) {
  return [parse, add](Side& side, Text value) -> Result<void> {
    Enum parsed{};
    if (!parse(upper(value), &parsed)) {
      return fail("\"" + value + "\" is not known");
    }
    add(side.filter, parsed);
    return {};
  };
}

// An option any value of which is accepted here.
Set text(void (*add)(Side& side, Text value)) {
  return [add](Side& side, Text value) -> Result<void> {
    add(side, value);
    return {};
  };
}

void set_workload(Text text, api::Workload& workload) {
  const auto slash = text.find('/');
  if (slash == std::string::npos) {
    workload.set_name(text);
  } else {
    workload.set_kind(text.substr(0, slash));
    workload.set_name(text.substr(slash + 1));
  }
}

Result<std::uint32_t> identity(Text text) {
  if (const auto entity = entity_identity(text)) {
    return *entity;
  }
  std::uint32_t number = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end) {
    return fail("\"" + text +
                "\" is neither a number nor an entity such as world");
  }
  return number;
}

using Names = google::protobuf::RepeatedPtrField<std::string>;

// Puts a namespace before names that have none. False if a name is of another
// namespace.
bool qualify(const std::vector<std::string>& namespaces, Names& names) {
  Names result;
  for (const auto& name : names) {
    const auto slash = name.find('/');
    if (slash == std::string::npos) {
      for (const auto& ns : namespaces) {
        result.Add()->append(ns).append("/").append(name);
      }
    } else if (std::ranges::find(namespaces, name.substr(0, slash)) !=
               namespaces.end()) {
      *result.Add() = name;
    } else {
      return false;
    }
  }
  names.Swap(&result);
  return true;
}

Result<void> qualify(const std::vector<std::string>& namespaces, Names& pods,
                     Names& services) {
  if (namespaces.empty()) {
    return {};
  }
  if (!qualify(namespaces, pods) || !qualify(namespaces, services)) {
    return fail(
        "a pod or Service of another namespace than --namespace (or --from-, "
        "--to-namespace) gives");
  }
  if (pods.empty() && services.empty()) {
    for (const auto& ns : namespaces) {
      *pods.Add() = ns + "/";
    }
  }
  return {};
}

Result<api::FlowFilter> filter_of(Side side) {
  auto& filter = side.filter;
  auto done = qualify(side.source_namespaces, *filter.mutable_source_pod(),
                      *filter.mutable_source_service());
  if (done) {
    done =
        qualify(side.destination_namespaces, *filter.mutable_destination_pod(),
                *filter.mutable_destination_service());
  }
  if (!done) {
    return std::unexpected(done.error());
  }
  return std::move(filter);
}

Result<void> set_type(Side& side, Text value) {
  constexpr std::array<std::pair<std::string_view, int>, 3> kTypes{
      {{"drop", 1}, {"trace", 4}, {"policy-verdict", 5}}};
  for (const auto& [name, type] : kTypes) {
    if (value == name) {
      side.filter.add_event_type()->set_type(type);
      return {};
    }
  }
  return fail("\"" + value + "\" is not drop, policy-verdict or trace");
}

Result<void> set_ip_version(Side& side, Text value) {
  if (value != "v4" && value != "v6") {
    return fail("must be v4 or v6");
  }
  side.filter.add_ip_version(value == "v4" ? api::IPv4 : api::IPv6);
  return {};
}

// What an option does to a filter.
struct Setter {
  FilterOption option;
  // Of an option about either end, two filters; otherwise both are the same.
  Set left;
  Set right;
  bool differ = false;
};

// --from-NAME, --to-NAME and --NAME.
void add_ends(std::vector<Setter>& to, const FilterOption& option,
              const Set& source, const Set& destination) {
  const auto with = [&](const char* prefix, char short_form, const char* end) {
    return FilterOption{.name = prefix + option.name,
                        .letter = short_form,
                        .type = option.type,
                        .what = end + option.what};
  };
  to.push_back(
      {.option = with("from-", 0, "Source "), .left = source, .right = source});
  to.push_back({.option = with("to-", 0, "Destination "),
                .left = destination,
                .right = destination});
  to.push_back({.option = with("", option.letter, "Either "),
                .left = source,
                .right = destination,
                .differ = true});
}

Set identity_of(void (api::FlowFilter::*add)(std::uint32_t)) {
  return [add](Side& side, Text value) -> Result<void> {
    const auto number = identity(value);
    if (!number) {
      return std::unexpected(number.error());
    }
    (side.filter.*add)(*number);
    return {};
  };
}

void add_names(std::vector<Setter>& to) {
  add_ends(to,
           {.name = "pod",
            .type = "[NS/]NAME",
            .what = "pod, by the beginning of its name"},
           text([](Side& f, Text v) { f.filter.add_source_pod(v); }),
           text([](Side& f, Text v) { f.filter.add_destination_pod(v); }));
  add_ends(
      to,
      {.name = "namespace", .letter = 'n', .type = "NS", .what = "namespace"},
      text([](Side& f, Text v) { f.source_namespaces.push_back(v); }),
      text([](Side& f, Text v) { f.destination_namespaces.push_back(v); }));
  add_ends(
      to,
      {.name = "label", .letter = 'l', .type = "SELECTOR", .what = "labels"},
      text([](Side& f, Text v) { f.filter.add_source_label(v); }),
      text([](Side& f, Text v) { f.filter.add_destination_label(v); }));
  add_ends(to,
           {.name = "service",
            .type = "[NS/]NAME",
            .what = "Service, by the beginning of its name"},
           text([](Side& f, Text v) { f.filter.add_source_service(v); }),
           text([](Side& f, Text v) { f.filter.add_destination_service(v); }));
  add_ends(to, {.name = "workload", .type = "[KIND/]NAME", .what = "workload"},
           text([](Side& f, Text v) {
             set_workload(v, *f.filter.add_source_workload());
           }),
           text([](Side& f, Text v) {
             set_workload(v, *f.filter.add_destination_workload());
           }));
}

void add_addresses(std::vector<Setter>& to) {
  add_ends(to,
           {.name = "fqdn",
            .type = "PATTERN",
            .what = "DNS name; * stands for anything"},
           text([](Side& f, Text v) { f.filter.add_source_fqdn(v); }),
           text([](Side& f, Text v) { f.filter.add_destination_fqdn(v); }));
  add_ends(to, {.name = "ip", .type = "IP|CIDR", .what = "address"},
           text([](Side& f, Text v) { f.filter.add_source_ip(v); }),
           text([](Side& f, Text v) { f.filter.add_destination_ip(v); }));
  add_ends(to,
           {.name = "identity",
            .type = "NUMBER|ENTITY",
            .what = "entity, such as world"},
           identity_of(&api::FlowFilter::add_source_identity),
           identity_of(&api::FlowFilter::add_destination_identity));
  add_ends(to, {.name = "port", .type = "PORT", .what = "port"},
           text([](Side& f, Text v) { f.filter.add_source_port(v); }),
           text([](Side& f, Text v) { f.filter.add_destination_port(v); }));
}

void add_packets(std::vector<Setter>& to) {
  const auto add = [&](const char* name, const char* type, const char* what,
                       const Set& set, char letter = 0) {
    to.push_back(
        {.option = {.name = name, .letter = letter, .type = type, .what = what},
         .left = set,
         .right = set});
  };
  using Filter = api::FlowFilter;
  add("protocol", "tcp|udp|sctp|icmp|icmpv4|icmpv6", "Protocol",
      text([](Side& f, Text v) { f.filter.add_protocol(v); }));
  add("verdict", "forwarded|dropped", "Verdict",
      word<api::Verdict>(api::Verdict_Parse,
                         [](Filter& f, auto v) { f.add_verdict(v); }));
  add("drop-reason-desc", "REASON", "Reason of a drop, such as POLICY_DENIED",
      word<api::DropReason>(api::DropReason_Parse, [](Filter& f, auto v) {
        f.add_drop_reason_desc(v);
      }));
  add("traffic-direction", "ingress|egress", "Direction as seen from the pod",
      word<api::TrafficDirection>(
          api::TrafficDirection_Parse,
          [](Filter& f, auto v) { f.add_traffic_direction(v); }));
  add("type", "drop|policy-verdict|trace", "Type of the event", set_type, 't');
  add("tcp-flags", "FLAG[,FLAG]", "TCP flags, all of which are set", set_flags);
  add("node-name", "PATTERN", "Node that has seen the flow",
      text([](Side& f, Text v) { f.filter.add_node_name(v); }));
  add("uuid", "UUID", "One flow",
      text([](Side& f, Text v) { f.filter.add_uuid(v); }));
  add("ip-version", "v4|v6", "Family of addresses", set_ip_version);
}

const std::vector<Setter>& setters() {
  static const std::vector<Setter> all = [] {
    std::vector<Setter> result;
    add_names(result);
    add_addresses(result);
    add_packets(result);
    return result;
  }();
  return all;
}

}  // namespace

std::span<const FilterOption> filter_options() {
  static const std::vector<FilterOption> all = [] {
    std::vector<FilterOption> result;
    for (const auto& setter : setters()) {
      result.push_back(setter.option);
    }
    return result;
  }();
  return all;
}

Result<void> FilterOptions::add(std::string_view name, const std::string& value,
                                bool out) {
  const auto setter = std::ranges::find(
      setters(), name, [](const Setter& each) { return each.option.name; });
  if (setter == setters().end()) {
    return fail("there is no such filter");
  }
  Pair& pair = out ? black_ : white_;
  pair.used = true;
  pair.differ = pair.differ || setter->differ;
  if (auto done = setter->left(pair.left, value); !done) {
    return done;
  }
  return setter->right(pair.right, value);
}

Result<void> FilterOptions::add_to(::observer::GetFlowsRequest& request) const {
  for (const auto& [pair, list] :
       {std::pair{&white_, request.mutable_whitelist()},
        std::pair{&black_, request.mutable_blacklist()}}) {
    if (!pair->used) {
      continue;
    }
    for (const auto* side : {&pair->left, &pair->right}) {
      if (side == &pair->right && !pair->differ) {
        continue;
      }
      auto filter = filter_of(*side);
      if (!filter) {
        return std::unexpected(filter.error());
      }
      *list->Add() = std::move(*filter);
    }
  }
  return {};
}

}  // namespace sluice::flow
