// SPDX-License-Identifier: Apache-2.0
#include "operator/manifest_dir.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "lib/base/fd.h"

namespace sluice::op {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Change = ManifestDir::Change;
using Kind = ManifestDir::Change::Kind;

constexpr int kNoticeMs = 5000;

class ManifestDirTest : public ::testing::Test {
 protected:
  ManifestDirTest() {
    std::string name = (fs::temp_directory_path() / "sluice-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    base_ = name;
    root_ = base_ / "manifests";
    fs::create_directory(root_);
  }
  void TearDown() override { fs::remove_all(base_); }

  static void write(const fs::path& path, const std::string& text) {
    std::ofstream(path) << text;
  }
  ManifestDir open() {
    auto dir = ManifestDir::open(root_);
    EXPECT_TRUE(dir.has_value());
    return std::move(*dir);
  }
  static bool noticed(ManifestDir& dir) {
    pollfd fd{.fd = dir.poll_fd(), .events = POLLIN, .revents = 0};
    const bool yes = ::poll(&fd, 1, kNoticeMs) == 1;
    dir.drain();
    return yes;
  }
  // True if a watch has lost notices; reads them all.
  static bool overflowed(const Fd& watch) {
    alignas(inotify_event) std::array<char, 65536> buffer{};
    bool lost = false;
    for (ssize_t size = 0;
         (size = ::read(watch.get(), buffer.data(), buffer.size())) > 0;) {
      for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
        inotify_event event{};
        std::memcpy(&event, buffer.data() + at, sizeof(event));
        lost = lost || (event.mask & IN_Q_OVERFLOW) != 0;
        at += sizeof(event) + event.len;
      }
    }
    return lost;
  }
  // "k name text" of every change; k is t, u or g.
  std::vector<std::string> scan(ManifestDir& dir) {
    std::vector<std::string> texts;
    for (const auto& change : dir.scan()) {
      char kind = 'u';
      if (change.kind != Kind::kUnreadable) {
        kind = change.kind == Kind::kText ? 't' : 'g';
      }
      texts.push_back(std::string(1, kind) + " " +
                      fs::path(change.file).lexically_relative(root_).string() +
                      (kind == 't' ? " " + change.text : ""));
    }
    return texts;
  }

