// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/ip.h"
#include "lib/kube/objects.h"
#include "lib/policy/translator.h"
#include "operator/object.h"

namespace sluice::kube {
struct Manifest;
}

namespace sluice::op {

// The state of one object for users.
struct ObjectStatus {
  ObjectKey key;
  bool policy = false;
  std::string source;     // "file:line" of the version this status is about
  bool valid = false;     // the newest version is valid
  bool in_force = false;  // this version or the last valid one is
  std::string reason;     // why the newest version is not valid
  std::vector<std::string> warnings;  // of the version in force
};

enum class Severity : std::uint8_t { kNote, kError };

struct Problem {
  Severity severity = Severity::kError;
  std::string source;   // "file:line" or "file"
  std::string object;   // "Kind/namespace/name", or empty
  std::string message;  // begins with the field's path where there is one
  bool policy = false;  // the object is one
  bool operator==(const Problem&) const = default;
};

// All objects, by the sources (files) that contain them, and which version of
// each is in force:
//  - the newest one if it is valid, otherwise the last valid one, otherwise the
//    replacement for an invalid policy (isolation_of());
//  - of an object in two files, the one in the file that had it first;
//  - none after the object has been removed from its file. A file that cannot
//    be parsed removes nothing.
// Changes of sources take effect together with commit(), which passes only
// differences to the translator. Pure; used by one thread.
class Store {
 public:
  // The translator must outlive the store.
  explicit Store(policy::Translator& translator,
                 OnInvalid on_invalid = OnInvalid::kOpen);
  ~Store();
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // `manifest` is the whole content of the source. If parts of it could not be
  // parsed or identified, no object counts as deleted.
  void set_source(const std::string& source, const kube::Manifest& manifest);
  // The source cannot be read; its previous content is kept.
  void fail_source(const std::string& source, const std::string& reason);
  void remove_source(const std::string& source);

  // Pods that name no node belong to this one. If no Node object has this name,
  // `node` is used as one; otherwise the addresses of both count.
  void set_local_node(const kube::Node& node);

  // Decides which versions are in force and passes changes to the translator.
  // True if there were any.
  bool commit();

  // Every object that a source holds, sorted by kind, namespace and name.
  [[nodiscard]] std::vector<ObjectStatus> objects() const;
  // By source.
  [[nodiscard]] std::vector<Problem> problems() const;
  [[nodiscard]] std::size_t source_count() const;

  // Valid Node objects of the sources, committed or not.
  [[nodiscard]] std::vector<kube::Node> nodes() const;
  // Returns the pod as the translator has it, with its node; nullptr if there
  // is none.
  [[nodiscard]] const kube::Pod* pod(const std::string& ns,
                                     const std::string& name) const;
  // "namespace/pod" or "node/name" behind an address; empty if unknown.
  [[nodiscard]] std::string name_of(const IpAddress& address) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::op
