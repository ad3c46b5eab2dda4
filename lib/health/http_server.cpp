// SPDX-License-Identifier: Apache-2.0
#include "lib/health/http_server.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "lib/base/fd.h"
#include "lib/base/ip.h"

namespace sluice::health {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kConnectionsMax = 32;
constexpr std::size_t kRequestMax = 8192;
// From accept() to close().
constexpr milliseconds kLongest{5'000};
// How soon one without an answer is asked about again.
constexpr milliseconds kAgain{20};

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;  // 0: any that is free
};

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return std::nullopt;
  }
  auto host = text.substr(0, colon);
  const auto digits = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.contains(':')) {
    return std::nullopt;
  }
  const auto address = parse_ip(host);
  std::uint16_t port = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (!address || error != std::errc{} ||
      end != digits.data() + digits.size()) {
    return std::nullopt;
  }
  return Endpoint{.address = *address, .port = port};
}

// Of the family that the socket is of.
sockaddr_storage socket_address(const Endpoint& endpoint, bool v6) {
  sockaddr_storage result{};
  const auto& bytes = endpoint.address.bytes;
  if (v6) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(endpoint.port);
    std::memcpy(&address.sin6_addr, bytes.data(), sizeof(address.sin6_addr));
    std::memcpy(&result, &address, sizeof(address));
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(endpoint.port);
    std::memcpy(&address.sin_addr, bytes.data(), sizeof(address.sin_addr));
    std::memcpy(&result, &address, sizeof(address));
  }
  return result;
}

Result<Fd> listen_at(const Endpoint& endpoint) {
  constexpr int kType = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  constexpr int kOn = 1;
  constexpr int kOff = 0;
  const bool everywhere = endpoint.address.bytes == IpAddress{}.bytes;
  Fd listener;
  if (everywhere || endpoint.address.v6) {
    listener = Fd(::socket(AF_INET6, kType, 0));
  }
  const bool v6 = listener.valid();
  if (!v6 && (everywhere || !endpoint.address.v6)) {
    listener = Fd(::socket(AF_INET, kType, 0));
  }
  if (!listener.valid()) {
    return fail_errno("socket");
  }
  const auto address = socket_address(endpoint, v6);
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof(kOn));
  if (v6) {
    ::setsockopt(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, &kOff,
                 sizeof(kOff));
  }
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address),
             v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in)) != 0 ||
      ::listen(listener.get(), static_cast<int>(kConnectionsMax)) != 0) {
    return fail_errno("cannot listen there");
  }
  return listener;
}

const char* phrase_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    default:
      return "Service Unavailable";
  }
}

std::string text_of(const HttpServer::Answer& answer) {
  return "HTTP/1.1 " + std::to_string(answer.status) + " " +
         phrase_of(answer.status) + "\r\nContent-Type: " + answer.type +
         "\r\nContent-Length: " + std::to_string(answer.body.size()) +
         "\r\nConnection: close\r\n\r\n" + answer.body;
}

}  // namespace

struct HttpServer::Impl {
  struct Connection {
    Fd fd;
    Clock::time_point since;
    std::string request;
    std::string path;    // once the request is complete
    std::string answer;  // what is left of it
    Clock::time_point asked;
  };

  Handler handler;
  Fd listener;
  Fd stop;
  int port = 0;
  std::list<Connection> connections;  // the oldest first
  std::thread thread;                 // the rest is its own

  void run();
  void accept_some();
  // False: it is over.
  bool serve(Connection& connection, short events) const;
  static bool receive(Connection& connection);
  static void parse(Connection& connection);
  static bool send(Connection& connection);
};

