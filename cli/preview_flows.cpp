// SPDX-License-Identifier: Apache-2.0
#include "cli/preview_flows.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>

#include "cli/standard_input.h"
#include "lib/base/read_file.h"
#include "observer.pb.h"

namespace sluice::cli {
namespace {

namespace api = ::flow;

constexpr std::size_t kFlowsBytesMax = std::size_t{1} << 30U;

// As `explain` takes it; empty where the flow has none.
std::string port_of(const api::Layer4& l4) {
  switch (l4.protocol_case()) {
    case api::Layer4::kTCP:
      return std::to_string(l4.tcp().destination_port()) + "/TCP";
    case api::Layer4::kUDP:
      return std::to_string(l4.udp().destination_port()) + "/UDP";
    case api::Layer4::kSCTP:
      return std::to_string(l4.sctp().destination_port()) + "/SCTP";
    case api::Layer4::kICMPv4:
      return std::to_string(l4.icmpv4().type()) + "/ICMP";
    case api::Layer4::kICMPv6:
      return std::to_string(l4.icmpv6().type()) + "/ICMPv6";
    default:
      return {};
  }
}

std::string end_of(const api::Endpoint& end, const std::string& address,
                   const policy::Translator& world) {
  auto name = end.namespace_() + "/" + end.pod_name();
  return !end.pod_name().empty() && world.pod(name) != nullptr ? name : address;
}

// Flows between the same ends are one element.
class Collector {
 public:
  explicit Collector(const policy::Translator& world) : world_(&world) {}

  void add(const api::Flow& flow) {
    const auto port = port_of(flow.l4());
    if (flow.is_reply().value() || port.empty() || flow.ip().source().empty()) {
      return;
    }
    preview::Flows seen{
        .from = end_of(flow.source(), flow.ip().source(), *world_),
        .to = end_of(flow.destination(), flow.ip().destination(), *world_),
        .port = port,
        .names = {flow.destination_names().begin(),
                  flow.destination_names().end()}};
    auto key = std::tuple(seen.from, seen.to, seen.port, seen.names);
    const auto [found, added] =
        places_.try_emplace(std::move(key), flows_.size());
    if (added) {
      flows_.push_back(std::move(seen));
      times_.emplace_back();
    }
    ++flows_[found->second].count;
    auto& last = times_[found->second];
    if (std::pair(last.seconds(), last.nanos()) <=
        std::pair(flow.time().seconds(), flow.time().nanos())) {
      last = flow.time();
      flows_[found->second].last_seen =
          google::protobuf::util::TimeUtil::ToString(last);
    }
  }

  [[nodiscard]] std::vector<preview::Flows> finish() && {
    return std::move(flows_);
  }

 private:
  using Key = std::tuple<std::string, std::string, std::string,
                         std::vector<std::string>>;
  const policy::Translator* world_;
  std::map<Key, std::size_t> places_;
  std::vector<preview::Flows> flows_;
  std::vector<google::protobuf::Timestamp> times_;
};

}  // namespace

Result<std::vector<preview::Flows>> parse_flows(
    std::string_view text, const std::string& name,
    const policy::Translator& world) {
  Collector collector(world);
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  std::size_t number = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) {
      continue;
    }
    ::observer::GetFlowsResponse response;
    const auto status = google::protobuf::util::JsonStringToMessage(
        {line.data(), line.size()}, &response, options);
    if (!status.ok()) {
      return fail(name + ":" + std::to_string(number) +
                  ": not a flow as `sluice observe -o json` prints it: " +
                  std::string(status.message()));
    }
    if (response.has_flow() && !response.flow().has_traffic()) {
      collector.add(response.flow());
    }
  }
  return std::move(collector).finish();
}

Result<std::vector<preview::Flows>> read_flows(
    const std::filesystem::path& path, const policy::Translator& world) {
  if (path == kStandardInput) {
    const auto text = read_standard_input(kFlowsBytesMax);
    return text ? parse_flows(*text, kStandardInputName, world)
                : std::unexpected(text.error());
  }
  const auto text = read_file(path);
  if (!text) {
    return std::unexpected(text.error());
  }
  return parse_flows(*text, path.string(), world);
}

}  // namespace sluice::cli
