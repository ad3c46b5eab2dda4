// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

namespace sluice::wire {

// What is known of the bearer of a token.
struct Identity {
  bool allowed = false;
  std::string node;   // the token names this node, and is good for no other;
                      // empty: it names none, and is good for every node
  std::string error;  // why it is not allowed, for the log; or empty
};

// Says who bears a token. Caching is up to the implementation.
class Authenticator {
 public:
  using Done = std::function<void(Identity)>;

  Authenticator() = default;
  Authenticator(const Authenticator&) = delete;
  Authenticator& operator=(const Authenticator&) = delete;
  Authenticator(Authenticator&&) = delete;
  Authenticator& operator=(Authenticator&&) = delete;
  virtual ~Authenticator() = default;

  // Called on the thread of Server::dispatch(). `done` is to be called once, at
  // any time, from any thread, also before this returns and after the server is
  // gone. A token whose answer takes longer than ServerOptions::hello_timeout
  // is refused. `token` may be empty, is of at most kTokenBytesMax bytes, and
  // came from anybody: it must not be logged.
  virtual void authenticate(const std::string& token, Done done) = 0;
};

inline constexpr std::size_t kTokenBytesMax = 16'384;

}  // namespace sluice::wire
