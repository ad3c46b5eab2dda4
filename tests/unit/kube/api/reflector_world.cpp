// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/kube/api/reflector_world.h"

#include <nlohmann/json.hpp>

namespace sluice::kube::test {

using nlohmann::json;
using std::chrono::milliseconds;

std::string pod(const std::string& name, int version, const std::string& more) {
  return R"({"metadata":{"namespace":"x","name":")" + name + R"(","uid":"u-)" +
         name + R"(","resourceVersion":")" + std::to_string(version) +
         R"("},"status":{)" + more + "}}";
}

std::string line(const std::string& type, const std::string& object) {
  return R"({"type":")" + type + R"(","object":)" + object + "}\n";
}

std::string bookmark(int version) {
  return line("BOOKMARK", R"({"kind":"Pod","metadata":{"resourceVersion":")" +
                              std::to_string(version) + R"("}})");
}

std::string list(const std::vector<std::string>& items, int version,
                 const std::string& next) {
  std::string text = R"({"kind":"PodList","apiVersion":"v1","metadata":{)"
                     R"("resourceVersion":")" +
                     std::to_string(version) + R"(","continue":")" + next +
                     R"("},"items":[)";
  for (std::size_t i = 0; i < items.size(); ++i) {
    text += (i == 0 ? "" : ",") + items[i];
  }
  return text + "]}\n";
}

std::string status_object(int code, const std::string& reason,
                          const std::string& message) {
  return json{{"kind", "Status"},
              {"code", code},
              {"reason", reason},
              {"message", message}}
      .dump();
}

std::string too_new_status() {
  return R"({"kind": "Status", "code": 504, "reason": "Timeout",
             "message": "Too large resource version: 100, current: 60",
             "details": {"causes": [{"reason": "ResourceVersionTooLarge"}]}})";
}

std::string gone_status() {
  return status_object(410, "Expired", "too old");
}

std::string text_of(const Event& event) {
  switch (event.type) {
    case Event::Type::kSet:
      return "set " + event.name + " " + event.resource_version;
    case Event::Type::kDeleted:
      return "deleted " + event.name;
    case Event::Type::kInvalid:
      return "invalid " + event.name + ": " + event.error;
  }
  return "";
}

ReflectorOptions quick() {
  ReflectorOptions options;
  options.backoff_base = milliseconds(5);
  options.backoff_cap = milliseconds(50);
  options.absent_poll_min = milliseconds(10);
  options.absent_poll_max = milliseconds(20);
  options.absent_confirm = milliseconds(60);
  options.absent_confirm_known = milliseconds(150);
  return options;
}

}  // namespace sluice::kube::test
