// SPDX-License-Identifier: Apache-2.0
#include "cli/reach_text.h"

#include <algorithm>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/output.h"
#include "lib/base/printable.h"
#include "lib/base/sequence.h"

namespace sluice::cli {
namespace {

using explain::ReachCell;
using explain::ReachView;
using Places = std::vector<std::size_t>;

bool is_other(const std::string& port) {
  return port.starts_with("other/");
}

std::string protocol_of(const std::string& port) {
  return port.substr(port.find('/') + 1);
}

// The ports of one protocol that are in a list, and those that are not.
struct OfProtocol {
  std::vector<std::string> in;
  std::vector<std::string> out;
  [[nodiscard]] bool has_others() const {
    return std::ranges::any_of(in, is_other);
  }
  [[nodiscard]] bool is_all() const { return has_others() && out.empty(); }
};

}  // namespace

std::string ports_text(const std::vector<explain::ReachPort>& ports,
                       const Places& list, const Places& others) {
  std::vector<std::string> order;
  std::map<std::string, OfProtocol> protocols;
  const auto of = [&](std::size_t port) -> OfProtocol& {
    const auto protocol = protocol_of(ports[port].name);
    if (std::ranges::find(order, protocol) == order.end()) {
      order.push_back(protocol);
    }
    return protocols[protocol];
  };
  for (const std::size_t port : list) {
    of(port).in.push_back(ports[port].name);
  }
  for (const std::size_t port : others) {
    of(port).out.push_back(ports[port].name);
  }
  if (std::ranges::all_of(protocols, [](const auto& protocol) {
        return protocol.second.is_all();
      })) {
    return protocols.empty() ? "" : "any";
  }
  std::vector<std::string> parts;
  for (const auto& protocol : order) {
    const auto& [in, out] = protocols[protocol];
    if (protocols[protocol].is_all()) {
      parts.push_back("any/" + protocol);
    } else if (protocols[protocol].has_others() && out.size() < in.size()) {
      parts.push_back("any/" + protocol + " but " + joined(out, " and "));
    } else if (!in.empty()) {
      parts.push_back(joined(in));
    }
  }
  return joined(parts);
}

namespace {

Places places_of(const std::vector<explain::ReachSome>& list) {
  Places places;
  for (const auto& some : list) {
    places.push_back(some.port);
  }
  return places;
}

Places both(Places one, const Places& two) {
  one.insert(one.end(), two.begin(), two.end());
  return one;
}

// What a cell says, in columns.
struct Phrase {
  std::string allowed;
  std::string denied;
  std::string some;
  auto operator<=>(const Phrase&) const = default;
};

Phrase phrase_of(const ReachView& view, const ReachCell& cell) {
  const auto some = places_of(cell.some);
  std::vector<std::string> parts;
  parts.reserve(cell.some.size());
  for (const auto& [port, allowed, pairs] : cell.some) {
    parts.push_back(view.ports[port].name + " (" + std::to_string(allowed) +
                    " of " + std::to_string(pairs) + " pairs)");
  }
  return {
      .allowed = ports_text(view.ports, cell.allowed, both(cell.denied, some)),
      .denied = ports_text(view.ports, cell.denied, both(cell.allowed, some)),
      .some = joined(parts)};
}

bool is_shown(const Phrase& phrase, ReachShown shown) {
  switch (shown) {
    case ReachShown::kAllowed:
      return !phrase.allowed.empty() || !phrase.some.empty();
    case ReachShown::kDenied:
      return !phrase.denied.empty() || !phrase.some.empty();
    case ReachShown::kAll:
      break;
  }
  return true;
}

// The columns that are not shown make no difference between cells.
Phrase narrowed(Phrase phrase, ReachShown shown) {
  if (shown == ReachShown::kAllowed) {
    phrase.denied.clear();
  } else if (shown == ReachShown::kDenied) {
    phrase.allowed.clear();
  }
  return phrase;
}

// Sources from which every destination is reached in the same way.
struct Group {
  Places sources;
  // By destination: the place of the phrase; kNothing or kSelf.
  std::vector<int> row;
};
constexpr int kNothing = -1;
constexpr int kSelf = -2;  // the source alone: it agrees with anything

bool joins(const std::vector<int>& row, Group& group) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (row[i] != group.row[i] && row[i] != kSelf && group.row[i] != kSelf) {
      return false;
    }
  }
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (group.row[i] == kSelf) {
      group.row[i] = row[i];
    }
  }
  return true;
}

