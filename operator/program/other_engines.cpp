// SPDX-License-Identifier: Apache-2.0
#include "operator/program/other_engines.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "lib/base/loop.h"
#include "lib/kube/api/json_fields.h"
#include "lib/kube/api/requests.h"

namespace sluice::operatord {
namespace {

using kube::ApiResult;
using nlohmann::json;

// A definition that comes later is found after this time.
constexpr std::chrono::milliseconds kScanInterval{60'000};

struct OtherKind {
  std::string_view group;
  std::string_view kind;
};
constexpr std::array kOtherKinds{
    OtherKind{"policy.networking.k8s.io", "AdminNetworkPolicy"},
    OtherKind{"policy.networking.k8s.io", "BaselineAdminNetworkPolicy"},
    OtherKind{"crd.projectcalico.org", "NetworkPolicy"},
    OtherKind{"crd.projectcalico.org", "GlobalNetworkPolicy"},
    OtherKind{"projectcalico.org", "NetworkPolicy"},
    OtherKind{"projectcalico.org", "GlobalNetworkPolicy"},
    OtherKind{"crd.antrea.io", "NetworkPolicy"},
    OtherKind{"crd.antrea.io", "ClusterNetworkPolicy"},
    OtherKind{"networking.k8s.aws", "ApplicationNetworkPolicy"},
    OtherKind{"networking.k8s.aws", "ClusterNetworkPolicy"},
};

const json& list_of(const json& object, const char* name) {
  static const json none = json::array();
  const auto found = object.find(name);
  return found != object.end() && found->is_array() ? *found : none;
}

}  // namespace

struct OtherEngines::Impl {
  kube::Client* client = nullptr;
  std::string ns;
  std::string instance;
  bool leads = false;
  std::deque<std::string> paths;  // to be asked
  std::deque<kube::EventNote> notes;
  std::set<std::string> told;  // "plural.group"
  kube::Call call;
  Timer timer;

  void scan();
  void run_next();
  void take_group(const json& group);
  void take_resources(const json& resources);
};

// Every group first, then what its versions serve. A group that is not there is
// an answer as well.
void OtherEngines::Impl::scan() {
  std::set<std::string_view> groups;
  for (const auto& each : kOtherKinds) {
    groups.insert(each.group);
  }
  for (const auto group : groups) {
    paths.push_back("/apis/" + std::string(group));
  }
  run_next();
}

void OtherEngines::Impl::run_next() {
  if (!notes.empty()) {
    const auto note = std::move(notes.front());
    notes.pop_front();
    call =
        kube::create_event(*client, note, [this](const ApiResult<json>& made) {
          if (!made) {
            spdlog::warn("event: {}", made.error().message);
          }
          run_next();
        });
    return;
  }
  if (paths.empty()) {
    timer = client->loop().after(kScanInterval, [this] { scan(); });
    return;
  }
  const auto path = std::move(paths.front());
  paths.pop_front();
  call = kube::get_object(*client, path, [this](const ApiResult<json>& answer) {
    if (answer && kube::text_of(*answer, "kind") == "APIGroup") {
      take_group(*answer);
    } else if (answer) {
      take_resources(*answer);
    }
    run_next();
  });
}

void OtherEngines::Impl::take_group(const json& group) {
  for (const auto& version : list_of(group, "versions")) {
    if (version.is_object()) {
      paths.push_back("/apis/" + kube::text_of(version, "groupVersion"));
    }
  }
}

void OtherEngines::Impl::take_resources(const json& resources) {
  const auto version = kube::text_of(resources, "groupVersion");
  const auto group = version.substr(0, version.find('/'));
  for (const auto& resource : list_of(resources, "resources")) {
    if (!resource.is_object()) {
      continue;
    }
    const auto kind = kube::text_of(resource, "kind");
    const auto plural = kube::text_of(resource, "name");
    auto definition = plural;
    definition.append(".").append(group);
    const bool other = std::ranges::any_of(kOtherKinds, [&](const auto& each) {
      return each.group == group && each.kind == kind;
    });
    if (!other || plural.contains('/') || !told.insert(definition).second) {
      continue;
    }
    auto message = kind;
    message.append(" of ").append(group).append(
        " is installed, but Sluice does not enforce it: such policies have no "
        "effect");
    spdlog::warn("{}", message);
    notes.push_back({.reason = "NotEnforced",
                     .message = message,
                     .api_version = "v1",
                     .kind = "Service",
                     .ns = ns,
                     .name = "sluice-operator",
                     .instance = instance});
  }
}

OtherEngines::OtherEngines(kube::Client& client, std::string ns,
                           std::string instance)
    : impl_(std::make_unique<Impl>()) {
  impl_->client = &client;
  impl_->ns = std::move(ns);
  impl_->instance = std::move(instance);
}

OtherEngines::~OtherEngines() = default;

void OtherEngines::set_leading(bool leads) {
  auto& impl = *impl_;
  if (std::exchange(impl.leads, leads) == leads) {
    return;
  }
  impl.paths.clear();
  impl.notes.clear();
  impl.call = {};
  impl.timer = {};
  if (leads) {
    impl.scan();
  }
}

}  // namespace sluice::operatord
