// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace google::protobuf {
class Message;
}

namespace sluice::flow {

// A message of the API as one line of JSON, with the names of its fields. Empty
// if JSON cannot say it: a time before the year 1 or after 9999.
std::string to_json(const google::protobuf::Message& message);

}  // namespace sluice::flow
