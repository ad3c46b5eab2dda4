// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/manifest.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include <iconv.h>
#include <nlohmann/json.hpp>

#include "lib/base/read_file.h"
#include "lib/base/utf8.h"
#include "lib/kube/field.h"
#include "lib/kube/manifest_builder.h"

namespace sluice::kube {
namespace {

using manifest::Broken;
using manifest::Chunk;
using manifest::Document;
using manifest::trim;
using nlohmann::json;

constexpr std::uintmax_t kMaxFileBytes = std::uintmax_t{256} << 20;

// Returns the JSON text of a chunk that begins like JSON, without comments.
// Empty if it begins differently.
Chunk json_part(Chunk chunk) {
  while (!chunk.text.empty()) {
    const std::size_t end = chunk.text.find('\n');
    const std::string_view words = trim(chunk.text.substr(0, end));
    if (words.starts_with('{') || words.starts_with('[')) {
      return chunk;
    }
    if ((!words.empty() && words.front() != '#') ||
        end == std::string_view::npos) {
      break;
    }
    chunk.text.remove_prefix(end + 1);
    ++chunk.line;
  }
  return {};
}

// Converts UTF-16, which Windows' shells write into files, to UTF-8; nullopt
// for other text, an error for broken UTF-16.
std::optional<Result<std::string>> from_utf16(std::string_view text) {
  if (!text.starts_with("\xff\xfe") && !text.starts_with("\xfe\xff")) {
    return std::nullopt;
  }
  iconv_t converter = iconv_open("UTF-8", "UTF-16");
  // NOLINTNEXTLINE(*-reinterpret-cast,*-int-to-ptr): how iconv says it
  if (converter == reinterpret_cast<iconv_t>(-1)) {
    return fail_errno("iconv");
  }
  std::string input(text);
  std::string output(text.size() * 2, '\0');  // two bytes make three at most
  char* from = input.data();
  std::size_t from_left = input.size();
  char* to = output.data();
  std::size_t to_left = output.size();
  const auto done = iconv(converter, &from, &from_left, &to, &to_left);
  iconv_close(converter);
  if (done == static_cast<std::size_t>(-1)) {
    return fail("not UTF-16, although it begins like it");
  }
  output.resize(output.size() - to_left);
  return output;
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
    if (chunk.after_end) {
      add_note(chunk.line,
               "kubectl reads nothing between `...` and the next `---`; write "
               "`---` before this document");
    }
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
        // Text that begins with a brace may be YAML's flow style; otherwise the
        // YAML parser reports the error.
        documents.clear();
      }
    }
    try {
      manifest::read_yaml(chunk.text, chunk.line, documents);
      add(std::move(documents));
    } catch (const Broken& broken) {
      // Nothing of the document is used, because the part before the mistake
      // may be half a policy.
      add_error(broken.line, broken.what);
    }
  }

  void add_error(int line, const std::string& what) {
    result_.errors.push_back(
        Error{.message = file_ + ":" + std::to_string(line) + ": " + what});
  }

  void add_note(int line, const std::string& what) {
    result_.notes.push_back(
        Error{.message = file_ + ":" + std::to_string(line) + ": " + what});
  }

  Manifest take() { return std::move(result_); }

 private:
  void add(std::vector<Document> documents) {
    for (Document& document : documents) {
      for (const auto& [line, what] : document.remarks) {
        add_note(line, what);
      }
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

  // Some files that are no manifests are often kept beside policies: a Helm
  // chart's values (which may have a `kind`) and Chart.yaml (which has an
  // apiVersion), a kustomization without a head, a patch.
  // Returns what such a document is, and nullopt for all others.
  static std::optional<std::string> say_no_manifest(const json& object) {
    std::string what(type_name(object));
    if (!object.is_object()) {
      return what;
    }
    std::vector<std::string> missing;
    for (const char* name : {"apiVersion", "kind", "metadata"}) {
      if (!object.contains(name)) {
        missing.emplace_back(name);
      }
    }
    if (object.contains("metadata") || missing.size() < 2) {
      return std::nullopt;
    }
    what += " without " + missing.front();
    for (std::size_t i = 1; i < missing.size(); ++i) {
      what += (i + 1 == missing.size() ? " and " : ", ") + missing[i];
    }
    return what;
  }

  void add_object(json object, int line, const std::vector<int>& item_lines) {
    if (const auto what = say_no_manifest(object)) {
      result_.has_others = true;
      add_note(line, "ignored: no Kubernetes object, but " + *what);
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
    // A list of one kind from the API server names the kind only once.
    const std::string kind = list.kind.substr(0, list.kind.size() - 4);
    for (std::size_t i = 0; i < items.size(); ++i) {
      json& item = items[i];
      if (item.is_object() && !kind.empty()) {
        item.emplace("kind", kind);
        item.emplace("apiVersion", list.api_version);
      }
      const int line = i < lines.size() ? lines[i] : list.line;
      if (!item.is_object()) {
        add_error(line,
                  "must be an object, is " + std::string(type_name(item)));
        continue;
      }
      add_object(std::move(item), line, {});
    }
  }

  std::string file_;
  Manifest result_;
};

}  // namespace

Manifest parse_manifest(std::string_view text, const std::string& file) {
  Collector collector(file);
  const auto converted = from_utf16(text);
  if (converted && !*converted) {
    collector.add_error(1, converted->error().message);
    return collector.take();
  }
  if (converted) {
    text = **converted;
  }
  const auto zero = text.find('\0');
  if (zero != std::string_view::npos) {
    const auto lines = std::ranges::count(text.substr(0, zero), '\n');
    collector.add_error(static_cast<int>(lines) + 1, "not a text file");
    return collector.take();
  }
  for (const Chunk& chunk : manifest::split_documents(text)) {
    collector.add(chunk);
  }
  return collector.take();
}

Result<Manifest> read_manifest(const std::filesystem::path& path) {
  const auto text = read_file(path, kMaxFileBytes);
  if (!text) {
    return std::unexpected(text.error());
  }
  return parse_manifest(*text, path.string());
}

}  // namespace sluice::kube
