// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

// Mutations that keep JSON JSON, so that a fuzzer gets past the syntax.
namespace sluice::fuzz {
namespace {

using nlohmann::json;
using Random = std::minstd_rand;

constexpr int kMaxDepth = 100;

void collect(json& value, std::vector<json*>& out) {
  out.push_back(&value);
  if (value.is_structured()) {
    for (json& element : value) {
      collect(element, out);
    }
  }
}

std::size_t below(Random& random, std::size_t limit) {
  return random() % limit;
}

json odd_value(Random& random) {
  switch (below(random, 12)) {
    case 0:
      return nullptr;
    case 1:
      return below(random, 2) == 0;
    case 2:
      return static_cast<std::int64_t>(below(random, 70000)) - 2;
    case 3:
      return UINT64_MAX;
    case 4:
      return 0.5;
    case 5:
      return "";
    case 6:
      return std::to_string(below(random, 70000));
    case 7:
      return "10." + std::to_string(below(random, 300)) + ".0.0/" +
             std::to_string(below(random, 40));
    case 8:
      return "2001:db8::/" + std::to_string(below(random, 140));
    case 9:
      return json::array();
    case 10:
      return json::object();
    default:
      return std::string(below(random, 80), 'a');
  }
}

void mutate_text(std::string& text, Random& random) {
  const std::size_t at = below(random, text.size() + 1);
  const char c = static_cast<char>(' ' + below(random, 95));
  if (at == text.size() || below(random, 3) == 0) {
    text.insert(at, 1, c);
  } else if (below(random, 2) == 0) {
    text[at] = c;
  } else {
    text.erase(at, 1 + below(random, 3));
  }
}

void rename_key(json& object, Random& random) {
  auto member = object.begin();
  std::advance(member, below(random, object.size()));
  json value = std::move(*member);
  std::string key = member.key();
  object.erase(member);
  mutate_text(key, random);
  object[key] = std::move(value);
}

void mutate(json& root, Random& random) {
  std::vector<json*> all;
  collect(root, all);
  json& target = *all[below(random, all.size())];
  json other = *all[below(random, all.size())];
  switch (below(random, 6)) {
    case 0:
      target = odd_value(random);
      break;
    case 1:
      target = std::move(other);
      break;
    case 2:
      if (target.is_array()) {
        target.push_back(std::move(other));
      } else if (target.is_object() && !target.empty()) {
        rename_key(target, random);
      }
      break;
    case 3:
      if (target.is_structured() && !target.empty()) {
        auto member = target.begin();
        std::advance(member, below(random, target.size()));
        target.erase(member);
      }
      break;
    case 4:
      if (target.is_array() && !target.empty()) {
        const json copy = target[below(random, target.size())];
        target.push_back(copy);
      }
      break;
    default:
      if (target.is_string()) {
        mutate_text(target.get_ref<std::string&>(), random);
      }
  }
}

}  // namespace

std::optional<json> parse_bounded(std::string_view text) {
  bool deep = false;
  json value = json::parse(
      text,
      [&](int depth, json::parse_event_t /*event*/, json& /*parsed*/) {
        deep = deep || depth > kMaxDepth;
        return !deep;
      },
      false);
  if (deep || value.is_discarded()) {
    return std::nullopt;
  }
  return value;
}

}  // namespace sluice::fuzz

// Called by libFuzzer in place of its own mutations.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data,
                                               std::size_t size,
                                               std::size_t max_size,
                                               unsigned int seed) {
  auto value = sluice::fuzz::parse_bounded(sluice::fuzz::as_text(data, size));
  if (!value) {
    value = nlohmann::json::object();
  }
  sluice::fuzz::Random random(seed);
  const std::size_t changes = 1 + sluice::fuzz::below(random, 4);
  for (std::size_t i = 0; i < changes; ++i) {
    sluice::fuzz::mutate(*value, random);
  }
  const std::string text =
      value->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > max_size) {
    return size;
  }
  std::ranges::copy(text, data);
  return text.size();
}
