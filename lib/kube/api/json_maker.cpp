// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/json_maker.h"

#include <string>
#include <utility>

#include "lib/kube/api/json_reader.h"
#include "lib/kube/manifest_builder.h"

namespace sluice::kube::fast {

using nlohmann::json;

bool JsonMaker::make(od::value value, json& out) {
  switch (od::json_type type{};
          value.type().get(type) == SUCCESS ? type : od::json_type::null) {
    case od::json_type::object:
      return make_object(value, out);
    case od::json_type::array:
      return make_array(value, out);
    default:
      return make_scalar(value, out);
  }
}

bool JsonMaker::make_object(od::object object, json& out) {
  if (!enter()) {
    return false;
  }
  out = json::object();
  auto& made = out.get_ref<json::object_t&>();
  const bool good =
      members(object, [&](std::string_view key, od::value& member) {
        const bool metadata = depth_ == 1 && key == "metadata";
        if (in_metadata_ && depth_ == 2 && key == "managedFields") {
          return true;
        }
        if (metadata) {
          in_metadata_ = true;
        }
        json value;
        const bool made_value = make(member, value);
        if (metadata) {
          in_metadata_ = false;
        }
        made.insert_or_assign(std::string(key), std::move(value));
        return made_value;
      });
  --depth_;
  return good;
}

bool JsonMaker::enter() {
  too_deep_ = too_deep_ || depth_ == manifest::kMaxDepth;
  ++depth_;
  return !too_deep_;
}

bool JsonMaker::make_object(od::value value, json& out) {
  od::object object;
  return value.get_object().get(object) == SUCCESS && make_object(object, out);
}

bool JsonMaker::make_array(od::value value, json& out) {
  od::array array;
  if (!enter() || value.get_array().get(array) != SUCCESS) {
    return false;
  }
  out = json::array();
  for (auto element : array) {
    od::value item;
    if (element.get(item) != SUCCESS || !make(item, out.emplace_back())) {
      return false;
    }
  }
  --depth_;
  return true;
}

bool JsonMaker::make_scalar(od::value value, json& out) {
  std::string_view text;
  if (value.get_string().get(text) == SUCCESS) {
    out = text;
    return true;
  }
  bool flag = false;
  if (value.get_bool().get(flag) == SUCCESS) {
    out = flag;
    return true;
  }
  if (is_null(value)) {
    out = nullptr;
    return true;
  }
  // Parses numbers in the same way as the other decoder's library.
  text = value.raw_json_token();
  if (text.empty() ||
      (text.front() != '-' && (text.front() < '0' || text.front() > '9'))) {
    return false;
  }
  out = json::parse(text, nullptr, false);
  od::number number;
  return out.is_number() &&
         (value.get_number().get(number) == SUCCESS || out.is_number_float());
}

}  // namespace sluice::kube::fast
