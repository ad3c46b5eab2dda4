// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <iterator>
#include <string_view>
#include <utility>

#include "lib/kube/field.h"
#include "lib/kube/manifest_builder.h"

namespace sluice::kube::manifest {
namespace {

using nlohmann::json;

struct Place {
  const char* at = nullptr;
  const char* end = nullptr;
  int line = 0;
};

// Reads characters and counts lines. All copies share one position, so that the
// parser's progress is known.
class Reader {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Reader() = default;
  explicit Reader(Place& place) : place_(&place) {}

  reference operator*() const { return *place_->at; }
  Reader& operator++() {
    place_->line += *place_->at == '\n' ? 1 : 0;
    ++place_->at;
    return *this;
  }
  Reader operator++(int) {
    Reader before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Reader& other) const {
    return at_end() == other.at_end();
  }

 private:
  [[nodiscard]] bool at_end() const {
    return place_ == nullptr || place_->at == place_->end;
  }
  Place* place_ = nullptr;
};

// "[json.exception.parse_error.101] parse error at line 1, column 2: what".
std::string_view without_place(std::string_view message) {
  const auto column = message.find("column ");
  const auto colon =
      message.find(": ", column == std::string_view::npos ? 0 : column);
  return colon == std::string_view::npos ? message : message.substr(colon + 2);
}

// nlohmann's events.
class Handler : public nlohmann::json_sax<json> {
 public:
  Handler(const Place& place, std::string_view list)
      : place_(&place), builder_(list) {}

  bool null() override { return value(nullptr); }
  bool boolean(bool boolean) override { return value(boolean); }
  bool number_integer(number_integer_t number) override {
    return value(number);
  }
  bool number_unsigned(number_unsigned_t number) override {
    return value(number);
  }
  bool number_float(number_float_t number, const string_t& /*text*/) override {
    return value(number);
  }
  bool string(string_t& text) override { return value(std::move(text)); }
  bool binary(binary_t& /*bytes*/) override { return false; }
  bool start_object(std::size_t /*elements*/) override {
    lines_.push_back(place_->line);
    builder_.begin_object(place_->line);
    return true;
  }
  bool key(string_t& text) override {
    builder_.key(std::move(text), place_->line);
    return true;
  }
  bool end_object() override { return end(); }
  bool start_array(std::size_t /*elements*/) override {
    lines_.push_back(place_->line);
    builder_.begin_list(place_->line);
    return true;
  }
  bool end_array() override { return end(); }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const json::exception& error) override {
    throw Broken{place_->line, printable(without_place(error.what()))};
  }

  Document take() { return builder_.take(); }

 private:
  bool value(json value) {
    builder_.value(std::move(value), place_->line);
    return true;
  }
  bool end() {
    builder_.end(lines_.back());
    lines_.pop_back();
    return true;
  }

  const Place* place_;
  Builder builder_;
  std::vector<int> lines_;
};

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

}  // namespace

void read_json(std::string_view text, int line, std::vector<Document>& out,
               std::string_view list) {
  Place place{
      .at = text.data(), .end = text.data() + text.size(), .line = line};
  while (true) {
    while (place.at != place.end && is_space(*place.at)) {
      place.line += *place.at == '\n' ? 1 : 0;
      ++place.at;
    }
    if (place.at == place.end) {
      return;
    }
    Handler handler(place, list);
    // Not strict: the text after the value is the next value.
    json::sax_parse(Reader(place), Reader(), &handler,
                    json::input_format_t::json, false);
    out.push_back(handler.take());
  }
}

}  // namespace sluice::kube::manifest
