// SPDX-License-Identifier: Apache-2.0
// What names add to a packet, in nanoseconds above the same packets without
// them: DNS answers of several sizes, whose names are known, on their way to
// the pod; and packets that are denied although rules for names have their
// port. No network, no interface, no agent.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <arpa/inet.h>

#include "agent/dns/message.h"
#include "agent/maps.h"
#include "bench/programs.h"
#include "lib/base/fd.h"
#include "lib/dns/name.h"

namespace {

using namespace sluice;           // NOLINT(google-build-using-namespace)
using namespace sluice::testing;  // NOLINT(google-build-using-namespace)
using namespace sluice::bench;    // NOLINT(google-build-using-namespace)
using agent::Map;

constexpr std::uint32_t kRepeat = 200'000;
constexpr int kRounds = 7;
constexpr std::uint16_t kDns = 53;
constexpr std::uint16_t kClient = 1000;
constexpr std::uint32_t kSelector = SLUICE_CIDR_NAME | 1;
constexpr std::uint8_t kLevel = 1;
constexpr std::uint32_t kPolicyId = SLUICE_POLICY_ID(1, 0);

void append(Bytes& to, std::initializer_list<unsigned> bytes) {
  for (const unsigned byte : bytes) {
    to.push_back(static_cast<std::uint8_t>(byte));
  }
}

// About www.example.com; an answer, if it has addresses.
Bytes message(unsigned addresses) {
  Bytes result;
  append(result, {0x12, 0x34, addresses == 0 ? 0x01U : 0x81U, 0x80, 0, 1,
                  addresses >> 8U, addresses, 0, 0, 0, 0});
  for (const std::string label : {"www", "example", "com"}) {
    append(result, {static_cast<unsigned>(label.size())});
    result.insert(result.end(), label.begin(), label.end());
  }
  append(result, {0, 0, 1, 0, 1});
  for (unsigned i = 0; i < addresses; ++i) {
    append(result, {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 198, 51, 100, i});
  }
  return result;
}

Bytes datagram(std::uint16_t from, std::uint16_t to, const Bytes& payload) {
  Bytes result = udp(from, to, payload.size());
  std::ranges::copy(payload,
                    result.end() - static_cast<std::ptrdiff_t>(payload.size()));
  return result;
}

template <typename Key, typename Value>
void put(Map map, const Key& key, const Value& value) {
  if (bpf_map_update_elem(large_runner().datapath().map_fd(map), &key, &value,
                          BPF_ANY) != 0) {
    die(fail_errno("writing a map").error().message);
  }
}

class Bench {
 public:
  Bench() : runner_(large_runner()), net_(make_net(false)) {
    must(runner_.datapath().load_names());
    runner_.datapath().state()->events_new_flows = 0;
    vary_.reset(datapath_vary_bpf::open());
    if (!vary_) {
      die("opening the benchmark's program");
    }
    for (auto [to, from] :
         {std::pair{vary_->maps.state, Map::kState},
          std::pair{vary_->maps.questions, Map::kQuestions}}) {
      bpf_map__reuse_fd(to, runner_.datapath().map_fd(from));
    }
    if (datapath_vary_bpf::load(vary_.get()) != 0) {
      die("loading the benchmark's program");
    }
    give_map();
  }

  // Of an answer with that many addresses; `dns`: its flow is one to a server
  // whose answers count.
  double answer(unsigned addresses, bool dns) {
    begin(dns ? SLUICE_DNS_ANY : 0);
    const Bytes question =
        net_.to(net_.b, kUdp, datagram(kClient, kDns, message(0)));
    if (!must(runner_.verdict(SLUICE_EGRESS, question))) {
      die("the question is denied");
    }
    if (dns) {
      remember_question();
    }
    const Bytes frame =
        net_.from(net_.b, kUdp, datagram(kDns, kClient, message(addresses)));
    const int front = bpf_program__fd(vary_->progs.next_question);
    const double time =
        least(runner_.datapath().to_pod_fd(), front, frame, TC_ACT_UNSPEC);
    if (dns && !has_learned()) {
      die("nothing was learned");
    }
    return time;
  }

