// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "lib/kube/api/client.h"
#include "lib/kube/api/requests.h"
#include "operator/cluster_store.h"

namespace sluice::operatord {

// meta/v1 Condition, without the time, which is that of the last change of
// `status`.
struct Condition {
  std::string type;
  bool status = false;
  std::string reason;
  std::string message;
  bool operator==(const Condition&) const = default;
};

// The condition that an object shows, if it is about this generation of it.
std::optional<Condition> shown_condition(const op::PolicyObject& object,
                                         const std::string& type);

struct StatusStats {
  std::uint64_t writes = 0;
  std::uint64_t failures = 0;
  std::uint64_t events = 0;
};

// Writes conditions into the status of objects, a few at a time, only where
// they say something else than is there, and until it has worked. Makes events.
//
// Belongs to the loop's thread. `client` outlives it.
class StatusWriter {
 public:
  // `instance`: who says so, for events.
  StatusWriter(kube::Client& client, std::string instance);
  StatusWriter(const StatusWriter&) = delete;
  StatusWriter& operator=(const StatusWriter&) = delete;
  StatusWriter(StatusWriter&&) = delete;
  StatusWriter& operator=(StatusWriter&&) = delete;
  ~StatusWriter();

  // The object came or changed (perhaps by what was written here).
  void seen(const op::PolicyObject& object);
  // What its status is to say. Other conditions in it are left alone.
  void want(const op::PolicyObject& object, std::vector<Condition> conditions);
  void forget(const op::ObjectKey& key);
  // Gives up all that is not written yet: another replica does it.
  void stop();

  void event(const op::PolicyObject& object, bool warning,
             const std::string& reason, const std::string& message);

  [[nodiscard]] const StatusStats& stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::operatord
