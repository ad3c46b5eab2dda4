// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/codec.h"

// Questions and answers as messages.
namespace sluice::wire {
namespace {

Result<void> take_text(const std::string& from, std::string& to) {
  if (from.size() > kQuestionTextMax) {
    return fail("a question of " + std::to_string(from.size()) + " bytes");
  }
  to = from;
  return {};
}

Result<Question> explain_question(const v1::ExplainQuestion& message) {
  Question question;
  question.kind = Question::Kind::kExplain;
  for (const auto& [from, to] : {std::pair{&message.from(), &question.from},
                                 {&message.to(), &question.to},
                                 {&message.port(), &question.port}}) {
    if (auto taken = take_text(*from, *to); !taken) {
      return std::unexpected(taken.error());
    }
  }
  return question;
}

Result<Question> names_question(const v1::NamesQuestion& message) {
  Question question;
  if (static_cast<std::size_t>(message.addresses_size()) >
      kQuestionAddressesMax) {
    return fail("a question about " + std::to_string(message.addresses_size()) +
                " addresses");
  }
  for (const auto& bytes : message.addresses()) {
    const auto address = ip_of(bytes);
    if (!address) {
      return fail("a question about an address of " +
                  std::to_string(bytes.size()) + " bytes");
    }
    question.addresses.push_back(*address);
  }
  if (message.ends()) {
    question.kind = Question::Kind::kEnds;
  }
  if (message.ends() && question.addresses.size() > kQuestionEndsMax) {
    return fail("a question about what is at " +
                std::to_string(question.addresses.size()) + " addresses");
  }
  return question;
}

}  // namespace

v1::Question encode(const Question& question) {
  v1::Question message;
  message.set_id(question.id);
  switch (question.kind) {
    case Question::Kind::kExplain: {
      auto& explain = *message.mutable_explain();
      explain.set_from(question.from);
      explain.set_to(question.to);
      explain.set_port(question.port);
      break;
    }
    case Question::Kind::kNames:
    case Question::Kind::kEnds: {
      auto& names = *message.mutable_names();
      names.set_ends(question.kind == Question::Kind::kEnds);
      for (const auto& address : question.addresses) {
        append_bytes(*names.add_addresses(), address);
      }
      break;
    }
    case Question::Kind::kWarnings:
      message.mutable_warnings();
      break;
  }
  return message;
}

Result<Question> decode(const v1::Question& message) {
  Result<Question> question = fail("a question of an unknown kind");
  if (message.has_explain()) {
    question = explain_question(message.explain());
  } else if (message.has_names()) {
    question = names_question(message.names());
  } else if (message.has_warnings()) {
    question = Question{.kind = Question::Kind::kWarnings};
  }
  if (question) {
    question->id = message.id();
  }
  return question;
}

v1::Answer encode(const Answer& answer) {
  v1::Answer message;
  message.set_id(answer.id);
  message.set_error(answer.error);
  message.set_explanation(answer.explanation);
  for (const auto& name : answer.names) {
    message.add_names(name);
  }
  for (const auto& end : answer.ends) {
    message.add_ends(end);
  }
  for (const auto& policy : answer.warnings) {
    auto& added = *message.add_warnings();
    added.set_policy(policy.policy);
    for (const auto& warning : policy.warnings) {
      added.add_warnings(warning);
    }
  }
  return message;
}

Answer decode(const v1::Answer& message) {
  Answer answer{.id = message.id(),
                .error = message.error(),
                .explanation = message.explanation(),
                .names = {message.names().begin(), message.names().end()},
                .ends = {message.ends().begin(), message.ends().end()}};
  for (const auto& policy : message.warnings()) {
    answer.warnings.push_back(
        {.policy = policy.policy(),
         .warnings = {policy.warnings().begin(), policy.warnings().end()}});
  }
  return answer;
}

}  // namespace sluice::wire
