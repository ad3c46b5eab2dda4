// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/wire/protocol.h"

// Requests of the CNI plugin, and the file of announced pods.
namespace sluice::agentd {

// The fate of a pod whose policies are not in force in time.
enum class OnTimeout : std::uint8_t { kFail, kClosed, kOpen };

// A pod and its interface, as announced by the plugin.
struct AnnouncedPod {
  wire::PodAddress pod;
  std::uint32_t ifindex = 0;
  std::string container;
  std::string network;
  bool open = false;  // the time was over, with OnTimeout::kOpen
  // It has its siblings' policies, because the operator has not sent its own.
  bool as_siblings = false;

  [[nodiscard]] std::string full_name() const {
    return pod.ns + "/" + pod.name;
  }
};

struct PodRequest {
  enum class Kind : std::uint8_t {
    kAnnounce,
    kWithdraw,
    kCheck,
    kCollectGarbage
  };
  Kind kind = Kind::kCheck;
  AnnouncedPod announced;
  std::chrono::milliseconds timeout{0};
  OnTimeout on_timeout = OnTimeout::kFail;
  std::vector<std::string> valid;  // containers, of kCollectGarbage
};

// nullopt if it is not a request of the plugin; an error if it is an invalid
// one.
Result<std::optional<PodRequest>> parse_pod_request(const std::string& text);

// Writes the whole file, or leaves the old one.
Result<void> save_pods(const std::filesystem::path& file,
                       const std::vector<AnnouncedPod>& pods);
// Empty if there is no file, or if the machine has been restarted since.
Result<std::vector<AnnouncedPod>> load_pods(const std::filesystem::path& file);

}  // namespace sluice::agentd
