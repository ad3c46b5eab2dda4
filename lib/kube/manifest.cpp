// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/manifest.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/kube/field.h"
#include "lib/kube/manifest_builder.h"
#include "lib/kube/utf8.h"

namespace sluice::kube {
namespace {

using manifest::Broken;
using manifest::Document;
using nlohmann::json;

constexpr std::uintmax_t kMaxFileBytes = std::uintmax_t{256} << 20;

// A stretch of the file between two `---` or `...` lines, a first `---`
// included.
struct Chunk {
  std::string_view text;
  int line = 1;
};

bool is_marker(std::string_view line, std::string_view marker = "---") {
  return line.starts_with(marker) && (line.size() == 3 || line[3] == ' ' ||
                                      line[3] == '\t' || line[3] == '\r');
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// Documents can be told apart before they are parsed, because no other line may
// begin with a marker, not even within a quoted or block scalar. So a broken
// one leaves the others alone.
std::vector<Chunk> split(std::string_view text) {
  std::vector<Chunk> chunks;
  std::size_t begin = 0;
  int line = 1;
  int begin_line = 1;
  // Directives belong to the document behind the marker.
  bool content = false;
  for (std::size_t at = 0; at < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view current = text.substr(at, end - at);
    if (is_marker(current)) {
      if (content) {
        chunks.push_back(
            {.text = text.substr(begin, at - begin), .line = begin_line});
        begin = at;
        begin_line = line;
      }
      content = !trim(current.substr(3)).empty();
    } else if (is_marker(current, "...")) {
      if (content) {
        chunks.push_back(
            {.text = text.substr(begin, at - begin), .line = begin_line});
      }
      begin = std::min(end + 1, text.size());
      begin_line = line + 1;
      content = false;
    } else {
      const std::string_view words = trim(current);
      content = content || (!words.empty() && words.front() != '#' &&
                            current.front() != '%');
    }
    at = std::min(end + 1, text.size());
  }
  if (content) {
    chunks.push_back({.text = text.substr(begin), .line = begin_line});
  }
  return chunks;
}

// The JSON text of a chunk that begins like JSON; skips comments and the
// marker. Empty if it begins otherwise.
Chunk json_part(Chunk chunk) {
  while (!chunk.text.empty()) {
    const std::size_t end = chunk.text.find('\n');
    const std::string_view line = chunk.text.substr(0, end);
    const std::string_view words = trim(line);
    if (words.starts_with('{') || words.starts_with('[')) {
      return chunk;
    }
    if ((!words.empty() && words.front() != '#' && !is_marker(line)) ||
        end == std::string_view::npos) {
      break;
    }
    if (is_marker(line)) {
      const std::string_view rest = trim(line.substr(3));
      if (!rest.empty() && rest.front() != '#') {
        break;
      }
    }
    chunk.text.remove_prefix(end + 1);
    ++chunk.line;
  }
  return {};
}

// The line of the first byte that is not UTF-8; 0 if there is none.
int broken_line(const Chunk& chunk) {
  std::string_view rest = chunk.text;
  while (!rest.empty()) {
    if (!take_character(rest)) {
      const auto before = chunk.text.substr(0, chunk.text.size() - rest.size());
      return chunk.line + static_cast<int>(std::ranges::count(before, '\n'));
    }
  }
  return 0;
}

class Collector {
 public:
  explicit Collector(std::string file) : file_(std::move(file)) {}

  void add(const Chunk& chunk) {
    // yaml-cpp passes any bytes on.
    if (const int line = broken_line(chunk); line != 0) {
      add_error(line, "not UTF-8");
      return;
    }
    std::vector<Document> documents;
    const Chunk json_text = json_part(chunk);
    if (!json_text.text.empty()) {
      try {
        manifest::read_json(json_text.text, json_text.line, documents);
        add(std::move(documents));
        return;
      } catch (const Broken&) {
        // What begins with a brace may be YAML's flow style, which says what
        // is wrong with it if it is not.
        documents.clear();
      }
    }
    try {
      manifest::read_yaml(chunk.text, chunk.line, documents);
      add(std::move(documents));
    } catch (const Broken& broken) {
      add(std::move(documents));
      add_error(broken.line, broken.what);
    }
  }

  void add_error(int line, const std::string& what) {
    result_.errors.push_back(
        Error{.message = file_ + ":" + std::to_string(line) + ": " + what});
  }

  Manifest take() { return std::move(result_); }

 private:
  void add(std::vector<Document> documents) {
    for (Document& document : documents) {
      if (!document.root.is_null()) {
        add_object(std::move(document.root), document.line,
                   document.item_lines);
      }
    }
  }

  static std::string text_at(const json& object, std::string_view name) {
    const auto found = object.find(name);
    const auto* text =
        found == object.end() ? nullptr : found->get_ptr<const std::string*>();
    return text == nullptr ? std::string() : *text;
  }

  void add_object(json object, int line, const std::vector<int>& item_lines) {
    if (!object.is_object()) {
      add_error(line,
                "must be an object, is " + std::string(type_name(object)));
      return;
    }
    ManifestObject result{.file = file_, .line = line};
    result.api_version = text_at(object, "apiVersion");
    result.kind = text_at(object, "kind");
    for (const char* name : {"apiVersion", "kind"}) {
      if (text_at(object, name).empty()) {
        add_error(line, std::string(name) + ": must be set to a string");
        return;
      }
    }
    const auto items = object.find("items");
    if (result.kind.ends_with("List") && items != object.end()) {
      add_items(result, *items, item_lines);
      return;
    }
    const auto metadata = object.find("metadata");
    if (metadata != object.end() && metadata->is_object()) {
      result.ns = text_at(*metadata, "namespace");
      result.name = text_at(*metadata, "name");
    }
    result.object = std::make_shared<const json>(std::move(object));
    result_.objects.push_back(std::move(result));
  }

  // Lists may hold lists; nesting is bounded by the parser.
  void add_items(const ManifestObject& list, json& items,
                 const std::vector<int>& lines) {
    if (!items.is_array()) {
      if (!items.is_null()) {
        add_error(list.line,
                  "items: must be a list, is " + std::string(type_name(items)));
      }
      return;
    }
    // A list of one kind, as the API server gives it, names the kind only once.
    const std::string kind = list.kind.substr(0, list.kind.size() - 4);
    for (std::size_t i = 0; i < items.size(); ++i) {
      json& item = items[i];
      if (item.is_object() && !kind.empty()) {
        item.emplace("kind", kind);
        item.emplace("apiVersion", list.api_version);
      }
      add_object(std::move(item), i < lines.size() ? lines[i] : list.line, {});
    }
  }

  std::string file_;
  Manifest result_;
};

}  // namespace

Manifest parse_manifest(std::string_view text, const std::string& file) {
  Collector collector(file);
  if (text.starts_with("\xef\xbb\xbf")) {
    text.remove_prefix(3);
  }
  const auto zero = text.find('\0');
  if (zero != std::string_view::npos) {
    const auto lines = std::ranges::count(text.substr(0, zero), '\n');
    collector.add_error(static_cast<int>(lines) + 1, "not a text file");
    return collector.take();
  }
  for (const Chunk& chunk : split(text)) {
    collector.add(chunk);
  }
  return collector.take();
}

Result<Manifest> read_manifest(const std::filesystem::path& path) {
  std::error_code code;
  const auto size = std::filesystem::file_size(path, code);
  if (code) {
    return fail_errno(path.string(), code.value());
  }
  if (size > kMaxFileBytes) {
    return fail(path.string() + ": larger than " +
                std::to_string(kMaxFileBytes >> 20) + " MiB");
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    return fail_errno(path.string());
  }
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  if (stream.bad()) {
    return fail_errno(path.string());
  }
  return parse_manifest(text, path.string());
}

}  // namespace sluice::kube
