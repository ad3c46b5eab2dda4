// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"

// An event loop: descriptors, timers and work from other
// threads behind one descriptor.
//
//   auto loop = Loop::create();            // Result<std::unique_ptr<Loop>>
//   ... add (*loop)->poll_fd() to a poll set of your own and call dispatch()
//       whenever it is readable; or, if this is the program's only loop:
//   while (running) { (*loop)->wait(std::chrono::seconds(1)); }
//
// Everything but post() belongs to the one thread that dispatches. No thread of
// its own. Callbacks may use the loop freely, and may destroy the timer or
// watch that called them; they must not throw and must not call dispatch().
namespace sluice {

class Loop;

// A pending callback, or a repeated one; destroying it cancels the callback.
class [[nodiscard]] Timer {
 public:
  Timer() = default;
  Timer(Timer&& other) noexcept
      : loop_(std::exchange(other.loop_, nullptr)), id_(other.id_) {}
  Timer& operator=(Timer&& other) noexcept;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { cancel(); }
  // Does nothing if a callback for once has run, or was cancelled.
  void cancel();

 private:
  friend class Loop;
  Timer(Loop* loop, std::uint64_t id) : loop_(loop), id_(id) {}
  Loop* loop_ = nullptr;
  std::uint64_t id_ = 0;
};

class Loop {
 public:
  using Clock = std::chrono::steady_clock;
  using Callback = std::function<void()>;
  using FdCallback = std::function<void(std::uint32_t epoll_events)>;

  // Fails if the kernel gives no descriptors.
  static Result<std::unique_ptr<Loop>> create();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  Loop(Loop&&) = delete;
  Loop& operator=(Loop&&) = delete;
  // Timers, clients and reflectors made with it must have been destroyed
  // before.
  ~Loop();

  // Readable whenever dispatch() has work.
  [[nodiscard]] int poll_fd() const { return epoll_.get(); }
  // Does the work that is due; never blocks, and returns after a bounded amount
  // of work even if more is ready (poll_fd() stays readable then).
  void dispatch();
  // Waits until work is due, at most `timeout`, and dispatches.
  void wait(std::chrono::milliseconds timeout);

  // When the last dispatch() began.
  [[nodiscard]] Clock::time_point dispatched_at() const {
    return dispatched_at_;
  }

  // Calls `callback` once, not before `delay` has passed.
  Timer after(Clock::duration delay, Callback callback);
  // Calls `callback` again and again, the next time not before `interval` has
  // passed since the last call began. Calls that the loop was too late for are
  // not made up for. `interval` is more than 0.
  Timer every(Clock::duration interval, Callback callback);
  // Calls `callback` once at the end of this dispatch(), or of the next one.
  void defer(Callback callback);
  // The same from any thread. Pending posts are dropped when the loop is
  // destroyed.
  void post(Callback callback);

  // Calls `callback` while `events` (EPOLLIN, EPOLLOUT) hold for `fd`. Replaces
  // an earlier request for that descriptor. `fd` stays the caller's; call
  // remove_fd() before closing it.
  Result<void> set_fd(int fd, std::uint32_t events, FdCallback callback);
  void remove_fd(int fd);

 private:
  friend class Timer;
  struct Pending {
    Clock::time_point when;
    Clock::duration interval;  // 0: once
    Callback callback;
  };
  struct Watched {
    std::uint64_t generation = 0;
    std::shared_ptr<FdCallback> callback;
  };

  Loop() = default;
  Timer add(Clock::duration delay, Clock::duration interval, Callback callback);
  void cancel(std::uint64_t id);
  void leave_order(std::uint64_t id, Clock::time_point when);
  void arm();
  void call(std::uint64_t id);
  void run_timers();
  void run_deferred();
  void run_posted();
  void run_fds();

  Fd epoll_;
  Fd timer_;
  Fd wake_;
  std::unordered_map<int, Watched> watched_;
  std::unordered_map<std::uint64_t, Pending> timers_;
  std::multimap<Clock::time_point, std::uint64_t> order_;
  std::vector<Callback> deferred_;
  bool deferred_comes_ = false;  // this dispatch() will still run them
  std::mutex posted_lock_;       // guards posted_ and nothing else
  std::vector<Callback> posted_;
  std::uint64_t next_id_ = 1;
  Clock::time_point dispatched_at_;
};

}  // namespace sluice
