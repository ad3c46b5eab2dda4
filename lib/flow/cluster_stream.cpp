// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster_stream.h"

#include <algorithm>
#include <utility>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "lib/flow/cursor.h"
#include "lib/flow/namespaces.h"

namespace sluice::flow {
namespace {

// Without a gate, it is root at this host.
const Admission& root() {
  static const Admission admission{.status = grpc::Status::OK,
                                   .user = "root",
                                   .everything = true,
                                   .namespaces = {},
                                   .missing = {}};
  return admission;
}

grpc::Status too_many(const Error& why) {
  return {grpc::StatusCode::RESOURCE_EXHAUSTED, why.message};
}

grpc::Status invalid(const Error& why) {
  return {grpc::StatusCode::INVALID_ARGUMENT, why.message};
}

// Of the bytes of a request: an empty filter takes two, and a kilobyte when it
// is parsed.
std::size_t count_filters(grpc::ByteBuffer bytes) {
  using google::protobuf::internal::WireFormatLite;
  using Request = ::observer::GetFlowsRequest;
  grpc::ProtoBufferReader reader(&bytes);
  google::protobuf::io::CodedInputStream input(&reader);
  std::size_t count = 0;
  while (const auto tag = input.ReadTag()) {
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    count += field == Request::kWhitelistFieldNumber ||
                     field == Request::kBlacklistFieldNumber
                 ? 1
                 : 0;
    if (!WireFormatLite::SkipField(&input, tag)) {
      break;  // which the parser will say
    }
  }
  return count;
}

// What is too large is refused at once.
Result<::observer::GetFlowsRequest> parse(grpc::ByteBuffer bytes) {
  using Serialization = grpc::SerializationTraits<::observer::GetFlowsRequest>;
  if (bytes.Length() > kClusterRequestBytesMax) {
    return fail("request too large: " + std::to_string(bytes.Length()) +
                " bytes, limit " + std::to_string(kClusterRequestBytesMax));
  }
  if (const auto count = count_filters(bytes); count > kFiltersMax) {
    return fail("too many filters: " + std::to_string(count) + ", limit " +
                std::to_string(kFiltersMax));
  }
  ::observer::GetFlowsRequest request;
  if (!Serialization::Deserialize(&bytes, &request).ok()) {
    return fail("not a GetFlowsRequest");
  }
  if (auto few = check_filters(request); !few) {
    return std::unexpected(few.error());
  }
  return request;
}

}  // namespace

Result<void> Seat::take(const std::string& user) {
  leave();
  if (auto entered = cluster_.enter(user); !entered) {
    return entered;
  }
  user_ = user;
  return {};
}

void Seat::leave() {
  if (user_) {
    cluster_.leave(*std::exchange(user_, std::nullopt));
  }
}

void ClusterStream::start(Gate* gate, const std::string& authorization) {
  self_ = shared_from_this();
  if (gate == nullptr) {
    admitted(root());
    return;
  }
  gate_ = gate;
  authorization_ = authorization;
  {
    const std::lock_guard lock(mutex_);
    if (auto taken = seat_.take(""); !taken) {
      finish(too_many(taken.error()));
      return;
    }
    const auto request = parse(request_);
    if (!request) {
      finish(invalid(request.error()));
      return;
    }
    for (const auto& name : named_namespaces(*request)) {
      if (namespaces_.size() < kGateNamespacesMax) {
        namespaces_.push_back(name);
      }
    }
  }
  ask();
}

void ClusterStream::ask() {
  std::vector<std::string> namespaces;
  {
    const std::lock_guard lock(mutex_);
    namespaces = namespaces_;
  }
  gate_->admit(authorization_, namespaces,
               [weak = weak_from_this()](const Admission& admission) {
                 if (const auto stream = weak.lock()) {
                   stream->admitted(admission);
                 }
               });
}

void ClusterStream::admitted(const Admission& admission) {
  const std::lock_guard lock(mutex_);
  if (ended_) {
    return;
  }
  if (reader_) {
    check(admission);
    return;
  }
  if (!admission.status.ok()) {
    finish(admission.status);
    return;
  }
  if (auto taken = seat_.take(admission.user); !taken) {
    finish(too_many(taken.error()));
    return;
  }
  begin(admission);
}

// A right that cannot be checked now is checked again later.
void ClusterStream::check(const Admission& admission) {
  if (admission.status.error_code() == grpc::StatusCode::UNAUTHENTICATED) {
    finish(admission.status);
    return;
  }
  const auto is_granted = [&](const std::string& name) {
    return std::ranges::find(admission.namespaces, name) !=
           admission.namespaces.end();
  };
  if (admission.status.ok() && !admission.everything &&
      (everything_ || !std::ranges::all_of(namespaces_, is_granted))) {
    finish({grpc::StatusCode::PERMISSION_DENIED,
            "the right to read these flows has been revoked"});
  }
}

void ClusterStream::begin(const Admission& admission) {
  auto request = parse(std::exchange(request_, {}));
  if (!request) {
    finish(invalid(request.error()));
    return;
  }
  if (!admission.everything && !is_within(*request, admission.namespaces)) {
    finish({grpc::StatusCode::PERMISSION_DENIED,
            admission.missing +
                ". With a right in a namespace, every filter has to name pods "
                "or Services there: --namespace"});
    return;
  }
  const auto nodes = cluster_.add(shared_from_this());
  auto reader = ClusterReader::open(
      {.flows = std::move(*request),
       .namespaces = admission.everything ? std::vector<std::string>{}
                                          : admission.namespaces},
      nodes, [this] { return cluster_.next_id(); }, cluster_.options().reader,
      Clock::now());
  if (!reader) {
    finish(invalid(reader.error()));
    return;
  }
  reader_.emplace(std::move(*reader));
  everything_ = admission.everything;
  if (!everything_) {
    namespaces_ = admission.namespaces;
  }
  if (gate_ != nullptr) {
    check_at_ = Clock::now() + cluster_.options().check_right_every;
  }
  pump(Clock::now());
}

void ClusterStream::pump(Clock::time_point now) {
  if (!reader_ || ended_) {
    return;
  }
  if (!writing_) {
    ::observer::GetFlowsResponse response;
    switch (reader_->next(response, now)) {
      case ClusterReader::Step::kMessage:
        write(response, now);
        break;
      case ClusterReader::Step::kWait:
        break;
      case ClusterReader::Step::kEnd:
        finish(grpc::Status::OK);
        return;
    }
  }
  cluster_.send(shared_from_this(), reader_->take_commands());
}

void ClusterStream::write(const ::observer::GetFlowsResponse& response,
                          Clock::time_point now) {
  bool own = false;
  response_.Clear();
  // Fails only for messages beyond 2 GiB.
  (void)grpc::SerializationTraits<::observer::GetFlowsResponse>::Serialize(
      response, &response_, &own);
  writing_ = true;
  written_at_ = now;
  StartWrite(&response_);
}

void ClusterStream::finish(const grpc::Status& status) {
  if (std::exchange(ended_, true)) {
    return;
  }
  if (reader_) {
    reader_->close();
    cluster_.send(shared_from_this(), reader_->take_commands());
  }
  if (writing_) {
    last_words_ = status;
  } else {
    Finish(status);
  }
}

void ClusterStream::on_batch(wire::FlowBatch batch, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (reader_ && !ended_) {
    reader_->on_batch(std::move(batch), now);
    pump(now);
  }
}

void ClusterStream::on_node(const std::string& node, const NodeView& view,
                            Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (reader_ && !ended_) {
    reader_->on_node(node, view, now);
    pump(now);
  }
}

void ClusterStream::on_lost(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (reader_ && !ended_) {
    reader_->on_lost(id);
    pump(Clock::now());
  }
}

void ClusterStream::turn(Clock::time_point now) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || !reader_) {
      return;
    }
    if (!writing_) {
      if (reader_->wake_at() <= now) {
        pump(now);
      }
    } else if (now >= written_at_ + cluster_.options().write_patience) {
      // Only this ends the write.
      context_.TryCancel();
      finish(grpc::Status::CANCELLED);
    }
    if (ended_ || now < check_at_) {
      return;
    }
    check_at_ = now + cluster_.options().check_right_every;
  }
  ask();
}

