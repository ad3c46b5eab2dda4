// SPDX-License-Identifier: Apache-2.0
#include "cli/ask_operator.h"

#include <chrono>
#include <memory>
#include <optional>

#include <nlohmann/json.hpp>

#include "lib/base/loop.h"
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
// Of a token for flows that are followed: the operator checks it again and
// again.
constexpr int kFollowSeconds = 86'400;
// Of an answer for a cluster: thousands of nodes with a hundred pods each.
constexpr std::size_t kAnswerBytesMax = std::size_t{256} << 20;
// Of a line of flows.
constexpr std::size_t kLineBytesMax = std::size_t{64} << 20;
constexpr const char* kExplainAccount = "sluice-explain";
constexpr const char* kObserverAccount = "sluice-observer";

struct Account {
  std::string ns;
  std::string name;
  std::string audience;
  int seconds = kTokenSeconds;
};

// The API server's answer, or the operator's by way of it.
std::string text_of(const kube::ApiError& error) {
  const bool is_busy =
      error.status == 429 || error.status == 503 || error.status == 504;
  return is_busy ? error.message + " (try again in a moment)" : error.message;
}

// A connection to the API server of a cluster. Calls wait for their answers.
class Conversation {
 public:
  static Result<Conversation> begin(const OperatorAccess& access) {
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
    return Conversation(std::move(*loop), std::move(*client), access.stopped);
  }

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
      if (is_stopped()) {
        return fail("stopped");
      }
    }
    if (!*answer) {
      return fail(text_of(answer->error()));
    }
    return std::move((*answer)->body);
  }

  // Calls `take` with each line of the answer until it returns false.
  Result<void> read_lines(
      kube::Request request,
      const std::function<bool(const std::string& line)>& take) {
    request.timeout = kPatience;
    std::optional<kube::ApiResult<void>> end;
    std::string rest;
    bool stopped = false;
    auto call = client_->stream(
        std::move(request),
        {.on_data = [&](std::string_view data) -> Result<void> {
           rest += data;
           std::size_t begin = 0;
           for (std::size_t line_end = 0;
                !stopped &&
                (line_end = rest.find('\n', begin)) != std::string::npos;
                begin = line_end + 1) {
             stopped = line_end > begin &&
                       !take(rest.substr(begin, line_end - begin));
           }
           rest.erase(0, begin);
           if (rest.size() > kLineBytesMax) {
             return fail("a line of the answer is longer than " +
                         std::to_string(kLineBytesMax) + " bytes");
           }
           return {};
         },
         .on_end =
             [&](kube::ApiResult<void> result) { end = std::move(result); }});
    while (!end && !stopped) {
      loop_->wait(std::chrono::milliseconds(200));
      if (is_stopped()) {
        return fail("stopped");
      }
    }
    if (!stopped && !*end) {
      return fail(text_of(end->error()));
    }
    return {};
  }

 private:
  Conversation(std::unique_ptr<Loop> loop, std::unique_ptr<kube::Client> client,
               std::function<bool()> stopped)
      : loop_(std::move(loop)),
        client_(std::move(client)),
        stopped_(std::move(stopped)) {}

  [[nodiscard]] bool is_stopped() const { return stopped_ && stopped_(); }

  std::unique_ptr<Loop> loop_;
  std::unique_ptr<kube::Client> client_;
  std::function<bool()> stopped_;
};

// A token that proves to the operator that its bearer may ask, and is good for
// nothing else. See operator/program/query_server.h.
Result<std::string> token_of(Conversation& conversation,
                             const Account& account) {
  const json body = {{"apiVersion", "authentication.k8s.io/v1"},
                     {"kind", "TokenRequest"},
                     {"spec",
                      {{"audiences", {account.audience}},
                       {"expirationSeconds", account.seconds}}}};
  auto answer = conversation.send(
      {.method = kube::Method::kPost,
       .path = "/api/v1/namespaces/" + kube::url_escape(account.ns) +
               "/serviceaccounts/" + kube::url_escape(account.name) + "/token",
       .body = body.dump(),
       .purpose = "get a token of the service account " + account.ns + "/" +
                  account.name});
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

std::string url_of(const OperatorAccess& access, std::string_view path,
                   const QueryArguments& arguments) {
  auto url = "/api/v1/namespaces/" + kube::url_escape(access.ns) +
             "/services/https:" + access.service + ":explain/proxy" +
             std::string(path);
  char separator = '?';
  for (const auto& [name, value] : arguments) {
    url += separator + name + "=" + kube::url_escape(value);
    separator = '&';
  }
  return url;
}

Result<Account> observer_account(const OperatorAccess& access) {
  Account account{
      .ns = access.ns, .name = kObserverAccount, .audience = kObserverAccount};
  if (!access.account.empty()) {
    const auto slash = access.account.find('/');
    if (slash == std::string::npos || slash == 0 ||
        slash + 1 == access.account.size()) {
      return fail("--service-account: " + access.account +
                  ": not NAMESPACE/NAME");
    }
    account.ns = access.account.substr(0, slash);
    account.name = access.account.substr(slash + 1);
  }
  return account;
}

// The last line may say why there are no more flows.
std::optional<std::string> error_in(const std::string& line) {
  if (!line.starts_with("{\"error\"")) {
    return std::nullopt;
  }
  const auto parsed = json::parse(line, nullptr, false);
  const auto found = parsed.is_object() ? parsed.find("error") : parsed.end();
  return found != parsed.end() && found->is_string()
             ? std::optional(found->get<std::string>())
             : std::nullopt;
}

}  // namespace

Result<std::string> ask_operator(const OperatorAccess& access,
                                 std::string_view path,
                                 const QueryArguments& arguments) {
  auto conversation = Conversation::begin(access);
  if (!conversation) {
    return std::unexpected(conversation.error());
  }
  const auto token = token_of(
      *conversation,
      {.ns = access.ns, .name = kExplainAccount, .audience = kExplainAccount});
  if (!token) {
    return std::unexpected(token.error());
  }
  return conversation->send({.path = url_of(access, path, arguments),
                             .headers = {"X-Sluice-Token: " + *token},
                             .purpose = "ask the operator",
                             .max_response = kAnswerBytesMax});
}

Result<void> read_operator_flows(
    const OperatorAccess& access, const std::string& request, bool follow,
    const std::function<bool(const std::string& response)>& take) {
  auto account = observer_account(access);
  if (!account) {
    return std::unexpected(account.error());
  }
  account->seconds = follow ? kFollowSeconds : kTokenSeconds;
  auto conversation = Conversation::begin(access);
  if (!conversation) {
    return std::unexpected(conversation.error());
  }
  const auto token = token_of(*conversation, *account);
  if (!token) {
    return std::unexpected(token.error());
  }
  std::optional<std::string> error;
  auto read = conversation->read_lines(
      {.path = url_of(access, "/flows",
                      {{"request", kube::base64_encode(request)}}),
       .headers = {"X-Sluice-Token: " + *token},
       .purpose = "read flows"},
      [&](const std::string& line) {
        error = error_in(line);
        return !error && take(line);
      });
  if (error) {
    return fail("read flows: " + *error);
  }
  return read;
}

}  // namespace sluice::cli
