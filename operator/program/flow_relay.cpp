// SPDX-License-Identifier: Apache-2.0
#include "operator/program/flow_relay.h"

#include <utility>

#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include "lib/wire/replication.h"
#include "lib/wire/server.h"
#include "operator/program/flow_server.h"
#include "operator/program/replica_link.h"

namespace sluice::operatord {

FlowRelay::FlowRelay(Loop& loop, std::string identity)
    : loop_(loop), identity_(std::move(identity)), relay_(ends()) {}

FlowRelay::~FlowRelay() {
  if (links_) {
    loop_.remove_fd(links_->poll_fd());
  }
}

Result<std::unique_ptr<FlowRelay>> FlowRelay::create(
    Loop& loop, const std::string& identity) {
  std::unique_ptr<FlowRelay> made(new FlowRelay(loop, identity));
  wire::RelayOptions options;
  options.replica = identity;
  auto links = wire::RelayLinks::open(std::move(options), made->handlers());
  if (!links) {
    return std::unexpected(links.error());
  }
  made->links_ = std::move(*links);
  auto watched = loop.set_fd(
      made->links_->poll_fd(), EPOLLIN,
      [self = made.get()](std::uint32_t) { self->links_->dispatch(); });
  if (!watched) {
    made->links_.reset();
    return std::unexpected(watched.error());
  }
  return made;
}

flow::Relay::Ends FlowRelay::ends() {
  return {
      .send =
          [this](flow::Relay::Link link, wire::RelayMessage message) {
            return links_->send(link, std::move(message));
          },
      .request =
          [this](const std::string& node, std::uint64_t id,
                 const std::shared_ptr<const wire::FlowRequest>& request) {
            return server_ != nullptr &&
                   server_->request_flows(node, id, request);
          },
      .control =
          [this](const std::string& node, const wire::FlowControl& control) {
            if (server_ != nullptr) {
              server_->control_flows(node, control);
            }
          },
      .on_node =
          [this](const std::string& node,
                 const std::optional<bool>& gives_flows) {
            if (clients_ == nullptr) {
              return;
            }
            if (gives_flows) {
              clients_->node_connected(node, *gives_flows);
            } else {
              clients_->node_left(node);
            }
          },
      .on_batch =
          [this](wire::FlowBatch batch) {
            if (clients_ != nullptr) {
              clients_->on_flows(std::move(batch));
            }
          },
      .next_id = [] { return flow::Cluster::next_id(); }};
}

wire::RelayLinks::Handlers FlowRelay::handlers() {
  return {.on_open =
              [this](flow::Relay::Link link, const std::string& replica,
                     bool to_leader) {
                spdlog::info("relays flows with {}", replica);
                if (to_leader) {
                  told_problem_.clear();
                }
                relay_.link_opened(link, to_leader);
              },
          .on_message =
              [this](flow::Relay::Link link, wire::RelayMessage message) {
                return relay_.on_message(link, std::move(message));
              },
          .on_close =
              [this](flow::Relay::Link link, const std::string& why) {
                spdlog::info("a relay of flows has ended: {}", why);
                relay_.link_closed(link);
              },
          .on_problem = [this](const std::string& why) { on_problem(why); }};
}

void FlowRelay::on_problem(const std::string& why) {
  if (told_problem_ != why) {
    told_problem_ = why;
    spdlog::warn("flows of other replicas' nodes, from {}: {}", leader_, why);
  }
}

std::shared_ptr<wire::RelayAcceptor> FlowRelay::acceptor() const {
  return links_->acceptor();
}

void FlowRelay::set_certificate(const std::optional<wire::TlsMaterial>& tls,
                                const std::string& server_name) {
  tls_ = tls;
  server_name_ = server_name;
  links_->end_accepted("the replicas have another key");
  connect();
}

void FlowRelay::set_leader(const std::string& identity) {
  if (leader_ != identity) {
    leader_ = identity;
    told_problem_.clear();
    connect();
  }
}

void FlowRelay::connect() {
  auto target = address_of(leader_);
  if (target.empty() || leader_ == identity_) {
    links_->set_leader(std::nullopt);
    return;
  }
  links_->set_leader(wire::RelayTarget{
      .target = std::move(target),
      .server_name = server_name_,
      .ca_pem = tls_ ? tls_->ca_pem : std::string{},
      .token = wire::replica_token(tls_ ? tls_->server.key_pem : "")});
}

void FlowRelay::agent_connected(const std::string& node,
                                const wire::Version& version) {
  relay_.agent_connected(node, version.minor >= wire::kFlowsSince);
}

void FlowRelay::agent_left(const std::string& node) {
  relay_.agent_left(node);
}

void FlowRelay::on_flows(const std::string& node, wire::FlowBatch batch) {
  relay_.on_flows(node, std::move(batch));
}

flow::Cluster::Links FlowRelay::links() {
  return {
      .request =
          [this](const std::string& node, std::uint64_t id,
                 const std::shared_ptr<const wire::FlowRequest>& request) {
            return relay_.request(node, id, request);
          },
      .control =
          [this](const std::string& node, const wire::FlowControl& control) {
            relay_.control(node, control);
          },
      .wake = {}};
}

}  // namespace sluice::operatord