  // Of a packet to an address that the endpoint has not learned; `names`:
  // rules for names have its port.
  double denied(bool names) {
    must(runner_.set(net_.isolated({{.direction = SLUICE_EGRESS,
                                     .protocol = kTcp,
                                     .port = 443,
                                     .port_bits = 16,
                                     .verdict = SLUICE_VERDICT_DENY}})));
    const sluice_policy_key key = {.prefixlen = SLUICE_PREFIX_PORT,
                                   .policy_id = kPolicyId,
                                   .cidr_id = SLUICE_CIDR_ANY,
                                   .direction = SLUICE_EGRESS,
                                   .protocol = kTcp,
                                   .port = htons(443)};
    put(Map::kPolicy, key,
        sluice_policy_value{.verdict = SLUICE_VERDICT_DENY,
                            .flags = names ? kLevel : __u8{0},
                            .jump = SLUICE_JUMP_NONE,
                            .rule = SLUICE_RULE_DEFAULT_DENY_EGRESS});
    runner_.datapath().state()->events_per_second = 1;
    return least(runner_.datapath().from_pod_fd(), -1,
                 net_.to(net_.stranger, kTcp, tcp(kClient, 443)), TC_ACT_SHOT);
  }

 private:
  void give_map() {
    inner_.reset(bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "learned",
                                sizeof(sluice_learned_key),
                                sizeof(sluice_learned), 2048, nullptr));
    put(Map::kLearned, kOwnInterface, inner_.get());
    const auto& key = runner_.datapath().state()->name_key;
    const auto name = dns::Name::from_text("www.example.com").value();
    put(Map::kNames, agent::hash_name({key[0], key[1]}, name),
        sluice_name{.selector = {kSelector}, .wire = {}});
  }

  // The peer may be asked by DNS for the names of `list`.
  void begin(std::uint8_t list) {
    const World world = net_.isolated({{.direction = SLUICE_EGRESS,
                                        .cidr_id = kClassB,
                                        .protocol = kUdp,
                                        .port = kDns,
                                        .port_bits = 16}});
    must(runner_.set(world));
    must(runner_.forget());
    const sluice_policy_key key = {.prefixlen = SLUICE_PREFIX_PORT,
                                   .policy_id = kPolicyId,
                                   .cidr_id = kClassB,
                                   .direction = SLUICE_EGRESS,
                                   .protocol = kUdp,
                                   .port = htons(kDns)};
    put(Map::kPolicy, key,
        sluice_policy_value{.verdict = SLUICE_VERDICT_ALLOW,
                            .flags = list,
                            .jump = SLUICE_JUMP_NONE,
                            .rule = SLUICE_RULE_FIRST});
  }

  void remember_question() {
    const int map = runner_.datapath().map_fd(Map::kQuestions);
    auto& key = vary_->bss->asked_key;
    if (bpf_map_get_next_key(map, nullptr, &key) != 0 ||
        bpf_map_lookup_elem(map, &key, &vary_->bss->asked) != 0) {
      die("the question was not noted");
    }
  }

  [[nodiscard]] bool has_learned() const {
    sluice_learned_key key{};
    return bpf_map_get_next_key(inner_.get(), nullptr, &key) == 0;
  }

  // Nanoseconds above the floor, the least of some rounds. `front`: runs in
  // front of both, or -1.
  double least(int program, int front, const Bytes& frame, int verdict) {
    double result = 1e9;
    const int floor = floor_program();
    for (int round = 0; round <= kRounds; ++round) {
      const double idle = run_at(floor, front, frame, TC_ACT_UNSPEC);
      const double time = run_at(program, front, frame, verdict) - idle;
      result = round == 0 ? result : std::min(result, time / kRepeat * 1e9);
    }
    return result;
  }

  double run_at(int program, int front, const Bytes& frame, int verdict) {
    const std::uint32_t zero = 0;
    if (front >= 0 && bpf_map_update_elem(bpf_map__fd(vary_->maps.target),
                                          &zero, &program, BPF_ANY) != 0) {
      die("setting the benchmark's target");
    }
    return run(front >= 0 ? front : program, frame, verdict, kRepeat);
  }

  Runner& runner_;
  Net net_;
  Vary vary_;
  Fd inner_;
};

}  // namespace

int main() {
  Bench bench;
  std::puts("nanoseconds per packet, and above the same without names");
  for (const unsigned addresses : {1U, 8U, 64U}) {
    const double plain = bench.answer(addresses, false);
    const double read = bench.answer(addresses, true);
    std::printf("answer of %2u addresses  %7.0f %+7.0f\n", addresses, read,
                read - plain);
  }
  const double plain = bench.denied(false);
  const double names = bench.denied(true);
  std::printf("denied packet           %7.0f %+7.0f\n", names, names - plain);
  return 0;
}
