// SPDX-License-Identifier: Apache-2.0
#include "lib/base/process.h"

#include <csignal>
#include <utility>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace sluice {

Result<Fd> open_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    ::sigaddset(&set, signal);
  }
  if (::pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) {
    return fail_errno("pthread_sigmask");
  }
  Fd fd(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd.valid()) {
    return fail_errno("signalfd");
  }
  return fd;
}

Signals read_signals(int fd) {
  Signals signals;
  signalfd_siginfo info{};
  while (::read(fd, &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGHUP) {
      signals.reload = true;
    } else {
      signals.stop = true;
    }
  }
  return signals;
}

void set_log_level(LogLevel level) {
  const auto of = [level] {
    switch (level) {
      case LogLevel::kDebug:
        return spdlog::level::debug;
      case LogLevel::kInfo:
        return spdlog::level::info;
      case LogLevel::kWarn:
        return spdlog::level::warn;
      case LogLevel::kError:
        break;
    }
    return spdlog::level::err;
  };
  spdlog::set_level(of());
}

void start_log(const std::string& program) {
  auto logger = spdlog::stderr_color_mt(program);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_default_logger(std::move(logger));
  spdlog::flush_on(spdlog::level::info);
}

}  // namespace sluice
