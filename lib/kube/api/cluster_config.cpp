// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/cluster_config.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "lib/kube/api/requests.h"
#include "lib/kube/field.h"
#include "lib/kube/manifest_builder.h"

namespace sluice::kube {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxFile = std::size_t{4} << 20;

std::string environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? std::string() : std::string(value);
}

Result<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return fail_errno(path.string());
  }
  std::string content;
  content.resize(kMaxFile + 1);
  file.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (file.bad()) {
    return fail(path.string() + ": cannot be read");
  }
  content.resize(static_cast<std::size_t>(file.gcount()));
  if (content.size() > kMaxFile) {
    return fail(path.string() + ": larger than 4 MB");
  }
  return content;
}

// Returns the element of a list of {name: ..., KIND: {...}} with this name.
const json* named(const json& root, const char* list, std::string_view kind,
                  std::string_view name) {
  const auto found = root.find(list);
  if (found == root.end() || !found->is_array()) {
    return nullptr;
  }
  for (const json& element : *found) {
    if (element.is_object() && element.contains("name") &&
        element["name"] == name) {
      const auto inner = element.find(kind);
      return inner != element.end() && inner->is_object() ? &*inner : nullptr;
    }
  }
  return nullptr;
}

// Reads the members of one object of a kubeconfig; remembers the first error.
class Section {
 public:
  Section(const json& object, std::string where, std::filesystem::path folder)
      : object_(&object),
        where_(std::move(where)),
        folder_(std::move(folder)) {}

  std::string text(const char* name) {
    const auto found = object_->find(name);
    if (found == object_->end() || found->is_null()) {
      return {};
    }
    // In YAML, a token of digits is a number.
    if (found->is_number_integer()) {
      return found->dump();
    }
    if (!found->is_string()) {
      fail_at(name, "must be a string");
      return {};
    }
    return found->get<std::string>();
  }

  bool flag(const char* name) {
    const auto found = object_->find(name);
    if (found == object_->end() || found->is_null()) {
      return false;
    }
    if (!found->is_boolean()) {
      fail_at(name, "must be true or false");
      return false;
    }
    return found->get<bool>();
  }

  // NAME-data (base64) takes precedence over NAME (a path).
  Material material(const std::string& name) {
    const std::string data = text((name + "-data").c_str());
    if (!data.empty()) {
      const auto content = base64_decode(data);
      if (!content) {
        fail_at(name + "-data", "is no base64");
        return {};
      }
      return Material::literal(*content);
    }
    return file(name.c_str());
  }

  Material file(const char* name) {
    const std::string path = text(name);
    return path.empty() ? Material() : Material::file(folder_ / path);
  }

  void refuse(const char* name, std::string_view why) {
    const auto found = object_->find(name);
    if (found != object_->end() && !found->is_null()) {
      fail_at(name, why);
    }
  }

  void fail_at(const std::string& name, std::string_view what) {
    if (!error_) {
      error_ = Error{.message = where_ + "." + name + ": " + std::string(what)};
    }
  }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  const json* object_;
  std::string where_;
  std::filesystem::path folder_;
  std::optional<Error> error_;
};

Result<void> read_cluster(Section section, ClusterConfig& config) {
  config.server = section.text("server");
  while (config.server.ends_with('/')) {
    config.server.pop_back();
  }
  if (!config.server.starts_with("https://") &&
      !config.server.starts_with("http://")) {
    section.fail_at("server", "must be an http:// or https:// URL");
  }
  config.ca = section.material("certificate-authority");
  config.insecure = section.flag("insecure-skip-tls-verify");
  config.tls_server_name = section.text("tls-server-name");
  config.proxy_url = section.text("proxy-url");
  return section.error() ? Result<void>(std::unexpected(*section.error()))
                         : Result<void>();
}

Result<void> read_user(Section section, ClusterConfig& config) {
  section.refuse("exec",
                 "credential plugins are not supported; use a token, a token "
                 "file or a client certificate");
  section.refuse("auth-provider",
                 "authentication providers are not supported; use a token, a "
                 "token file or a client certificate");
  section.refuse("as", "impersonation is not supported");
  config.token = section.file("tokenFile");
  if (config.token.empty()) {
    if (std::string token = section.text("token"); !token.empty()) {
      config.token = Material::literal(std::move(token));
    }
  }
  config.username = section.text("username");
  config.password = section.text("password");
  config.client_certificate = section.material("client-certificate");
  config.client_key = section.material("client-key");
  if (config.client_certificate.empty() != config.client_key.empty()) {
    section.fail_at(
        config.client_key.empty() ? "client-key" : "client-certificate",
        "must be set too: certificate and key belong together");
  }
  return section.error() ? Result<void>(std::unexpected(*section.error()))
                         : Result<void>();
}

Result<json> read_yaml(std::string_view text, const std::string& where) {
  std::vector<manifest::Document> documents;
  try {
    manifest::read_yaml(text, 1, documents);
  } catch (const manifest::Broken& broken) {
    return fail(where + ":" + std::to_string(broken.line) + ": " + broken.what);
  }
  if (documents.size() != 1 || !documents.front().root.is_object()) {
    return fail(where + ": is no kubeconfig");
  }
  return std::move(documents.front().root);
}

