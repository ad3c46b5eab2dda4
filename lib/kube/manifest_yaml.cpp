// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "lib/kube/field.h"
#include "lib/kube/manifest_builder.h"

namespace sluice::kube::manifest {
namespace {

using nlohmann::json;

constexpr std::string_view kCoreTag = "tag:yaml.org,2002:";

struct Recorded {
  json value;
  std::size_t nodes = 0;
};

// The events of yaml-cpp, one document at a time. Events and not its tree,
// because the tree neither tells quoted from plain scalars nor notices
// duplicate keys.
class Handler : public YAML::EventHandler {
 public:
  explicit Handler(int first_line) : first_line_(first_line) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    document_line_ = line(mark);
    builder_ = Builder();
    anchors_.clear();
    open_.clear();
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (builder_.wants_key()) {
      throw Broken{line(mark), "a key must not be empty"};
    }
    builder_.value(nullptr, line(mark));
    record(anchor, line(mark));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      throw Broken{line(mark), "an alias within what it stands for"};
    }
    const auto& [value, nodes] = found->second;
    if (!builder_.wants_key()) {
      builder_.copy(value, nodes, line(mark));
    } else if (value.is_string()) {
      builder_.spend(1, line(mark));
      builder_.key(value.get<std::string>(), line(mark));
    } else {
      throw Broken{line(mark), "a key must be a string"};
    }
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag,
                YAML::anchor_t anchor, const std::string& value) override {
    if (builder_.wants_key()) {
      if (value == "<<" && tag == "?") {
        builder_.merge_key(line(mark));
        return;
      }
      if (anchor != YAML::NullAnchor) {
        anchors_[anchor] = Recorded{.value = value, .nodes = 1};
      }
      builder_.key(value, line(mark));
      return;
    }
    builder_.value(resolve(tag, value, line(mark)), line(mark));
    record(anchor, line(mark));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag,
                       YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    begin(mark, tag, "seq", anchor);
    builder_.begin_list(line(mark));
  }
  void OnSequenceEnd() override { end(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag,
                  YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    begin(mark, tag, "map", anchor);
    builder_.begin_object(line(mark));
  }
  void OnMapEnd() override { end(); }

  // Of the document that was begun last.
  [[nodiscard]] int first_line() const { return document_line_; }

  // nullopt for a document without content.
  std::optional<Document> take() {
    return builder_.done() ? std::optional(builder_.take()) : std::nullopt;
  }

 private:
  struct Open {
    YAML::anchor_t anchor = YAML::NullAnchor;
    int line = 0;
  };

  [[nodiscard]] int line(const YAML::Mark& mark) const {
    return first_line_ + mark.line;
  }

  void begin(const YAML::Mark& mark, const std::string& tag,
             std::string_view kind, YAML::anchor_t anchor) {
    if (builder_.wants_key()) {
      throw Broken{line(mark), "a key must be a string"};
    }
    if (!tag.empty() && tag != "?" && tag != "!" &&
        tag != std::string(kCoreTag) + std::string(kind)) {
      throw Broken{line(mark), "unsupported tag " + in_quotes(tag)};
    }
    open_.push_back({.anchor = anchor, .line = line(mark)});
  }

  void end() {
    const Open open = open_.back();
    open_.pop_back();
    builder_.end(open.line);
    record(open.anchor, open.line);
  }

  // Keeps the value completed last for the aliases of its anchor.
  void record(YAML::anchor_t anchor, int line) {
    if (anchor == YAML::NullAnchor) {
      return;
    }
    const std::size_t nodes = count_nodes(builder_.last());
    builder_.spend(nodes, line);
    anchors_[anchor] = Recorded{.value = builder_.last(), .nodes = nodes};
  }

  static json resolve(const std::string& tag, const std::string& value,
                      int line) {
    if (tag == "!") {
      return value;
    }
    if (tag.empty() || tag == "?") {
      return resolve_plain(value, line);
    }
    const std::string_view name =
        std::string_view(tag).starts_with(kCoreTag)
            ? std::string_view(tag).substr(kCoreTag.size())
            : std::string_view();
    if (name == "str") {
      return value;
    }
    json result = resolve_plain(value, line);
    if ((name == "int" && result.is_number_integer()) ||
        (name == "float" && result.is_number()) ||
        (name == "bool" && result.is_boolean()) ||
        (name == "null" && result.is_null())) {
      return result;
    }
    throw Broken{
        line, "unsupported tag " + in_quotes(tag) + " for " + in_quotes(value)};
  }

  int first_line_;
  int document_line_ = 0;
  Builder builder_;
  std::map<YAML::anchor_t, Recorded> anchors_;
  std::vector<Open> open_;
};

// Where the text ends within a quoted scalar, or behind a key without a colon,
// yaml-cpp does not always notice. It does if another line follows.
std::string with_last_line(std::string_view text) {
  return std::string(text) + (text.ends_with('\n') ? "#" : "\n#");
}

}  // namespace

void read_yaml(std::string_view text, int line, std::vector<Document>& out) {
  std::istringstream stream(with_last_line(text));
  try {
    YAML::Parser parser(stream);
    Handler handler(line);
    if (!parser.HandleNextDocument(handler)) {
      return;
    }
    if (auto document = handler.take()) {
      out.push_back(std::move(*document));
    }
    // What is left is no document of its own, and yaml-cpp may fail to move on
    // from it: asking again and again would not end.
    if (parser.HandleNextDocument(handler)) {
      throw Broken{handler.first_line(), "text after the end of the document"};
    }
  } catch (const YAML::Exception& error) {
    throw Broken{line + std::max(error.mark.line, 0), printable(error.msg)};
  }
}

}  // namespace sluice::kube::manifest
