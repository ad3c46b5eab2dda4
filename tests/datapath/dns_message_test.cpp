// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <gtest/gtest.h>

#include "bpf/dns_message.bpf.h"
#include "dns_message.skel.h"
#include "tests/unit/dns/packet.h"

// The reader of DNS messages in the kernel gives what the same source gives in
// user space.
namespace sluice::testing {
namespace {

using dns::test::Bytes;
using dns::test::Writer;

constexpr std::size_t kHeader = 14;  // Ethernet
constexpr std::uint16_t kResponse = 0x8180;
constexpr std::array<std::uint64_t, 2> kKey{11, 22};
// More does not fit into the packets of BPF_PROG_TEST_RUN on Linux 5.10.
constexpr std::size_t kMostBytes = 3000;

struct CloseSkeleton {
  void operator()(dns_message_bpf* skeleton) const {
    dns_message_bpf__destroy(skeleton);
  }
};

class DnsMessageInKernel : public ::testing::Test {
 protected:
  void SetUp() override {
    skeleton_.reset(dns_message_bpf__open());
    ASSERT_TRUE(skeleton_);
    bpf_program__set_log_level(skeleton_->progs.read_message, 4);
    bpf_program__set_log_buf(skeleton_->progs.read_message, log_.data(),
                             log_.size());
    ASSERT_EQ(dns_message_bpf__load(skeleton_.get()), 0) << log_.data();
    const int processors = libbpf_num_possible_cpus();
    ASSERT_GT(processors, 0);
    readers_.resize(static_cast<std::size_t>(processors));
    for (Slot& slot : readers_) {
      std::ranges::copy(kKey, slot.message.key);
    }
    const std::uint32_t zero = 0;
    ASSERT_EQ(bpf_map_update_elem(bpf_map__fd(skeleton_->maps.reader), &zero,
                                  readers_.data(), BPF_ANY),
              0);
  }

  // What the program returns and, if `duration_ns` is there, what a run takes.
  static int run(const bpf_program* program, const Bytes& message,
                 int repeat = 1, std::uint32_t* duration_ns = nullptr) {
    Bytes frame(kHeader, 0);
    frame[12] = 0x88;  // no protocol that the kernel looks into
    frame[13] = 0xb5;
    frame.insert(frame.end(), message.begin(), message.end());
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    options.repeat = repeat;
    EXPECT_EQ(bpf_prog_test_run_opts(bpf_program__fd(program), &options), 0);
    if (duration_ns != nullptr) {
      *duration_ns = options.duration;
    }
    return static_cast<int>(options.retval);
  }

  // True if some processor's reader has this result.
  bool has_result(const dns_message& expected) {
    const std::uint32_t zero = 0;
    EXPECT_EQ(bpf_map_lookup_elem(bpf_map__fd(skeleton_->maps.reader), &zero,
                                  readers_.data()),
              0);
    return std::ranges::any_of(readers_, [&](const Slot& slot) {
      const dns_message& m = slot.message;
      return m.id == expected.id && m.names == expected.names &&
             m.addresses == expected.addresses &&
             std::memcmp(m.name, expected.name,
                         expected.names * sizeof(m.name[0])) == 0 &&
             std::memcmp(m.address, expected.address,
                         expected.addresses * sizeof(m.address[0])) == 0;
    });
  }

  // Values of per-CPU maps are multiples of eight bytes.
  struct alignas(8) Slot {
    dns_message message;
  };

  std::vector<char> log_ = std::vector<char>(1 << 16);
  std::unique_ptr<dns_message_bpf, CloseSkeleton> skeleton_;
  std::vector<Slot> readers_;
};

int read_here(const Bytes& message, dns_message& m) {
  std::memset(&m, 0, sizeof(m));
  std::ranges::copy(kKey, m.key);
  m.length = static_cast<std::uint32_t>(message.size());
  std::ranges::copy(message, m.bytes);
  int status = dns_open(&m);
  while (status == DNS_OK && m.records > 0) {
    status = dns_next(&m);
  }
  return status;
}

// With owners that are pointers to the question, or written out.
Bytes answers(unsigned count, bool compress) {
  Writer writer(kResponse, static_cast<std::uint16_t>(count));
  writer.question("api.eu-west-1.example.com");
  for (unsigned i = 0; i < count; ++i) {
    writer.record("api.eu-west-1.example.com", DNS_TYPE_A, 60,
                  {10, 0, 0, static_cast<std::uint8_t>(i)}, compress);
  }
  return writer.bytes;
}

TEST_F(DnsMessageInKernel, ReadsWhatUserSpaceReads) {
  std::mt19937 random(7);
  const auto here = std::make_unique<dns_message>();
  std::map<int, int> statuses;
  for (std::uint16_t round = 0; round < 4000; ++round) {
    Bytes message = dns::test::random_response(random);
    if (round % 2 == 1) {
      dns::test::damage(message, random);
    }
    if (message.size() < 2 || message.size() > kMostBytes) {
      continue;
    }
    // The id shows which processor has read it.
    message[0] = static_cast<std::uint8_t>(round >> 8U);
    message[1] = static_cast<std::uint8_t>(round);
    const int status = read_here(message, *here);
    ASSERT_EQ(run(skeleton_->progs.read_message, message), status) << round;
    ++statuses[status];
    if (status == DNS_OK) {
      ASSERT_TRUE(has_result(*here)) << round;
    }
  }
  EXPECT_GT(statuses[DNS_OK], 1000);
  EXPECT_GT(statuses[DNS_DAMAGED], 100);
  EXPECT_GT(statuses[DNS_UNUSUAL], 10);
  EXPECT_GT(statuses[DNS_TOO_LARGE], 10);
}

TEST_F(DnsMessageInKernel, ReadsSixtyFourAnswersAndMore) {
  const auto here = std::make_unique<dns_message>();
  for (const unsigned count : {64U, DNS_RECORDS_MAX}) {
    const Bytes message = answers(count, true);
    ASSERT_EQ(read_here(message, *here), DNS_OK);
    ASSERT_EQ(here->addresses, count);
    ASSERT_EQ(run(skeleton_->progs.read_message, message), DNS_OK);
    ASSERT_TRUE(has_result(*here));
  }
}

// What it costs is reported, not judged: the machine may be busy.
TEST_F(DnsMessageInKernel, PerformanceIsReported) {
  std::printf("%s", log_.data());
  for (const bool compress : {true, false}) {
    for (const unsigned count : {1U, 8U, 64U}) {
      const Bytes message = answers(count, compress);
      std::uint32_t whole = 0;
      std::uint32_t copy = 0;
      ASSERT_EQ(run(skeleton_->progs.read_message, message, 20000, &whole),
                DNS_OK);
      ASSERT_EQ(run(skeleton_->progs.read_nothing, message, 20000, &copy),
                DNS_OK);
      std::printf("%u answers, owners %s: %u ns, of which copying takes %u\n",
                  count, compress ? "compressed" : "written out", whole, copy);
    }
  }
}

}  // namespace
}  // namespace sluice::testing
