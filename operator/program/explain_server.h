// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/base/result.h"
#include "lib/explain/view.h"
#include "lib/kube/api/client.h"
#include "lib/wire/tls.h"

namespace sluice::operatord {

// Answers `sluice explain --operator`: GET /explain?from=&to=&port=, which the
// API server's proxy of Services passes on.
//
// The proxy removes the Authorization header, does not identify the user, and
// does not verify the operator's certificate. Sending the user's own token in
// another header would disclose it to any server at the Service's address. The
// client therefore sends a token of the service account sluice-explain in the
// header X-Sluice-Token. Users who may create tokens of that account get one
// from the API server. Its audience is sluice-explain, so it is valid for
// nothing else, and it expires after minutes. Every request is checked by a
// TokenReview. A request without such a token is refused, also one that comes
// from inside the cluster.
//
// libmicrohttpd's thread receives requests and sends answers. Everything else,
// including all calls of members, happens in the thread of the loop.
class ExplainServer {
 public:
  using Explain = std::function<Result<std::string>(
      const explain::ExplainRequest& request)>;

  // `client` must outlive this object. `ns`: of the service account.
  ExplainServer(kube::Client& client, std::string address,
                const std::string& ns, Explain explain);
  ExplainServer(const ExplainServer&) = delete;
  ExplainServer& operator=(const ExplainServer&) = delete;
  ExplainServer(ExplainServer&&) = delete;
  ExplainServer& operator=(ExplainServer&&) = delete;
  ~ExplainServer();

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
