// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/relay.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include <poll.h>

#include "lib/wire/codec.h"
#include "lib/wire/relay_stream.h"
#include "lib/wire/transport.h"

namespace sluice::wire {
namespace {

constexpr std::size_t kReplicaNameMax = 512;
constexpr std::chrono::milliseconds kEndTime{5'000};
constexpr int kEndTurnMs = 100;
// Patience is measured so often.
constexpr std::chrono::milliseconds kCheckEvery{1'000};

std::string text_of(const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    return "it relays no flows: it may be of an earlier version";
  }
  return status.error_message().empty()
             ? "status " + std::to_string(status.error_code())
             : status.error_message();
}

}  // namespace

struct RelayLinks::Impl {
  struct Peer {
    std::shared_ptr<RelayStream> stream;
    bool to_leader = false;
    bool open = false;  // it has said who it is
    std::string replica;
    Clock::time_point hello_by;
  };

  RelayOptions options;
  Handlers handlers;
  std::shared_ptr<RelayEvents> events;
  std::shared_ptr<RelayAcceptor> acceptor;
  std::map<Link, Peer> peers;
  std::vector<Link> overflowed;
  std::optional<RelayTarget> leader;
  Link upstream = 0;  // the stream to the leader; 0: there is none
  std::set<std::shared_ptr<RelayStream>> opened;  // whose end is not seen yet
  Clock::time_point connect_at = Clock::time_point::max();

