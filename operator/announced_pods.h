// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/kube/objects.h"
#include "lib/policy/translator.h"
#include "lib/wire/protocol.h"

namespace sluice::op {

// Addresses of pods that their node's agent knows before kubelet has written
// them into the pods' status. Until then they count as the pods' addresses;
// afterwards the status counts. An agent is trusted only for pods scheduled to
// its node, and only with addresses that belong neither to a node nor to a pod
// of another node. Pure; used by one thread.
class AnnouncedPods {
 public:
  // `translator` must outlive this object, which only reads it.
  explicit AnnouncedPods(const policy::Translator& translator)
      : translator_(&translator) {}

  // Takes a pod as the API server has it, and returns it with the addresses
  // that count. `uid` may be empty.
  kube::Pod seen(const kube::Pod& pod, const std::string& uid);
  void forget(const std::string& ns, const std::string& name);

  // Takes an agent's announcement and returns the pods whose addresses have
  // changed by it. `begins`: all earlier announcements of that node's agent are
  // void.
  std::vector<kube::Pod> announce(const std::string& node, bool begins,
                                  const std::vector<wire::PodAddress>& pods);

 private:
  struct Awaiting {
    kube::Pod pod;
    std::string uid;
    bool addressed = false;  // announced addresses count for it
  };
  struct Announced {
    std::string node;
    wire::PodAddress pod;
  };
  [[nodiscard]] kube::Pod as_it_counts(const std::string& name,
                                       Awaiting& awaiting) const;
  // False if the node has no right to announce this address.
  bool put(const std::string& node, const wire::PodAddress& pod);
  void drop(const std::string& name);

  const policy::Translator* translator_;
  std::map<std::string, Awaiting> awaiting_;  // scheduled, without addresses
  std::map<std::string, Announced> announced_;
  std::map<std::string, std::set<std::string>> by_node_;  // names in announced_
};

}  // namespace sluice::op
