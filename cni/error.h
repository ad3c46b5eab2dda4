// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <string>

namespace sluice::cni {

// Codes of the CNI specification; from 100 on they are the plugin's own.
enum class Code : int {
  kIncompatibleVersion = 1,
  kUnknownContainer = 3,
  kBadEnvironment = 4,
  kIo = 5,
  kBadContent = 6,  // standard input cannot be decoded
  kBadConfig = 7,   // decoded, but not what the plugin needs
  kTryAgainLater = 11,
  kNotAvailable = 50,  // for STATUS
  kNoInterface = 100,  // no interface on which Sluice can enforce
};

// The error that the runtime receives on standard output.
struct CniError {
  Code code = Code::kIo;
  std::string message;  // a sentence
  std::string details;
};

template <typename T>
using CniResult = std::expected<T, CniError>;

inline std::unexpected<CniError> refuse(Code code, std::string message,
                                        std::string details = {}) {
  return std::unexpected(CniError{.code = code,
                                  .message = std::move(message),
                                  .details = std::move(details)});
}

}  // namespace sluice::cni
