// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "lib/kube/manifest.h"
#include "lib/policy/parse.h"
#include "tests/fuzz/fuzz.h"

// Text as a manifest file. What is read is JSON: written out and read again it
// is the same object.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using sluice::fuzz::check;
  const auto manifest =
      sluice::kube::parse_manifest(sluice::fuzz::as_text(data, size), "input");
  for (const auto& error : manifest.errors) {
    check(error.message.starts_with("input:"), "an error says where it is");
    check(nlohmann::json::accept(nlohmann::json(error.message).dump()),
          "an error is valid UTF-8");
  }
  for (const auto& object : manifest.objects) {
    check(object.object != nullptr && object.object->is_object(),
          "an object is one");
    check(object.line > 0, "an object has a line");
    check(!object.kind.empty() && !object.api_version.empty(),
          "an object has a kind");
    const auto text = object.object->dump(
        -1, ' ', false, nlohmann::json::error_handler_t::strict);
    const auto again = sluice::kube::parse_manifest(text, "input");
    const bool list = object.kind.ends_with("List");
    check(list || (again.objects.size() == 1 &&
                   *again.objects[0].object == *object.object),
          "an object written as JSON is read as the same");
    if (sluice::policy::is_policy(object.api_version, object.kind)) {
      const auto policy = sluice::policy::parse_policy(*object.object);
      check(policy || !policy.error().message.empty(), "an error has a text");
    }
  }
  return 0;
}
