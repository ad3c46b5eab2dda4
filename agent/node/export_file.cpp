// SPDX-License-Identifier: Apache-2.0
#include "agent/node/export_file.h"

#include <algorithm>
#include <climits>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sluice::node {
namespace {

// How long append() waits for the reader of a pipe.
constexpr int kPipeWaitMs = 100;

std::filesystem::path backup(const std::filesystem::path& path,
                             std::uint32_t number) {
  return path.string() + "." + std::to_string(number);
}

}  // namespace

// The open file may have got another name, or none, and may have been
// truncated.
bool ExportFile::is_current() {
  struct stat named{};
  struct stat opened{};
  if (::stat(options_.path.c_str(), &named) != 0 ||
      ::fstat(fd_.get(), &opened) != 0 || named.st_dev != opened.st_dev ||
      named.st_ino != opened.st_ino) {
    return false;
  }
  size_ = regular_ ? static_cast<std::uint64_t>(opened.st_size) : 0;
  return true;
}

Result<void> ExportFile::open() {
  if (options_.path == "-") {
    target_ = STDOUT_FILENO;
    return {};
  }
  if (fd_.valid() && is_current()) {
    return {};
  }
  // A pipe without a reader must not block.
  fd_.reset(::open(
      options_.path.c_str(),
      O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600));
  target_ = fd_.get();
  struct stat opened{};
  if (!fd_.valid() || ::fstat(target_, &opened) != 0) {
    return fail_errno(options_.path.string());
  }
  regular_ = S_ISREG(opened.st_mode);
  size_ = regular_ ? static_cast<std::uint64_t>(opened.st_size) : 0;
  end_last_line();
  return {};
}

// A process that was killed may have left a part of a line.
void ExportFile::end_last_line() {
  if (size_ == 0) {
    return;
  }
  const Fd reader(::open(options_.path.c_str(), O_RDONLY | O_CLOEXEC));
  char last = '\n';
  if (::pread(reader.get(), &last, 1, static_cast<off_t>(size_ - 1)) == 1 &&
      last != '\n' && ::write(target_, "\n", 1) == 1) {
    ++size_;
  }
}

// From the oldest on, so that no file is overwritten before it has got its next
// name.
Result<void> ExportFile::rotate() {
  std::error_code error;
  for (auto number = options_.backups; number > 1 && !error; --number) {
    const auto from = backup(options_.path, number - 1);
    if (std::filesystem::exists(from, error)) {
      std::filesystem::rename(from, backup(options_.path, number), error);
    }
  }
  if (!error && options_.backups > 0) {
    std::filesystem::rename(options_.path, backup(options_.path, 1), error);
  } else if (!error) {
    std::filesystem::remove(options_.path, error);
  }
  if (error) {
    return fail_errno("rotating " + options_.path.string(), error.value());
  }
  fd_.reset();
  return open();
}

Result<void> ExportFile::append_to_file(std::string& lines) {
  if (size_ > 0 && size_ + lines.size() > options_.size_max) {
    if (auto rotated = rotate(); !rotated) {
      return rotated;
    }
  }
  std::size_t done = 0;
  while (done < lines.size()) {
    const auto count =
        ::write(target_, lines.data() + done, lines.size() - done);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      const int code = count == 0 ? EIO : errno;
      // No part of a line remains on a disk that is full.
      if (::ftruncate(target_, static_cast<off_t>(size_)) != 0) {
        fd_.reset();
      }
      return fail_errno(options_.path.string(), code);
    }
    done += static_cast<std::size_t>(count);
  }
  size_ += done;
  lines.clear();
  return {};
}

// The standard output may block, and belongs to others too, so its mode stays
// as it is. A pipe that is ready takes PIPE_BUF bytes without blocking.
Result<bool> ExportFile::append_to_pipe(std::string& lines) {
  while (!lines.empty()) {
    pollfd ready{.fd = target_, .events = POLLOUT, .revents = 0};
    if (::poll(&ready, 1, kPipeWaitMs) == 0) {
      return false;
    }
    const auto count = ::write(target_, lines.data(),
                               std::min<std::size_t>(lines.size(), PIPE_BUF));
    if (count < 0 && errno != EINTR && errno != EAGAIN) {
      fd_.reset();
      return fail_errno(options_.path == "-" ? "the standard output"
                                             : options_.path.string());
    }
    lines.erase(0, static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  }
  return true;
}

Result<bool> ExportFile::append(std::string& lines) {
  if (auto opened = open(); !opened) {
    return std::unexpected(opened.error());
  }
  if (!regular_) {
    return append_to_pipe(lines);
  }
  if (auto done = append_to_file(lines); !done) {
    return std::unexpected(done.error());
  }
  return true;
}

}  // namespace sluice::node