// Some at a time: each is looked at once at least before newer ones push it
// out.
void HttpServer::Impl::accept_some() {
  for (std::size_t i = 0; i < kConnectionsMax / 2; ++i) {
    Fd fd(::accept4(listener.get(), nullptr, nullptr,
                    SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) {
      if (errno != EAGAIN && errno != ECONNABORTED) {
        std::this_thread::sleep_for(kAgain);  // no more descriptors
      }
      return;
    }
    if (connections.size() == kConnectionsMax) {
      connections.pop_front();
    }
    connections.push_back(
        {.fd = std::move(fd), .since = Clock::now(), .request = {}});
  }
}

// What has come; false if nothing will any more.
bool HttpServer::Impl::receive(Connection& connection) {
  std::array<char, 4096> buffer{};
  const auto got = ::recv(connection.fd.get(), buffer.data(), buffer.size(), 0);
  if (got < 0) {
    return errno == EAGAIN || errno == EINTR;
  }
  connection.request.append(buffer.data(), static_cast<std::size_t>(got));
  return got > 0;
}

// "GET /path?query HTTP/1.1", and headers that mean nothing here.
void HttpServer::Impl::parse(Connection& connection) {
  const std::string_view request = connection.request;
  if (!request.contains("\r\n\r\n")) {
    if (request.size() > kRequestMax) {
      connection.answer = text_of({.status = 400, .body = "too long\n"});
    }
    return;
  }
  const auto line = request.substr(0, request.find("\r\n"));
  const auto method = line.substr(0, line.find(' '));
  const auto rest = line.substr(std::min(method.size() + 1, line.size()));
  const auto target = rest.substr(0, rest.find(' '));
  if (!target.starts_with('/') ||
      !rest.substr(target.size()).starts_with(" HTTP/1.")) {
    connection.answer = text_of({.status = 400, .body = "not HTTP/1.1\n"});
  } else if (method != "GET") {
    connection.answer = text_of({.status = 405, .body = "GET only\n"});
  } else {
    connection.path = target.substr(0, target.find('?'));
    connection.asked = Clock::now();
  }
}

bool HttpServer::Impl::send(Connection& connection) {
  const auto sent = ::send(connection.fd.get(), connection.answer.data(),
                           connection.answer.size(), MSG_NOSIGNAL);
  if (sent < 0) {
    return errno == EAGAIN || errno == EINTR;
  }
  connection.answer.erase(0, static_cast<std::size_t>(sent));
  return !connection.answer.empty();
}

bool HttpServer::Impl::serve(Connection& connection, short events) const {
  if (Clock::now() - connection.since >= kLongest) {
    return false;
  }
  if (connection.answer.empty() && connection.path.empty() && events != 0) {
    if (!receive(connection)) {
      return false;
    }
    parse(connection);
  }
  if (connection.answer.empty() && !connection.path.empty()) {
    if (auto answer = handler(connection.path, connection.asked)) {
      connection.answer = text_of(*answer);
    }
  }
  return connection.answer.empty() || send(connection);
}

void HttpServer::Impl::run() {
  std::vector<pollfd> fds;
  while (true) {
    auto next = Clock::time_point::max();
    fds = {{.fd = stop.get(), .events = POLLIN, .revents = 0},
           {.fd = listener.get(), .events = POLLIN, .revents = 0}};
    for (const auto& connection : connections) {
      // While the handler has no answer there is nothing to wait for here.
      const bool asking = connection.answer.empty() && !connection.path.empty();
      short events = asking ? short{0} : short{POLLIN};
      if (!connection.answer.empty()) {
        events = POLLOUT;
      }
      fds.push_back(
          {.fd = connection.fd.get(), .events = events, .revents = 0});
      next = std::min(
          next, asking ? Clock::now() + kAgain : connection.since + kLongest);
    }
    const auto wait = std::chrono::ceil<milliseconds>(
        std::max(next - Clock::now(), Clock::duration::zero()));
    ::poll(fds.data(), fds.size(),
           connections.empty() ? -1 : static_cast<int>(wait.count()));
    if (fds[0].revents != 0) {
      return;
    }
    std::size_t index = 2;
    for (auto at = connections.begin(); at != connections.end();) {
      const auto events = fds[index++].revents;
      const bool over =
          (events & (POLLERR | POLLHUP | POLLNVAL)) != 0 || !serve(*at, events);
      at = over ? connections.erase(at) : std::next(at);
    }
    if (fds[1].revents != 0) {
      accept_some();
    }
  }
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::HttpServer(HttpServer&&) noexcept = default;

HttpServer& HttpServer::operator=(HttpServer&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}

HttpServer::~HttpServer() {
  if (impl_ && impl_->thread.joinable()) {
    ::eventfd_write(impl_->stop.get(), 1);
    impl_->thread.join();
  }
}

Result<HttpServer> HttpServer::open(const std::string& address,
                                    Handler handler) {
  const auto endpoint = parse_endpoint(address);
  if (!endpoint) {
    return fail(address + ": not an address and a port");
  }
  auto listener = listen_at(*endpoint);
  if (!listener) {
    return with_context(address, listener.error());
  }
  auto impl = std::make_unique<Impl>();
  impl->handler = std::move(handler);
  impl->listener = std::move(*listener);
  impl->stop = Fd(::eventfd(0, EFD_CLOEXEC));
  if (!impl->stop.valid()) {
    return fail_errno("eventfd");
  }
  sockaddr_in6 bound{};  // its port is where sockaddr_in has it
  socklen_t size = sizeof(bound);
  if (::getsockname(impl->listener.get(), reinterpret_cast<sockaddr*>(&bound),
                    &size) != 0) {
    return fail_errno("getsockname");
  }
  impl->port = ntohs(bound.sin6_port);
  impl->thread = std::thread([impl = impl.get()] { impl->run(); });
  return HttpServer(std::move(impl));
}

int HttpServer::port() const {
  return impl_->port;
}

}  // namespace sluice::health
