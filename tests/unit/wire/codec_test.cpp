// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/codec.h"

#include <gtest/gtest.h>

#include "lib/wire/l4.h"
#include "tests/unit/wire/world.h"

namespace sluice::wire::test {
namespace {

constexpr std::size_t kPlenty = 1 << 30;

// One of everything, IPv6 and odd prefixes too.
State everything() {
  auto state = make_state(5);
  state.peers.push_back({.prefix = *parse_prefix("0.0.0.0/0"), .cidr_id = 1});
  state.peers.push_back(
      {.prefix = *parse_prefix("fd00::/64"), .cidr_id = 0xffffffff});
  state.peers.push_back({.prefix = *parse_prefix("fd00::5/128"), .cidr_id = 0});
  state.endpoints[0].ips.push_back(*parse_ip("fd00::5"));
  state.endpoints[1].interface = "veth0";
  state.endpoints[1].permits = sluice::kPermissions;
  state.endpoints[2].ips.clear();
  for (const std::uint32_t length : {72U, 80U, 81U, 90U, 96U}) {
    auto entry = state.entries[0];
    entry.key.prefixlen = length;
    entry.key.policy_id = 43;
    entry.key.cidr_id = 0;
    entry.key.direction = SLUICE_EGRESS;
    entry.key.protocol = length == 72 ? 0 : 17;
    entry.key.port = __builtin_bswap16(length <= 80 ? 0 : 0x8000);
    entry.value.verdict = SLUICE_VERDICT_DENY;
    entry.value.flags = 0xff;
    entry.value.jump = SLUICE_JUMP_LOG;
    state.entries.push_back(entry);
  }
  auto question = state.entries[0];
  question.key.prefixlen = SLUICE_PREFIX_PROTOCOL;
  question.key.cidr_id = SLUICE_CIDR_NAME | 7;
  question.key.direction = SLUICE_QUESTION;
  question.key.protocol = 3;
  question.key.port = 0;
  state.entries.push_back(question);
  state.resolvers.push_back(
      {.address = *parse_ip("fd00::a"), .port = 5353, .protocol = 6});
  State sorted;
  sluice::apply(sorted, diff(State{}, state));
  return sorted;
}

std::vector<v1::Chunk> chunks_of(Encoder encoder, std::size_t bytes) {
  std::vector<v1::Chunk> chunks;
  while (!encoder.done()) {
    encoder.next(bytes, chunks.emplace_back());
  }
  return chunks;
}

// What the chunks become, through bytes as they would on the wire.
Result<std::optional<Update>> read(const std::vector<v1::Chunk>& chunks,
                                   std::size_t bytes_max = kPlenty) {
  Decoder decoder(bytes_max);
  for (const auto& chunk : chunks) {
    v1::Chunk copy;
    if (!copy.ParseFromString(chunk.SerializeAsString())) {
      return fail("not a chunk");
    }
    auto update = decoder.add(copy);
    if (!update || *update) {
      return update;
    }
  }
  return std::optional<Update>();
}

std::vector<v1::Chunk> snapshot_chunks(const State& state, std::size_t bytes) {
  return chunks_of(Encoder(9, 3, std::make_shared<const State>(state)), bytes);
}

TEST(WireCodec, SnapshotComesBackAsItWas) {
  const auto state = everything();
  for (const std::size_t bytes : {1UL, 50UL, 1'000'000UL}) {
    const auto chunks = snapshot_chunks(state, bytes);
    const auto update = read(chunks);
    ASSERT_TRUE(update) << update.error().message;
    ASSERT_TRUE(*update);
    EXPECT_TRUE((*update)->snapshot);
    EXPECT_EQ((*update)->revision, 3U);
    EXPECT_EQ((*update)->origin, 9U);
    EXPECT_TRUE(same((*update)->state, state)) << bytes;
    EXPECT_EQ(chunks.size() == 1, bytes == 1'000'000UL);
  }
}

TEST(WireCodec, TransactionComesBackAsItWas) {
  const auto from = everything();
  auto to = make_state(3, 8);
  for (const auto& [before, after] :
       {std::pair(from, to), std::pair(to, from), std::pair(from, State{})}) {
    auto change = std::make_shared<Transaction>(diff(before, after));
    change->revision = 12;
    for (const std::size_t bytes : {1UL, 1'000'000UL}) {
      const auto update = read(chunks_of(Encoder(9, change), bytes));
      ASSERT_TRUE(update) << update.error().message;
      ASSERT_TRUE(*update);
      EXPECT_FALSE((*update)->snapshot);
      EXPECT_EQ((*update)->transaction.revision, 12U);
      auto state = before;
      sluice::apply(state, (*update)->transaction);
      EXPECT_TRUE(same(state, after));
    }
  }
}

TEST(WireCodec, EmptySnapshotIsOneChunk) {
  const auto chunks = snapshot_chunks(State{}, 1000);
  ASSERT_EQ(chunks.size(), 1U);
  const auto update = read(chunks);
  ASSERT_TRUE(update);
  EXPECT_TRUE(*update);
}

TEST(WireCodec, EntriesAndPeersAreCompact) {
  State state;
  for (std::uint32_t i = 0; i < 10'000; ++i) {
    auto entry = make_state(1).entries[0];
    entry.key.cidr_id = 0x80000000 + i;
    state.entries.push_back(entry);
  }
  EXPECT_LT(snapshot_chunks(state, 1'000'000)[0].ByteSizeLong(), 132'000U);
  State peers;
  peers.peers = make_state(10'000).peers;
  EXPECT_LT(snapshot_chunks(peers, 1'000'000)[0].ByteSizeLong(), 92'000U);
}

TEST(WireCodec, StringsAreSentOncePerChunk) {
  State state;
  const std::string policy(1000, 'p');
  for (std::uint32_t i = 0; i < 1000; ++i) {
    state.rules.push_back({.id = i + 16,
                           .policy = policy,
                           .path = "spec.ingress[0]",
                           .action = "allow",
                           .log_value = {}});
  }
  EXPECT_LT(snapshot_chunks(state, 1'000'000)[0].ByteSizeLong(), 30'000U);
}

TEST(WireCodec, L4OfEveryPolicyKeyAndNoOther) {
  int valid = 0;
  for (std::uint32_t length = 0; length < 128; ++length) {
    for (const std::uint32_t rest : {0U, 6U << 16, 6U << 16 | 1, 6U << 16 | 80,
                                     6U << 16 | 0x8000, 0x01000000U, 80U}) {
      const auto packed = length << 25 | rest;
      if (const auto key = unpack_l4(packed)) {
        ++valid;
        EXPECT_EQ(pack_l4(*key), packed);
        EXPECT_TRUE(key->prefixlen == 72 ||
                    (key->prefixlen >= 80 && key->prefixlen <= 96));
      }
    }
  }
  EXPECT_EQ(valid, 80);
}

v1::Entries& asked_group(v1::Chunk& chunk) {
  int i = 0;
  while (chunk.entries(i).asked_name_size() == 0) {
    ++i;
  }
  return *chunk.mutable_entries(i);
}

using Damage = std::function<void(v1::Chunk&)>;
struct BadChunk {
  const char* what;
  Damage damage;
};
class WireBadChunk : public testing::TestWithParam<BadChunk> {};

TEST_P(WireBadChunk, IsAnErrorAndNothingElse) {
  auto chunks = snapshot_chunks(everything(), 1'000'000);
  ASSERT_EQ(chunks.size(), 1U);
  ASSERT_TRUE(read(chunks));
  GetParam().damage(chunks[0]);
  const auto update = read(chunks);
  ASSERT_FALSE(update) << GetParam().what;
  EXPECT_FALSE(update.error().message.empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, WireBadChunk,
    testing::Values(
        BadChunk{"kind",
                 [](auto& c) { c.set_kind(static_cast<v1::Chunk::Kind>(7)); }},
        BadChunk{"no kind",
                 [](auto& c) { c.set_kind(v1::Chunk::KIND_UNSPECIFIED); }},
        BadChunk{"index", [](auto& c) { c.set_index(1); }},
        BadChunk{"origin", [](auto& c) { c.set_origin(0); }},
        BadChunk{"length4",
                 [](auto& c) { c.mutable_peers()->set_length4(0, 33); }},
        BadChunk{
            "huge length4",
            [](auto& c) { c.mutable_peers()->set_length4(0, 0xffffffff); }},
        BadChunk{"host bits",
                 [](auto& c) { c.mutable_peers()->set_length4(1, 8); }},
        BadChunk{"length6",
                 [](auto& c) { c.mutable_peers()->set_length6(0, 129); }},
        BadChunk{"columns of IPv4",
                 [](auto& c) { c.mutable_peers()->add_address4(1); }},
        BadChunk{"classes of IPv4",
                 [](auto& c) { c.mutable_peers()->add_cidr_id4(1); }},
        BadChunk{"half an IPv6 address",
                 [](auto& c) {
                   c.mutable_peers()->mutable_address6()->push_back('x');
                 }},
        BadChunk{"columns of IPv6",
                 [](auto& c) { c.mutable_peers()->add_length6(1); }},
        BadChunk{"columns of removed IPv4",
                 [](auto& c) { c.mutable_peers()->add_removed_length4(1); }},
        BadChunk{"columns of removed IPv6",
                 [](auto& c) { c.mutable_peers()->add_removed_length6(1); }},
        BadChunk{"snapshot that removes a peer",
                 [](auto& c) {
                   c.mutable_peers()->add_removed_address4(0);
                   c.mutable_peers()->add_removed_length4(0);
                 }},
        BadChunk{"the same peer twice",
                 [](auto& c) {
                   c.mutable_peers()->add_address4(0);
                   c.mutable_peers()->add_length4(0);
                   c.mutable_peers()->add_cidr_id4(5);
                 }},
        BadChunk{"policy set 0",
                 [](auto& c) { c.mutable_entries(0)->set_policy_set(0); }},
        BadChunk{
            "policy set of 32 bits",
            [](auto& c) { c.mutable_entries(0)->set_policy_set(0x80000000); }},
        BadChunk{"l4",
                 [](auto& c) { c.mutable_entries(0)->set_l4(0, 0xffffffff); }},
        BadChunk{"columns of entries",
                 [](auto& c) { c.mutable_entries(0)->add_rule(1); }},
        BadChunk{"columns of removed entries",
                 [](auto& c) { c.mutable_entries(0)->add_removed_l4(1); }},
        BadChunk{"verdict",
                 [](auto& c) { c.mutable_entries(0)->set_action(0, 3); }},
        BadChunk{"no verdict",
                 [](auto& c) { c.mutable_entries(0)->set_action(0, 0); }},
        BadChunk{"jump",
                 [](auto& c) {
                   c.mutable_entries(0)->set_action(0, 1 | 999U << 16);
                 }},
        BadChunk{"jump that only programs take",
                 [](auto& c) {
                   c.mutable_entries(0)->set_action(
                       0, 1 | SLUICE_JUMP_UNCOMMON_FIRST << 16);
                 }},
        BadChunk{"address of 5 bytes",
                 [](auto& c) { c.mutable_endpoints(0)->set_ips(0, "12345"); }},
        BadChunk{"unspecified address",
                 [](auto& c) {
                   c.mutable_endpoints(0)->set_ips(0, std::string(4, '\0'));
                 }},
        BadChunk{"two IPv4 addresses",
                 [](auto& c) { c.mutable_endpoints(0)->add_ips("1234"); }},
        BadChunk{"endpoint without a name",
                 [](auto& c) { c.mutable_endpoints(0)->clear_name(); }},
        BadChunk{"endpoint with a bad name",
                 [](auto& c) { c.mutable_endpoints(0)->set_name("a\nb"); }},
        BadChunk{"endpoint with a long name",
                 [](auto& c) {
                   c.mutable_endpoints(0)->set_name(std::string(600, 'a'));
                 }},
        BadChunk{"interface",
                 [](auto& c) {
                   c.mutable_endpoints(0)->set_interface("sixteen-letters!");
                 }},
        BadChunk{"endpoint's set",
                 [](auto& c) {
                   c.mutable_endpoints(0)->set_policy_set(0xffffffff);
                 }},
        BadChunk{"string index",
                 [](auto& c) { c.mutable_rules(0)->set_policy(999); }},
        BadChunk{"huge string index",
                 [](auto& c) { c.mutable_sets(0)->add_policies(0xffffffff); }},
        BadChunk{"empty string", [](auto& c) { c.add_strings(""); }},
        BadChunk{"long string",
                 [](auto& c) { c.add_strings(std::string(70'000, 'a')); }},
        BadChunk{"set 0", [](auto& c) { c.mutable_sets(0)->set_id(0); }},
        BadChunk{"columns of questions",
                 [](auto& c) { c.mutable_entries(0)->add_asked_name(1); }},
        BadChunk{
            "columns of removed questions",
            [](auto& c) { c.mutable_entries(0)->add_removed_asked_list(1); }},
        BadChunk{"question for a peer class",
                 [](auto& c) { asked_group(c).set_asked_name(0, 7); }},
        BadChunk{"list 0",
                 [](auto& c) { asked_group(c).set_asked_list(0, 0); }},
        BadChunk{
            "list of all names",
            [](auto& c) { asked_group(c).set_asked_list(0, SLUICE_DNS_ANY); }},
        BadChunk{"name selector with a class's id",
                 [](auto& c) { c.mutable_names(0)->set_id(7); }},
        BadChunk{"empty pattern",
                 [](auto& c) { c.mutable_names(0)->set_pattern(0); }},
        BadChunk{"resolver's address",
                 [](auto& c) { c.mutable_resolvers(0)->set_address("12345"); }},
        BadChunk{"resolver's port",
                 [](auto& c) { c.mutable_resolvers(0)->set_port(65536); }},
        BadChunk{"resolver's protocol",
                 [](auto& c) { c.mutable_resolvers(0)->set_protocol(132); }},
        BadChunk{"snapshot that removes a resolver", [](auto& c) {
                   *c.add_removed_resolvers() = c.resolvers(0);
                 }}));

TEST(WireCodec, ChunksOfDifferentThingsDoNotMix) {
  const auto chunks = snapshot_chunks(everything(), 50);
  ASSERT_GT(chunks.size(), 3U);
  auto without_second = chunks;
  without_second.erase(without_second.begin() + 1);
  EXPECT_FALSE(read(without_second));
  for (const auto& damage : std::vector<Damage>{
           [](auto& c) { c.set_revision(4); }, [](auto& c) { c.set_origin(4); },
           [](auto& c) { c.set_kind(v1::Chunk::KIND_TRANSACTION); }}) {
    auto mixed = chunks;
    damage(mixed[1]);
    EXPECT_FALSE(read(mixed));
  }
  const auto unfinished = read({chunks[0], chunks[1]});
  ASSERT_TRUE(unfinished);
  EXPECT_FALSE(*unfinished);
}

TEST(WireCodec, MemoryOfAnUpdateIsBounded) {
  // A few bytes on the wire, a gigabyte in memory.
  v1::Chunk chunk;
  chunk.set_kind(v1::Chunk::KIND_SNAPSHOT);
  chunk.set_origin(1);
  chunk.set_last(true);
  chunk.add_strings(std::string(60'000, 'a'));
  auto& set = *chunk.add_sets();
  set.set_id(1);
  for (int i = 0; i < 20'000; ++i) {
    set.add_policies(1);
  }
  EXPECT_FALSE(read({chunk}, 100'000'000));
  EXPECT_FALSE(read(snapshot_chunks(make_state(1000), 10'000), 50'000));
}

TEST(WireCodec, UnknownFieldsArePassedOver) {
  const auto state = everything();
  auto chunk = snapshot_chunks(state, 1'000'000)[0];
  // Field 1000, varint, in the chunk and in an endpoint.
  const std::string extra("\xc0\x3e\x2a", 3);
  auto bytes = chunk.SerializeAsString() + extra;
  ASSERT_TRUE(chunk.mutable_endpoints(0)->ParseFromString(
      chunk.endpoints(0).SerializeAsString() + extra));
  const auto update = read({chunk});
  ASSERT_TRUE(update);
  EXPECT_TRUE(same((*update)->state, state));
  v1::Chunk newer;
  ASSERT_TRUE(newer.ParseFromString(bytes));
  const auto other = read({newer});
  ASSERT_TRUE(other);
  EXPECT_TRUE(same((*other)->state, state));
}

TEST(WireCodec, AckComesBackAndIsBounded) {
  Ack ack{.received = 9, .applied = 7, .failures = {}};
  for (int i = 0; i < 1000; ++i) {
    ack.failures.push_back(
        {.policy_set = 0, .endpoint = {}, .message = std::string(5000, 'x')});
  }
  const auto progress = encode(ack, 3);
  EXPECT_LT(progress.ByteSizeLong(), 300'000U);
  const auto back = decode(progress);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->received, 9U);
  EXPECT_EQ(back->applied, 7U);
  EXPECT_EQ(back->failures.size(), 256U);
  auto more = progress;
  more.add_failures();
  EXPECT_FALSE(decode(more));
  more = progress;
  more.mutable_failures(0)->set_message(std::string(5000, 'x'));
  EXPECT_FALSE(decode(more));
  more = progress;
  more.set_applied(10);
  EXPECT_FALSE(decode(more));
}

}  // namespace
}  // namespace sluice::wire::test
