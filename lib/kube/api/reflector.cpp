// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/reflector.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lib/kube/api/backoff.h"
#include "lib/kube/api/event_decoder.h"
#include "lib/kube/api/known_objects.h"
#include "lib/kube/api/line_splitter.h"
#include "lib/kube/api/list_splitter.h"

namespace sluice::kube {
namespace {

using std::chrono::milliseconds;
using Clock = Loop::Clock;

// If the server ends a watch earlier than this, the next watch does not start
// at once.
constexpr milliseconds kShortWatch{1000};
// A large list may take long until the first byte.
constexpr milliseconds kListTimeout{60'000};

// The server does not have the version yet that the request names.
bool is_too_new(const ApiError& error) {
  return std::ranges::find(error.causes, "ResourceVersionTooLarge") !=
         error.causes.end();
}

}  // namespace

class Reflector::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(Client& client, const Resource& resource, Handler handler,
       ReflectorOptions options)
      : client_(&client),
        resource_(&resource),
        handler_(std::move(handler)),
        options_(std::move(options)),
        backoff_(options_.backoff_base, options_.backoff_cap) {
    use_version(0);
  }

  void start();
  void stop();

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] bool synced() const { return synced_; }
  [[nodiscard]] const std::string& error() const { return error_; }
  [[nodiscard]] const ReflectorStats& stats() const { return stats_; }
  [[nodiscard]] const Resource& resource() const { return *resource_; }
  [[nodiscard]] const std::string& version() const { return version_; }
  [[nodiscard]] std::size_t size() const { return known_.size(); }

 private:
  // Listing.
  void list();
  void next_page();
  Result<void> take_item(std::string_view item);
  void page_done(ApiResult<void> result);
  void list_done(const std::string& resource_version);
  void list_failed(const ApiError& error);
  void absent(const ApiError& error);
  void ask_for_definition();
  void confirm_absent();
  void recheck_absent();
  [[nodiscard]] milliseconds absent_confirm() const;
  void forget_unlisted();

  // Watching.
  void watch();
  Result<void> take_line(std::string_view line);
  void watch_done(ApiResult<void> result);

  void retry_later(const ApiError& error, void (Impl::*what)());
  void relist(const ApiError& error);
  void apply(Event event);
  void emit(Event event);
  void flush();
  void schedule();
  void use_version(std::size_t index);
  void enter(State state);
  [[nodiscard]] std::string path(std::string_view query) const;
  [[nodiscard]] std::string list_query() const;
  [[nodiscard]] std::string purpose(std::string_view verb) const;

  Client* client_;
  const Resource* resource_;
  Handler handler_;
  ReflectorOptions options_;
  ReflectorStats stats_;

  State state_ = State::kStopped;
  bool synced_ = false;
  bool complete_ = false;  // synced() is to become true with the next flush
  bool changed_ = false;   // on_change must be called
  bool scheduled_ = false;
  std::string error_;

  std::size_t version_index_ = 0;
  std::string version_;
  std::size_t versions_absent_ = 0;  // one after the other
  bool older_confirmed_ = false;     // the newest version is not served
  std::optional<Clock::time_point> absent_since_;

  KnownObjects known_;
  std::string resource_version_;
  bool listed_ = false;      // a watch may continue from resource_version_
  bool consistent_ = false;  // the next list asks for the latest, not a cache
  bool in_one_ = false;      // the next list is requested without pages
  std::string continue_;
  std::size_t page_items_ = 0;

  std::optional<EventDecoder> decoder_;
  std::optional<ListSplitter> splitter_;
  std::optional<LineSplitter> lines_;
  std::optional<ApiError> told_;  // an ERROR event
  bool broken_ = false;           // the watch sent invalid data
  Clock::time_point watch_since_;

  std::vector<Event> pending_;
  Backoff backoff_;
  Timer timer_;
  Call call_;
};

void Reflector::Impl::use_version(std::size_t index) {
  version_index_ = index;
  version_ = resource_->versions[index];
  decoder_.emplace(*resource_, version_);
}

void Reflector::Impl::enter(State state) {
  if (state_ != state) {
    state_ = state;
    changed_ = true;
    schedule();
  }
}

