// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdarg>
#include <string>
#include <string_view>

#include <bpf/libbpf.h>

#include "lib/base/result.h"

namespace sluice::agent {

// Collects libbpf's messages on this thread while the object lives. libbpf has
// one print function for the whole process, which finds the thread's object.
// Of long messages the last part is kept, because the verifier's verdict is at
// the end.
class LibbpfLog {
 public:
  LibbpfLog();
  ~LibbpfLog();
  LibbpfLog(const LibbpfLog&) = delete;
  LibbpfLog& operator=(const LibbpfLog&) = delete;
  LibbpfLog(LibbpfLog&&) = delete;
  LibbpfLog& operator=(LibbpfLog&&) = delete;

  // Returns `what: strerror(code)` and libbpf's messages.
  [[nodiscard]] std::unexpected<Error> fail(std::string_view what,
                                            int code) const;

 private:
  static int print(libbpf_print_level level, const char* format,
                   va_list arguments);
  void append(const std::string& line);

  LibbpfLog* before_;
  std::string text_;
};

}  // namespace sluice::agent
