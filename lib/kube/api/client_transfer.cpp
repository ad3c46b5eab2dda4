// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "lib/kube/api/client_impl.h"
#include "lib/kube/api/status_causes.h"
#include "lib/kube/field.h"

namespace sluice::kube {
namespace {

// Of an answer that is no Status object, in an error.
constexpr std::size_t kMaxPlain = 600;

using nlohmann::json;

// Keep-alive times well below the usual idle limits, so that proxies and load
// balancers see that the connection is in use.
constexpr long kKeepaliveIdle = 15;
constexpr long kKeepaliveInterval = 5;
constexpr long kReceiveBuffer = 128L << 10;

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

// True if the text contains no line end, which would start another header.
bool fits_header(std::string_view text) {
  return std::ranges::none_of(text, [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
}

// Makes a server's text readable in a message. Its quotes are for people.
std::string readable(std::string_view text) {
  std::string result = printable(text, 1024);
  for (auto at = result.find("\\\""); at != std::string::npos;
       at = result.find("\\\"", at)) {
    result.erase(at, 1);
    ++at;
  }
  return result;
}

// Returns the host and port of a URL in the form of CURLOPT_CONNECT_TO and the
// Host header.
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
                  .causes = {},
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
    text += ": " + std::string(plain.substr(0, kMaxPlain));
  }
  ApiError result = error(text);
  result.status = code;
  result.reason = std::move(reason);
  result.causes = causes_of(answer);
  curl_off_t wait = 0;
  if (curl_easy_getinfo(easy.get(), CURLINFO_RETRY_AFTER, &wait) == CURLE_OK &&
      wait > 0) {
    result.retry_after = std::chrono::seconds(std::min<curl_off_t>(wait, 3600));
  }
  return result;
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
  for (const auto& line : transfer.request.headers) {
    if (!fits_header(line)) {
      return fail("a header contains control characters");
    }
    add(line);
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
    // Trust the cluster's own CA and none of the system's.
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
    // The URL's host is verified and sent as SNI; the address to connect to is
    // set separately.
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

}  // namespace sluice::kube