std::string Reflector::Impl::purpose(std::string_view verb) const {
  std::string text(verb);
  text += " " + resource_->plural;
  if (!resource_->group.empty()) {
    text += "." + resource_->group;
  }
  return options_.ns.empty() ? text : text + " in " + options_.ns;
}

std::string Reflector::Impl::path(std::string_view query) const {
  std::string result = resource_path(*resource_, version_, options_.ns);
  result += "?" + std::string(query);
  if (!options_.label_selector.empty()) {
    result += "&labelSelector=" + url_escape(options_.label_selector);
  }
  if (!options_.field_selector.empty()) {
    result += "&fieldSelector=" + url_escape(options_.field_selector);
  }
  return result;
}

void Reflector::Impl::start() {
  if (state_ != State::kStopped) {
    return;
  }
  schedule();
  if (listed_) {
    watch();
  } else {
    list();
  }
}

void Reflector::Impl::stop() {
  call_.cancel();
  timer_.cancel();
  state_ = State::kStopped;
}

void Reflector::Impl::schedule() {
  if (std::exchange(scheduled_, true)) {
    return;
  }
  client_->loop().defer([weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->flush();
    }
  });
}

// The only place that calls the owner, which may call any member then.
void Reflector::Impl::flush() {
  scheduled_ = false;
  if (state_ == State::kStopped) {
    return;
  }
  if (!pending_.empty()) {
    stats_.events += pending_.size();
    handler_(std::exchange(pending_, {}));
  }
  if (state_ == State::kStopped) {
    return;
  }
  if (complete_ && !synced_) {
    synced_ = true;
    changed_ = true;
  }
  if (std::exchange(changed_, false) && options_.on_change) {
    options_.on_change();
  }
}

void Reflector::Impl::emit(Event event) {
  stats_.decode_errors += event.type == Event::Type::kInvalid ? 1 : 0;
  pending_.push_back(std::move(event));
  schedule();
}

// Passes the event on if it is new.
void Reflector::Impl::apply(Event event) {
  if (known_.apply(event)) {
    emit(std::move(event));
  }
}

void Reflector::Impl::retry_later(const ApiError& error, void (Impl::*what)()) {
  ++stats_.failures;
  error_ = error.message;
  enter(State::kWaiting);
  milliseconds delay = backoff_.next();
  if (error.retry_after) {
    delay = std::max<milliseconds>(
        delay,
        std::min<milliseconds>(*error.retry_after, options_.backoff_cap));
  }
  timer_ = client_->loop().after(delay, [this, what] { (this->*what)(); });
}

void Reflector::Impl::relist(const ApiError& error) {
  listed_ = false;
  consistent_ = consistent_ || is_too_new(error);
  retry_later(error, &Impl::list);
}

// The first list is read from the storage: a server's cache may be older than
// the state of the previous process, and nodes would revert to it. A later list
// must not be older than the known state, and must be read from the storage if
// the server has just rejected our version as unknown.
std::string Reflector::Impl::list_query() const {
  const std::string limit =
      in_one_ ? "" : "limit=" + std::to_string(options_.page_size) + "&";
  if (!continue_.empty()) {
    return limit + "continue=" + url_escape(continue_);
  }
  if (consistent_ || resource_version_.empty()) {
    return limit.empty() ? "limit=0" : limit.substr(0, limit.size() - 1);
  }
  return limit + "resourceVersion=" + url_escape(resource_version_) +
         "&resourceVersionMatch=NotOlderThan";
}

void Reflector::Impl::list() {
  // While a kind is not installed, another attempt is not reported.
  if (state_ != State::kNotInstalled) {
    enter(State::kListing);
  }
  ++stats_.lists;
  stats_.relists += complete_ ? 1 : 0;
  known_.begin_list();
  continue_.clear();
  next_page();
}

void Reflector::Impl::next_page() {
  page_items_ = 0;
  splitter_.emplace([this](std::string_view item) { return take_item(item); },
                    options_.max_object);
  call_ = client_->stream(
      {.path = path(list_query()),
       .body = {},
       .purpose = purpose("list"),
       .timeout = kListTimeout,
       .longest = options_.page_longest},
      {.on_data =
           [this](std::string_view bytes) {
             stats_.bytes += bytes.size();
             return splitter_->feed(bytes);
           },
       .on_end =
           [this](ApiResult<void> result) { page_done(std::move(result)); }});
}

