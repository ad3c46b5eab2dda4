// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "lib/base/result.h"
#include "sluice/state.h"
#include "wire.pb.h"

namespace sluice::wire {

// Checks everything in a chunk, and adds its parts to the transaction. `bytes`
// counts the memory that they take; more than `bytes_max` is refused. On
// failure the transaction is of no use any more. Internal to Decoder.
Result<void> read_chunk(const v1::Chunk& chunk, Transaction& to,
                        std::size_t& bytes, std::size_t bytes_max);

}  // namespace sluice::wire
