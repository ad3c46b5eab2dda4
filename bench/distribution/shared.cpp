// SPDX-License-Identifier: Apache-2.0
#include "bench/distribution/shared.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace sluice::bench {
namespace {

constexpr std::size_t kTableBytes =
    sizeof(std::atomic<Nanoseconds>) * std::size_t{kAddresses};

}  // namespace

Times::Times(Fd fd) : fd_(std::move(fd)) {
  void* mapped = ::mmap(nullptr, kTableBytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED, fd_.get(), 0);
  if (mapped == MAP_FAILED) {
    std::abort();
  }
  table_ = static_cast<std::atomic<Nanoseconds>*>(mapped);
}

Times Times::create() {
  Fd fd(::memfd_create("times", 0));
  if (!fd.valid() || ::ftruncate(fd.get(), kTableBytes) != 0) {
    std::abort();
  }
  return Times(std::move(fd));
}

Times Times::open(int fd) {
  return Times(Fd(fd));
}

Times::Times(Times&& other) noexcept
    : fd_(std::move(other.fd_)), table_(std::exchange(other.table_, nullptr)) {}

Times& Times::operator=(Times&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(table_, other.table_);
  return *this;
}

Times::~Times() {
  if (table_ != nullptr) {
    ::munmap(table_, kTableBytes);
  }
}

double Samples::percentile(double p) {
  if (values_.empty()) {
    return 0;
  }
  const auto at =
      values_.begin() +
      static_cast<std::ptrdiff_t>(p * static_cast<double>(values_.size() - 1));
  std::nth_element(values_.begin(), at, values_.end());
  return *at / 1000.0;
}

void prepare_process(int cpu) {
  // Root may have more than its limit, and each agent takes five.
  rlimit limit{.rlim_cur = 200'000, .rlim_max = 200'000};
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(cpu), &set);
    ::sched_setaffinity(0, sizeof(set), &set);
  }
}

}  // namespace sluice::bench
