// SPDX-License-Identifier: Apache-2.0
#include "lib/base/result.h"

#include <system_error>

namespace sluice {

std::unexpected<Error> fail_errno(std::string_view what, int code) {
  std::string message(what);
  message += ": ";
  message += std::generic_category().message(code);
  return std::unexpected(Error{.message = std::move(message), .code = code});
}

std::unexpected<Error> with_context(std::string_view where, Error error) {
  error.message = std::string(where) + ": " + error.message;
  return std::unexpected(std::move(error));
}

}  // namespace sluice
