// SPDX-License-Identifier: Apache-2.0
#include "agent/node/server.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "agent/node/files.h"
#include "lib/base/fd.h"

namespace sluice::node {
namespace {

constexpr std::size_t kRequestBytesMax = 64UL * 1024;
// A reply is produced up to this far ahead of its reader; an event beyond it
// is lost.
constexpr std::size_t kBufferBytesMax = 1024UL * 1024;
constexpr std::size_t kReplyAheadBytes = 64UL * 1024;
constexpr std::size_t kClientsMax = 64;
// Additional clients that wait for a deferred reply. As many as a node can have
// pods.
constexpr std::size_t kWaitingMax = 512;
constexpr auto kIdleMax = std::chrono::seconds(15);
// Lines that one client may send or receive in one turn, so that all clients
// get a turn.
constexpr int kLinesPerTurn = 64;

using Clock = std::chrono::steady_clock;

struct Client {
  Fd fd;
  std::string request;
  std::string out;
  std::size_t sent = 0;  // of `out`
  Reply reply;
  bool asked = false;
  bool subscribed = false;
  bool drops_only = false;
  bool finished = false;  // nothing more will be added to `out`
  std::uint64_t lost = 0;
  std::uint64_t ticket = 0;
  std::uint32_t polled = 0;
  Clock::time_point active = Clock::now();

  [[nodiscard]] std::size_t unsent() const { return out.size() - sent; }
};

}  // namespace

Reply reply_line(std::string line) {
  return [line = std::optional(std::move(line))]() mutable {
    return std::exchange(line, std::nullopt);
  };
}

struct Server::Impl {
  std::filesystem::path path;
  Handler handler;
  Fd listener;
  Fd epoll;
  std::unordered_map<int, Client> clients;
  std::size_t subscribers = 0;
  std::size_t waiting = 0;

  void accept_all();
  bool receive(Client& client);
  void ask(Client& client);
  static void fill(Client& client);
  static bool flush(Client& client);
  static void add_lost(Client& client);
  void watch(Client& client) const;
  void drop(int fd);
  bool serve(Client& client, std::uint32_t events);
};

void Server::Impl::drop(int fd) {
  const auto found = clients.find(fd);
  if (found != clients.end()) {
    subscribers -= found->second.subscribed ? 1 : 0;
    waiting -= found->second.ticket != 0 ? 1 : 0;
    clients.erase(found);  // closing takes it out of epoll
  }
}

void Server::Impl::accept_all() {
  for (std::size_t i = 0; i < kClientsMax; ++i) {
    Fd fd(::accept4(listener.get(), nullptr, nullptr,
                    SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) {
      return;
    }
    if (clients.size() - waiting >= kClientsMax) {
      continue;  // closes it
    }
    const int number = fd.get();
    Client client;
    client.fd = std::move(fd);
    client.polled = EPOLLIN;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = number;
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, number, &event) == 0) {
      clients.emplace(number, std::move(client));
    }
  }
}

// False if the client must be disconnected.
bool Server::Impl::receive(Client& client) {
  std::array<char, 4096> buffer{};
  const auto got = ::recv(client.fd.get(), buffer.data(), buffer.size(), 0);
  if (got < 0) {
    return errno == EAGAIN || errno == EINTR;
  }
  if (got == 0) {
    // A half-closed client may still read its reply.
    return client.asked && !client.subscribed && client.unsent() > 0;
  }
  if (client.asked) {
    return true;  // data after the request is ignored
  }
  client.active = Clock::now();
  client.request.append(buffer.data(), static_cast<std::size_t>(got));
  const auto end = client.request.find('\n');
  if (end == std::string::npos) {
    return client.request.size() <= kRequestBytesMax;
  }
  client.request.resize(end);
  ask(client);
  return true;
}

void Server::Impl::ask(Client& client) {
  client.asked = true;
  auto answer = handler(client.request);
  client.request = {};
  if (answer.ticket != 0) {
    client.ticket = answer.ticket;
    ++waiting;
    return;
  }
  if (answer.reply) {
    client.reply = std::move(answer.reply);
    return;
  }
  client.subscribed = true;
  client.drops_only = answer.drops_only;
  ++subscribers;
}

void Server::Impl::fill(Client& client) {
  for (int i = 0; client.reply && i < kLinesPerTurn; ++i) {
    if (client.unsent() >= kReplyAheadBytes) {
      return;
    }
    auto line = client.reply();
    if (!line) {
      client.reply = {};
      client.finished = true;
      return;
    }
    client.out += *line;
    client.out += '\n';
  }
}

void Server::Impl::add_lost(Client& client) {
  if (client.lost > 0 && client.unsent() < kBufferBytesMax / 2) {
    client.out += "{\"lost\":" + std::to_string(client.lost) + "}\n";
    client.lost = 0;
  }
}

// False if the client has disconnected.
bool Server::Impl::flush(Client& client) {
  while (client.unsent() > 0) {
    const auto sent = ::send(client.fd.get(), client.out.data() + client.sent,
                             client.unsent(), MSG_NOSIGNAL);
    if (sent < 0) {
      return errno == EAGAIN || errno == EINTR;
    }
    client.sent += static_cast<std::size_t>(sent);
    client.active = Clock::now();
    if (client.sent == client.out.size()) {
      client.out.clear();
      client.sent = 0;
    } else if (client.sent > kBufferBytesMax / 2) {
      client.out.erase(0, client.sent);
      client.sent = 0;
    }
  }
  return true;
}

