// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "lib/kube/api/client.h"
#include "lib/wire/authenticator.h"

namespace sluice::operatord {

struct AgentAuthenticatorOptions {
  std::string username;  // "system:serviceaccount:NS:NAME"
  std::string audience = "sluice-operator";
  // How long an answer is reused. Tokens are revoked with their pod.
  std::chrono::seconds remember{60};
  std::chrono::seconds remember_refusal{5};
  std::size_t remembered_max = 20'000;
};

// Asks the API server by TokenReview whose a token is, and caches the answers.
// Belongs to the loop's thread.
class AgentAuthenticator : public wire::Authenticator {
 public:
  // The node of a pod in the agents' namespace; empty if it is not known.
  using NodeOf = std::function<std::string(const std::string& pod)>;

  // `client` must outlive this object.
  AgentAuthenticator(kube::Client& client, AgentAuthenticatorOptions options,
                     NodeOf node_of);
  AgentAuthenticator(const AgentAuthenticator&) = delete;
  AgentAuthenticator& operator=(const AgentAuthenticator&) = delete;
  AgentAuthenticator(AgentAuthenticator&&) = delete;
  AgentAuthenticator& operator=(AgentAuthenticator&&) = delete;
  ~AgentAuthenticator() override;

  void authenticate(const std::string& token, Done done) override;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::operatord
