// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/wire/authenticator.h"
#include "lib/wire/client.h"
#include "lib/wire/server.h"
#include "sluice/state.h"

// Operators and agents on loopback, driven by the test's own thread.
namespace sluice::wire::test {

using namespace std::chrono_literals;

// A folder of its own, gone at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  TemporaryFolder(TemporaryFolder&&) = delete;
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  [[nodiscard]] std::filesystem::path file(const std::string& name,
                                           const std::string& text) const;

 private:
  std::filesystem::path path_;
};

// Knows its tokens; "later" is answered when the test says so.
class FakeAuthenticator : public Authenticator {
 public:
  void authenticate(const std::string& token, Done done) override;

  std::map<std::string, Identity> tokens{
      {"any", {.allowed = true, .node = {}, .error = {}}},
      {"of-a", {.allowed = true, .node = "a", .error = {}}},
      {"of-b", {.allowed = true, .node = "b", .error = {}}}};
  std::vector<Done> waiting;
  int asked = 0;
};

// A small view: `pods` endpoints with a peer each, one policy set.
State make_state(int pods, std::uint32_t cidr_id = 7);
// Moves pod number `pod` to another peer class.
std::shared_ptr<const Transaction> make_change(std::uint64_t revision, int pod,
                                               std::uint32_t cidr_id);
bool same(const State& a, const State& b);

// An operator and what it was told.
struct Operator {
  explicit Operator(const ServerOptions& options = plain());
  static ServerOptions plain();

  FakeAuthenticator authenticator;
  std::vector<Connected> connected;
  std::vector<std::string> snapshot_needed;
  std::vector<std::string> disconnected;
  std::vector<std::string> forgotten;
  std::vector<std::string> refused;
  std::map<std::string, Ack> acks;
  std::vector<std::pair<bool, std::vector<PodAddress>>> announced;
  std::map<std::string, std::vector<IpAddress>> addresses;
  std::vector<Question> questions;
  std::vector<std::pair<std::string, FlowBatch>> flows;
  std::optional<Server> server;

  [[nodiscard]] std::string target() const;
  void send_snapshot(const std::string& node, std::uint64_t revision,
                     const State& state) const;
};

// An agent and what it was given. Acknowledges all of it unless told not to.
struct Agent {
  explicit Agent(const ClientOptions& options);
  static ClientOptions plain(const Operator& op, const TemporaryFolder& folder,
                             const std::string& token = "any");

  State state;
  std::uint64_t revision = 0;
  int snapshots = 0;
  int transactions = 0;
  std::optional<OnUnknown> on_unknown;
  std::vector<bool> connects;  // resumed or not
  std::vector<std::string> problems;
  std::vector<Answer> answers;
  std::vector<FlowRequest> flow_requests;
  std::vector<FlowControl> flow_controls;
  bool acknowledges = true;
  std::vector<Failure> failures;  // told with every acknowledgement
  std::optional<Client> client;
};

// Lets all of them work until `done`; false if that takes too long.
bool run_until(const std::vector<Operator*>& operators,
               const std::vector<Agent*>& agents,
               const std::function<bool()>& done,
               std::chrono::milliseconds deadline = 60s);

}  // namespace sluice::wire::test