void ClusterStream::OnWriteDone(bool ok) {
  const std::lock_guard lock(mutex_);
  writing_ = false;
  if (last_words_) {
    Finish(*std::exchange(last_words_, std::nullopt));
  } else if (ok) {
    pump(Clock::now());
  } else {
    finish(grpc::Status::CANCELLED);
  }
}

void ClusterStream::OnCancel() {
  const std::lock_guard lock(mutex_);
  finish(grpc::Status::CANCELLED);
}

void ClusterStream::OnDone() {
  cluster_.remove(shared_from_this());
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    seat_.leave();
  }
  // The last owner but for those that call it now.
  const auto self = std::move(self_);
}

void ClusterQuery::start(Gate* gate, const std::string& authorization) {
  self_ = shared_from_this();
  if (gate == nullptr) {
    admitted(root());
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    if (auto taken = seat_.take(""); !taken) {
      finish(too_many(taken.error()));
      return;
    }
  }
  gate->admit(authorization, {},
              [weak = weak_from_this()](const Admission& admission) {
                if (const auto query = weak.lock()) {
                  query->admitted(admission);
                }
              });
}

void ClusterQuery::admitted(const Admission& admission) {
  const std::lock_guard lock(mutex_);
  if (ended_ || begun_) {
    return;
  }
  if (!admission.status.ok()) {
    finish(admission.status);
  } else if (!admission.everything) {
    finish({grpc::StatusCode::PERMISSION_DENIED, admission.missing});
  } else if (auto taken = seat_.take(admission.user); !taken) {
    finish(too_many(taken.error()));
  } else {
    begin();
  }
}

