// SPDX-License-Identifier: Apache-2.0
#include "agent/flows.h"

#include <cstring>
#include <utility>

#include <bpf/libbpf.h>

namespace sluice::agent {

struct Flows::Impl {
  struct Deleter {
    void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
  };
  std::unique_ptr<ring_buffer, Deleter> ring;
  Handler handler;

  // Called by libbpf; must not throw.
  static int on_sample(void* self, void* data, std::size_t size) noexcept {
    const auto& impl = *static_cast<Impl*>(self);
    sluice_flow_event event{};
    if (size >= sizeof(event) && impl.handler) {
      std::memcpy(&event, data, sizeof(event));
      impl.handler(event);
    }
    return 0;
  }
};

Flows::Flows() : impl_(std::make_unique<Impl>()) {}
Flows::Flows(Flows&&) noexcept = default;
Flows& Flows::operator=(Flows&&) noexcept = default;
Flows::~Flows() = default;

Result<Flows> Flows::open(int map_fd) {
  Flows flows;
  flows.impl_->ring.reset(
      ring_buffer__new(map_fd, &Impl::on_sample, flows.impl_.get(), nullptr));
  if (!flows.impl_->ring) {
    return fail_errno("opening the ring buffer of flow events");
  }
  return flows;
}

int Flows::fd() const {
  return ring_buffer__epoll_fd(impl_->ring.get());
}

void Flows::on_event(Handler handler) {
  impl_->handler = std::move(handler);
}

void Flows::dispatch() {
  ring_buffer__consume(impl_->ring.get());
}

}  // namespace sluice::agent
