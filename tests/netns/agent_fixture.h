// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <bpf/libbpf.h>

#include <gtest/gtest.h>

#include "agent/agent.h"
#include "agent/attach.h"
#include "agent_net.h"

// What the tests of the agent with real veths and packets share.
namespace sluice::agent::test {

// A node: a namespace that forwards between its pods.
class Node : public ::testing::Test {
 protected:
  Node();
  void TearDown() override { outside_.enter(); }

 private:
  Namespace outside_;
  Namespace node_;
};

// Maps as small as these tests can do with.
DatapathOptions small(const std::filesystem::path& pin_dir = {});
AgentOptions options(const std::filesystem::path& pin_dir = {});

// Calls `step` whenever `fd` is readable until `done`; false if that takes too
// long.
bool wait_until(int fd, const std::function<void()>& step,
                const std::function<bool()>& done);

// ---- tc filters

// The program in a slot of clsact; 0 = none.
std::uint32_t program_at(std::uint32_t ifindex, bpf_tc_attach_point point,
                         std::uint32_t handle = kFilterHandle,
                         std::uint32_t priority = kFilterPriority);
std::uint32_t program_id(int fd);
// A program that is not ours.
Fd foreign_program();
// Takes the slot from whoever has it.
bool attach_foreign(std::uint32_t ifindex, bpf_tc_attach_point point, int fd,
                    std::uint32_t handle, std::uint32_t priority);
// Whether an interface has the qdisc that filters hang on.
bool has_clsact(const std::string& interface);

// ---- endpoints

EndpointEntry endpoint(const std::string& name,
                       const std::vector<std::string>& ips);
sluice_policy_key key(std::uint32_t set, std::uint32_t cidr_id,
                      std::uint16_t port);
// Pod b takes UDP 1000 from pod a and nothing else; pod a takes everything.
State two_pods();

// Null if it is not there.
const EndpointStatus* status_of(const AgentStatus& status,
                                const std::string& name);
bool attached(const Agent& agent, const std::string& name);
// False if it takes too long.
bool wait_attached(Agent& agent, const std::string& name);

}  // namespace sluice::agent::test
