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

// Returns the condition in the object's status if it refers to the current
// generation. If the kind's definition has no room for observedGeneration, the
// message begins with it ("generation 3: ..."); this part is not returned.
std::optional<Condition> shown_condition(const op::PolicyObject& object,
                                         const std::string& type);

struct StatusStats {
  std::uint64_t writes = 0;
  std::uint64_t failures = 0;
  std::uint64_t events = 0;
};

// Writes conditions into the status of objects, a few at a time, only if they
// differ from the stored ones, and retries until it succeeds. Creates events.
//
// Belongs to the loop's thread. `client` must outlive this object.
class StatusWriter {
 public:
  // `instance`: the reporting instance named in events.
  StatusWriter(kube::Client& client, std::string instance);
  StatusWriter(const StatusWriter&) = delete;
  StatusWriter& operator=(const StatusWriter&) = delete;
  StatusWriter(StatusWriter&&) = delete;
  StatusWriter& operator=(StatusWriter&&) = delete;
  ~StatusWriter();

  // The object was added or changed, possibly by a write of this object.
  void seen(const op::PolicyObject& object);
  // Sets the conditions that the object's status must have. Other conditions in
  // it are not changed.
  void want(const op::PolicyObject& object, std::vector<Condition> conditions);
  // The kind's definition at the API server drops parts of what is written:
  // observedGeneration, or inForce.
  [[nodiscard]] bool is_lossy(const std::string& kind) const;
  void forget(const op::ObjectKey& key);
  // Drops all pending writes, because another replica does them.
  void stop();

  void event(const op::PolicyObject& object, bool warning,
             const std::string& reason, const std::string& message);

  [[nodiscard]] const StatusStats& stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::operatord
