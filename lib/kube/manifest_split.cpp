// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "lib/kube/manifest_builder.h"

namespace sluice::kube::manifest {

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

enum class LineKind : std::uint8_t {
  kBlank,      // or only a comment
  kDirective,  // belongs to the document behind the next marker
  kContent,
  kSeparator,  // `---`, alone or with a comment
  kMarker,     // `---` with content behind it
  kEnd,        // `...`
};

LineKind kind_of(std::string_view line) {
  const bool marker = line.starts_with("---");
  if (marker || line.starts_with("...")) {
    const std::string_view rest = line.substr(3);
    const std::string_view words = trim(rest);
    const bool spaced = rest.find_first_of(" \t\r") == 0;
    if (marker && (words.empty() || words.front() == '#')) {
      return LineKind::kSeparator;
    }
    if (marker) {
      return spaced ? LineKind::kMarker : LineKind::kContent;
    }
    return words.empty() || (spaced && words.front() == '#')
               ? LineKind::kEnd
               : LineKind::kContent;
  }
  const std::string_view words = trim(line);
  if (words.empty() || words.front() == '#') {
    return LineKind::kBlank;
  }
  return line.front() == '%' ? LineKind::kDirective : LineKind::kContent;
}

class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  std::vector<Chunk> split() {
    while (at_ < text_.size()) {
      const std::size_t end = std::min(text_.find('\n', at_), text_.size());
      next_ = std::min(end + 1, text_.size());
      const std::string_view line = text_.substr(at_, end - at_);
      body_ = at_;
      LineKind kind = kind_of(line);
      // Concatenated files keep their byte order marks.
      if (line.starts_with(kByteOrderMark)) {
        const LineKind behind = kind_of(line.substr(kByteOrderMark.size()));
        if (!content_ || behind == LineKind::kSeparator ||
            behind == LineKind::kMarker) {
          kind = behind;
          body_ += kByteOrderMark.size();
        }
      }
      if (!content_ && !directive_) {
        begin(body_, line_);
      }
      take(kind);
      at_ = next_;
      ++line_;
    }
    finish(text_.size());
    return std::move(chunks_);
  }

 private:
  void take(LineKind kind) {
    switch (kind) {
      case LineKind::kBlank:
        return;
      case LineKind::kDirective:
        directive_ = directive_ || !content_;
        return;
      case LineKind::kContent:
        content_ = true;
        return;
      case LineKind::kSeparator:
      case LineKind::kMarker:
        take_marker(kind);
        return;
      case LineKind::kEnd:
        finish(at_);
        begin(next_, line_ + 1);
        after_end_ = true;
        return;
    }
  }

  void take_marker(LineKind kind) {
    if (directive_ && !content_ && !headed_) {
      headed_ = true;
      content_ = kind == LineKind::kMarker;
      return;
    }
    finish(at_);
    if (kind == LineKind::kMarker) {
      begin(body_, line_);
      content_ = true;
    } else {
      begin(next_, line_ + 1);
    }
    after_end_ = false;
  }

  void begin(std::size_t at, int line) {
    begin_ = at;
    begin_line_ = line;
    content_ = false;
    directive_ = false;
    headed_ = false;
  }

  void finish(std::size_t end) {
    if (content_) {
      chunks_.push_back({.text = text_.substr(begin_, end - begin_),
                         .line = begin_line_,
                         .after_end = after_end_});
    }
  }

  std::string_view text_;
  std::vector<Chunk> chunks_;
  std::size_t at_ = 0;
  std::size_t body_ = 0;  // of the line, behind its byte order mark
  std::size_t next_ = 0;
  int line_ = 1;
  std::size_t begin_ = 0;
  int begin_line_ = 1;
  bool content_ = false;
  bool directive_ = false;
  bool headed_ = false;  // the marker behind the directives was there
  bool after_end_ = false;
};

}  // namespace

std::vector<Chunk> split_documents(std::string_view text) {
  return Splitter(text).split();
}

}  // namespace sluice::kube::manifest