Result<void> Reflector::Impl::take_item(std::string_view item) {
  auto event = decoder_->list_item(item);
  if (!event) {
    return std::unexpected(with_context("an item", event.error()).error());
  }
  ++page_items_;
  apply(std::move(*event));
  return {};
}

void Reflector::Impl::page_done(ApiResult<void> result) {
  if (!result) {
    list_failed(result.error());
    return;
  }
  const auto head = splitter_->finish();
  const bool stuck = head && !head->continue_token.empty() && page_items_ == 0;
  if (!head || stuck) {
    list_failed(
        {.status = 0,
         .reason = {},
         .message = purpose("list") + ": " +
                    (stuck ? "a page without items" : head.error().message),
         .retry_after = std::nullopt});
    return;
  }
  if (!head->continue_token.empty()) {
    continue_ = head->continue_token;
    next_page();
    return;
  }
  list_done(head->resource_version);
}

void Reflector::Impl::forget_unlisted() {
  for (auto& event : known_.take_unlisted(*resource_)) {
    emit(std::move(event));
  }
}

void Reflector::Impl::list_done(const std::string& resource_version) {
  // A new kind may have become available between the request for its newest
  // version and the one for an older version.
  if (resource_->custom && version_index_ > 0 && !older_confirmed_) {
    older_confirmed_ = true;
    versions_absent_ = 0;
    use_version(0);
    list();
    return;
  }
  forget_unlisted();
  resource_version_ = resource_version;
  listed_ = true;
  complete_ = true;
  consistent_ = false;
  in_one_ = false;
  versions_absent_ = 0;
  absent_since_.reset();
  error_.clear();
  schedule();
  watch();
}

void Reflector::Impl::list_failed(const ApiError& error) {
  if (error.status == 404) {
    absent(error);
    return;
  }
  versions_absent_ = 0;
  absent_since_.reset();
  if (error.status == 410 && !continue_.empty() && !in_one_) {
    // The pages were requested too slowly, and the server's token expired.
    ++stats_.failures;
    error_ = error.message;
    in_one_ = true;
    consistent_ = true;
    list();
    return;
  }
  consistent_ = consistent_ || error.status == 410 || is_too_new(error);
  retry_later(error, &Impl::list);
}

void Reflector::Impl::absent(const ApiError& error) {
  ++versions_absent_;
  use_version((version_index_ + 1) % resource_->versions.size());
  if (versions_absent_ < resource_->versions.size()) {
    list();
    return;
  }
  versions_absent_ = 0;
  older_confirmed_ = false;
  ++stats_.failures;
  error_ = error.message;
  const auto now = Clock::now();
  absent_since_ = absent_since_.value_or(now);
  if (now - *absent_since_ >= absent_confirm()) {
    confirm_absent();
  } else if (resource_->custom && !complete_) {
    ask_for_definition();
  } else {
    recheck_absent();
  }
}

milliseconds Reflector::Impl::absent_confirm() const {
  return known_.empty() ? options_.absent_confirm
                        : options_.absent_confirm_known;
}

// After its start, a server answers 404 for a defined kind for some time. The
// definition itself is read from the storage: if it does not exist, there are
// no objects either.
void Reflector::Impl::ask_for_definition() {
  call_ = client_->send({.path = definition_path(*resource_), .body = {}},
                        [this](const ApiResult<Response>& definition) {
                          if (!definition && definition.error().status == 404 &&
                              definition.error().reason == "NotFound") {
                            confirm_absent();
                          } else {
                            recheck_absent();
                          }
                        });
}

void Reflector::Impl::confirm_absent() {
  known_.begin_list();
  forget_unlisted();
  complete_ = true;
  schedule();
  enter(State::kNotInstalled);
  timer_ = client_->loop().after(
      jitter(options_.absent_poll_min, options_.absent_poll_max),
      [this] { list(); });
}

void Reflector::Impl::recheck_absent() {
  if (state_ != State::kNotInstalled) {
    enter(State::kWaiting);
  }
  const auto confirm = absent_confirm();
  timer_ = client_->loop().after(
      std::min(jitter(confirm / 4, confirm / 2), options_.absent_poll_max),
      [this] { list(); });
}

