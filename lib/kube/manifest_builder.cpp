// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/manifest_builder.h"

#include <utility>

#include "lib/kube/field.h"

namespace sluice::kube::manifest {

using nlohmann::json;

bool Builder::wants_key() const {
  return !frames_.empty() && frames_.back().value.is_object() &&
         !frames_.back().has_key && !frames_.back().merging;
}

void Builder::note_line(int line) {
  if (frames_.empty()) {
    document_.line = line;
    return;
  }
  const std::size_t root = frames_[0].value.is_array() ? 1 : 0;
  if (frames_.size() == root + 2 && frames_[root].key == list_ &&
      frames_[root + 1].value.is_array()) {
    document_.item_lines.push_back(line);
  }
}

void Builder::push(json value, int line) {
  if (frames_.size() >= kMaxDepth) {
    throw Broken{line,
                 "nested deeper than " + std::to_string(kMaxDepth) + " levels"};
  }
  note_line(line);
  frames_.push_back(Frame{.value = std::move(value)});
}

void Builder::begin_object(int line) {
  push(json::object(), line);
}

void Builder::begin_list(int line) {
  push(json::array(), line);
}

void Builder::end(int line) {
  Frame frame = std::move(frames_.back());
  frames_.pop_back();
  if (frames_.empty()) {
    document_.root = std::move(frame.value);
    last_ = &document_.root;
    done_ = true;
    return;
  }
  // The line where it begins is already recorded.
  const std::size_t noted = document_.item_lines.size();
  value(std::move(frame.value), line);
  document_.item_lines.resize(noted);
}

void Builder::key(std::string key, int line) {
  Frame& frame = frames_.back();
  if (frame.value.contains(key) && frame.merged.erase(key) == 0) {
    document_.remarks.push_back(
        {.line = line,
         .what = "duplicate key " + in_quotes(key) + ": the last one counts"});
  }
  frame.key = std::move(key);
  frame.has_key = true;
}

void Builder::merge_key() {
  frames_.back().merging = true;
}

void Builder::merge_object(const json& from, int line) {
  if (!from.is_object()) {
    throw Broken{line, "<< must be followed by an object or a list of them"};
  }
  Frame& frame = frames_.back();
  for (const auto& [key, value] : from.items()) {
    if (frame.value.contains(key) && !frame.merged.contains(key)) {
      document_.remarks.push_back(
          {.line = line,
           .what = "<< replaces the key " + in_quotes(key) + " before it"});
    }
    frame.value[key] = value;
    frame.merged.insert(key);
  }
}

void Builder::merge(json value, int line) {
  frames_.back().merging = false;
  if (value.is_array()) {
    for (std::size_t i = value.size(); i > 0; --i) {
      merge_object(value[i - 1], line);
    }
  } else {
    merge_object(value, line);
  }
  last_merged_ = std::move(value);
  last_ = &last_merged_;
}

void Builder::value(json value, int line) {
  note_line(line);
  if (frames_.empty()) {
    document_.root = std::move(value);
    last_ = &document_.root;
    done_ = true;
    return;
  }
  Frame& frame = frames_.back();
  if (frame.value.is_array()) {
    frame.value.push_back(std::move(value));
    last_ = &frame.value.back();
  } else if (frame.merging) {
    merge(std::move(value), line);
  } else {
    frame.has_key = false;
    last_ = &(frame.value[frame.key] = std::move(value));
  }
}

void Builder::copy(const json& recorded, std::size_t nodes, int line) {
  spend(nodes, line);
  value(recorded, line);
}

void Builder::spend(std::size_t nodes, int line) {
  alias_nodes_ += nodes;
  if (alias_nodes_ > kMaxAliasNodes) {
    throw Broken{line, "aliases make the document too large"};
  }
}

std::size_t count_nodes(const json& value) {
  std::size_t count = 1;
  if (value.is_structured()) {
    for (const json& element : value) {
      count += count_nodes(element);
    }
  }
  return count;
}

}  // namespace sluice::kube::manifest
