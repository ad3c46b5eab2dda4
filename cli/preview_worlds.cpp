// SPDX-License-Identifier: Apache-2.0
#include "cli/preview_worlds.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <strings.h>

#include "cli/host.h"
#include "cli/sources.h"
#include "cli/standard_input.h"
#include "lib/base/suggestion.h"
#include "operator/object.h"

namespace sluice::cli {
namespace {

using Keys = std::set<op::ObjectKey>;

Result<std::vector<Source>> read_change(
    const std::vector<std::filesystem::path>& files) {
  std::vector<Source> result;
  for (const auto& file : files) {
    auto sources = read_sources(file);
    if (!sources) {
      return std::unexpected(sources.error());
    }
    const bool empty = std::ranges::all_of(*sources, [](const Source& source) {
      return source.unreadable.empty() && source.manifest.objects.empty() &&
             source.manifest.errors.empty();
    });
    if (empty) {
      return fail("-f: " + file.string() + " has no Kubernetes objects");
    }
    std::ranges::move(*sources, std::back_inserter(result));
  }
  return result;
}

// Of all objects that can be identified.
Keys keys_of(const std::vector<Source>& sources) {
  Keys keys;
  for (const auto& source : sources) {
    for (const auto& object : source.manifest.objects) {
      if (auto key = op::identify(*object.object)) {
        keys.insert(std::move(*key));
      }
    }
  }
  return keys;
}

// The kind may be in any case, as for kubectl.
bool is_meant(const op::ObjectKey& key, const std::string& text) {
  const auto name = to_string(key);
  const auto slash = name.find('/');
  return text.size() == name.size() &&
         ::strncasecmp(text.c_str(), name.c_str(), slash) == 0 &&
         text.compare(slash, std::string::npos, name, slash) == 0;
}

Result<Keys> find_deleted(const std::vector<std::string>& texts,
                          const Keys& known, const Keys& replaced) {
  Keys keys;
  for (const auto& text : texts) {
    const auto found = std::ranges::find_if(
        known, [&](const op::ObjectKey& key) { return is_meant(key, text); });
    if (found == known.end()) {
      std::vector<std::string> names;
      names.reserve(known.size());
      for (const auto& key : known) {
        names.push_back(to_string(key));
      }
      return fail("--delete: there is no object \"" + text +
                  "\" in what --against names (KIND/NAMESPACE/NAME, or "
                  "KIND/NAME for what is in no namespace)" +
                  did_you_mean(text, names));
    }
    if (replaced.contains(*found)) {
      return fail("--delete: " + to_string(*found) + " is in -f, too");
    }
    keys.insert(*found);
  }
  return keys;
}

// The sources of the world after the change.
std::vector<Source> changed(std::vector<Source> sources,
                            const std::vector<Source>& change,
                            const Keys& gone) {
  for (auto& source : sources) {
    std::erase_if(source.manifest.objects,
                  [&](const kube::ManifestObject& object) {
                    const auto key = op::identify(*object.object);
                    return key && gone.contains(*key);
                  });
  }
  for (const auto& added : change) {
    const auto same = std::ranges::find(sources, added.name, &Source::name);
    if (same == sources.end()) {
      sources.push_back(added);
    } else {  // a file of both
      auto& objects = same->manifest.objects;
      objects.insert(objects.end(), added.manifest.objects.begin(),
                     added.manifest.objects.end());
    }
  }
  return sources;
}

void set_sources(Cluster& cluster, const std::vector<Source>& sources) {
  for (const auto& source : sources) {
    set_source(cluster, source);
  }
  cluster.store().set_local_node(
      {.name = host_name(), .labels = {}, .ips = {}});
  cluster.store().commit();
}

std::map<policy::PolicyKey, const policy::Policy*> policies_of(
    const Cluster& cluster) {
  std::map<policy::PolicyKey, const policy::Policy*> policies;
  for (const auto& [file, input] : cluster.inputs()) {
    for (const auto& object : input.policies) {
      policies.try_emplace(object.policy.key, &object.policy);
    }
  }
  return policies;
}

std::set<policy::PolicyKey> changed_policies(const Cluster& change,
                                             const Cluster& before) {
  std::set<policy::PolicyKey> keys;
  const auto earlier = policies_of(before);
  for (const auto& [key, policy] : policies_of(change)) {
    const auto same = earlier.find(key);
    if (same == earlier.end() || *same->second != *policy) {
      keys.insert(key);
    }
  }
  return keys;
}

}  // namespace

preview::World world_of(const Cluster& cluster) {
  return {.translator = &cluster.translator(),
          .pods = names_of_pods(cluster.store())};
}

Result<PreviewWorlds> read_worlds(const PreviewInput& input) {
  auto paths = input.files;
  paths.push_back(input.against);
  paths.push_back(input.flows);
  if (std::ranges::count(paths, std::filesystem::path(kStandardInput)) > 1) {
    return fail("the standard input (-) can be given once only");
  }
  const auto change = read_change(input.files);
  if (!change) {
    return std::unexpected(change.error());
  }
  auto sources = read_sources(input.against);
  if (!sources) {
    return std::unexpected(sources.error());
  }
  PreviewWorlds worlds;
  Cluster alone;
  set_sources(alone, *change);
  worlds.problems = alone.errors();
  worlds.refused = !worlds.problems.empty();
  if (worlds.refused) {
    return worlds;
  }
  worlds.problems = alone.policy_list().problems;
  auto gone = keys_of(*change);
  auto deleted = find_deleted(input.deletes, keys_of(*sources), gone);
  if (!deleted) {
    return std::unexpected(deleted.error());
  }
  gone.merge(*deleted);
  set_sources(worlds.before, *sources);
  set_sources(worlds.after, changed(std::move(*sources), *change, gone));
  worlds.changed = changed_policies(alone, worlds.before);
  return worlds;
}

}  // namespace sluice::cli
