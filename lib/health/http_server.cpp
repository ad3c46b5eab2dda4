// SPDX-License-Identifier: Apache-2.0
#include "lib/health/http_server.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <microhttpd.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "lib/base/fd.h"

namespace sluice::health {
namespace {

using std::chrono::milliseconds;

constexpr unsigned kConnectionsMax = 512;
// How long to sleep at most.
constexpr milliseconds kPollMax{5'000};
// How often to look for the answer to a waiting request.
constexpr milliseconds kAgain{20};
// Of a stream, to be sent at a time.
constexpr std::size_t kBlock = 16'384;

// Takes the body over: it may be large.
MHD_Response* response_of(std::string body) {
  auto owned = std::make_unique<std::string>(std::move(body));
  MHD_Response* response =
      MHD_create_response_from_buffer_with_free_callback_cls(
          owned->size(), owned->data(),
          [](void* text) {
            const std::unique_ptr<std::string> ended(
                static_cast<std::string*>(text));
          },
          owned.get());
  if (response != nullptr) {
    std::ignore = owned.release();  // the callback destroys it
  }
  return response;
}

// Destroys the response.
MHD_Result send(MHD_Connection* connection, const HttpServer::Answer& answer,
                MHD_Response* response) {
  if (response == nullptr) {
    return MHD_NO;
  }
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                          answer.type.c_str());
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
  for (const auto& [name, value] : answer.headers) {
    MHD_add_response_header(response, name.c_str(), value.c_str());
  }
  const auto queued = MHD_queue_response(
      connection, static_cast<unsigned>(answer.status), response);
  MHD_destroy_response(response);
  return queued;
}

MHD_Result add_argument(void* to, MHD_ValueKind /*kind*/, const char* name,
                        const char* value) {
  static_cast<HttpServer::Pairs*>(to)->emplace_back(
      name, value == nullptr ? "" : value);
  return MHD_YES;
}

}  // namespace

struct HttpServer::Impl {
  Handler handler;
  Fd stop;
  int port = 0;
  MHD_Daemon* daemon = nullptr;
  struct Arrival {
    Clock::time_point at;
    std::uint64_t number = 0;
  };
  Options options;
  std::map<MHD_Connection*, Arrival> requests;
  std::uint64_t arrived = 0;
  std::vector<MHD_Connection*> waiting;  // suspended: no answer yet
  std::thread thread;                    // the daemon and the rest are its own

