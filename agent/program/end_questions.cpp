// SPDX-License-Identifier: Apache-2.0
#include "agent/program/end_questions.h"

#include <algorithm>
#include <utility>

#include "lib/flow/message.h"

namespace sluice::agentd {
namespace {

constexpr std::chrono::milliseconds kInterval{250};
// A question that is not answered for so long is given up.
constexpr std::chrono::seconds kPatience{5};

}  // namespace

bool EndQuestions::ask(const std::vector<IpAddress>& addresses,
                       const Learn& learn) {
  const auto now = Clock::now();
  if (now < next_ || (!addresses_.empty() && now < next_ + kPatience)) {
    return false;
  }
  wire::Question question;
  question.id = id_ + 1;
  question.kind = wire::Question::Kind::kEnds;
  question.addresses = addresses;
  question.addresses.resize(std::min(addresses.size(), wire::kQuestionEndsMax));
  if (!client_->ask(question)) {
    return false;
  }
  id_ = question.id;
  addresses_ = std::move(question.addresses);
  learn_ = learn;
  next_ = now + kInterval;
  return true;
}

bool EndQuestions::on_answer(const wire::Answer& answer) {
  if (answer.id != id_) {
    return false;
  }
  const auto addresses = std::exchange(addresses_, {});
  const auto count = std::min(addresses.size(), answer.ends.size());
  for (std::size_t i = 0; i < count; ++i) {
    if (auto end = flow::end_from_bytes(answer.ends[i])) {
      learn_(addresses[i], std::move(*end));
    }
  }
  return true;
}

}  // namespace sluice::agentd
