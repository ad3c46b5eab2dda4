// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/requests.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/kube/api/resource.h"
#include "lib/kube/field.h"

namespace sluice::kube {
namespace {

using nlohmann::json;

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::size_t kMaxNote = 1024;
constexpr std::size_t kMaxWord = 128;

// Returns text that the server accepts: valid UTF-8, at most `limit` bytes.
std::string cut(std::string_view text, std::size_t limit) {
  if (text.size() > limit) {
    text = text.substr(0, limit - 3);
    while (!text.empty() &&
           (static_cast<unsigned char>(text.back()) & 0xc0U) == 0x80U) {
      text.remove_suffix(1);
    }
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0x80U) {
      text.remove_suffix(1);
    }
    return std::string(text) + "...";
  }
  return std::string(text);
}

// Invalid UTF-8 must not throw.
std::string to_text(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::vector<std::string> strings_of(const json& object, const char* name) {
  std::vector<std::string> result;
  const auto found = object.find(name);
  if (found != object.end() && found->is_array()) {
    for (const json& element : *found) {
      if (element.is_string()) {
        result.push_back(element.get<std::string>());
      }
    }
  }
  return result;
}

std::string string_of(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>()
                                                     : std::string();
}

const json& member_of(const json& object, const char* name) {
  static const json none = json::object();
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() && found->is_object()
             ? *found
             : none;
}

std::unexpected<ApiError> refused(std::string_view why) {
  return std::unexpected(
      ApiError{.status = 401,
               .reason = "InvalidToken",
               .causes = {},
               .message = "token review: " + std::string(why),
               .retry_after = std::nullopt});
}

ApiResult<TokenIdentity> read_review(
    const json& review, const std::vector<std::string>& audiences) {
  const json& status = member_of(review, "status");
  const auto good = status.find("authenticated");
  if (good == status.end() || !good->is_boolean() || !good->get<bool>()) {
    const std::string why = string_of(status, "error");
    return refused(why.empty() ? "the token is not valid"
                               : printable(why, 512));
  }
  const json& user = member_of(status, "user");
  TokenIdentity identity{.username = string_of(user, "username"),
                         .uid = string_of(user, "uid"),
                         .groups = strings_of(user, "groups"),
                         .extra = {},
                         .audiences = strings_of(status, "audiences")};
  const json& extra = member_of(user, "extra");
  for (const auto& [key, values] : extra.items()) {
    identity.extra.emplace(key, strings_of(extra, key.c_str()));
  }
  // An authenticator without audiences returns none: the token is then for the
  // API server itself, not for us.
  if (!audiences.empty() &&
      std::ranges::find_first_of(identity.audiences, audiences) ==
          identity.audiences.end()) {
    return refused("the token is not meant for " + in_quotes(audiences[0]));
  }
  return identity;
}

}  // namespace

Call send_object(Client& client, Request request, ObjectReply reply) {
  std::string purpose = request.purpose;
  if (purpose.empty()) {
    purpose = request.path.substr(0, request.path.find('?'));
  }
  return client.send(std::move(request), [purpose = std::move(purpose),
                                          reply = std::move(reply)](
                                             ApiResult<Response> response) {
    if (!response) {
      reply(std::unexpected(std::move(response.error())));
      return;
    }
    json object = json::parse(response->body, nullptr, false);
    if (!object.is_object()) {
      reply(std::unexpected(
          ApiError{.status = 0,
                   .reason = {},
                   .causes = {},
                   .message = purpose + ": the answer is no JSON object",
                   .retry_after = std::nullopt}));
      return;
    }
    reply(std::move(object));
  });
}

Call get_object(Client& client, std::string_view path, ObjectReply reply) {
  return send_object(client, {.path = std::string(path)}, std::move(reply));
}

Call create_object(Client& client, std::string_view collection,
                   const json& object, ObjectReply reply) {
  return send_object(client,
                     {.method = Method::kPost,
                      .path = std::string(collection),
                      .body = to_text(object)},
                     std::move(reply));
}

Call replace_object(Client& client, std::string_view path, const json& object,
                    ObjectReply reply) {
  return send_object(client,
                     {.method = Method::kPut,
                      .path = std::string(path),
                      .body = to_text(object)},
                     std::move(reply));
}

Call patch_object(Client& client, std::string_view path, Patch patch,
                  const json& body, std::string_view field_manager,
                  ObjectReply reply) {
  std::string full(path);
  full += "?fieldManager=" + url_escape(field_manager);
  // Without force, another manager of a field, such as a person with kubectl,
  // could block the status for ever.
  full += patch == Patch::kApply ? "&force=true" : "";
  return send_object(
      client,
      {.method = Method::kPatch,
       .path = std::move(full),
       .body = to_text(body),
       .content_type = patch == Patch::kApply ? "application/apply-patch+yaml"
                                              : "application/merge-patch+json"},
      std::move(reply));
}

Call delete_object(Client& client, std::string_view path, ObjectReply reply) {
  return send_object(client,
                     {.method = Method::kDelete, .path = std::string(path)},
                     std::move(reply));
}

std::string secret_path(std::string_view ns, std::string_view name) {
  static const Resource secrets{
      .group = {}, .versions = {"v1"}, .plural = "secrets", .kind = "Secret"};
  return resource_path(secrets, "v1", ns, name);
}

std::string config_map_path(std::string_view ns, std::string_view name) {
  static const Resource config_maps{.group = {},
                                    .versions = {"v1"},
                                    .plural = "configmaps",
                                    .kind = "ConfigMap"};
  return resource_path(config_maps, "v1", ns, name);
}

std::string micro_time(std::chrono::system_clock::time_point time) {
  const auto since = std::chrono::duration_cast<std::chrono::microseconds>(
      time.time_since_epoch());
  const auto whole = static_cast<std::time_t>(since.count() / 1'000'000);
  std::tm utc{};
  gmtime_r(&whole, &utc);
  std::array<char, 32> text{};
  const std::size_t size =
      std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::string fraction = std::to_string(since.count() % 1'000'000);
  fraction.insert(0, 6 - fraction.size(), '0');
  return std::string(text.data(), size) + "." + fraction + "Z";
}

std::string base64_encode(std::string_view bytes) {
  std::string result;
  result.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view group = bytes.substr(i, 3);
    std::uint32_t bits = 0;
    for (std::size_t at = 0; at < 3; ++at) {
      bits = bits << 8U |
             (at < group.size() ? static_cast<unsigned char>(group[at]) : 0U);
    }
    for (std::size_t at = 0; at < 4; ++at) {
      result += at <= group.size() ? kBase64[bits >> (18 - 6 * at) & 63U] : '=';
    }
  }
  return result;
}

