// SPDX-License-Identifier: Apache-2.0
#include "agent/clsact.h"

#include <cerrno>
#include <cstring>

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <bpf/libbpf.h>

#include <sys/socket.h>

#include "agent/netlink_socket.h"

namespace sluice::agent {
namespace {

// Called by libnl for every message of a dump.
int on_filter(nl_msg* message, void* found) noexcept {
  if (nlmsg_hdr(message)->nlmsg_type == RTM_NEWTFILTER) {
    *static_cast<bool*>(found) = true;
  }
  return NL_OK;
}

// Looks in all chains of a direction, for filters of any kind, also in shared
// blocks.
Result<bool> has_filters(nl_sock& requests, std::uint32_t ifindex,
                         std::uint32_t direction) {
  bool found = false;
  nl_socket_modify_cb(&requests, NL_CB_VALID, NL_CB_CUSTOM, &on_filter, &found);
  tcmsg header{};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = static_cast<int>(ifindex);
  header.tcm_parent = TC_H_MAKE(TC_H_CLSACT, direction);
  int error = nl_send_simple(&requests, RTM_GETTFILTER, NLM_F_DUMP, &header,
                             sizeof(header));
  if (error >= 0) {
    error = nl_recvmsgs_default(&requests);
  }
  nl_socket_modify_cb(&requests, NL_CB_VALID, NL_CB_DEFAULT, nullptr, nullptr);
  // The dump was interrupted because filters changed, so the qdisc is in use.
  if (error == -NLE_DUMP_INTR) {
    return true;
  }
  if (error == -NLE_NODEV || error == -NLE_OBJ_NOTFOUND) {
    return false;
  }
  if (error < 0) {
    return fail_netlink("filters", error);
  }
  return found;
}

}  // namespace

// A filter that is attached between the check and the deletion is removed with
// the qdisc; the kernel cannot do both atomically. Therefore only cleanup()
// does this.
Result<void> remove_unused_clsact(nl_sock& requests, std::uint32_t ifindex) {
  for (const std::uint32_t direction : {TC_H_MIN_INGRESS, TC_H_MIN_EGRESS}) {
    const auto used = has_filters(requests, ifindex, direction);
    if (!used) {
      return std::unexpected(used.error());
    }
    if (*used) {
      return {};
    }
  }
  bpf_tc_hook hook{};
  hook.sz = sizeof(hook);
  hook.ifindex = static_cast<int>(ifindex);
  // In libbpf, both flags together, which are no enumerator, mean the qdisc
  // itself.
  constexpr std::uint32_t kQdisc = BPF_TC_INGRESS | BPF_TC_EGRESS;
  static_assert(sizeof(kQdisc) == sizeof(hook.attach_point));
  std::memcpy(&hook.attach_point, &kQdisc, sizeof(kQdisc));
  const int error = -bpf_tc_hook_destroy(&hook);
  // EINVAL: there is no qdisc, or one of another kind.
  if (error != 0 && error != ENOENT && error != EINVAL && error != ENODEV) {
    return fail_errno("removing the clsact qdisc", error);
  }
  return {};
}

}  // namespace sluice::agent
