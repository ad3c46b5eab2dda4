// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/flow/record.h"

namespace flow {
class FlowFilter;
}  // namespace flow

namespace sluice::flow {

// Of a request.
inline constexpr std::size_t kFiltersMax = 100;

// Which flows a reader wants: those that one filter of the white list matches,
// all if it is empty, but for those that one of the black list matches. In a
// filter, every field that is set must match; of a field with several values,
// one of them. Const members: any thread.
class Filters {
 public:
  using List = std::span<const ::flow::FlowFilter* const>;

  // Refuses more filters, values or bytes than a reader may ask for. Their
  // number bounds how long match() takes.
  static Result<void> check_size(List white, List black);
  // Refuses what cannot be applied here, with the names of its fields, and
  // filters that are too large. `node`: the name of this node.
  static Result<Filters> compile(List white, List black,
                                 const std::string& node);
  // From now on, only flows with an end in one of the namespaces match as well.
  // Does nothing if there are none.
  void restrict_to(const std::vector<std::string>& namespaces);
  [[nodiscard]] bool match(const Record& record) const;

 private:
  using Condition = std::function<bool(const Record&)>;
  using Filter = std::vector<Condition>;
  friend class FilterCompiler;

  [[nodiscard]] static bool matches(const Filter& filter, const Record& record);

  std::vector<Filter> white_;
  std::vector<Filter> black_;
  std::vector<std::string> namespaces_;  // empty: all
};

}  // namespace sluice::flow