std::optional<std::string> base64_decode(std::string_view text) {
  std::string result;
  std::uint32_t bits = 0;
  std::size_t digits = 0;
  std::size_t padding = 0;
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      continue;
    }
    if (c == '=') {
      ++padding;
      continue;
    }
    const auto value = kBase64.find(c);
    if (value == std::string_view::npos || padding != 0) {
      return std::nullopt;
    }
    bits = bits << 6U | static_cast<std::uint32_t>(value);
    ++digits;
    if (digits % 4 != 0 && digits % 4 != 1) {
      const unsigned left = digits % 4 == 2 ? 4 : 2;
      result += static_cast<char>(bits >> left & 0xffU);
    } else if (digits % 4 == 0) {
      result += static_cast<char>(bits & 0xffU);
    }
  }
  const bool whole =
      (digits + padding) % 4 == 0 && padding <= 2 && digits % 4 != 1;
  return whole ? std::optional(result) : std::nullopt;
}

Call create_event(Client& client, const EventNote& note, ObjectReply reply) {
  static const Resource events{.group = "events.k8s.io",
                               .versions = {"v1"},
                               .plural = "events",
                               .kind = "Event"};
  // Up to 1.20, API servers refuse such events about cluster-wide objects in
  // any other namespace (pkg/apis/core/validation/events.go); later ones allow
  // "default", too.
  const std::string ns = note.ns.empty() ? "kube-system" : note.ns;
  json regarding{{"apiVersion", note.api_version},
                 {"kind", note.kind},
                 {"name", note.name},
                 {"uid", note.uid},
                 {"resourceVersion", note.resource_version}};
  if (!note.ns.empty()) {
    regarding["namespace"] = note.ns;
  }
  // generateName must be a name followed by a hyphen; a dot is refused.
  const json event{
      {"apiVersion", "events.k8s.io/v1"},
      {"kind", "Event"},
      {"metadata",
       {{"generateName", note.name.substr(0, 200) + "-"}, {"namespace", ns}}},
      {"eventTime", micro_time(std::chrono::system_clock::now())},
      {"type", note.warning ? "Warning" : "Normal"},
      {"reason", cut(note.reason, kMaxWord)},
      {"action", cut(note.action, kMaxWord)},
      {"note", cut(note.message, kMaxNote)},
      {"regarding", std::move(regarding)},
      {"reportingController", note.controller},
      {"reportingInstance", cut(note.instance, kMaxWord)}};
  return create_object(client, resource_path(events, "v1", ns), event,
                       std::move(reply));
}

Call review_token(Client& client, std::string_view token,
                  const std::vector<std::string>& audiences,
                  std::function<void(ApiResult<TokenIdentity>)> reply) {
  json spec{{"token", std::string(token)}};
  if (!audiences.empty()) {
    spec["audiences"] = audiences;
  }
  const json review{{"apiVersion", "authentication.k8s.io/v1"},
                    {"kind", "TokenReview"},
                    {"spec", std::move(spec)}};
  return create_object(
      client, "/apis/authentication.k8s.io/v1/tokenreviews", review,
      [audiences, reply = std::move(reply)](ApiResult<json> answer) {
        if (!answer) {
          reply(std::unexpected(std::move(answer.error())));
          return;
        }
        reply(read_review(*answer, audiences));
      });
}

Call review_access(Client& client, const TokenIdentity& who,
                   const Access& access,
                   std::function<void(ApiResult<bool>)> reply) {
  json attributes{{"group", access.group},
                  {"resource", access.resource},
                  {"verb", access.verb}};
  if (!access.ns.empty()) {
    attributes["namespace"] = access.ns;
  }
  json spec{{"user", who.username},
            {"groups", who.groups},
            {"extra", json::object()},
            {"resourceAttributes", std::move(attributes)}};
  for (const auto& [key, values] : who.extra) {
    spec["extra"][key] = values;
  }
  if (!who.uid.empty()) {
    spec["uid"] = who.uid;
  }
  const json review{{"apiVersion", "authorization.k8s.io/v1"},
                    {"kind", "SubjectAccessReview"},
                    {"spec", std::move(spec)}};
  return create_object(
      client, "/apis/authorization.k8s.io/v1/subjectaccessreviews", review,
      [reply = std::move(reply)](ApiResult<json> answer) {
        if (!answer) {
          reply(std::unexpected(std::move(answer.error())));
          return;
        }
        const json& status = member_of(*answer, "status");
        const auto allowed = status.find("allowed");
        reply(allowed != status.end() && allowed->is_boolean() &&
              allowed->get<bool>());
      });
}

}  // namespace sluice::kube