  fs::path base_;
  fs::path root_;
};

TEST_F(ManifestDirTest, FindsManifestsInSubfoldersAndNothingElse) {
  fs::create_directories(root_ / "sub/deeper");
  fs::create_directories(root_ / ".git");
  write(root_ / "a.yaml", "1");
  write(root_ / "b.json", "2");
  write(root_ / "README.md", "3");
  write(root_ / "sub/deeper/c.yml", "4");
  write(root_ / ".git/d.yaml", "5");
  write(root_ / ".hidden.yaml", "6");
  auto dir = open();
  EXPECT_THAT(scan(dir),
              ElementsAre("t a.yaml 1", "t b.json 2", "t sub/deeper/c.yml 4"));
  EXPECT_THAT(scan(dir), IsEmpty());
}

TEST_F(ManifestDirTest, NoticesChangesAlsoInNewSubfolders) {
  auto dir = open();
  EXPECT_THAT(scan(dir), IsEmpty());
  fs::create_directory(root_ / "sub");
  EXPECT_TRUE(noticed(dir));
  EXPECT_THAT(scan(dir), IsEmpty());
  write(root_ / "sub/a.yaml", "1");
  EXPECT_TRUE(noticed(dir));
  EXPECT_THAT(scan(dir), ElementsAre("t sub/a.yaml 1"));
  write(root_ / "sub/a.yaml", "22");
  EXPECT_TRUE(noticed(dir));
  EXPECT_THAT(scan(dir), ElementsAre("t sub/a.yaml 22"));
  fs::remove_all(root_ / "sub");
  EXPECT_TRUE(noticed(dir));
  EXPECT_THAT(scan(dir), ElementsAre("g sub/a.yaml"));
}

TEST_F(ManifestDirTest, FileThatIsBeingWrittenIsNotRead) {
  write(root_ / "a.yaml", "whole");
  auto dir = open();
  EXPECT_THAT(scan(dir), ElementsAre("t a.yaml whole"));
  {
    const Fd fd(
        ::open((root_ / "a.yaml").c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    ASSERT_TRUE(fd.valid());
    ASSERT_EQ(::write(fd.get(), "ha", 2), 2);
    EXPECT_THAT(scan(dir), IsEmpty());
    EXPECT_TRUE(dir.pending());
    dir.drain();
    ASSERT_EQ(::write(fd.get(), "lf", 2), 2);
  }
  EXPECT_TRUE(noticed(dir)) << "closing it is a notice";
  EXPECT_THAT(scan(dir), ElementsAre("t a.yaml half"));
  EXPECT_FALSE(dir.pending());
}

TEST_F(ManifestDirTest, ProjectedFolderIsSwappedAsAWhole) {
  fs::create_directory(root_ / "..2024_1");
  write(root_ / "..2024_1/a.yaml", "old");
  write(root_ / "..2024_1/b.yaml", "stays no longer");
  fs::create_directory_symlink("..2024_1", root_ / "..data");
  fs::create_symlink("..data/a.yaml", root_ / "a.yaml");
  fs::create_symlink("..data/b.yaml", root_ / "b.yaml");
  auto dir = open();
  EXPECT_THAT(scan(dir),
              ElementsAre("t a.yaml old", "t b.yaml stays no longer"));
  fs::create_directory(root_ / "..2024_2");
  write(root_ / "..2024_2/a.yaml", "new");
  fs::create_directory_symlink("..2024_2", root_ / "..data_tmp");
  fs::rename(root_ / "..data_tmp", root_ / "..data");
  EXPECT_TRUE(noticed(dir));
  EXPECT_THAT(scan(dir), ElementsAre("t a.yaml new", "g b.yaml"));
}

TEST_F(ManifestDirTest, FolderThatVanishesTakesNothingAlong) {
  write(root_ / "a.yaml", "1");
  auto dir = open();
  EXPECT_THAT(scan(dir), ElementsAre("t a.yaml 1"));
  fs::rename(root_, base_ / "elsewhere");
  EXPECT_TRUE(noticed(dir));
  EXPECT_THAT(scan(dir), IsEmpty());
  EXPECT_THAT(dir.problem(), ::testing::HasSubstr(root_.string()));
  fs::rename(base_ / "elsewhere", root_);
  EXPECT_THAT(scan(dir), IsEmpty()) << "nothing has changed in it";
  EXPECT_EQ(dir.problem(), "");
  write(root_ / "b.yaml", "2");
  EXPECT_TRUE(noticed(dir)) << "watched again";
  EXPECT_THAT(scan(dir), ElementsAre("t b.yaml 2"));
}

// The kernel keeps so many notices and then one that says that it lost some.
TEST_F(ManifestDirTest, ChangesWhoseNoticesWereLostAreFound) {
  std::size_t most = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> most;
  ASSERT_GT(most, 0U);
  write(root_ / "a.yaml", "old");
  write(root_ / "b.yaml", "goes");
  auto dir = open();
  EXPECT_THAT(scan(dir), ElementsAre("t a.yaml old", "t b.yaml goes"));
  const Fd watch(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  ASSERT_GE(
      ::inotify_add_watch(watch.get(), root_.c_str(), IN_CREATE | IN_DELETE),
      0);
  for (std::size_t i = 0; i < (most / 2) + 1;
       ++i) {  // two notices each, or more
    write(root_ / ".noise", "");
    fs::remove(root_ / ".noise");
  }
  write(root_ / "a.yaml", "newer");
  fs::remove(root_ / "b.yaml");
  write(root_ / "c.yaml", "3");
  ASSERT_TRUE(overflowed(watch)) << "no notice was lost";
  EXPECT_TRUE(noticed(dir));
  EXPECT_THAT(scan(dir),
              ElementsAre("t a.yaml newer", "g b.yaml", "t c.yaml 3"));
}

TEST_F(ManifestDirTest, LoopOfLinksEnds) {
  fs::create_directory(root_ / "sub");
  fs::create_directory_symlink("..", root_ / "sub/up");
  write(root_ / "a.yaml", "1");
  auto dir = open();
  EXPECT_FALSE(scan(dir).empty());
}

TEST_F(ManifestDirTest, WhatIsNoFolderIsRefused) {
  EXPECT_FALSE(ManifestDir::open(base_ / "none").has_value());
  write(base_ / "file", "");
  EXPECT_FALSE(ManifestDir::open(base_ / "file").has_value());
}

}  // namespace
}  // namespace sluice::op
