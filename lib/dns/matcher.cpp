// SPDX-License-Identifier: Apache-2.0
#include "lib/dns/matcher.h"

#include <algorithm>
#include <utility>

namespace sluice::dns {
namespace {

// How many of a label's first or last characters find its patterns. More would
// take more look-ups per name and save comparisons only where many patterns
// have the same first characters.
constexpr std::size_t kKeySize = 4;

using Ids = std::vector<PatternId>;

std::string_view last_of(std::string_view text) {
  return text.substr(text.size() - std::min(text.size(), kKeySize));
}

// The literal characters with which a label begins, or ends if it begins with a
// star, as far as they are a key.
std::string_view key_of(std::string_view pattern) {
  return pattern.starts_with('*')
             ? last_of(pattern.substr(pattern.rfind('*') + 1))
             : pattern.substr(0, std::min(pattern.find('*'), kKeySize));
}

// A name in a search.
struct Query {
  Labels labels;
  std::size_t plain = 0;  // so many of the first labels are plain
  Ids& out;
};

}  // namespace

// The patterns that have the same last labels.
struct Matcher::Node {
  // A label with stars and other characters, and what stands before it.
  struct Edge {
    std::string pattern;
    std::unique_ptr<Node> node;
  };
  template <typename Value>
  using ByText = std::unordered_map<std::string, Value, Hash, std::equal_to<>>;
  using Edges = ByText<std::vector<Edge>>;

  ByText<std::unique_ptr<Node>> literal;
  std::unique_ptr<Node> star;
  Edges by_first;  // labels that begin with no star, by key_of()
  Edges by_last;   // labels that begin with a star, by key_of(), maybe ""
  Ids here;        // patterns that have no further label
  Ids below;       // patterns that have only "**." before these labels

  [[nodiscard]] bool empty() const {
    return literal.empty() && !star && by_first.empty() && by_last.empty() &&
           here.empty() && below.empty();
  }
  // The node behind a label of a pattern, made if there is none.
  Node& step(std::string_view label);
  // Removes an id; `labels` are those that are left of its pattern.
  void remove(PatternId id, std::string_view labels, bool subdomains);
  // Collects the patterns that match; `left`: how many labels are left of the
  // name.
  void collect(Query& query, std::size_t left) const;

