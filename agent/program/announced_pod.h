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

// What the CNI plugin tells the agent, and how that is kept.
namespace sluice::agentd {

// What becomes of a pod for which no verdict is in force in time.
enum class OnTimeout : std::uint8_t { kFail, kClosed, kOpen };

// A pod's interface, as the plugin has told of it.
struct AnnouncedPod {
  wire::PodAddress pod;
  std::uint32_t ifindex = 0;
  std::string container;
  std::string network;
  bool open = false;  // its time was over, and it was to be opened then
  // It has its siblings' policies: the operator has not said yet what it has.
  bool as_siblings = false;

  [[nodiscard]] std::string full_name() const {
    return pod.ns + "/" + pod.name;
  }
};

struct PodRequest {
  enum class Kind : std::uint8_t { kAnnounce, kWithdraw, kLook, kCollect };
  Kind kind = Kind::kLook;
  AnnouncedPod announced;
  std::chrono::milliseconds timeout{0};
  OnTimeout on_timeout = OnTimeout::kFail;
  std::vector<std::string> valid;  // containers, of kCollect
};

// nullopt if it is none of the plugin's; an error if it is one and not valid.
Result<std::optional<PodRequest>> parse_pod_request(const std::string& text);

// Whole or not at all.
Result<void> save_pods(const std::filesystem::path& file,
                       const std::vector<AnnouncedPod>& pods);
// Nothing if there is no file, or one of another start of the machine.
Result<std::vector<AnnouncedPod>> load_pods(const std::filesystem::path& file);

}  // namespace sluice::agentd
