// SPDX-License-Identifier: Apache-2.0
#include "agent/instance/policy_source.h"

#include "agent/instance/text.h"

namespace sluice::instance {

void set_verdict(SideView& side, bool allowed, sluice_reason reason,
                 const RuleInfo* rule,
                 const std::optional<PolicyEntry>& entry) {
  side.judged = true;
  side.allowed = allowed;
  side.reason = reason_text(reason);
  if (rule != nullptr) {
    side.policy = rule->policy;
    side.path = rule->path;
  }
  if (entry) {
    side.entry = entry_text(entry->key, entry->value);
  }
}

}  // namespace sluice::instance
