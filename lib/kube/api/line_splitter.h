// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

// Splits a watch of the API server into lines while it arrives. Memory: the
// bytes that arrive together, and one unfinished line.
//
// Internal to the reflector. A value; one thread.
namespace sluice::kube {

class LineSplitter {
 public:
  // Receives each line that is not empty, without its end, followed by
  // kDecodePadding readable bytes.
  using LineHandler = std::function<Result<void>(std::string_view line)>;

  LineSplitter(LineHandler handler, std::size_t max_line);

  // Takes the next bytes of the watch. An error is from the handler, or a line
  // is too long; do not continue after it.
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
