// SPDX-License-Identifier: Apache-2.0
#include "operator/program/answers.h"

#include <utility>

#include "lib/base/result.h"
#include "lib/explain/cluster.h"
#include "lib/explain/view_text.h"
#include "lib/flow/cluster_end.h"
#include "lib/flow/message.h"

namespace sluice::operatord {
namespace {

// Questions of all agents; each may ask a few a second.
constexpr std::size_t kWaitingMax = 256;
// In one turn: a few milliseconds in the largest clusters.
constexpr int kPerTurn = 4;
// An answer that no agent has to refuse.
constexpr std::size_t kExplanationMax = 1'000'000;
constexpr std::size_t kWarningsMax = 1'000'000;

// The explanation as JSON. `node`: see explain::explain_cluster().
Result<std::string> explanation(const policy::Translator& translator,
                                const explain::ExplainRequest& request,
                                const std::string& node) {
  const auto view = explain::explain_cluster(translator, request, node);
  if (!view) {
    return std::unexpected(view.error());
  }
  auto text = explain::to_json_text(*view);
  if (text.size() > kExplanationMax) {
    return fail("the explanation is too long");
  }
  return text;
}

}  // namespace

Answers::Answers(const policy::Translator& translator, Warnings warnings,
                 Send send)
    : translator_(&translator),
      warnings_(std::move(warnings)),
      send_(std::move(send)) {}

void Answers::add(const std::string& node, wire::Question question) {
  if (questions_.size() >= kWaitingMax) {
    send_(node, {.id = question.id,
                 .error = "the operator has too many questions to answer",
                 .explanation = {},
                 .names = {},
                 .ends = {}});
    return;
  }
  questions_.push_back({.node = node, .question = std::move(question)});
}

void Answers::explain(const Asked& asked, wire::Answer& answer) const {
  const auto& question = asked.question;
  auto text = explanation(
      *translator_,
      {.from = question.from, .to = question.to, .port = question.port},
      asked.node);
  if (text) {
    answer.explanation = std::move(*text);
  } else {
    answer.error = text.error().message;
  }
}

// Warnings beyond the limit are left out, and the answer says so.
void Answers::warn(const std::string& node, wire::Answer& answer) const {
  std::size_t bytes = 0;
  for (const auto& key : translator_->policies_on(node)) {
    wire::PolicyWarnings policy{.policy = to_string(key),
                                .warnings = warnings_(key)};
    if (policy.warnings.empty()) {
      continue;
    }
    bytes += policy.policy.size();
    for (const auto& warning : policy.warnings) {
      bytes += warning.size();
    }
    if (bytes > kWarningsMax) {
      answer.error = "there are more warnings than one answer may have";
      return;
    }
    answer.warnings.push_back(std::move(policy));
  }
}

wire::Answer Answers::answer(const Asked& asked) const {
  const auto& question = asked.question;
  wire::Answer answer;
  answer.id = question.id;
  switch (question.kind) {
    case wire::Question::Kind::kNames:
      answer.names.reserve(question.addresses.size());
      for (const auto& address : question.addresses) {
        answer.names.push_back(translator_->name_of(address));
      }
      break;
    case wire::Question::Kind::kEnds:
      answer.ends.reserve(asked.question.addresses.size());
      for (const auto& address : asked.question.addresses) {
        answer.ends.push_back(flow::to_bytes(
            flow::cluster_end(*translator_, address, asked.node)));
      }
      break;
    case wire::Question::Kind::kExplain:
      explain(asked, answer);
      break;
    case wire::Question::Kind::kWarnings:
      warn(asked.node, answer);
      break;
  }
  return answer;
}

void Answers::turn() {
  for (int i = 0; i < kPerTurn && !questions_.empty(); ++i) {
    const auto asked = std::move(questions_.front());
    questions_.pop_front();
    send_(asked.node, answer(asked));
  }
}

}  // namespace sluice::operatord
