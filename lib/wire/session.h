// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "lib/base/rate_limit.h"
#include "lib/wire/backlog.h"
#include "lib/wire/poller.h"
#include "lib/wire/protocol.h"
#include "wire.grpc.pb.h"

// The operator's end, between gRPC's threads and the owner's thread.
namespace sluice::wire {

class Stream;

// Returns the token of the header "authorization: Bearer ..."; empty if there
// is none.
std::string bearer_token(const grpc::CallbackServerContext& context);

struct StreamEvent {
  enum Kind : std::uint8_t { kMessage, kIdentity, kSnapshotSent, kGone };
  Kind kind = kGone;
  std::shared_ptr<Stream> stream;
  v1::FromAgent message;
  bool allowed = false;  // the rest: of an identity
  std::string node;
  std::string error;
};

// Events that gRPC's threads leave for the owner. Bounded: a stream reads its
// next message only when the last one has been handled.
class StreamEvents {
 public:
  explicit StreamEvents(Poller poller) : poller_(std::move(poller)) {}
  void push(StreamEvent event);
  std::deque<StreamEvent> take();
  [[nodiscard]] const Poller& poller() const { return poller_; }

  // Of all streams.
  std::atomic<std::size_t> open{0};
  std::atomic<std::size_t> unknown{0};
  std::atomic<std::uint64_t> messages_sent{0};
  std::atomic<std::uint64_t> bytes_sent{0};
  std::atomic<std::uint64_t> snapshots_sent{0};
  std::atomic<std::uint64_t> transactions_sent{0};
  std::atomic<std::uint64_t> refused{0};

 private:
  Poller poller_;
  std::mutex mutex_;
  std::deque<StreamEvent> events_;
};

// The pending data for one node's agent; outlives its streams. `mutex` guards
// all of it.
struct Outbox {
  Outbox(std::size_t changes_max, std::size_t unacknowledged_max)
      : backlog(changes_max, unacknowledged_max) {}

  std::mutex mutex;
  Backlog backlog;
  OnUnknown on_unknown = OnUnknown::kAgentDefault;
  // The settings must be sent after the data that was pending when they were
  // set.
  bool settings_due = false;
  bool settings_next = false;
  // Of the present stream. They go when no change waits to be sent.
  std::deque<v1::Answer> answers;
  // The same, when no answer waits. At most one of each per request that the
  // owner has open, and one per request that it has cancelled since the stream
  // last took one.
  struct AboutFlows {
    FlowControl control;
    // Set: this request; otherwise `control`. Shared by the nodes that are
    // asked, because it may be large.
    std::shared_ptr<const FlowRequest> request;
  };
  std::deque<AboutFlows> flows;
};

// One agent's stream. Created by gRPC's threads, ended by the owner or the
// agent; keeps itself alive until gRPC is done with it.
class Stream : public grpc::ServerBidiReactor<v1::FromAgent, v1::FromOperator>,
               public std::enable_shared_from_this<Stream> {
 public:
  // `context` is gRPC's and stays until OnDone().
  Stream(std::shared_ptr<StreamEvents> events,
         grpc::CallbackServerContext& context, std::string token,
         std::size_t chunk_bytes);
  // Before anything else, once.
  void start();

  // The owner's thread.
  void read();  // the next message
  void subscribe(std::shared_ptr<Outbox> outbox, v1::Welcome welcome);
  void pump();  // sends what the outbox has; from any thread
  // Ends the stream after a message in flight.
  void end(const grpc::Status& status);
  // Ends the stream without waiting for that message.
  void abort();

  [[nodiscard]] const std::string& peer() const { return peer_; }
  std::string take_token() { return std::exchange(token_, {}); }

  // The owner's notes.
  struct Notes {
    enum State : std::uint8_t { kNew, kAsking, kKnown, kEnded };
    State state = kNew;
    v1::Hello hello;
    std::string node;
    std::string why;                     // it was ended
    std::optional<RateLimit> questions;  // nullopt: none has been asked yet
    // A snapshot is due, but not before the agent has announced its pods.
    bool will_announce = false;
  };
  Notes notes;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  bool choose();
  void write_over();
  void encode();

  const std::shared_ptr<StreamEvents> events_;
  grpc::CallbackServerContext& context_;
  std::string token_;
  const std::string peer_;
  const std::size_t chunk_bytes_;
  std::shared_ptr<Stream> self_;

  std::mutex mutex_;
  bool known_ = false;
  bool writing_ = false;
  bool reading_ = false;
  bool ended_ = false;
  bool done_ = false;
  std::optional<grpc::Status> last_words_;  // once what is written has gone
  std::shared_ptr<Outbox> outbox_;
  std::optional<v1::Welcome> welcome_;
  v1::FromAgent incoming_;
  // Used only by the thread that set `writing_`.
  v1::FromOperator outgoing_;
  std::optional<Encoder> encoder_;
};

// Accepts streams.
class Service : public v1::Distribution::CallbackService {
 public:
  Service(std::shared_ptr<StreamEvents> events, std::size_t streams_max,
          std::size_t unknown_max, std::size_t chunk_bytes)
      : events_(std::move(events)),
        streams_max_(streams_max),
        unknown_max_(unknown_max),
        chunk_bytes_(chunk_bytes) {}

  grpc::ServerBidiReactor<v1::FromAgent, v1::FromOperator>* Subscribe(
      grpc::CallbackServerContext* context) override;
  // Streams that have begun since the last call.
  std::vector<std::shared_ptr<Stream>> take_new();

 private:
  std::shared_ptr<StreamEvents> events_;
  std::size_t streams_max_;
  std::size_t unknown_max_;
  std::size_t chunk_bytes_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Stream>> new_;
};

}  // namespace sluice::wire