void Server::Impl::watch(Client& client) const {
  std::uint32_t wanted = 0;
  if (!client.asked || client.subscribed) {
    wanted |= EPOLLIN;
  }
  if (client.unsent() > 0 || client.reply) {
    wanted |= EPOLLOUT;
  }
  if (wanted == client.polled) {
    return;
  }
  epoll_event event{};
  event.events = wanted;
  event.data.fd = client.fd.get();
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_MOD, client.fd.get(), &event) == 0) {
    client.polled = wanted;
  }
}

// False if the client must be disconnected.
bool Server::Impl::serve(Client& client, std::uint32_t events) {
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    return false;
  }
  if ((events & EPOLLIN) != 0 && !receive(client)) {
    return false;
  }
  fill(client);
  add_lost(client);
  if (!flush(client)) {
    return false;
  }
  if (client.finished && client.unsent() == 0) {
    return false;
  }
  watch(client);
  return true;
}

Server::Server() : impl_(std::make_unique<Impl>()) {}
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&&) noexcept = default;

Server::~Server() {
  if (impl_ && impl_->listener.valid()) {
    ::unlink(impl_->path.c_str());
  }
}

Result<Server> Server::open(const std::filesystem::path& path,
                            Handler handler) {
  auto address = socket_address(path);
  if (!address) {
    return std::unexpected(address.error());
  }
  std::error_code error;
  if (path.has_parent_path() &&
      !std::filesystem::exists(path.parent_path(), error)) {
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) {
      return fail_errno(path.parent_path().string(), error.value());
    }
  }
  Server server;
  auto& impl = *server.impl_;
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  // The caller holds the lock of this path, so an existing socket is stale.
  if (std::filesystem::is_socket(path, error)) {
    ::unlink(path.c_str());
  }
  // For a socket without a name, fchmod() sets the mode of the file that bind()
  // creates.
  if (!listener.valid() || ::fchmod(listener.get(), 0600) != 0 ||
      ::bind(listener.get(), reinterpret_cast<sockaddr*>(&*address),
             sizeof(*address)) != 0) {
    return fail_errno(path.string());
  }
  impl.path = path;
  impl.listener = std::move(listener);
  impl.handler = std::move(handler);
  if (::chmod(path.c_str(), 0600) != 0 ||
      ::listen(impl.listener.get(), static_cast<int>(kClientsMax)) != 0) {
    return fail_errno(path.string());
  }
  impl.epoll = Fd(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = impl.listener.get();
  if (!impl.epoll.valid() || ::epoll_ctl(impl.epoll.get(), EPOLL_CTL_ADD,
                                         impl.listener.get(), &event) != 0) {
    return fail_errno("epoll");
  }
  return server;
}

int Server::poll_fd() const {
  return impl_->epoll.get();
}

void Server::dispatch() {
  std::array<epoll_event, kClientsMax + 1> events{};
  const int count = ::epoll_wait(impl_->epoll.get(), events.data(),
                                 static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    if (event.data.fd == impl_->listener.get()) {
      impl_->accept_all();
      continue;
    }
    const auto found = impl_->clients.find(event.data.fd);
    if (found != impl_->clients.end() &&
        !impl_->serve(found->second, event.events)) {
      impl_->drop(event.data.fd);
    }
  }
}

void Server::expire(Clock::time_point now) {
  std::vector<int> expired;
  for (const auto& [fd, client] : impl_->clients) {
    const bool waits_for_nothing = client.subscribed && client.unsent() == 0;
    if (!waits_for_nothing && !client.subscribed && client.ticket == 0 &&
        now - client.active > kIdleMax) {
      expired.push_back(fd);
    }
  }
  for (const int fd : expired) {
    impl_->drop(fd);
  }
}

bool Server::answer(std::uint64_t ticket, Reply reply) {
  auto& impl = *impl_;
  const auto found = std::ranges::find_if(impl.clients, [&](const auto& item) {
    return item.second.ticket == ticket;
  });
  if (found == impl.clients.end()) {
    return false;
  }
  auto& client = found->second;
  client.ticket = 0;
  --impl.waiting;
  client.active = Clock::now();
  client.reply = std::move(reply);
  if (!impl.serve(client, 0)) {
    impl.drop(found->first);
  }
  return true;
}

bool Server::can_wait() const {
  return impl_->waiting < kWaitingMax;
}

bool Server::has_subscribers() const {
  return impl_->subscribers > 0;
}

void Server::publish(const std::string& line, bool is_drop) {
  std::vector<int> gone;
  for (auto& [fd, client] : impl_->clients) {
    if (!client.subscribed || (client.drops_only && !is_drop)) {
      continue;
    }
    Impl::add_lost(client);
    if (client.lost > 0 || client.unsent() + line.size() > kBufferBytesMax) {
      ++client.lost;
    } else {
      client.out += line;
      client.out += '\n';
    }
    if (Impl::flush(client)) {
      impl_->watch(client);
    } else {
      gone.push_back(fd);
    }
  }
  for (const int fd : gone) {
    impl_->drop(fd);
  }
}

}  // namespace sluice::node
