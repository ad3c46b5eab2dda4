// SPDX-License-Identifier: Apache-2.0
#include "agent/program/questions.h"

#include <algorithm>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "agent/node/resolved.h"
#include "lib/explain/view_text.h"

namespace sluice::agentd {
namespace {

constexpr std::chrono::seconds kPatience{5};
// Open questions. The operator takes a few a second from one agent.
constexpr std::size_t kOpenMax = 16;

std::string text(const nlohmann::json& request, const char* name) {
  const auto found = request.find(name);
  return found != request.end() && found->is_string()
             ? found->get<std::string>()
             : std::string{};
}

}  // namespace

Questions::Questions(wire::Client& client, node::Server& server,
                     const OperatorLink& link, const agent::Agent& agent,
                     Finish finish)
    : client_(&client),
      server_(&server),
      link_(&link),
      agent_(&agent),
      finish_(std::move(finish)) {}

// The other ends of the flows that the kernel holds, as many as one question
// may have.
std::vector<IpAddress> Questions::remotes() const {
  std::set<IpAddress> found;
  const auto entries = agent_->dump_conntrack();
  if (!entries) {
    return {};  // the request's own answer says why
  }
  for (const auto& entry : *entries) {
    found.insert(entry.remote);
    if (entry.origin) {
      found.insert(*entry.origin);
    }
    if (found.size() >= wire::kQuestionAddressesMax) {
      break;
    }
  }
  std::vector<IpAddress> result(found.begin(), found.end());
  result.resize(std::min(result.size(), wire::kQuestionAddressesMax));
  return result;
}

std::optional<wire::Question> Questions::question_of(
    const std::string& request) const {
  const auto parsed = nlohmann::json::parse(request, nullptr, false);
  if (!parsed.is_object()) {
    return std::nullopt;
  }
  const auto command = text(parsed, "command");
  wire::Question question;
  if (command == "explain") {
    const auto complete =
        node::with_names(*agent_, {.from = text(parsed, "from"),
                                   .to = text(parsed, "to"),
                                   .port = text(parsed, "port")});
    if (!complete) {
      return std::nullopt;  // the request's own answer says why
    }
    question.kind = wire::Question::Kind::kExplain;
    question.from = complete->from;
    question.to = complete->to;
    question.port = complete->port;
    return question;
  }
  if (command == "policy list") {
    question.kind = wire::Question::Kind::kWarnings;
    return question;
  }
  if (command == "conntrack list") {
    question.addresses = remotes();
    if (!question.addresses.empty()) {
      return question;
    }
  }
  return std::nullopt;
}

// Why the question could not be asked; empty if it was.
std::string Questions::ask(const wire::Question& question) const {
  if (waiting_.size() >= kOpenMax || !server_->can_wait()) {
    return "too many questions wait for the operator";
  }
  if (client_->ask(question)) {
    return {};
  }
  return link_->connected ? "the operator is too old to be asked"
                          : "no operator is connected: " + link_->problem;
}

std::optional<node::Server::Answer> Questions::take(
    const std::string& request) {
  auto question = question_of(request);
  if (!question) {
    return std::nullopt;
  }
  question->id = last_id_ + 1;
  if (const auto why = ask(*question); !why.empty()) {
    Heard heard;
    heard.problem = why;
    return finish_(request, heard);
  }
  last_id_ = question->id;
  waiting_.push_back({.id = question->id,
                      .request = request,
                      .addresses = std::move(question->addresses),
                      .until = Clock::now() + kPatience});
  return node::Server::Answer{
      .reply = {}, .drops_only = false, .ticket = question->id};
}

void Questions::finish(const Waiting& waiting, const Heard& heard) {
  server_->answer(waiting.id, finish_(waiting.request, heard).reply);
}

void Questions::on_answer(const wire::Answer& answer) {
  const auto found = std::ranges::find(waiting_, answer.id, &Waiting::id);
  if (found == waiting_.end()) {
    return;  // too late
  }
  const auto waiting = std::move(*found);
  waiting_.erase(found);
  Heard heard;
  heard.problem = answer.error;
  if (!answer.explanation.empty()) {
    if (auto view = explain::from_json_text(answer.explanation)) {
      heard.view = std::move(*view);
    } else {
      heard.problem = "the operator's answer is " + view.error().message;
    }
  }
  // An answer with fewer names than addresses names the first ones.
  const auto count = std::min(answer.names.size(), waiting.addresses.size());
  for (std::size_t i = 0; i < count; ++i) {
    heard.names[waiting.addresses[i]] = answer.names[i];
  }
  for (const auto& policy : answer.warnings) {
    heard.warnings[policy.policy] = policy.warnings;
  }
  finish(waiting, heard);
}

void Questions::on_disconnect() {
  Heard heard;
  heard.problem = "the operator has disconnected: " + link_->problem;
  for (const auto& waiting : std::exchange(waiting_, {})) {
    finish(waiting, heard);
  }
}

void Questions::turn() {
  Heard heard;
  heard.problem = "the operator has not answered within " +
                  std::to_string(kPatience.count()) + " seconds";
  const auto now = Clock::now();
  while (!waiting_.empty() && waiting_.front().until <= now) {
    const auto waiting = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    finish(waiting, heard);
  }
}

}  // namespace sluice::agentd