  void connect();
  void handle(RelayEvent& event);
  void on_hello(Link link, Peer& peer, const v1::RelayMessage& message);
  void on_message(Link link, Peer& peer, v1::RelayMessage&& message);
  void on_over(Link link, const grpc::Status& status);
  void end(Link link, grpc::StatusCode code, const std::string& why);
  void gone(Link link, const std::string& why);
  void try_again(const std::string& why, std::chrono::milliseconds after);
  [[nodiscard]] std::chrono::milliseconds check_every() const;
  void run_timers();
};

void RelayLinks::Impl::connect() {
  connect_at = Clock::time_point::max();
  const auto stream =
      std::make_shared<OpenedRelay>(events, options.waiting_max);
  upstream = stream->link();
  peers[upstream] = {.stream = stream,
                     .to_leader = true,
                     .open = false,
                     .replica = {},
                     .hello_by = Clock::now() + options.hello_timeout};
  opened.insert(stream);
  stream->start(replica_channel(leader->target, leader->server_name,
                                leader->ca_pem, options.hello_timeout),
                leader->token, options.replica);
}

// It is not known any more, whatever it still says.
void RelayLinks::Impl::gone(Link link, const std::string& why) {
  const auto peer = peers.extract(link);
  if (!peer.empty() && peer.mapped().open) {
    handlers.on_close(link, why);
  }
}

void RelayLinks::Impl::try_again(const std::string& why,
                                 std::chrono::milliseconds after) {
  upstream = 0;
  connect_at = Clock::now() + after;
  handlers.on_problem(why);
}

void RelayLinks::Impl::end(Link link, grpc::StatusCode code,
                           const std::string& why) {
  const auto found = peers.find(link);
  if (found == peers.end()) {
    return;
  }
  found->second.stream->end(grpc::Status(code, why));
  gone(link, why);
  if (link == upstream) {
    try_again(why, options.retry);
  }
}

void RelayLinks::Impl::on_over(Link link, const grpc::Status& status) {
  gone(link, text_of(status));
  if (link == upstream) {
    try_again(text_of(status),
              status.error_code() == grpc::StatusCode::UNIMPLEMENTED
                  ? options.retry_unknown
                  : options.retry);
  }
}

void RelayLinks::Impl::on_hello(Link link, Peer& peer,
                                const v1::RelayMessage& message) {
  const auto& hello = message.hello();
  if (!message.has_hello() || hello.replica().empty() ||
      hello.replica().size() > kReplicaNameMax) {
    end(link, grpc::StatusCode::INVALID_ARGUMENT,
        "the first message is no hello of a replica");
    return;
  }
  if (decode(hello.version()).major != kVersion.major) {
    end(link, grpc::StatusCode::FAILED_PRECONDITION,
        "another major version of the protocol");
    return;
  }
  const auto same = std::ranges::find_if(peers, [&](const auto& item) {
    return item.second.open && item.second.to_leader == peer.to_leader &&
           item.second.replica == hello.replica();
  });
  if (same != peers.end()) {
    end(same->first, grpc::StatusCode::ABORTED,
        "the replica has opened another stream");
  }
  peer.replica = hello.replica();
  peer.open = true;
  if (!peer.to_leader) {
    peer.stream->say_hello(options.replica);
  }
  const auto stream = peer.stream;
  handlers.on_open(link, peer.replica, peer.to_leader);
  stream->read();
}

void RelayLinks::Impl::on_message(Link link, Peer& peer,
                                  v1::RelayMessage&& message) {
  auto decoded = decode(std::move(message));
  if (!decoded) {
    end(link, grpc::StatusCode::INVALID_ARGUMENT, decoded.error().message);
    return;
  }
  const auto stream = peer.stream;
  if (*decoded) {
    if (const auto done = handlers.on_message(link, std::move(**decoded));
        !done) {
      end(link, grpc::StatusCode::INVALID_ARGUMENT, done.error().message);
      return;
    }
  }
  stream->read();
}

void RelayLinks::Impl::handle(RelayEvent& event) {
  const auto link = event.stream->link();
  const auto found = peers.find(link);
  switch (event.kind) {
    case RelayEvent::kAccepted:
      peers[link] = {.stream = event.stream,
                     .to_leader = false,
                     .open = false,
                     .replica = {},
                     .hello_by = Clock::now() + options.hello_timeout};
      return;
    case RelayEvent::kMessage:
      if (found == peers.end()) {
        return;  // ended
      }
      if (found->second.open) {
        on_message(link, found->second, std::move(event.message));
      } else {
        on_hello(link, found->second, event.message);
      }
      return;
    case RelayEvent::kOver:
      opened.erase(event.stream);
      on_over(link, event.status);
      return;
  }
}

std::chrono::milliseconds RelayLinks::Impl::check_every() const {
  constexpr int kPerPatience = 4;
  return std::clamp(
      std::min(options.hello_timeout, options.write_patience) / kPerPatience,
      std::chrono::milliseconds(1), kCheckEvery);
}

void RelayLinks::Impl::run_timers() {
  const auto now = Clock::now();
  std::vector<std::pair<Link, const char*>> late;
  for (const auto& [link, peer] : peers) {
    const auto since = peer.stream->writing_since();
    if (!peer.open && peer.hello_by <= now) {
      late.emplace_back(link, "no hello in time");
    } else if (since < now - options.write_patience) {
      late.emplace_back(link, "the other replica does not read");
    }
  }
  for (const auto link : std::exchange(overflowed, {})) {
    late.emplace_back(link, "too much waits for the other replica");
  }
  for (const auto& [link, why] : late) {
    end(link, grpc::StatusCode::DEADLINE_EXCEEDED, why);
  }
  if (leader && connect_at <= now) {
    connect();
  }
  const auto check_at =
      peers.empty() ? Clock::time_point::max() : now + check_every();
  events->poller().wake_at(std::min(connect_at, check_at));
}

RelayLinks::RelayLinks() : impl_(std::make_unique<Impl>()) {}
RelayLinks::RelayLinks(RelayLinks&&) noexcept = default;
RelayLinks& RelayLinks::operator=(RelayLinks&&) noexcept = default;

RelayLinks::~RelayLinks() {
  if (!impl_) {
    return;
  }
  auto& impl = *impl_;
  for (const auto& [link, peer] : impl.peers) {
    peer.stream->end({grpc::StatusCode::UNAVAILABLE, "the replica ends"});
  }
  impl.peers.clear();
  // Streams that this replica has opened end here; if that takes too long, they
  // are abandoned with their resources.
  const auto& poller = impl.events->poller();
  const auto until = Clock::now() + kEndTime;
  while (!impl.opened.empty() && Clock::now() < until) {
    for (const auto& event : impl.events->take()) {
      if (event.kind == RelayEvent::kOver) {
        impl.opened.erase(event.stream);
      }
    }
    if (!impl.opened.empty()) {
      pollfd fd{.fd = poller.fd(), .events = POLLIN, .revents = 0};
      ::poll(&fd, 1, kEndTurnMs);
      poller.drain();
    }
  }
  // Waiting events refer to streams, and streams to waiting events.
  impl.events->close();
}

Result<RelayLinks> RelayLinks::open(RelayOptions options, Handlers handlers) {
  prepare_grpc();
  auto poller = Poller::open();
  if (!poller) {
    return std::unexpected(poller.error());
  }
  RelayLinks links;
  auto& impl = *links.impl_;
  impl.options = std::move(options);
  impl.handlers = std::move(handlers);
  impl.events = std::make_shared<RelayEvents>(std::move(*poller));
  impl.acceptor = std::make_shared<RelayAcceptor>(
      impl.events, impl.options.accepted_max, impl.options.waiting_max);
  return links;
}

std::shared_ptr<RelayAcceptor> RelayLinks::acceptor() const {
  return impl_->acceptor;
}

int RelayLinks::poll_fd() const {
  return impl_->events->poller().fd();
}

void RelayLinks::dispatch() {
  auto& impl = *impl_;
  impl.events->poller().drain();
  for (auto& event : impl.events->take()) {
    impl.handle(event);
  }
  impl.run_timers();
}

void RelayLinks::set_leader(std::optional<RelayTarget> leader) {
  auto& impl = *impl_;
  const auto before = std::exchange(impl.upstream, 0);
  if (before != 0) {
    impl.end(before, grpc::StatusCode::CANCELLED, "another replica leads");
  }
  impl.leader = std::move(leader);
  impl.connect_at = impl.leader ? Clock::now() : Clock::time_point::max();
  impl.events->poller().notify();  // connects in dispatch()
}

void RelayLinks::end_accepted(const std::string& why) {
  std::vector<Link> accepted;
  for (const auto& [link, peer] : impl_->peers) {
    if (!peer.to_leader) {
      accepted.push_back(link);
    }
  }
  for (const auto link : accepted) {
    impl_->end(link, grpc::StatusCode::ABORTED, why);
  }
}

bool RelayLinks::send(Link link, RelayMessage message) {
  const auto found = impl_->peers.find(link);
  if (found == impl_->peers.end()) {
    return true;
  }
  const auto sent = found->second.stream->send(std::move(message));
  if (sent == RelayStream::Sent::kOverflow) {
    impl_->overflowed.push_back(link);
    impl_->events->poller().notify();
  }
  return sent != RelayStream::Sent::kRefused;
}

}  // namespace sluice::wire
