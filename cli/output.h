// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

// Output shared by all commands.
namespace sluice::cli {

enum class Format : std::uint8_t { kTable, kJson };

// Rows of text, aligned in columns. Cells are made printable.
class Table {
 public:
  explicit Table(std::vector<std::string> headers);
  void row(std::vector<std::string> cells);
  [[nodiscard]] bool empty() const { return rows_.empty(); }
  void print(std::ostream& out) const;

 private:
  std::vector<std::string> headers_;
  std::vector<std::vector<std::string>> rows_;
};

// "a, b, c"; `none` if there is nothing.
std::string join(const std::vector<std::string>& parts,
                 std::string_view none = "-");

}  // namespace sluice::cli
