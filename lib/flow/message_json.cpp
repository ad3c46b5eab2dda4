// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/message_json.h"

#include <google/protobuf/util/json_util.h>

namespace sluice::flow {

std::string to_json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  return google::protobuf::util::MessageToJsonString(message, &text, options)
                 .ok()
             ? text
             : std::string{};
}

}  // namespace sluice::flow
