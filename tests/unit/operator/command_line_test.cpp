// SPDX-License-Identifier: Apache-2.0
#include "operator/command_line.h"

#include <vector>

#include <CLI/CLI.hpp>
#include <gtest/gtest.h>

namespace sluice::op {
namespace {

struct Parsed {
  std::string where = "unset";
  std::string other;
  bool flag = false;
};

Parsed parse_line(std::vector<const char*> arguments) {
  CLI::App app("test", "test");
  Parsed parsed;
  app.add_option("--explain", parsed.where)->take_last();
  app.add_option("--other", parsed.other);
  app.add_flag("--flag", parsed.flag);
  arguments.insert(arguments.begin(), "program");
  parse(app, static_cast<int>(arguments.size()), arguments.data());
  return parsed;
}

TEST(CommandLine, AnEmptyValueTakesBackWhatStandsBefore) {
  const auto parsed = parse_line({"--explain=[::]:9966", "--explain="});
  EXPECT_EQ(parsed.where, "");
}

TEST(CommandLine, AnEmptyValueIsNotTheNextArgument) {
  const auto parsed = parse_line(
      {"--explain=[::]:9966", "--explain=", "--other", "x=", "--flag"});
  EXPECT_EQ(parsed.where, "");
  EXPECT_EQ(parsed.other, "x=");
  EXPECT_TRUE(parsed.flag);
}

TEST(CommandLine, OtherValuesAreTakenAsTheyAre) {
  EXPECT_EQ(parse_line({"--explain=[::]:1", "--other=a=b"}).where, "[::]:1");
  EXPECT_EQ(parse_line({"--explain", "[::]:2"}).where, "[::]:2");
  EXPECT_EQ(parse_line({"--other=a=b"}).other, "a=b");
  EXPECT_EQ(parse_line({}).where, "unset");
}

TEST(CommandLine, AnUnknownOptionIsStillAnError) {
  EXPECT_THROW(parse_line({"--unknown="}), CLI::ParseError);
}

}  // namespace
}  // namespace sluice::op
