// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

// Splits a list of the API server into items while it arrives, so that a list
// of any length needs the memory of one item.
//
// Internal to the reflector. A value; one thread.
namespace sluice::kube {

class ListSplitter {
 public:
  // Receives each element of `items`, followed by kDecodePadding readable
  // bytes.
  using ItemHandler = std::function<Result<void>(std::string_view item)>;

  ListSplitter(ItemHandler handler, std::size_t max_item);

  // Takes the next bytes of the list. Do not continue after an error.
  Result<void> feed(std::string_view bytes);

  struct Head {
    std::string resource_version;
    std::string continue_token;  // empty: this was the last page
  };
  // To be called after the last byte. Fails if this was not a complete list.
  [[nodiscard]] Result<Head> finish() const;

 private:
  Result<void> take_item();
  Result<void> keep(std::string_view bytes);
  // Handles a bracket; true if the given bytes were stored.
  Result<bool> open(char bracket, std::string_view before);
  Result<bool> close(std::string_view before_and_bracket);
  [[nodiscard]] bool at_items() const;
  std::size_t skip_string(std::string_view bytes, std::size_t from);

  ItemHandler handler_;
  std::size_t max_item_;
  std::string head_;  // the list without the contents of `items`
  std::string item_;  // the element being received
  std::size_t depth_ = 0;
  bool in_items_ = false;  // depth 2 is that of `items`
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace sluice::kube