  Result<void> start(Fd listener);
  void run();
  void ask_again();
  static MHD_Result serve(void* self, MHD_Connection* connection,
                          const char* path, const char* method,
                          const char* version, const char* upload,
                          std::size_t* upload_size, void** state);
  static void forget(void* self, MHD_Connection* connection, void** state,
                     MHD_RequestTerminationCode why);
  MHD_Result answer(MHD_Connection* connection, Answer answer);
  static ssize_t read_stream(void* stream, std::uint64_t position, char* to,
                             std::size_t size);
  static void end_stream(void* stream);
};

namespace {

// A body that is made while it is sent.
struct Stream {
  std::vector<MHD_Connection*>* waiting = nullptr;
  MHD_Connection* connection = nullptr;
  std::function<std::optional<std::string>()> next;
  std::string text;  // to be sent
  std::size_t sent = 0;
};

}  // namespace

ssize_t HttpServer::Impl::read_stream(void* stream, std::uint64_t /*position*/,
                                      char* to, std::size_t size) {
  auto& self = *static_cast<Stream*>(stream);
  if (self.sent == self.text.size()) {
    auto text = self.next();
    if (!text) {
      return MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (text->empty()) {
      MHD_suspend_connection(self.connection);
      self.waiting->push_back(self.connection);
      return 0;
    }
    self.text = std::move(*text);
    self.sent = 0;
  }
  const auto count = std::min(size, self.text.size() - self.sent);
  std::copy_n(self.text.data() + self.sent, count, to);
  self.sent += count;
  return static_cast<ssize_t>(count);
}

void HttpServer::Impl::end_stream(void* stream) {
  const std::unique_ptr<Stream> owned(static_cast<Stream*>(stream));
}

MHD_Result HttpServer::Impl::answer(MHD_Connection* connection, Answer answer) {
  if (!answer.stream) {
    return send(connection, answer,
                response_of(std::exchange(answer.body, {})));
  }
  auto stream = std::make_unique<Stream>(
      Stream{.waiting = &waiting,
             .connection = connection,
             .next = std::exchange(answer.stream, {})});
  MHD_Response* response = MHD_create_response_from_callback(
      MHD_SIZE_UNKNOWN, kBlock, read_stream, stream.get(), end_stream);
  MHD_set_connection_option(
      connection, MHD_CONNECTION_OPTION_TIMEOUT,
      static_cast<unsigned>(options.stream_silence.count()));
  if (response != nullptr) {
    std::ignore = stream.release();  // end_stream() destroys it
  }
  return send(connection, answer, response);
}

Result<void> HttpServer::Impl::start(Fd listener) {
  auto& tls = options.tls;
  const bool secure = !tls.key.empty();
  std::array<MHD_OptionItem, 3> security{
      {{MHD_OPTION_HTTPS_MEM_KEY, 0, tls.key.data()},
       {MHD_OPTION_HTTPS_MEM_CERT, 0, tls.certificate.data()},
       {MHD_OPTION_END, 0, nullptr}}};
  if (!secure) {
    security[0] = security[2];
  }
  unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
  flags |= secure ? unsigned{MHD_USE_TLS} : 0U;
  daemon = MHD_start_daemon(
      flags, 0, nullptr, nullptr, serve, this, MHD_OPTION_ARRAY,
      security.data(), MHD_OPTION_LISTEN_SOCKET, listener.get(),
      MHD_OPTION_NOTIFY_COMPLETED, forget, this, MHD_OPTION_CONNECTION_LIMIT,
      kConnectionsMax, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
      options.connections_of_one, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      options.memory_of_one, MHD_OPTION_CONNECTION_TIMEOUT,
      static_cast<unsigned>(options.silence.count()), MHD_OPTION_END);
  if (daemon == nullptr) {
    return fail("libmicrohttpd does not start");
  }
  static_cast<void>(listener.release());  // the daemon closes it
  thread = std::thread([this] { run(); });
  return {};
}

// Called when the headers have arrived, and again for the answer.
MHD_Result HttpServer::Impl::serve(void* self, MHD_Connection* connection,
                                   const char* path, const char* method,
                                   const char* /*version*/,
                                   const char* /*upload*/,
                                   std::size_t* upload_size, void** /*state*/) {
  auto& server = *static_cast<Impl*>(self);
  if (std::string_view(method) != MHD_HTTP_METHOD_GET) {
    return server.answer(connection, {.status = MHD_HTTP_METHOD_NOT_ALLOWED,
                                      .type = "text/plain",
                                      .body = "GET only\n"});
  }
  const auto [request, is_new] = server.requests.try_emplace(connection);
  if (is_new) {
    request->second = {.at = Clock::now(), .number = ++server.arrived};
    return MHD_YES;
  }
  if (*upload_size != 0) {
    *upload_size = 0;  // means nothing here
    return MHD_YES;
  }
  const auto value = [connection](MHD_ValueKind kind, const char* name) {
    const char* found = MHD_lookup_connection_value(connection, kind, name);
    return std::string(found == nullptr ? "" : found);
  };
  auto answer = server.handler(
      {.path = path,
       .since = request->second.at,
       .number = request->second.number,
       .argument =
           [&](const char* name) { return value(MHD_GET_ARGUMENT_KIND, name); },
       .header = [&](const char* name) { return value(MHD_HEADER_KIND, name); },
       .arguments =
           [connection] {
             Pairs result;
             MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND,
                                       add_argument, &result);
             return result;
           }});
  if (answer) {
    return server.answer(connection, std::move(*answer));
  }
  MHD_suspend_connection(connection);
  server.waiting.push_back(connection);
  return MHD_YES;
}

void HttpServer::Impl::forget(void* self, MHD_Connection* connection,
                              void** /*state*/,
                              MHD_RequestTerminationCode /*why*/) {
  static_cast<Impl*>(self)->requests.erase(connection);
}

void HttpServer::Impl::ask_again() {
  for (auto* connection : std::exchange(waiting, {})) {
    MHD_resume_connection(connection);
  }
}

void HttpServer::Impl::run() {
  const auto* info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
  std::array<pollfd, 2> fds{
      {{.fd = stop.get(), .events = POLLIN, .revents = 0},
       {.fd = info->epoll_fd, .events = POLLIN, .revents = 0}}};
  while (fds[0].revents == 0) {
    MHD_run(daemon);
    auto wait = waiting.empty() ? milliseconds(-1) : kAgain;
    if (MHD_UNSIGNED_LONG_LONG left = 0;
        MHD_get_timeout(daemon, &left) == MHD_YES) {
      const auto soon = milliseconds(
          std::min<MHD_UNSIGNED_LONG_LONG>(left, kPollMax.count()));
      wait = waiting.empty() ? soon : std::min(wait, soon);
    }
    ::poll(fds.data(), fds.size(), static_cast<int>(wait.count()));
    ask_again();
  }
  MHD_stop_daemon(daemon);
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::HttpServer(HttpServer&&) noexcept = default;

HttpServer& HttpServer::operator=(HttpServer&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}

HttpServer::~HttpServer() {
  if (impl_ && impl_->thread.joinable()) {
    ::eventfd_write(impl_->stop.get(), 1);
    impl_->thread.join();
  }
}

Result<HttpServer> HttpServer::open(const std::string& address,
                                    Handler handler) {
  return open(address, std::move(handler), Options{});
}

Result<HttpServer> HttpServer::open(Listener listener, Handler handler) {
  return open(std::move(listener), std::move(handler), Options{});
}

Result<HttpServer> HttpServer::open(const std::string& address, Handler handler,
                                    Options options) {
  auto listener = Listener::open(address);
  return listener ? open(std::move(*listener), std::move(handler),
                         std::move(options))
                  : std::unexpected(listener.error());
}

Result<HttpServer> HttpServer::open(Listener listener, Handler handler,
                                    Options options) {
  auto impl = std::make_unique<Impl>();
  impl->handler = std::move(handler);
  impl->options = std::move(options);
  impl->stop = Fd(::eventfd(0, EFD_CLOEXEC));
  if (!impl->stop.valid()) {
    return fail_errno("eventfd");
  }
  impl->port = listener.port();
  if (auto started = impl->start(std::move(listener).take()); !started) {
    return std::unexpected(started.error());
  }
  return HttpServer(std::move(impl));
}

int HttpServer::port() const {
  return impl_->port;
}

}  // namespace sluice::health
