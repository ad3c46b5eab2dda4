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

// A certificate authority of its own (ECDSA P-256) and a server certificate by
// it for `dns_names` (addresses too), valid from an hour ago, for clocks that
// differ, until `validity` from now. The authority's key is thrown away.
Result<TlsMaterial> make_self_signed_ca_and_server_cert(
    const std::vector<std::string>& dns_names, std::chrono::hours validity);

// An error, naming what, unless the certificate can be parsed and the key is
// the certificate's.
Result<void> check_certificate(const TlsCertificate& certificate);
// When the first certificate in the text ceases to be valid.
Result<std::chrono::system_clock::time_point> not_after(
    const std::string& certificate_pem);

}  // namespace sluice::wire
