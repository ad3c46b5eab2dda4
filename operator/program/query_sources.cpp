// SPDX-License-Identifier: Apache-2.0
#include "operator/program/query_sources.h"

#include <memory>
#include <optional>
#include <utility>

#include "lib/explain/all_ports.h"
#include "lib/explain/cluster.h"
#include "lib/explain/view_text.h"
#include "operator/program/node_answers.h"
#include "operator/program/page_answers.h"
#include "operator/program/policy_facts.h"
#include "operator/program/steps.h"
#include "operator/program/worker.h"

namespace sluice::operatord {
namespace {

constexpr const char* kPagePolicies = "/api/policies";

using Done = QueryServer::Done;
using Question = QueryServer::Question;
using Reply = QueryServer::Reply;
using Nodes = std::shared_ptr<const flow::NodeQuery::Answers>;

bool is_late(const Question& question) {
  return QueryServer::Clock::now() >= question.until;
}

Reply late() {
  return {.status = 503, .text = "the operator has not answered in time"};
}

// What questions share. No job of the worker holds it.
struct SharedSources {
  explicit SharedSources(QueryContext context_in)
      : context(std::move(context_in)), steps(context.loop) {}

  const QueryContext context;
  Steps steps;
  Worker worker;
};
using Shared = std::shared_ptr<SharedSources>;

// Has the worker make the text.
template <typename Make>
void render(SharedSources& sources, const Question& question, Done done,
            Make make) {
  sources.worker.add(
      [question, done = std::move(done), make = std::move(make)] {
        done(is_late(question) ? late() : Reply{.status = 200, .text = make()});
      });
}

void explain_port(const Shared& sources, const Question& question, Done done) {
  sources->steps.add([sources = sources.get(), question,
                      done = std::move(done)] {
    if (is_late(question)) {
      done(late());
      return false;
    }
    auto view = explain::explain_cluster(sources->context.translator,
                                         question.request, {});
    if (!view) {
      done({.status = 422, .text = view.error().message});
      return false;
    }
    render(*sources, question, done,
           [view = std::move(*view)] { return explain::to_json_text(view); });
    return false;
  });
}

// Every port that makes a difference, one after the other.
class ExplainAllPorts {
 public:
  ExplainAllPorts(SharedSources& sources, Question question, Done done)
      : sources_(sources),
        question_(std::move(question)),
        done_(std::move(done)) {}

  bool step() {
    if (is_late(question_)) {
      done_(late());
      return false;
    }
    if (!ports_) {
      auto begun = explain::AllPorts::begin(sources_.context.translator,
                                            question_.request, {});
      if (!begun) {
        done_({.status = 422, .text = begun.error().message});
        return false;
      }
      ports_.emplace(std::move(*begun));
      return true;
    }
    if (ports_->step()) {
      return true;
    }
    finish();
    return false;
  }

 private:
  void finish() {
    auto views = std::move(*ports_).take();
    if (!views) {
      done_({.status = 422, .text = views.error().message});
      return;
    }
    render(sources_, question_, done_, [views = std::move(*views)] {
      return explain::to_json_text(views);
    });
  }

  SharedSources& sources_;
  const Question question_;
  const Done done_;
  std::optional<explain::AllPorts> ports_;
};

// In the loop's thread, when the nodes have answered. `short_of`: see
// node_shortfalls(); of the page's policies alone.
void collect_facts(SharedSources& sources, const Question& question, Done done,
                   Nodes nodes, NodeShortfalls short_of) {
  const auto& context = sources.context;
  PolicyFactCollector::Warnings warnings;
  if (question.path != "/status") {
    warnings = [&context](const policy::PolicyKey& policy) {
      return context.status.warnings(policy);
    };
  }
  auto facts = std::make_shared<PolicyFactCollector>(
      context.store, context.translator, std::move(warnings));
  if (question.path == kPagePolicies) {
    facts->find_subjects(short_of);
  }
  sources.steps.add([&sources, question, done = std::move(done),
                     short_of = std::move(short_of), nodes = std::move(nodes),
                     facts = std::move(facts)] {
    if (is_late(question)) {
      done(late());
      return false;
    }
    if (facts->step()) {
      return true;
    }
    const auto& known = sources.context;
    render(sources, question, done,
           [question, nodes, short_of, facts = std::move(*facts).take(),
            version = known.version, identity = known.identity] {
             if (question.path == kPagePolicies) {
               return page_policies_text(short_of, facts);
             }
             return question.path == "/policies"
                        ? policies_text(*nodes, facts)
                        : status_text(*nodes, facts, version, identity);
           });
    return false;
  });
}

// The nodes' answers come in any thread.
void ask_nodes(const Shared& sources, const Question& question, Done done) {
  const bool endpoints = question.path == "/endpoints";
  sources->context.flows.ask_nodes(
      endpoints ? node_endpoints_request() : node_status_request(),
      [sources, question, endpoints, done = std::move(done)](
          const grpc::Status& asked, const Nodes& nodes) {
        if (!asked.ok()) {
          done({.status = http_status(asked), .text = asked.error_message()});
        } else if (endpoints) {
          render(*sources, question, done,
                 [nodes] { return endpoints_text(*nodes); });
        } else {
          // The worker's thread ends with `sources`, and no job may keep it.
          const auto collect = [raw = sources.get(),
                                weak = std::weak_ptr(sources), question, done,
                                nodes](NodeShortfalls short_of) {
            raw->context.loop.post([weak, question, done, nodes,
                                    short_of = std::move(short_of)]() mutable {
              if (const auto alive = weak.lock()) {
                collect_facts(*alive, question, done, nodes,
                              std::move(short_of));
              }
            });
          };
          if (question.path == kPagePolicies) {
            sources->worker.add(
                [nodes, collect] { collect(node_shortfalls(*nodes)); });
          } else {
            collect({});
          }
        }
      });
}

void ask(const Shared& sources, const Question& question, Done done) {
  if (question.path != "/explain") {
    ask_nodes(sources, question, std::move(done));
  } else if (!question.request.port.empty()) {
    explain_port(sources, question, std::move(done));
  } else {
    const auto all =
        std::make_shared<ExplainAllPorts>(*sources, question, std::move(done));
    sources->steps.add([all] { return all->step(); });
  }
}

}  // namespace

QueryServer::Sources query_sources(QueryContext context) {
  const auto shared = std::make_shared<SharedSources>(std::move(context));
  const auto& known = shared->context;
  return {.ask =
              [shared, page = std::make_shared<PageAnswers>(
                           known.loop, known.translator, known.store)](
                  const Question& question, Done done) {
                if (PageAnswers::answers(question.path)) {
                  page->ask(question, std::move(done));
                } else {
                  ask(shared, question, std::move(done));
                }
              },
          .flows =
              [shared](const std::string& authorization, std::string request) {
                return shared->context.flows.read(authorization,
                                                  std::move(request));
              }};
}

}  // namespace sluice::operatord
