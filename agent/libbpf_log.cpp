// SPDX-License-Identifier: Apache-2.0
#include "agent/libbpf_log.h"

#include <cstddef>
#include <cstdio>
#include <utility>

namespace sluice::agent {
namespace {

constexpr std::size_t kMaxText = 4096;

thread_local LibbpfLog* current = nullptr;

}  // namespace

LibbpfLog::LibbpfLog() : before_(std::exchange(current, this)) {
  libbpf_set_print(&LibbpfLog::print);
}

LibbpfLog::~LibbpfLog() {
  current = before_;
}

std::unexpected<Error> LibbpfLog::fail(std::string_view what, int code) const {
  auto error = fail_errno(what, code);
  if (!text_.empty()) {
    error.error().message += "\n" + text_;
  }
  return error;
}

int LibbpfLog::print(libbpf_print_level level, const char* format,
                     va_list arguments) {
  if (level != LIBBPF_WARN || current == nullptr) {
    return 0;
  }
  va_list copy;
  va_copy(copy, arguments);
  const int size = std::vsnprintf(nullptr, 0, format, copy);
  va_end(copy);
  if (size > 0) {
    std::string line(static_cast<std::size_t>(size) + 1, '\0');
    std::vsnprintf(line.data(), line.size(), format, arguments);
    line.pop_back();
    current->append(line);
  }
  return size;
}

void LibbpfLog::append(const std::string& line) {
  text_ += line;
  if (text_.size() > kMaxText) {
    text_.erase(0, text_.size() - kMaxText);
  }
}

}  // namespace sluice::agent
