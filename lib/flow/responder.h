// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "lib/flow/cursor.h"
#include "lib/flow/store.h"
#include "lib/wire/protocol.h"

namespace sluice::flow {

struct ResponderOptions {
  std::string node;
  std::string version;
  // Requests at a time; others are refused.
  std::size_t requests_max = 64;
};

// Answers the requests of an operator from a store.
//
// Nothing is read from the store before the operator asks for it, so an
// operator that is slow costs no memory: what the store overwrites meanwhile is
// lost to it, and counted. Searching a full store with many filters takes up to
// seconds. Therefore a thread of the responder's own does it: that of the
// program applies policies. It begins with the first request.
//
// May be used from any thread.
class Responder {
 public:
  // Called on the responder's thread, also for a request that is being
  // cancelled. Must not block, or call the responder.
  using Send = std::function<void(wire::FlowBatch batch)>;

  // The store must outlive this object.
  Responder(const Store& store, ResponderOptions options, Send send);
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;
  Responder(Responder&&) = delete;
  Responder& operator=(Responder&&) = delete;
  ~Responder();  // does not answer any more

  void request(wire::FlowRequest request);
  void control(const wire::FlowControl& control);
  // The operator has gone.
  void cancel_all();

 private:
  struct Open {
    wire::FlowRequest request;
    std::optional<FlowCursor> cursor;
    wire::FlowBatch batch;     // the next one, as far as it is complete
    std::size_t bytes = 0;     // of its messages
    std::uint32_t wanted = 1;  // batches
    bool caught_up = false;    // the operator has been told so
    bool waits = false;        // there was nothing to give
  };
  using Requests = std::map<std::uint64_t, std::shared_ptr<Open>>;

  using Clock = std::chrono::steady_clock;

  void run();
  void wait(std::unique_lock<std::mutex>& lock);
  std::optional<wire::FlowBatch> settle(const std::shared_ptr<Open>& open);
  std::shared_ptr<Open> choose();
  bool work(Open& open) const;
  bool open_cursor(Open& open) const;
  bool read_flow(Open& open) const;

  const Store& store_;
  const ResponderOptions options_;
  const std::int64_t started_;  // nanoseconds since 1970
  const Send send_;
  std::mutex mutex_;  // guards what follows, but for the cursors and batches
                      // of requests: they are the thread's
  std::condition_variable changed_;
  Requests requests_;
  std::uint64_t last_ = 0;  // answered, so that all have their turn
  Clock::time_point look_at_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sluice::flow
