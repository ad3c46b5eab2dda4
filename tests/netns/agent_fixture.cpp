// SPDX-License-Identifier: Apache-2.0
#include "agent_fixture.h"

#include <array>
#include <chrono>
#include <cstdlib>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <poll.h>

namespace sluice::agent::test {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);

}  // namespace

Node::Node() : outside_(Namespace::current()), node_(Namespace::fresh()) {
  node_.enter();
  run("ip link set lo up");
  sysctl("net/ipv4/ip_forward", "1");
  sysctl("net/ipv6/conf/all/forwarding", "1");
}

DatapathOptions small(const std::filesystem::path& pin_dir) {
  DatapathOptions options;
  options.pin_dir = pin_dir;
  options.policy_entries = 1024;
  options.peers = 1024;
  options.prefixes = 1024;
  options.conntrack = 1024;
  options.fragments = 128;
  options.event_bytes = 65536;
  return options;
}

EndpointEntry endpoint(const std::string& name,
                       const std::vector<std::string>& ips) {
  EndpointEntry entry{.name = name};
  for (const auto& ip : ips) {
    entry.ips.push_back(*parse_ip(ip));
  }
  return entry;
}

bool wait_until(int fd, const std::function<void()>& step,
                const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  step();
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) {
      return false;
    }
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    poll(&wait, 1, 100);
    step();
  }
  return true;
}

std::uint32_t program_at(std::uint32_t ifindex, bpf_tc_attach_point point,
                         std::uint32_t handle, std::uint32_t priority) {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex),
              .attach_point = point);
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = handle, .priority = priority);
  return bpf_tc_query(&hook, &options) == 0 ? options.prog_id : 0;
}

std::uint32_t program_id(int fd) {
  bpf_prog_info info{};
  __u32 size = sizeof(info);
  return bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

Fd foreign_program() {
  const std::array<bpf_insn, 2> code = {
      bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = -1},
      bpf_insn{.code = BPF_JMP | BPF_EXIT}};
  return Fd(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "somebody", "GPL",
                          code.data(), code.size(), nullptr));
}

bool attach_foreign(std::uint32_t ifindex, bpf_tc_attach_point point, int fd,
                    std::uint32_t handle, std::uint32_t priority) {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex),
              .attach_point = point);
  bpf_tc_hook_create(&hook);
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = fd, .flags = BPF_TC_F_REPLACE,
              .handle = handle, .priority = priority);
  return bpf_tc_attach(&hook, &options) == 0;
}

bool has_clsact(const std::string& interface) {
  return std::system(("tc qdisc show dev " + interface + " | grep -q clsact")
                         .c_str()) == 0;
}

sluice_policy_key key(std::uint32_t set, std::uint32_t cidr_id,
                      std::uint16_t port) {
  sluice_policy_key result{};
  result.prefixlen = SLUICE_PREFIX_PORT;
  result.policy_id = set;
  result.cidr_id = cidr_id;
  result.direction = SLUICE_INGRESS;
  result.protocol = 17;
  result.port = __builtin_bswap16(port);
  return result;
}

State two_pods() {
  State state;
  auto a = endpoint("ns/a", {"10.8.0.2", "fd08::2"});
  auto b = endpoint("ns/b", {"10.8.0.3", "fd08::3"});
  b.policy_set = 5;
  b.isolated = {true, false};
  state.endpoints = {a, b};
  state.entries = {
      {key(5, 100, 1000), {.verdict = SLUICE_VERDICT_ALLOW, .rule = 20}}};
  state.peers = {{{.address = *parse_ip("10.8.0.2"), .length = 32}, 100},
                 {{.address = *parse_ip("fd08::2"), .length = 128}, 100}};
  return state;
}

AgentOptions options(const std::filesystem::path& pin_dir) {
  AgentOptions result;
  result.datapath = small(pin_dir);
  return result;
}

const EndpointStatus* status_of(const AgentStatus& status,
                                const std::string& name) {
  for (const auto& endpoint : status.endpoints) {
    if (endpoint.name == name) {
      return &endpoint;
    }
  }
  return nullptr;
}

bool attached(const Agent& agent, const std::string& name) {
  const auto status = agent.status();
  const auto* found = status_of(status, name);
  return found != nullptr && found->attached;
}

bool wait_attached(Agent& agent, const std::string& name) {
  return wait_until(
      agent.poll_fd(), [&] { EXPECT_TRUE(agent.dispatch()); },
      [&] { return attached(agent, name); });
}

}  // namespace sluice::agent::test
