// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/seat.h"

#include <utility>

namespace sluice::flow {

Result<void> Seat::take(const std::string& user) {
  leave();
  if (auto entered = cluster_.enter(user, places_); !entered) {
    return entered;
  }
  user_ = user;
  return {};
}

void Seat::leave() {
  if (user_) {
    cluster_.leave(*std::exchange(user_, std::nullopt), places_);
  }
}

}  // namespace sluice::flow
