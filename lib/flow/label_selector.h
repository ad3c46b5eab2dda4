// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace sluice::flow {

// A label selector in Kubernetes' text form: requirements, separated by commas,
// of the forms "key", "!key", "key = value", "key == value", "key != value",
// "key in (a, b)" and "key notin (a, b)" (labels.Parse() of apimachinery). Keys
// may have a source in front ("k8s:app"); without one, the source does not
// count.
class LabelSelector {
 public:
  static Result<LabelSelector> parse(std::string_view text);
  // `labels`: "source:key=value" or "source:key".
  [[nodiscard]] bool matches(const std::vector<std::string>& labels) const;

 private:
  struct Requirement {
    std::string source;  // empty: any
    std::string key;
    std::vector<std::string> values;  // empty: any
    bool negated = false;  // the label must not exist with one of the values
  };
  class Parser;
  std::vector<Requirement> requirements_;
};

}  // namespace sluice::flow
