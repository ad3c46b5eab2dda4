// SPDX-License-Identifier: Apache-2.0
#include "cli/scenario_reader.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <zlib.h>

#include "cli/standard_input.h"
#include "lib/base/read_file.h"
#include "lib/base/utf8.h"
#include "lib/kube/manifest_builder.h"

namespace sluice::cli {
namespace {

using kube::manifest::Broken;
using kube::manifest::Chunk;
using kube::manifest::Document;

// Far above any scenario: the largest we have is 24 KB.
constexpr std::size_t kMaxLineBytes = std::size_t{16} << 20;
// JSON and YAML files are read as a whole.
constexpr std::uintmax_t kMaxFileBytes = std::uintmax_t{64} << 20;

constexpr const char* kProbes = "probes";

std::string where(const std::filesystem::path& path, int line) {
  return scenario_file_name(path) + ":" + std::to_string(line);
}

// Lines of a file, compressed or not. zlib reads files that are not gzip
// unchanged.
class LineReader {
 public:
  static Result<LineReader> open(const std::filesystem::path& path) {
    gzFile file = gzopen(path.c_str(), "rbe");
    if (file == nullptr) {
      return errno == 0 ? fail(path.string() + ": out of memory")
                        : Result<LineReader>(fail_errno(path.string()));
    }
    return LineReader(file);
  }
  LineReader(LineReader&& other) noexcept
      : file_(std::exchange(other.file_, nullptr)) {}
  LineReader& operator=(LineReader&&) = delete;
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;
  ~LineReader() {
    if (file_ != nullptr) {
      gzclose_r(file_);
    }
  }

  // The next line without its end; nullopt at the end of the file.
  Result<std::optional<std::string_view>> next() {
    line_.clear();
    while (true) {
      const std::string_view rest = std::string_view(buffer_).substr(at_);
      const auto end = rest.find('\n');
      line_ += rest.substr(0, end);
      if (line_.size() > kMaxLineBytes) {
        return fail("line is longer than 16 MiB");
      }
      if (end != std::string_view::npos) {
        at_ += end + 1;
        return std::string_view(line_);
      }
      const auto filled = fill();
      if (!filled) {
        return std::unexpected(filled.error());
      }
      if (!*filled) {
        return line_.empty() ? std::nullopt
                             : std::optional<std::string_view>(line_);
      }
    }
  }

 private:
  explicit LineReader(gzFile file) : file_(file) {}

  // False at the end of the file.
  Result<bool> fill() {
    buffer_.resize(std::size_t{1} << 16);
    at_ = 0;
    const int got =
        gzread(file_, buffer_.data(), static_cast<unsigned>(buffer_.size()));
    // Only the error shows that a file is truncated, not the length.
    int code = Z_OK;
    const char* text = gzerror(file_, &code);
    buffer_.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    if (code == Z_ERRNO) {
      return fail_errno("read");
    }
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
      return fail(std::string("broken gzip: ") + text);
    }
    return got > 0;
  }

