// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/support/status.h>

#include "lib/explain/view.h"
#include "lib/flow/flow_pull.h"
#include "lib/kube/api/client.h"
#include "lib/wire/tls.h"

namespace sluice::operatord {

// Answers the `sluice` command of people who have a kubeconfig (`--operator`),
// through the API server's proxy of Services:
//
//   GET /explain?from=&to=&port=&to-name=
//   GET /status, /endpoints, /policies
//   GET /api/policies, /api/namespaces, /api/reach?namespace=&port=
//                        for the page of `sluice ui`; see lib/ui/server.h
//   GET /flows?request=  a GetFlowsRequest of Hubble's API in base64; the
//   answer
//                        is a line of JSON for each GetFlowsResponse, and empty
//                        lines in between. A last line {"error": text} says why
//                        there are no more
//
// The proxy removes the Authorization header, does not identify the user, and
// does not verify the operator's certificate. Sending the user's own token in
// another header would disclose it to any server at the Service's address. The
// client therefore sends a token of a service account in the header
// X-Sluice-Token. Users who may create tokens of that account get one from the
// API server. Its audience is the operator alone, so it is valid for nothing
// else, and it expires after minutes. Every request is checked by a
// TokenReview. A request without such a token is refused, also one that comes
// from inside the cluster.
//
// Flows are for tokens that flow::Gate admits; everything else is for those of
// the service account sluice-explain.
//
// Questions and flows have places of their own, so that readers keep nobody
// from asking, nor the other way round.
//
// libmicrohttpd's thread receives requests and sends answers. Everything else,
// including all calls of members, happens in the thread of the loop.
class QueryServer {
 public:
  using Clock = std::chrono::steady_clock;
  using Arguments = std::vector<std::pair<std::string, std::string>>;

  struct Question {
    // "/explain", "/status", "/endpoints" or "/policies", or one of the web
    // page: "/api/policies", "/api/namespaces" or "/api/reach".
    std::string path;
    explain::ExplainRequest request;  // of "/explain"
    Arguments arguments;
    Clock::time_point until;  // nobody waits for the answer after it
  };
  // JSON, or why there is none, with the status of HTTP: 422 if the question is
  // at fault, 429 or 503 if it may be asked again in a moment.
  struct Reply {
    int status = 200;
    std::string text;
  };
  using Done = std::function<void(Reply reply)>;
  struct Sources {
    // Called in the loop's thread. `done` is called once, in any thread, also
    // after this object is gone.
    std::function<void(const Question& question, Done done)> ask;
    // Called in the server's thread.
    std::function<std::shared_ptr<flow::FlowPull>(
        const std::string& authorization, std::string request)>
        flows;
  };

  // `client` must outlive this object. `ns`: of the service account.
  QueryServer(kube::Client& client, std::string address, const std::string& ns,
              Sources sources);
  QueryServer(const QueryServer&) = delete;
  QueryServer& operator=(const QueryServer&) = delete;
  QueryServer(QueryServer&&) = delete;
  QueryServer& operator=(QueryServer&&) = delete;
  ~QueryServer();

  // Listens with this certificate from the next turn() on. A server that is
  // already listening is closed first, so its open requests may get no answer.
  // If it cannot listen, this is logged, and tried again after a while.
  void set_certificate(const wire::TlsCertificate& certificate);
  // Checks the tokens of new requests, and removes requests that are done. To
  // be called often.
  void turn();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The status of HTTP for a call's end.
int http_status(const grpc::Status& status);

}  // namespace sluice::operatord
