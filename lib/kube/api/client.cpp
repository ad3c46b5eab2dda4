// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/client.h"

#include <algorithm>
#include <mutex>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "lib/kube/api/client_impl.h"
#include "lib/kube/field.h"

namespace sluice::kube {
namespace {

using Clock = Loop::Clock;

// How much of an error's body is read for its message.
constexpr std::size_t kMaxErrorBody = std::size_t{64} << 10;

std::string seconds_text(std::chrono::milliseconds time) {
  std::string text = std::to_string(static_cast<double>(time.count()) / 1000.0);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) {
    text.pop_back();
  }
  return text + " s";
}

void initialise_libcurl() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

}  // namespace

Client::Impl::~Impl() {
  for (auto& [id, transfer] : transfers_) {
    detach(*transfer);
  }
  multi_.reset();
  for (const curl_socket_t fd : sockets_) {
    loop_->remove_fd(fd);
  }
}

Result<void> Client::Impl::start() {
  initialise_libcurl();
  multi_.reset(curl_multi_init());
  if (!multi_) {
    return fail("libcurl: out of memory");
  }
  CURLM* multi = multi_.get();
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &Impl::on_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, &Impl::on_timer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
  return {};
}

int Client::Impl::on_socket(CURL* /*easy*/, curl_socket_t fd, int what,
                            void* self, void* /*socket*/) {
  auto& impl = *static_cast<Impl*>(self);
  if (what == CURL_POLL_REMOVE) {
    std::erase(impl.sockets_, fd);
    impl.loop_->remove_fd(fd);
    return 0;
  }
  const std::uint32_t events =
      ((what & CURL_POLL_IN) != 0 ? std::uint32_t{EPOLLIN} : 0U) |
      ((what & CURL_POLL_OUT) != 0 ? std::uint32_t{EPOLLOUT} : 0U);
  if (std::ranges::find(impl.sockets_, fd) == impl.sockets_.end()) {
    impl.sockets_.push_back(fd);
  }
  const auto watched =
      impl.loop_->set_fd(fd, events, [&impl, fd](std::uint32_t ready) {
        const unsigned in = (ready & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0U;
        const unsigned out = (ready & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0U;
        const unsigned bad =
            (ready & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0U;
        impl.act(fd, static_cast<int>(in | out | bad));
      });
  return watched ? 0 : -1;
}

void Client::Impl::count(const Transfer& transfer) {
  CURL* easy = transfer.easy.get();
  curl_off_t bytes = 0;
  long connections = 0;
  long version = 0;
  curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &bytes);
  curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connections);
  curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
  stats_.compressed += static_cast<std::uint64_t>(bytes);
  stats_.connections += static_cast<std::uint64_t>(connections);
  stats_.http2 += version == CURL_HTTP_VERSION_2_0 ? 1 : 0;
}

int Client::Impl::on_timer(CURLM* /*multi*/, long timeout_ms, void* self) {
  auto& impl = *static_cast<Impl*>(self);
  if (timeout_ms < 0) {
    impl.curl_timer_.cancel();
  } else {
    impl.curl_timer_ =
        impl.loop_->after(std::chrono::milliseconds(timeout_ms),
                          [&impl] { impl.act(CURL_SOCKET_TIMEOUT, 0); });
  }
  return 0;
}

int Client::Impl::on_connect(void* self, curl_socket_t fd,
                             curlsocktype /*purpose*/) {
  const auto& impl = *static_cast<Impl*>(self);
  const auto limit =
      static_cast<unsigned>(impl.options_.dead_peer.count());  // in ms
  // If the kernel refuses, the other timeouts still apply.
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof(limit));
  return CURL_SOCKOPT_OK;
}

std::size_t Client::Impl::on_header(char* /*data*/, std::size_t size,
                                    std::size_t count, void* transfer) {
  auto& self = *static_cast<Transfer*>(transfer);
  self.owner->distrust_pool_ = false;
  if (self.status() >= 200) {
    self.heard();
  }
  return size * count;
}

std::size_t Client::Impl::on_body(char* data, std::size_t size,
                                  std::size_t count, void* transfer) {
  auto& self = *static_cast<Transfer*>(transfer);
  const std::string_view bytes(data, size * count);
  Impl& impl = *self.owner;
  impl.stats_.bytes += bytes.size();
  self.heard();
  const int status = self.status();
  const bool good = status >= 200 && status < 300;
  if (good && self.is_stream()) {
    if (const auto taken = self.handler.on_data(bytes); !taken) {
      self.failure = taken.error().message;
      return 0;
    }
    return bytes.size();
  }
  const std::size_t limit = good ? self.request.max_response : kMaxErrorBody;
  if (self.body.size() + bytes.size() > limit) {
    self.failure =
        "the answer is longer than " + std::to_string(limit) + " bytes";
    return 0;
  }
  self.body += bytes;
  return bytes.size();
}

void Client::Impl::act(curl_socket_t fd, int what) {
  int running = 0;
  curl_multi_socket_action(multi_.get(), fd, what, &running);
  collect();
}

