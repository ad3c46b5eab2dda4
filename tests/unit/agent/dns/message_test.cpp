// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/message.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <span>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bpf/dns_message.bpf.h"
#include "tests/unit/dns/packet.h"

namespace sluice::agent {
namespace {

using dns::Name;
using dns::test::Bytes;
using dns::test::Writer;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint16_t kResponse = 0x8180;
constexpr std::array<std::uint64_t, 2> kSecret{0x0123456789abcdefULL, 42};

std::span<const std::byte> as_bytes(const Bytes& bytes) {
  return std::as_bytes(std::span(bytes));
}

Name name(const char* text) {
  return Name::from_text(text).value();
}

TEST(Answer, HasTheChainOfNamesInLowerCaseAndItsAddresses) {
  Writer writer(kResponse, 3);
  writer.question("WWW.Example.com")
      .cname("www.example.com", 5, "Edge.Example.NET")
      .record("edge.example.net", 1, 60, {192, 0, 2, 1})
      .record("www.example.com", 28, 30, Bytes(16, 0x20));
  const auto answer = read_answer(as_bytes(writer.bytes));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->id, 0x1234);
  EXPECT_TRUE(answer->response);
  EXPECT_FALSE(answer->truncated);
  EXPECT_EQ(answer->code, 0);
  EXPECT_EQ(answer->type, 1);
  EXPECT_THAT(answer->names,
              ElementsAre(name("www.example.com"), name("edge.example.net")));
  EXPECT_THAT(
      answer->addresses,
      ElementsAre(
          AnswerAddress{
              .address = *parse_ip("192.0.2.1"), .ttl = 60, .names = 2},
          AnswerAddress{.address = *parse_ip("2020:2020:2020:2020:2020:2020:"
                                             "2020:2020"),
                        .ttl = 30,
                        .names = 1}));
}

TEST(Answer, ToldFromAQuestionAndFromATruncatedOrFailedAnswer) {
  Writer question(0x0100, 0);
  question.question("a.com", 28);
  const auto asked = read_answer(as_bytes(question.bytes));
  ASSERT_TRUE(asked);
  EXPECT_FALSE(asked->response);
  EXPECT_EQ(asked->type, 28);
  EXPECT_THAT(asked->names, ElementsAre(name("a.com")));

  Writer failed(0x8383, 0);
  failed.question("a.com");
  const auto answer = read_answer(as_bytes(failed.bytes));
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->response);
  EXPECT_TRUE(answer->truncated);
  EXPECT_EQ(answer->code, 3);
  EXPECT_THAT(answer->addresses, IsEmpty());
}

TEST(Answer, DamageAndOddMessagesAreErrors) {
  EXPECT_THAT(read_answer({}).error().message, testing::HasSubstr("damaged"));
  Writer update(0x2800, 0);
  update.question("a.com");
  EXPECT_THAT(read_answer(as_bytes(update.bytes)).error().message,
              testing::HasSubstr("no query or response"));
  Writer short_one(kResponse, 2);
  short_one.question("a.com").record("a.com", 1, 1, {1, 2, 3, 4});
  EXPECT_FALSE(read_answer(as_bytes(short_one.bytes)));
  const Bytes large(65536);
  EXPECT_FALSE(read_answer(as_bytes(large)));
}

TEST(Answer, OfTheLargestSizeIsReadWhole) {
  // What the kernel leaves to user space: 64 KB over TCP.
  constexpr unsigned kRecords = 4000;
  Writer writer(kResponse, kRecords);
  writer.question("pool.example.com");
  for (unsigned i = 0; i < kRecords; ++i) {
    writer.record("pool.example.com", 1, 5,
                  {10, 0, static_cast<std::uint8_t>(i >> 8U),
                   static_cast<std::uint8_t>(i)});
  }
  ASSERT_GT(writer.bytes.size(), 60000U);
  const auto answer = read_answer(as_bytes(writer.bytes));
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_EQ(answer->addresses.size(), kRecords);
  EXPECT_EQ(answer->addresses.back().address, *parse_ip("10.0.15.159"));
}

// As the kernel's program reads the same bytes.
TEST(Answer, OfRandomMessagesIsWhatTheKernelReads) {
  std::mt19937 random(7);
  const auto m = std::make_unique<dns_message>();
  std::ranges::copy(kSecret, m->key);
  unsigned read = 0;
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes = dns::test::random_response(random);
    if (i % 2 == 0) {
      dns::test::damage(bytes, random);
    }
    if (bytes.size() > DNS_MESSAGE_MAX) {
      continue;
    }
    m->length = static_cast<std::uint32_t>(bytes.size());
    std::ranges::copy(bytes, m->bytes);
    int status = dns_open(m.get());
    while (status == DNS_OK && m->records > 0) {
      status = dns_next(m.get());
    }
    const auto answer = read_answer(as_bytes(bytes));
    // The kernel has room for fewer records.
    if (status == DNS_TOO_LARGE) {
      continue;
    }
    ASSERT_EQ(answer.has_value(), status == DNS_OK);
    if (!answer) {
      continue;
    }
    ++read;
    ASSERT_EQ(answer->names.size(), m->names);
    for (std::size_t at = 0; at < answer->names.size(); ++at) {
      const sluice_name_key key = hash_name(kSecret, answer->names[at]);
      ASSERT_EQ(key.hash[0], m->name[at].hash[0]);
      ASSERT_EQ(key.hash[1], m->name[at].hash[1]);
    }
    ASSERT_EQ(answer->addresses.size(), m->addresses);
    for (std::size_t at = 0; at < answer->addresses.size(); ++at) {
      const AnswerAddress& address = answer->addresses[at];
      ASSERT_TRUE(
          std::ranges::equal(address.address.bytes, m->address[at].bytes));
      ASSERT_EQ(address.ttl, m->address[at].ttl);
      ASSERT_EQ(address.names, m->address[at].names);
    }
  }
  EXPECT_GT(read, 10000U);
}

TEST(HashName, IsTheKernelsForNamesOfAllSizes) {
  const auto m = std::make_unique<dns_message>();
  std::ranges::copy(kSecret, m->key);
  std::string text;
  // The root, then one more byte each time, up to the longest name.
  for (std::size_t size = 0; size <= 253; ++size) {
    Writer writer(kResponse, 0);
    writer.question(text);
    std::ranges::copy(writer.bytes, m->bytes);
    m->length = static_cast<std::uint32_t>(writer.bytes.size());
    ASSERT_EQ(dns_open(m.get()), DNS_OK) << text;
    const auto key =
        hash_name(kSecret, name(text.empty() ? "." : text.c_str()));
    ASSERT_EQ(key.hash[0], m->name[0].hash[0]) << text;
    ASSERT_EQ(key.hash[1], m->name[0].hash[1]) << text;
    text += size % 50 == 48 && size < 253 ? '.' : 'a';
    if (text.back() == '.') {
      text += 'b';
      ++size;
    }
  }
}

TEST(HashName, DependsOnTheSecret) {
  const auto one = hash_name(kSecret, name("a.com"));
  const auto other = hash_name({1, 2}, name("a.com"));
  EXPECT_NE(one.hash[0], other.hash[0]);
  EXPECT_NE(one.hash[1], other.hash[1]);
}

}  // namespace
}  // namespace sluice::agent
