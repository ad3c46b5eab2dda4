// SPDX-License-Identifier: Apache-2.0
#include "cli/kernel_names.h"

#include <array>
#include <cerrno>
#include <cstddef>

#include <bpf/bpf.h>

#include <netinet/in.h>

#include "cli/learned.h"
#include "lib/base/fd.h"

namespace sluice::cli {

Result<void> empty_map(int fd) {
  std::array<std::byte, 64> key{};
  while (bpf_map_get_next_key(fd, nullptr, key.data()) == 0) {
    if (bpf_map_delete_elem(fd, key.data()) != 0 && errno != ENOENT) {
      return fail_errno("emptying a map");
    }
  }
  return {};
}

namespace {

using Elements = KernelNames::Elements;

// The map of what an interface's endpoint has learned; invalid if it has none.
Result<Fd> open_learned(int outer, std::uint32_t ifindex) {
  std::uint32_t id = 0;
  if (bpf_map_lookup_elem(outer, &ifindex, &id) != 0) {
    return Fd();
  }
  Fd inner(bpf_map_get_fd_by_id(id));
  if (!inner.valid()) {
    return fail_errno("opening what is learned");
  }
  return inner;
}

Elements read_map(int fd) {
  Elements elements;
  sluice_learned_key key{};
  const sluice_learned_key* before = nullptr;
  while (bpf_map_get_next_key(fd, before, &key) == 0) {
    sluice_learned value{};
    if (bpf_map_lookup_elem(fd, &key, &value) == 0) {
      elements.emplace_back(key, value);
    }
    before = &key;
  }
  return elements;
}

Result<void> write_map(int fd, const Elements& elements, std::int64_t seconds) {
  if (auto emptied = empty_map(fd); !emptied) {
    return emptied;
  }
  for (auto [key, value] : elements) {
    for (auto& slot : value.slot) {
      slot.expires = static_cast<std::uint32_t>(slot.expires + seconds);
    }
    if (bpf_map_update_elem(fd, &key, &value, BPF_ANY) != 0) {
      return fail_errno("changing what is learned");
    }
  }
  return {};
}

}  // namespace

Result<void> KernelNames::begin(agent::Datapath& datapath, const State& state,
                                const Interfaces& interfaces) {
  // The programs count the last second, too.
  auto opened = agent::Learning::open(
      datapath, {}, {.grace = static_cast<std::uint32_t>(Learned::kGrace) - 1});
  if (!opened) {
    return std::unexpected(opened.error());
  }
  learning_ = std::move(*opened);
  learned_fd_ = datapath.map_fd(agent::Map::kLearned);
  interfaces_ = interfaces;
  clock_ = agent::Learning::now();
  agent::Learning::EndpointStates endpoints;
  for (const auto& endpoint : state.endpoints) {
    endpoints[endpoint.name] = {.entry = endpoint,
                                .ifindex = interfaces.at(endpoint.name),
                                .attached = true,
                                .problem = {}};
  }
  learning_->replace(state);
  return learning_->prepare(datapath, endpoints);
}

Result<KernelNames::LearnedByInterface> KernelNames::read_learned() const {
  LearnedByInterface learned;
  for (const auto& [name, ifindex] : interfaces_) {
    const auto inner = open_learned(learned_fd_, ifindex);
    if (!inner) {
      return std::unexpected(inner.error());
    }
    if (inner->valid()) {
      learned[ifindex] = read_map(inner->get());
    }
  }
  return learned;
}

Result<void> KernelNames::write_learned(const LearnedByInterface& learned,
                                        std::int64_t seconds) const {
  for (const auto& [ifindex, elements] : learned) {
    const auto inner = open_learned(learned_fd_, ifindex);
    if (!inner) {
      return std::unexpected(inner.error());
    }
    if (auto written = write_map(inner->get(), elements, seconds); !written) {
      return written;
    }
  }
  return {};
}

Result<void> KernelNames::shift_learned(std::int64_t seconds) const {
  const auto learned = read_learned();
  return learned ? write_learned(*learned, seconds)
                 : std::unexpected(learned.error());
}

bool KernelNames::clock_has_gone_on() const {
  return learning_ && agent::Learning::now() != clock_;
}

Result<void> KernelNames::follow_clock() {
  const auto now = agent::Learning::now();
  const auto passed = now - std::exchange(clock_, now);
  return learning_ && passed != 0 ? shift_learned(passed) : Result<void>();
}

Result<void> KernelNames::pass(std::uint32_t seconds) {
  auto followed = follow_clock();
  return followed ? shift_learned(-std::int64_t{seconds}) : followed;
}

void KernelNames::meet() {
  if (learning_) {
    learning_->dispatch();
  }
}

std::vector<std::pair<policy::Direction, packet::Bytes>> dns_exchange(
    const Question& question, const DnsRecords& records, bool v6, bool answered,
    std::uint16_t number) {
  using policy::Direction;
  const bool stream = question.protocol == IPPROTO_TCP;
  const packet::Endpoints out{.from = question.own, .to = question.peer};
  const packet::Endpoints in{.from = question.peer, .to = question.own};
  const auto frame = [&](const packet::Endpoints& ends,
                         const packet::Bytes& transport) {
    return packet::ip_frame(ends, question.protocol, transport);
  };
  const auto carried = [&](std::uint16_t from, std::uint16_t to,
                           const packet::Bytes& message) {
    // The sequence numbers of packet::tcp() begin at 1.
    return stream ? dns_segment(from, to, 2, message)
                  : dns_datagram(from, to, message);
  };
  std::vector<std::pair<Direction, packet::Bytes>> frames;
  if (stream) {
    frames.emplace_back(
        Direction::kEgress,
        frame(out, packet::tcp(number, question.port, packet::kSyn, 0)));
    frames.emplace_back(Direction::kIngress,
                        frame(in, packet::tcp(question.port, number,
                                              packet::kSyn | packet::kAck, 0)));
  }
  frames.emplace_back(
      Direction::kEgress,
      frame(out, carried(number, question.port,
                         dns_question(records.name, v6, number))));
  if (answered) {
    frames.emplace_back(Direction::kIngress,
                        frame(in, carried(question.port, number,
                                          dns_answer(records, v6, number))));
  }
  return frames;
}

}  // namespace sluice::cli
