// SPDX-License-Identifier: Apache-2.0
#include "operator/program/flow_gate.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <openssl/sha.h>

#include "lib/base/rate_limit.h"
#include "lib/kube/api/requests.h"
#include "lib/wire/authenticator.h"

namespace sluice::operatord {
namespace {

using Clock = Loop::Clock;
using flow::Admission;

constexpr const char* kGroup = "sluice.io";
constexpr const char* kResource = "flows";
constexpr const char* kVerb = "list";

// Digests are stored instead of the tokens themselves.
std::string digest_of(const std::string& token) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  ::SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(),
           reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

std::optional<std::string_view> after(std::string_view text,
                                      std::string_view prefix) {
  return text.starts_with(prefix) ? std::optional(text.substr(prefix.size()))
                                  : std::nullopt;
}

// As kubectl says it.
std::string missing_right(const std::string& user,
                          const std::vector<std::string>& namespaces) {
  std::string text = "user \"" + user + "\" cannot " + kVerb + " resource \"" +
                     kResource + "\" in API group \"" + kGroup +
                     "\" at the cluster scope";
  for (const auto& name : namespaces) {
    text += ", nor in the namespace \"" + name + "\"";
  }
  return text;
}

// Values that hold for a while.
template <typename Value>
class Remembered {
 public:
  explicit Remembered(std::size_t most) : most_(most) {}

  const Value* find(const std::string& key) {
    const auto found = values_.find(key);
    if (found == values_.end()) {
      return nullptr;
    }
    if (found->second.until <= Clock::now()) {
      values_.erase(found);
      return nullptr;
    }
    return &found->second.value;
  }
  void set(const std::string& key, Value value, Clock::duration how_long) {
    const auto now = Clock::now();
    if (values_.size() >= most_) {
      std::erase_if(values_,
                    [&](const auto& item) { return item.second.until <= now; });
    }
    if (values_.size() < most_) {
      values_[key] = {.value = std::move(value), .until = now + how_long};
    }
  }

 private:
  struct Kept {
    Value value;
    Clock::time_point until;
  };
  std::size_t most_;
  std::unordered_map<std::string, Kept> values_;
};

// The question of one call.
struct Question {
  std::string digest;
  bool valid_lately = false;  // the token
  kube::TokenIdentity who;
  std::vector<std::string> namespaces;  // still to be asked about
  std::vector<std::string> denied;
  Admission admission;
  flow::Gate::Done done;
  kube::Call call;
};

}  // namespace

std::string token_in(const std::string& authorization) {
  if (authorization.size() > wire::kTokenBytesMax) {
    return {};
  }
  if (const auto token = after(authorization, "Bearer ")) {
    return std::string(*token);
  }
  if (const auto basic = after(authorization, "Basic ")) {
    const auto pair = kube::base64_decode(*basic);
    const auto colon = pair ? pair->find(':') : std::string::npos;
    return colon == std::string::npos ? std::string{} : pair->substr(colon + 1);
  }
  return {};
}

struct FlowGate::Impl : std::enable_shared_from_this<Impl> {
  struct Who {
    std::optional<kube::TokenIdentity> identity;
    std::string error;
  };

  Impl(kube::Client& client_in, FlowGateOptions options_in)
      : client(client_in),
        options(std::move(options_in)),
        identities(options.remembered_max),
        rights(options.remembered_max),
        valid(options.remembered_max),
        strangers(options.strangers_per_second),
        reviews(options.reviews_per_second) {}

  kube::Client& client;
  FlowGateOptions options;
  Remembered<Who> identities;  // by digest of the token
  Remembered<bool> rights;     // by digest and namespace
  Remembered<bool> valid;      // tokens that have been valid lately, by digest
  RateLimit strangers;         // questions about other tokens
  RateLimit reviews;           // and about these
  std::map<std::uint64_t, Question> questions;
  std::uint64_t next = 0;

