// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <string>

#include "lib/base/result.h"
#include "lib/explain/view.h"
#include "lib/policy/translator.h"
#include "lib/wire/protocol.h"

namespace sluice::operatord {

// Answers what agents ask. Questions wait here until the changes of the turn
// have been handed over, and few are answered in one turn, so that no question
// delays a policy. Belongs to the loop's thread.
//
// An agent's token is bound to its node, and a node that has been taken over
// asks as its agent does. It gets the explanation of a connection only if one
// end is a pod of its node: such a connection's packets pass the node anyway,
// and what they get tells the verdict. The rules and policies of the other end
// are named, which is what the question is about; connections between other
// nodes' pods are none of its business. The name of an address is told to every
// agent: an agent asks for the other ends of its own flows, and which those are
// the operator cannot check.
class Answers {
 public:
  using Send =
      std::function<void(const std::string& node, const wire::Answer& answer)>;

  // `translator` must outlive this object.
  Answers(const policy::Translator& translator, Send send);

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

  const policy::Translator* translator_;
  Send send_;
  std::deque<Asked> questions_;
};

// The explanation as JSON. `node`: see explain::explain_cluster().
Result<std::string> explanation(const policy::Translator& translator,
                                const explain::ExplainRequest& request,
                                const std::string& node = {});

}  // namespace sluice::operatord
