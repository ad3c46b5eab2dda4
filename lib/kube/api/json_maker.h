// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <nlohmann/json.hpp>
#include <simdjson.h>

// Makes the JSON value of an object, without its metadata.managedFields.
//
// Internal to the event decoder. For one value.
namespace sluice::kube::fast {

class JsonMaker {
 public:
  // False if the text is not JSON, or nested too deep.
  bool make(simdjson::ondemand::value value, nlohmann::json& out);
  bool make_object(simdjson::ondemand::object object, nlohmann::json& out);
  [[nodiscard]] bool too_deep() const { return too_deep_; }

 private:
  bool enter();
  bool make_object(simdjson::ondemand::value value, nlohmann::json& out);
  bool make_array(simdjson::ondemand::value value, nlohmann::json& out);
  static bool make_scalar(simdjson::ondemand::value value, nlohmann::json& out);

  std::size_t depth_ = 0;
  bool in_metadata_ = false;
  bool too_deep_ = false;
};

}  // namespace sluice::kube::fast
