// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "lib/base/result.h"
#include "sluice/abi.h"

namespace sluice::agent {

// Reads flow events from the ring buffer. Used by one thread.
class Flows {
 public:
  using Handler = std::function<void(const sluice_flow_event&)>;

  // `map_fd` is borrowed: it must stay open.
  static Result<Flows> open(int map_fd);
  Flows(Flows&&) noexcept;
  Flows& operator=(Flows&&) noexcept;
  Flows(const Flows&) = delete;
  Flows& operator=(const Flows&) = delete;
  ~Flows();

  // Descriptor to poll for reading; then call dispatch(). Events do not wake
  // poll(), so call dispatch() on a timer as well.
  [[nodiscard]] int fd() const;
  // Called by dispatch() for each event; it must not throw. Without a handler
  // events are read and dropped.
  void on_event(Handler handler);
  // Reads the available events; does not wait.
  void dispatch();

 private:
  Flows();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agent
