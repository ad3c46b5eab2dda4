// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "lib/kube/decode.h"
#include "tests/fuzz/fuzz.h"

// JSON as each of the Kubernetes objects, whatever kind it says it is.
namespace {

using sluice::fuzz::check;

template <typename T>
bool decoded(const sluice::Result<T>& result) {
  check(result || !result.error().message.empty(), "an error has a text");
  check(!result || !result->name.empty(), "an object has a name");
  return result.has_value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  namespace kube = sluice::kube;
  const auto object =
      sluice::fuzz::parse_bounded(sluice::fuzz::as_text(data, size));
  if (!object) {
    return 0;
  }
  const auto pod = kube::decode_pod(*object);
  if (decoded(pod)) {
    check(pod->ips.size() <= 2, "a pod has one address of each family");
    check(!pod->ns.empty() && !pod->service_account.empty(),
          "a pod has a namespace and a service account");
  }
  decoded(kube::decode_namespace(*object));
  decoded(kube::decode_node(*object));
  decoded(kube::decode_endpoint_slice(*object));
  decoded(kube::decode_cidr_group(*object));
  return 0;
}
