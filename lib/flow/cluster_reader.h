// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/base/result.h"
#include "lib/flow/flow_mask.h"
#include "lib/flow/newest.h"
#include "lib/flow/node_news.h"
#include "lib/wire/protocol.h"
#include "observer.pb.h"

namespace sluice::flow {

// What an operator knows of the agent of a node.
enum class NodeState : std::uint8_t {
  kConnected,
  kAway,    // not connected
  kTooOld,  // connected, but gives no flows
  kGone,    // there is no such node any more
};

// Generations grow with every change of any node, and with every connection.
struct NodeView {
  NodeState state = NodeState::kAway;
  std::uint64_t generation = 0;
};

// What is to be sent to the agent of a node.
struct NodeCommand {
  std::string node;
  std::uint64_t id = 0;                              // of the request
  std::shared_ptr<const wire::FlowRequest> request;  // set: this one
  bool cancel = false;  // not set: no more, or one more batch
};

struct ClusterReaderOptions {
  std::string name;  // whose word it is what becomes of nodes
  // Of flows that have come and are not sent yet; each node may have one batch
  // here beyond it.
  std::size_t bytes_max = 16 << 20;
  // The last flows that a request may ask for; see ClusterReader::open().
  std::uint64_t last_max = 10'000;
  // For what is past, the others wait so long for a node.
  std::chrono::milliseconds patience{5'000};
  // What is present waits so long for older flows of other nodes.
  std::chrono::milliseconds hold{300};
};

// Larger requests are refused: every node gets a copy.
inline constexpr std::size_t kClusterRequestBytesMax = 32'768;

// What a request wants of the nodes of a cluster, in the order of time, as a
// FlowCursor gives it of one store. Asks the nodes, and takes their batches.
//
//   past     Every node gives what it has, the oldest flow first; the oldest
//            flow of all goes on when all others have given one or have no
//            more. For the last N flows, the newest N of all are collected
//            first; nodes are asked for few, and only those for N that may have
//            more among the newest.
//   present  Flows go on in the order of time after they have waited for
//            `hold`, so that those of a node that is a little late keep their
//            place.
//
// A node that does not answer in time is left out (past), or waited for no
// longer (present), and the client is told. Times are those of the nodes'
// clocks. Memory is bounded: a node is asked for more when there is room.
//
// Not thread-safe. Needs no I/O; the caller gives the time.
class ClusterReader {
 public:
  using Clock = std::chrono::steady_clock;
  using NextId = std::function<std::uint64_t()>;

  struct Request {
    ::observer::GetFlowsRequest flows;
    // If there are any: only flows with an end in one of them.
    std::vector<std::string> namespaces;
  };

  // Refuses invalid and too large requests. The last N flows (no `first`, no
  // `since`) are at most `last_max`, or all: any N of 2^32 or more. `next_id`
  // gives a new id for each request to a node.
  static Result<ClusterReader> open(
      Request request, const std::map<std::string, NodeView>& nodes,
      NextId next_id, const ClusterReaderOptions& options,
      Clock::time_point now);

  // `batch.id` is that of a command. Others are passed over.
  void on_batch(wire::FlowBatch batch, Clock::time_point now);
  // A view that is older than the last one is passed over. A node that is
  // connected anew is asked anew, if the client follows.
  void on_node(const std::string& node, const NodeView& view,
               Clock::time_point now);
  // A command could not be sent.
  void on_lost(std::uint64_t id);
  // No more is wanted of any node.
  void close();
  // What has to be sent, in this order.
  std::vector<NodeCommand> take_commands();

  enum class Step : std::uint8_t {
    kMessage,  // `response` is the next one
    kWait,     // there is none before the next event or wake_at()
    kEnd,
  };
  Step next(::observer::GetFlowsResponse& response, Clock::time_point now);
  // After kWait.
  [[nodiscard]] Clock::time_point wake_at() const { return wake_at_; }

