// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/line_splitter.h"

#include <utility>

#include "lib/kube/api/event_decoder.h"

namespace sluice::kube {
namespace {

// A buffer that one long line has made larger than this is freed.
constexpr std::size_t kKeepBuffer = std::size_t{1} << 20;

}  // namespace

LineSplitter::LineSplitter(LineHandler handler, std::size_t max_line)
    : handler_(std::move(handler)), max_line_(max_line) {}

Result<void> LineSplitter::too_long() const {
  return fail("a line longer than " + std::to_string(max_line_) + " bytes");
}

Result<void> LineSplitter::take_line(std::string_view line) {
  if (line.size() > max_line_) {
    return too_long();
  }
  return line.empty() || line == "\r" ? Result<void>() : handler_(line);
}

Result<void> LineSplitter::feed(std::string_view bytes) {
  buffer_.reserve(buffer_.size() + bytes.size() + kDecodePadding);
  buffer_ += bytes;
  const std::string_view all = buffer_;
  std::size_t begin = 0;
  for (auto end = all.find('\n', searched_); end != std::string_view::npos;
       end = all.find('\n', begin)) {
    const std::string_view line = all.substr(begin, end - begin);
    begin = end + 1;
    if (auto taken = take_line(line); !taken) {
      return taken;
    }
  }
  buffer_.erase(0, begin);
  searched_ = buffer_.size();
  if (buffer_.size() > max_line_) {
    return too_long();
  }
  if (buffer_.capacity() > kKeepBuffer && buffer_.size() < kKeepBuffer / 2) {
    buffer_.shrink_to_fit();
  }
  return {};
}

}  // namespace sluice::kube
