// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <yaml.h>

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

std::string_view text_of(const yaml_char_t* text) {
  return text == nullptr
             ? std::string_view()
             // NOLINTNEXTLINE(*-reinterpret-cast): libyaml's bytes are unsigned
             : std::string_view(reinterpret_cast<const char*>(text));
}

// An event of libyaml, which owns what it points to.
class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  Event(Event&&) = delete;
  Event& operator=(Event&&) = delete;
  ~Event() { yaml_event_delete(&event_); }

  yaml_event_t* operator->() { return &event_; }
  yaml_event_t* get() { return &event_; }

 private:
  yaml_event_t event_{};
};

// libyaml's parser. kubectl's parser is a translation of it, so both accept and
// refuse the same text. `text` must outlive it.
class Parser {
 public:
  Parser(std::string_view text, int first_line)
      : first_line_(first_line), last_line_(first_line) {
    if (!text.empty()) {
      last_line_ += static_cast<int>(
          std::ranges::count(text.substr(0, text.size() - 1), '\n'));
    }
    if (yaml_parser_initialize(&parser_) == 0) {
      throw Broken{first_line, "out of memory"};
    }
    // NOLINTNEXTLINE(*-reinterpret-cast): libyaml's bytes are unsigned
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    yaml_parser_set_input_string(&parser_, bytes, text.size());
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
  }
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;
  Parser(Parser&&) = delete;
  Parser& operator=(Parser&&) = delete;
  ~Parser() { yaml_parser_delete(&parser_); }

  void next(Event& event) {
    if (yaml_parser_parse(&parser_, event.get()) == 0) {
      fail();
    }
  }

  [[nodiscard]] int line(const yaml_mark_t& mark) const {
    // The end of the text has a line of its own for libyaml.
    return std::min(first_line_ + static_cast<int>(mark.line), last_line_);
  }

 private:
  [[noreturn]] void fail() const {
    std::string what =
        parser_.problem == nullptr ? "cannot be read" : parser_.problem;
    if (parser_.context != nullptr) {
      what += std::string(" ") + parser_.context;
    }
    throw Broken{line(parser_.problem_mark), printable(what)};
  }

  yaml_parser_t parser_{};
  int first_line_;
  int last_line_;
};

// Handles the events of one document.
class Handler {
 public:
  Handler(const Parser& parser, std::string_view list)
      : parser_(&parser), builder_(list) {}

  void handle(const yaml_event_t& event) {
    const int line = parser_->line(event.start_mark);
    switch (event.type) {
      case YAML_ALIAS_EVENT:
        alias(std::string(text_of(event.data.alias.anchor)), line);
        return;
      case YAML_SCALAR_EVENT:
        scalar(event, line);
        return;
      case YAML_SEQUENCE_START_EVENT:
        begin(text_of(event.data.sequence_start.tag), "seq",
              text_of(event.data.sequence_start.anchor), line);
        builder_.begin_list(line);
        return;
      case YAML_MAPPING_START_EVENT:
        begin(text_of(event.data.mapping_start.tag), "map",
              text_of(event.data.mapping_start.anchor), line);
        builder_.begin_object(line);
        return;
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT:
        end();
        return;
      default:
        return;
    }
  }

  Document take() { return builder_.take(); }

 private:
  struct Open {
    std::string anchor;
    int line = 0;
  };

