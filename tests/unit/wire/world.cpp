// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/wire/world.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include <poll.h>

namespace sluice::wire::test {
namespace {

constexpr std::uint32_t kSet = 42;

IpAddress pod_ip(int pod) {
  return *parse_ip("10.0." + std::to_string(pod / 250) + "." +
                   std::to_string(1 + (pod % 250)));
}

std::string pod_name(int pod) {
  const auto number = std::to_string(pod);
  return "default/pod-" + std::string(6 - number.size(), '0') + number;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  auto pattern =
      (std::filesystem::temp_directory_path() / "wire_XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw std::runtime_error("mkdtemp");
  }
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path TemporaryFolder::file(const std::string& name,
                                            const std::string& text) const {
  std::ofstream(path_ / name) << text;
  return path_ / name;
}

void FakeAuthenticator::authenticate(const std::string& token, Done done) {
  ++asked;
  if (token == "later") {
    waiting.push_back(std::move(done));
    return;
  }
  const auto found = tokens.find(token);
  done(found == tokens.end()
           ? Identity{.allowed = false, .node = {}, .error = "unknown"}
           : found->second);
}

State make_state(int pods, std::uint32_t cidr_id) {
  State state;
  for (int i = 0; i < pods; ++i) {
    const auto ip = pod_ip(i);
    state.peers.push_back({.prefix = make_prefix(ip, 32), .cidr_id = cidr_id});
    EndpointEntry endpoint{.name = pod_name(i),
                           .policy_set = kSet,
                           .isolated = {true, false},
                           .ips = {ip},
                           .interface = {}};
    state.endpoints.push_back(std::move(endpoint));
  }
  sluice_policy_key key{};
  key.prefixlen = SLUICE_PREFIX_PORT;
  key.policy_id = kSet;
  key.cidr_id = cidr_id;
  key.protocol = 6;
  key.port = __builtin_bswap16(80);
  sluice_policy_value value{};
  value.verdict = SLUICE_VERDICT_ALLOW;
  value.rule = 100;
  state.entries.push_back({.key = key, .value = value});
  state.rules.push_back({.id = 100,
                         .policy = "NetworkPolicy/default/web",
                         .path = "spec.ingress[0]",
                         .action = "allow",
                         .log_value = {}});
  PolicySetInfo set{
      .id = kSet, .policies = {"NetworkPolicy/default/web"}, .isolating = {}};
  set.isolating[0] = set.policies;
  state.sets.push_back(std::move(set));
  state.names.push_back({.id = SLUICE_CIDR_NAME | 7, .pattern = "*.example"});
  state.resolvers.push_back(
      {.address = *parse_ip("10.96.0.10"), .port = 53, .protocol = 17});
  return state;
}

std::shared_ptr<const Transaction> make_change(std::uint64_t revision, int pod,
                                               std::uint32_t cidr_id) {
  auto change = std::make_shared<Transaction>();
  change->revision = revision;
  change->peers.push_back(
      {.prefix = make_prefix(pod_ip(pod), 32), .cidr_id = cidr_id});
  return change;
}

bool same(const State& a, const State& b) {
  return a.peers == b.peers && a.entries == b.entries &&
         a.endpoints == b.endpoints && a.rules == b.rules && a.sets == b.sets &&
         a.names == b.names && a.resolvers == b.resolvers;
}

ServerOptions Operator::plain() {
  ServerOptions options;
  options.address = "127.0.0.1:0";
  options.plain_text = true;
  options.program_version = "operator-test";
  return options;
}

Operator::Operator(const ServerOptions& options) {
  Server::Handlers handlers;
  handlers.on_connect = [this](const Connected& who) {
    connected.push_back(who);
  };
  handlers.on_snapshot_needed = [this](const std::string& node) {
    snapshot_needed.push_back(node);
  };
  handlers.on_ack = [this](const std::string& node, const Ack& ack) {
    acks[node] = ack;
  };
  handlers.on_announcement = [this](const std::string&, bool begins,
                                    const std::vector<PodAddress>& pods) {
    announced.emplace_back(begins, pods);
  };
  handlers.on_addresses = [this](const std::string& node,
                                 const std::vector<IpAddress>& all) {
    addresses[node] = all;
  };
  handlers.on_question = [this](const std::string&, Question question) {
    questions.push_back(std::move(question));
  };
  handlers.on_flows = [this](const std::string& node, FlowBatch batch) {
    flows.emplace_back(node, std::move(batch));
  };
  handlers.on_disconnect = [this](const std::string& node, const std::string&) {
    disconnected.push_back(node);
  };
  handlers.on_forget = [this](const std::string& node) {
    forgotten.push_back(node);
  };
  handlers.on_refused = [this](const std::string&, const std::string& why) {
    refused.push_back(why);
  };
  auto started = Server::start(options, std::move(handlers), authenticator);
  if (!started) {
    throw std::runtime_error(started.error().message);
  }
  server = std::move(*started);
}

std::string Operator::target() const {
  return "127.0.0.1:" + std::to_string(server->port());
}

void Operator::send_snapshot(const std::string& node, std::uint64_t revision,
                             const State& state) const {
  const_cast<Server&>(*server).send_snapshot(
      node, revision, std::make_shared<const State>(state));
}

ClientOptions Agent::plain(const Operator& op, const TemporaryFolder& folder,
                           const std::string& token) {
  ClientOptions options;
  options.target = op.target();
  options.node = "a";
  options.plain_text = true;
  options.token_file = folder.file("token", token + "\n");
  options.program_version = "agent-test";
  options.backoff_first = 20ms;
  options.backoff_max = 200ms;
  return options;
}

Agent::Agent(const ClientOptions& options) {
  Client::Handlers handlers;
  handlers.on_snapshot = [this](std::uint64_t number, State whole) {
    state = std::move(whole);
    revision = number;
    ++snapshots;
    if (acknowledges) {
      client->acknowledge(
          {.received = number, .applied = number, .failures = failures});
    }
  };
  handlers.on_transaction = [this](const Transaction& change) {
    sluice::apply(state, change);
    revision = change.revision;
    ++transactions;
    if (acknowledges) {
      client->acknowledge({.received = revision,
                           .applied = failures.empty() ? revision : 0,
                           .failures = failures});
    }
  };
  handlers.on_answer = [this](Answer answer) {
    answers.push_back(std::move(answer));
  };
  handlers.on_flow_request = [this](FlowRequest request) {
    flow_requests.push_back(std::move(request));
  };
  handlers.on_flow_control = [this](const FlowControl& control) {
    flow_controls.push_back(control);
  };
  handlers.on_unknown = [this](OnUnknown value) { on_unknown = value; };
  handlers.on_connect = [this](bool resumed, const std::string&) {
    connects.push_back(resumed);
  };
  handlers.on_disconnect = [this](const std::string& why) {
    problems.push_back(why);
  };
  auto started = Client::start(options, std::move(handlers));
  if (!started) {
    throw std::runtime_error(started.error().message);
  }
  client = std::move(*started);
}

bool run_until(const std::vector<Operator*>& operators,
               const std::vector<Agent*>& agents,
               const std::function<bool()>& done,
               std::chrono::milliseconds deadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!done()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left <= 0ms) {
      return false;
    }
    std::vector<pollfd> fds;
    fds.reserve(operators.size() + agents.size());
    for (const auto* op : operators) {
      fds.push_back({.fd = op->server->poll_fd(), .events = POLLIN});
    }
    for (const auto* agent : agents) {
      fds.push_back({.fd = agent->client->poll_fd(), .events = POLLIN});
    }
    // What the condition looks at may change without these, so look again.
    ::poll(fds.data(), fds.size(),
           static_cast<int>(std::min<long>(left.count(), 50)));
    for (auto* op : operators) {
      op->server->dispatch();
    }
    for (auto* agent : agents) {
      agent->client->dispatch();
    }
  }
  return true;
}

}  // namespace sluice::wire::test
