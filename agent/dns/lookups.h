// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/dns/message.h"
#include "agent/dns/table.h"
#include "lib/base/ip.h"
#include "lib/dns/name.h"
#include "sluice/abi.h"

namespace sluice::agent {

// An address as a key of the map `learned`, and back.
sluice_learned_key learned_key(const IpAddress& address);
IpAddress address_of(const sluice_learned_key& key);

// What every endpoint has resolved, whether or not its policy has rules for
// names: what a policy that comes later is to know, and what people ask for.
// An element is a name and one of its addresses; it stays after it has expired
// until newer ones need its place. Bounded for each endpoint and altogether; an
// endpoint with many elements makes room first. Pure: no descriptors, no clock
// (times are seconds of CLOCK_MONOTONIC). One thread.
class Lookups {
 public:
  struct Limits {
    std::size_t per_endpoint = 4096;
    std::size_t total = 131072;
    std::uint32_t ttl_min = 0;  // as sluice_state.name_ttl_min
    std::uint32_t grace = 0;    // as sluice_state.name_grace
  };
  struct Learned {
    sluice_learned_key key{};
    sluice_learned value{};
  };
  // For people.
  struct Row {
    std::uint32_t ifindex = 0;
    dns::Name name;
    IpAddress address;
    std::uint32_t heard = 0;    // the time of the last answer
    std::uint32_t expires = 0;  // the last second; it may be over
    std::vector<std::uint32_t> selectors;
    bool operator==(const Row&) const = default;
  };

  explicit Lookups(const Limits& limits) : limits_(limits) {}

  // Who has answered. Selectors with SLUICE_CIDR_NAME_RESOLVERS match only what
  // a resolver has said.
  enum class Source : std::uint8_t {
    kResolver,  // one of the map `resolvers`
    kPolicy,    // another server that a policy allows to be asked
  };
  // Takes over an answer's addresses for each name of its chain that they
  // belong to. An expiry never becomes earlier.
  void add(std::uint32_t ifindex, const Answer& answer, Source source,
           std::uint32_t now);
  // Nothing happens if there is no such endpoint.
  void forget(std::uint32_t ifindex);

  // What the map `learned` of an endpoint is to hold by these selectors: every
  // address with those that match one of its names, and their expiries. What
  // has expired counts for the selectors in `fresh` (sorted) alone, until
  // `revived_until`: a policy that has just come does not cut what was resolved
  // before it. Sorted by address.
  [[nodiscard]] std::vector<Learned> learned(
      std::uint32_t ifindex, const NameTable& table, std::uint32_t now,
      std::span<const std::uint32_t> fresh = {},
      std::uint32_t revived_until = 0) const;

  // The same for the addresses of one answer.
  [[nodiscard]] std::vector<Learned> learned(const Answer& answer,
                                             Source source,
                                             const NameTable& table,
                                             std::uint32_t now) const;

  // How many addresses more than `maximum` the map of an endpoint would have to
  // hold. Takes time only if the endpoint has more elements than that.
  [[nodiscard]] std::size_t beyond(std::uint32_t ifindex, std::size_t maximum,
                                   const NameTable& table,
                                   std::uint32_t now) const;

  // All elements of an endpoint, sorted by name and address.
  [[nodiscard]] std::vector<Row> rows(std::uint32_t ifindex,
                                      const NameTable& table) const;
  // The names of an address, the one heard last first; at most `max`.
  [[nodiscard]] std::vector<dns::Name> names_of(std::uint32_t ifindex,
                                                const IpAddress& address,
                                                std::size_t max) const;
  [[nodiscard]] std::vector<std::uint32_t> endpoints() const;
  [[nodiscard]] std::size_t size() const { return size_; }
  // Elements that have made room before they had expired.
  [[nodiscard]] std::uint64_t pushed_out() const { return pushed_out_; }

 private:
  using Key = std::pair<dns::Name, IpAddress>;
  using Names = std::list<const Key*>;  // of one address; keys of elements
  struct Element {
    std::uint32_t heard = 0;
    std::uint32_t expires = 0;
    std::uint32_t resolver_expires = 0;  // 0: no resolver has said so
    std::list<Key>::iterator place;
    Names::iterator name_place;
  };
  struct Endpoint {
    std::map<Key, Element> elements;
    // In both, the one heard last is the last.
    std::list<Key> order;
    std::unordered_map<IpAddress, Names> names;
  };

  [[nodiscard]] std::uint32_t expiry_of(const AnswerAddress& address,
                                        std::uint32_t now) const;
  // Makes it the one heard last; makes room for it if it is new.
  Element& element_of(Endpoint& endpoint, Key key, std::uint32_t now);
  // Until when it counts for a selector that matches its name; 0: it does not.
  static std::uint32_t expiry_for(std::uint32_t selector,
                                  const Element& element);
  void drop_oldest(Endpoint& endpoint, std::uint32_t now);
  // The one with the most elements; there is one.
  Endpoint& largest();

  Limits limits_;
  std::map<std::uint32_t, Endpoint> endpoints_;
  std::size_t size_ = 0;
  std::uint64_t pushed_out_ = 0;
};

}  // namespace sluice::agent