 private:
  enum class Phase : std::uint8_t {
    kAway,  // nothing is asked of it: it cannot answer
    kPast,
    kPresent,
    kDone,
  };
  struct Item {
    std::int64_t time = 0;
    std::string message;
    Clock::time_point arrived;
  };
  struct Source {
    std::string node;
    NodeView view;
    Phase phase = Phase::kAway;
    std::uint64_t id = 0;  // of the open request; 0: none
    bool asked = false;    // for a batch
    bool starved = false;  // to be asked when there is room
    bool late = false;     // the client has been told
    Clock::time_point asked_at;
    std::deque<Item> items;
    std::int64_t newest = 0;   // time of what it has given
    std::uint64_t given = 0;   // items, for this request
    std::int64_t oldest = 0;   // time of the first one of them
    bool again = false;        // asked for all that it may have
    std::uint64_t number = 0;  // of the next item for newest_
  };
  using Places = std::set<std::pair<std::int64_t, std::size_t>>;

  ClusterReader(Request request, NextId next_id, ClusterReaderOptions options);
  void begin(const std::map<std::string, NodeView>& nodes,
             Clock::time_point now);
  void make_requests(std::size_t nodes);
  [[nodiscard]] std::shared_ptr<const wire::FlowRequest> make_request(
      const ::observer::GetFlowsRequest& flows) const;
  std::size_t add_source(const std::string& node);
  void request(std::size_t place,
               const std::shared_ptr<const wire::FlowRequest>& what,
               Phase phase, Clock::time_point now);
  void ask_more(std::size_t place, Clock::time_point now);
  void ask_starved(Clock::time_point now);
  void finish(std::size_t place, Phase phase);
  void stop(std::size_t place, Phase phase);
  void join(std::size_t place, Clock::time_point now);

  [[nodiscard]] bool is_valid(const Source& source,
                              const wire::FlowBatch& batch) const;
  void take_items(std::size_t place, wire::FlowBatch& batch,
                  Clock::time_point now);
  void collect(std::size_t place, wire::FlowBatch& batch);
  void enqueue(std::size_t place, wire::FlowBatch& batch,
               Clock::time_point now);
  Item pop(std::size_t place, Clock::time_point now);

  void tell(std::size_t place, ::relay::NodeState state,
            const std::string& why = {});
  static bool is_waited_for(const Source& source);
  void count(const Source& source, int sign);
  void set_phase(std::size_t place, Phase phase);
  // True if what is past waits for a node.
  bool waits_for_past(Clock::time_point now);
  void give_up(std::size_t place);
  bool collected(Clock::time_point now);
  bool ask_again(Clock::time_point now);
  std::optional<std::pair<std::size_t, Item>> take_next(Clock::time_point now);
  std::optional<std::pair<std::size_t, Item>> take_present(
      Clock::time_point now);
  [[nodiscard]] bool all_over(Clock::time_point now);
  void drop_items(std::size_t place);
  bool emit(std::size_t place, const std::string& message,
            ::observer::GetFlowsResponse& response);

  Request request_;
  FlowMask mask_;
  NextId next_id_;
  ClusterReaderOptions options_;
  std::int64_t started_ = 0;  // wall clock, ns since 1970
  std::int64_t until_ = 0;    // 0: never
  bool follow_ = false;
  bool bounded_ = false;    // `left_` counts
  std::uint64_t left_ = 0;  // flows that may still be sent
  std::uint32_t batch_bytes_ = 0;
  std::shared_ptr<const wire::FlowRequest> first_;  // to every node
  std::shared_ptr<const wire::FlowRequest> all_;    // to those with more
  std::uint64_t few_ = 0;                           // that first_ asks for

  std::vector<Source> sources_;
  std::unordered_map<std::string, std::size_t> by_node_;
  std::unordered_map<std::uint64_t, std::size_t> by_id_;
  std::optional<Newest> newest_;  // while the last flows are collected
  std::deque<Newest::Item> last_;
  Places heads_;  // time of the first item of each source
  std::set<std::pair<Clock::time_point, std::size_t>> arrivals_;  // likewise
  std::deque<std::size_t> starved_;
  std::size_t bytes_ = 0;  // of items
  std::size_t asked_ = 0;  // batches
  int past_ = 0;           // sources in this phase
  int waiting_ = 0;        // of these, those that have no item here
  NodeNews news_;          // goes first
  std::uint64_t cut_ = 0;  // flows that were too many, to be told
  std::vector<NodeCommand> commands_;
  Clock::time_point wake_at_ = Clock::time_point::max();
  bool ended_ = false;
};

}  // namespace sluice::flow
