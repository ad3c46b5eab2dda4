// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "bench/distribution/shared.h"
#include "bench/made_cluster.h"
#include "tests/unit/kube/api/server.h"

// A false API server that lists a made-up cluster and then lets its pods change
// at the rate that is asked for.
namespace sluice::bench {

enum class Mix : std::uint8_t {
  kLives,   // pods come and go, six events each: two of them matter to others
  kMoves,   // every event gives a pod another address
  kStatus,  // every event changes what no policy asks for
  kStray,   // kLives, of pods that no policy selects
};

struct Phase {
  Mix mix = Mix::kLives;
  double rate = 5000;  // events per second; 0: as many as are taken
  double seconds = 10;
};

struct Sent {
  std::uint64_t events = 0;
  std::uint64_t bytes = 0;
  double seconds = 0;  // that it took
};

class ReplayServer {
 public:
  // `times` outlives the server: when each address was due.
  ReplayServer(const MadeCluster& cluster, const Times& times);

  [[nodiscard]] std::string url() const { return server_.config().server; }
  // Sends the phase's events to whoever watches pods. Blocks.
  Sent run(const Phase& phase);

 private:
  void answer(const kube::test::HttpRequest& request, kube::test::Peer& peer);
  void answer_write(const kube::test::HttpRequest& request,
                    kube::test::Peer& peer);
  [[nodiscard]] std::string list(const std::string& plural) const;
  void watch_pods(kube::test::Peer& peer);
  Sent send(const Phase& phase, kube::test::Peer& peer);
  void end_lives(kube::test::Peer& peer, std::uint64_t slots);
  std::string line(const Phase& phase, std::uint64_t slot, Nanoseconds due);
  std::string line_of_life(const Phase& phase, std::uint64_t slot,
                           Nanoseconds due);
  [[nodiscard]] std::uint32_t address_of(std::uint64_t number) const;

  MadeCluster cluster_;
  const Times* times_;
  std::uint64_t version_ = 1000;
  std::uint64_t phase_number_ = 0;
  std::uint64_t addresses_ = 0;  // handed out by phases before

  std::mutex lock_;
  std::condition_variable changed_;
  std::optional<Phase> wanted_;    // guarded by lock_
  std::optional<Sent> done_;       // guarded by lock_
  std::string lease_;              // guarded by lock_
  kube::test::FakeServer server_;  // last: its threads use the others
};

}  // namespace sluice::bench
