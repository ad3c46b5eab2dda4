// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "agent/datapath.h"
#include "agent/map_table.h"
#include "lib/base/result.h"
#include "sluice/abi.h"

namespace sluice::agent {

using EndpointAddress6 = std::array<std::uint8_t, 16>;

// The fields of an endpoint's record besides its policy; the same in both
// generations.
struct EndpointFacts {
  __be32 ipv4 = 0;
  EndpointAddress6 ipv6{};
  std::uint8_t on_link6 = 0;      // see sluice_endpoint
  std::uint32_t adopt_until = 0;  // jiffies; 0 = never
};

// Keys, or keys with values, of one map, packed as the kernel's batch calls
// expect them.
class Batch {
 public:
  template <typename Key>
  void push(const Key& key) {
    append(keys_, &key, sizeof(key));
    ++size_;
  }
  template <typename Key, typename Value>
  void push(const Key& key, const Value& value) {
    push(key);
    append(values_, &value, sizeof(value));
  }
  void push_raw(const std::byte* key, std::size_t key_bytes,
                const std::byte* value, std::size_t value_bytes) {
    append(keys_, key, key_bytes);
    append(values_, value, value_bytes);
    ++size_;
  }
  // Drops the first `count` elements.
  void drop_front(std::size_t count);
  // Drops all but the first `count` elements.
  void keep_front(std::size_t count);

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] const std::byte* keys() const { return keys_.data(); }
  [[nodiscard]] const std::byte* values() const { return values_.data(); }

 private:
  static void append(std::vector<std::byte>& to, const void* from,
                     std::size_t bytes) {
    const std::size_t end = to.size();
    to.resize(end + bytes);
    std::memcpy(to.data() + end, from, bytes);
  }

  std::vector<std::byte> keys_;
  std::vector<std::byte> values_;
  std::size_t size_ = 0;
};

// The writes that the applier needs, and no others. An interface, so that tests
// can observe them and make them fail. Every call has completed when it
// returns.
class Maps {
 public:
  Maps() = default;
  Maps(const Maps&) = delete;
  Maps& operator=(const Maps&) = delete;
  Maps(Maps&&) = delete;
  Maps& operator=(Maps&&) = delete;
  virtual ~Maps() = default;

  // The number of elements written, in order; `error` (errno) is set if these
  // are not all.
  struct Progress {
    std::size_t done = 0;
    int error = 0;
  };
  // Inserts or replaces.
  virtual Progress update(Map map, const Batch& elements) = 0;
  // Absent elements count as erased.
  virtual Progress erase(Map map, const Batch& keys) = 0;

  using Visitor =
      std::function<void(const std::byte* key, const std::byte* value)>;
  [[nodiscard]] virtual Result<void> read(Map map,
                                          const Visitor& visit) const = 0;
  // The number of elements with which update() of existing elements still
  // works.
  [[nodiscard]] virtual std::uint32_t capacity(Map map) const = 0;

  // Endpoint records and the epoch live in mapped memory: stores cannot fail.
  [[nodiscard]] virtual sluice_endpoint endpoint(std::uint32_t index) const = 0;
  // One store of eight bytes.
  virtual void store_policy(std::uint32_t index, unsigned slot,
                            sluice_endpoint_policy policy) = 0;
  // Not atomic: packets may see a mixture of the old and the new address.
  virtual void store_facts(std::uint32_t index, const EndpointFacts& facts) = 0;
  [[nodiscard]] virtual std::uint32_t epoch() const = 0;
  // One store; a reader that sees it also sees everything written before.
  virtual void store_epoch(std::uint32_t epoch) = 0;

  // Returns when every program run that had begun before the call has ended.
  virtual Result<void> grace_period() = 0;
};

// The maps of `datapath`, which must outlive the result (it may be moved).
Result<std::unique_ptr<Maps>> kernel_maps(const Datapath& datapath);

// Visits every element of a map; elements that come and go meanwhile may be
// missed or visited twice. Ends even while the map changes.
Result<void> read_map(int fd, std::size_t key_bytes, std::size_t value_bytes,
                      std::uint32_t capacity, const Maps::Visitor& visit);

}  // namespace sluice::agent
