// SPDX-License-Identifier: Apache-2.0
#include "cni/input.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "cni/raw_json.h"

namespace sluice::cni {
namespace {

using nlohmann::json;

constexpr std::size_t kNameMax = 253;  // Kubernetes'

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kNameMax &&
         std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.';
         });
}

// nullptr if the member is absent; an error if it has another type.
CniResult<const json*> member(const json& object, const char* name,
                              json::value_t type, std::string_view what) {
  const auto found = object.find(name);
  if (found == object.end() || found->is_null()) {
    return nullptr;
  }
  if (found->type() != type) {
    return refuse(Code::kBadConfig,
                  std::string(name) + " must be " + std::string(what) + ".");
  }
  return &*found;
}

CniResult<std::string> text_member(const json& object, const char* name) {
  const auto found = member(object, name, json::value_t::string, "a string");
  if (!found) {
    return std::unexpected(found.error());
  }
  return *found == nullptr ? std::string{} : (*found)->get<std::string>();
}

CniResult<std::vector<std::string>> host_interfaces(const json& prev) {
  std::vector<std::string> result;
  const auto list = member(prev, "interfaces", json::value_t::array, "a list");
  if (!list) {
    return std::unexpected(list.error());
  }
  if (*list == nullptr) {
    return result;
  }
  for (const auto& interface : **list) {
    if (!interface.is_object()) {
      return refuse(Code::kBadConfig,
                    "prevResult.interfaces must be a list of objects.");
    }
    const auto name = text_member(interface, "name");
    const auto sandbox = text_member(interface, "sandbox");
    if (!name || !sandbox) {
      return std::unexpected(name ? sandbox.error() : name.error());
    }
    if (sandbox->empty() && !name->empty()) {
      result.push_back(*name);
    }
  }
  return result;
}

CniResult<std::vector<IpAddress>> addresses(const json& prev) {
  std::vector<IpAddress> result;
  const auto list = member(prev, "ips", json::value_t::array, "a list");
  if (!list) {
    return std::unexpected(list.error());
  }
  if (*list == nullptr) {
    return result;
  }
  for (const auto& item : **list) {
    if (!item.is_object()) {
      return refuse(Code::kBadConfig,
                    "prevResult.ips must be a list of objects.");
    }
    const auto text = text_member(item, "address");
    if (!text) {
      return std::unexpected(text.error());
    }
    const auto address =
        parse_ip(std::string_view(*text).substr(0, text->find('/')));
    if (!address) {
      return refuse(Code::kBadConfig,
                    "prevResult.ips has an address that is "
                    "none: \"" +
                        *text + "\".");
    }
    const bool has_family = std::ranges::any_of(
        result,
        [&](const IpAddress& other) { return other.v6 == address->v6; });
    if (!has_family) {
      result.push_back(*address);
    }
  }
  return result;
}

CniResult<void> read_prev_result(const json& object, const std::string& text,
                                 Config& config) {
  const auto found =
      member(object, "prevResult", json::value_t::object, "an object");
  if (!found) {
    return std::unexpected(found.error());
  }
  if (*found == nullptr) {
    return {};
  }
  auto interfaces = host_interfaces(**found);
  auto ips = addresses(**found);
  if (!interfaces || !ips) {
    return std::unexpected(interfaces ? ips.error() : interfaces.error());
  }
  const auto place = find_member(text, "prevResult");
  config.prev = PrevResult{
      .text = place ? std::string(place->of(text)) : (*found)->dump(),
      .host_interfaces = std::move(*interfaces),
      .ips = std::move(*ips)};
  return {};
}

