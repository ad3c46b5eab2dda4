// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace sluice {

// An error for people: "where: what". `code` is an errno value if there is one,
// otherwise 0.
struct Error {
  std::string message;
  int code = 0;
};

template <typename T>
using Result = std::expected<T, Error>;

// An error without an errno.
inline std::unexpected<Error> fail(std::string message) {
  return std::unexpected(Error{.message = std::move(message), .code = 0});
}

// An error from a system call: "what: strerror(code)".
std::unexpected<Error> fail_errno(std::string_view what, int code = errno);

// The same error with `where: ` in front of its message.
std::unexpected<Error> with_context(std::string_view where, Error error);

}  // namespace sluice
