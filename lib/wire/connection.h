// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <grpcpp/grpcpp.h>

#include "lib/wire/poller.h"
#include "wire.grpc.pb.h"

// The agent's end, between gRPC's threads and the owner's.
namespace sluice::wire {

class Connection;

struct ConnectionEvent {
  std::uint64_t connection = 0;  // which one
  std::optional<v1::FromOperator> message;
  grpc::Status status;  // why it ended, if there is no message
  // Then also the connection itself: with it goes its channel, which must not
  // end in one of gRPC's own threads, for it waits for them.
  std::shared_ptr<Connection> over;
};

// What gRPC's threads leave for the owner: at most one message and one end of
// each connection.
class ConnectionEvents {
 public:
  explicit ConnectionEvents(Poller poller) : poller_(std::move(poller)) {}
  void push(ConnectionEvent event);
  std::optional<ConnectionEvent> pop();
  [[nodiscard]] const Poller& poller() const { return poller_; }

 private:
  Poller poller_;
  std::mutex mutex_;
  std::deque<ConnectionEvent> events_;
};

// One try to be subscribed. Keeps itself until gRPC is done with it.
class Connection
    : public grpc::ClientBidiReactor<v1::FromAgent, v1::FromOperator>,
      public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ConnectionEvents> events, std::uint64_t number)
      : events_(std::move(events)), number_(number) {}

  // Once. `token` may be empty.
  void start(const std::shared_ptr<grpc::Channel>& channel,
             const std::string& token, v1::Hello hello);
  // The next message; its last one has been taken.
  void read();
  // Replaces what was to be sent and has not been.
  void tell(v1::Progress progress);
  // Replaces what has not been sent of the same pod.
  void announce(v1::PodAddress pod);
  // All that there are, so that what was said before is void. In one message,
  // as far as they fit: a pod that is void for a moment is cut off for it.
  void announce_all(std::map<std::string, v1::PodAddress> pods);
  // Likewise.
  void tell(v1::NodeAddresses addresses);
  // Comes to its end soon, with an event.
  void cancel();

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  void close();
  void write_next();
  void take_pods(v1::PodAddresses& message);

  const std::shared_ptr<ConnectionEvents> events_;
  const std::uint64_t number_;
  grpc::ClientContext context_;
  std::unique_ptr<v1::Distribution::Stub> stub_;
  std::shared_ptr<Connection> self_;

  std::mutex mutex_;
  bool closed_ = false;  // nothing more may be begun
  bool reading_ = false;
  bool writing_ = false;
  v1::FromOperator incoming_;
  v1::FromAgent outgoing_;
  std::optional<v1::Progress> progress_;
  std::map<std::string, v1::PodAddress> pods_;  // by "namespace/name"
  bool pods_begin_ = false;
  std::optional<v1::NodeAddresses> addresses_;
};

}  // namespace sluice::wire