class TextTable {
 public:
  TextTable(const ReachView& view, ReachShown shown)
      : view_(&view), shown_(shown) {
    std::vector<std::vector<int>> rows(
        view.ends.size(), std::vector<int>(view.ends.size(), kNothing));
    for (std::size_t end = 0; end < rows.size(); ++end) {
      rows[end][end] = kSelf;
      sources_of_[view.ends[end].ns].push_back(end);
    }
    std::map<Phrase, int> known;
    for (const auto& cell : view.cells) {
      auto phrase = phrase_of(view, cell);
      if (!is_shown(phrase, shown)) {
        rows[cell.from][cell.to] = kNothing;
        continue;
      }
      const auto [found, added] =
          known.try_emplace(narrowed(std::move(phrase), shown),
                            static_cast<int>(phrases_.size()));
      if (added) {
        phrases_.push_back(found->first);
      }
      rows[cell.from][cell.to] = found->second;
    }
    for (std::size_t source = 0; source < rows.size(); ++source) {
      add(source, rows[source]);
    }
  }

  void print(std::ostream& out) const {
    const bool some = std::ranges::any_of(
        phrases_, [](const Phrase& phrase) { return !phrase.some.empty(); });
    std::vector<std::string> headers{"FROM", "TO"};
    if (shown_ != ReachShown::kDenied) {
      headers.emplace_back("ALLOWED");
    }
    if (shown_ != ReachShown::kAllowed) {
      headers.emplace_back("DENIED");
    }
    if (some) {
      headers.emplace_back("SOME PODS");
    }
    Table table(std::move(headers));
    for (const auto& group : groups_) {
      print(table, group);
    }
    table.print(out);
  }

 private:
  void add(std::size_t source, const std::vector<int>& row) {
    for (auto& group : groups_) {
      if (joins(row, group)) {
        group.sources.push_back(source);
        return;
      }
    }
    groups_.push_back({.sources = {source}, .row = row});
  }

  // The names, or "shop/*" for all pods of a namespace. `but`: one that needs
  // not be among them.
  [[nodiscard]] std::vector<std::string> names(
      const Places& ends, std::optional<std::size_t> but) const {
    std::vector<std::string> names;
    const std::set<std::size_t> in(ends.begin(), ends.end());
    std::set<std::string> done;
    for (const std::size_t end : ends) {
      const auto& [name, ns, kind, pods, addresses, prefixes] =
          view_->ends[end];
      const auto& all = sources_of_.at(ns);
      const bool whole = !ns.empty() && all.size() > 1 &&
                         std::ranges::all_of(all, [&](std::size_t other) {
                           return in.contains(other) || other == but;
                         });
      if (!whole) {
        names.push_back(name);
      } else if (done.insert(ns).second) {
        names.push_back(ns + "/*");
      }
    }
    return names;
  }

  void print(Table& table, const Group& group) const {
    std::vector<std::pair<int, Places>> destinations;
    for (std::size_t end = 0; end < group.row.size(); ++end) {
      if (group.row[end] < 0) {
        continue;
      }
      const auto found = std::ranges::find(destinations, group.row[end],
                                           &std::pair<int, Places>::first);
      auto& places =
          found == destinations.end()
              ? destinations.emplace_back(group.row[end], Places{}).second
              : found->second;
      places.push_back(end);
    }
    const bool alone =
        group.sources.size() == 1 && group.row[group.sources[0]] == kSelf;
    for (const auto& [phrase, places] : destinations) {
      print(
          table, names(group.sources, std::nullopt),
          names(places, alone ? std::optional(group.sources[0]) : std::nullopt),
          phrases_[static_cast<std::size_t>(phrase)]);
    }
  }

  // As many lines as the longer list of names needs.
  void print(Table& table, const std::vector<std::string>& from,
             const std::vector<std::string>& to, const Phrase& phrase) const {
    const auto left = wrapped(from);
    const auto right = wrapped(to);
    const auto line = [](const std::vector<std::string>& lines, std::size_t i) {
      return i < lines.size() ? lines[i] : std::string();
    };
    for (std::size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
      std::vector<std::string> cells{line(left, i), line(right, i)};
      const auto add = [&](const std::string& text) {
        const std::string none = i == 0 ? "-" : "";
        cells.push_back(i == 0 && !text.empty() ? text : none);
      };
      if (shown_ != ReachShown::kDenied) {
        add(phrase.allowed);
      }
      if (shown_ != ReachShown::kAllowed) {
        add(phrase.denied);
      }
      add(phrase.some);
      table.row(std::move(cells));
    }
  }

