// SPDX-License-Identifier: Apache-2.0
#include "cli/flow_text.h"

#include <array>
#include <cstdio>
#include <ctime>
#include <string_view>

#include "lib/base/printable.h"
#include "observer.pb.h"

namespace sluice::cli {
namespace {

namespace api = ::flow;

// In local time, with milliseconds.
std::string time_text(const google::protobuf::Timestamp& time) {
  const std::time_t seconds = time.seconds();
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  std::array<char, 32> date{};
  std::strftime(date.data(), date.size(), "%b %e %T", &parts);
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%s.%03d", date.data(),
                time.nanos() / 1'000'000);
  return text.data();
}

struct Ports {
  std::uint32_t source = 0;
  std::uint32_t destination = 0;
};

Ports ports_of(const api::Layer4& l4) {
  switch (l4.protocol_case()) {
    case api::Layer4::kTCP:
      return {l4.tcp().source_port(), l4.tcp().destination_port()};
    case api::Layer4::kUDP:
      return {l4.udp().source_port(), l4.udp().destination_port()};
    case api::Layer4::kSCTP:
      return {l4.sctp().source_port(), l4.sctp().destination_port()};
    default:
      return {};
  }
}

std::string entity_of(const api::Endpoint& end) {
  constexpr std::string_view kReserved = "reserved:";
  for (const auto& label : end.labels()) {
    if (label.starts_with(kReserved)) {
      return label.substr(kReserved.size());
    }
  }
  return {};
}

template <typename Names>
std::string end_text(const api::Endpoint& end, const api::Service& service,
                     const Names& names, const std::string& address,
                     std::uint32_t port) {
  std::string text;
  if (!end.pod_name().empty()) {
    text = end.namespace_() + "/" + end.pod_name();
  } else if (!service.name().empty()) {
    text = service.namespace_() + "/" + service.name();
  } else if (!names.empty()) {
    text = names[0];
  } else {
    text = address.contains(':') && port != 0 ? "[" + address + "]" : address;
  }
  if (port != 0) {
    text += ":" + std::to_string(port);
  }
  const auto entity = entity_of(end);
  if (!entity.empty()) {
    text += " (" + entity + ")";
  }
  return text;
}

std::string source_text(const api::Flow& flow) {
  return end_text(flow.source(), flow.source_service(), flow.source_names(),
                  flow.ip().source(), ports_of(flow.l4()).source);
}

std::string destination_text(const api::Flow& flow) {
  return end_text(flow.destination(), flow.destination_service(),
                  flow.destination_names(), flow.ip().destination(),
                  ports_of(flow.l4()).destination);
}

std::string type_text(const api::Flow& flow) {
  return flow.verdict() == api::DROPPED
             ? api::DropReason_Name(flow.drop_reason_desc())
             : "policy-verdict";
}

std::string policies_text(const api::Flow& flow) {
  std::string text;
  for (const auto* policies :
       {&flow.egress_allowed_by(), &flow.ingress_allowed_by(),
        &flow.egress_denied_by(), &flow.ingress_denied_by()}) {
    for (const auto& policy : *policies) {
      text += (text.empty() ? "" : ", ") + policy.kind() + "/" +
              (policy.namespace_().empty() ? "" : policy.namespace_() + "/") +
              policy.name();
    }
  }
  return text;
}

std::string direction_text(const api::Flow& flow) {
  return flow.traffic_direction() == api::EGRESS ? "EGRESS" : "INGRESS";
}

}  // namespace

std::string compact_text(const api::Flow& flow) {
  auto text = time_text(flow.time()) + " [" + flow.node_name() +
              "]: " + source_text(flow) +
              (flow.is_reply().value() ? " <- " : " -> ") +
              destination_text(flow) + " " + type_text(flow) + " " +
              direction_text(flow) + " " + api::Verdict_Name(flow.verdict()) +
              " (" + flow.summary() + ")";
  const auto policies = policies_text(flow);
  return printable(policies.empty() ? text : text + " by " + policies);
}

std::string dict_text(const api::Flow& flow) {
  std::string text;
  const auto line = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) {
      text += std::string(11 - std::min<std::size_t>(name.size(), 11), ' ') +
              std::string(name) + ": " + printable(value) + "\n";
    }
  };
  line("TIMESTAMP", time_text(flow.time()));
  line("NODE", flow.node_name());
  line("SOURCE", source_text(flow));
  line("DESTINATION", destination_text(flow));
  line("DIRECTION", direction_text(flow));
  line("TYPE", type_text(flow));
  line("VERDICT", api::Verdict_Name(flow.verdict()));
  line("POLICIES", policies_text(flow));
  line("SUMMARY", flow.summary());
  return text;
}

std::string lost_text(const ::observer::GetFlowsResponse& response) {
  const auto& lost = response.lost_events();
  return time_text(response.time()) + " [" + printable(response.node_name()) +
         "]: EVENTS LOST: " + api::LostEventSource_Name(lost.source()) + " " +
         std::to_string(lost.num_events_lost());
}

std::string status_text(const ::observer::GetFlowsResponse& response) {
  const auto& status = response.node_status();
  std::string names;
  for (const auto& name : status.node_names()) {
    names += (names.empty() ? "" : ", ") + name;
  }
  return time_text(response.time()) + ": " +
         ::relay::NodeState_Name(status.state_change()) + ": " +
         printable(names) +
         (status.message().empty() ? "" : ": " + printable(status.message()));
}

}  // namespace sluice::cli
