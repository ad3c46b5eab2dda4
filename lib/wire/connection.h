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
  // The end also carries the connection itself: its channel must not be
  // destroyed in one of gRPC's own threads, because it waits for them.
  std::shared_ptr<Connection> over;
};

// Events that gRPC's threads leave for the owner: at most one message and one
// end per connection.
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

// One attempt to subscribe. Keeps itself alive until gRPC is done with it.
class Connection
    : public grpc::ClientBidiReactor<v1::FromAgent, v1::FromOperator>,
      public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ConnectionEvents> events, std::uint64_t number)
      : events_(std::move(events)), number_(number) {}

  // Once. `token` may be empty.
  void start(const std::shared_ptr<grpc::Channel>& channel,
             const std::string& token, v1::Hello hello);
  // Reads the next message; the last one must have been taken.
  void read();
  // Replaces a pending message.
  void tell(v1::Progress progress);
  // Replaces a pending message about the same pod.
  void announce(v1::PodAddress pod);
  // Sends all announced pods, which makes earlier announcements void. They go
  // in one message as far as they fit, because a pod that is void for a moment
  // is cut off for that time.
  void announce_all(std::map<std::string, v1::PodAddress> pods);
  // Likewise.
  void tell(v1::NodeAddresses addresses);
  // Sends a question, after everything else that waits.
  void ask(v1::Question question);
  // Sends flows, after everything else that waits.
  void give(v1::FlowBatch flows);
  // Ends the connection soon, with an event.
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
  bool closed_ = false;  // no new operations may start
  bool reading_ = false;
  bool writing_ = false;
  v1::FromOperator incoming_;
  v1::FromAgent outgoing_;
  std::optional<v1::Progress> progress_;
  std::map<std::string, v1::PodAddress> pods_;  // by "namespace/name"
  bool pods_begin_ = false;
  std::optional<v1::NodeAddresses> addresses_;
  std::deque<v1::Question> questions_;  // bounded by the owner
  std::deque<v1::FlowBatch> flows_;     // bounded by what is asked for
};

}  // namespace sluice::wire
