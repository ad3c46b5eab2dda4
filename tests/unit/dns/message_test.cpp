// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "bpf/dns_message.bpf.h"
#include "lib/dns/name.h"
#include "tests/unit/dns/packet.h"

// The reader of DNS messages, as user space compiles it.
namespace sluice::dns {
namespace {

using test::Bytes;
using test::Writer;

constexpr std::uint16_t kResponse = 0x8180;
constexpr test::Limits kLimits{.bytes = DNS_MESSAGE_MAX,
                               .records = DNS_RECORDS_MAX,
                               .names = DNS_NAMES_MAX,
                               .pointers = DNS_POINTERS_MAX};
constexpr std::array<std::uint64_t, 2> kKey{0x0706050403020100ULL,
                                            0x0f0e0d0c0b0a0908ULL};

// The hash by a library, as bytes.
std::string hash_of(const std::string& wire) {
  const std::unique_ptr<EVP_MAC, void (*)(EVP_MAC*)> mac(
      EVP_MAC_fetch(nullptr, "SIPHASH", nullptr), EVP_MAC_free);
  const std::unique_ptr<EVP_MAC_CTX, void (*)(EVP_MAC_CTX*)> context(
      EVP_MAC_CTX_new(mac.get()), EVP_MAC_CTX_free);
  std::size_t size = 16;
  unsigned c_rounds = 1;
  unsigned d_rounds = 3;
  const std::array<OSSL_PARAM, 4> params{
      OSSL_PARAM_construct_size_t("size", &size),
      OSSL_PARAM_construct_uint("c-rounds", &c_rounds),
      OSSL_PARAM_construct_uint("d-rounds", &d_rounds),
      OSSL_PARAM_construct_end()};
  std::array<unsigned char, 16> out{};
  std::size_t written = 0;
  const bool done =
      EVP_MAC_init(context.get(),
                   reinterpret_cast<const unsigned char*>(kKey.data()),
                   sizeof(kKey), params.data()) == 1 &&
      EVP_MAC_update(context.get(),
                     reinterpret_cast<const unsigned char*>(wire.data()),
                     wire.size()) == 1 &&
      EVP_MAC_final(context.get(), out.data(), &written, out.size()) == 1;
  EXPECT_TRUE(done && written == out.size());
  return {out.begin(), out.end()};
}

std::string hash_of(const dns_name& name) {
  return {reinterpret_cast<const char*>(name.hash), sizeof(name.hash)};
}

class DnsMessage : public testing::Test {
 protected:
  // The status; the result is in `m`.
  int read(const Bytes& message) {
    std::ranges::copy(kKey, m->key);
    m->length = static_cast<std::uint32_t>(message.size());
    std::memset(m->bytes, 0xc0, sizeof(m->bytes));  // of an earlier message
    std::copy_n(message.begin(),
                std::min<std::size_t>(message.size(), DNS_MESSAGE_MAX),
                m->bytes);
    int status = dns_open(m.get());
    while (status == DNS_OK && m->records > 0) {
      status = dns_next(m.get());
    }
    return status;
  }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> result;
    result.reserve(m->names);
    for (unsigned i = 0; i < m->names; ++i) {
      result.push_back(hash_of(m->name[i]));
    }
    return result;
  }
  [[nodiscard]] std::vector<test::Address> addresses() const {
    std::vector<test::Address> result;
    for (unsigned i = 0; i < m->addresses; ++i) {
      const dns_address& from = m->address[i];
      test::Address address{
          .ttl = from.ttl, .v6 = from.v6 != 0, .names = from.names};
      std::ranges::copy(from.bytes, address.bytes.begin());
      result.push_back(address);
    }
    return result;
  }
  // As the simple parser reads it.
  void expect_as_simple(const Bytes& message) {
    const auto expected = test::read_simply(message, kLimits);
    ASSERT_EQ(read(message) == DNS_OK, expected.complete);
    if (!expected.complete) {
      return;
    }
    std::vector<std::string> hashes;
    hashes.reserve(expected.names.size());
    for (const std::string& name : expected.names) {
      hashes.push_back(hash_of(name));
    }
    ASSERT_EQ(names(), hashes);
    ASSERT_EQ(addresses(), expected.addresses);
  }

