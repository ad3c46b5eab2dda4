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
// The proxy takes the Authorization header away and does not say who asks, and
// it does not verify the certificate of the other end. A user's own token would
// therefore be lost or, in another header, given to whoever answers at the
// Service's address. So the asker sends a token of the service account
// sluice-explain for an audience of its own, which the API server makes for
// whoever may create tokens of that account, and which is good for nothing else
// and for minutes only. It comes in the header X-Sluice-Token. Every request is
// checked by TokenReview; who reaches the port without such a token, from
// inside the cluster or through the proxy, gets no answer.
//
// libmicrohttpd's thread takes requests and sends answers; everything else
// happens in the thread of the loop, which calls all members.
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

  // Listens, anew with another certificate. The server is closed meanwhile, so
  // an answer may be lost. Fails if it cannot listen; it may be called again.
  Result<void> open(const wire::TlsCertificate& certificate);
  // Checks and answers requests that have arrived, a few at a time.
  void turn();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::operatord
