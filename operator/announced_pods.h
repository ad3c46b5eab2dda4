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
// them into the pods' status. Until it has, they count as if it had; then what
// the status says counts. An agent is believed only for pods that are scheduled
// to its node, and only addresses that neither a node nor a pod of another node
// has. Pure; used by one thread.
class AnnouncedPods {
 public:
  // `translator` outlives it; it is only asked.
  explicit AnnouncedPods(const policy::Translator& translator)
      : translator_(&translator) {}

  // A pod as the API server has it, and as it counts. `uid` may be empty.
  kube::Pod seen(const kube::Pod& pod, const std::string& uid);
  void forget(const std::string& ns, const std::string& name);

  // What an agent says, and the pods that count otherwise than before.
  // `begins`: what that node's agent said before is void.
  std::vector<kube::Pod> announce(const std::string& node, bool begins,
                                  const std::vector<wire::PodAddress>& pods);

 private:
  struct Awaiting {
    kube::Pod pod;
    std::string uid;
    bool addressed = false;  // it counts with addresses that were announced
  };
  struct Announced {
    std::string node;
    wire::PodAddress pod;
  };
  [[nodiscard]] kube::Pod as_it_counts(const std::string& name,
                                       Awaiting& awaiting) const;
  // False if it is not the node's to say.
  bool put(const std::string& node, const wire::PodAddress& pod);
  void drop(const std::string& name);

  const policy::Translator* translator_;
  std::map<std::string, Awaiting> awaiting_;  // scheduled, without addresses
  std::map<std::string, Announced> announced_;
  std::map<std::string, std::set<std::string>> by_node_;  // names in announced_
};

}  // namespace sluice::op
