// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/journal.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include "tests/unit/wire/world.h"

// What an agent writes down of its operator's words, and reads again.
namespace sluice::wire::test {
namespace {

namespace fs = std::filesystem;

class JournalTest : public ::testing::Test {
 protected:
  static std::string read(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& bytes) const {
    std::ofstream(file_, std::ios::binary) << bytes;
  }
  [[nodiscard]] Result<std::optional<Journal::Kept>> load() const {
    return Journal::load(file_, "n");
  }
  // Of a file that must be good.
  [[nodiscard]] Journal::Kept kept() const {
    auto result = load();
    EXPECT_TRUE(result) << result.error().message;
    EXPECT_TRUE(result && *result) << "nothing to go on from";
    return result && *result ? **result : Journal::Kept{};
  }

  TemporaryFolder folder_;
  fs::path file_ = folder_.file("journal", "");
  Journal journal_{file_, "n"};
};

TEST_F(JournalTest, gives_back_a_snapshot_and_what_came_after) {
  auto state = make_state(40);
  ASSERT_TRUE(journal_.begin(state, OnUnknown::kAllow));
  EXPECT_TRUE(same(kept().state, state));
  EXPECT_EQ(kept().on_unknown, OnUnknown::kAllow);
  for (int i = 0; i < 100; ++i) {
    const auto change = make_change(2 + i, i % 40, 100 + i);
    ASSERT_TRUE(journal_.add(*change));
    sluice::apply(state, *change);
  }
  Transaction removal;
  removal.revision = 200;
  removal.endpoints.push_back(
      {.name = state.endpoints[3].name, .value = std::nullopt});
  removal.peers.push_back(
      {.prefix = state.peers[0].prefix, .cidr_id = std::nullopt});
  ASSERT_TRUE(journal_.add(removal));
  sluice::apply(state, removal);
  ASSERT_TRUE(journal_.set_on_unknown(OnUnknown::kDeny));
  EXPECT_TRUE(same(kept().state, state));
  EXPECT_EQ(kept().on_unknown, OnUnknown::kDeny);
}

TEST_F(JournalTest, a_state_of_several_messages_comes_back) {
  const auto state = make_state(60'000);
  ASSERT_TRUE(journal_.begin(state, OnUnknown::kAgentDefault));
  EXPECT_GT(fs::file_size(file_), 2'000'000U);
  EXPECT_TRUE(same(kept().state, state));
}

TEST_F(JournalTest, wherever_writing_was_cut_off_what_was_whole_is_there) {
  const auto before = make_state(3);
  ASSERT_TRUE(journal_.begin(before, OnUnknown::kDeny));
  const auto whole = fs::file_size(file_);
  ASSERT_TRUE(journal_.add(*make_change(2, 1, 99)));
  const auto bytes = read(file_);
  for (auto size = whole; size < bytes.size(); ++size) {
    write(bytes.substr(0, size));
    EXPECT_TRUE(same(kept().state, before)) << size;
  }
  // Without all of the snapshot there is nothing.
  for (std::size_t size = 0; size < whole; ++size) {
    write(bytes.substr(0, size));
    const auto result = load();
    EXPECT_TRUE(result && !*result) << size;
  }
}

TEST_F(JournalTest, a_file_that_is_damaged_is_not_used) {
  ASSERT_TRUE(journal_.begin(make_state(3), OnUnknown::kDeny));
  ASSERT_TRUE(journal_.add(*make_change(2, 1, 99)));
  const auto bytes = read(file_);
  int refused = 0;
  int cut = 0;  // a record's length that leads beyond the end
  int foreign = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    auto damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    write(damaged);
    const auto result = load();
    if (!result) {
      ++refused;
    } else if (!*result) {
      ++foreign;
    } else {
      // The bytes that nobody reads, or the last record is not complete.
      ++cut;
    }
  }
  EXPECT_GT(refused, 100);
  EXPECT_GT(foreign, 50);  // the first line
  EXPECT_LT(cut, 20);
}

TEST_F(JournalTest, is_of_one_node_and_one_start_of_the_machine) {
  ASSERT_TRUE(journal_.begin(make_state(3), OnUnknown::kDeny));
  const auto other = Journal::load(file_, "m");
  EXPECT_TRUE(other && !*other);
  auto bytes = read(file_);
  const auto boot = bytes.find(' ', bytes.find(' ') + 1) + 1;
  bytes[boot] = bytes[boot] == '0' ? '1' : '0';
  write(bytes);
  const auto earlier = load();
  EXPECT_TRUE(earlier && !*earlier);
  fs::remove(file_);
  const auto absent = load();
  EXPECT_TRUE(absent && !*absent);
}

TEST_F(JournalTest, beginning_anew_replaces_it_as_a_whole) {
  ASSERT_TRUE(journal_.begin(make_state(50), OnUnknown::kDeny));
  EXPECT_FALSE(journal_.grown());
  std::uint64_t revision = 1;
  while (!journal_.grown()) {
    ASSERT_LT(revision, 100'000U);
    ASSERT_TRUE(journal_.add(*make_change(++revision, 1, 99)));
  }
  const auto state = make_state(4, 12);
  ASSERT_TRUE(journal_.begin(state, OnUnknown::kAllow));
  EXPECT_FALSE(journal_.grown());
  EXPECT_TRUE(same(kept().state, state));
  ASSERT_TRUE(journal_.add(*make_change(2, 1, 99)));
  EXPECT_FALSE(same(kept().state, state)) << "goes on in the new file";
}

// What is behind the kernel must not be gone on from.
TEST_F(JournalTest, after_a_failure_there_is_no_file) {
  ASSERT_TRUE(journal_.begin(make_state(3), OnUnknown::kDeny));
  auto next = file_;
  next += ".new";
  fs::create_directory(next);  // cannot be opened for writing
  EXPECT_FALSE(journal_.begin(make_state(4), OnUnknown::kDeny));
  EXPECT_FALSE(journal_.complete());
  EXPECT_FALSE(fs::exists(file_));
  EXPECT_TRUE(journal_.add(*make_change(2, 1, 99))) << "passed over";
  EXPECT_FALSE(fs::exists(file_));
  fs::remove(next);
  EXPECT_TRUE(journal_.begin(make_state(4), OnUnknown::kDeny));
  EXPECT_TRUE(journal_.complete());
  EXPECT_TRUE(same(kept().state, make_state(4)));
}

}  // namespace
}  // namespace sluice::wire::test