  gzFile file_;
  std::string buffer_;
  std::size_t at_ = 0;
  std::string line_;
};

Result<std::vector<Document>> parse(std::string_view text, int line,
                                    ScenarioFormat format,
                                    const std::filesystem::path& path) {
  std::vector<Document> documents;
  try {
    if (format == ScenarioFormat::kYaml) {
      kube::manifest::read_yaml(text, line, documents, kProbes);
    } else {
      kube::manifest::read_json(text, line, documents, kProbes);
    }
  } catch (const Broken& broken) {
    return fail(where(path, broken.line) + ": " + broken.what);
  } catch (const std::exception& error) {
    return fail(where(path, line) + ": " + error.what());
  }
  return documents;
}

Result<void> read_lines(const std::filesystem::path& path,
                        const JsonHandler& handler) {
  auto reader = LineReader::open(path);
  if (!reader) {
    return std::unexpected(reader.error());
  }
  for (int line = 1;; ++line) {
    const auto text = reader->next();
    if (!text) {
      return with_context(where(path, line), text.error());
    }
    if (!*text) {
      return {};
    }
    if ((*text)->find_first_not_of(" \t\r") == std::string_view::npos) {
      continue;
    }
    const auto documents =
        parse(**text, line, ScenarioFormat::kJsonLines, path);
    if (!documents) {
      return std::unexpected(documents.error());
    }
    for (const auto& document : *documents) {
      if (auto handled = handler({.value = &document.root, .line = line});
          !handled) {
        return handled;
      }
    }
  }
}

Result<std::string> read_whole(const std::filesystem::path& path) {
  if (path == kStandardInput) {
    return read_standard_input(kMaxFileBytes);
  }
  return read_file(path, kMaxFileBytes);
}

Result<std::vector<Document>> parse_file(std::string_view text,
                                         ScenarioFormat format,
                                         const std::filesystem::path& path) {
  for (std::string_view rest = text; !rest.empty();) {
    if (!take_character(rest)) {
      const auto before = text.substr(0, text.size() - rest.size());
      const auto line = std::ranges::count(before, '\n') + 1;
      return fail(where(path, static_cast<int>(line)) + ": not UTF-8");
    }
  }
  const auto chunks = format == ScenarioFormat::kYaml
                          ? kube::manifest::split_documents(text)
                          : std::vector<Chunk>{{.text = text}};
  std::vector<Document> documents;
  for (const auto& chunk : chunks) {
    auto parsed = parse(chunk.text, chunk.line, format, path);
    if (!parsed) {
      return std::unexpected(parsed.error());
    }
    std::move(parsed->begin(), parsed->end(), std::back_inserter(documents));
  }
  return documents;
}

// One or several scenarios.
Result<void> read_document(const Document& document,
                           const JsonHandler& handler) {
  if (!document.root.is_array()) {
    return handler({.value = &document.root,
                    .line = document.line,
                    .probe_lines = document.item_lines});
  }
  auto begin = document.item_lines.begin();
  for (const auto& element : document.root) {
    const auto probes =
        element.is_object() ? element.find(kProbes) : element.end();
    const bool some = probes != element.end() && probes->is_array();
    const auto left = document.item_lines.end() - begin;
    const auto end = begin + (some ? std::min(std::ssize(*probes), left) : 0);
    if (auto handled = handler({.value = &element,
                                .line = document.line,
                                .probe_lines = {begin, end}});
        !handled) {
      return handled;
    }
    begin = end;
  }
  return {};
}

Result<void> read_documents(const std::filesystem::path& path,
                            ScenarioFormat format, const JsonHandler& handler) {
  const auto text = read_whole(path);
  if (!text) {
    return std::unexpected(text.error());
  }
  const auto documents = parse_file(*text, format, path);
  if (!documents) {
    return std::unexpected(documents.error());
  }
  for (const auto& document : *documents) {
    if (document.root.is_null()) {
      continue;  // an empty YAML document
    }
    if (auto read = read_document(document, handler); !read) {
      return read;
    }
  }
  return {};
}

}  // namespace

std::string scenario_file_name(const std::filesystem::path& path) {
  return path == kStandardInput ? kStandardInputName : path.string();
}

ScenarioFormat scenario_format(const std::filesystem::path& path) {
  if (path == kStandardInput) {
    return ScenarioFormat::kYaml;
  }
  const std::string name = path.filename().string();
  if (name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")) {
    return ScenarioFormat::kJsonLines;
  }
  if (name.ends_with(".json")) {
    return ScenarioFormat::kJson;
  }
  if (name.ends_with(".yaml") || name.ends_with(".yml")) {
    return ScenarioFormat::kYaml;
  }
  return ScenarioFormat::kUnknown;
}

Result<std::vector<std::filesystem::path>> manifest_files(
    const std::filesystem::path& path) {
  std::error_code code;
  if (!std::filesystem::is_directory(path, code)) {
    return std::vector{path};
  }
  std::vector<std::filesystem::path> result;
  std::filesystem::recursive_directory_iterator entry(path, code);
  for (; !code && entry != std::filesystem::end(entry); entry.increment(code)) {
    const auto extension = entry->path().extension();
    std::error_code dangling;
    if (entry->is_regular_file(dangling) &&
        (extension == ".yaml" || extension == ".yml" || extension == ".json")) {
      result.push_back(entry->path());
    }
  }
  if (code) {
    return fail_errno(path.string(), code.value());
  }
  std::ranges::sort(result);
  return result;
}

Result<void> read_json_scenarios(const std::filesystem::path& path,
                                 const JsonHandler& handler) {
  const auto format = scenario_format(path);
  switch (format) {
    case ScenarioFormat::kUnknown:
      break;
    case ScenarioFormat::kJsonLines:
      return read_lines(path, handler);
    case ScenarioFormat::kJson:
    case ScenarioFormat::kYaml:
      return read_documents(path, format, handler);
  }
  return fail(path.string() +
              ": not a scenario file (.jsonl, .jsonl.gz, .json, .yaml, .yml)");
}

}  // namespace sluice::cli
