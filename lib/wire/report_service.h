// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "lib/wire/poller.h"
#include "lib/wire/protocol.h"
#include "wire.grpc.pb.h"

// The receiving end of Replication. Internal to Server.
namespace sluice::wire {

class RelayAcceptor;

struct ReplicaReport {
  std::string replica;
  bool first = false;  // nothing was known of it: what it said before is void
  std::vector<NodeReport> nodes;
};

// gRPC's threads add reports, the owner's thread takes them.
class ReportService : public v1::Replication::CallbackService {
 public:
  // `poller` is notified of new reports, and must outlive the service. `relay`
  // takes the streams; may be null.
  ReportService(const Poller& poller, std::string token,
                std::shared_ptr<RelayAcceptor> relay)
      : poller_(poller), relay_(std::move(relay)), token_(std::move(token)) {}

  grpc::ServerUnaryReactor* Report(grpc::CallbackServerContext* context,
                                   const v1::ReplicaReport* request,
                                   v1::ReplicaReply* reply) override;
  grpc::ServerBidiReactor<v1::RelayMessage, v1::RelayMessage>* Relay(
      grpc::CallbackServerContext* context) override;

  std::vector<ReplicaReport> take();
  // The replica's next report counts as its first one.
  void forget(const std::string& replica);
  void set_token(std::string token);
  // Sets what reporting replicas receive about the node; not set: nothing more.
  void set_found(const std::string& node,
                 const std::optional<std::vector<IpAddress>>& addresses);

 private:
  grpc::Status receive(const grpc::CallbackServerContext& context,
                       const v1::ReplicaReport& request,
                       v1::ReplicaReply& reply);
  // Under the lock.
  void add_found(std::uint64_t seen, v1::ReplicaReply& reply) const;

  // Under the lock.
  [[nodiscard]] bool is_replica(
      const grpc::CallbackServerContext& context) const;

  const Poller& poller_;
  const std::shared_ptr<RelayAcceptor> relay_;
  std::mutex mutex_;  // guards what follows
  std::string token_;
  std::set<std::string> known_;
  std::vector<ReplicaReport> reports_;
  struct Found {
    v1::NodeAddresses addresses;
    std::uint64_t sequence = 0;
  };
  std::map<std::string, Found> found_;
  std::map<std::uint64_t, std::string> found_in_order_;  // by sequence
  std::uint64_t sequence_ = 0;
};

}  // namespace sluice::wire
