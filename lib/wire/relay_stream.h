// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "lib/wire/poller.h"
#include "lib/wire/protocol.h"
#include "wire.grpc.pb.h"

// The ends of a stream Replication.Relay, between gRPC's threads and the
// owner's. Internal to RelayLinks and ReportService.
namespace sluice::wire {

class RelayStream;

struct RelayEvent {
  enum Kind : std::uint8_t { kAccepted, kMessage, kOver };
  Kind kind = kOver;
  std::shared_ptr<RelayStream> stream;
  v1::RelayMessage message;
  grpc::Status status;  // of kOver
};

// Events that gRPC's threads leave for the owner: at most one message per
// stream besides its beginning and its end.
class RelayEvents {
 public:
  explicit RelayEvents(Poller poller) : poller_(std::move(poller)) {}
  void push(RelayEvent event);
  std::deque<RelayEvent> take();
  // Nobody takes events any more.
  void close();
  [[nodiscard]] bool closed();
  [[nodiscard]] const Poller& poller() const { return poller_; }
  std::uint64_t next_link() { return ++links_; }

 private:
  Poller poller_;
  std::atomic<std::uint64_t> links_{0};
  std::mutex mutex_;
  bool closed_ = false;
  std::deque<RelayEvent> events_;
};

// What both ends have in common. Keeps itself alive until gRPC is done with it.
class RelayStream : public std::enable_shared_from_this<RelayStream> {
 public:
  enum class Sent : std::uint8_t {
    kYes,
    kRefused,   // a batch that is too large, or for which there is no room
    kOverflow,  // the other end does not read what it has to
  };

  RelayStream(std::shared_ptr<RelayEvents> events, std::size_t waiting_max)
      : events_(std::move(events)),
        link_(events_->next_link()),
        waiting_max_(waiting_max) {}
  RelayStream(const RelayStream&) = delete;
  RelayStream& operator=(const RelayStream&) = delete;
  RelayStream(RelayStream&&) = delete;
  RelayStream& operator=(RelayStream&&) = delete;
  virtual ~RelayStream() = default;

  [[nodiscard]] std::uint64_t link() const { return link_; }

  // The owner's thread.
  void read();  // the next message
  void say_hello(const std::string& replica);
  Sent send(RelayMessage message);
  // When the message that is on its way was begun; max() if there is none.
  [[nodiscard]] Clock::time_point writing_since();
  virtual void end(const grpc::Status& status) = 0;

 protected:
  // Under the lock.
  virtual void start_read(v1::RelayMessage& message) = 0;
  virtual void start_write(const v1::RelayMessage& message) = 0;
  virtual void write_failed() {}
  void write_next();

  // gRPC's threads.
  void read_done();
  void write_done(bool ok);
  void over(const grpc::Status& status);

  const std::shared_ptr<RelayEvents> events_;
  std::shared_ptr<RelayStream> self_;
  std::mutex mutex_;    // guards what follows
  bool ended_ = false;  // no new operations may start
  bool reading_ = false;
  bool writing_ = false;
  v1::RelayMessage incoming_;
  v1::RelayMessage outgoing_;

 private:
  struct Waiting {
    RelayMessage message;
    std::size_t bytes = 0;
  };

  const std::uint64_t link_;
  const std::size_t waiting_max_;
  Clock::time_point writing_since_ = Clock::time_point::max();
  std::optional<v1::RelayHello> hello_;
  std::deque<Waiting> waiting_;
  std::size_t bytes_ = 0;  // of waiting_
};

// The end that another replica has opened.
class AcceptedRelay
    : public RelayStream,
      public grpc::ServerBidiReactor<v1::RelayMessage, v1::RelayMessage> {
 public:
  AcceptedRelay(std::shared_ptr<RelayEvents> events, std::size_t waiting_max,
                grpc::CallbackServerContext& context,
                std::shared_ptr<std::atomic<std::size_t>> open)
      : RelayStream(std::move(events), waiting_max),
        context_(context),
        open_(std::move(open)) {}
  void start();
  void end(const grpc::Status& status) override;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void start_read(v1::RelayMessage& message) override { StartRead(&message); }
  void start_write(const v1::RelayMessage& message) override {
    StartWrite(&message);
  }

  grpc::CallbackServerContext& context_;  // gRPC's; stays until OnDone()
  const std::shared_ptr<std::atomic<std::size_t>> open_;
  std::optional<grpc::Status> last_words_;  // once what is written has gone
};

// The end that this replica has opened.
class OpenedRelay
    : public RelayStream,
      public grpc::ClientBidiReactor<v1::RelayMessage, v1::RelayMessage> {
 public:
  using RelayStream::RelayStream;
  // Once. `channel` must not be destroyed in one of gRPC's threads; the event
  // of the end brings it back.
  void start(const std::shared_ptr<grpc::Channel>& channel,
             const std::string& token, const std::string& replica);
  // `status` is not told to the other end.
  void end(const grpc::Status& status) override;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  void start_read(v1::RelayMessage& message) override { StartRead(&message); }
  void start_write(const v1::RelayMessage& message) override {
    StartWrite(&message);
  }
  void close();

  grpc::ClientContext context_;
  std::unique_ptr<v1::Replication::Stub> stub_;
};

// Takes streams in gRPC's threads. Their tokens have been checked.
class RelayAcceptor {
 public:
  RelayAcceptor(std::shared_ptr<RelayEvents> events, std::size_t accepted_max,
                std::size_t waiting_max)
      : events_(std::move(events)),
        accepted_max_(accepted_max),
        waiting_max_(waiting_max) {}

  grpc::ServerBidiReactor<v1::RelayMessage, v1::RelayMessage>* accept(
      grpc::CallbackServerContext& context);
  // A stream that ends without being read.
  static grpc::ServerBidiReactor<v1::RelayMessage, v1::RelayMessage>* refuse(
      const grpc::Status& status);

 private:
  const std::shared_ptr<RelayEvents> events_;
  const std::size_t accepted_max_;
  const std::size_t waiting_max_;
  const std::shared_ptr<std::atomic<std::size_t>> open_ =
      std::make_shared<std::atomic<std::size_t>>(0);
};

}  // namespace sluice::wire
