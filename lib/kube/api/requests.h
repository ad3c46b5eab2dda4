// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "lib/kube/api/client.h"

// Requests about single objects, as JSON. Any path of resource_path() can be
// used: Secrets, ConfigMaps, Leases, the status of a policy.
//
//   Call call = patch_object(client, resource_path(cilium_network_policies(),
//       "v2", ns, name, "status"), Patch::kApply, body, "sluice-operator",
//       ...);
//
// As with Client::send(): one callback from Loop::dispatch(), none after the
// Call is destroyed.
namespace sluice::kube {

using ObjectReply = std::function<void(ApiResult<nlohmann::json>)>;

enum class Patch : std::uint8_t {
  kMerge,  // RFC 7386: null removes, lists are replaced
  kApply,  // server-side apply, forced: the fields given are this manager's
};

// Sends a request whose answer is a JSON object. Any other answer is an error.
Call send_object(Client& client, Request request, ObjectReply reply);
// A missing object gives an error with status 404.
Call get_object(Client& client, std::string_view path, ObjectReply reply);
// `collection` is the path without a name. An existing object gives status 409.
Call create_object(Client& client, std::string_view collection,
                   const nlohmann::json& object, ObjectReply reply);
// With metadata.resourceVersion in `object`: status 409 if the object has
// changed since.
Call replace_object(Client& client, std::string_view path,
                    const nlohmann::json& object, ObjectReply reply);
Call patch_object(Client& client, std::string_view path, Patch patch,
                  const nlohmann::json& body, std::string_view field_manager,
                  ObjectReply reply);
Call delete_object(Client& client, std::string_view path, ObjectReply reply);

// Returns the time as the API server's MicroTime:
// "2006-01-02T15:04:05.000000Z".
std::string micro_time(std::chrono::system_clock::time_point time);

// "/api/v1/namespaces/NS/secrets[/NAME]", likewise config maps.
std::string secret_path(std::string_view ns, std::string_view name = {});
std::string config_map_path(std::string_view ns, std::string_view name = {});

// RFC 4648 with padding, as in the data of Secrets. Decoding skips line ends;
// nullopt if the text is not base64.
std::string base64_encode(std::string_view bytes);
std::optional<std::string> base64_decode(std::string_view text);

// An event for users about an object, as `kubectl describe` shows it.
struct EventNote {
  bool warning = true;
  std::string reason;   // CamelCase
  std::string message;  // cut at 1024 bytes, which is what the server takes
  std::string action = "Enforce";  // what was being done
  // The object.
  std::string api_version;
  std::string kind;
  std::string ns;  // empty: the event goes to "default"
  std::string name;
  std::string uid;
  std::string resource_version;
  // The reporter.
  std::string controller = "sluice.io/operator";
  std::string instance;  // the pod's name
};
// Creates it as events.k8s.io/v1, about a cluster-wide object in the namespace
// kube-system.
Call create_event(Client& client, const EventNote& note, ObjectReply reply);

// The owner of a token.
struct TokenIdentity {
  std::string username;  // "system:serviceaccount:NS:NAME"
  std::string uid;
  std::vector<std::string> groups;
  // "authentication.kubernetes.io/node-name", ".../pod-name", ...
  std::map<std::string, std::vector<std::string>, std::less<>> extra;
  std::vector<std::string> audiences;
};
// A token that is not (or no longer) valid for one of the audiences is an error
// with status 401 and reason "InvalidToken". Other errors give no information
// about the token.
Call review_token(Client& client, std::string_view token,
                  const std::vector<std::string>& audiences,
                  std::function<void(ApiResult<TokenIdentity>)> reply);

// What somebody wants to do to resources. `ns` empty: in all namespaces.
struct Access {
  std::string group;
  std::string resource;
  std::string verb;
  std::string ns;
};
// Asks by SubjectAccessReview whether they may.
Call review_access(Client& client, const TokenIdentity& who,
                   const Access& access,
                   std::function<void(ApiResult<bool>)> reply);

}  // namespace sluice::kube
