// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/kube/api/server.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

namespace sluice::kube::test {
namespace {

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return text;
}

std::string unescape(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      result += static_cast<char>(
          std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      result += text[i];
    }
  }
  return result;
}

class PlainPeer : public Peer {
 public:
  explicit PlainPeer(int fd) : fd_(fd) {}
  bool write(std::string_view bytes) override {
    while (!bytes.empty()) {
      const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) {
        return false;
      }
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  std::size_t read(char* to, std::size_t size) override {
    const auto got = ::recv(fd_, to, size, 0);
    return got > 0 ? static_cast<std::size_t>(got) : 0;
  }

 private:
  int fd_;
};

class TlsPeer : public Peer {
 public:
  explicit TlsPeer(SSL* ssl) : ssl_(ssl) {}
  bool write(std::string_view bytes) override {
    return bytes.empty() ||
           SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) > 0;
  }
  std::size_t read(char* to, std::size_t size) override {
    const int got = SSL_read(ssl_, to, static_cast<int>(size));
    return got > 0 ? static_cast<std::size_t>(got) : 0;
  }

 private:
  SSL* ssl_;
};

bool shell(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;  // NOLINT
}

void parse_target(HttpRequest& request) {
  const auto mark = request.target.find('?');
  request.path = unescape(request.target.substr(0, mark));
  if (mark == std::string::npos) {
    return;
  }
  std::string_view rest = std::string_view(request.target).substr(mark + 1);
  while (!rest.empty()) {
    const auto pair = rest.substr(0, rest.find('&'));
    const auto equals = pair.find('=');
    request.query[unescape(pair.substr(0, equals))] =
        equals == std::string_view::npos ? ""
                                         : unescape(pair.substr(equals + 1));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
  }
}

HttpRequest parse_head(std::string_view head) {
  HttpRequest request;
  const auto first = head.substr(0, head.find("\r\n"));
  request.method = first.substr(0, first.find(' '));
  const auto target = first.substr(first.find(' ') + 1);
  request.target = target.substr(0, target.find(' '));
  parse_target(request);
  head.remove_prefix(first.size());
  while (head.starts_with("\r\n")) {
    head.remove_prefix(2);
    const auto line = head.substr(0, head.find("\r\n"));
    const auto colon = line.find(": ");
    if (colon != std::string_view::npos) {
      request.headers[lower(std::string(line.substr(0, colon)))] =
          line.substr(colon + 2);
    }
    head.remove_prefix(line.size());
  }
  return request;
}

}  // namespace

std::string HttpRequest::get(const std::string& name) const {
  const auto found = query.find(name);
  return found == query.end() ? "(none)" : found->second;
}

std::string HttpRequest::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "(none)" : found->second;
}

void Peer::reply(int status, std::string_view body, std::string_view headers) {
  std::string text = "HTTP/1.1 " + std::to_string(status) +
                     " X\r\nContent-Length: " + std::to_string(body.size()) +
                     "\r\n" + std::string(headers) + "\r\n";
  text += body;
  write(text);
}

bool Peer::begin(std::string_view headers) {
  return write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" +
               std::string(headers) + "\r\n");
}

bool Peer::chunk(std::string_view bytes) {
  std::array<char, 24> size{};
  std::snprintf(size.data(), size.size(), "%zx\r\n", bytes.size());
  return write(size.data() + std::string(bytes) + "\r\n");
}

bool Peer::end() {
  return write("0\r\n\r\n");
}

void Peer::wait_gone() {
  std::array<char, 256> ignored{};
  while (read(ignored.data(), ignored.size()) != 0) {
  }
}

const TlsFiles& tls_files() {
  static const TlsFiles made = [] {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "sluice-tls-XXXXXX").string();
    TlsFiles files;
    files.folder = ::mkdtemp(pattern.data());
    const std::string at = files.folder.string() + "/";
    const std::string key = "-newkey rsa:2048 -nodes -days 2 ";
    const auto make_ca = [&](const std::string& name) {
      shell("openssl req -x509 " + key + "-subj /CN=" + name + " -keyout " +
            at + name + ".key -out " + at + name + ".crt");
    };
    make_ca("ca");
    make_ca("other");
    shell("openssl req " + key + "-subj /CN=server -keyout " + at +
          "server.key -out " + at + "server.csr");
    std::ofstream(at + "ext") << "subjectAltName=IP:127.0.0.1,DNS:api.test\n";
    shell("openssl x509 -req -days 2 -in " + at + "server.csr -CA " + at +
          "ca.crt -CAkey " + at + "ca.key -CAcreateserial -extfile " + at +
          "ext -out " + at + "server.crt");
    files.ca = at + "ca.crt";
    files.other_ca = at + "other.crt";
    files.certificate = at + "server.crt";
    files.key = at + "server.key";
    return files;
  }();
  // Removed when the program ends.
  static const struct Remover {
    Remover() = default;
    Remover(const Remover&) = delete;
    Remover& operator=(const Remover&) = delete;
    Remover(Remover&&) = delete;
    Remover& operator=(Remover&&) = delete;
    ~Remover() {
      std::error_code ignored;
      std::filesystem::remove_all(made.folder, ignored);
    }
  } remover;
  return made;
}

