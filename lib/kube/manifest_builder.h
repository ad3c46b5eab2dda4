// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

// Internal to the manifest reader, and for sources that read JSON themselves.
namespace sluice::kube::manifest {

// No Kubernetes object is nested deeper than a few dozen levels.
inline constexpr std::size_t kMaxDepth = 100;
// Values that the aliases of one document may add: far above any use of them,
// far below what hurts.
inline constexpr std::size_t kMaxAliasNodes = 100'000;

// What is wrong and at which line. Thrown inside the reader, caught in
// parse_manifest().
struct Broken {
  int line = 0;
  std::string what;
};

// One document, with what the reader needs to know about its lines.
struct Document {
  nlohmann::json root;
  int line = 0;                 // at which the root begins
  std::vector<int> item_lines;  // at which each of the root's `items` begins
};

// Puts a document together from the events of a parser, YAML or JSON. Throws
// Broken for duplicate keys, nesting that is too deep, too many aliased values.
class Builder {
 public:
  void begin_object(int line);
  void begin_list(int line);
  // Ends the innermost object or list and gives it to its parent.
  void end(int line);
  void key(std::string key, int line);
  void value(nlohmann::json value, int line);
  // The value of this object's next key is merged into it (YAML's `<<`).
  void merge_key(int line);

  // A value that was recorded before: counted against the alias budget.
  void copy(const nlohmann::json& recorded, std::size_t nodes, int line);
  void spend(std::size_t nodes, int line);

  // True if the next scalar is a key of the innermost object.
  [[nodiscard]] bool wants_key() const;
  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] std::size_t depth() const { return frames_.size(); }
  // The value that was completed last, and is now in its parent (or the root).
  [[nodiscard]] const nlohmann::json& last() const { return *last_; }
  // The document; only when done().
  Document take() { return std::move(document_); }

 private:
  struct Frame {
    nlohmann::json value;
    std::string key;
    bool has_key = false;
    bool merging = false;
    std::vector<nlohmann::json> merges;
  };
  void push(nlohmann::json value, int line);
  void note_line(int line);

  std::vector<Frame> frames_;
  Document document_;
  const nlohmann::json* last_ = nullptr;
  std::size_t alias_nodes_ = 0;
  bool done_ = false;
};

// Values in `value`, itself included.
std::size_t count_nodes(const nlohmann::json& value);

// Reads the JSON values that follow one another in `text`, whose first line is
// `line`, and calls nothing but `out.push_back`. Throws Broken; documents read
// before that are in `out`.
void read_json(std::string_view text, int line, std::vector<Document>& out);
// The same for one YAML document.
void read_yaml(std::string_view text, int line, std::vector<Document>& out);

// The value of a plain (unquoted) YAML 1.1 scalar. Throws Broken for infinity
// and NaN, which JSON lacks.
nlohmann::json resolve_plain(const std::string& text, int line);

}  // namespace sluice::kube::manifest
