// SPDX-License-Identifier: Apache-2.0
#include "agent/maps.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>

#include <linux/membarrier.h>
#include <bpf/bpf.h>

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/fd.h"

namespace sluice::agent {
namespace {

// The kernel's error (include/linux/errno.h) if a map type has no batch
// operation; it is not in user space's errno.h.
constexpr int kErrnoNotSupported = 524;
// Elements per batch lookup.
constexpr std::uint32_t kReadChunk = 4096;
// A program on this CPU may hold the lock of the hash bucket.
constexpr int kBusyRetries = 1000;

bool is_busy(int error) {
  return error == EBUSY || error == EAGAIN || error == EDEADLK ||
         error == ETIMEDOUT;
}

bool is_unsupported(int error) {
  return error == kErrnoNotSupported || error == EOPNOTSUPP || error == EINVAL;
}

std::uint64_t update_flags(Map map) {
  // Updates in place, so that an element which programs may be reading is not
  // freed.
  return describe(map).locked ? BPF_F_LOCK : BPF_ANY;
}

// Waits for a grace period if membarrier() is not permitted (a seccomp filter)
// or not possible (nohz_full): an update of a map of maps returns only when no
// program can still use the old inner map.
class MapOfMapsBarrier {
 public:
  Result<void> wait() {
    if (!outer_.valid()) {
      inner_.reset(bpf_map_create(BPF_MAP_TYPE_ARRAY, "sluice_grace_in",
                                  sizeof(std::uint32_t), sizeof(std::uint32_t),
                                  1, nullptr));
      if (!inner_.valid()) {
        return fail_errno("grace period: inner map");
      }
      LIBBPF_OPTS(bpf_map_create_opts, options,
                  .inner_map_fd = static_cast<std::uint32_t>(inner_.get()));
      outer_.reset(bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "sluice_grace",
                                  sizeof(std::uint32_t), sizeof(std::uint32_t),
                                  1, &options));
      if (!outer_.valid()) {
        return fail_errno("grace period: outer map");
      }
    }
    const std::uint32_t key = 0;
    const int inner = inner_.get();
    if (bpf_map_update_elem(outer_.get(), &key, &inner, BPF_ANY) != 0) {
      return fail_errno("grace period: update");
    }
    return {};
  }

 private:
  Fd inner_;
  Fd outer_;
};

class KernelMaps final : public Maps {
 public:
  explicit KernelMaps(const Datapath& datapath)
      : state_(datapath.state()), endpoints_(datapath.endpoints()) {
    for (const Map map : all_maps()) {
      fds_[index_of(map)] = datapath.map_fd(map);
      capacities_[index_of(map)] = datapath.capacity(map);
    }
    single_.fill(false);
  }

  Progress update(Map map, const Batch& elements) override {
    return run(map, elements, true);
  }
  Progress erase(Map map, const Batch& keys) override {
    return run(map, keys, false);
  }

  [[nodiscard]] Result<void> read(Map map,
                                  const Visitor& visit) const override {
    auto result = read_map(fd(map), describe(map).key_size,
                           describe(map).value_size, capacity(map), visit);
    if (!result) {
      return with_context("map " + std::string(map_name(map)), result.error());
    }
    return {};
  }
  [[nodiscard]] std::uint32_t capacity(Map map) const override {
    return capacities_[index_of(map)];
  }

  [[nodiscard]] sluice_endpoint endpoint(std::uint32_t index) const override {
    return endpoints_[index];
  }
  void store_policy(std::uint32_t index, unsigned slot,
                    sluice_endpoint_policy policy) override {
    std::uint64_t word = 0;
    static_assert(sizeof(word) == sizeof(policy));
    std::memcpy(&word, &policy, sizeof(word));
    static_assert(offsetof(sluice_endpoint, gen) % sizeof(word) == 0 &&
                  sizeof(sluice_endpoint) % sizeof(word) == 0);
    auto* target =
        reinterpret_cast<std::uint64_t*>(&endpoints_[index].gen[slot]);
    // The struct's own alignment is less, and clang would call libatomic.
    __atomic_store_n(std::assume_aligned<sizeof(word)>(target), word,
                     __ATOMIC_RELEASE);
  }
  void store_facts(std::uint32_t index, const EndpointFacts& facts) override {
    sluice_endpoint& record = endpoints_[index];
    record.ipv4 = facts.ipv4;
    std::ranges::copy(facts.ipv6, record.ipv6);
    record.on_link6 = facts.on_link6;
    record.adopt_until = facts.adopt_until;
  }
  [[nodiscard]] std::uint32_t epoch() const override {
    return __atomic_load_n(&state_->epoch, __ATOMIC_ACQUIRE);
  }
  void store_epoch(std::uint32_t epoch) override {
    __atomic_store_n(&state_->epoch, epoch, __ATOMIC_RELEASE);
  }

  Result<void> grace_period() override {
    if (membarrier_ &&
        syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0) {
      return {};
    }
    membarrier_ = false;
    return barrier_.wait();
  }

 private:
  [[nodiscard]] int fd(Map map) const { return fds_[index_of(map)]; }

