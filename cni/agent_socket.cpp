// SPDX-License-Identifier: Apache-2.0
#include "cni/agent_socket.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/base/fd.h"

namespace sluice::cni {
namespace {

constexpr std::size_t kAnswerMax = 1UL << 20;

// False at the deadline.
bool wait_for(int fd, short events, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - Clock::now());
    if (left.count() <= 0) {
      return false;
    }
    pollfd polled{.fd = fd, .events = events, .revents = 0};
    const int count = ::poll(
        &polled, 1, static_cast<int>(std::min<long>(left.count(), 1000)) + 1);
    if (count > 0) {
      return true;
    }
    if (count < 0 && errno != EINTR) {
      return false;
    }
  }
}

bool send_line(int fd, const std::string& request, Clock::time_point deadline) {
  const std::string line = request + "\n";
  std::size_t sent = 0;
  while (sent < line.size()) {
    const auto count =
        ::send(fd, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (count >= 0) {
      sent += static_cast<std::size_t>(count);
    } else if ((errno != EAGAIN && errno != EINTR) ||
               !wait_for(fd, POLLOUT, deadline)) {
      return false;
    }
  }
  return true;
}

}  // namespace

AgentReply ask_agent(const std::string& socket, const std::string& request,
                     Clock::time_point deadline) {
  using Kind = AgentReply::Kind;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof(address.sun_path)) {
    return {.kind = Kind::kNotThere, .text = {}};
  }
  std::memcpy(address.sun_path, socket.data(), socket.size());
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid() || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address),
                               sizeof(address)) != 0) {
    return {.kind = Kind::kNotThere, .text = {}};
  }
  if (!send_line(fd.get(), request, deadline)) {
    return {.kind = Kind::kNotInTime, .text = {}};
  }
  std::string text;
  std::array<char, 4096> buffer{};
  while (text.size() <= kAnswerMax) {
    const auto got = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (got > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(got));
      if (const auto end = text.find('\n'); end != std::string::npos) {
        return {.kind = Kind::kAnswered, .text = text.substr(0, end)};
      }
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR) ||
               !wait_for(fd.get(), POLLIN, deadline)) {
      break;
    }
  }
  return {.kind = Kind::kNotInTime, .text = {}};
}

}  // namespace sluice::cni
