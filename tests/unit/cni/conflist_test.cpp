// SPDX-License-Identifier: Apache-2.0
#include "cni/conflist.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cni/install.h"

namespace sluice::cni {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kList = R"({
   "name": "net",  "cniVersion": "1.0.0", "odd": "],[",
   "plugins": [ {"type": "bridge", "x": [1, {"y": "]}"}] } ,
                {"type":"portmap"}
              ] }
)";
constexpr const char* kSingle =
    R"({"cniVersion": "0.3.1", "name": "one", "type": "ptp"})";

std::vector<std::string> types(const std::string& list) {
  std::vector<std::string> result;
  const auto object = json::parse(list);
  for (const auto& plugin : object["plugins"]) {
    result.push_back(plugin["type"]);
  }
  return result;
}

TEST(Conflist, ChainingAddsAPluginAndTakingItOutRestoresEveryByte) {
  const auto chained = chain(kList, {});
  ASSERT_TRUE(chained) << chained.error().message;
  EXPECT_EQ(types(*chained),
            (std::vector<std::string>{"bridge", "portmap", "sluice-cni"}));
  EXPECT_EQ(*chain(*chained, {}), *chained) << "once is enough";
  EXPECT_EQ(unchain(*chained), kList);
  EXPECT_EQ(unchain(kList), kList);
}

TEST(Conflist, OtherOptionsChangeItWhereItStands) {
  auto list = json::parse(*chain(kList, {}));
  list["plugins"].push_back({{"type", "last"}});
  const auto changed = chain(list.dump(), {.on_timeout = OnTimeout::kClosed});
  ASSERT_TRUE(changed);
  EXPECT_EQ(types(*changed), (std::vector<std::string>{"bridge", "portmap",
                                                       "sluice-cni", "last"}));
  EXPECT_EQ(json::parse(*changed)["plugins"][2]["onTimeout"], "closed");
  EXPECT_EQ(types(unchain(*changed)),
            (std::vector<std::string>{"bridge", "portmap", "last"}));
}

TEST(Conflist, SinglePluginIsWrapped) {
  const auto wrapped = wrap(kSingle, "10-one.conf", {});
  ASSERT_TRUE(wrapped) << wrapped.error().message;
  EXPECT_TRUE(is_loadable(FileKind::kList, *wrapped));
  EXPECT_EQ(types(*wrapped), (std::vector<std::string>{"ptp", "sluice-cni"}));
  EXPECT_EQ(wrapped_file(*wrapped), "10-one.conf");
  EXPECT_FALSE(wrapped_file(*chain(kList, {})));
  EXPECT_EQ(*chain(*wrapped, {}), *wrapped);
}

TEST(Conflist, VersionsWithoutChainsAndUnknownOnesAreRefused) {
  for (const char* version : {"", "0.1.0", "0.2.0", "1.2.0", "x"}) {
    const std::string head =
        std::string(R"({"cniVersion":")") + version + R"(","name":"n",)";
    const auto list = chain(head + R"("plugins":[{"type":"a"}]})", {});
    ASSERT_FALSE(list) << version;
    EXPECT_NE(list.error().message.find("cniVersion"), std::string::npos);
    EXPECT_FALSE(wrap(head + R"("type":"a"})", "a.conf", {})) << version;
  }
}

TEST(Conflist, WhatARuntimeCannotLoadIsPassedOver) {
  for (const char* wrong :
       {"", "[]", "{}", R"({"name":"n"})", R"({"name":"n","plugins":[]})",
        R"({"name":"n","plugins":[{}]})", R"({"plugins":[{"type":"a"}]})",
        R"({"name":"n","plugins":[{"type":"a"}])"}) {
    EXPECT_FALSE(is_loadable(FileKind::kList, wrong)) << wrong;
    EXPECT_FALSE(chain(wrong, {})) << wrong;
    EXPECT_EQ(unchain(wrong), wrong);
  }
  EXPECT_FALSE(is_loadable(FileKind::kSingle, kList));
  EXPECT_EQ(kind_of("a.conflist"), FileKind::kList);
  EXPECT_EQ(kind_of("a.json"), FileKind::kSingle);
  EXPECT_EQ(kind_of(".a.conf"), FileKind::kNone);
  EXPECT_EQ(kind_of("a.conf.bak"), FileKind::kNone);
}

class Folder : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "cniXXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    top_ = name;
    options_ = {.conf_dir = top_ / "conf",
                .bin_dir = top_ / "bin",
                .program = top_ / "program",
                .plugin = {}};
    fs::create_directory(options_.conf_dir);
    fs::create_directory(options_.bin_dir);
    std::ofstream(options_.program) << "program";
  }
  void TearDown() override { fs::remove_all(top_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(options_.conf_dir / name) << text;
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(options_.conf_dir / name).rdbuf();
    return text.str();
  }
  [[nodiscard]] std::size_t files() const {
    return static_cast<std::size_t>(std::distance(
        fs::directory_iterator(options_.conf_dir), fs::directory_iterator()));
  }

  fs::path top_;
  InstallOptions options_;
};

