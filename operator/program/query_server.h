// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/result.h"
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
// libmicrohttpd's thread receives requests and sends answers. Everything else,
// including all calls of members, happens in the thread of the loop.
class QueryServer {
 public:
  // JSON, or why there is none.
  using Done = std::function<void(Result<std::string> answer)>;
  using Arguments = std::vector<std::pair<std::string, std::string>>;
  struct Sources {
    std::function<Result<std::string>(const explain::ExplainRequest& request)>
        explain;
    // `path`: "/status", "/endpoints" or "/policies". `done` is called once, in
    // any thread, also after this object is gone.
    std::function<void(const std::string& path, Done done)> ask;
    // Of the web page; `done` as above.
    std::function<void(const std::string& path, const Arguments& arguments,
                       Done done)>
        page;
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

}  // namespace sluice::operatord
