// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <simdjson.h>

#include "lib/kube/api/event.h"

// The fast decoder from JSON to an event: it reads simdjson's stream of tokens
// once. Returns false at anything unusual: a wrong type, a duplicate key, a
// missing name. `event` is then in an unspecified state, and decode.h must be
// used.
//
// Internal to the event decoder.
namespace sluice::kube::fast {

// Name, namespace, uid, version and generation.
bool read_identity(simdjson::ondemand::object object, Event& event);
// Decodes the identity and the object of `event.resource`. Also returns false
// for shapes without a fast decoder: rare ones, and those needed as a whole.
bool decode(simdjson::ondemand::object object, Event& event);

}  // namespace sluice::kube::fast