  void begin(const std::string& token, std::vector<std::string> namespaces,
             Done done);
  // False, and the end of the question, if too much is asked already.
  bool may_ask(std::uint64_t number);
  void review(std::uint64_t number, const std::string& token,
              bool for_api_server);
  void reviewed(std::uint64_t number, const std::string& token,
                bool for_api_server,
                const kube::ApiResult<kube::TokenIdentity>& result);
  void identified(std::uint64_t number, const Who& who);
  // Asks about the whole cluster, or else about the next namespace.
  void ask(std::uint64_t number, bool everywhere);
  void answered(std::uint64_t number, bool everywhere, const std::string& ns,
                const kube::ApiResult<bool>& result);
  void decided(std::uint64_t number, bool everywhere, const std::string& ns,
               bool allowed);
  void finish(std::uint64_t number, grpc::Status status = grpc::Status::OK);
};

void FlowGate::Impl::begin(const std::string& token,
                           std::vector<std::string> namespaces, Done done) {
  const auto number = ++next;
  auto& question = questions[number];
  question.digest = digest_of(token);
  question.valid_lately = valid.find(question.digest) != nullptr;
  question.namespaces = std::move(namespaces);
  question.done = std::move(done);
  if (const auto* who = identities.find(question.digest)) {
    identified(number, Who(*who));
    return;
  }
  review(number, token, true);
}

bool FlowGate::Impl::may_ask(std::uint64_t number) {
  auto& limit = questions[number].valid_lately ? reviews : strangers;
  if (limit.take(Clock::now())) {
    return true;
  }
  finish(number, {grpc::StatusCode::RESOURCE_EXHAUSTED,
                  "too many tokens and rights are being checked; try again in "
                  "a second"});
  return false;
}

void FlowGate::Impl::review(std::uint64_t number, const std::string& token,
                            bool for_api_server) {
  if (!may_ask(number)) {
    return;
  }
  std::vector<std::string> audiences;
  if (!for_api_server) {
    audiences.push_back(options.audience);
  }
  questions[number].call = kube::review_token(
      client, token, audiences,
      [this, number, token,
       for_api_server](const kube::ApiResult<kube::TokenIdentity>& result) {
        reviewed(number, token, for_api_server, result);
      });
}

void FlowGate::Impl::reviewed(
    std::uint64_t number, const std::string& token, bool for_api_server,
    const kube::ApiResult<kube::TokenIdentity>& result) {
  Who who;
  if (result) {
    who.identity = *result;
    auto& question = questions[number];
    question.valid_lately = true;
    valid.set(question.digest, true, options.valid_lately);
  } else if (result.error().status != 401 ||
             result.error().reason != "InvalidToken") {
    finish(number, {grpc::StatusCode::UNAVAILABLE,
                    "the token cannot be checked: " + result.error().message});
    return;
  } else if (for_api_server) {
    review(number, std::string(token), false);
    return;
  } else {
    who.error = "the token is not valid for the API server, nor for \"" +
                options.audience + "\"";
  }
  identities.set(questions[number].digest, who,
                 result ? options.remember : options.remember_refusal);
  identified(number, who);
}

void FlowGate::Impl::identified(std::uint64_t number, const Who& who) {
  if (!who.identity) {
    finish(number, {grpc::StatusCode::UNAUTHENTICATED, who.error});
    return;
  }
  auto& question = questions[number];
  question.who = *who.identity;
  question.admission.user = question.who.username;
  ask(number, true);
}

void FlowGate::Impl::ask(std::uint64_t number, bool everywhere) {
  auto& question = questions[number];
  const auto ns = everywhere ? std::string{} : question.namespaces.back();
  if (const auto* known = rights.find(question.digest + ns)) {
    decided(number, everywhere, ns, *known);
    return;
  }
  if (!may_ask(number)) {
    return;
  }
  question.call = kube::review_access(
      client, question.who,
      {.group = kGroup, .resource = kResource, .verb = kVerb, .ns = ns},
      [this, number, everywhere, ns](const kube::ApiResult<bool>& result) {
        answered(number, everywhere, ns, result);
      });
}

void FlowGate::Impl::answered(std::uint64_t number, bool everywhere,
                              const std::string& ns,
                              const kube::ApiResult<bool>& result) {
  if (!result) {
    finish(number, {grpc::StatusCode::UNAVAILABLE,
                    "rights cannot be checked: " + result.error().message});
    return;
  }
  rights.set(questions[number].digest + ns, *result,
             *result ? options.remember : options.remember_refusal);
  decided(number, everywhere, std::string(ns), *result);
}

void FlowGate::Impl::decided(std::uint64_t number, bool everywhere,
                             const std::string& ns, bool allowed) {
  auto& question = questions[number];
  if (everywhere) {
    question.admission.everything = allowed;
  } else {
    question.namespaces.pop_back();
    (allowed ? question.admission.namespaces : question.denied).push_back(ns);
  }
  if (question.admission.everything || question.namespaces.empty()) {
    finish(number);
    return;
  }
  ask(number, false);
}

// Whatever called this may be part of the question: it goes later.
void FlowGate::Impl::finish(std::uint64_t number, grpc::Status status) {
  auto question = std::move(questions.extract(number).mapped());
  question.admission.status = std::move(status);
  question.admission.missing =
      missing_right(question.admission.user, question.denied);
  question.done(question.admission);
}

FlowGate::FlowGate(Loop& loop, kube::Client& client, FlowGateOptions options)
    : loop_(loop), impl_(std::make_shared<Impl>(client, std::move(options))) {}

FlowGate::~FlowGate() = default;

void FlowGate::admit(const std::string& authorization,
                     const std::vector<std::string>& namespaces, Done done) {
  auto token = token_in(authorization);
  if (token.empty()) {
    done({.status = {grpc::StatusCode::UNAUTHENTICATED,
                     "a Kubernetes token is needed, as \"authorization: Bearer "
                     "TOKEN\""},
          .user = {},
          .everything = false,
          .namespaces = {},
          .missing = {}});
    return;
  }
  loop_.post([weak = std::weak_ptr(impl_), token = std::move(token), namespaces,
              done = std::move(done)] {
    if (const auto impl = weak.lock()) {
      impl->begin(token, namespaces, done);
    }
  });
}

}  // namespace sluice::operatord