struct FakeServer::Tls {
  Tls() {
    SSL_CTX_use_certificate_chain_file(context,
                                       tls_files().certificate.c_str());
    SSL_CTX_use_PrivateKey_file(context, tls_files().key.c_str(),
                                SSL_FILETYPE_PEM);
    // A client that shows a certificate shows one of the CA.
    SSL_CTX_load_verify_locations(context, tls_files().ca.c_str(), nullptr);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  Tls(const Tls&) = delete;
  Tls& operator=(const Tls&) = delete;
  Tls(Tls&&) = delete;
  Tls& operator=(Tls&&) = delete;
  ~Tls() { SSL_CTX_free(context); }
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
};

FakeServer::FakeServer(Handler handler, bool tls)
    : handler_(std::move(handler)) {
  // OpenSSL writes to sockets without MSG_NOSIGNAL.
  ::signal(SIGPIPE, SIG_IGN);
  if (tls) {
    tls_ = std::make_unique<Tls>();
  }
  listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener_.get(), generic, size) != 0) {
    throw std::runtime_error("no port of 127.0.0.1");
  }
  ::listen(listener_.get(), 64);
  ::getsockname(listener_.get(), generic, &size);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

FakeServer::~FakeServer() {
  stopping_ = true;
  ::shutdown(listener_.get(), SHUT_RDWR);
  acceptor_.join();
  cut_all();
  for (auto& thread : threads_) {
    thread.join();
  }
}

ClusterConfig FakeServer::config() const {
  ClusterConfig config;
  config.server = (tls_ ? "https://127.0.0.1:" : "http://127.0.0.1:") +
                  std::to_string(port_);
  if (tls_) {
    config.ca = Material::file(tls_files().ca);
  }
  return config;
}

std::vector<HttpRequest> FakeServer::requests() const {
  const std::lock_guard guard(lock_);
  return requests_;
}

int FakeServer::count(std::string_view part) const {
  const std::lock_guard guard(lock_);
  return static_cast<int>(
      std::ranges::count_if(requests_, [&](const HttpRequest& request) {
        return request.target.find(part) != std::string::npos;
      }));
}

void FakeServer::cut_all() {
  const std::lock_guard guard(lock_);
  for (const int fd : open_) {
    ::shutdown(fd, SHUT_RDWR);
  }
}

void FakeServer::accept_all() {
  while (!stopping_) {
    const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      continue;
    }
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const std::lock_guard guard(lock_);
    open_.push_back(fd);
    threads_.emplace_back([this, fd] { serve(fd); });
  }
}

void FakeServer::serve(int fd) {
  std::string buffer;
  if (tls_) {
    const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(tls_->context),
                                                        &SSL_free);
    SSL_set_fd(ssl.get(), fd);
    TlsPeer peer(ssl.get());
    if (SSL_accept(ssl.get()) > 0) {
      while (serve_one(peer, buffer)) {
      }
    }
  } else {
    PlainPeer peer(fd);
    while (serve_one(peer, buffer)) {
    }
  }
  const std::lock_guard guard(lock_);
  std::erase(open_, fd);
  ::close(fd);
}

bool FakeServer::serve_one(Peer& peer, std::string& buffer) {
  std::array<char, 16384> bytes{};
  const auto more = [&] {
    const std::size_t got = peer.read(bytes.data(), bytes.size());
    buffer.append(bytes.data(), got);
    return got != 0;
  };
  std::size_t end = 0;
  while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
    if (!more()) {
      return false;
    }
  }
  HttpRequest request = parse_head(std::string_view(buffer).substr(0, end + 2));
  buffer.erase(0, end + 4);
  const auto length = request.headers.find("content-length");
  const std::size_t size =
      length == request.headers.end() ? 0 : std::stoul(length->second);
  while (buffer.size() < size) {
    if (!more()) {
      return false;
    }
  }
  request.body = buffer.substr(0, size);
  buffer.erase(0, size);
  {
    const std::lock_guard guard(lock_);
    requests_.push_back(request);
  }
  handler_(request, peer);
  return !peer.is_cut() && !stopping_;
}

bool run_until(Loop& loop, const std::function<bool()>& holds,
               std::chrono::milliseconds limit) {
  const auto end = Loop::Clock::now() + limit;
  while (!holds()) {
    if (Loop::Clock::now() >= end) {
      return false;
    }
    loop.wait(std::chrono::milliseconds(5));
  }
  return true;
}

bool run_for(Loop& loop, std::chrono::milliseconds time) {
  bool over = false;
  const Timer timer = loop.after(time, [&] { over = true; });
  return run_until(loop, [&] { return over; });
}

std::string gzip(std::string_view text) {
  z_stream stream{};
  constexpr int kGzip = 15 + 16;
  deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY);
  std::string result(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in =
      reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));  // NOLINT
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  deflate(&stream, Z_FINISH);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

}  // namespace sluice::kube::test
