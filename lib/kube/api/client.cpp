// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/client.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <unordered_map>

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nlohmann/json.hpp>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "lib/kube/field.h"

namespace sluice::kube {
namespace {

using nlohmann::json;
using Clock = Loop::Clock;

// Of an answer that is an error, so much is read for its message.
constexpr std::size_t kMaxErrorBody = std::size_t{64} << 10;
// What a proxy or load balancer between us and the server may need to notice a
// connection in use, well below the usual idle limits.
constexpr long kKeepaliveIdle = 15;
constexpr long kKeepaliveInterval = 5;
constexpr long kReceiveBuffer = 128L << 10;

struct FreeMulti {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct FreeEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

const char* name_of(Method method) {
  constexpr std::array kNames{"GET", "POST", "PUT", "PATCH", "DELETE"};
  return kNames[static_cast<std::size_t>(method)];
}

std::string_view phrase_of(int status) {
  switch (status) {
    case 400:
      return " Bad Request";
    case 401:
      return " Unauthorized";
    case 403:
      return " Forbidden";
    case 404:
      return " Not Found";
    case 409:
      return " Conflict";
    case 410:
      return " Gone";
    case 422:
      return " Unprocessable Entity";
    case 429:
      return " Too Many Requests";
    case 500:
      return " Internal Server Error";
    case 503:
      return " Service Unavailable";
    case 504:
      return " Gateway Timeout";
    default:
      return "";
  }
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const auto begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) {
    return {};
  }
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// A header must not be able to end: what follows would be one of its own.
bool fits_header(std::string_view text) {
  return std::ranges::none_of(text, [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
}

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

// Text of a server as it may stand in a message. Its quotes are for people.
std::string readable(std::string_view text) {
  std::string result = printable(text, 1024);
  for (auto at = result.find("\\\""); at != std::string::npos;
       at = result.find("\\\"", at)) {
    result.erase(at, 1);
    ++at;
  }
  return result;
}

// The host and port in a URL, as CURLOPT_CONNECT_TO and the Host header want
// them.
std::string authority_of(std::string_view url) {
  url.remove_prefix(url.find("://") + 3);
  return std::string(url.substr(0, url.find('/')));
}

bool has_port(std::string_view authority) {
  const auto colon = authority.rfind(':');
  return colon != std::string_view::npos &&
         authority.find(']', colon) == std::string_view::npos;
}

}  // namespace

class Client::Impl {
 public:
  Impl(Loop& loop, ClusterConfig config, ClientOptions options)
      : loop_(&loop),
        config_(std::move(config)),
        options_(std::move(options)) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  Result<void> start();
  std::uint64_t begin(Request request, Reply reply, StreamHandler handler);
  void give_up(std::uint64_t id);

  [[nodiscard]] bool in_flight(std::uint64_t id) const {
    return transfers_.contains(id);
  }
  [[nodiscard]] Loop& loop() const { return *loop_; }
  [[nodiscard]] const ClusterConfig& config() const { return config_; }
  [[nodiscard]] const ClientStats& stats() const { return stats_; }

 private:
  struct Transfer {
    Impl* owner = nullptr;
    std::uint64_t id = 0;
    Request request;
    Reply reply;  // or, for a stream, none
    StreamHandler handler;
    std::unique_ptr<CURL, FreeEasy> easy;
    std::unique_ptr<curl_slist, FreeList> headers;
    std::unique_ptr<curl_slist, FreeList> connect_to;
    bool attached = false;   // to the multi handle
    bool receiving = false;  // the headers are there
    std::string body;
    std::string failure;  // why we ended it
    std::array<char, CURL_ERROR_SIZE> curl_error{};
    Clock::time_point deadline;
    Timer timer;

    [[nodiscard]] bool is_stream() const { return !reply; }
    // Some of the answer has come.
    void heard() {
      if (!is_stream()) {
        return;
      }
      deadline = Clock::now() + request.silence;
      if (!std::exchange(receiving, true)) {
        timer = owner->loop_->after(request.silence,
                                    [this] { owner->check_time(id); });
      }
    }
    [[nodiscard]] int status() const;
    [[nodiscard]] ApiError error(std::string_view what) const;
    [[nodiscard]] ApiError http_error() const;
  };

  Result<void> set_up(Transfer& transfer);
  Result<void> set_up_tls(Transfer& transfer);
  Result<void> set_up_headers(Transfer& transfer);
  static void set_up_method(Transfer& transfer);

  static int on_socket(CURL* easy, curl_socket_t fd, int what, void* self,
                       void* socket);
  static int on_timer(CURLM* multi, long timeout_ms, void* self);
  static std::size_t on_header(char* data, std::size_t size, std::size_t count,
                               void* transfer);
  static std::size_t on_body(char* data, std::size_t size, std::size_t count,
                             void* transfer);
  static int on_connect(void* self, curl_socket_t fd, curlsocktype purpose);

  void act(curl_socket_t fd, int what);
  void collect();
  void check_time(std::uint64_t id);
  void finish(std::uint64_t id, ApiResult<void> result);
  void detach(Transfer& transfer);

  Loop* loop_;
  ClusterConfig config_;
  ClientOptions options_;
  ClientStats stats_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Transfer>> transfers_;
  std::vector<curl_socket_t> sockets_;  // that the loop watches for us
  Timer curl_timer_;
  std::uint64_t next_id_ = 1;
  // After a failure of transport: connections in the pool may be dead without
  // knowing it, and a new one tells.
  bool distrust_pool_ = false;
  // Last, so that it goes first: closing connections calls back.
  std::unique_ptr<CURLM, FreeMulti> multi_;
};

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
  // Where the kernel refuses, only the time-outs above it are left.
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

// Finishes what libcurl says is done. First all messages, then the callbacks:
// they may start and give up transfers.
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
    const int status = transfer.status();
    const bool good = status >= 200 && status < 300;
    if (code == CURLE_OK && good) {
      finish(id, {});
    } else if (code == CURLE_OK || (!good && status >= 300)) {
      // An error whose text is too long, or was cut, is still that error.
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

int Client::Impl::Transfer::status() const {
  long status = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
  return static_cast<int>(status);
}

ApiError Client::Impl::Transfer::error(std::string_view what) const {
  const std::string purpose =
      request.purpose.empty()
          ? std::string(name_of(request.method)) + " " +
                request.path.substr(0, request.path.find('?'))
          : request.purpose;
  return ApiError{.status = 0,
                  .reason = {},
                  .message = purpose + ": " + readable(what),
                  .retry_after = std::nullopt};
}

ApiError Client::Impl::Transfer::http_error() const {
  const int code = status();
  std::string text = std::to_string(code);
  text += phrase_of(code);
  std::string reason;
  const json answer = json::parse(body, nullptr, false);
  const auto member = [&](const char* name) -> std::string {
    const auto found = answer.is_object() ? answer.find(name) : answer.end();
    return found != answer.end() && found->is_string()
               ? found->get<std::string>()
               : std::string();
  };
  if (answer.is_object()) {
    reason = member("reason");
    if (const auto message = member("message"); !message.empty()) {
      text += ": " + message;
    }
  } else if (const auto plain = trimmed(body); !plain.empty()) {
    text += ": " + std::string(plain.substr(0, 200));
  }
  ApiError result = error(text);
  result.status = code;
  result.reason = std::move(reason);
  curl_off_t wait = 0;
  if (curl_easy_getinfo(easy.get(), CURLINFO_RETRY_AFTER, &wait) == CURLE_OK &&
      wait > 0) {
    result.retry_after = std::chrono::seconds(std::min<curl_off_t>(wait, 3600));
  }
  return result;
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
    // Not now: the caller does not have the Call yet.
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
  finish(id, std::unexpected(transfer.error(
                 transfer.receiving
                     ? "nothing for " + seconds_text(transfer.request.silence)
                     : "no answer within " +
                           seconds_text(transfer.request.timeout))));
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

void Client::Impl::set_up_method(Transfer& transfer) {
  CURL* easy = transfer.easy.get();
  const Request& request = transfer.request;
  if (request.method == Method::kGet) {
    curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    return;
  }
  if (request.method != Method::kDelete || !request.body.empty()) {
    // Not copied: the transfer holds it.
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
  }
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, name_of(request.method));
}

Result<void> Client::Impl::set_up_headers(Transfer& transfer) {
  const auto add = [&](const std::string& line) {
    transfer.headers.reset(
        curl_slist_append(transfer.headers.release(), line.c_str()));
  };
  add("Accept: application/json");
  add("Expect:");
  if (!transfer.request.body.empty()) {
    add("Content-Type: " + transfer.request.content_type);
  }
  if (!config_.token.empty()) {
    const auto token = config_.token.get();
    if (!token) {
      return std::unexpected(with_context("token", token.error()).error());
    }
    if (!fits_header(trimmed(*token)) || trimmed(*token).empty()) {
      return fail("token: is empty or contains control characters");
    }
    add("Authorization: Bearer " + std::string(trimmed(*token)));
  }
  if (!config_.tls_server_name.empty()) {
    add("Host: " + authority_of(config_.server));
  }
  curl_easy_setopt(transfer.easy.get(), CURLOPT_HTTPHEADER,
                   transfer.headers.get());
  return {};
}

Result<void> Client::Impl::set_up_tls(Transfer& transfer) {
  CURL* easy = transfer.easy.get();
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, config_.insecure ? 0L : 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, config_.insecure ? 0L : 2L);
  const auto give = [&](CURLoption option, Material& material,
                        std::string_view what) -> Result<void> {
    if (material.empty()) {
      return {};
    }
    const auto content = material.get();
    if (!content) {
      return std::unexpected(with_context(what, content.error()).error());
    }
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): is copied
    curl_blob blob{.data = const_cast<char*>(content->data()),
                   .len = content->size(),
                   .flags = CURL_BLOB_COPY};
    return curl_easy_setopt(easy, option, &blob) == CURLE_OK
               ? Result<void>()
               : fail(std::string(what) + ": out of memory");
  };
  if (!config_.ca.empty()) {
    // The cluster's own authority, and none of the system's beside it.
    curl_easy_setopt(easy, CURLOPT_CAPATH, nullptr);
  }
  if (auto done = give(CURLOPT_CAINFO_BLOB, config_.ca, "CA"); !done) {
    return done;
  }
  curl_easy_setopt(easy, CURLOPT_SSLCERTTYPE, "PEM");
  curl_easy_setopt(easy, CURLOPT_SSLKEYTYPE, "PEM");
  if (auto done = give(CURLOPT_SSLCERT_BLOB, config_.client_certificate,
                       "client certificate");
      !done) {
    return done;
  }
  return give(CURLOPT_SSLKEY_BLOB, config_.client_key, "client key");
}

Result<void> Client::Impl::set_up(Transfer& transfer) {
  transfer.easy.reset(curl_easy_init());
  CURL* easy = transfer.easy.get();
  if (easy == nullptr) {
    return fail("libcurl: out of memory");
  }
  std::string url = config_.server;
  if (!config_.tls_server_name.empty()) {
    // The URL's host is what is verified and sent as SNI; where to connect to
    // is said apart.
    const std::string real = authority_of(config_.server);
    url.replace(url.find(real), real.size(), config_.tls_server_name);
    transfer.connect_to.reset(curl_slist_append(
        nullptr, ("::" + real + (has_port(real) ? "" : ":")).c_str()));
    curl_easy_setopt(easy, CURLOPT_CONNECT_TO, transfer.connect_to.get());
  }
  url += transfer.request.path;
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.curl_error.data());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kReceiveBuffer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Impl::on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Impl::on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, &Impl::on_connect);
  curl_easy_setopt(easy, CURLOPT_SOCKOPTDATA, this);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(options_.connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, kKeepaliveIdle);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, kKeepaliveInterval);
  curl_easy_setopt(
      easy, CURLOPT_HTTP_VERSION,
      options_.http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_PIPEWAIT, options_.http2 ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, distrust_pool_ ? 1L : 0L);
  if (!config_.proxy_url.empty()) {
    curl_easy_setopt(easy, CURLOPT_PROXY, config_.proxy_url.c_str());
  }
  if (!config_.username.empty()) {
    curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    curl_easy_setopt(easy, CURLOPT_USERNAME, config_.username.c_str());
    curl_easy_setopt(easy, CURLOPT_PASSWORD, config_.password.c_str());
  }
  set_up_method(transfer);
  if (auto done = set_up_tls(transfer); !done) {
    return done;
  }
  return set_up_headers(transfer);
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
