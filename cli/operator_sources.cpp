// SPDX-License-Identifier: Apache-2.0
#include "cli/operator_sources.h"

#include <exception>
#include <utility>

#include <nlohmann/json.hpp>

#include "cli/ask_operator.h"
#include "cli/observe_operator.h"
#include "cli/operator_feed.h"
#include "lib/explain/view_json.h"
#include "lib/flow/cursor.h"
#include "lib/ui/views_json.h"

namespace sluice::cli {
namespace {

using nlohmann::json;

// Questions at a time; an operator answers eight of all its users.
constexpr int kWorkers = 4;
// Of flows before those to come; an operator gives no more.
constexpr std::uint64_t kPastMax = 10'000;

// The member of the answer, or the whole if `member` is empty.
template <typename T>
Result<T> ask(const OperatorAccess& access, std::string_view path,
              const QueryArguments& arguments, const char* member) {
  const auto text = ask_operator(access, path, arguments);
  if (!text) {
    return std::unexpected(text.error());
  }
  try {
    const auto answer = json::parse(*text);
    return (member == nullptr ? answer : answer.at(member)).get<T>();
  } catch (const json::exception& error) {
    return fail(std::string("the operator's answer: ") + error.what());
  }
}

// For edges: all flows would be too many, and most of what a flow says is not
// needed.
void limit(::observer::GetFlowsRequest& request) {
  request.clear_since();
  request.set_number(kPastMax);
  for (const char* path : {"time",
                           "verdict",
                           "drop_reason_desc",
                           "IP",
                           "l4",
                           "source.identity",
                           "source.namespace",
                           "source.pod_name",
                           "source.workloads",
                           "destination.identity",
                           "destination.namespace",
                           "destination.pod_name",
                           "destination.workloads",
                           "source_names",
                           "destination_names",
                           "destination_service",
                           "is_reply",
                           "traffic_direction",
                           "egress_allowed_by",
                           "egress_denied_by",
                           "ingress_allowed_by",
                           "ingress_denied_by"}) {
    request.mutable_field_mask()->add_paths(path);
  }
}

}  // namespace

OperatorSources::OperatorSources(OperatorAccess access)
    : access_(std::move(access)) {
  access_.stopped = [this] { return stopped_.load(); };
}

void OperatorSources::start() {
  for (int i = 0; i < kWorkers; ++i) {
    workers_.emplace_back([this] { work(); });
  }
}

void OperatorSources::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  for (auto& worker : workers_) {
    worker.join();
  }
  workers_.clear();
}

void OperatorSources::work() {
  while (true) {
    std::function<void()> callback;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopped_ || !posted_.empty(); });
      if (stopped_) {
        return;
      }
      callback = std::move(posted_.front());
      posted_.pop_front();
    }
    callback();
  }
}

void OperatorSources::post(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(callback));
  }
  changed_.notify_one();
}

Result<std::unique_ptr<ui::FlowFeed>> OperatorSources::open(
    const ::observer::GetFlowsRequest& request) {
  if (const auto filters = flow::compile_filters(request, {}); !filters) {
    return std::unexpected(filters.error());
  }
  auto wanted = request;
  if (wanted.follow()) {
    limit(wanted);
  }
  return std::make_unique<OperatorFeed>(
      OperatorFeed::Options{.follow = wanted.follow()},
      [access = access_, wanted](const OperatorFeed::Take& take,
                                 OperatorFeed::Stopped stopped) mutable {
        access.stopped = [all = std::move(access.stopped),
                          stopped = std::move(stopped)] {
          return all() || stopped();
        };
        return read_operator_messages(access, wanted, take);
      });
}

Result<std::vector<std::string>> OperatorSources::namespaces() {
  return ask<std::vector<std::string>>(access_, "/api/namespaces", {},
                                       "namespaces");
}

Result<std::vector<ui::PolicyView>> OperatorSources::policies() {
  return ask<std::vector<ui::PolicyView>>(access_, "/api/policies", {},
                                          "policies");
}

Result<explain::ExplainView> OperatorSources::explain(
    const explain::ExplainRequest& request) {
  if (request.port.empty()) {
    return fail("port: is missing");
  }
  QueryArguments arguments{
      {"from", request.from}, {"to", request.to}, {"port", request.port}};
  for (const auto& name : request.to_names) {
    arguments.emplace_back("to-name", name);
  }
  return ask<explain::ExplainView>(access_, "/explain", arguments, nullptr);
}

Result<ui::ReachView> OperatorSources::reach(
    const std::string& ns, const std::vector<std::string>& ports) {
  QueryArguments arguments{{"namespace", ns}};
  for (const auto& port : ports) {
    arguments.emplace_back("port", port);
  }
  return ask<ui::ReachView>(access_, "/api/reach", arguments, nullptr);
}

}  // namespace sluice::cli
