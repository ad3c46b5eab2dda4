// SPDX-License-Identifier: Apache-2.0
// What the lab's pods are: servers and clients of the simplest kind.
//
// peer serve PORT...
//   Sends back what comes, TCP and UDP, both families; answers GET by 200.
//
// peer check PORT
//   Ends with status 0 if a server of this pod answers on the port.
//
// peer dial ADDRESS PORT MS WAIT
//   From its first instruction on, connects every 2 ms for MS milliseconds,
//   and waits WAIT of them for each connection. Says how many connections were
//   made, how many were not, and whether the first was.

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr std::string_view kHttpAnswer =
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
constexpr std::size_t kLargestMessage = 4096;

int parse_number(const char* text) {
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (end == text || *end != '\0' || value < 0 || value > 3'600'000) {
    std::fprintf(stderr, "peer: %s is not a number\n", text);
    std::exit(2);
  }
  return static_cast<int>(value);
}

sockaddr_in6 any_address(int port) {
  sockaddr_in6 address = {};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(static_cast<in_port_t>(port));
  return address;
}

const sockaddr* generic(const sockaddr_in6& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// A socket that listens on every address of both families; ends the program if
// there can be none.
int listen_on(int port, int kind) {
  const int made = socket(AF_INET6, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int yes = 1;
  const int no = 0;
  setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  setsockopt(made, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  const sockaddr_in6 address = any_address(port);
  if (bind(made, generic(address), sizeof address) != 0 ||
      (kind == SOCK_STREAM && listen(made, 512) != 0)) {
    std::perror("peer: listen");
    std::exit(1);
  }
  return made;
}

class Server {
 public:
  explicit Server(std::span<char*> ports) {
    for (const char* port : ports) {
      listeners_.push_back(listen_on(parse_number(port), SOCK_STREAM));
      datagrams_.push_back(listen_on(parse_number(port), SOCK_DGRAM));
    }
  }

  // Does not return.
  [[noreturn]] void run() {
    while (true) {
      std::vector<pollfd> waiting;
      for (const auto* group : {&listeners_, &datagrams_, &streams_}) {
        for (const int each : *group) {
          waiting.push_back({each, POLLIN, 0});
        }
      }
      poll(waiting.data(), waiting.size(), -1);
      const std::span all(waiting);
      take_in(all.subspan(0, listeners_.size()));
      send_back(all.subspan(listeners_.size(), datagrams_.size()));
      // take_in has added streams, of which nothing is known yet.
      answer(all.subspan(listeners_.size() + datagrams_.size()));
    }
  }

 private:
  void take_in(std::span<const pollfd> ready) {
    for (const pollfd& each : ready) {
      if (each.revents == 0) {
        continue;
      }
      for (int made = 0; (made = accept4(each.fd, nullptr, nullptr,
                                         SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        streams_.push_back(made);
      }
    }
  }

  static void send_back(std::span<const pollfd> ready) {
    std::array<char, kLargestMessage> buffer = {};
    for (const pollfd& each : ready) {
      sockaddr_in6 from = {};
      socklen_t size = sizeof from;
      ssize_t got = 0;
      while (each.revents != 0 &&
             (got = recvfrom(each.fd, buffer.data(), buffer.size(), 0,
                             reinterpret_cast<sockaddr*>(&from), &size)) >= 0) {
        sendto(each.fd, buffer.data(), static_cast<std::size_t>(got), 0,
               generic(from), size);
      }
    }
  }

  void answer(std::span<const pollfd> ready) {
    std::array<char, kLargestMessage> buffer = {};
    for (const pollfd& each : ready) {
      if (each.revents == 0) {
        continue;
      }
      const ssize_t got = recv(each.fd, buffer.data(), buffer.size(), 0);
      if (got < 0 && errno == EAGAIN) {
        continue;
      }
      const std::string_view text(buffer.data(),
                                  got > 0 ? static_cast<std::size_t>(got) : 0);
      const bool http = text.starts_with("GET ");
      const std::string_view back = http ? kHttpAnswer : text;
      if (!back.empty()) {
        send(each.fd, back.data(), back.size(), MSG_NOSIGNAL);
      }
      if (got <= 0 || http) {
        close(each.fd);
        std::erase(streams_, each.fd);
      }
    }
  }

  std::vector<int> listeners_;
  std::vector<int> datagrams_;
  std::vector<int> streams_;
};

// Waits for one connection at most as long as told. Refused counts: the other
// end was reached.
bool connects(int family, const sockaddr* address, socklen_t size,
              int wait_ms) {
  const int made =
      socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int error = connect(made, address, size) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    pollfd waiting = {made, POLLOUT, 0};
    socklen_t length = sizeof error;
    if (poll(&waiting, 1, wait_ms) == 1) {
      getsockopt(made, SOL_SOCKET, SO_ERROR, &error, &length);
    }
  }
  close(made);
  return error == 0 || error == ECONNREFUSED;
}

int check(int port) {
  sockaddr_in6 address = any_address(port);
  address.sin6_addr = in6addr_loopback;
  return connects(AF_INET6, generic(address), sizeof address, 1000) ? 0 : 1;
}

int dial(const char* text, int port, int milliseconds, int wait_ms) {
  sockaddr_storage address = {};
  auto* four = reinterpret_cast<sockaddr_in*>(&address);
  auto* six = reinterpret_cast<sockaddr_in6*>(&address);
  socklen_t size = sizeof *four;
  if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(static_cast<in_port_t>(port));
  } else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
    *six = any_address(port);
    inet_pton(AF_INET6, text, &six->sin6_addr);
    size = sizeof *six;
  } else {
    std::fprintf(stderr, "peer: %s is not an address\n", text);
    return 2;
  }
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::milliseconds(milliseconds);
  int made = 0;
  int failed = 0;
  bool first = false;
  while (Clock::now() < end) {
    const bool good =
        connects(address.ss_family, reinterpret_cast<const sockaddr*>(&address),
                 size, wait_ms);
    first = made + failed == 0 ? good : first;
    ++(good ? made : failed);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  std::printf("{\"made\": %d, \"failed\": %d, \"first\": %s}\n", made, failed,
              first ? "true" : "false");
  return 0;
}

}  // namespace

int main(int count, char** values) {
  const std::span arguments(values, static_cast<std::size_t>(count));
  const std::string_view what = count > 1 ? arguments[1] : "";
  if (what == "serve" && count > 2) {
    std::signal(SIGTERM, [](int) { _exit(0); });
    Server(arguments.subspan(2)).run();
  }
  if (what == "check" && count == 3) {
    return check(parse_number(arguments[2]));
  }
  if (what == "dial" && count == 6) {
    return dial(arguments[2], parse_number(arguments[3]),
                parse_number(arguments[4]), parse_number(arguments[5]));
  }
  std::fprintf(
      stderr, "peer: serve PORT... | check PORT | dial ADDRESS PORT MS WAIT\n");
  return 2;
}
