// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "lib/base/result.h"

namespace sluice::wire {

// A server's certificate with its chain, and its private key.
struct TlsCertificate {
  std::string certificate_pem;
  std::string key_pem;
};

struct TlsMaterial {
  std::string ca_pem;  // what clients trust; its key is not kept
  TlsCertificate server;
};

// Makes a new CA (ECDSA P-256) and a server certificate for `dns_names` (which
// may be addresses), valid from an hour ago, for clocks that differ, until
// `validity` from now. The CA's key is discarded.
Result<TlsMaterial> make_self_signed_ca_and_server_cert(
    const std::vector<std::string>& dns_names, std::chrono::hours validity);

// Fails, naming the cause, unless the certificate can be parsed and the key
// matches it.
Result<void> check_certificate(const TlsCertificate& certificate);
// Returns when the first certificate in the text expires.
Result<std::chrono::system_clock::time_point> not_after(
    const std::string& certificate_pem);

}  // namespace sluice::wire
