// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

namespace sluice::wire {

// The bearer of a token.
struct Identity {
  bool allowed = false;
  std::string node;   // the token names this node, and is good for no other;
                      // empty: it names none, and is valid for every node
  std::string error;  // why it is not allowed, for the log; or empty
};

// Identifies the bearer of a token. Caching is left to the implementation.
class Authenticator {
 public:
  using Done = std::function<void(Identity)>;

  Authenticator() = default;
  Authenticator(const Authenticator&) = delete;
  Authenticator& operator=(const Authenticator&) = delete;
  Authenticator(Authenticator&&) = delete;
  Authenticator& operator=(Authenticator&&) = delete;
  virtual ~Authenticator() = default;

  // Called on the thread of Server::dispatch(). `done` must be called once, at
  // any time, from any thread, also before this returns and after the server is
  // destroyed. A token whose answer takes longer than
  // ServerOptions::hello_timeout is refused. `token` may be empty, has at most
  // kTokenBytesMax bytes, and is untrusted: it must not be logged.
  virtual void authenticate(const std::string& token, Done done) = 0;
};

inline constexpr std::size_t kTokenBytesMax = 16'384;

}  // namespace sluice::wire
