// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "lib/base/ip.h"
#include "lib/base/result.h"

// Scenario files: a small cluster, its policies, and the verdicts that probes
// must get. The format is documented in docs/scenarios.md.
namespace sluice::cli {

struct ProbeEnd {
  enum class Kind : std::uint8_t { kPod, kService, kIp, kEntity };
  Kind kind = Kind::kPod;
  std::string name;  // "namespace/name", the address as written, or the entity
  IpAddress ip;      // kIp only
};

// The verdict of one end's policy; kNone: that end has no policy of its own.
enum class Verdict : std::uint8_t { kAllow, kDeny, kNone };
// "allow", "deny" or "none".
std::string to_string(Verdict verdict);

struct Probe {
  ProbeEnd from;
  ProbeEnd to;
  std::uint8_t protocol = 6;       // IPPROTO_*
  std::uint16_t port = 0;          // destination port; ICMP: type << 8 | code
  std::uint16_t last_port = 0;     // of a range that begins at `port`; 0: none
  std::string port_name;           // of a port of `to`, in place of `port`
  bool any_protocol = false;       // of the port with that name
  std::optional<Verdict> egress;   // expected of the policy at `from`
  std::optional<Verdict> ingress;  // expected of the policy at `to`
  std::optional<bool> allowed;     // expected of the connection as a whole
  int line = 0;                    // where it, or its scenario, begins
};

// "default/web -> 10.0.0.1 80/TCP".
std::string to_string(const Probe& probe);

// A DNS server that a pod asks.
struct DnsAsked {
  Probe probe;  // from the pod to the server; no expectations
  std::string name;
};

// What happens between probes, or what is asked of questions by DNS.
struct ScenarioStep {
  // An answer to the pod's question.
  struct Answer {
    DnsAsked asked;
    std::vector<std::string> cname;  // the chain behind the name, in order
    std::vector<IpAddress> addresses;
    std::uint32_t ttl_s = 0;
  };
  // May the pod ask?
  struct MayAsk {
    DnsAsked asked;
    bool expected = true;
  };
  struct Wait {
    std::uint32_t seconds = 0;
  };
  std::size_t probe = 0;  // takes place before the probe with this index
  std::variant<Answer, MayAsk, Wait> what;
};

struct ScenarioObject {
  std::shared_ptr<const nlohmann::json> object;  // an object; never null
  int line = 0;  // where it, or its scenario, begins
};

// An object that must be rejected.
struct ScenarioInvalid {
  std::string object;     // "namespace/name", or "name" for cluster-wide kinds
  bool may_pass = false;  // Sluice may accept it all the same
};

struct Scenario {
  std::string name;    // "line 12" where the file gives none
  std::string source;  // where its expectations come from
  std::vector<std::string> features;
  std::string note;
  std::vector<ScenarioObject> objects;
  std::vector<ScenarioInvalid> invalid;
  std::vector<Probe> probes;
  std::vector<ScenarioStep> steps = {};  // NOLINT(readability-redundant*)
  std::string file;
  int line = 0;
};

// An error from the handler ends the reading and is returned as it is.
using ScenarioHandler = std::function<Result<void>(const Scenario&)>;

// Calls `handler` for each scenario of a file, in order, with one of them in
// memory at a time (.json and YAML: the whole file). By extension:
//   .jsonl, .jsonl.gz  one scenario per line
//   .json              one scenario or a list of them
//   .yaml, .yml        one scenario per document; likewise "-", the standard
//                      input
// Stops at the first scenario that cannot be read, with an error
// "file:line: field: what"; a file without any is an error too. Sizes are
// bounded; no exceptions from any input.
Result<void> read_scenarios(const std::filesystem::path& path,
                            const ScenarioHandler& handler);

// One scenario from its JSON form. `file`, `line` and the lines of its probes
// only say where it stands.
Result<Scenario> parse_scenario(const nlohmann::json& json,
                                const std::string& file, int line,
                                const std::vector<int>& probe_lines = {});

// True if read_scenarios() knows the extension.
bool is_scenario_file(const std::filesystem::path& path);

}  // namespace sluice::cli
