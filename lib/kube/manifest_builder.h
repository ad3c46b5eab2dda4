// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

// Internal to the manifest reader, and for sources that read JSON themselves.
namespace sluice::kube::manifest {

// No Kubernetes object is nested deeper than a few dozen levels.
inline constexpr std::size_t kMaxDepth = 100;
// Number of values that the aliases of one document may add: far above any real
// use, and far below a harmful number.
inline constexpr std::size_t kMaxAliasNodes = 100'000;

// A mistake and its line. Thrown inside the reader, caught in parse_manifest().
struct Broken {
  int line = 0;
  std::string what;
};

// A note about a line that is valid.
struct Remark {
  int line = 0;
  std::string what;
};

// One document, with information about its lines.
struct Document {
  nlohmann::json root;
  int line = 0;                 // at which the root begins
  std::vector<int> item_lines;  // at which each element of the list begins
  std::vector<Remark> remarks;  // duplicate keys, in order
};

// The text of one document of a file, without separators as kubectl recognises
// them.
struct Chunk {
  std::string_view text;
  int line = 1;            // of its first line in the file
  bool after_end = false;  // stands behind `...`, where kubectl reads nothing
};

// Without blanks and ends of lines at either end.
std::string_view trim(std::string_view text);
// Splits a YAML file into its documents with content. This is possible before
// parsing, because no other line may begin with a marker, not even in a quoted
// or block scalar. A broken document therefore does not affect the others. Like
// kubectl, accepts `---` followed by a comment as a separator, with or without
// a space.
std::vector<Chunk> split_documents(std::string_view text);

// The member of Kubernetes' List objects that has the objects.
inline constexpr std::string_view kItems = "items";

// Builds a document from the events of a parser, YAML or JSON. Of duplicate
// keys the last one counts, as for kubectl, and a remark is added. Throws
// Broken for too deep nesting and for too many aliased values.
class Builder {
 public:
  // `list`: the member of the root whose elements' lines are recorded; of a
  // root that is a list, that member of each element, one after the other.
  explicit Builder(std::string_view list = kItems) : list_(list) {}

  void begin_object(int line);
  void begin_list(int line);
  // Ends the innermost object or list and gives it to its parent.
  void end(int line);
  void key(std::string key, int line);
  void value(nlohmann::json value, int line);
  // The next value is merged into this object (YAML's `<<`). As for kubectl, it
  // replaces earlier keys and not later ones; in a list, the first object with
  // a key counts.
  void merge_key();

  // Adds a value that was recorded before; it counts against the alias budget.
  void copy(const nlohmann::json& recorded, std::size_t nodes, int line);
  void spend(std::size_t nodes, int line);

  // True if the next scalar is a key of the innermost object.
  [[nodiscard]] bool wants_key() const;
  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] std::size_t depth() const { return frames_.size(); }
  // The last completed value, which is now in its parent (or the root).
  [[nodiscard]] const nlohmann::json& last() const { return *last_; }
  // The document; only when done().
  Document take() { return std::move(document_); }

 private:
  struct Frame {
    nlohmann::json value;
    std::string key;
    bool has_key = false;
    bool merging = false;
    std::set<std::string> merged;  // keys of which a merge gave the value
  };
  void push(nlohmann::json value, int line);
  void note_line(int line);
  void merge(nlohmann::json value, int line);
  void merge_object(const nlohmann::json& from, int line);

  std::string list_;
  std::vector<Frame> frames_;
  Document document_;
  const nlohmann::json* last_ = nullptr;
  nlohmann::json last_merged_;
  std::size_t alias_nodes_ = 0;
  bool done_ = false;
};

// Values in `value`, itself included.
std::size_t count_nodes(const nlohmann::json& value);

// Reads the consecutive JSON values in `text`, whose first line is `line`, and
// calls nothing but `out.push_back`. Throws Broken; documents read before that
// are in `out`. `list`: see Builder.
void read_json(std::string_view text, int line, std::vector<Document>& out,
               std::string_view list = kItems);
// The same for one YAML document.
void read_yaml(std::string_view text, int line, std::vector<Document>& out,
               std::string_view list = kItems);

// The value of a plain (unquoted) YAML 1.1 scalar. Throws Broken for infinity
// and NaN, which JSON lacks.
nlohmann::json resolve_plain(const std::string& text, int line);

}  // namespace sluice::kube::manifest