// Finishes the transfers that libcurl reports as done. All messages are read
// before the callbacks, which may start and cancel transfers.
void Client::Impl::collect() {
  std::vector<std::pair<std::uint64_t, CURLcode>> done;
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
    void* self = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &self);
    done.emplace_back(static_cast<Transfer*>(self)->id, message->data.result);
  }
  for (const auto& [id, code] : done) {
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) {
      continue;
    }
    Transfer& transfer = *found->second;
    count(transfer);
    const int status = transfer.status();
    const bool good = status >= 200 && status < 300;
    if (code == CURLE_OK && good) {
      finish(id, {});
    } else if (code == CURLE_OK || (!good && status >= 300)) {
      // An error whose text is too long or truncated is still reported as that
      // error.
      finish(id, std::unexpected(transfer.http_error()));
    } else {
      distrust_pool_ = distrust_pool_ || transfer.failure.empty();
      const char* text = transfer.curl_error.front() != '\0'
                             ? transfer.curl_error.data()
                             : curl_easy_strerror(code);
      finish(id, std::unexpected(transfer.error(
                     transfer.failure.empty() ? text : transfer.failure)));
    }
  }
}

std::uint64_t Client::Impl::begin(Request request, Reply reply,
                                  StreamHandler handler) {
  auto made = std::make_unique<Transfer>();
  Transfer& transfer = *made;
  transfer.owner = this;
  transfer.id = next_id_++;
  transfer.request = std::move(request);
  transfer.reply = std::move(reply);
  transfer.handler = std::move(handler);
  transfer.deadline = Clock::now() + transfer.request.timeout;
  const std::uint64_t id = transfer.id;
  transfers_.emplace(id, std::move(made));
  ++stats_.requests;

  auto ready = set_up(transfer);
  if (ready) {
    const CURLMcode code =
        curl_multi_add_handle(multi_.get(), transfer.easy.get());
    if (code == CURLM_OK) {
      transfer.attached = true;
    } else {
      ready = fail(curl_multi_strerror(code));
    }
  }
  if (!ready) {
    // Not now, because the caller does not have the Call yet.
    transfer.timer =
        loop_->after(Clock::duration::zero(),
                     [this, id, error = transfer.error(ready.error().message)] {
                       finish(id, std::unexpected(error));
                     });
    return id;
  }
  transfer.timer =
      loop_->after(transfer.request.timeout, [this, id] { check_time(id); });
  return id;
}

void Client::Impl::check_time(std::uint64_t id) {
  const auto found = transfers_.find(id);
  if (found == transfers_.end()) {
    return;
  }
  Transfer& transfer = *found->second;
  const auto now = Clock::now();
  if (now < transfer.deadline) {
    transfer.timer =
        loop_->after(transfer.deadline - now, [this, id] { check_time(id); });
    return;
  }
  distrust_pool_ = true;
  const Request& request = transfer.request;
  std::string what = "nothing for " + seconds_text(request.silence);
  if (!transfer.receiving) {
    what = "no answer within " + seconds_text(request.timeout);
  } else if (now >= transfer.end) {
    what = "not over after " + seconds_text(request.longest);
  }
  finish(id, std::unexpected(transfer.error(what)));
}

void Client::Impl::detach(Transfer& transfer) {
  if (std::exchange(transfer.attached, false)) {
    curl_multi_remove_handle(multi_.get(), transfer.easy.get());
  }
}

void Client::Impl::give_up(std::uint64_t id) {
  const auto found = transfers_.find(id);
  if (found == transfers_.end()) {
    return;
  }
  const auto transfer = std::move(found->second);
  transfers_.erase(found);
  detach(*transfer);
}

void Client::Impl::finish(std::uint64_t id, ApiResult<void> result) {
  const auto found = transfers_.find(id);
  if (found == transfers_.end()) {
    return;
  }
  const auto transfer = std::move(found->second);
  transfers_.erase(found);
  const int status = transfer->status();
  detach(*transfer);
  if (!result) {
    ++stats_.failures;
    if (result.error().status == 401) {
      config_.token.forget();
    }
  }
  if (transfer->is_stream()) {
    transfer->handler.on_end(std::move(result));
  } else if (result) {
    transfer->reply(
        Response{.status = status, .body = std::move(transfer->body)});
  } else {
    transfer->reply(std::unexpected(std::move(result.error())));
  }
}

Call& Call::operator=(Call&& other) noexcept {
  if (this != &other) {
    cancel();
    client_ = std::exchange(other.client_, nullptr);
    id_ = other.id_;
  }
  return *this;
}

void Call::cancel() {
  if (client_ != nullptr) {
    std::exchange(client_, nullptr)->impl_->give_up(id_);
  }
}

bool Call::in_flight() const {
  return client_ != nullptr && client_->impl_->in_flight(id_);
}

Result<std::unique_ptr<Client>> Client::create(Loop& loop, ClusterConfig config,
                                               ClientOptions options) {
  if (!config.server.starts_with("https://") &&
      !config.server.starts_with("http://")) {
    return fail("API server " + in_quotes(config.server) +
                ": must be an http:// or https:// URL");
  }
  auto impl =
      std::make_unique<Impl>(loop, std::move(config), std::move(options));
  if (auto started = impl->start(); !started) {
    return std::unexpected(started.error());
  }
  return std::unique_ptr<Client>(new Client(std::move(impl)));
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Client::~Client() = default;

Call Client::send(Request request, Reply reply) {
  return {this, impl_->begin(std::move(request), std::move(reply), {})};
}

Call Client::stream(Request request, StreamHandler handler) {
  return {this, impl_->begin(std::move(request), {}, std::move(handler))};
}

Loop& Client::loop() const {
  return impl_->loop();
}

const ClusterConfig& Client::config() const {
  return impl_->config();
}

const ClientStats& Client::stats() const {
  return impl_->stats();
}

}  // namespace sluice::kube
