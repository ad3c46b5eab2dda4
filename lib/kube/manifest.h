// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "lib/base/result.h"

// Converts Kubernetes manifests (YAML with any number of documents, or JSON) to
// JSON objects as the API server would receive them from kubectl. Plain scalars
// are typed by YAML 1.1 (`yes` is a boolean, `010` is 8), quoted ones are
// strings. Of duplicate keys the last one counts.
namespace sluice::kube {

struct ManifestObject {
  std::shared_ptr<const nlohmann::json> object;  // an object; never null
  std::string file;
  int line = 0;  // at which the object begins; from 1
  std::string api_version;
  std::string kind;
  std::string ns;    // empty where the object names none
  std::string name;  // likewise
};

struct Manifest {
  std::vector<ManifestObject>
      objects;                // in order of appearance; lists taken apart
  std::vector<Error> errors;  // "file:line: what", in order
  // Likewise for notes that are not errors: duplicate keys, documents that are
  // not Kubernetes objects.
  std::vector<Error> notes;
  bool has_others = false;  // a document was no Kubernetes object
};

// A broken document affects only itself: readable ones are in `objects`, errors
// in `errors`. `file` is only used to name the place. Nesting and the growth by
// aliases are bounded. No exceptions, whatever the input.
Manifest parse_manifest(std::string_view text, const std::string& file);

// The same for a file. Fails if it cannot be read or is too large.
Result<Manifest> read_manifest(const std::filesystem::path& path);

}  // namespace sluice::kube