  static std::vector<std::string> wrapped(
      const std::vector<std::string>& names) {
    constexpr std::size_t kWidth = 40;
    std::vector<std::string> lines;
    for (const auto& name : names) {
      if (lines.empty() || lines.back().size() + 2 + name.size() > kWidth) {
        if (!lines.empty()) {
          lines.back() += ',';
        }
        lines.push_back(name);
      } else {
        lines.back() += ", " + name;
      }
    }
    return lines;
  }

  const ReachView* view_;
  ReachShown shown_;
  std::map<std::string, Places> sources_of_;  // ends by namespace
  std::vector<Phrase> phrases_;
  std::vector<Group> groups_;
};

std::string quoted_csv(const std::string& raw) {
  auto text = printable(raw);
  if (text.find_first_of(",\"\r\n") == std::string::npos) {
    return text;
  }
  std::string result = "\"";
  for (const char byte : text) {
    result += byte == '"' ? "\"\"" : std::string(1, byte);
  }
  return result + '"';
}

std::string quoted_dot(const std::string& text) {
  std::string result = "\"";
  for (const char byte : printable(text)) {
    if (byte == '"' || byte == '\\') {
      result += '\\';
    }
    result += byte;
  }
  return result + '"';
}

// Two that differ only in their direction are drawn as one.
struct Edge {
  std::size_t from = 0;
  std::size_t to = 0;
  std::string label;
  std::string style;
  auto operator<=>(const Edge&) const = default;
};

void print_dot_ends(std::ostream& out, const ReachView& view) {
  std::string open;
  for (const auto& end : view.ends) {
    if (end.ns != open) {
      out << (open.empty() ? "" : "  }\n");
      open = end.ns;
      if (!open.empty()) {
        out << "  subgraph " << quoted_dot("cluster_" + open)
            << " {\n    label=" << quoted_dot(open) << ";\n";
      }
    }
    out << (open.empty() ? "  " : "    ") << quoted_dot(end.name);
    if (open.empty()) {
      out << " [shape=ellipse]";
    } else {
      out << " [label=" << quoted_dot(end.name.substr(end.ns.size() + 1))
          << ']';
    }
    out << ";\n";
  }
  out << (open.empty() ? "" : "  }\n");
}

}  // namespace

void print_reach(std::ostream& out, const ReachView& view, ReachShown shown) {
  TextTable(view, shown).print(out);
}

void print_reach_csv(std::ostream& out, const ReachView& view) {
  out << "from,to,port,verdict,allowed_pairs,pairs\r\n";
  for (const auto& cell : view.cells) {
    std::map<std::size_t, std::string> lines;  // by port
    for (const std::size_t port : cell.allowed) {
      lines[port] = "allowed,,";
    }
    for (const std::size_t port : cell.denied) {
      lines[port] = "denied,,";
    }
    for (const auto& [port, allowed, pairs] : cell.some) {
      lines[port] =
          "some," + std::to_string(allowed) + "," + std::to_string(pairs);
    }
    for (const auto& [port, line] : lines) {
      out << quoted_csv(view.ends[cell.from].name) << ','
          << quoted_csv(view.ends[cell.to].name) << ',' << view.ports[port].name
          << ',' << line << "\r\n";
    }
  }
}

void print_reach_dot(std::ostream& out, const ReachView& view,
                     ReachShown shown) {
  std::set<Edge> edges;
  for (const auto& cell : view.cells) {
    const auto phrase = phrase_of(view, cell);
    const auto add = [&](const std::string& label, const char* style) {
      if (!label.empty()) {
        edges.insert(
            {.from = cell.from, .to = cell.to, .label = label, .style = style});
      }
    };
    if (shown != ReachShown::kDenied) {
      add(phrase.allowed, "");
    }
    if (shown != ReachShown::kAllowed) {
      add(phrase.denied, ", style=dotted, color=red");
    }
    add(phrase.some, ", style=dashed");
  }
  // Graphviz's older way to rank nodes fails for some graphs with clusters.
  out << "digraph reach {\n  rankdir=LR;\n  newrank=true;\n"
         "  node [shape=box];\n";
  print_dot_ends(out, view);
  for (const auto& edge : edges) {
    auto back = edge;
    std::swap(back.from, back.to);
    const bool both = edge.from != edge.to && edges.contains(back);
    if (both && edge.from > edge.to) {
      continue;  // with the other one
    }
    out << "  " << quoted_dot(view.ends[edge.from].name) << " -> "
        << quoted_dot(view.ends[edge.to].name)
        << " [label=" << quoted_dot(edge.label) << edge.style
        << (both ? ", dir=both" : "") << "];\n";
  }
  out << "}\n";
}

}  // namespace sluice::cli
