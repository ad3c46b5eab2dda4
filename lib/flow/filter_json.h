// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include <google/protobuf/repeated_ptr_field.h>

#include "flow.pb.h"
#include "lib/base/result.h"

namespace sluice::flow {

// Adds the filters of `text`: objects of JSON with the fields of a FlowFilter,
// one after the other. Nothing is added on failure, nor if there is none.
Result<void> add_filters(
    std::string_view text,
    google::protobuf::RepeatedPtrField<::flow::FlowFilter>& to);

}  // namespace sluice::flow
