// SPDX-License-Identifier: Apache-2.0
//
// sluice-cni: a chained CNI plugin. It announces a pod's interface and
// addresses to the node's agent, and returns when the pod's policies are in
// force.
#include <array>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

#include <unistd.h>

#include "cni/plugin.h"
#include "lib/base/version_text.h"

namespace {

constexpr std::size_t kInputMax = 4UL << 20;

// To be called before there are threads.
std::string variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? "" : value;
}

std::string read_input() {
  std::string text;
  std::array<char, 65536> buffer{};
  while (text.size() <= kInputMax) {
    const auto got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      break;
    }
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

bool write_output(const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const auto count =
        ::write(STDOUT_FILENO, text.data() + done, text.size() - done);
    if (count < 0 && errno != EINTR) {
      return false;
    }
    done += count > 0 ? static_cast<std::size_t>(count) : 0;
  }
  return true;
}

int call() {
  const sluice::cni::Environment environment{
      .command = variable("CNI_COMMAND"),
      .container = variable("CNI_CONTAINERID"),
      .netns = variable("CNI_NETNS"),
      .ifname = variable("CNI_IFNAME"),
      .args = variable("CNI_ARGS")};
  const auto outcome = sluice::cni::run(environment, read_input());
  return write_output(outcome.output) ? outcome.exit_code : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 2 && std::string_view(argv[1]) == "--version") {
      const auto text = sluice::version_text("sluice-cni", SLUICE_VERSION);
      return write_output(text + "\n") ? 0 : 1;
    }
    return call();
  } catch (const std::exception&) {
    // Out of memory: report it without allocating.
    (void)write_output(
        R"({"cniVersion":"1.1.0","code":5,"msg":"sluice-cni has run out of memory."})");
    return 1;
  }
}
