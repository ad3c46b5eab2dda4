// SPDX-License-Identifier: Apache-2.0
#include "operator/program/kept_versions.h"

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "lib/base/loop.h"
#include "lib/kube/api/backoff.h"
#include "lib/kube/api/event.h"
#include "lib/kube/api/reflector.h"
#include "lib/kube/api/requests.h"
#include "lib/kube/api/resource.h"
#include "lib/policy/hash.h"

namespace sluice::operatord {
namespace {

using kube::ApiResult;
using nlohmann::json;
using op::ObjectKey;

// The API server takes a mebibyte, with names and all.
constexpr std::size_t kMost = 900'000;
constexpr std::size_t kKeyMost = 253;
constexpr const char* kLabel = "sluice.io/kept-versions";
constexpr const char* kPrefix = "sluice-kept";
constexpr int kNotFound = 404;
constexpr int kConflict = 409;
constexpr std::chrono::milliseconds kRetryFirst{500};
constexpr std::chrono::milliseconds kRetryMost{30'000};

using Data = std::map<std::string, std::string>;

const kube::Resource& config_maps() {
  static const kube::Resource resource{.group = {},
                                       .versions = {"v1"},
                                       .plural = "configmaps",
                                       .kind = "ConfigMap",
                                       .shape = kube::Shape::kJson,
                                       .namespaced = true};
  return resource;
}

std::string map_name(const std::string& ns) {
  return ns.empty() ? kPrefix : std::string(kPrefix) + "." + ns;
}

// Key in a map's data.
std::string data_key(const ObjectKey& key) {
  auto text = key.kind + "." + key.name;
  return text.size() <= kKeyMost
             ? text
             : key.kind + "." +
                   std::to_string(policy::StableHash().add(key.name).value());
}

std::size_t size_of(const Data& data) {
  std::size_t size = 0;
  for (const auto& [key, value] : data) {
    size += key.size() + value.size();
  }
  return size;
}

Data data_of(const json& object) {
  Data data;
  const auto found = object.find("data");
  if (found != object.end() && found->is_object()) {
    for (const auto& [key, value] : found->items()) {
      if (value.is_string()) {
        data.emplace(key, value.get<std::string>());
      }
    }
  }
  return data;
}

}  // namespace

struct KeptVersions::Impl {
  struct Map {
    Data wanted;
    Data there;
    bool exists = false;
    bool busy = false;
    std::string told_problem;
    kube::Call call;
    kube::Backoff backoff{kRetryFirst, kRetryMost};
    Timer retry;
  };

  kube::Client* client = nullptr;
  op::ClusterStore* store = nullptr;
  std::string ns;
  std::function<void()> on_change;
  std::unique_ptr<kube::Reflector> reflector;
  std::map<std::string, Map> maps;  // by name
  bool settled = false;
  std::string told_error;

