// SPDX-License-Identifier: Apache-2.0
#include "lib/base/loop.h"

#include <algorithm>
#include <array>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace sluice {
namespace {

// Marks of our own descriptors among epoll's data; others are
// generation << 32 | descriptor.
constexpr std::uint64_t kTimerMark = 0;
constexpr std::uint64_t kWakeMark = 1;
constexpr std::uint64_t kFirstId = 2;

std::uint64_t mark_of(std::uint64_t generation, int fd) {
  return generation << 32U | static_cast<std::uint32_t>(fd);
}

// Reads a timerfd or eventfd, so that it is not readable any more. There may be
// nothing to read.
void drain(int fd) {
  std::uint64_t count = 0;
  while (::read(fd, &count, sizeof(count)) == -1 && errno == EINTR) {
  }
}

void wake(int fd) {
  const std::uint64_t one = 1;
  while (::write(fd, &one, sizeof(one)) == -1 && errno == EINTR) {
  }
}

bool watch(int epoll, int fd, std::uint64_t mark) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = mark}};
  return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

Timer& Timer::operator=(Timer&& other) noexcept {
  if (this != &other) {
    cancel();
    loop_ = std::exchange(other.loop_, nullptr);
    id_ = other.id_;
  }
  return *this;
}

void Timer::cancel() {
  if (loop_ != nullptr) {
    std::exchange(loop_, nullptr)->cancel(id_);
  }
}

Result<std::unique_ptr<Loop>> Loop::create() {
  std::unique_ptr<Loop> loop(new Loop());
  loop->epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  loop->timer_.reset(
      ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  loop->wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!loop->epoll_.valid() || !loop->timer_.valid() || !loop->wake_.valid()) {
    return fail_errno("event loop");
  }
  if (!watch(loop->epoll_.get(), loop->timer_.get(), kTimerMark) ||
      !watch(loop->epoll_.get(), loop->wake_.get(), kWakeMark)) {
    return fail_errno("event loop: epoll_ctl");
  }
  loop->next_id_ = kFirstId;
  return loop;
}

Loop::~Loop() = default;

Timer Loop::after(Clock::duration delay, Callback callback) {
  return add(delay, Clock::duration::zero(), std::move(callback));
}

Timer Loop::every(Clock::duration interval, Callback callback) {
  return add(interval, interval, std::move(callback));
}

Timer Loop::add(Clock::duration delay, Clock::duration interval,
                Callback callback) {
  const std::uint64_t id = next_id_++;
  const auto when = Clock::now() + std::max(delay, Clock::duration::zero());
  timers_.emplace(id, Pending{.when = when,
                              .interval = interval,
                              .callback = std::move(callback)});
  const auto place = order_.emplace(when, id);
  if (place == order_.begin()) {
    arm();
  }
  return {this, id};
}

void Loop::cancel(std::uint64_t id) {
  const auto found = timers_.find(id);
  if (found == timers_.end()) {
    return;
  }
  leave_order(id, found->second.when);
  // The callback may own the caller, so it is destroyed last.
  const Pending gone = std::move(found->second);
  timers_.erase(found);
}

void Loop::leave_order(std::uint64_t id, Clock::time_point when) {
  const auto [begin, end] = order_.equal_range(when);
  const auto place =
      std::find_if(begin, end, [&](const auto& at) { return at.second == id; });
  if (place != end) {
    order_.erase(place);
  }
}

// Sets the timerfd to the earliest timer. For an overdue timer it uses the
// smallest time, because zero would disable the timerfd.
void Loop::arm() {
  itimerspec spec{};
  if (!order_.empty()) {
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(
        order_.begin()->first - Clock::now());
    const auto ns = std::max<std::int64_t>(left.count(), 1);
    spec.it_value.tv_sec = ns / 1'000'000'000;
    spec.it_value.tv_nsec = ns % 1'000'000'000;
  }
  ::timerfd_settime(timer_.get(), 0, &spec, nullptr);
}

void Loop::defer(Callback callback) {
  deferred_.push_back(std::move(callback));
  if (!deferred_comes_) {
    wake(wake_.get());
  }
}