TEST_F(Folder, FirstOneThatCanBeLoadedIsChained) {
  write("00-broken.conflist", "{");
  write("01-notes.txt", kList);
  write("10-net.conflist", kList);
  write("20-net.conflist", kList);
  const auto done = install_chain(options_);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->file, "10-net.conflist");
  EXPECT_TRUE(done->changed);
  EXPECT_EQ(read("20-net.conflist"), kList);
  EXPECT_EQ(read("00-broken.conflist"), "{");
  const auto again = install_chain(options_);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->changed);
  EXPECT_EQ(files(), 4U) << "nothing is left of what was written";
  ASSERT_TRUE(remove_plugin(options_.conf_dir, options_.bin_dir));
  EXPECT_EQ(read("10-net.conflist"), kList);
}

TEST_F(Folder, ListOfASinglePluginComesBeforeItWhateverItsName) {
  for (const char* name : {"10-one.conf", "00-a.json", "0-a.conf"}) {
    write(name, kSingle);
    const auto done = install_chain(options_);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_LT(done->file, name);
    EXPECT_EQ(files(), 2U);
    ASSERT_TRUE(remove_plugin(options_.conf_dir, options_.bin_dir));
    EXPECT_EQ(files(), 1U);
    fs::remove(options_.conf_dir / name);
  }
}

TEST_F(Folder, ListWhoseSourceIsGoneGoes) {
  write("10-one.conf", kSingle);
  ASSERT_TRUE(install_chain(options_));
  fs::remove(options_.conf_dir / "10-one.conf");
  const auto done = install_chain(options_);
  ASSERT_TRUE(done);
  EXPECT_EQ(done->file, "");
  EXPECT_EQ(files(), 0U);
}

TEST_F(Folder, ProgramIsReplacedIfItDiffers) {
  ASSERT_TRUE(install_program(options_));
  const auto there = options_.bin_dir / kPluginName;
  EXPECT_EQ(fs::status(there).permissions(), fs::perms(0755));
  const auto before = fs::last_write_time(there);
  ASSERT_TRUE(install_program(options_));
  EXPECT_EQ(fs::last_write_time(there), before);
  std::ofstream(options_.program) << "newer";
  ASSERT_TRUE(install_program(options_));
  EXPECT_EQ(fs::file_size(there), 5U);
  options_.program = top_ / "none";
  const auto missing = install_program(options_);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("none"), std::string::npos);
  EXPECT_EQ(fs::file_size(there), 5U);
}

TEST_F(Folder, NoFolderIsAnErrorThatNamesItAndRemovingFromNoneIsNone) {
  fs::remove(options_.conf_dir);
  const auto done = install_chain(options_);
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("conf"), std::string::npos);
  EXPECT_TRUE(remove_plugin(options_.conf_dir, options_.bin_dir));
  EXPECT_TRUE(remove_plugin({}, {}));
}

}  // namespace
}  // namespace sluice::cni
