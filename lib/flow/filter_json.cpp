// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/filter_json.h"

#include <algorithm>
#include <cstddef>
#include <string>

#include <google/protobuf/util/json_util.h>

namespace sluice::flow {
namespace {

constexpr std::string_view kBetween = " \t\r\n,";

// The length of the object with which the text begins; that of the whole text
// if the object has no end.
std::size_t object_size(std::string_view text) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string) {
      at += c == '\\' ? 1 : 0;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{') {
      ++depth;
    } else if (c == '}' && --depth == 0) {
      return at + 1;
    }
  }
  return text.size();
}

}  // namespace

Result<void> add_filters(
    std::string_view text,
    google::protobuf::RepeatedPtrField<::flow::FlowFilter>& to) {
  google::protobuf::RepeatedPtrField<::flow::FlowFilter> filters;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(kBetween), text.size()));
    if (text.empty()) {
      break;
    }
    if (text.front() != '{') {
      return fail(
          R"(a filter is a JSON object, such as {"verdict":["DROPPED"]})");
    }
    const auto size = object_size(text);
    const auto parsed = google::protobuf::util::JsonStringToMessage(
        std::string(text.substr(0, size)), filters.Add());
    if (!parsed.ok()) {
      return fail("not a filter: " + std::string(parsed.message()));
    }
    text.remove_prefix(size);
  }
  to.MergeFrom(filters);
  return {};
}

}  // namespace sluice::flow