 private:
  Edges& edges_for(std::string_view label) {
    return label.starts_with('*') ? by_last : by_first;
  }
  void remove_edge(PatternId id, std::string_view label, std::string_view rest,
                   bool subdomains);
  static void collect_edges(const Edges& edges, std::string_view key,
                            std::string_view label, Query& query,
                            std::size_t left);
};

Matcher::Node& Matcher::Node::step(std::string_view label) {
  std::unique_ptr<Node>* place = nullptr;
  if (label == "*") {
    place = &star;
  } else if (label.find('*') == std::string_view::npos) {
    place = &literal[std::string(label)];
  } else {
    auto& edges = edges_for(label)[std::string(key_of(label))];
    auto edge = std::ranges::find(edges, label, &Edge::pattern);
    if (edge == edges.end()) {
      edges.push_back({.pattern = std::string(label), .node = nullptr});
      edge = std::prev(edges.end());
    }
    place = &edge->node;
  }
  if (!*place) {
    *place = std::make_unique<Node>();
  }
  return **place;
}

void Matcher::Node::remove(PatternId id, std::string_view labels,
                           bool subdomains) {
  if (labels.empty()) {
    std::erase(subdomains ? below : here, id);
    return;
  }
  const std::string_view label = take_last(labels);
  if (label == "*") {
    star->remove(id, labels, subdomains);
    if (star->empty()) {
      star.reset();
    }
  } else if (label.find('*') == std::string_view::npos) {
    const auto found = literal.find(label);
    found->second->remove(id, labels, subdomains);
    if (found->second->empty()) {
      literal.erase(found);
    }
  } else {
    remove_edge(id, label, labels, subdomains);
  }
}

void Matcher::Node::remove_edge(PatternId id, std::string_view label,
                                std::string_view rest, bool subdomains) {
  Edges& all = edges_for(label);
  const auto same_key = all.find(key_of(label));
  auto& edges = same_key->second;
  const auto edge = std::ranges::find(edges, label, &Edge::pattern);
  edge->node->remove(id, rest, subdomains);
  if (edge->node->empty()) {
    edges.erase(edge);
  }
  if (edges.empty()) {
    all.erase(same_key);
  }
}

void Matcher::Node::collect(Query& query, std::size_t left) const {
  if (left == 0) {
    query.out.insert(query.out.end(), here.begin(), here.end());
    return;
  }
  if (left <= query.plain) {
    query.out.insert(query.out.end(), below.begin(), below.end());
  }
  const std::string_view label = query.labels.label.at(--left);
  if (const auto found = literal.find(label); found != literal.end()) {
    found->second->collect(query, left);
  }
  if ((!star && by_first.empty() && by_last.empty()) || !is_plain(label)) {
    return;
  }
  if (star) {
    star->collect(query, left);
  }
  const std::size_t longest = std::min(label.size(), kKeySize);
  for (std::size_t size = 1; size <= longest && !by_first.empty(); ++size) {
    collect_edges(by_first, label.substr(0, size), label, query, left);
  }
  for (std::size_t size = 0; size <= longest && !by_last.empty(); ++size) {
    collect_edges(by_last, label.substr(label.size() - size), label, query,
                  left);
  }
}

void Matcher::Node::collect_edges(const Edges& edges, std::string_view key,
                                  std::string_view label, Query& query,
                                  std::size_t left) {
  const auto found = edges.find(key);
  if (found == edges.end()) {
    return;
  }
  for (const Edge& edge : found->second) {
    if (matches_label(edge.pattern, label)) {
      edge.node->collect(query, left);
    }
  }
}

Matcher::Matcher() : root_(std::make_unique<Node>()) {}
Matcher::Matcher(Matcher&&) noexcept = default;
Matcher& Matcher::operator=(Matcher&&) noexcept = default;
Matcher::~Matcher() = default;

void Matcher::add(PatternId id, const NamePattern& pattern) {
  remove(id);
  patterns_.emplace(id, pattern);
  if (pattern.matches_every_name()) {
    every_.push_back(id);
  } else if (const auto name = pattern.exact_name()) {
    exact_[std::string(name->wire())].push_back(id);
  } else {
    Node* node = root_.get();
    for (std::string_view labels = pattern.labels(); !labels.empty();) {
      node = &node->step(take_last(labels));
    }
    (pattern.has_subdomains() ? node->below : node->here).push_back(id);
  }
}

void Matcher::remove(PatternId id) {
  const auto found = patterns_.find(id);
  if (found == patterns_.end()) {
    return;
  }
  const NamePattern& pattern = found->second;
  if (pattern.matches_every_name()) {
    std::erase(every_, id);
  } else if (const auto name = pattern.exact_name()) {
    const auto exact = exact_.find(name->wire());
    std::erase(exact->second, id);
    if (exact->second.empty()) {
      exact_.erase(exact);
    }
  } else {
    root_->remove(id, pattern.labels(), pattern.has_subdomains());
  }
  patterns_.erase(found);
}

std::vector<PatternId> Matcher::match(const Name& name) const {
  std::vector<PatternId> result;
  match(name, result);
  return result;
}

void Matcher::match(const Name& name, std::vector<PatternId>& out) const {
  out.assign(every_.begin(), every_.end());
  if (const auto exact = exact_.find(name.wire()); exact != exact_.end()) {
    out.insert(out.end(), exact->second.begin(), exact->second.end());
  }
  if (!root_->empty()) {
    Query query{.labels = name.labels(), .plain = 0, .out = out};
    const Labels& labels = query.labels;
    while (query.plain < labels.count &&
           is_plain(labels.label.at(query.plain))) {
      ++query.plain;
    }
    root_->collect(query, labels.count);
  }
  std::ranges::sort(out);
}

}  // namespace sluice::dns