  Progress run(Map map, const Batch& elements, bool update) {
    Progress total;
    int busy = 0;
    while (total.done < elements.size()) {
      const auto step = single_[index_of(map)]
                            ? run_single(map, elements, total.done, update)
                            : run_batch(map, elements, total.done, update);
      total.done += step.done;
      if (step.error == 0) {
        continue;
      }
      if (!update && step.error == ENOENT) {
        ++total.done;
      } else if (is_busy(step.error) && ++busy < kBusyRetries) {
        sched_yield();
      } else if (!single_[index_of(map)] && step.done == 0 &&
                 is_unsupported(step.error)) {
        single_[index_of(map)] = true;
      } else {
        total.error = step.error;
        break;
      }
    }
    return total;
  }

  Progress run_batch(Map map, const Batch& elements, std::size_t from,
                     bool update) {
    const std::byte* keys = elements.keys() + (from * describe(map).key_size);
    const auto wanted = static_cast<std::uint32_t>(elements.size() - from);
    std::uint32_t count = wanted;
    int error = 0;
    if (update) {
      LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = update_flags(map));
      error = bpf_map_update_batch(
          fd(map), keys, elements.values() + (from * describe(map).value_size),
          &count, &options);
    } else {
      error = bpf_map_delete_batch(fd(map), keys, &count, nullptr);
    }
    if (error == 0) {
      return {.done = wanted, .error = 0};
    }
    // An error before the first element leaves the count as it was.
    return {.done = count == wanted ? 0 : count, .error = errno};
  }

  Progress run_single(Map map, const Batch& elements, std::size_t from,
                      bool update) {
    const std::byte* key = elements.keys() + (from * describe(map).key_size);
    const int error =
        update ? bpf_map_update_elem(
                     fd(map), key,
                     elements.values() + (from * describe(map).value_size),
                     update_flags(map))
               : bpf_map_delete_elem(fd(map), key);
    if (error == 0) {
      return {.done = 1, .error = 0};
    }
    return {.done = 0, .error = errno};
  }

  std::array<int, kMapCount> fds_{};
  std::array<std::uint32_t, kMapCount> capacities_{};
  std::array<bool, kMapCount> single_{};  // the map type has no batch calls
  sluice_state* state_;
  sluice_endpoint* endpoints_;
  bool membarrier_ = true;
  MapOfMapsBarrier barrier_;
};

// For kernels without batch lookups of the map's type.
Result<void> read_single(int fd, std::size_t key_bytes, std::size_t value_bytes,
                         std::uint64_t limit, const Maps::Visitor& visit) {
  std::vector<std::byte> key(key_bytes);
  std::vector<std::byte> value(value_bytes);
  bool first = true;
  for (std::uint64_t seen = 0; seen < limit; ++seen) {
    if (bpf_map_get_next_key(fd, first ? nullptr : key.data(), key.data()) !=
        0) {
      if (errno == ENOENT) {
        return {};
      }
      return fail_errno("next key");
    }
    first = false;
    if (bpf_map_lookup_elem(fd, key.data(), value.data()) == 0) {
      visit(key.data(), value.data());
    } else if (errno != ENOENT) {
      return fail_errno("lookup");
    }
  }
  return {};
}

}  // namespace

void Batch::drop_front(std::size_t count) {
  count = std::min(count, size_);
  if (count == 0) {
    return;
  }
  const auto bytes = [&](const std::vector<std::byte>& from) {
    return static_cast<std::ptrdiff_t>(from.size() / size_ * count);
  };
  keys_.erase(keys_.begin(), keys_.begin() + bytes(keys_));
  values_.erase(values_.begin(), values_.begin() + bytes(values_));
  size_ -= count;
}

void Batch::keep_front(std::size_t count) {
  if (count >= size_) {
    return;
  }
  keys_.resize(keys_.size() / size_ * count);
  values_.resize(values_.size() / size_ * count);
  size_ = count;
}

Result<std::unique_ptr<Maps>> kernel_maps(const Datapath& datapath) {
  return std::make_unique<KernelMaps>(datapath);
}

Result<void> read_map(int fd, std::size_t key_bytes, std::size_t value_bytes,
                      std::uint32_t capacity, const Maps::Visitor& visit) {
  // A walk restarts if its current element is deleted.
  const std::uint64_t limit = (std::uint64_t{4} * capacity) + kReadChunk;
  std::uint32_t chunk = kReadChunk;
  std::vector<std::byte> keys;
  std::vector<std::byte> values;
  // Token of the kernel: a bucket number or a key.
  std::vector<std::byte> token(std::max<std::size_t>(key_bytes, 8));
  bool first = true;
  for (std::uint64_t seen = 0; seen < limit;) {
    keys.resize(chunk * key_bytes);
    values.resize(chunk * value_bytes);
    std::uint32_t count = chunk;
    const int error =
        bpf_map_lookup_batch(fd, first ? nullptr : token.data(), token.data(),
                             keys.data(), values.data(), &count, nullptr) == 0
            ? 0
            : errno;
    if (error == ENOSPC && chunk < (1U << 24)) {
      chunk *= 2;  // a bucket holds more than that
      continue;
    }
    if (first && is_unsupported(error)) {
      return read_single(fd, key_bytes, value_bytes, limit, visit);
    }
    const bool interrupted = (error == EINTR || error == EAGAIN) && count > 0;
    if (error != 0 && error != ENOENT && !interrupted) {
      return fail_errno("batch lookup", error);
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      visit(keys.data() + (i * key_bytes), values.data() + (i * value_bytes));
    }
    if (error == ENOENT) {
      return {};
    }
    first = false;
    seen += count;
  }
  return {};
}

}  // namespace sluice::agent
