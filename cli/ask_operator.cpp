// SPDX-License-Identifier: Apache-2.0
#include "cli/ask_operator.h"

#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/base/loop.h"
#include "lib/explain/view_text.h"
#include "lib/kube/api/client.h"
#include "lib/kube/api/cluster_config.h"
#include "lib/kube/api/requests.h"
#include "lib/kube/api/resource.h"

namespace sluice::cli {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kPatience{15};
// The shortest life that the API server gives a token.
constexpr int kTokenSeconds = 600;
constexpr const char* kAccount = "sluice-explain";

class Conversation {
 public:
  Conversation(Loop& loop, kube::Client& client)
      : loop_(&loop), client_(&client) {}

  // The body of the answer, or why there is none.
  Result<std::string> send(kube::Request request) {
    request.timeout = kPatience;
    std::optional<kube::ApiResult<kube::Response>> answer;
    auto call = client_->send(std::move(request),
                              [&](kube::ApiResult<kube::Response> result) {
                                answer = std::move(result);
                              });
    while (!answer) {
      loop_->wait(std::chrono::milliseconds(200));
    }
    if (!*answer) {
      return fail(answer->error().message);
    }
    return std::move((*answer)->body);
  }

 private:
  Loop* loop_;
  kube::Client* client_;
};

// A token that proves to the operator that its bearer may ask, and is good for
// nothing else. See operator/program/explain_server.h.
Result<std::string> token_for(Conversation& conversation,
                              const OperatorAccess& access) {
  const json body = {
      {"apiVersion", "authentication.k8s.io/v1"},
      {"kind", "TokenRequest"},
      {"spec",
       {{"audiences", {kAccount}}, {"expirationSeconds", kTokenSeconds}}}};
  auto answer =
      conversation.send({.method = kube::Method::kPost,
                         .path = "/api/v1/namespaces/" + access.ns +
                                 "/serviceaccounts/" + kAccount + "/token",
                         .body = body.dump(),
                         .purpose = "get a token of the service account " +
                                    access.ns + "/" + kAccount});
  if (!answer) {
    return answer;
  }
  const auto parsed = json::parse(*answer, nullptr, false);
  const auto at = json::json_pointer("/status/token");
  if (parsed.is_object() && parsed.contains(at) && parsed[at].is_string()) {
    return parsed[at].get<std::string>();
  }
  return fail("the API server has sent no token");
}

}  // namespace

Result<node::ExplainView> ask_operator(const OperatorAccess& access,
                                       const node::ExplainRequest& request) {
  auto config = kube::load_cluster_config(access.kubeconfig, access.context);
  if (!config) {
    return std::unexpected(config.error());
  }
  auto loop = Loop::create();
  if (!loop) {
    return std::unexpected(loop.error());
  }
  auto client = kube::Client::create(**loop, std::move(*config),
                                     {.user_agent = "sluice"});
  if (!client) {
    return std::unexpected(client.error());
  }
  Conversation conversation(**loop, **client);
  const auto token = token_for(conversation, access);
  if (!token) {
    return std::unexpected(token.error());
  }
  const auto answer = conversation.send(
      {.path = "/api/v1/namespaces/" + access.ns +
               "/services/https:" + access.service +
               ":explain/proxy/explain?from=" + kube::url_escape(request.from) +
               "&to=" + kube::url_escape(request.to) +
               "&port=" + kube::url_escape(request.port),
       .headers = {"X-Sluice-Token: " + *token},
       .purpose = "ask the operator"});
  if (!answer) {
    return std::unexpected(answer.error());
  }
  return explain::from_json_text(*answer);
}

}  // namespace sluice::cli
