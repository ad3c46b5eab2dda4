// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <string>

#include "lib/policy/translator.h"
#include "lib/wire/protocol.h"

namespace sluice::operatord {

// Answers questions of agents. Questions wait until the changes of the current
// turn have been handed over, and only a few are answered per turn, so that no
// question delays a policy. Belongs to the loop's thread.
//
// An agent's token is bound to its node, and an attacker who controls a node
// can ask everything that its agent can. An agent therefore gets explanations
// only for connections with one end on its node: their packets pass through the
// node, so it can observe the verdict anyway. The answer names the policies and
// rules of the other end. Explanations of connections between pods of other
// nodes are refused. Every agent may ask for the names of addresses, because
// the operator cannot check that they are the other ends of its own flows. It
// gets the warnings of the policies that apply to pods of its node.
class Answers {
 public:
  using Send =
      std::function<void(const std::string& node, const wire::Answer& answer)>;

  // What a policy says that is probably not meant.
  using Warnings =
      std::function<std::vector<std::string>(const policy::PolicyKey& policy)>;

  // `translator` must outlive this object.
  Answers(const policy::Translator& translator, Warnings warnings, Send send);

  void add(const std::string& node, wire::Question question);
  [[nodiscard]] bool waiting() const { return !questions_.empty(); }
  // Answers some questions.
  void turn();

 private:
  struct Asked {
    std::string node;
    wire::Question question;
  };
  [[nodiscard]] wire::Answer answer(const Asked& asked) const;
  void explain(const Asked& asked, wire::Answer& answer) const;
  void warn(const std::string& node, wire::Answer& answer) const;

  const policy::Translator* translator_;
  Warnings warnings_;
  Send send_;
  std::deque<Asked> questions_;
};

}  // namespace sluice::operatord
