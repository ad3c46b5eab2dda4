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
  } else if (frames_.size() == 2 && frames_[0].key == "items" &&
             frames_[1].value.is_array()) {
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
  for (json& merge : frame.merges) {
    // Keys that are there win, also over those of an earlier merge.
    for (auto it = merge.begin(); it != merge.end(); ++it) {
      frame.value.emplace(it.key(), std::move(*it));
    }
  }
  if (frames_.empty()) {
    document_.root = std::move(frame.value);
    last_ = &document_.root;
    done_ = true;
    return;
  }
  // The line of its beginning is noted already.
  const std::size_t noted = document_.item_lines.size();
  value(std::move(frame.value), line);
  document_.item_lines.resize(noted);
}

void Builder::key(std::string key, int line) {
  Frame& frame = frames_.back();
  if (frame.value.contains(key)) {
    throw Broken{line, "duplicate key " + in_quotes(key)};
  }
  frame.key = std::move(key);
  frame.has_key = true;
}

void Builder::merge_key(int line) {
  if (!frames_.back().merges.empty()) {
    throw Broken{line, "duplicate key \"<<\""};
  }
  frames_.back().merging = true;
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
    frame.merging = false;
    if (value.is_object()) {
      frame.merges.push_back(std::move(value));
    } else if (value.is_array()) {
      for (json& element : value) {
        frame.merges.push_back(std::move(element));
      }
    }
    if (frame.merges.empty()) {
      throw Broken{line, "<< must be followed by an object or a list of them"};
    }
    for (const json& merge : frame.merges) {
      if (!merge.is_object()) {
        throw Broken{line,
                     "<< must be followed by an object or a list of them"};
      }
    }
    last_ = &frame.merges.back();
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
