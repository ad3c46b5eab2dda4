// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <vector>

#include "agent/dns/lookups.h"
#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace sluice::agent {

// The maps of learned addresses, one for each endpoint whose policy has rules
// for names: the inner maps of the map `learned`. Each is pinned as
// "learned-<ifindex>", so that another process can take it over. One thread.
class LearnedMaps {
 public:
  // `outer_fd`: of the map `learned`, which must stay open. `folder`: of the
  // pins, empty: nothing is pinned. `capacity`: addresses of each new map.
  LearnedMaps(int outer_fd, std::filesystem::path folder,
              std::uint32_t capacity)
      : outer_fd_(outer_fd), folder_(std::move(folder)), capacity_(capacity) {}

  // Takes over the pinned maps.
  Result<void> open();
  // Gives the endpoint a map with these elements. If it has one, they are added
  // to it. On failure the endpoint has no new map, or not all elements.
  Result<void> give(std::uint32_t ifindex,
                    std::span<const Lookups::Learned> elements,
                    std::uint32_t now);
  [[nodiscard]] bool has(std::uint32_t ifindex) const {
    return maps_.contains(ifindex);
  }
  // Takes the endpoint's map away, and what it has learned.
  Result<void> take(std::uint32_t ifindex);
  [[nodiscard]] std::vector<std::uint32_t> all() const;
  // Addresses that a map can hold.
  [[nodiscard]] std::uint32_t capacity() const { return capacity_; }
  // The selectors for which the endpoint has learned the address, and that have
  // not expired.
  [[nodiscard]] std::vector<std::uint32_t> selectors(std::uint32_t ifindex,
                                                     const IpAddress& address,
                                                     std::uint32_t now) const;
  // Number of elements, whether they have expired or not; 0 if it has no map.
  [[nodiscard]] std::size_t size(std::uint32_t ifindex) const;

 private:
  [[nodiscard]] std::filesystem::path pin_of(std::uint32_t ifindex) const;

  int outer_fd_;
  std::filesystem::path folder_;
  std::uint32_t capacity_;
  std::map<std::uint32_t, Fd> maps_;
};

}  // namespace sluice::agent
