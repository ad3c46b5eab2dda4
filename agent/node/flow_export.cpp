// SPDX-License-Identifier: Apache-2.0
#include "agent/node/flow_export.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include <spdlog/spdlog.h>

#include "agent/node/export_file.h"
#include "lib/flow/cursor.h"
#include "lib/flow/filter_json.h"
#include "lib/flow/message_json.h"
#include "observer.pb.h"

namespace sluice::node {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPeriod{100};  // between looks at the store
constexpr milliseconds kRetry{1000};
constexpr milliseconds kEndMax{1000};
constexpr std::size_t kBatchBytes = 65'536;
constexpr std::uint64_t kMegabyte = 1'000'000;

Result<::observer::GetFlowsRequest> make_request(const ExportOptions& options) {
  ::observer::GetFlowsRequest request;
  request.set_follow(true);
  request.mutable_since();  // 1970: everything that there is
  for (const auto& text : options.allow) {
    if (auto added = flow::add_filters(text, *request.mutable_whitelist());
        !added) {
      return with_context("--export-allowlist", added.error());
    }
  }
  for (const auto& text : options.deny) {
    if (auto added = flow::add_filters(text, *request.mutable_blacklist());
        !added) {
      return with_context("--export-denylist", added.error());
    }
  }
  for (const auto& field : options.fields) {
    request.mutable_field_mask()->add_paths(field);
  }
  return request;
}

Result<flow::FlowCursor> open_cursor(const ExportOptions& options,
                                     const flow::Store& store,
                                     const std::string& node) {
  const auto request = make_request(options);
  if (!request) {
    return std::unexpected(request.error());
  }
  auto cursor = flow::FlowCursor::open(store, *request, node);
  if (!cursor) {
    return with_context("--export-file", cursor.error());
  }
  return cursor;
}

}  // namespace

struct FlowExport::Impl {
  Impl(const ExportOptions& options, flow::FlowCursor cursor_in)
      : path(options.path == "-" ? "the standard output"
                                 : options.path.string()),
        cursor(std::move(cursor_in)),
        file({.path = options.path,
              .size_max = options.size_max_mb * kMegabyte,
              .backups = options.backups}) {}

  // Of the export's thread.
  std::string path;  // for people
  flow::FlowCursor cursor;
  ExportFile file;
  std::string lines;  // not written yet
  std::uint64_t flows_in_lines = 0;
  std::string problem;  // why they are not

  std::atomic<std::uint64_t> flows = 0;
  std::atomic<std::uint64_t> lost = 0;
  std::atomic<std::uint64_t> failures = 0;

  std::mutex mutex;
  std::condition_variable stopped;
  bool stop = false;  // under the lock
  std::thread thread;

  void run();
  bool collect();
  bool write();
  bool wait(milliseconds time);
};

// False if the store has no more at the moment.
bool FlowExport::Impl::collect() {
  ::observer::GetFlowsResponse response;
  while (lines.size() < kBatchBytes) {
    const auto step = cursor.next(response);
    if (step == flow::FlowCursor::Step::kBusy) {
      return true;
    }
    if (step != flow::FlowCursor::Step::kMessage) {
      return false;
    }
    if (response.has_flow()) {
      ++flows_in_lines;
    } else if (response.lost_events().source() == ::flow::HUBBLE_RING_BUFFER) {
      lost += response.lost_events().num_events_lost();
    }
    lines += flow::to_json(response) + "\n";
  }
  return true;
}

// False if lines are left.
bool FlowExport::Impl::write() {
  if (lines.empty()) {
    return true;
  }
  const auto written = file.append(lines);
  if (!written) {
    ++failures;
    if (problem != written.error().message) {
      problem = written.error().message;
      spdlog::warn("flows are not exported: {}; trying again", problem);
    }
    return false;
  }
  if (!*written) {
    return false;
  }
  flows += std::exchange(flows_in_lines, 0);
  if (!problem.empty()) {
    problem.clear();
    spdlog::info("flows are exported again: {}", path);
  }
  return true;
}

// False if the export has to end.
bool FlowExport::Impl::wait(milliseconds time) {
  std::unique_lock lock(mutex);
  return !stopped.wait_for(lock, time, [this] { return stop; });
}

void FlowExport::Impl::run() {
  std::optional<Clock::time_point> end;  // set when it has to end
  while (!end || Clock::now() < *end) {
    const bool more = collect();
    const bool written = write();
    if (end && !(written && more)) {
      return;
    }
    const auto time = more ? milliseconds(0) : kPeriod;
    if (!wait(problem.empty() ? time : kRetry) && !end) {
      end = Clock::now() + kEndMax;
    }
  }
}

FlowExport::FlowExport() = default;

FlowExport::~FlowExport() {
  if (!impl_) {
    return;
  }
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->stop = true;
  }
  impl_->stopped.notify_all();
  impl_->thread.join();
}

Result<void> FlowExport::check(const ExportOptions& options) {
  const flow::Store empty(1, 0);
  const auto cursor = open_cursor(options, empty, {});
  return cursor ? Result<void>{} : std::unexpected(cursor.error());
}

Result<std::unique_ptr<FlowExport>> FlowExport::start(
    const ExportOptions& options, const flow::Store& store,
    const std::string& node) {
  auto cursor = open_cursor(options, store, node);
  if (!cursor) {
    return std::unexpected(cursor.error());
  }
  std::unique_ptr<FlowExport> result(new FlowExport);
  result->impl_ = std::make_unique<Impl>(options, std::move(*cursor));
  result->impl_->thread =
      std::thread([impl = result->impl_.get()] { impl->run(); });
  return result;
}

FlowExport::Counters FlowExport::counters() const {
  return {
      .flows = impl_->flows, .lost = impl_->lost, .failures = impl_->failures};
}

}  // namespace sluice::node
