// SPDX-License-Identifier: Apache-2.0
#include "operator/program/agent_authenticator.h"

#include <array>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include <openssl/sha.h>

#include "lib/kube/api/requests.h"

namespace sluice::operatord {
namespace {

using Clock = Loop::Clock;

// Names of extra fields of a bound token: Kubernetes' ServiceAccount tokens
// have "authentication.kubernetes.io/node-name" from 1.30 on, "/pod-name"
// before.
constexpr std::string_view kNodeName = "authentication.kubernetes.io/node-name";
constexpr std::string_view kPodName = "authentication.kubernetes.io/pod-name";

// Digests are stored instead of the tokens themselves.
std::string digest_of(const std::string& token) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  ::SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(),
           reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

std::string first(const kube::TokenIdentity& identity, std::string_view name) {
  const auto found = identity.extra.find(name);
  return found == identity.extra.end() || found->second.empty()
             ? std::string{}
             : found->second.front();
}

}  // namespace

struct AgentAuthenticator::Impl {
  struct Known {
    bool allowed = false;
    std::string node;
    std::string pod;  // to which the token is bound, if it names no node
    std::string error;
    Clock::time_point until;
  };

  kube::Client* client = nullptr;
  AgentAuthenticatorOptions options;
  NodeOf node_of;
  std::unordered_map<std::string, Known> known;    // by digest
  std::map<std::string, std::vector<Done>> asked;  // by digest
  std::map<std::string, kube::Call> calls;         // by digest

  [[nodiscard]] wire::Identity identity(const Known& who) const;
  void remember(const std::string& digest, Known who);
  void answered(const std::string& digest,
                const kube::ApiResult<kube::TokenIdentity>& result);
};

wire::Identity AgentAuthenticator::Impl::identity(const Known& who) const {
  wire::Identity result{
      .allowed = who.allowed, .node = who.node, .error = who.error};
  if (!result.allowed || !result.node.empty()) {
    return result;
  }
  if (!who.pod.empty()) {
    result.node = node_of(who.pod);
  }
  if (result.node.empty()) {
    result.allowed = false;
    result.error = who.pod.empty()
                       ? "it is bound to no pod, and so to no node"
                       : "the node of pod " + who.pod + " is not known (yet)";
  }
  return result;
}

void AgentAuthenticator::Impl::remember(const std::string& digest, Known who) {
  const auto now = Clock::now();
  if (known.size() >= options.remembered_max) {
    std::erase_if(known,
                  [&](const auto& item) { return item.second.until <= now; });
  }
  if (known.size() < options.remembered_max) {
    known[digest] = std::move(who);
  }
}

void AgentAuthenticator::Impl::answered(
    const std::string& digest,
    const kube::ApiResult<kube::TokenIdentity>& result) {
  Known who;
  bool keep = true;
  if (result) {
    who.allowed = result->username == options.username;
    who.error = who.allowed ? ""
                            : "it is that of " + result->username +
                                  ", not of " + options.username;
    who.node = first(*result, kNodeName);
    who.pod = first(*result, kPodName);
  } else {
    who.error = result.error().message;
    // Any other error says nothing about the token.
    keep =
        result.error().status == 401 && result.error().reason == "InvalidToken";
  }
  who.until = Clock::now() +
              (who.allowed ? options.remember : options.remember_refusal);
  const auto answer = identity(who);
  if (keep) {
    remember(digest, std::move(who));
  }
  const auto waiting = std::move(asked[digest]);
  asked.erase(digest);
  calls.erase(digest);
  for (const auto& done : waiting) {
    done(answer);
  }
}

AgentAuthenticator::AgentAuthenticator(kube::Client& client,
                                       AgentAuthenticatorOptions options,
                                       NodeOf node_of)
    : impl_(std::make_shared<Impl>()) {
  impl_->client = &client;
  impl_->options = std::move(options);
  impl_->node_of = std::move(node_of);
}

AgentAuthenticator::~AgentAuthenticator() = default;

void AgentAuthenticator::authenticate(const std::string& token, Done done) {
  if (token.empty()) {
    done({.allowed = false, .node = {}, .error = "there is none"});
    return;
  }
  auto digest = digest_of(token);
  if (const auto found = impl_->known.find(digest);
      found != impl_->known.end()) {
    if (found->second.until > Clock::now()) {
      done(impl_->identity(found->second));
      return;
    }
    impl_->known.erase(found);
  }
  auto& waiting = impl_->asked[digest];
  waiting.push_back(std::move(done));
  if (waiting.size() > 1) {
    return;
  }
  impl_->calls[digest] = kube::review_token(
      *impl_->client, token, {impl_->options.audience},
      [impl = impl_.get(),
       digest](const kube::ApiResult<kube::TokenIdentity>& result) {
        impl->answered(digest, result);
      });
}

}  // namespace sluice::operatord
