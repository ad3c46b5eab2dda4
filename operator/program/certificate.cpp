// SPDX-License-Identifier: Apache-2.0
#include "operator/program/certificate.h"

#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "lib/kube/api/requests.h"

namespace sluice::operatord {
namespace {

using kube::ApiResult;
using nlohmann::json;

constexpr int kNotFound = 404;
constexpr int kConflict = 409;
constexpr std::chrono::milliseconds kSoon{1'000};
constexpr std::size_t kFileMax = 1 << 20;

Result<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return fail_errno(path.string());
  }
  std::string text(kFileMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (file.bad() || text.size() > kFileMax) {
    return fail(path.string() + ": cannot be read, or is too large");
  }
  return text;
}

// A value of a Secret, decoded.
std::string value_of(const json& secret, const char* name) {
  const auto data = secret.find("data");
  if (data == secret.end() || !data->is_object()) {
    return {};
  }
  const auto value = data->find(name);
  if (value == data->end() || !value->is_string()) {
    return {};
  }
  return kube::base64_decode(value->get<std::string>()).value_or("");
}

Result<wire::TlsMaterial> material_of(const std::string& where,
                                      wire::TlsMaterial material) {
  if (auto good = wire::check_certificate(material.server); !good) {
    return with_context(where, good.error());
  }
  if (material.ca_pem.find("-----BEGIN CERTIFICATE-----") ==
      std::string::npos) {
    return fail(where + ": ca.crt holds no certificate");
  }
  return material;
}

json labels() {
  return {{"app.kubernetes.io/part-of", "sluice"}};
}

bool same(const wire::TlsMaterial& a, const wire::TlsMaterial& b) {
  return a.ca_pem == b.ca_pem &&
         a.server.certificate_pem == b.server.certificate_pem &&
         a.server.key_pem == b.server.key_pem;
}

}  // namespace

struct Certificate::Impl {
  kube::Client* client = nullptr;
  CertificateOptions options;
  Handler handler;
  std::optional<wire::TlsMaterial> current;
  std::string problem = "the certificate has not been read yet";
  kube::Call call;
  Timer timer;

  void look();
  void look_at_files();
  void look_at_secret(const ApiResult<json>& secret);
  void make();
  void take(wire::TlsMaterial material);
  void publish();
  void create_config_map_if_missing(const ApiResult<json>& answer);
  void failed(const std::string& why);
  void later(std::chrono::milliseconds delay);
  [[nodiscard]] std::string secret_name() const {
    return "secret " + options.ns + "/" + options.secret;
  }
};

void Certificate::Impl::later(std::chrono::milliseconds delay) {
  timer = client->loop().after(delay, [this] { look(); });
}

void Certificate::Impl::failed(const std::string& why) {
  if (problem != why) {
    problem = why;
    spdlog::error("certificate: {}", why);
  }
  later(current ? options.look_again : kSoon);
}

void Certificate::Impl::look() {
  if (!options.dir.empty()) {
    look_at_files();
    return;
  }
  call = kube::get_object(
      *client, kube::secret_path(options.ns, options.secret),
      [this](const ApiResult<json>& secret) { look_at_secret(secret); });
}

// Without a ca.crt beside it, the certificate is its own CA.
void Certificate::Impl::look_at_files() {
  auto certificate = read_file(options.dir / "tls.crt");
  auto key = read_file(options.dir / "tls.key");
  if (!certificate || !key) {
    failed((certificate ? key : certificate).error().message);
    return;
  }
  auto ca = read_file(options.dir / "ca.crt");
  auto material = material_of(
      options.dir.string(),
      {.ca_pem = ca ? *ca : *certificate,
       .server = {.certificate_pem = *certificate, .key_pem = *key}});
  if (!material) {
    failed(material.error().message);
    return;
  }
  take(std::move(*material));
}

void Certificate::Impl::look_at_secret(const ApiResult<json>& secret) {
  if (!secret) {
    if (secret.error().status == kNotFound) {
      make();
    } else {
      failed(secret.error().message);
    }
    return;
  }
  auto material =
      material_of(secret_name(),
                  {.ca_pem = value_of(*secret, "ca.crt"),
                   .server = {.certificate_pem = value_of(*secret, "tls.crt"),
                              .key_pem = value_of(*secret, "tls.key")}});
  if (!material) {
    failed(material.error().message);
    return;
  }
  take(std::move(*material));
}

void Certificate::Impl::make() {
  auto made = wire::make_self_signed_ca_and_server_cert(options.dns_names,
                                                        options.validity);
  if (!made) {
    failed(made.error().message);
    return;
  }
  const json secret{
      {"apiVersion", "v1"},
      {"kind", "Secret"},
      {"metadata",
       {{"name", options.secret},
        {"namespace", options.ns},
        {"labels", labels()}}},
      {"type", "kubernetes.io/tls"},
      {"data",
       {{"ca.crt", kube::base64_encode(made->ca_pem)},
        {"tls.crt", kube::base64_encode(made->server.certificate_pem)},
        {"tls.key", kube::base64_encode(made->server.key_pem)}}}};
  call = kube::create_object(
      *client, kube::secret_path(options.ns), secret,
      [this](const ApiResult<json>& answer) {
        if (answer) {
          spdlog::info("certificate: made, in {}", secret_name());
        } else if (answer.error().status != kConflict) {
          failed(answer.error().message);
          return;
        }
        look();  // read what is stored, by this or another replica
      });
}

void Certificate::Impl::take(wire::TlsMaterial material) {
  problem.clear();
  if (!current || !same(*current, material)) {
    if (current) {
      spdlog::info("certificate: changed");
    }
    current = std::move(material);
    handler(*current);
  }
  publish();
}

void Certificate::Impl::publish() {
  call = kube::patch_object(
      *client, kube::config_map_path(options.ns, options.config_map),
      kube::Patch::kMerge, json{{"data", {{"ca.crt", current->ca_pem}}}},
      "sluice-operator", [this](const ApiResult<json>& answer) {
        create_config_map_if_missing(answer);
      });
}

void Certificate::Impl::create_config_map_if_missing(
    const ApiResult<json>& answer) {
  if (answer) {
    later(options.look_again);
    return;
  }
  if (answer.error().status != kNotFound) {
    failed(answer.error().message);
    return;
  }
  const json config_map{{"apiVersion", "v1"},
                        {"kind", "ConfigMap"},
                        {"metadata",
                         {{"name", options.config_map},
                          {"namespace", options.ns},
                          {"labels", labels()}}},
                        {"data", {{"ca.crt", current->ca_pem}}}};
  call = kube::create_object(
      *client, kube::config_map_path(options.ns), config_map,
      [this](const ApiResult<json>& created) {
        if (!created && created.error().status != kConflict) {
          failed(created.error().message);
          return;
        }
        later(created ? options.look_again : kSoon);
      });
}

Certificate::Certificate(kube::Client& client, CertificateOptions options,
                         Handler handler)
    : impl_(std::make_unique<Impl>()) {
  impl_->client = &client;
  impl_->options = std::move(options);
  impl_->handler = std::move(handler);
}

Certificate::~Certificate() = default;

void Certificate::start() {
  impl_->look();
}

const std::string& Certificate::problem() const {
  return impl_->problem;
}

}  // namespace sluice::operatord
