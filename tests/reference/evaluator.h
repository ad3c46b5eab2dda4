// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/scenario.h"
#include "tests/reference/match.h"
#include "tests/reference/world.h"

namespace sluice::reference {

// Answers one probe at a time by walking every policy, as slowly and as plainly
// as it can. Independent of lib/policy, to be compared with it. Takes its
// objects to be valid: whoever knows that some are not names them in `rejected`
// ("namespace/name" or "name"). Of these a NetworkPolicy isolates and grants
// nothing; the others do nothing. `found`: what nodes have beside the addresses
// of their objects, by node.
class Evaluator {
 public:
  using FoundAddresses = std::map<std::string, std::vector<IpAddress>>;
  explicit Evaluator(const std::vector<cli::ScenarioObject>& objects,
                     const std::set<std::string>& rejected = {},
                     const FoundAddresses& found = {});

  // In which families the probe can be sent: false = IPv4, true = IPv6. Empty
  // if an end is unknown or has no address in common with the other.
  [[nodiscard]] std::vector<bool> families(const cli::Probe& probe) const;

  struct Answer {
    cli::Verdict egress = cli::Verdict::kNone;
    cli::Verdict ingress = cli::Verdict::kNone;
  };
  // `names`: for which DNS has given the other end's address to the sender.
  [[nodiscard]] Answer judge(const cli::Probe& probe, bool v6,
                             const std::vector<LearnedName>& names = {}) const;

  // What the sender's policy says of questions to the probe's other end by DNS:
  // nothing, or that every one is allowed, or that one for this name is, or is
  // not. nullopt: it allows no packets there, whatever names the address has.
  enum class Asking : std::uint8_t { kNoServer, kEvery, kYes, kNo };
  struct Asked {
    Asking asking = Asking::kNoServer;
    // The address is that of a Service: servers behind it may differ.
    bool service = false;
  };
  [[nodiscard]] std::optional<Asked> ask(const cli::Probe& probe, bool v6,
                                         const std::string& name) const;

  [[nodiscard]] const World& world() const { return world_; }

 private:
  [[nodiscard]] cli::Verdict side(const cli::ProbeEnd& subject,
                                  const cli::ProbeEnd& other, bool egress,
                                  bool v6, const cli::Probe& probe,
                                  const std::vector<LearnedName>& names) const;
  [[nodiscard]] Asking ask_plainly(const Question& question,
                                   const std::string& name) const;
  [[nodiscard]] const Pod* subject_of(const cli::ProbeEnd& end) const;
  [[nodiscard]] Peer peer_of(const cli::ProbeEnd& end, const Pod& subject,
                             bool v6) const;
  [[nodiscard]] Peer peer_at(const IpAddress& ip, const Pod& subject) const;
  [[nodiscard]] bool allowed(const Question& question) const;
  [[nodiscard]] bool allowed_itself(const Question& question) const;
  [[nodiscard]] bool isolated(const Question& question) const;
  // What policy says of the address itself, whatever stands behind it.
  [[nodiscard]] bool allowed_plainly(const Question& question) const;

  World world_;
};

}  // namespace sluice::reference