  void alias(const std::string& anchor, int line) {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      throw Broken{line,
                   "an alias of nothing before it, or within what it "
                   "stands for: " +
                       in_quotes(anchor)};
    }
    const auto& [value, nodes] = found->second;
    if (!builder_.wants_key()) {
      builder_.copy(value, nodes, line);
    } else {
      builder_.spend(1, line);
      builder_.key(key_text(value, line), line);
    }
  }

  void scalar(const yaml_event_t& event, int line) {
    const auto& scalar = event.data.scalar;
    // NOLINTNEXTLINE(*-reinterpret-cast): libyaml's bytes are unsigned
    const std::string text(reinterpret_cast<const char*>(scalar.value),
                           scalar.length);
    const std::string_view tag = text_of(scalar.tag);
    const bool plain = scalar.style == YAML_PLAIN_SCALAR_STYLE;
    const auto anchor = text_of(scalar.anchor);
    if (!builder_.wants_key()) {
      builder_.value(resolve(tag, plain, text, line), line);
      record(std::string(anchor), line);
      return;
    }
    if (text == "<<" && plain && tag.empty()) {
      builder_.merge_key();
      return;
    }
    const auto key = key_text(resolve(tag, plain, text, line), line);
    if (!anchor.empty()) {
      anchors_[std::string(anchor)] = Recorded{.value = key, .nodes = 1};
    }
    builder_.key(key, line);
  }

  void begin(std::string_view tag, std::string_view kind,
             std::string_view anchor, int line) {
    if (builder_.wants_key()) {
      throw Broken{line, "a key must be a string"};
    }
    if (!tag.empty() && tag != "!" &&
        tag != std::string(kCoreTag) + std::string(kind)) {
      throw Broken{line, "unsupported tag " + in_quotes(tag)};
    }
    // An alias inside does not refer to the earlier value with the same name.
    anchors_.erase(std::string(anchor));
    open_.push_back({.anchor = std::string(anchor), .line = line});
  }

  void end() {
    const Open open = std::move(open_.back());
    open_.pop_back();
    builder_.end(open.line);
    record(open.anchor, open.line);
  }

  // Stores the last completed value for the aliases of its anchor.
  void record(const std::string& anchor, int line) {
    if (anchor.empty()) {
      return;
    }
    const std::size_t nodes = count_nodes(builder_.last());
    builder_.spend(nodes, line);
    anchors_[anchor] = Recorded{.value = builder_.last(), .nodes = nodes};
  }

  static json resolve(std::string_view tag, bool plain, const std::string& text,
                      int line) {
    if (tag.empty()) {
      return plain ? resolve_plain(text, line) : json(text);
    }
    const std::string_view name = tag.starts_with(kCoreTag)
                                      ? tag.substr(kCoreTag.size())
                                      : std::string_view();
    if (tag == "!" || name == "str") {
      return text;
    }
    json result = resolve_plain(text, line);
    if ((name == "int" && result.is_number_integer()) ||
        (name == "float" && result.is_number()) ||
        (name == "bool" && result.is_boolean()) ||
        (name == "null" && result.is_null())) {
      return result;
    }
    throw Broken{
        line, "unsupported tag " + in_quotes(tag) + " for " + in_quotes(text)};
  }

  // Converts a key as kubectl does: `010` is "8" and `yes` is "true".
  static std::string key_text(const json& value, int line) {
    if (value.is_structured() || value.is_null()) {
      throw Broken{line, "a key must be a string"};
    }
    return value.is_string() ? value.get<std::string>() : value.dump();
  }

  const Parser* parser_;
  Builder builder_;
  std::map<std::string, Recorded> anchors_;
  std::vector<Open> open_;
};

}  // namespace

void read_yaml(std::string_view text, int line, std::vector<Document>& out,
               std::string_view list) {
  Parser parser(text, line);
  std::optional<Handler> handler;
  bool taken = false;
  while (true) {
    Event event;
    parser.next(event);
    switch (event->type) {
      case YAML_STREAM_END_EVENT:
        return;
      case YAML_DOCUMENT_START_EVENT:
        if (taken) {
          throw Broken{parser.line(event->start_mark),
                       "text after the end of the document"};
        }
        handler.emplace(parser, list);
        break;
      case YAML_DOCUMENT_END_EVENT:
        out.push_back(handler->take());
        taken = true;
        break;
      default:
        if (handler) {
          handler->handle(*event.get());
        }
    }
  }
}

}  // namespace sluice::kube::manifest
