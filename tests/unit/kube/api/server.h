// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/loop.h"
#include "lib/kube/api/client.h"

// A false API server for tests: HTTP/1.1 over plain sockets or TLS, with a
// thread for every connection, that answers as each test wants.
namespace sluice::kube::test {

struct HttpRequest {
  std::string method;
  std::string target;  // path and query
  std::string path;
  std::map<std::string, std::string> query;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  [[nodiscard]] bool is_watch() const { return query.contains("watch"); }
  [[nodiscard]] std::string get(const std::string& name) const;
  [[nodiscard]] std::string header(const std::string& name) const;
};

// One connection, from the server's side; used by its own thread only.
class Peer {
 public:
  virtual ~Peer() = default;
  Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  Peer(Peer&&) = delete;
  Peer& operator=(Peer&&) = delete;

  // A whole answer. `headers`: further lines, each with \r\n.
  void reply(int status, std::string_view body, std::string_view headers = {});
  // A chunked one. Each says whether the client is still there.
  bool begin(std::string_view headers = {});
  bool chunk(std::string_view bytes);
  bool end();
  // Returns when the client or the server goes.
  void wait_gone();
  // The connection is cut instead of being kept.
  void cut() { cut_ = true; }
  [[nodiscard]] bool is_cut() const { return cut_; }

  virtual bool write(std::string_view bytes) = 0;
  // 0 at the end.
  virtual std::size_t read(char* to, std::size_t size) = 0;

 private:
  bool cut_ = false;
};

// Files made by the openssl command, in a folder of their own.
struct TlsFiles {
  std::filesystem::path folder;
  std::filesystem::path ca;
  std::filesystem::path certificate;  // for 127.0.0.1 and "api.test"
  std::filesystem::path key;
  std::filesystem::path other_ca;  // which did not sign it
};
const TlsFiles& tls_files();

class FakeServer {
 public:
  using Handler = std::function<void(const HttpRequest&, Peer&)>;

  explicit FakeServer(Handler handler, bool tls = false);
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  FakeServer(FakeServer&&) = delete;
  FakeServer& operator=(FakeServer&&) = delete;
  ~FakeServer();

  [[nodiscard]] ClusterConfig config() const;
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::vector<HttpRequest> requests() const;
  // Requests whose target contains `part`.
  [[nodiscard]] int count(std::string_view part) const;
  // Ends the connections there are; new ones are welcome.
  void cut_all();

 private:
  struct Tls;
  void accept_all();
  void serve(int fd);
  bool serve_one(Peer& peer, std::string& buffer);

  Handler handler_;
  std::unique_ptr<Tls> tls_;
  Fd listener_;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  mutable std::mutex lock_;  // guards what follows
  std::vector<HttpRequest> requests_;
  std::vector<int> open_;
  std::list<std::thread> threads_;
  std::thread acceptor_;
};

// A loop that runs until something holds; false if it does not within the time.
bool run_until(Loop& loop, const std::function<bool()>& holds,
               std::chrono::milliseconds limit = std::chrono::seconds(20));

// Runs the loop for this time, for what must not happen. False if it ends too
// late.
bool run_for(Loop& loop, std::chrono::milliseconds time);

std::string gzip(std::string_view text);

}  // namespace sluice::kube::test
