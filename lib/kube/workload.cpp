// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/workload.h"

#include <string>
#include <string_view>

namespace sluice::kube {

Owner workload_of(const Pod& pod) {
  // A CronJob's Jobs end in the time of their schedule, in minutes since 1970,
  // which a date such as 20240101 is not: this one is in 2017.
  constexpr std::string_view kScheduleMin = "25000000";
  const auto& [kind, name] = pod.controller;
  const auto hash = pod.labels.find("pod-template-hash");
  if (kind == "ReplicaSet" && hash != pod.labels.end() &&
      name.ends_with("-" + hash->second)) {
    return {.kind = "Deployment",
            .name = name.substr(0, name.size() - hash->second.size() - 1)};
  }
  const auto dash = name.rfind('-');
  const auto schedule = dash == std::string::npos
                            ? std::string_view()
                            : std::string_view(name).substr(dash + 1);
  if (kind == "Job" && schedule.size() == kScheduleMin.size() &&
      schedule.find_first_not_of("0123456789") == std::string_view::npos &&
      schedule >= kScheduleMin) {
    return {.kind = "CronJob", .name = name.substr(0, dash)};
  }
  return name.empty() ? Owner{.kind = "Pod", .name = pod.name} : pod.controller;
}

}  // namespace sluice::kube
