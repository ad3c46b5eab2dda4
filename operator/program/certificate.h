// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/kube/api/client.h"
#include "lib/wire/tls.h"

namespace sluice::operatord {

struct CertificateOptions {
  std::string ns;
  // A mounted Secret of type kubernetes.io/tls. Empty: the operators create a
  // certificate and store it in the Secret `secret`.
  std::filesystem::path dir;
  std::string secret = "sluice-operator-tls";
  std::string config_map = "sluice-operator-ca";  // key ca.crt
  std::vector<std::string> dns_names;
  std::chrono::hours validity{24 * 365 * 10};
  std::chrono::milliseconds look_again{30'000};
};

// The certificate that all replicas share, from a folder or from the API
// server; the first replica creates it. Publishes its CA for the agents.
//
// Belongs to the loop's thread. `client` must outlive this object.
class Certificate {
 public:
  // Called from Loop::dispatch() with the first certificate and after each
  // change.
  using Handler = std::function<void(const wire::TlsMaterial&)>;

  Certificate(kube::Client& client, CertificateOptions options,
              Handler handler);
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;
  Certificate(Certificate&&) = delete;
  Certificate& operator=(Certificate&&) = delete;
  ~Certificate();

  void start();
  // Why there is no certificate yet, or why the last attempt to read it failed;
  // empty after a success.
  [[nodiscard]] const std::string& problem() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::operatord
