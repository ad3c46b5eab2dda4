// SPDX-License-Identifier: Apache-2.0
#include "cli/output.h"

#include <algorithm>
#include <ostream>
#include <utility>

#include "lib/base/printable.h"
#include "lib/base/sequence.h"

namespace sluice::cli {
namespace {

// The number of columns of a printable text: its code points.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xc0U) != 0x80U;
  }));
}

}  // namespace

Table::Table(std::vector<std::string> headers) : headers_(std::move(headers)) {}

void Table::row(std::vector<std::string> cells) {
  for (auto& cell : cells) {
    cell = printable(cell);
  }
  cells.resize(headers_.size());
  rows_.push_back(std::move(cells));
}

void Table::print(std::ostream& out) const {
  std::vector<std::size_t> widths;
  widths.reserve(headers_.size());
  for (const auto& header : headers_) {
    widths.push_back(width(header));
  }
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], width(row[i]));
    }
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      text += cells[i];
      if (i + 1 < cells.size()) {
        text.append(widths[i] - width(cells[i]) + 2, ' ');
      }
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out << text << '\n';
  };
  line(headers_);
  for (const auto& row : rows_) {
    line(row);
  }
}

std::string join(const std::vector<std::string>& parts, std::string_view none) {
  return parts.empty() ? std::string(none) : joined(parts);
}

}  // namespace sluice::cli
