// SPDX-License-Identifier: Apache-2.0
#include "agent/filter.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <arpa/inet.h>

#include "agent/attach.h"
#include "agent/netlink_socket.h"

namespace sluice::agent {
namespace {

// The kernel's answer: a filter, or the reason why there is none.
struct Answer {
  int error = 0;  // errno
  Occupant occupant;
};

Occupant read_filter(nlmsghdr* header) {
  Occupant found{.slot = Slot::kForeign};
  std::array<nlattr*, TCA_MAX + 1> of_filter{};
  std::array<nlattr*, TCA_BPF_MAX + 1> of_program{};
  if (nlmsg_parse(header, sizeof(tcmsg), of_filter.data(), TCA_MAX, nullptr) <
          0 ||
      of_filter[TCA_KIND] == nullptr || of_filter[TCA_OPTIONS] == nullptr ||
      nla_strcmp(of_filter[TCA_KIND], "bpf") != 0 ||
      nla_parse_nested(of_program.data(), TCA_BPF_MAX, of_filter[TCA_OPTIONS],
                       nullptr) < 0) {
    return found;
  }
  if (const auto* id = of_program[TCA_BPF_ID]; id != nullptr) {
    found.program = nla_get_u32(id);
  }
  // libbpf names a filter after its program: "sluice_to_pod:[42]".
  const auto* name = of_program[TCA_BPF_NAME];
  if (name != nullptr &&
      std::string_view(static_cast<const char*>(nla_data(name)),
                       static_cast<std::size_t>(nla_len(name)))
          .starts_with(kProgramPrefix)) {
    found.slot = Slot::kOurs;
  }
  return found;
}

// Called by libnl.
int on_filter(nl_msg* message, void* answer) noexcept {
  static_cast<Answer*>(answer)->occupant = read_filter(nlmsg_hdr(message));
  return NL_OK;
}

int on_error(sockaddr_nl* /*from*/, nlmsgerr* error, void* answer) noexcept {
  static_cast<Answer*>(answer)->error = -error->error;
  return NL_STOP;
}

}  // namespace

Result<Occupant> find_filter(std::uint32_t ifindex, bpf_tc_attach_point point) {
  const auto socket = netlink_connect();
  if (!socket) {
    return std::unexpected(socket.error());
  }
  Answer answer;
  nl_socket_disable_auto_ack(socket->get());
  nl_socket_modify_cb(socket->get(), NL_CB_VALID, NL_CB_CUSTOM, &on_filter,
                      &answer);
  nl_socket_modify_err_cb(socket->get(), NL_CB_CUSTOM, &on_error, &answer);
  const std::uint32_t direction =
      point == BPF_TC_INGRESS ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS;
  tcmsg header{};
  header.tcm_family = AF_UNSPEC;
  header.tcm_ifindex = static_cast<int>(ifindex);
  header.tcm_handle = kFilterHandle;
  header.tcm_parent = TC_H_MAKE(TC_H_CLSACT, direction);
  header.tcm_info = TC_H_MAKE(kFilterPriority << 16, htons(ETH_P_ALL));
  int error =
      nl_send_simple(socket->get(), RTM_GETTFILTER, 0, &header, sizeof(header));
  if (error >= 0) {
    error = nl_recvmsgs_default(socket->get());
  }
  switch (answer.error) {
    case 0:
      break;
    case ENOENT:
      return Occupant{.slot = Slot::kEmpty};
    case EINVAL:
    case ENODEV:
      return Occupant{.slot = Slot::kNoHook};
    default:
      return fail_errno("asking for the filter", answer.error);
  }
  if (error < 0) {
    return fail_netlink("asking for the filter", error);
  }
  return answer.occupant;
}

}  // namespace sluice::agent
