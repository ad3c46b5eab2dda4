// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "lib/wire/poller.h"
#include "lib/wire/protocol.h"
#include "wire.grpc.pb.h"

// The end of Replication at which reports arrive. Internal to Server.
namespace sluice::wire {

struct ReplicaReport {
  std::string replica;
  bool first = false;  // nothing was known of it: what it said before is void
  std::vector<NodeReport> nodes;
};

// gRPC's threads put reports in, the owner's takes them out.
class ReportService : public v1::Replication::CallbackService {
 public:
  // `poller` is notified of what has come, and outlives the service.
  ReportService(const Poller& poller, std::string token)
      : poller_(poller), token_(std::move(token)) {}

  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext* context,
                                   const v1::ReplicaReport* request,
                                   v1::ReplicaReply* reply) override;

  std::vector<ReplicaReport> take();
  // Its next report is its first one.
  void forget(const std::string& replica);
  void set_token(std::string token);

 private:
  grpc::Status receive(const grpc::CallbackServerContext& context,
                       const v1::ReplicaReport& request,
                       v1::ReplicaReply& reply);

  const Poller& poller_;
  std::mutex mutex_;  // guards what follows
  std::string token_;
  std::set<std::string> known_;
  std::vector<ReplicaReport> reports_;
};

}  // namespace sluice::wire