void Reflector::Impl::watch() {
  enter(State::kWatching);
  ++stats_.watches;
  watch_since_ = Clock::now();
  lines_.emplace([this](std::string_view line) { return take_line(line); },
                 options_.max_object);
  told_.reset();
  broken_ = false;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(
      jitter(options_.watch_min, options_.watch_max));
  const std::string query =
      "watch=true&allowWatchBookmarks=true&resourceVersion=" +
      url_escape(resource_version_) +
      "&timeoutSeconds=" + std::to_string(seconds.count());
  call_ = client_->stream(
      {.path = path(query),
       .body = {},
       .purpose = purpose("watch"),
       .silence = options_.silence,
       .longest = seconds + options_.watch_overdue},
      {.on_data =
           [this](std::string_view bytes) {
             stats_.bytes += bytes.size();
             auto fed = lines_->feed(bytes);
             broken_ = !fed && !told_;
             return fed;
           },
       .on_end =
           [this](ApiResult<void> result) { watch_done(std::move(result)); }});
}

Result<void> Reflector::Impl::take_line(std::string_view line) {
  auto decoded = decoder_->watch_line(line);
  if (!decoded) {
    return std::unexpected(
        with_context("a watch event", decoded.error()).error());
  }
  error_.clear();
  if (decoded->type == WatchLine::Type::kError) {
    told_ = ApiError{.status = decoded->status,
                     .reason = decoded->reason,
                     .causes = decoded->causes,
                     .message = purpose("watch") + ": " +
                                std::to_string(decoded->status) + " " +
                                decoded->reason + ": " + decoded->message,
                     .retry_after = std::nullopt};
    return fail(told_->message);
  }
  if (!decoded->event.resource_version.empty()) {
    resource_version_ = decoded->event.resource_version;
  }
  if (decoded->type == WatchLine::Type::kBookmark) {
    ++stats_.bookmarks;
  } else {
    apply(std::move(decoded->event));
  }
  return {};
}

void Reflector::Impl::watch_done(ApiResult<void> result) {
  const auto lived = Clock::now() - watch_since_;
  if (lived >= options_.stable) {
    backoff_.reset();
  }
  lines_.reset();
  if (result) {
    if (lived >= kShortWatch) {
      watch();
      return;
    }
    retry_later({.status = 0,
                 .reason = {},
                 .message = purpose("watch") + ": ended at once",
                 .retry_after = std::nullopt},
                &Impl::watch);
    return;
  }
  const ApiError error = told_ ? *told_ : result.error();
  // Errors after which a later attempt with the same version may succeed.
  const bool passing = error.status == 0 || error.status == 401 ||
                       error.status == 403 || error.status == 429 ||
                       error.status >= 500;
  if (broken_ || !passing || is_too_new(error)) {
    relist(error);
    return;
  }
  retry_later(error, &Impl::watch);
}

Reflector::Reflector(Client& client, const Resource& resource, Handler handler,
                     ReflectorOptions options)
    : impl_(std::make_shared<Impl>(client, resource, std::move(handler),
                                   std::move(options))) {}

Reflector::~Reflector() {
  impl_->stop();
}

void Reflector::start() {
  impl_->start();
}

void Reflector::stop() {
  impl_->stop();
}

Reflector::State Reflector::state() const {
  return impl_->state();
}

bool Reflector::synced() const {
  return impl_->synced();
}

const std::string& Reflector::error() const {
  return impl_->error();
}

const ReflectorStats& Reflector::stats() const {
  return impl_->stats();
}

const Resource& Reflector::resource() const {
  return impl_->resource();
}

const std::string& Reflector::version() const {
  return impl_->version();
}

std::size_t Reflector::size() const {
  return impl_->size();
}

std::string_view to_string(Reflector::State state) {
  switch (state) {
    case Reflector::State::kStopped:
      return "stopped";
    case Reflector::State::kListing:
      return "listing";
    case Reflector::State::kWatching:
      return "watching";
    case Reflector::State::kWaiting:
      return "waiting";
    case Reflector::State::kNotInstalled:
      return "not installed";
  }
  return "";
}

}  // namespace sluice::kube
