// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <simdjson.h>

#include "lib/kube/api/event.h"

// The fast way from JSON to an event: simdjson's stream of tokens is read once.
// False at anything that is not as it nearly always is: a wrong type, a
// duplicate key, a missing name. `event` is then in any state, and decode.h is
// to be asked.
//
// Internal to the event decoder.
namespace sluice::kube::fast {

// Name, namespace, uid, version and generation.
bool read_identity(simdjson::ondemand::object object, Event& event);
// The identity and the object of `event.resource`. False also for the shapes
// that have no fast way: what is seldom, or needed as a whole.
bool decode(simdjson::ondemand::object object, Event& event);

}  // namespace sluice::kube::fast
