// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/query.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

#include "lib/flow/filter_options.h"
#include "lib/flow/time_text.h"

namespace sluice::ui {
namespace {

std::optional<std::uint64_t> parse_number(const std::string& text) {
  std::uint64_t value = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end ? std::optional(value)
                                             : std::nullopt;
}

// The filters among the arguments. `other` takes one that is none, and fails if
// it does not know it either.
template <typename Other>
Result<void> parse(const Arguments& arguments,
                   ::observer::GetFlowsRequest& request, Other other) {
  if (arguments.size() > kArgumentsMax) {
    return fail("more than " + std::to_string(kArgumentsMax) + " arguments");
  }
  flow::FilterOptions filters;
  bool out = false;
  for (const auto& [name, value] : arguments) {
    if (name == "not" && !out) {
      out = true;
      continue;
    }
    const bool is_filter = std::ranges::any_of(
        flow::filter_options(),
        [&](const auto& option) { return option.name == name; });
    if (out && !is_filter) {
      return fail("not: stands before a filter");
    }
    const Result<void> done =
        is_filter ? filters.add(name, value, out) : other(name, value);
    if (!done) {
      return with_context(name, done.error());
    }
    out = false;
  }
  if (out) {
    return fail("not: stands before a filter");
  }
  return filters.add_to(request);
}

Result<void> set_flow_argument(std::string_view name, const std::string& value,
                               ::observer::GetFlowsRequest& request) {
  if (name == "since" || name == "until") {
    const auto time = flow::parse_time(value);
    if (!time) {
      return std::unexpected(time.error());
    }
    *(name == "since" ? request.mutable_since() : request.mutable_until()) =
        *time;
    return {};
  }
  if (name != "first" && name != "last") {
    return fail("there is no such argument");
  }
  const auto number = parse_number(value);
  if (!number || *number == 0 || *number > kFlowsMax) {
    return fail("must be a number from 1 to " + std::to_string(kFlowsMax));
  }
  request.set_number(*number);
  request.set_first(name == "first");
  return {};
}

}  // namespace

Result<::observer::GetFlowsRequest> parse_flow_query(
    const Arguments& arguments) {
  ::observer::GetFlowsRequest request;
  const auto done =
      parse(arguments, request, [&](const auto& name, const auto& value) {
        return set_flow_argument(name, value, request);
      });
  if (!done) {
    return std::unexpected(done.error());
  }
  if (request.number() == 0) {
    request.set_number(request.has_since() ? kFlowsMax : kFlowsByDefault);
  }
  return request;
}

Result<EdgeQuery> parse_edge_query(const Arguments& arguments) {
  EdgeQuery query;
  const auto done =
      parse(arguments, query.request,
            [&](const auto& name, const auto& value) -> Result<void> {
              if (name != "view" && name != "after") {
                return fail("there is no such argument");
              }
              const auto number = parse_number(value);
              if (!number) {
                return fail("must be a number");
              }
              (name == "view" ? query.view : query.after) = *number;
              return {};
            });
  if (!done) {
    return std::unexpected(done.error());
  }
  for (const auto* list :
       {&query.request.whitelist(), &query.request.blacklist()}) {
    for (const auto& filter : *list) {
      query.filters += filter.SerializeAsString();
      query.filters += '\0';
    }
    query.filters += '\n';
  }
  // From the oldest flow on.
  query.request.mutable_since()->set_seconds(0);
  query.request.set_follow(true);
  return query;
}

}  // namespace sluice::ui
