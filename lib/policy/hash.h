// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::policy {

// A 64-bit hash that is the same on every machine and in every build: ids are
// made of it, and two translators must agree on them. Not for hostile input
// where a collision would matter: code that derives ids from it must resolve
// collisions.
class StableHash {
 public:
  StableHash& add(std::string_view text) {
    for (const char c : text) {
      step(static_cast<unsigned char>(c));
    }
    step(0x1f);  // "ab","c" is not "a","bc"
    return *this;
  }
  StableHash& add(std::uint64_t number) {
    for (int i = 0; i < 8; ++i) {
      step(static_cast<unsigned char>(number >> (i * 8)));
    }
    return *this;
  }
  [[nodiscard]] std::uint64_t value() const {
    std::uint64_t mixed = state_;
    mixed ^= mixed >> 33;
    mixed *= 0xff51afd7ed558ccdULL;
    mixed ^= mixed >> 33;
    mixed *= 0xc4ceb9fe1a85ec53ULL;
    return mixed ^ (mixed >> 33);
  }

 private:
  // FNV-1a, with a stronger finish in value().
  void step(unsigned char byte) { state_ = (state_ ^ byte) * 0x100000001b3ULL; }
  std::uint64_t state_ = 0xcbf29ce484222325ULL;
};

}  // namespace sluice::policy