CniResult<void> read_options(const json& object, Config& config) {
  const auto socket = text_member(object, "socket");
  const auto word = text_member(object, "onTimeout");
  if (!socket || !word) {
    return std::unexpected(socket ? word.error() : socket.error());
  }
  if (!socket->empty()) {
    config.socket = *socket;
  }
  if (!word->empty()) {
    const auto value = parse_on_timeout(*word);
    if (!value) {
      return refuse(
          Code::kBadConfig,
          "onTimeout must be fail, closed or open, not \"" + *word + "\".");
    }
    config.on_timeout = *value;
  }
  if (const auto seconds = object.find("timeoutSeconds");
      seconds != object.end()) {
    const double value = seconds->is_number() ? seconds->get<double>() : -1.0;
    const std::chrono::duration<double> wanted(value);
    if (!(wanted.count() > 0) || wanted > kTimeoutMax) {
      return refuse(Code::kBadConfig,
                    "timeoutSeconds must be a number above 0 and up to 120.");
    }
    config.timeout =
        std::chrono::duration_cast<std::chrono::milliseconds>(wanted);
  }
  return {};
}

CniResult<void> read_attachments(const json& object, Config& config) {
  const auto list = member(object, "cni.dev/valid-attachments",
                           json::value_t::array, "a list");
  if (!list) {
    return std::unexpected(list.error());
  }
  if (*list == nullptr) {
    return {};
  }
  for (const auto& item : **list) {
    if (!item.is_object()) {
      return refuse(Code::kBadConfig,
                    "cni.dev/valid-attachments must be a list of objects.");
    }
    const auto container = text_member(item, "containerID");
    if (!container) {
      return std::unexpected(container.error());
    }
    config.valid_containers.push_back(*container);
  }
  return {};
}

}  // namespace

bool is_supported_version(std::string_view version) {
  return std::ranges::find(kVersions, version) != kVersions.end();
}

std::string_view to_string(OnTimeout value) {
  switch (value) {
    case OnTimeout::kFail:
      return "fail";
    case OnTimeout::kClosed:
      return "closed";
    case OnTimeout::kOpen:
      return "open";
  }
  return "fail";
}

std::optional<OnTimeout> parse_on_timeout(std::string_view word) {
  for (const auto value :
       {OnTimeout::kFail, OnTimeout::kClosed, OnTimeout::kOpen}) {
    if (word == to_string(value)) {
      return value;
    }
  }
  return std::nullopt;
}

CniResult<Pod> parse_pod(std::string_view args) {
  Pod pod;
  while (!args.empty()) {
    const auto end = std::min(args.find(';'), args.size());
    const auto pair = args.substr(0, end);
    args.remove_prefix(std::min(end + 1, args.size()));
    const auto equals = pair.find('=');
    if (equals == std::string_view::npos) {
      continue;  // not for this plugin
    }
    const auto key = pair.substr(0, equals);
    const auto value = pair.substr(equals + 1);
    if (key == "K8S_POD_NAMESPACE") {
      pod.ns = value;
    } else if (key == "K8S_POD_NAME") {
      pod.name = value;
    } else if (key == "K8S_POD_UID") {
      pod.uid = value;
    }
  }
  if (!is_name(pod.ns) || !is_name(pod.name) ||
      (!pod.uid.empty() && !is_name(pod.uid))) {
    return refuse(Code::kBadEnvironment,
                  "CNI_ARGS does not name a pod: K8S_POD_NAMESPACE and "
                  "K8S_POD_NAME are needed.");
  }
  return pod;
}

CniResult<Config> parse_config(const std::string& text) {
  const auto object = json::parse(text, nullptr, false);
  if (!object.is_object()) {
    return refuse(Code::kBadContent,
                  "The network configuration on standard input is no JSON "
                  "object.");
  }
  Config config;
  const auto version = text_member(object, "cniVersion");
  const auto name = text_member(object, "name");
  if (!version || !name) {
    return std::unexpected(version ? name.error() : version.error());
  }
  if (!is_supported_version(*version)) {
    return refuse(Code::kIncompatibleVersion,
                  "cniVersion \"" + *version +
                      "\" is not supported; 0.3.0, 0.3.1, 0.4.0, 1.0.0 and "
                      "1.1.0 are.");
  }
  config.version = *version;
  config.network = *name;
  if (auto done = read_options(object, config); !done) {
    return std::unexpected(done.error());
  }
  if (auto done = read_prev_result(object, text, config); !done) {
    return std::unexpected(done.error());
  }
  if (auto done = read_attachments(object, config); !done) {
    return std::unexpected(done.error());
  }
  return config;
}

}  // namespace sluice::cni
