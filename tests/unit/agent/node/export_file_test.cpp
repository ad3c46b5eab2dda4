// SPDX-License-Identifier: Apache-2.0
#include "agent/node/export_file.h"

#include <csignal>
#include <cstddef>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/agent/node/temporary_folder.h"

namespace sluice::node {
namespace {

class ExportFileTest : public ::testing::Test {
 protected:
  ExportFile file(std::uint64_t size_max, std::uint32_t backups) {
    return ExportFile(
        {.path = path_, .size_max = size_max, .backups = backups});
  }
  static void write(ExportFile& file, std::string lines) {
    const auto done = file.append(lines);
    ASSERT_TRUE(done.has_value()) << done.error().message;
    EXPECT_TRUE(*done);
    EXPECT_TRUE(lines.empty());
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "flows.json";
};

TEST_F(ExportFileTest, FilesGetTheNextNumberAndTheOldestGoes) {
  auto file = this->file(8, 2);
  for (const auto* lines : {"1111\n", "22\n", "333333333333\n", "4444\n"}) {
    write(file, lines);
  }
  EXPECT_EQ(content(path_), "4444\n");
  EXPECT_EQ(content(path_.string() + ".1"), "333333333333\n")
      << "a line is not split, however long";
  EXPECT_EQ(content(path_.string() + ".2"), "1111\n22\n");
  write(file, "5555\n");
  EXPECT_EQ(content(path_.string() + ".2"), "333333333333\n");
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".3"));
}

TEST_F(ExportFileTest, WithoutBackupsTheFileBeginsAnew) {
  auto file = this->file(8, 0);
  write(file, "1111\n");
  write(file, "2222\n");
  EXPECT_EQ(content(path_), "2222\n");
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".1"));
}

TEST_F(ExportFileTest, WhatIsThereStaysAndCounts) {
  std::ofstream(path_) << "old1\n";
  auto file = this->file(10, 1);
  write(file, "2222\n");
  EXPECT_EQ(content(path_), "old1\n2222\n");
  write(file, "3333\n");
  EXPECT_EQ(content(path_), "3333\n");
  EXPECT_EQ(content(path_.string() + ".1"), "old1\n2222\n");
}

TEST_F(ExportFileTest, OnlyItsOwnerReadsIt) {
  auto file = this->file(100, 1);
  write(file, "1\n");
  struct stat status{};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(ExportFileTest, AFileThatSomebodyRenamesIsCreatedAnew) {
  auto file = this->file(100, 1);
  write(file, "1\n");
  std::filesystem::rename(path_, folder_.path() / "theirs");
  write(file, "2\n");
  EXPECT_EQ(content(path_), "2\n");
  EXPECT_EQ(content(folder_.path() / "theirs"), "1\n");
}

TEST_F(ExportFileTest, AMissingFolderIsAnErrorUntilItIsThere) {
  std::filesystem::remove(folder_.path());
  auto file = this->file(100, 1);
  std::string lines = "1\n";
  const auto failed = file.append(lines);
  ASSERT_FALSE(failed.has_value());
  EXPECT_NE(failed.error().message.find(path_.string()), std::string::npos);
  EXPECT_EQ(lines, "1\n");
  std::filesystem::create_directory(folder_.path());
  write(file, lines);
  EXPECT_EQ(content(path_), "1\n");
}

// The limit for files stands for a disk that is full.
TEST_F(ExportFileTest, AFullDiskLeavesNoPartOfALine) {
  auto file = this->file(1000, 1);
  write(file, "1111\n");
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 8, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string lines = "2222\n";
  const auto failed = file.append(lines);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  (void)std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(content(path_), "1111\n");
  EXPECT_EQ(lines, "2222\n");
  write(file, lines);
  EXPECT_EQ(content(path_), "1111\n2222\n");
}

TEST_F(ExportFileTest, AFileThatSomebodyTruncatesIsSmallAgain) {
  auto file = this->file(12, 1);
  write(file, "1111111\n");
  std::filesystem::resize_file(path_, 0);
  write(file, "2222222\n");
  EXPECT_EQ(content(path_), "2222222\n");
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".1"));
}

TEST_F(ExportFileTest, ALineAfterATornOneIsALineOfItsOwn) {
  {
    auto file = this->file(100, 1);
    write(file, "1\n22");
  }
  auto file = this->file(100, 1);
  write(file, "3\n");
  EXPECT_EQ(content(path_), "1\n22\n3\n");
}

TEST_F(ExportFileTest, APipeIsWrittenToAsFarAsItTakes) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  auto file = this->file(8, 1);
  std::string lines(200'000, 'x');
  lines.back() = '\n';
  EXPECT_FALSE(file.append(lines).has_value()) << "nobody reads it";
  const Fd reader(::open(path_.c_str(), O_RDONLY | O_NONBLOCK));
  const std::string all = lines;
  const auto blocked = file.append(lines);
  ASSERT_TRUE(blocked.has_value()) << blocked.error().message;
  EXPECT_FALSE(*blocked);
  std::string read;
  std::string buffer(65'536, '\0');
  while (read.size() < all.size()) {
    const auto count = ::read(reader.get(), buffer.data(), buffer.size());
    ASSERT_GT(count, 0);
    read.append(buffer, 0, static_cast<std::size_t>(count));
    ASSERT_TRUE(file.append(lines).has_value());
  }
  EXPECT_EQ(read, all);
  EXPECT_TRUE(lines.empty());
}

}  // namespace
}  // namespace sluice::node
