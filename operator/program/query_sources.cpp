// SPDX-License-Identifier: Apache-2.0
#include "operator/program/query_sources.h"

#include <memory>
#include <utility>

#include "operator/program/answers.h"
#include "operator/program/node_answers.h"
#include "operator/program/page_answers.h"

namespace sluice::operatord {
namespace {

constexpr const char* kPagePolicies = "/api/policies";

std::string cluster_text(const QueryContext& context, const std::string& path,
                         const flow::NodeQuery::Answers& nodes) {
  if (path == "/endpoints") {
    return endpoints_text(nodes);
  }
  if (path == kPagePolicies) {
    return page_policies_text(nodes, context.store, context.translator,
                              context.status);
  }
  return path == "/policies" ? policies_text(nodes, context.store,
                                             context.translator, context.status)
                             : status_text(nodes, context.store,
                                           context.version, context.identity);
}

// The nodes' answers come in any thread.
void ask_nodes(const std::shared_ptr<const QueryContext>& context,
               const std::string& path, QueryServer::Done done) {
  context->flows.ask_nodes(
      path == "/endpoints" ? node_endpoints_request() : node_status_request(),
      [context, path, done = std::move(done)](
          const grpc::Status& asked, const flow::NodeQuery::Answers& nodes) {
        if (!asked.ok()) {
          done(fail(asked.error_message()));
          return;
        }
        context->loop.post([context, path, done, nodes] {
          done(cluster_text(*context, path, nodes));
        });
      });
}

}  // namespace

QueryServer::Sources query_sources(QueryContext context) {
  const auto shared = std::make_shared<const QueryContext>(std::move(context));
  return {
      .explain =
          [shared](const explain::ExplainRequest& request) {
            return request.port.empty()
                       ? explanations(shared->translator, request)
                       : explanation(shared->translator, request);
          },
      .ask =
          [shared](const std::string& path, QueryServer::Done done) {
            ask_nodes(shared, path, std::move(done));
          },
      .page =
          [shared, page = std::make_shared<PageAnswers>(
                       shared->loop, shared->translator, shared->store)](
              const std::string& path, const QueryServer::Arguments& arguments,
              QueryServer::Done done) {
            if (path == kPagePolicies) {
              ask_nodes(shared, path, std::move(done));
            } else {
              page->ask(path, arguments, std::move(done));
            }
          },
      .flows =
          [shared](const std::string& authorization, std::string request) {
            return shared->flows.read(authorization, std::move(request));
          }};
}

}  // namespace sluice::operatord
