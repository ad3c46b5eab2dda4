// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

// Takes a watch of the API server apart into its lines while it arrives.
// Memory: what arrives at once, and a line that has not ended yet.
//
// Internal to the reflector. A value; one thread.
namespace sluice::kube {

class LineSplitter {
 public:
  // Gets each line that is not empty, without its end, followed by
  // kDecodePadding readable bytes.
  using LineHandler = std::function<Result<void>(std::string_view line)>;

  LineSplitter(LineHandler handler, std::size_t max_line);

  // The next bytes of the watch. An error is the handler's, or a line that is
  // too long; after it there is no use in going on.
  Result<void> feed(std::string_view bytes);

 private:
  Result<void> take_line(std::string_view line);
  [[nodiscard]] Result<void> too_long() const;

  LineHandler handler_;
  std::size_t max_line_;
  std::string buffer_;        // received and not yet taken; ends within a line
  std::size_t searched_ = 0;  // so much of it has no end of line
};

}  // namespace sluice::kube