  void take(const kube::Event& event);
  void tell(const Data& before, const Data& now, bool& told) const;
  void write(const std::string& name);
  void done(const std::string& name, const Data& written, bool exists,
            const std::optional<kube::ApiError>& error);
};

void KeptVersions::Impl::tell(const Data& before, const Data& now,
                              bool& told) const {
  for (const auto& [key, value] : now) {
    const auto old = before.find(key);
    if (old == before.end() || old->second != value) {
      told = store->take_kept(value) || told;
    }
  }
}

void KeptVersions::Impl::take(const kube::Event& event) {
  auto& map = maps[event.name];
  const auto before = std::exchange(map.there, {});
  map.exists = event.type == kube::Event::Type::kSet;
  bool told = false;
  if (map.exists) {
    map.there = data_of(*std::get<kube::Event::Json>(event.object));
    tell(before, map.there, told);
  }
  if (told) {
    on_change();
  }
  write(event.name);
}

void KeptVersions::Impl::write(const std::string& name) {
  auto& map = maps[name];
  if (!settled || map.busy || map.wanted == map.there) {
    return;
  }
  map.busy = true;
  const auto reply = [this, name, data = map.wanted](
                         bool exists, const ApiResult<json>& answer) {
    done(name, data, exists,
         answer ? std::nullopt : std::optional(answer.error()));
  };
  const auto path = kube::config_map_path(ns, name);
  if (map.wanted.empty()) {
    map.call = kube::delete_object(
        *client, path,
        [reply](const ApiResult<json>& answer) { reply(false, answer); });
    return;
  }
  const json object{
      {"apiVersion", "v1"},
      {"kind", "ConfigMap"},
      {"metadata",
       {{"name", name},
        {"namespace", ns},
        {"labels",
         {{kLabel, "true"}, {"app.kubernetes.io/part-of", "sluice"}}}}},
      {"data", map.wanted}};
  const auto stored = [reply](const ApiResult<json>& answer) {
    reply(true, answer);
  };
  map.call = map.exists
                 ? kube::replace_object(*client, path, object, stored)
                 : kube::create_object(*client, kube::config_map_path(ns),
                                       object, stored);
}

void KeptVersions::Impl::done(const std::string& name, const Data& written,
                              bool exists,
                              const std::optional<kube::ApiError>& error) {
  auto& map = maps[name];
  map.busy = false;
  if (!error || (error->status == kNotFound && !exists)) {
    map.there = written;
    map.exists = exists;
    map.backoff.reset();
    map.told_problem.clear();
    write(name);
    return;
  }
  if (error->status == kNotFound || error->status == kConflict) {
    map.exists = error->status == kConflict;
  }
  if (map.told_problem != error->message) {
    map.told_problem = error->message;
    spdlog::warn("ConfigMap {}/{}: {}", ns, name, error->message);
  }
  map.retry =
      client->loop().after(map.backoff.next(), [this, name] { write(name); });
}

KeptVersions::KeptVersions(kube::Client& client, op::ClusterStore& store,
                           std::string ns, std::function<void()> on_change)
    : impl_(std::make_unique<Impl>()) {
  impl_->client = &client;
  impl_->store = &store;
  impl_->ns = std::move(ns);
  impl_->on_change = std::move(on_change);
  kube::ReflectorOptions options;
  options.ns = impl_->ns;
  options.label_selector = std::string(kLabel) + "=true";
  options.on_change = [impl = impl_.get()] {
    const auto& error = impl->reflector->error();
    if (!error.empty() && impl->told_error != error) {
      spdlog::warn("{}; earlier versions that are kept are not known", error);
    }
    impl->told_error = error;
    impl->on_change();
  };
  impl_->reflector = std::make_unique<kube::Reflector>(
      client, config_maps(),
      [impl = impl_.get()](const std::vector<kube::Event>& events) {
        for (const auto& event : events) {
          impl->take(event);
        }
      },
      std::move(options));
}

KeptVersions::~KeptVersions() = default;

void KeptVersions::start() {
  impl_->reflector->start();
}

bool KeptVersions::ready() const {
  return impl_->reflector->synced() || !impl_->reflector->error().empty();
}

const std::string& KeptVersions::problem() const {
  return impl_->reflector->error();
}

bool KeptVersions::want(const op::PolicyObject& object, std::string kept) {
  const auto name = map_name(object.key.ns);
  const auto found = impl_->maps.find(name);
  if (found == impl_->maps.end() && kept.empty()) {
    return true;
  }
  auto& map = impl_->maps[name];
  const auto key = data_key(object.key);
  const auto there = map.there.find(key);
  // Nothing is dropped while the newest version is not valid: another replica
  // may be able to use it, and whether the status has room is learnt by
  // writing.
  if (kept.empty() && !object.valid && there != map.there.end()) {
    kept = there->second;
  }
  const auto now = map.wanted.find(key);
  if (now == map.wanted.end() ? kept.empty() : now->second == kept) {
    return true;
  }
  if (now != map.wanted.end()) {
    map.wanted.erase(now);
  }
  const bool fits = size_of(map.wanted) + key.size() + kept.size() <= kMost;
  if (!fits && there != map.there.end()) {
    kept = there->second;
  }
  if (!kept.empty() && (fits || there != map.there.end())) {
    map.wanted.emplace(key, std::move(kept));
  }
  impl_->write(name);
  return fits;
}

void KeptVersions::forget(const ObjectKey& key) {
  const auto name = map_name(key.ns);
  const auto found = impl_->maps.find(name);
  if (found != impl_->maps.end() &&
      found->second.wanted.erase(data_key(key)) != 0) {
    impl_->write(name);
  }
}

void KeptVersions::settle() {
  if (std::exchange(impl_->settled, true)) {
    return;
  }
  for (const auto& [name, map] : impl_->maps) {
    impl_->write(name);
  }
}

void KeptVersions::stop() {
  impl_->settled = false;
  for (auto& [name, map] : impl_->maps) {
    map.wanted.clear();
    map.call = {};
    map.busy = false;
  }
}

}  // namespace sluice::operatord
