// SPDX-License-Identifier: Apache-2.0
// The first process of a pod's sandbox: holds its namespaces until it is told
// to end.

#include <csignal>

int main() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  // Children end unseen: nobody would wait for them.
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_DFL;
  ignore.sa_flags = SA_NOCLDWAIT;
  sigaction(SIGCHLD, &ignore, nullptr);
  int received = 0;
  sigwait(&ends, &received);
  return 0;
}
