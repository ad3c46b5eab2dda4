// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/policy/translator.h"
#include "operator/cluster_store.h"
#include "operator/enforcement.h"
#include "operator/program/kept_versions.h"
#include "operator/program/status_writer.h"

namespace sluice::operatord {

// Reports for every policy whether it is valid and whether it is enforced: in
// its status and, if a user must act, by an event. Only while this replica
// leads. One thread, that of the loop.
class PolicyStatus {
 public:
  // All arguments must outlive this object.
  PolicyStatus(const op::ClusterStore& store,
               const policy::Translator& translator,
               const op::NodeProgress& progress, StatusWriter& writer,
               KeptVersions& kept);

  void set_leading(bool leads);
  [[nodiscard]] bool leads() const { return leads_; }

  // Objects were added, changed or deleted.
  void objects_changed(const std::vector<op::ObjectKey>& keys);
  // The state of these nodes' agents, which this replica serves, has changed.
  void nodes_changed(const std::vector<std::string>& nodes);
  // Takes the report of another replica about its agents.
  void report(const std::string& replica, bool first,
              const std::vector<wire::NodeReport>& nodes);
  void forget_replica(const std::string& replica);

  // Evaluates policies whose status is not final, and all policies from time to
  // time. `revision` is shown in the status. To be called at least every kTurn.
  void turn(std::uint64_t revision, op::Clock::time_point now);
  static constexpr std::chrono::milliseconds kTurn{50};

  // What the policy says that is probably not meant, also where this replica
  // does not lead; empty for an unknown policy.
  [[nodiscard]] std::vector<std::string> warnings(
      const policy::PolicyKey& key) const;

  struct Counts {
    std::size_t valid = 0;
    std::size_t invalid = 0;
    std::size_t enforced = 0;  // 0 where this replica does not lead
  };
  // By kind.
  [[nodiscard]] std::map<std::string, Counts> counts() const;

 private:
  struct Told {
    std::string uid;
    std::int64_t generation = 0;
    std::string invalid;  // message of the last event
    std::string failure;  // likewise
    std::string warned;   // likewise
    bool unkept = false;  // an event told
    bool enforced = false;
    op::Clock::time_point since;  // when this generation became known
  };

  void sweep();
  bool judge(const op::PolicyObject& object, std::uint64_t revision,
             op::Clock::time_point now);
  op::Enforced enforced(const op::PolicyObject& object,
                        op::Clock::time_point now);
  [[nodiscard]] std::vector<std::string> warnings_of(
      const op::PolicyObject& object, bool all) const;
  void keep(const op::PolicyObject& object, Told& told);
  void tell_invalid(const op::PolicyObject& object, Told& told);
  void tell_valid(const op::PolicyObject& object, const op::Enforced& enforced,
                  std::uint64_t revision, Told& told,
                  op::Clock::time_point now);

  const op::ClusterStore& store_;
  const policy::Translator& translator_;
  const op::NodeProgress& progress_;
  StatusWriter& writer_;
  KeptVersions& kept_;
  op::Enforcement enforcement_;
  bool leads_ = false;
  std::map<op::ObjectKey, Told> told_;
  std::set<op::ObjectKey> active_;  // status not final
  op::ObjectKey swept_;             // the last one evaluated by sweep()
  op::Clock::time_point turned_;
};

}  // namespace sluice::operatord
