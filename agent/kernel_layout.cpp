// SPDX-License-Identifier: Apache-2.0
#include "agent/kernel_layout.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>

#include <linux/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

namespace sluice::agent {
namespace {

constexpr const char* kKernelBtf = "/sys/kernel/btf/vmlinux";
// Absent if connection tracking is built in.
constexpr const char* kModuleBtf = "/sys/kernel/btf/nf_conntrack";

struct BtfDeleter {
  void operator()(btf* types) const { btf__free(types); }
};
using Btf = std::unique_ptr<btf, BtfDeleter>;

constexpr std::uint32_t kBitsPerByte = 8;

struct Member {
  std::uint32_t offset = 0;  // bytes
  std::uint32_t type = 0;
};

// Also searches members without a name, which are part of their structure.
std::optional<Member> find_member(const btf* types, std::uint32_t structure,
                                  std::string_view name) {
  const btf_type* type =
      btf__type_by_id(types, static_cast<std::uint32_t>(btf__resolve_type(
                                 types, static_cast<int>(structure))));
  if (type == nullptr || !btf_is_composite(type)) {
    return std::nullopt;
  }
  const btf_member* members = btf_members(type);
  for (std::uint32_t i = 0; i < btf_vlen(type); ++i) {
    const std::uint32_t bits = btf_member_bit_offset(type, i);
    const char* found = btf__name_by_offset(types, members[i].name_off);
    if (found == nullptr || bits % kBitsPerByte != 0) {
      continue;
    }
    const std::uint32_t offset = bits / kBitsPerByte;
    if (name == found) {
      return Member{.offset = offset, .type = members[i].type};
    }
    if (*found == '\0') {
      if (auto inner = find_member(types, members[i].type, name)) {
        inner->offset += offset;
        return inner;
      }
    }
  }
  return std::nullopt;
}

// Returns the offset of `path` ("a", "a.b") and the type there.
std::optional<Member> find_path(const btf* types, Member from,
                                std::string_view path) {
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('.'));
    path.remove_prefix(std::min(path.size(), name.size() + 1));
    const auto member = find_member(types, from.type, name);
    if (!member) {
      return std::nullopt;
    }
    from = {.offset = from.offset + member->offset, .type = member->type};
  }
  return from;
}

std::optional<Member> find_struct(const btf* types, const char* name) {
  const int id = btf__find_by_name_kind(types, name, BTF_KIND_STRUCT);
  if (id <= 0) {
    return std::nullopt;
  }
  return Member{.offset = 0, .type = static_cast<std::uint32_t>(id)};
}

// True if the layout is that of struct kernel_tuple in bpf/kernel.bpf.h.
bool is_known_tuple(const btf* types, const Member& tuple) {
  struct Expected {
    std::string_view path;
    std::uint32_t offset;
  };
  constexpr std::array<Expected, 7> kExpected = {{
      {.path = "src.u3", .offset = 0},
      {.path = "src.u", .offset = 16},
      {.path = "src.l3num", .offset = 18},
      {.path = "dst.u3", .offset = 20},
      {.path = "dst.u", .offset = 36},
      {.path = "dst.protonum", .offset = 38},
      {.path = "dst.dir", .offset = 39},
  }};
  return std::ranges::all_of(kExpected, [&](const Expected& expected) {
    const auto found =
        find_path(types, {.offset = 0, .type = tuple.type}, expected.path);
    return found && found->offset == expected.offset;
  });
}

// The first element of nf_conn.tuplehash is that of the original direction.
std::optional<Member> find_tuple(const btf* types) {
  const auto flow = find_struct(types, "nf_conn");
  const auto hashes = flow ? find_path(types, *flow, "tuplehash") : flow;
  if (!hashes) {
    return std::nullopt;
  }
  const btf_type* array = btf__type_by_id(types, hashes->type);
  if (array == nullptr || !btf_is_array(array)) {
    return std::nullopt;
  }
  return find_path(types,
                   {.offset = hashes->offset, .type = btf_array(array)->type},
                   "tuple");
}

}  // namespace

std::optional<ConntrackLayout> find_conntrack_layout() {
  if (libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS,
                              BPF_FUNC_probe_read_kernel, nullptr) != 1) {
    return std::nullopt;
  }
  const Btf kernel(btf__parse(kKernelBtf, nullptr));
  if (!kernel) {
    return std::nullopt;
  }
  const auto packet = find_struct(kernel.get(), "sk_buff");
  const auto nfct = packet ? find_path(kernel.get(), *packet, "_nfct") : packet;
  if (!nfct) {
    return std::nullopt;
  }
  Btf module;
  const btf* types = kernel.get();
  auto tuple = find_tuple(types);
  if (!tuple) {
    module.reset(btf__parse_split(kModuleBtf, kernel.get()));
    types = module.get();
    tuple = module ? find_tuple(types) : std::nullopt;
  }
  if (!tuple || !is_known_tuple(types, *tuple)) {
    return std::nullopt;
  }
  return ConntrackLayout{.nfct = nfct->offset, .tuple = tuple->offset};
}

}  // namespace sluice::agent