void ClusterQuery::begin() {
  begun_ = true;
  answers_.nodes = cluster_.add(shared_from_this());
  until_ = Clock::now() + cluster_.options().patience;
  const auto request = std::make_shared<const wire::FlowRequest>(
      wire::FlowRequest{.id = 0,
                        .kind = kind_,
                        .request = {},
                        .batch_bytes = wire::kFlowBatchBytesMax,
                        .namespaces = {}});
  std::vector<NodeCommand> commands;
  for (const auto& [node, view] : answers_.nodes) {
    if (view.state == NodeState::kConnected) {
      const auto id = cluster_.next_id();
      asked_[id] = node;
      commands.push_back({.node = node, .id = id, .request = request});
    }
  }
  if (asked_.empty()) {
    finish(grpc::Status::OK);
    return;
  }
  cluster_.send(shared_from_this(), std::move(commands));
}

void ClusterQuery::on_batch(wire::FlowBatch batch, Clock::time_point /*now*/) {
  const std::lock_guard lock(mutex_);
  const auto found = asked_.find(batch.id);
  if (found == asked_.end()) {
    return;
  }
  if (batch.items.size() == 1) {
    answers_.messages[found->second] = std::move(batch.items.front().message);
  }
  asked_.erase(found);
  if (asked_.empty()) {
    finish(grpc::Status::OK);
  }
}

// A node that goes meanwhile does not answer any more.
void ClusterQuery::on_node(const std::string& node, const NodeView& view,
                           Clock::time_point /*now*/) {
  const std::lock_guard lock(mutex_);
  const auto found = answers_.nodes.find(node);
  if (found == answers_.nodes.end() ||
      found->second.generation >= view.generation) {
    return;
  }
  found->second = view;
  if (std::erase_if(
          asked_, [&](const auto& item) { return item.second == node; }) > 0 &&
      asked_.empty()) {
    finish(grpc::Status::OK);
  }
}

void ClusterQuery::on_lost(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (asked_.erase(id) != 0 && asked_.empty()) {
    finish(grpc::Status::OK);
  }
}

void ClusterQuery::turn(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (now >= until_) {
    finish(grpc::Status::OK);
  }
}

void ClusterQuery::finish(const grpc::Status& status) {
  if (std::exchange(ended_, true)) {
    return;
  }
  until_ = Clock::time_point::max();
  std::vector<NodeCommand> commands;
  commands.reserve(asked_.size());
  for (const auto& [id, node] : asked_) {
    commands.push_back(
        {.node = node, .id = id, .request = nullptr, .cancel = true});
  }
  asked_.clear();
  cluster_.send(shared_from_this(), std::move(commands));
  if (status.ok()) {
    fill_(answers_);
  }
  Finish(status);
}

void ClusterQuery::OnCancel() {
  const std::lock_guard lock(mutex_);
  finish(grpc::Status::CANCELLED);
}

void ClusterQuery::OnDone() {
  cluster_.remove(shared_from_this());
  {
    const std::lock_guard lock(mutex_);
    seat_.leave();
  }
  const auto self = std::move(self_);
}

}  // namespace sluice::flow
