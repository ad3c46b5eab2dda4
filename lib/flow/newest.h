// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace sluice::flow {

// The newest `count` of the flows of many nodes. Internal to ClusterReader.
class Newest {
 public:
  struct Item {
    std::int64_t time = 0;
    std::size_t node = 0;      // which one
    std::uint64_t number = 0;  // of the node's: in the order in which it gave
    std::string message;

    bool operator<(const Item& other) const {
      return std::tie(time, node, number) <
             std::tie(other.time, other.node, other.number);
    }
  };

  // More bytes than `bytes_max` are not kept either.
  Newest(std::size_t count, std::size_t bytes_max)
      : wanted_(count), count_(count), bytes_max_(bytes_max) {}

  void add(Item item);
  // Forgets what the node has given.
  void remove(std::size_t node);
  // False if every item that is older than oldest() is one too many.
  [[nodiscard]] bool has_room() const { return heap_.size() < count_; }
  // Of all that is here; there must be one.
  [[nodiscard]] std::int64_t oldest() const { return heap_.front().time; }
  // How many more there would be without the limit of bytes.
  [[nodiscard]] std::uint64_t cut() const;
  // All, in the order of time. Nothing is left.
  std::vector<Item> take();

 private:
  void remove_oldest();

  std::size_t wanted_;
  std::size_t count_;  // less than wanted, if there are too many bytes
  std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  std::size_t seen_ = 0;
  std::unordered_map<std::size_t, std::size_t> seen_of_;  // each node's
  std::vector<Item> heap_;  // the oldest is in front
};

}  // namespace sluice::flow
