// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/poller.h"

#include <algorithm>
#include <cstdint>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

namespace sluice::wire {

Result<Poller> Poller::open() {
  Poller poller;
  poller.epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  poller.event_ = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  poller.timer_ =
      Fd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  for (const auto* fd : {&poller.epoll_, &poller.event_, &poller.timer_}) {
    if (!fd->valid()) {
      return fail_errno("poller");
    }
  }
  for (const auto* fd : {&poller.event_, &poller.timer_}) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (::epoll_ctl(poller.epoll_.get(), EPOLL_CTL_ADD, fd->get(), &event) !=
        0) {
      return fail_errno("poller");
    }
  }
  return poller;
}

void Poller::notify() const {
  const std::uint64_t one = 1;
  // This can fail only if the counter is full, and then the descriptor is
  // readable.
  [[maybe_unused]] const auto ignored =
      ::write(event_.get(), &one, sizeof(one));
}

void Poller::drain() const {
  std::uint64_t count = 0;
  for (const auto* fd : {&event_, &timer_}) {
    [[maybe_unused]] const auto ignored =
        ::read(fd->get(), &count, sizeof(count));
  }
}

void Poller::wake_at(Clock::time_point moment) const {
  itimerspec spec{};
  if (moment != Clock::time_point::max()) {
    // Zero would disarm it.
    const auto left = std::max<std::chrono::nanoseconds>(
        moment - Clock::now(), std::chrono::nanoseconds(1));
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(left);
    spec.it_value.tv_sec = whole.count();
    spec.it_value.tv_nsec = (left - whole).count();
  }
  ::timerfd_settime(timer_.get(), 0, &spec, nullptr);
}

}  // namespace sluice::wire
