// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster_stream.h"

#include <utility>

#include "lib/flow/cluster_request.h"
#include "observer.grpc.pb.h"

namespace sluice::flow {
void ClusterStream::begin_call(Gate* gate, const std::string& authorization) {
  self_ = shared_from_this();
  start(gate, authorization);
}

Result<::observer::GetFlowsRequest> ClusterStream::request() {
  grpc::Slice slice;
  if (!bytes_.DumpToSingleSlice(&slice).ok()) {
    return fail("not a GetFlowsRequest");
  }
  return parse_flows_request(
      {reinterpret_cast<const char*>(slice.begin()), slice.size()});
}

void ClusterStream::pump(Clock::time_point now) {
  bytes_.Clear();
  if (writing_) {
    return;
  }
  ::observer::GetFlowsResponse response;
  if (next(response, now) == ClusterReader::Step::kMessage) {
    write(response, now);
  }
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

void ClusterStream::on_end(const grpc::Status& status) {
  if (writing_) {
    last_words_ = status;
  } else {
    Finish(status);
  }
}

void ClusterStream::check_client(Clock::time_point now) {
  if (writing_ && now >= written_at_ + options().write_patience) {
    // Only this ends the write.
    context_.TryCancel();
    finish(grpc::Status::CANCELLED);
  }
}

void ClusterStream::OnWriteDone(bool ok) {
  const std::lock_guard lock(mutex());
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
  const std::lock_guard lock(mutex());
  finish(grpc::Status::CANCELLED);
}

void ClusterStream::OnDone() {
  close();
  // The last owner but for those that call it now.
  const auto self = std::move(self_);
}

ClusterQuery::ClusterQuery(Cluster& cluster, wire::FlowKind kind, Fill fill)
    : query_(NodeQuery::create(
          cluster, kind, {},
          [this, fill = std::move(fill)](const grpc::Status& status,
                                         const auto& answers) {
            if (status.ok()) {
              fill(*answers);
            }
            Finish(status);
          })) {}

void ClusterQuery::start(Gate* gate, const std::string& authorization) {
  query_->start(gate, authorization);
}

void ClusterQuery::OnCancel() {
  query_->cancel();
}

void ClusterQuery::OnDone() {
  query_->close();
  delete this;
}

}  // namespace sluice::flow
