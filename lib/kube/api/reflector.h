// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/kube/api/client.h"
#include "lib/kube/api/event.h"
#include "lib/kube/api/resource.h"

// Keeps its owner informed about all objects of one resource.
//
//   Reflector reflector(client, pods(), [&](std::vector<Event> events) {...});
//   reflector.start();
//   ... once reflector.synced(), what the events said is what is in the
//   cluster.
//
// It lists in pages and watches from the list's version on. It recovers from
// every failure by itself, with jittered back-off: connections cut anywhere,
// silence, garbage, 410 Gone, 401, 403, a server that restarts, a kind that is
// not installed yet. After a new list it reports only the differences: objects
// deleted meanwhile as kDeleted, unchanged ones not at all. Memory: the
// identity and version of every object, and one object being received.
//
// The handler is called from Loop::dispatch() with the events since the last
// call, in order, never empty. Events of one object are in order; between
// reflectors there is no order.
//
// Belongs to the loop's thread. `client` must outlive it. The handler may
// destroy the reflector.
namespace sluice::kube {

struct ReflectorOptions {
  std::string ns;  // only this namespace; empty = all
  std::string label_selector;
  std::string field_selector;  // "spec.nodeName=n1"
  int page_size = 500;
  std::size_t max_object = std::size_t{8} << 20;  // longer lines are refused
  std::chrono::milliseconds backoff_base{200};
  std::chrono::milliseconds backoff_cap{30'000};
  // A watch that lasted this long resets the back-off.
  std::chrono::milliseconds stable{10'000};
  // Bookmarks come once a minute.
  std::chrono::milliseconds silence{150'000};
  // The duration requested from the server is random between these.
  std::chrono::seconds watch_min{300};
  std::chrono::seconds watch_max{600};
  // How long after the requested end of a watch, or after the request for a
  // page of a list, the connection is closed, even if the server keeps sending.
  std::chrono::milliseconds watch_overdue{30'000};
  std::chrono::milliseconds page_longest{600'000};
  // If a kind is not installed, try again after a random time between these.
  std::chrono::milliseconds absent_poll_min{5'000};
  std::chrono::milliseconds absent_poll_max{10'000};
  // A starting server may not know its custom resources for a moment. How long
  // the server must report a kind as missing before we accept it: while no
  // object is known, and while some are known (which then are kDeleted). At the
  // start, it is accepted at once for a custom resource without a definition.
  std::chrono::milliseconds absent_confirm{2'000};
  std::chrono::milliseconds absent_confirm_known{60'000};
  // Called from Loop::dispatch() after state() or synced() has changed.
  std::function<void()> on_change;
};

struct ReflectorStats {
  std::uint64_t lists = 0;     // begun, the first one included
  std::uint64_t relists = 0;   // begun after a list was complete
  std::uint64_t watches = 0;   // begun
  std::uint64_t failures = 0;  // lists and watches that ended with an error
  std::uint64_t events = 0;    // given to the handler
  std::uint64_t bookmarks = 0;
  std::uint64_t bytes = 0;          // received, decompressed
  std::uint64_t decode_errors = 0;  // kInvalid events
};

class Reflector {
 public:
  enum class State : std::uint8_t {
    kStopped,
    kListing,
    kWatching,
    kWaiting,       // after an error: error() says which
    kNotInstalled,  // the server does not know the kind; asked from time to
                    // time
  };
  using Handler = std::function<void(std::vector<Event>)>;

  // `resource` must outlive the reflector and the events.
  Reflector(Client& client, const Resource& resource, Handler handler,
            ReflectorOptions options = {});
  Reflector(const Reflector&) = delete;
  Reflector& operator=(const Reflector&) = delete;
  Reflector(Reflector&&) = delete;
  Reflector& operator=(Reflector&&) = delete;
  ~Reflector();

  void start();
  // Stops; no more events follow. start() then continues where it stopped.
  void stop();

  [[nodiscard]] State state() const;
  // True once the handler has received a complete list, or the kind is accepted
  // as missing; stays true.
  [[nodiscard]] bool synced() const;
  // The last error; empty after a success.
  [[nodiscard]] const std::string& error() const;
  [[nodiscard]] const ReflectorStats& stats() const;
  [[nodiscard]] const Resource& resource() const;
  // The served version, such as "v1"; the last one tried if none is.
  [[nodiscard]] const std::string& version() const;
  // Objects known now.
  [[nodiscard]] std::size_t size() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // a handler at work keeps it
};

std::string_view to_string(Reflector::State state);

}  // namespace sluice::kube
