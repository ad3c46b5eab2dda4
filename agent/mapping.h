// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/result.h"

namespace sluice::agent {

// A BPF array of `T` mapped into memory; unmapped by the destructor. The map
// outlives its file descriptor while it is mapped.
template <typename T>
class Mapping {
 public:
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  Mapping(Mapping&&) = delete;
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (memory_ != nullptr) {
      ::munmap(memory_, bytes_);
    }
  }
  Result<void> map(int fd, std::size_t count, std::string_view name) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    bytes_ = (count * sizeof(T) + page - 1) / page * page;
    void* memory =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
      return fail_errno("mapping " + std::string(name));
    }
    memory_ = memory;
    return {};
  }
  [[nodiscard]] T* get() const { return static_cast<T*>(memory_); }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace sluice::agent
