// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace sluice::operatord {

// A thread for what takes long and needs nothing of the loop's: to parse what
// the agents of all nodes have said, and to make one text of it. Any thread may
// call it.
class Worker {
 public:
  using Job = std::function<void()>;

  Worker() : thread_([this] { run(); }) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  Worker(Worker&&) = delete;
  Worker& operator=(Worker&&) = delete;
  // Waits for the job that runs; the others are not done.
  ~Worker();

  // Jobs run one after the other. They must not hold this object.
  void add(Job job);

 private:
  void run();

  std::mutex mutex_;  // guards jobs_ and stopping_
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::thread thread_;  // the last one: it uses the others
};

}  // namespace sluice::operatord
