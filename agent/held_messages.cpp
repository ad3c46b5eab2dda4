// SPDX-License-Identifier: Apache-2.0
#include "agent/held_messages.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include <linux/bpf.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <netinet/in.h>

#include "agent/dns/event.h"
#include "agent/dns/frame.h"

namespace sluice::agent {
namespace {

// Of the buffer, for each CPU: within what every user may lock
// (kernel.perf_event_mlock_kb, 516 by default).
constexpr std::size_t kPages = 64;
// Parts of messages are of no use when their endpoint has received no other
// part for so long.
constexpr std::uint32_t kPartSeconds = 60;

// Since this time of bpf_ktime_get_ns(), whose clock is that of steady_clock.
std::chrono::nanoseconds time_since(std::uint64_t timestamp_ns) {
  return std::chrono::steady_clock::now().time_since_epoch() -
         std::chrono::nanoseconds(timestamp_ns);
}

// Over TCP, messages stand one behind the other, each behind its length unless
// that came in a segment of its own.
void for_each_message(
    const DnsFrame& frame, bool bare,
    const std::function<void(std::span<const std::byte>)>& visit) {
  if (frame.flow.protocol != IPPROTO_TCP || bare) {
    visit(frame.payload);
    return;
  }
  auto rest = frame.payload;
  while (rest.size() > 2) {
    const std::size_t size = std::to_integer<std::size_t>(rest[0]) << 8U |
                             std::to_integer<std::size_t>(rest[1]);
    rest = rest.subspan(2);
    visit(rest.first(std::min(size, rest.size())));
    rest = rest.subspan(std::min(size, rest.size()));
  }
}

}  // namespace

void HeldMessages::Deleter::operator()(perf_buffer* buffer) const {
  perf_buffer__free(buffer);
}

HeldMessages::HeldMessages(const Datapath& datapath, Handlers handlers)
    : resend_fd_(datapath.resend_fd()),
      endpoints_(datapath.endpoints(), SLUICE_ENDPOINTS_MAX),
      handlers_(std::move(handlers)) {}

HeldMessages::~HeldMessages() = default;

Result<std::unique_ptr<HeldMessages>> HeldMessages::open(
    const Datapath& datapath, Handlers handlers) {
  std::unique_ptr<HeldMessages> result(
      new HeldMessages(datapath, std::move(handlers)));
  // What an earlier process has not handled is lost.
  for (auto& endpoint : result->endpoints_) {
    const auto held = __atomic_load_n(&endpoint.held, __ATOMIC_RELAXED);
    __atomic_store_n(&endpoint.held_done, held, __ATOMIC_RELAXED);
  }
  result->buffer_.reset(perf_buffer__new(datapath.map_fd(Map::kDnsHeld), kPages,
                                         &on_held, &on_lost, result.get(),
                                         nullptr));
  if (!result->buffer_) {
    return fail_errno("opening the buffer of held DNS messages");
  }
  return result;
}

int HeldMessages::fd() const {
  return perf_buffer__epoll_fd(buffer_.get());
}

void HeldMessages::dispatch() {
  perf_buffer__consume(buffer_.get());
}

void HeldMessages::forget_old(std::uint32_t now) {
  std::erase_if(assemblies_, [now](const auto& item) {
    return now - item.second.last() > kPartSeconds;
  });
}

void HeldMessages::on_held(void* self, int /*cpu*/, void* data,
                           __u32 size) noexcept {
  if (const auto event =
          read_event({static_cast<const std::byte*>(data), size})) {
    static_cast<HeldMessages*>(self)->handle(event->head, event->data);
  }
}

void HeldMessages::on_lost(void* self, int /*cpu*/, __u64 count) noexcept {
  static_cast<HeldMessages*>(self)->counters_.lost += count;
}

void HeldMessages::handle(const sluice_dns_event& event,
                          std::span<const std::byte> data) {
  ++counters_.held;
  read(event, data);
  if (event.endpoint < endpoints_.size()) {
    __atomic_fetch_add(&endpoints_[event.endpoint].held_done, 1,
                       __ATOMIC_RELAXED);
  }
  if (send_on(event, {data.begin(), data.end()})) {
    ++counters_.resent;
    counters_.hold_times.add(time_since(event.timestamp_ns));
  }
}

void HeldMessages::read(const sluice_dns_event& event,
                        std::span<const std::byte> frame) {
  const bool bare = event.part == SLUICE_DNS_BARE;
  if (event.part != SLUICE_DNS_WHOLE && !bare) {
    const auto now =
        static_cast<std::uint32_t>(event.timestamp_ns / 1000000000);
    const bool begins = event.part == SLUICE_DNS_BEGINS;
    for (const auto& message :
         assemblies_[event.ifindex].add(frame, begins, now)) {
      if (handlers_.learn(event.ifindex, message)) {
        count_answered(event.endpoint);
      }
    }
    return;
  }
  if (const auto packet = read_frame(frame)) {
    for_each_message(*packet, bare, [&](std::span<const std::byte> message) {
      if (const auto answer = read_answer(message)) {
        handlers_.meet(*answer);
      }
    });
  }
}

// As dns_forget() in bpf/dns.bpf.h.
void HeldMessages::count_answered(std::uint32_t endpoint) const {
  if (endpoint >= endpoints_.size()) {
    return;
  }
  auto& questions = endpoints_[endpoint].questions;
  if (__atomic_load_n(&questions, __ATOMIC_RELAXED) > 0) {
    __atomic_fetch_sub(&questions, 1, __ATOMIC_RELAXED);
  }
}

// In pieces, if the kernel takes no packet as large as this one.
Result<void> HeldMessages::send_on(const sluice_dns_event& event,
                                   std::vector<std::byte> frame) const {
  std::vector<std::vector<std::byte>> pieces;
  if (event.segment != 0) {
    auto cut = cut_segment(frame, event.segment);
    if (!cut) {
      return std::unexpected(std::move(cut.error()));
    }
    pieces = std::move(*cut);
  } else {
    pieces.push_back(std::move(frame));
  }
  for (auto& piece : pieces) {
    // A fragment has no checksum of its own, and stays as it is.
    [[maybe_unused]] const auto completed = complete_checksums(piece);
    if (auto sent = send(event, piece); !sent) {
      return sent;
    }
  }
  return {};
}

Result<void> HeldMessages::send(const sluice_dns_event& event,
                                std::span<const std::byte> frame) const {
  __sk_buff context{};
  context.cb[0] = event.ifindex;
  context.cb[1] = event.direction;
  context.cb[2] = event.part;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
              .data_size_in = static_cast<__u32>(frame.size()),
              .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = 1);
  if (bpf_prog_test_run_opts(resend_fd_, &options) != 0) {
    return fail_errno("sending a held DNS message");
  }
  if (options.retval != 0) {
    return fail("sending a held DNS message: interface " +
                std::to_string(event.ifindex) + " does not take it");
  }
  return {};
}

}  // namespace sluice::agent
