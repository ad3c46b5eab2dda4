// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cni/error.h"
#include "lib/base/ip.h"

// The plugin's input from the container runtime. Pure: no I/O.
namespace sluice::cni {

inline constexpr std::array<std::string_view, 5> kVersions{
    "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
inline constexpr std::string_view kNewestVersion = kVersions.back();
inline constexpr std::string_view kDefaultSocket = "/run/sluice/sluice.sock";
inline constexpr std::chrono::milliseconds kDefaultTimeout{10'000};
inline constexpr std::chrono::milliseconds kTimeoutMax{120'000};

bool is_supported_version(std::string_view version);

// What happens to a pod whose verdict is not in force in time.
enum class OnTimeout : std::uint8_t { kFail, kClosed, kOpen };
std::string_view to_string(OnTimeout value);
std::optional<OnTimeout> parse_on_timeout(std::string_view word);

// Environment variables set by the runtime; empty if not set.
struct Environment {
  std::string command;
  std::string container;
  std::string netns;
  std::string ifname;
  std::string args;
};

struct Pod {
  std::string ns;
  std::string name;
  std::string uid;  // may be empty: older runtimes do not set it
};
// From CNI_ARGS, "K8S_POD_NAMESPACE=x;K8S_POD_NAME=y;...".
CniResult<Pod> parse_pod(std::string_view args);

struct PrevResult {
  std::string text;  // as received
  // Names of host-side interfaces, as the previous plugin lists them.
  std::vector<std::string> host_interfaces;
  std::vector<IpAddress> ips;  // the first one of each family
};

struct Config {
  std::string version;
  std::string network;
  std::string socket{kDefaultSocket};
  std::chrono::milliseconds timeout = kDefaultTimeout;
  OnTimeout on_timeout = OnTimeout::kFail;
  std::optional<PrevResult> prev;
  std::vector<std::string> valid_containers;  // of GC
};
// Parses standard input. The error names the invalid member.
CniResult<Config> parse_config(const std::string& text);

}  // namespace sluice::cni
