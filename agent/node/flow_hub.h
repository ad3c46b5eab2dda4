// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "agent/node/views.h"
#include "sluice/abi.h"

namespace sluice::node {

// Hands the datapath's flow events, with their names, to those who want them.
// An event costs nothing while nobody does. One thread.
class FlowHub {
 public:
  using MakeFlow = std::function<FlowView(const sluice_flow_event& event)>;
  struct Subscriber {
    std::function<bool()> wants;  // asked before every event
    std::function<void(const FlowView& flow, bool denied)> take;
  };

  explicit FlowHub(MakeFlow make_flow) : make_flow_(std::move(make_flow)) {}

  // A subscriber stays until the hub is destroyed.
  void add(Subscriber subscriber) {
    subscribers_.push_back(std::move(subscriber));
  }
  void on_event(const sluice_flow_event& event) const;

 private:
  MakeFlow make_flow_;
  std::vector<Subscriber> subscribers_;
};

}  // namespace sluice::node
