// SPDX-License-Identifier: Apache-2.0
#include "operator/program/flow_lines.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "lib/flow/message_json.h"
#include "observer.pb.h"

namespace sluice::operatord {
namespace {

using Clock = std::chrono::steady_clock;
using Step = flow::ClusterReader::Step;

// Of lines that are given at once.
constexpr std::size_t kBytesAtOnce = 65'536;

std::string line_of(const ::observer::GetFlowsResponse& response) {
  auto line = flow::to_json(response);
  return line.empty() ? line : line + "\n";
}

std::string error_line(const std::string& why) {
  return nlohmann::json{{"error", why}}.dump(
             -1, ' ', false, nlohmann::json::error_handler_t::replace) +
         "\n";
}

class FlowLines {
 public:
  FlowLines(std::shared_ptr<flow::FlowPull> flows,
            std::chrono::milliseconds keep_alive)
      : flows_(std::move(flows)), keep_alive_(keep_alive) {}

  std::optional<std::string> next() {
    std::string text;
    while (!ended_ && text.size() < kBytesAtOnce) {
      ::observer::GetFlowsResponse response;
      const auto step = flows_->fetch(response);
      if (step == Step::kWait) {
        break;
      }
      if (step == Step::kEnd) {
        ended_ = true;
        const auto status = flows_->status();
        if (status && !status->ok()) {
          text += error_line(status->error_message());
        }
        break;
      }
      text += line_of(response);
    }
    const auto now = Clock::now();
    if (text.empty() && !ended_ && now - last_ >= keep_alive_) {
      text = "\n";
    }
    if (!text.empty()) {
      last_ = now;
    }
    return text.empty() && ended_ ? std::nullopt
                                  : std::optional(std::move(text));
  }

 private:
  std::shared_ptr<flow::FlowPull> flows_;
  const std::chrono::milliseconds keep_alive_;
  Clock::time_point last_ = Clock::now();
  bool ended_ = false;
};

}  // namespace

std::function<std::optional<std::string>()> flow_lines(
    std::shared_ptr<flow::FlowPull> flows,
    std::chrono::milliseconds keep_alive) {
  return [lines = std::make_shared<FlowLines>(std::move(flows), keep_alive)] {
    return lines->next();
  };
}

}  // namespace sluice::operatord
