// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/list_splitter.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "lib/kube/api/event_decoder.h"
#include "lib/kube/api/json_fields.h"

namespace sluice::kube {
namespace {

using nlohmann::json;

// Limit for the text before and after a list's items, far above what occurs.
constexpr std::size_t kMaxHead = std::size_t{64} << 10;

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool is_opening(char c) {
  return c == '{' || c == '[';
}

bool is_closing(char c) {
  return c == '}' || c == ']';
}

}  // namespace

ListSplitter::ListSplitter(ItemHandler handler, std::size_t max_item)
    : handler_(std::move(handler)), max_item_(max_item) {}

// True if the value of the list's member "items" follows.
bool ListSplitter::at_items() const {
  constexpr std::string_view kKey = "\"items\"";
  std::string_view before = head_;
  const auto trim = [&] {
    while (!before.empty() && is_space(before.back())) {
      before.remove_suffix(1);
    }
  };
  trim();
  if (depth_ != 1 || !before.ends_with(':')) {
    return false;
  }
  before.remove_suffix(1);
  trim();
  if (!before.ends_with(kKey)) {
    return false;
  }
  before.remove_suffix(kKey.size());
  return !before.ends_with('\\');
}

// Returns the end of the string that contains `from`, or the end of the bytes.
std::size_t ListSplitter::skip_string(std::string_view bytes,
                                      std::size_t from) {
  std::size_t at = from;
  for (; at < bytes.size(); ++at) {
    const char c = bytes[at];
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      return at + 1;
    }
  }
  return at;
}

Result<void> ListSplitter::take_item() {
  item_.reserve(item_.size() + kDecodePadding);
  auto taken = handler_(item_);
  item_.clear();
  return taken;
}

// Adds bytes to the item or to the head, whichever this level belongs to.
Result<void> ListSplitter::keep(std::string_view bytes) {
  if (in_items_ && depth_ > 2) {
    item_ += bytes;
    return item_.size() > max_item_ ? fail("an object longer than " +
                                           std::to_string(max_item_) + " bytes")
                                    : Result<void>();
  }
  head_ += bytes;
  return head_.size() > kMaxHead ? fail("the answer is no list")
                                 : Result<void>();
}

// `before`: bytes not stored yet. Levels change only between stored bytes.
Result<bool> ListSplitter::open(char bracket, std::string_view before) {
  const bool item = in_items_ && depth_ == 2;
  const bool list = depth_ == 1 && bracket == '[';
  if (item || list) {
    if (auto kept = keep(before); !kept) {
      return std::unexpected(kept.error());
    }
  }
  in_items_ = in_items_ || (list && at_items());
  ++depth_;
  return item || list;
}

Result<bool> ListSplitter::close(std::string_view before_and_bracket) {
  const bool item = in_items_ && depth_ == 3;
  if (item) {
    if (auto kept = keep(before_and_bracket); !kept) {
      return std::unexpected(kept.error());
    }
  }
  // The parser of the head reports a surplus bracket.
  depth_ -= depth_ > 0 ? 1 : 0;
  in_items_ = in_items_ && depth_ >= 2;
  if (item) {
    if (auto taken = take_item(); !taken) {
      return std::unexpected(taken.error());
    }
  }
  return item;
}

Result<void> ListSplitter::feed(std::string_view bytes) {
  std::size_t begin = 0;  // of the bytes not stored yet
  for (std::size_t at = 0; at < bytes.size();) {
    if (in_string_) {
      at = skip_string(bytes, at);
      continue;
    }
    const char c = bytes[at++];
    if (c == '"') {
      in_string_ = true;
    } else if (is_opening(c)) {
      const auto kept = open(c, bytes.substr(begin, at - 1 - begin));
      if (!kept) {
        return std::unexpected(kept.error());
      }
      begin = *kept ? at - 1 : begin;
    } else if (is_closing(c)) {
      const auto kept = close(bytes.substr(begin, at - begin));
      if (!kept) {
        return std::unexpected(kept.error());
      }
      begin = *kept ? at : begin;
    } else if (c == ',' && in_items_ && depth_ == 2) {
      // Text between elements is stored, so that the head is valid JSON without
      // them.
      if (auto kept = keep(bytes.substr(begin, at - 1 - begin)); !kept) {
        return kept;
      }
      begin = at;
    }
  }
  return keep(bytes.substr(begin));
}

Result<ListSplitter::Head> ListSplitter::finish() const {
  const json head = json::parse(head_, nullptr, false);
  if (!head.is_object()) {
    return fail(depth_ == 0 ? "the answer is no list"
                            : "the list ends in the middle");
  }
  const auto metadata = head.find("metadata");
  const auto items = head.find("items");
  if (metadata == head.end() || !metadata->is_object() || items == head.end() ||
      (!items->is_null() && !(items->is_array() && items->empty()))) {
    return fail("the answer is no list");
  }
  Head result{.resource_version = text_of(*metadata, "resourceVersion"),
              .continue_token = text_of(*metadata, "continue")};
  // A watch from no version, or from 0, has another meaning.
  if (result.resource_version.empty() || result.resource_version == "0") {
    return fail("the list has no resourceVersion");
  }
  return result;
}

}  // namespace sluice::kube
