// SPDX-License-Identifier: Apache-2.0
#include "cli/output.h"

#include <sstream>

#include <gtest/gtest.h>

#include "cli/packet.h"
#include "lib/base/printable.h"

namespace sluice::cli {
namespace {

TEST(Printable, LeavesOrdinaryTextAlone) {
  EXPECT_EQ(printable("shop/web 10.0.0.1"), "shop/web 10.0.0.1");
  EXPECT_EQ(printable("größe 日本 🙂"), "größe 日本 🙂");
}

TEST(Printable, WritesOutWhatSteersTerminals) {
  EXPECT_EQ(printable("\x1b[2Jx"), "\\x1b[2Jx");
  EXPECT_EQ(printable("a\nb\tc\x7f"), "a\\x0ab\\x09c\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\xc2\\x9b31m");
  // NOLINTNEXTLINE(misc-misleading-bidirectional): what must be written out
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "gpj"),
            "\\xe2\\x80\\xaegpj");
}

TEST(Printable, WritesOutWhatIsNoUtf8) {
  EXPECT_EQ(printable("\xff"), "\\xff");
  EXPECT_EQ(printable("\xc0\x80"), "\\xc0\\x80");           // overlong
  EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82");           // cut off
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // surrogate
}

TEST(TableTest, AlignsColumnsByCharacters) {
  Table table({"A", "B"});
  table.row({"größe", "1"});
  table.row({"x", "22"});
  std::ostringstream out;
  table.print(out);
  EXPECT_EQ(out.str(), "A      B\ngröße  1\nx      22\n");
}

TEST(TableTest, CellsCannotFakeRows) {
  Table table({"A"});
  table.row({"x\ny"});
  std::ostringstream out;
  table.print(out);
  EXPECT_EQ(out.str(), "A\nx\\x0ay\n");
}

TEST(FirstPacket, HasTheLengthsThatItsHeadersSay) {
  const auto v4 = first_packet({.from = *parse_ip("10.0.0.1"),
                                .to = *parse_ip("10.0.0.2"),
                                .protocol = 17,
                                .port = 53,
                                .number = 4000});
  ASSERT_TRUE(v4.has_value());
  EXPECT_EQ((*v4)[16] << 8 | (*v4)[17], static_cast<int>(v4->size()) - 14);
  const auto v6 = first_packet({.from = *parse_ip("fd00::1"),
                                .to = *parse_ip("fd00::2"),
                                .protocol = 6,
                                .port = 80,
                                .number = 4000});
  ASSERT_TRUE(v6.has_value());
  EXPECT_EQ((*v6)[18] << 8 | (*v6)[19], static_cast<int>(v6->size()) - 54);
  EXPECT_EQ((*v6)[56] << 8 | (*v6)[57], 80);
}

TEST(FirstPacket, IsNotMadeOfWhatDoesNotGoTogether) {
  EXPECT_FALSE(first_packet({.from = *parse_ip("fd00::1"),
                             .to = *parse_ip("fd00::2"),
                             .protocol = 1})
                   .has_value());
  EXPECT_FALSE(
      first_packet({.from = *parse_ip("fd00::1"), .to = *parse_ip("10.0.0.1")})
          .has_value());
}

}  // namespace
}  // namespace sluice::cli