  std::unique_ptr<dns_message> m = std::make_unique<dns_message>();
};

std::string hash_of_text(const char* text) {
  return hash_of(std::string(Name::from_text(text).value().wire()));
}

TEST_F(DnsMessage, AnAnswerToASearchDomainNamesTheWholeChain) {
  Writer writer(kResponse, 4);
  writer.question("api.Example.com.web.svc.cluster.local")
      .cname("api.example.com.web.svc.cluster.local", 5, "api.example.com")
      .cname("api.example.com", 7, "edge.cdn.net")
      .record("edge.cdn.net", DNS_TYPE_A, 60, {192, 0, 2, 1})
      .record("edge.cdn.net", DNS_TYPE_AAAA, 30, Bytes(16, 0x20));
  ASSERT_EQ(read(writer.bytes), DNS_OK);
  EXPECT_EQ(m->id, 0x1234);
  EXPECT_EQ(m->flags, kResponse);
  EXPECT_EQ(m->type, DNS_TYPE_A);
  EXPECT_EQ(m->qclass, DNS_CLASS_IN);
  EXPECT_THAT(
      names(),
      testing::ElementsAre(
          hash_of_text("api.example.com.web.svc.cluster.local"),
          hash_of_text("api.example.com"), hash_of_text("edge.cdn.net")));
  ASSERT_EQ(m->addresses, 2U);
  EXPECT_EQ(addresses()[0],
            (test::Address{.bytes = {192, 0, 2, 1}, .ttl = 60, .names = 3}));
  EXPECT_TRUE(addresses()[1].v6);
}

TEST_F(DnsMessage, AddressesOfOtherNamesAreNotInIt) {
  Writer writer(kResponse, 3);
  writer.question("a.com")
      .record("b.com", DNS_TYPE_A, 1, {1, 1, 1, 1})
      .cname("b.com", 1, "a.com")
      .record("A.COM", DNS_TYPE_A, 1, {2, 2, 2, 2}, false);
  ASSERT_EQ(read(writer.bytes), DNS_OK);
  ASSERT_EQ(m->addresses, 1U);
  EXPECT_EQ(m->address[0].bytes[0], 2);
}

TEST_F(DnsMessage, AQuestionAloneIsRead) {
  Writer writer(0x0100, 0);
  writer.question("a.com", DNS_TYPE_AAAA);
  ASSERT_EQ(read(writer.bytes), DNS_OK);
  EXPECT_FALSE(m->flags & DNS_FLAG_RESPONSE);
  EXPECT_EQ(m->type, DNS_TYPE_AAAA);
  EXPECT_THAT(names(), testing::ElementsAre(hash_of_text("a.com")));
}

TEST_F(DnsMessage, WhatDoesNotFitGivesNoAddresses) {
  Writer many(kResponse, DNS_RECORDS_MAX + 1);
  many.question("a.com");
  EXPECT_EQ(read(many.bytes), DNS_TOO_LARGE);
  Writer chain(kResponse, DNS_NAMES_MAX);
  chain.question("n0");
  for (unsigned i = 0; i < DNS_NAMES_MAX; ++i) {
    chain.cname("n" + std::to_string(i), 1, "n" + std::to_string(i + 1));
  }
  EXPECT_EQ(read(chain.bytes), DNS_TOO_LARGE);
  EXPECT_EQ(read(Bytes(DNS_MESSAGE_MAX + 1)), DNS_TOO_LARGE);
}

TEST_F(DnsMessage, AsManyRecordsAsFitAreRead) {
  Writer writer(kResponse, DNS_RECORDS_MAX);
  writer.question("a.com");
  for (unsigned i = 0; i < DNS_RECORDS_MAX; ++i) {
    writer.record("a.com", DNS_TYPE_A, i,
                  {10, 0, 0, static_cast<std::uint8_t>(i)});
  }
  ASSERT_EQ(read(writer.bytes), DNS_OK);
  ASSERT_EQ(m->addresses, DNS_RECORDS_MAX);
  EXPECT_EQ(m->address[DNS_RECORDS_MAX - 1].ttl, DNS_RECORDS_MAX - 1);
}

TEST_F(DnsMessage, PointersOnlyLeadBack) {
  for (const unsigned target : {0xc00cU, 0xc00eU, 0xc000U, 0xffffU}) {
    Writer writer(kResponse, 0);
    writer.u16(target).u16(1).u16(1);
    EXPECT_EQ(read(writer.bytes), DNS_DAMAGED) << target;
  }
  // Labels that lead back to themselves.
  Writer loop(kResponse, 1);
  loop.question("a.com");
  loop.bytes.insert(loop.bytes.end(), {1, 'x', 0xc0, 23});
  loop.u16(1).u16(1).u16(0).u16(0).u16(0);
  EXPECT_EQ(read(loop.bytes), DNS_DAMAGED);
}

TEST_F(DnsMessage, TheLongestNameIsReadAndOneByteMoreIsDamage) {
  for (const std::size_t last : {61U, 62U}) {
    const std::string label(63, 'A');
    std::string text = label;
    for (const std::string& part : {label, label, std::string(last, 'b')}) {
      text.append(".").append(part);
    }
    Writer writer(kResponse, 0);
    writer.question(text);
    ASSERT_EQ(read(writer.bytes), last == 61 ? DNS_OK : DNS_DAMAGED);
    if (last == 61) {
      EXPECT_THAT(names(), testing::ElementsAre(hash_of_text(text.c_str())));
    }
  }
}

TEST_F(DnsMessage, EveryPrefixOfAMessageIsDamaged) {
  Writer writer(kResponse, 2);
  writer.question("a.example.com")
      .cname("a.example.com", 1, "b.example.com")
      .record("b.example.com", DNS_TYPE_A, 1, {1, 2, 3, 4});
  ASSERT_EQ(read(writer.bytes), DNS_OK);
  while (writer.bytes.size() > 1) {
    writer.bytes.pop_back();
    EXPECT_EQ(read(writer.bytes), DNS_DAMAGED) << writer.bytes.size();
  }
}

TEST_F(DnsMessage, AgreesWithASimpleParserOverRandomMessages) {
  std::mt19937 random(20261129);
  int complete = 0;
  for (int round = 0; round < 30000; ++round) {
    Bytes message = test::random_response(random);
    if (round % 2 == 1) {
      test::damage(message, random);
    }
    expect_as_simple(message);
    if (HasFatalFailure()) {
      FAIL() << "round " << round;
    }
    complete += test::read_simply(message, kLimits).complete ? 1 : 0;
  }
  EXPECT_GT(complete, 10000);
  EXPECT_LT(complete, 29000);
}

}  // namespace
}  // namespace sluice::dns