void Loop::post(Callback callback) {
  {
    const std::lock_guard guard(posted_lock_);
    posted_.push_back(std::move(callback));
  }
  wake(wake_.get());
}

Result<void> Loop::set_fd(int fd, std::uint32_t events, FdCallback callback) {
  const std::uint64_t generation = next_id_++ & 0xffffffffU;
  epoll_event event{.events = events, .data = {.u64 = mark_of(generation, fd)}};
  // A descriptor that was closed without remove() has left the epoll set, and
  // its number may be in use for another one.
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0 &&
      (errno != ENOENT ||
       ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)) {
    return fail_errno("event loop: epoll_ctl");
  }
  watched_[fd] =
      Watched{.generation = generation,
              .callback = std::make_shared<FdCallback>(std::move(callback))};
  return {};
}

void Loop::remove_fd(int fd) {
  if (watched_.erase(fd) != 0) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  }
}

void Loop::run_fds() {
  constexpr int kAtOnce = 64;
  std::array<epoll_event, kAtOnce> ready{};
  const int count = ::epoll_wait(epoll_.get(), ready.data(), kAtOnce, 0);
  for (int i = 0; i < count; ++i) {
    const std::uint64_t mark = ready[i].data.u64;
    if (mark == kTimerMark || mark == kWakeMark) {
      drain(mark == kTimerMark ? timer_.get() : wake_.get());
      continue;
    }
    // An earlier callback may have removed or replaced it.
    const int fd = static_cast<int>(mark & 0xffffffffU);
    const auto found = watched_.find(fd);
    if (found == watched_.end() ||
        mark_of(found->second.generation, fd) != mark) {
      continue;
    }
    const auto callback = found->second.callback;
    (*callback)(ready[i].events);
  }
}

// Calls back the timer that is due, unless an earlier callback has cancelled
// it.
void Loop::call(std::uint64_t id) {
  const auto found = timers_.find(id);
  if (found == timers_.end()) {
    return;
  }
  auto& pending = found->second;
  // The callback may cancel itself, and must exist until it has returned.
  Callback callback = std::exchange(pending.callback, nullptr);
  if (pending.interval == Clock::duration::zero()) {
    cancel(id);
    callback();
    return;
  }
  leave_order(id, pending.when);
  pending.when = Clock::now() + pending.interval;
  order_.emplace(pending.when, id);
  callback();
  if (const auto still = timers_.find(id); still != timers_.end()) {
    still->second.callback = std::move(callback);
  }
}

void Loop::run_timers() {
  // Only timers that are due now: a timer that restarts itself at once must not
  // delay the others.
  const auto now = Clock::now();
  const std::uint64_t before = next_id_;
  std::vector<std::uint64_t> due;
  for (const auto& [when, id] : order_) {
    if (when > now) {
      break;
    }
    due.push_back(id);
  }
  for (const std::uint64_t id : due) {
    if (id < before) {
      call(id);
    }
  }
  arm();
}

void Loop::run_deferred() {
  // Callbacks deferred by a callback run in the next round.
  const std::vector<Callback> callbacks = std::exchange(deferred_, {});
  for (const auto& callback : callbacks) {
    callback();
  }
}

void Loop::run_posted() {
  std::vector<Callback> callbacks;
  {
    const std::lock_guard guard(posted_lock_);
    callbacks.swap(posted_);
  }
  for (const auto& callback : callbacks) {
    callback();
  }
}

void Loop::dispatch() {
  dispatched_at_ = Clock::now();
  deferred_comes_ = true;
  run_fds();
  run_timers();
  run_posted();
  deferred_comes_ = false;
  run_deferred();
}

void Loop::wait(std::chrono::milliseconds timeout) {
  pollfd waiting{.fd = epoll_.get(), .events = POLLIN, .revents = 0};
  // An interruption counts as an event, because the caller checks its signals.
  static_cast<void>(::poll(&waiting, 1, static_cast<int>(timeout.count())));
  dispatch();
}

}  // namespace sluice
