// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/loop.h"
#include "lib/flow/cluster_observer.h"
#include "lib/kube/api/client.h"

namespace sluice::operatord {

struct FlowGateOptions {
  // Tokens made for flows alone are for this audience. Those for the API server
  // itself are accepted too: it is the one that people have.
  std::string audience = "sluice-observer";
  // How long answers of the API server are reused.
  std::chrono::seconds remember{30};
  std::chrono::seconds remember_refusal{5};
  std::size_t remembered_max = 10'000;
  // Questions to the API server, so that clients cannot keep it busy: about
  // tokens that have not been valid lately, and about those that have been.
  // Clients without a valid token cannot use up the second.
  double strangers_per_second = 50;
  double reviews_per_second = 100;
  std::chrono::minutes valid_lately{60};
};

// Who may read flows: the bearers of Kubernetes tokens that may `list` the
// resource `flows` of the group sluice.io, everywhere or in the namespaces they
// ask about. There are no objects of this resource: it is the name of a right,
// as the API server's RBAC knows it. Asks by TokenReview and
// SubjectAccessReview, and caches the answers. Whatever cannot be checked is
// refused.
//
// admit() may be called from any thread; everything else happens in that of the
// loop, which must outlive this object, as `client` must.
class FlowGate : public flow::Gate {
 public:
  FlowGate(Loop& loop, kube::Client& client, FlowGateOptions options = {});
  FlowGate(const FlowGate&) = delete;
  FlowGate& operator=(const FlowGate&) = delete;
  FlowGate(FlowGate&&) = delete;
  FlowGate& operator=(FlowGate&&) = delete;
  ~FlowGate() override;  // calls nobody any more

  void admit(const std::string& authorization,
             const std::vector<std::string>& namespaces, Done done) override;

 private:
  struct Impl;
  Loop& loop_;
  std::shared_ptr<Impl> impl_;
};

// The token in a header "authorization": that after "Bearer", or the password
// of "Basic"; empty if there is none.
std::string token_in(const std::string& authorization);

}  // namespace sluice::operatord
