// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

// kustomize gives the objects of a folder names, namespaces and labels that
// their files do not have.
namespace sluice::lint {

// The part of a path up to its last slash.
inline std::string_view folder_of(std::string_view file) {
  const auto slash = file.rfind('/');
  return slash == std::string_view::npos ? std::string_view{}
                                         : file.substr(0, slash + 1);
}

inline bool is_kustomization(std::string_view file) {
  const auto name = file.substr(folder_of(file).size());
  return name == "kustomization.yaml" || name == "kustomization.yml";
}

}  // namespace sluice::lint
