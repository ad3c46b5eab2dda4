// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <google/protobuf/field_mask.pb.h>

#include "flow.pb.h"
#include "lib/base/result.h"

namespace sluice::flow {

// Which fields of a flow a client wants: all, or those of a mask.
class FlowMask {
 public:
  FlowMask() = default;  // all
  // A mask without paths means all fields. Refuses paths that a flow does not
  // have, and too many.
  static Result<FlowMask> parse(const google::protobuf::FieldMask& mask);
  // Removes the other fields.
  void apply(::flow::Flow& flow) const;

 private:
  bool all_ = true;
  google::protobuf::FieldMask mask_;
};

}  // namespace sluice::flow
