// SPDX-License-Identifier: Apache-2.0
#include "cni/plugin.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include <nlohmann/json.hpp>

#include "cni/agent_socket.h"
#include "cni/host_interface.h"

namespace sluice::cni {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

// How often to retry while the socket does not exist.
constexpr milliseconds kLookAgain{20};
// Added to the deadline that the agent is given; after that, no answer will
// come.
constexpr milliseconds kAgentLate{1'000};
// Timeout for requests that must not delay the runtime.
constexpr milliseconds kShort{2'000};

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json ips_of(const std::vector<IpAddress>& ips) {
  auto result = json::array();
  for (const auto& ip : ips) {
    result.push_back(to_string(ip));
  }
  return result;
}

// Returns the member "error" of the agent's answer, or an empty text.
std::string error_in(const json& answer) {
  const auto found = answer.find("error");
  return found != answer.end() && found->is_string() ? found->get<std::string>()
                                                     : std::string{};
}

CniResult<json> parse_answer(const std::string& text) {
  auto answer = json::parse(text, nullptr, false);
  if (!answer.is_object()) {
    return refuse(Code::kIo, "The process at the agent's socket is no agent.");
  }
  if (auto error = error_in(answer); !error.empty()) {
    return refuse(Code::kTryAgainLater,
                  "The node's agent cannot enforce the pod's policies yet.",
                  std::move(error));
  }
  return answer;
}

struct Announcement {
  json request;
  Clock::time_point deadline;
};

// Asks until there is an answer, because an agent that ends meanwhile is
// restarted.
CniResult<void> announce(const Config& config, Announcement announcement) {
  bool seen = false;
  while (true) {
    const auto left = std::chrono::duration_cast<milliseconds>(
        announcement.deadline - Clock::now());
    if (left.count() <= 0) {
      break;
    }
    announcement.request["timeout_ms"] = left.count();
    const auto reply = ask_agent(config.socket, dump(announcement.request),
                                 announcement.deadline + kAgentLate);
    if (reply.kind == AgentReply::Kind::kAnswered) {
      const auto answer = parse_answer(reply.text);
      if (!answer) {
        return std::unexpected(answer.error());
      }
      return {};
    }
    seen = seen || reply.kind == AgentReply::Kind::kNotInTime;
    std::this_thread::sleep_for(std::min(kLookAgain, left));
  }
  if (config.on_timeout == OnTimeout::kOpen) {
    return {};
  }
  // Without an agent nothing can be cut off.
  return refuse(Code::kTryAgainLater,
                seen ? "The node's agent did not answer in time."
                     : "The node's agent is not running.",
                config.socket);
}

CniResult<std::string> add(const Environment& environment,
                           const Config& config) {
  const auto deadline = Clock::now() + config.timeout;
  const auto pod = parse_pod(environment.args);
  if (!pod) {
    return std::unexpected(pod.error());
  }
  if (!config.prev) {
    return refuse(Code::kBadConfig,
                  "There is no prevResult: sluice-cni must be chained behind "
                  "the plugin that makes the pod's interface.");
  }
  if (config.prev->ips.empty()) {
    return refuse(Code::kBadConfig, "prevResult has no address.");
  }
  const auto interface = find_host_interface(
      environment.netns, environment.ifname, config.prev->host_interfaces);
  if (!interface) {
    return std::unexpected(interface.error());
  }
  const json request{{"command", "announce"},
                     {"namespace", pod->ns},
                     {"pod", pod->name},
                     {"uid", pod->uid},
                     {"container", environment.container},
                     {"network", config.network},
                     {"interface", interface->name},
                     {"ifindex", interface->ifindex},
                     {"ips", ips_of(config.prev->ips)},
                     {"on_timeout", to_string(config.on_timeout)}};
  if (auto done = announce(config, {.request = request, .deadline = deadline});
      !done) {
    return std::unexpected(done.error());
  }
  return config.prev->text;
}

// Errors are ignored, because the agent forgets a removed interface by itself.
CniResult<std::string> del(const Environment& environment,
                           const Config& config) {
  (void)ask_agent(config.socket,
                  dump({{"command", "withdraw"},
                        {"container", environment.container},
                        {"network", config.network}}),
                  Clock::now() + kShort);
  return std::string{};
}

CniResult<std::string> check(const Environment& environment,
                             const Config& config) {
  const auto pod = parse_pod(environment.args);
  if (!pod) {
    return std::unexpected(pod.error());
  }
  if (!config.prev) {
    return refuse(Code::kBadConfig, "There is no prevResult.");
  }
  const auto interface = find_host_interface(
      environment.netns, environment.ifname, config.prev->host_interfaces);
  if (!interface) {
    return std::unexpected(interface.error());
  }
  const auto reply = ask_agent(config.socket,
                               dump({{"command", "announced"},
                                     {"container", environment.container},
                                     {"ifindex", interface->ifindex}}),
                               Clock::now() + kShort);
  if (reply.kind != AgentReply::Kind::kAnswered) {
    return refuse(Code::kTryAgainLater, "The node's agent does not answer.",
                  config.socket);
  }
  const auto answer = parse_answer(reply.text);
  if (!answer) {
    return std::unexpected(answer.error());
  }
  return std::string{};
}

CniResult<std::string> status(const Config& config) {
  const auto reply = ask_agent(config.socket, dump({{"command", "announced"}}),
                               Clock::now() + kShort);
  if (reply.kind != AgentReply::Kind::kAnswered) {
    return refuse(Code::kNotAvailable, "The node's agent is not running.",
                  config.socket);
  }
  return std::string{};
}

CniResult<std::string> collect(const Config& config) {
  (void)ask_agent(config.socket,
                  dump({{"command", "collect"},
                        {"network", config.network},
                        {"valid", config.valid_containers}}),
                  Clock::now() + kShort);
  return std::string{};
}

std::string versions(const std::string& input) {
  const auto object = json::parse(input, nullptr, false);
  std::string version(kNewestVersion);
  if (object.is_object() && object.contains("cniVersion") &&
      object["cniVersion"].is_string()) {
    version = object["cniVersion"];
  }
  return dump({{"cniVersion", version}, {"supportedVersions", kVersions}});
}

CniResult<std::string> call(const Environment& environment,
                            const std::string& input, std::string& version) {
  const auto& command = environment.command;
  if (command == "VERSION") {
    return versions(input);
  }
  constexpr std::array<std::string_view, 5> kCommands{"ADD", "DEL", "CHECK",
                                                      "STATUS", "GC"};
  if (std::ranges::find(kCommands, command) == kCommands.end()) {
    return refuse(Code::kBadEnvironment,
                  command.empty()
                      ? "CNI_COMMAND is not set: a container runtime calls "
                        "this program."
                      : "CNI_COMMAND \"" + command + "\" is not known.");
  }
  const auto config = parse_config(input);
  if (!config) {
    return std::unexpected(config.error());
  }
  version = config->version;
  if (command == "STATUS") {
    return status(*config);
  }
  if (command == "GC") {
    return collect(*config);
  }
  if (environment.container.empty()) {
    return refuse(Code::kBadEnvironment, "CNI_CONTAINERID is not set.");
  }
  if (command == "DEL") {
    return del(environment, *config);
  }
  if (environment.ifname.empty()) {
    return refuse(Code::kBadEnvironment, "CNI_IFNAME is not set.");
  }
  return command == "ADD" ? add(environment, *config)
                          : check(environment, *config);
}

}  // namespace

Outcome run(const Environment& environment, const std::string& input) {
  std::string version(kNewestVersion);
  auto output = call(environment, input, version);
  if (output) {
    return {.exit_code = 0, .output = std::move(*output)};
  }
  const auto& error = output.error();
  json object{{"cniVersion", version},
              {"code", static_cast<int>(error.code)},
              {"msg", error.message}};
  if (!error.details.empty()) {
    object["details"] = error.details;
  }
  return {.exit_code = 1, .output = dump(object)};
}

}  // namespace sluice::cni
