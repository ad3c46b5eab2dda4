// SPDX-License-Identifier: Apache-2.0
#include "agent/program/announced_pod.h"

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "agent/node/json_text.h"

namespace sluice::agentd {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kTimeoutMax{120'000};
constexpr std::size_t kNameMax = 253;

bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= kNameMax &&
         std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.';
         });
}

Result<std::vector<IpAddress>> ips_in(const json& list) {
  std::vector<IpAddress> ips;
  for (const auto& item : list) {
    const auto ip =
        item.is_string() ? parse_ip(item.get<std::string>()) : std::nullopt;
    if (!ip || !wire::may_be_pods(*ip)) {
      return fail("ips: " + item.dump() + " is no address of a pod");
    }
    if (std::ranges::any_of(
            ips, [&](const IpAddress& other) { return other.v6 == ip->v6; })) {
      return fail("ips: two addresses of one family");
    }
    ips.push_back(*ip);
  }
  if (ips.empty()) {
    return fail("ips: none");
  }
  return ips;
}

Result<AnnouncedPod> pod_in(const json& object) {
  AnnouncedPod result;
  result.pod.ns = object.value("namespace", "");
  result.pod.name = object.value("pod", "");
  result.pod.uid = object.value("uid", "");
  result.pod.interface = object.value("interface", "");
  result.ifindex = object.value("ifindex", 0U);
  result.container = object.value("container", "");
  result.network = object.value("network", "");
  result.open = object.value("open", false);
  result.as_siblings = object.value("as_siblings", false);
  if (!is_name(result.pod.ns) || !is_name(result.pod.name) ||
      (!result.pod.uid.empty() && !is_name(result.pod.uid))) {
    return fail("namespace, pod, uid: not those of a pod");
  }
  if (result.ifindex == 0 || result.pod.interface.empty()) {
    return fail("interface, ifindex: needed");
  }
  auto ips = ips_in(object.value("ips", json::array()));
  if (!ips) {
    return std::unexpected(ips.error());
  }
  result.pod.ips = std::move(*ips);
  return result;
}

json to_object(const AnnouncedPod& announced) {
  const auto& pod = announced.pod;
  json ips = json::array();
  for (const auto& ip : pod.ips) {
    ips.push_back(to_string(ip));
  }
  return {{"namespace", pod.ns},
          {"pod", pod.name},
          {"uid", pod.uid},
          {"ips", std::move(ips)},
          {"interface", pod.interface},
          {"ifindex", announced.ifindex},
          {"container", announced.container},
          {"network", announced.network},
          {"open", announced.open},
          {"as_siblings", announced.as_siblings}};
}

Result<PodRequest> announcement_in(const json& object) {
  auto announced = pod_in(object);
  if (!announced) {
    return std::unexpected(announced.error());
  }
  PodRequest request{.kind = PodRequest::Kind::kAnnounce,
                     .announced = std::move(*announced)};
  request.timeout =
      std::clamp(std::chrono::milliseconds(object.value("timeout_ms", 0)),
                 std::chrono::milliseconds(0), kTimeoutMax);
  const auto word = object.value("on_timeout", "fail");
  if (word != "fail" && word != "closed" && word != "open") {
    return fail("on_timeout: must be fail, closed or open");
  }
  if (word != "fail") {
    request.on_timeout = word == "open" ? OnTimeout::kOpen : OnTimeout::kClosed;
  }
  return request;
}

std::string boot_id() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return boot;
}

Result<std::optional<PodRequest>> request_in(const json& object) {
  const auto command = object.value("command", "");
  if (command == "announce") {
    auto request = announcement_in(object);
    if (!request) {
      return std::unexpected(request.error());
    }
    return std::move(*request);
  }
  PodRequest request;
  request.announced.container = object.value("container", "");
  request.announced.network = object.value("network", "");
  request.announced.ifindex = object.value("ifindex", 0U);
  if (command == "withdraw") {
    request.kind = PodRequest::Kind::kWithdraw;
  } else if (command == "collect") {
    request.kind = PodRequest::Kind::kCollectGarbage;
    request.valid = object.value("valid", std::vector<std::string>{});
  } else if (command != "announced") {
    return std::nullopt;
  }
  return request;
}

}  // namespace

Result<std::optional<PodRequest>> parse_pod_request(const std::string& text) {
  try {
    const auto object = json::parse(text, nullptr, false);
    if (!object.is_object() || !object.contains("command") ||
        !object["command"].is_string()) {
      return std::nullopt;
    }
    return request_in(object);
  } catch (const json::exception& error) {
    return fail(error.what());  // a member of another type
  }
}

Result<void> save_pods(const std::filesystem::path& file,
                       const std::vector<AnnouncedPod>& pods) {
  json list = json::array();
  for (const auto& pod : pods) {
    list.push_back(to_object(pod));
  }
  auto hidden = file;
  hidden += ".new";
  std::ofstream stream(hidden, std::ios::binary | std::ios::trunc);
  stream << node::dump({{"boot", boot_id()}, {"pods", std::move(list)}});
  stream.close();
  if (!stream) {
    return fail_errno(hidden.string());
  }
  std::error_code error;
  std::filesystem::rename(hidden, file, error);
  return error ? fail_errno(file.string(), error.value()) : Result<void>{};
}

Result<std::vector<AnnouncedPod>> load_pods(const std::filesystem::path& file) {
  std::vector<AnnouncedPod> pods;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    return pods;
  }
  try {
    const auto object = json::parse(stream, nullptr, false);
    if (!object.is_object()) {
      return fail(file.string() + ": is damaged");
    }
    if (object.value("boot", "") != boot_id()) {
      return pods;
    }
    for (const auto& item : object.value("pods", json::array())) {
      auto pod = pod_in(item);
      if (!pod) {
        return with_context(file.string(), pod.error());
      }
      pods.push_back(std::move(*pod));
    }
  } catch (const json::exception& error) {
    return fail(file.string() + ": " + error.what());
  }
  return pods;
}

}  // namespace sluice::agentd
