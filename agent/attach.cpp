// SPDX-License-Identifier: Apache-2.0
#include "agent/attach.h"

#include <cerrno>
#include <string>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "agent/filter.h"

namespace sluice::agent {
namespace {

bpf_tc_hook hook_at(std::uint32_t ifindex, bpf_tc_attach_point point) {
  bpf_tc_hook hook{};
  hook.sz = sizeof(hook);
  hook.ifindex = static_cast<int>(ifindex);
  hook.attach_point = point;
  return hook;
}

bpf_tc_opts our_slot() {
  bpf_tc_opts options{};
  options.sz = sizeof(options);
  options.handle = kFilterHandle;
  options.priority = kFilterPriority;
  return options;
}

std::string point_name(bpf_tc_attach_point point) {
  return point == BPF_TC_INGRESS ? "tc ingress" : "tc egress";
}

Result<bpf_prog_info> program_info(int fd) {
  bpf_prog_info info{};
  __u32 size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0) {
    return fail_errno("reading a program's description");
  }
  return info;
}

Result<Occupant> look(std::uint32_t ifindex, bpf_tc_attach_point point) {
  auto found = find_filter(ifindex, point);
  return found ? found : with_context(point_name(point), found.error());
}

Result<void> attach_at(std::uint32_t ifindex, bpf_tc_attach_point point,
                       int program_fd) {
  const auto program = program_info(program_fd);
  if (!program) {
    return std::unexpected(program.error());
  }
  const auto found = look(ifindex, point);
  if (!found) {
    return std::unexpected(found.error());
  }
  if (found->program == program->id) {
    return {};
  }
  if (found->slot == Slot::kForeign) {
    return fail(point_name(point) + ": priority " +
                std::to_string(kFilterPriority) + " handle " +
                std::to_string(kFilterHandle) + " is taken by another program");
  }
  if (found->slot == Slot::kNoHook) {
    // One qdisc serves both directions; another program may be creating it at
    // the same time.
    auto both = hook_at(ifindex, BPF_TC_INGRESS);
    const int error = -bpf_tc_hook_create(&both);
    if (error != 0 && error != EEXIST) {
      return fail_errno("making the clsact qdisc", error);
    }
  }
  const auto hook = hook_at(ifindex, point);
  auto options = our_slot();
  options.prog_fd = program_fd;
  // In place: no packet passes between the old program and the new one.
  options.flags = found->slot == Slot::kOurs ? BPF_TC_F_REPLACE : 0;
  if (const int error = -bpf_tc_attach(&hook, &options); error != 0) {
    return fail_errno(point_name(point) + ": attach", error);
  }
  return {};
}

class TcAttacher final : public Attacher {
 public:
  explicit TcAttacher(const Datapath& datapath)
      : from_pod_(datapath.from_pod_fd()), to_pod_(datapath.to_pod_fd()) {
    libbpf_set_print(nullptr);
  }

  // The direction to the pod comes first. Between the two attachments, the pod
  // can send forbidden packets, but no forbidden packets reach it.
  Result<void> attach(std::uint32_t ifindex) override {
    auto result = attach_at(ifindex, BPF_TC_EGRESS, to_pod_);
    if (result) {
      result = attach_at(ifindex, BPF_TC_INGRESS, from_pod_);
    }
    return result;
  }
  Result<void> detach(std::uint32_t ifindex) override {
    return tc_detach(ifindex);
  }
  [[nodiscard]] bool attached(std::uint32_t ifindex) const override {
    const auto ours = [&](bpf_tc_attach_point point) {
      const auto found = look(ifindex, point);
      return found && found->slot == Slot::kOurs;
    };
    return ours(BPF_TC_EGRESS) || ours(BPF_TC_INGRESS);
  }

 private:
  int from_pod_;
  int to_pod_;
};

}  // namespace

std::unique_ptr<Attacher> tc_attacher(const Datapath& datapath) {
  return std::make_unique<TcAttacher>(datapath);
}

// The qdisc stays, because another program may be about to use it, and a check
// beforehand would leave a moment in which that program's filter could be
// removed with it. Without filters it costs almost nothing, and cleanup()
// removes it.
Result<void> tc_detach(std::uint32_t ifindex) {
  libbpf_set_print(nullptr);
  for (const auto point : {BPF_TC_EGRESS, BPF_TC_INGRESS}) {
    const auto found = look(ifindex, point);
    if (!found) {
      return std::unexpected(found.error());
    }
    if (found->slot != Slot::kOurs) {
      continue;
    }
    const auto hook = hook_at(ifindex, point);
    const auto options = our_slot();
    const int error = -bpf_tc_detach(&hook, &options);
    if (error != 0 && error != ENOENT && error != EINVAL && error != ENODEV) {
      return fail_errno(point_name(point) + ": detach", error);
    }
  }
  return {};
}

}  // namespace sluice::agent
