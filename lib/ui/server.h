// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "lib/base/result.h"
#include "lib/health/listener.h"
#include "lib/ui/sources.h"

namespace sluice::ui {

struct ServerOptions {
  std::string node;  // who serves it
  std::string version;
};

// Serves the web page and what it asks for, over HTTP and only by GET:
//
//   /                the page
//   /api/status      who serves it
//   /api/flows       flows; see parse_flow_query()
//   /api/edges       flows by their ends, ports, verdicts and policies; see
//                    parse_edge_query(). An answer has what has changed since
//                    the one before, whose "view" and "after" the reader gives
//   /api/namespaces  those of the cluster
//   /api/policies    all policies and what they select
//   /api/explain     ?from=&to=&port=&to-name=
//   /api/reach       ?namespace=&port=: who may reach whom
//
// Answers are JSON; errors are {"error": text}. Nobody has to say who they are,
// so it is for loopback addresses, or for behind a server that asks. Requests
// with the name of another host are refused. Connections, open requests and the
// size of answers are bounded.
class Server {
 public:
  // The sources must outlive the server, and call nothing that was posted to
  // them while the server is destroyed.
  static Result<Server> open(health::Listener listener, Sources& sources,
                             ServerOptions options);
  Server(Server&&) noexcept;
  Server& operator=(Server&&) noexcept;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  [[nodiscard]] int port() const;

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::ui
