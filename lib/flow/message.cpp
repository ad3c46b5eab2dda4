// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/message.h"

#include <charconv>
#include <cstdio>
#include <ranges>
#include <system_error>
#include <utility>

#include <netinet/in.h>

#include "flow.pb.h"
#include "lib/base/protocol.h"
#include "lib/explain/text.h"

namespace sluice::flow {
namespace {

namespace api = ::flow;

// Types of Cilium's events (pkg/monitor/api).
constexpr int kDrop = 1;
constexpr int kTrace = 4;
constexpr int kPolicyVerdict = 5;
// How a policy verdict was found (pkg/monitor/api): nothing is known of it.
constexpr std::uint32_t kMatchAll = 4;

// Of one end, or of a decision.
constexpr std::size_t kNamesMax = 16;
constexpr std::size_t kTextBytesMax = 4'096;
constexpr std::size_t kPoliciesMax = 64;
constexpr std::size_t kLogBytesMax = 1'024;

using Texts = google::protobuf::RepeatedPtrField<std::string>;

// As many of the texts as fit.
void set_texts(const std::vector<std::string>& from, std::size_t max,
               Texts& to) {
  std::size_t bytes = 0;
  for (const auto& text : from | std::views::take(max)) {
    bytes += text.size() + 2;  // with its tag
    if (bytes > kTextBytesMax) {
      break;
    }
    *to.Add() = text;
  }
}

// Whole characters of UTF-8, as messages have to consist of.
std::string_view beginning_of(std::string_view text, std::size_t max) {
  if (text.size() <= max) {
    return text;
  }
  const auto continues = [&](std::size_t at) {
    return (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80U;
  };
  while (max > 0 && continues(max)) {
    --max;
  }
  return text.substr(0, max);
}

bool is_policy(std::uint8_t reason) {
  switch (reason) {
    case SLUICE_REASON_POLICY_ALLOW:
    case SLUICE_REASON_DEFAULT_ALLOW:
    case SLUICE_REASON_POLICY_DENY:
    case SLUICE_REASON_DEFAULT_DENY:
    case SLUICE_REASON_DNS_REFUSED:
    case SLUICE_REASON_REPLY_OF_DENIED:
      return true;
    default:
      return false;
  }
}

struct Flag {
  std::uint8_t bit;
  const char* name;
  void (api::TCPFlags::*set)(bool);
};
constexpr std::array<Flag, 8> kFlags{{
    {0x02, "SYN", &api::TCPFlags::set_syn},
    {0x10, "ACK", &api::TCPFlags::set_ack},
    {0x01, "FIN", &api::TCPFlags::set_fin},
    {0x04, "RST", &api::TCPFlags::set_rst},
    {0x08, "PSH", &api::TCPFlags::set_psh},
    {0x20, "URG", &api::TCPFlags::set_urg},
    {0x40, "ECE", &api::TCPFlags::set_ece},
    {0x80, "CWR", &api::TCPFlags::set_cwr},
}};

void set_l4(const Record& record, api::Layer4& l4) {
  const auto ports = [&](auto& to) {
    to.set_source_port(record.source_port);
    to.set_destination_port(record.destination_port);
  };
  const auto type = [&](auto& to) {
    to.set_type(record.destination_port >> 8U);
    to.set_code(record.destination_port & 0xffU);
  };
  switch (record.protocol) {
    case IPPROTO_TCP:
      ports(*l4.mutable_tcp());
      for (const auto& flag : kFlags) {
        if ((record.tcp_flags & flag.bit) != 0) {
          (l4.mutable_tcp()->mutable_flags()->*flag.set)(true);
        }
      }
      break;
    case IPPROTO_UDP:
      ports(*l4.mutable_udp());
      break;
    case IPPROTO_SCTP:
      ports(*l4.mutable_sctp());
      break;
    case IPPROTO_ICMP:
      type(*l4.mutable_icmpv4());
      break;
    case IPPROTO_ICMPV6:
      type(*l4.mutable_icmpv6());
      break;
    default:
      break;
  }
}

std::string traffic_text(const Traffic& traffic) {
  const auto part = [&](std::size_t direction) {
    return std::to_string(traffic.packets.at(direction)) + " packets, " +
           std::to_string(traffic.bytes.at(direction)) + " bytes";
  };
  return std::string(traffic.ended ? "ended: " : "open: ") + "egress " +
         part(SLUICE_EGRESS) + "; ingress " + part(SLUICE_INGRESS);
}

std::string summary_of(const Record& record) {
  if (!record.ip) {
    return {};
  }
  if (record.traffic) {
    return traffic_text(*record.traffic);
  }
  if (record.protocol == IPPROTO_TCP) {
    std::string flags;
    for (const auto& flag : kFlags) {
      if ((record.tcp_flags & flag.bit) != 0) {
        flags += (flags.empty() ? "" : ", ") + std::string(flag.name);
      }
    }
    return "TCP Flags: " + flags;
  }
  auto text = explain::protocol_text(record.protocol);
  if (is_icmp(record.protocol)) {
    text += " type " + std::to_string(record.destination_port >> 8U) +
            " code " + std::to_string(record.destination_port & 0xffU);
  }
  return text;
}

void set_end(const End& end, api::Endpoint& to) {
  if (!end.pod.empty()) {
    to.set_namespace_(end.ns);
    to.set_pod_name(end.pod);
  }
  to.set_identity(end.identity);
  set_texts(end.labels, end.labels.size(), *to.mutable_labels());
  if (!end.workload.empty()) {
    auto& workload = *to.add_workloads();
    workload.set_name(end.workload);
    workload.set_kind(end.workload_kind);
  }
}

void set_service(const End& end, api::Service& to) {
  to.set_name(end.service);
  to.set_namespace_(end.ns);
}

auto& policies_of(const Record& record, api::Flow& flow) {
  if (record.direction == SLUICE_EGRESS) {
    return record.allowed ? *flow.mutable_egress_allowed_by()
                          : *flow.mutable_egress_denied_by();
  }
  return record.allowed ? *flow.mutable_ingress_allowed_by()
                        : *flow.mutable_ingress_denied_by();
}

void set_decision(const Record& record, api::Flow& flow) {
  auto& policies = policies_of(record, flow);
  for (const auto& policy :
       record.decision->policies | std::views::take(kPoliciesMax)) {
    auto& to = *policies.Add();
    to.set_kind(policy.kind);
    to.set_namespace_(policy.ns);
    to.set_name(policy.name);
  }
  if (!record.decision->log.empty()) {
    flow.add_policy_log(
        std::string(beginning_of(record.decision->log, kLogBytesMax)));
  }
}

void set_traffic(const Record& record, api::Flow& flow) {
  flow.set_trace_observation_point(record.direction == SLUICE_EGRESS
                                       ? api::FROM_ENDPOINT
                                       : api::TO_ENDPOINT);
  auto& traffic = *flow.mutable_traffic();
  traffic.set_egress_packets(record.traffic->packets[SLUICE_EGRESS]);
  traffic.set_egress_bytes(record.traffic->bytes[SLUICE_EGRESS]);
  traffic.set_ingress_packets(record.traffic->packets[SLUICE_INGRESS]);
  traffic.set_ingress_bytes(record.traffic->bytes[SLUICE_INGRESS]);
  traffic.set_ended(record.traffic->ended);
}

}  // namespace

std::string to_bytes(const End& end) {
  api::Flow message;
  auto& endpoint = *message.mutable_destination();
  set_end(end, endpoint);
  if (!end.service.empty()) {
    set_service(end, *message.mutable_destination_service());
  }
  while (message.ByteSizeLong() > kEndBytesMax && endpoint.labels_size() > 0) {
    endpoint.mutable_labels()->RemoveLast();
  }
  return message.SerializeAsString();
}

std::optional<End> end_from_bytes(const std::string& bytes) {
  api::Flow message;
  if (bytes.size() > kEndBytesMax || !message.ParseFromString(bytes)) {
    return std::nullopt;
  }
  const auto& endpoint = message.destination();
  End end;
  end.ns = endpoint.namespace_().empty()
               ? message.destination_service().namespace_()
               : endpoint.namespace_();
  end.pod = endpoint.pod_name();
  end.labels = {endpoint.labels().begin(), endpoint.labels().end()};
  end.identity = endpoint.identity();
  if (endpoint.workloads_size() > 0) {
    end.workload = endpoint.workloads(0).name();
    end.workload_kind = endpoint.workloads(0).kind();
  }
  end.service = message.destination_service().name();
  return end;
}

int drop_reason(std::uint8_t reason) {
  switch (reason) {
    case SLUICE_REASON_POLICY_DENY:
      return api::POLICY_DENY;
    case SLUICE_REASON_DEFAULT_DENY:
    case SLUICE_REASON_REPLY_OF_DENIED:
    case SLUICE_REASON_DNS_REFUSED:
      return api::POLICY_DENIED;
    case SLUICE_REASON_SOURCE_ADDRESS:
      return api::INVALID_SOURCE_IP;
    case SLUICE_REASON_ROUTER_MESSAGE:
      return api::FORBIDDEN_ICMPV6_MESSAGE;
    case SLUICE_REASON_TRUNCATED:
    case SLUICE_REASON_BAD_HEADER:
    case SLUICE_REASON_FRAGMENT_TINY:
      return api::CT_TRUNCATED_OR_INVALID_HEADER;
    case SLUICE_REASON_FRAGMENT_UNKNOWN:
      return api::FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND;
    case SLUICE_REASON_ETHERTYPE:
      return api::UNSUPPORTED_L2_PROTOCOL;
    case SLUICE_REASON_TUNNEL:
      return api::ENCAPSULATION_TRAFFIC_IS_PROHIBITED;
    case SLUICE_REASON_INTERNAL:
      return api::MISSED_TAIL_CALL;
    case SLUICE_REASON_EXTENSION_HEADERS:
    case SLUICE_REASON_ICMP_UNRELATED:
      return api::INVALID_PACKET_DROPPED;
    default:
      return api::DROP_REASON_UNKNOWN;
  }
}

std::array<std::optional<EventType>, 2> event_types(const Record& record) {
  constexpr EventType kVerdict{.type = kPolicyVerdict, .sub_type = 0};
  if (record.traffic) {
    // Numbers of observation points in events: those of Cilium's datapath.
    constexpr int kToEndpoint = 0;
    constexpr int kFromEndpoint = 5;
    return {
        EventType{.type = kTrace,
                  .sub_type = record.direction == SLUICE_EGRESS ? kFromEndpoint
                                                                : kToEndpoint},
        std::nullopt};
  }
  if (record.allowed) {
    return {kVerdict, std::nullopt};
  }
  const EventType drop{.type = kDrop, .sub_type = drop_reason(record.reason)};
  if (is_policy(record.reason)) {
    return {drop, kVerdict};
  }
  return {drop, std::nullopt};
}

FlowId id_of(const Record& record) {
  // Bits 12 to 15 of the store's id give their place to the version, and the
  // highest two of the number to the variant.
  return {.store = record.store & ~std::uint64_t{0xf000},
          .number = record.number & ~std::uint64_t{0} >> 2U};
}

std::optional<FlowId> parse_uuid(std::string_view uuid) {
  constexpr std::size_t kSize = 36;
  if (uuid.size() != kSize) {
    return std::nullopt;
  }
  std::string digits(uuid);
  for (const std::size_t dash : {23U, 18U, 13U, 8U}) {
    if (digits[dash] != '-') {
      return std::nullopt;
    }
    digits.erase(dash, 1);
  }
  const auto half = [&](std::size_t from) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const char* begin = digits.data() + from;
    const auto [stop, error] = std::from_chars(begin, begin + 16, value, 16);
    return error == std::errc() && stop == begin + 16 ? std::optional(value)
                                                      : std::nullopt;
  };
  const auto high = half(0);
  const auto low = half(16);
  if (!high || !low || (*high >> 12U & 0xfU) != 8 || *low >> 62U != 2) {
    return std::nullopt;
  }
  const Record record{.store = *high, .number = *low};
  return id_of(record);
}

std::string uuid_of(const Record& record) {
  std::array<char, 40> text{};
  const auto high = record.store;
  const auto low = record.number;
  // The four bits of the version and the two of the variant are fixed.
  std::snprintf(text.data(), text.size(), "%08x-%04x-8%03x-%04x-%012llx",
                static_cast<unsigned>(high >> 32U),
                static_cast<unsigned>(high >> 16U & 0xffffU),
                static_cast<unsigned>(high & 0xfffU),
                static_cast<unsigned>(0x8000U | (low >> 48U & 0x3fffU)),
                static_cast<unsigned long long>(low & 0xffff'ffff'ffffULL));
  return text.data();
}

api::Flow to_message(const Record& record, const std::string& node) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  api::Flow flow;
  flow.mutable_time()->set_seconds(record.time / kSecond);
  flow.mutable_time()->set_nanos(
      static_cast<std::int32_t>(record.time % kSecond));
  flow.set_uuid(uuid_of(record));
  flow.set_verdict(record.allowed ? api::FORWARDED : api::DROPPED);
  if (!record.allowed) {
    const int reason = drop_reason(record.reason);
    flow.set_drop_reason(static_cast<std::uint32_t>(reason));
    flow.set_drop_reason_desc(static_cast<api::DropReason>(reason));
  }
  if (record.ip) {
    auto& ip = *flow.mutable_ip();
    ip.set_source(to_string(record.source));
    ip.set_destination(to_string(record.destination));
    ip.set_ipversion(record.source.v6 ? api::IPv6 : api::IPv4);
    set_l4(record, *flow.mutable_l4());
  }
  set_end(*record.from, *flow.mutable_source());
  set_end(*record.to, *flow.mutable_destination());
  if (!record.from->service.empty()) {
    set_service(*record.from, *flow.mutable_source_service());
  }
  if (!record.to->service.empty()) {
    set_service(*record.to, *flow.mutable_destination_service());
  }
  set_texts(record.from->names, kNamesMax, *flow.mutable_source_names());
  set_texts(record.to->names, kNamesMax, *flow.mutable_destination_names());
  flow.set_type(api::L3_L4);
  flow.set_node_name(node);
  const auto type = *event_types(record).front();
  flow.mutable_event_type()->set_type(type.type);
  flow.mutable_event_type()->set_sub_type(type.sub_type);
  if (record.traffic) {
    set_traffic(record, flow);
  } else if (record.allowed) {
    flow.set_policy_match_type(kMatchAll);
  }
  flow.set_traffic_direction(record.direction == SLUICE_EGRESS ? api::EGRESS
                                                               : api::INGRESS);
  flow.mutable_is_reply()->set_value(record.reply);
  flow.mutable_interface()->set_index(record.ifindex);
  set_decision(record, flow);
  flow.set_summary(summary_of(record));
  return flow;
}

}  // namespace sluice::flow
