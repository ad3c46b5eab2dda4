// SPDX-License-Identifier: Apache-2.0
#include "cli/client.h"

#include <array>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <sys/time.h>

#include "agent/node/files.h"
#include "agent/node/json_text.h"
#include "lib/base/fd.h"

namespace sluice::cli {
namespace {

using nlohmann::json;

constexpr int kReplySecondsMax = 30;

class Connection {
 public:
  static Result<Connection> open(const std::filesystem::path& path) {
    const auto address = node::socket_address(path);
    if (!address) {
      return std::unexpected(address.error());
    }
    Connection connection;
    connection.fd_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!connection.fd_.valid() ||
        ::connect(connection.fd_.get(),
                  reinterpret_cast<const sockaddr*>(&*address),
                  sizeof(*address)) != 0) {
      return with_context("no running program at " + path.string(),
                          fail_errno("connect").error());
    }
    return connection;
  }

  void limit_wait(int seconds) {
    const timeval wait{.tv_sec = seconds, .tv_usec = 0};
    (void)::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
  }

  Result<void> send_line(std::string line) {
    line += '\n';
    std::size_t sent = 0;
    while (sent < line.size()) {
      const auto step = ::send(fd_.get(), line.data() + sent,
                               line.size() - sent, MSG_NOSIGNAL);
      if (step < 0 && errno == EINTR) {
        continue;
      }
      if (step < 0) {
        return fail_errno("send");
      }
      sent += static_cast<std::size_t>(step);
    }
    return {};
  }

  // nullopt at the end.
  Result<std::optional<json>> next() {
    while (true) {
      const auto end = buffer_.find('\n', searched_);
      if (end != std::string::npos) {
        auto value =
            json::parse(buffer_.begin() + std::ptrdiff_t(begin_),
                        buffer_.begin() + std::ptrdiff_t(end), nullptr, false);
        begin_ = searched_ = end + 1;
        if (!value.is_object()) {
          return fail(
              "the running program sent something other than a JSON object");
        }
        return std::optional(std::move(value));
      }
      buffer_.erase(0, begin_);
      begin_ = 0;
      searched_ = buffer_.size();
      std::array<char, 65536> chunk{};
      const auto got = ::recv(fd_.get(), chunk.data(), chunk.size(), 0);
      if (got < 0 && errno == EINTR) {
        continue;
      }
      if (got < 0) {
        return fail_errno("the running program does not answer");
      }
      if (got == 0) {
        return std::optional<json>{};
      }
      buffer_.append(chunk.data(), static_cast<std::size_t>(got));
    }
  }

 private:
  Fd fd_;
  std::string buffer_;
  std::size_t begin_ = 0;
  std::size_t searched_ = 0;
};

std::optional<Error> error_in(const json& line) {
  const auto found = line.find("error");
  if (found == line.end()) {
    return std::nullopt;
  }
  return Error{.message = found->is_string() ? found->get<std::string>()
                                             : node::dump(*found),
               .code = 0};
}

}  // namespace

Result<json> ask(const std::filesystem::path& socket, const json& request,
                 const char* rows_member) {
  auto connection = Connection::open(socket);
  if (!connection) {
    return std::unexpected(connection.error());
  }
  connection->limit_wait(kReplySecondsMax);
  if (auto sent = connection->send_line(node::dump(request)); !sent) {
    return std::unexpected(sent.error());
  }
  json view;
  while (true) {
    auto line = connection->next();
    if (!line) {
      return std::unexpected(line.error());
    }
    if (!*line) {
      return fail("the running program ended the reply too early");
    }
    auto& value = **line;
    if (auto error = error_in(value)) {
      return std::unexpected(std::move(*error));
    }
    if (value.contains("end")) {
      return view;
    }
    if (value.contains("view")) {
      view = std::move(value["view"]);
    } else if (value.contains("rows") && value["rows"].is_array()) {
      auto& rows = view[rows_member];
      for (auto& row : value["rows"]) {
        rows.push_back(std::move(row));
      }
    }
  }
}

Result<void> follow(const std::filesystem::path& socket, const json& request,
                    const std::function<bool(const json&)>& handler) {
  auto connection = Connection::open(socket);
  if (!connection) {
    return std::unexpected(connection.error());
  }
  if (auto sent = connection->send_line(node::dump(request)); !sent) {
    return std::unexpected(sent.error());
  }
  while (true) {
    auto line = connection->next();
    if (!line) {
      return std::unexpected(line.error());
    }
    if (!*line) {
      return {};
    }
    if (auto error = error_in(**line)) {
      return std::unexpected(std::move(*error));
    }
    if (!handler(**line)) {
      return {};
    }
  }
}

}  // namespace sluice::cli
