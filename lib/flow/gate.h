// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <grpcpp/support/status.h>

namespace sluice::flow {

// What a client may read.
struct Admission {
  // Not OK: nothing, and why.
  grpc::Status status;
  std::string user;         // who it is; not empty if the status is OK
  bool everything = false;  // of the whole cluster
  // Otherwise: of those of the namespaces that were asked about.
  std::vector<std::string> namespaces;
  std::string missing;  // the right without which there is no more than this
};

// Decides who may read what.
class Gate {
 public:
  using Done = std::function<void(const Admission& admission)>;

  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  Gate(Gate&&) = delete;
  Gate& operator=(Gate&&) = delete;
  virtual ~Gate() = default;

  // Called in any thread. `authorization`: the header of the call, which may be
  // empty or anything. `namespaces`: those that matter if the client may not
  // read everything, at most kGateNamespacesMax. `done` must be called once,
  // from any thread, also before this returns.
  virtual void admit(const std::string& authorization,
                     const std::vector<std::string>& namespaces, Done done) = 0;
};

inline constexpr std::size_t kGateNamespacesMax = 16;

// What root at this host may read: everything.
const Admission& root_admission();

}  // namespace sluice::flow