// A context's name, its content, and the place to name in errors.
struct Chosen {
  const json* context = nullptr;
  std::string where;
};

Result<Chosen> choose(const json& root, const std::string& where,
                      std::string_view wanted) {
  std::string name(wanted);
  if (name.empty()) {
    name = Section(root, where, {}).text("current-context");
    if (name.empty()) {
      return fail(where + ": current-context is not set");
    }
  }
  const json* context = named(root, "contexts", "context", name);
  if (context == nullptr) {
    return fail(where + ": there is no context " + in_quotes(name));
  }
  return Chosen{.context = context,
                .where = where + ": contexts[" + in_quotes(name) + "]"};
}

}  // namespace

bool Material::Signature::operator==(const Signature& other) const {
  return device == other.device && inode == other.inode && size == other.size &&
         changed.tv_sec == other.changed.tv_sec &&
         changed.tv_nsec == other.changed.tv_nsec;
}

Material Material::literal(std::string content) {
  Material result;
  result.content_ = std::move(content);
  return result;
}

Material Material::file(std::filesystem::path path) {
  Material result;
  result.path_ = std::move(path);
  return result;
}

Result<std::string_view> Material::get() {
  if (path_.empty()) {
    return content_;
  }
  struct stat status{};
  if (::stat(path_.c_str(), &status) != 0) {
    return content_.empty()
               ? Result<std::string_view>(fail_errno(path_.string()))
               : content_;
  }
  const Signature now{.device = status.st_dev,
                      .inode = status.st_ino,
                      .size = status.st_size,
                      .changed = status.st_mtim};
  if (now == known_ && !content_.empty()) {
    return content_;
  }
  auto content = read_file(path_);
  if (!content || content->empty()) {
    if (!content_.empty()) {
      return content_;
    }
    return content ? fail(path_.string() + ": is empty")
                   : std::unexpected(content.error());
  }
  content_ = std::move(*content);
  known_ = now;
  return content_;
}

Result<ClusterConfig> in_cluster_config(const std::filesystem::path& folder) {
  const std::string host = environment("KUBERNETES_SERVICE_HOST");
  const std::string port = environment("KUBERNETES_SERVICE_PORT");
  if (host.empty() || port.empty()) {
    return fail(
        "not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are "
        "not set");
  }
  ClusterConfig config;
  const bool v6 = host.find(':') != std::string::npos;
  config.server = "https://" + (v6 ? "[" + host + "]" : host) + ":" + port;
  config.ca = Material::file(folder / "ca.crt");
  config.token = Material::file(folder / "token");
  for (Material* material : {&config.ca, &config.token}) {
    if (const auto content = material->get(); !content) {
      return std::unexpected(
          with_context("service account", content.error()).error());
    }
  }
  if (const auto ns = read_file(folder / "namespace")) {
    config.ns = *ns;
  }
  return config;
}

Result<ClusterConfig> parse_kubeconfig(std::string_view text,
                                       const std::string& where,
                                       const std::filesystem::path& folder,
                                       std::string_view context) {
  const auto root = read_yaml(text, where);
  if (!root) {
    return std::unexpected(root.error());
  }
  const auto chosen = choose(*root, where, context);
  if (!chosen) {
    return std::unexpected(chosen.error());
  }
  ClusterConfig config;
  Section section(*chosen->context, chosen->where, folder);
  config.ns = section.text("namespace");
  const std::string cluster_name = section.text("cluster");
  const std::string user_name = section.text("user");
  if (section.error()) {
    return std::unexpected(*section.error());
  }
  const json* cluster = named(*root, "clusters", "cluster", cluster_name);
  if (cluster == nullptr) {
    return fail(where + ": there is no cluster " + in_quotes(cluster_name));
  }
  const auto done = read_cluster(
      Section(*cluster, where + ": clusters[" + in_quotes(cluster_name) + "]",
              folder),
      config);
  if (!done) {
    return std::unexpected(done.error());
  }
  if (user_name.empty()) {
    return config;
  }
  const json* user = named(*root, "users", "user", user_name);
  if (user == nullptr) {
    return fail(where + ": there is no user " + in_quotes(user_name));
  }
  const auto known = read_user(
      Section(*user, where + ": users[" + in_quotes(user_name) + "]", folder),
      config);
  return known ? Result<ClusterConfig>(std::move(config))
               : std::unexpected(known.error());
}

Result<ClusterConfig> read_kubeconfig(const std::filesystem::path& path,
                                      std::string_view context) {
  const auto text = read_file(path);
  if (!text) {
    return std::unexpected(text.error());
  }
  return parse_kubeconfig(*text, path.string(), path.parent_path(), context);
}

Result<ClusterConfig> load_cluster_config(
    const std::filesystem::path& kubeconfig, std::string_view context) {
  if (!kubeconfig.empty()) {
    return read_kubeconfig(kubeconfig, context);
  }
  if (!environment("KUBERNETES_SERVICE_HOST").empty()) {
    return in_cluster_config();
  }
  const std::string named = environment("KUBECONFIG");
  if (!named.empty()) {
    return read_kubeconfig(named, context);
  }
  return read_kubeconfig(
      std::filesystem::path(environment("HOME")) / ".kube" / "config", context);
}

}  // namespace sluice::kube
