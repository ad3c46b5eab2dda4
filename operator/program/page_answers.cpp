// SPDX-License-Identifier: Apache-2.0
#include "operator/program/page_answers.h"

#include <cstddef>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/ui/reach.h"
#include "lib/ui/views_json.h"

namespace sluice::operatord {
namespace {

using nlohmann::json;

// The work of a matrix grows with the pods, and with the nodes that they are
// on, each of which has its own view of the policies: these, with 60 policies
// and 10,000 pods elsewhere, take 350 ms.
constexpr std::size_t kPodsMax = 2'000;
constexpr std::size_t kNodesMax = 100;
// After a matrix, in units of its time.
constexpr int kRest = 3;

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<void> check_size(const policy::Translator& translator,
                        const std::string& ns,
                        const std::vector<std::string>& pods) {
  std::set<std::string> nodes;
  for (const auto& name : pods) {
    const auto* pod = translator.pod(name);
    if (pod != nullptr && !pod->host_network && !pod->finished) {
      nodes.insert(pod->node);
    }
  }
  if (pods.size() <= kPodsMax && nodes.size() <= kNodesMax) {
    return {};
  }
  return fail("the namespace " + ns + " has " + std::to_string(pods.size()) +
              " pods on " + std::to_string(nodes.size()) +
              " nodes; the operator answers for at most " +
              std::to_string(kPodsMax) + " on " + std::to_string(kNodesMax) +
              ". `sluice reach` answers for any number, from manifests");
}

}  // namespace

bool PageAnswers::answers(const std::string& path) {
  return path == "/api/namespaces" || path == "/api/reach";
}

void PageAnswers::ask(const QueryServer::Question& question,
                      QueryServer::Done done) {
  if (question.path == "/api/namespaces") {
    done({.status = 200,
          .text = dump({{"namespaces", store_->pods().namespaces()}})});
    return;
  }
  Matrix matrix{
      .ns = {}, .ports = {}, .until = question.until, .done = std::move(done)};
  for (const auto& [name, value] : question.arguments) {
    if (name == "namespace") {
      matrix.ns = value;
    } else if (name == "port") {
      matrix.ports.push_back(value);
    }
  }
  waiting_.push_back(std::move(matrix));
  if (!rests_) {
    turn();
  }
}

void PageAnswers::turn() {
  rests_ = !waiting_.empty();
  if (!rests_) {
    return;
  }
  const auto matrix = std::move(waiting_.front());
  waiting_.pop_front();
  const auto begun = Loop::Clock::now();
  matrix.done(answer(matrix));
  timer_ =
      loop_->after((Loop::Clock::now() - begun) * kRest, [this] { turn(); });
}

QueryServer::Reply PageAnswers::answer(const Matrix& matrix) const {
  if (QueryServer::Clock::now() >= matrix.until) {
    return {.status = 503, .text = "the operator has not answered in time"};
  }
  const auto pods = store_->pods().pods_of(matrix.ns);
  if (auto fits = check_size(*translator_, matrix.ns, pods); !fits) {
    return {.status = 422, .text = fits.error().message};
  }
  const auto view = ui::reach_of(*translator_, matrix.ns, pods, matrix.ports);
  return view ? QueryServer::Reply{.status = 200, .text = dump(*view)}
              : QueryServer::Reply{.status = 422, .text = view.error().message};
}

}  // namespace sluice::operatord
