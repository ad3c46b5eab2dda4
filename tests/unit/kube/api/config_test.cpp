// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/kube/api/cluster_config.h"
#include "lib/kube/api/requests.h"
#include "lib/kube/api/resource.h"

// Where the API server is, from the environment and from kubeconfig files.
namespace sluice::kube::test {
namespace {

using testing::HasSubstr;

class ConfigTest : public testing::Test {
 public:
  ConfigTest(const ConfigTest&) = delete;
  ConfigTest& operator=(const ConfigTest&) = delete;
  ConfigTest(ConfigTest&&) = delete;
  ConfigTest& operator=(ConfigTest&&) = delete;

 protected:
  ConfigTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "sluice-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~ConfigTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
    for (const char* name :
         {"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG"}) {
      ::unsetenv(name);
    }
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  std::filesystem::path folder_;
};

std::string kubeconfig(const std::string& cluster, const std::string& user) {
  return "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
         "contexts:\n- name: other\n  context: {cluster: none, user: none}\n"
         "- name: c\n  context: {cluster: k, user: u, namespace: ns1}\n"
         "clusters:\n- name: k\n  cluster: {" +
         cluster + "}\nusers:\n- name: u\n  user: {" + user + "}\n";
}

Result<ClusterConfig> parse(const std::string& text) {
  return parse_kubeconfig(text, "config", "/etc/kube");
}

std::string error_of(const std::string& text) {
  const auto config = parse(text);
  return config ? "accepted" : config.error().message;
}

TEST_F(ConfigTest, everything_a_kubeconfig_says) {
  const auto config = parse(kubeconfig(
      "server: 'https://h:6443/', certificate-authority-data: Y2E=, "
      "tls-server-name: api, proxy-url: 'http://p:1'",
      "token: abc, client-certificate-data: Y2VydA==, client-key-data: a2V5"));
  ASSERT_TRUE(config) << config.error().message;
  ClusterConfig copy = *config;
  EXPECT_EQ(copy.server, "https://h:6443");
  EXPECT_EQ(copy.ns, "ns1");
  EXPECT_EQ(*copy.ca.get(), "ca");
  EXPECT_EQ(copy.tls_server_name, "api");
  EXPECT_EQ(copy.proxy_url, "http://p:1");
  EXPECT_EQ(*copy.token.get(), "abc");
  EXPECT_EQ(*copy.client_certificate.get(), "cert");
  EXPECT_EQ(*copy.client_key.get(), "key");
  EXPECT_FALSE(copy.insecure);
}

TEST_F(ConfigTest, paths_are_relative_to_the_file) {
  const auto config =
      parse(kubeconfig("server: 'https://h', certificate-authority: ca.crt, "
                       "insecure-skip-tls-verify: true",
                       "tokenFile: /abs/token, client-certificate: c.crt, "
                       "client-key: ../c.key"));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->ca.path(), "/etc/kube/ca.crt");
  EXPECT_EQ(config->token.path(), "/abs/token");
  EXPECT_EQ(config->client_certificate.path(), "/etc/kube/c.crt");
  EXPECT_EQ(config->client_key.path(), "/etc/kube/../c.key");
  EXPECT_TRUE(config->insecure);
}

TEST_F(ConfigTest, a_context_may_be_named) {
  const std::string text = kubeconfig("server: 'https://h'", "");
  EXPECT_TRUE(parse_kubeconfig(text, "config", "/", "c"));
  const auto missing = parse_kubeconfig(text, "config", "/", "d");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message, "config: there is no context \"d\"");
  const auto none = parse_kubeconfig(text, "config", "/", "other");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "config: there is no cluster \"none\"");
}

TEST_F(ConfigTest, what_is_not_supported_is_named) {
  EXPECT_THAT(error_of(kubeconfig("server: 'https://h'",
                                  "exec: {command: aws-iam-authenticator}")),
              HasSubstr("config: users[\"u\"].exec: credential plugins are "
                        "not supported"));
  EXPECT_THAT(
      error_of(kubeconfig("server: 'https://h'", "auth-provider: {name: g}")),
      HasSubstr("auth-provider: authentication providers are not supported"));
  EXPECT_THAT(error_of(kubeconfig("server: 'https://h'", "as: admin")),
              HasSubstr("as: impersonation is not supported"));
}

TEST_F(ConfigTest, errors_name_the_place) {
  EXPECT_EQ(error_of("- a"), "config: is no kubeconfig");
  EXPECT_THAT(error_of("a: [\n"), HasSubstr("config:"));
  EXPECT_EQ(error_of("{}"), "config: current-context is not set");
  EXPECT_EQ(error_of(kubeconfig("server: h", "")),
            "config: clusters[\"k\"].server: must be an http:// or https:// "
            "URL");
  EXPECT_EQ(error_of(kubeconfig(
                "server: 'https://h', certificate-authority-data: '!'", "")),
            "config: clusters[\"k\"].certificate-authority-data: is no base64");
  EXPECT_EQ(
      error_of(kubeconfig("server: 'https://h'", "client-key-data: a2V5")),
      "config: users[\"u\"].client-certificate: must be set too: certificate "
      "and key belong together");
  EXPECT_EQ(error_of(kubeconfig(
                "server: 'https://h', insecure-skip-tls-verify: maybe", "")),
            "config: clusters[\"k\"].insecure-skip-tls-verify: must be true or "
            "false");
}

TEST_F(ConfigTest, in_a_pod) {
  write("ca.crt", "ca");
  write("token", "t1\n");
  write("namespace", "sluice");
  EXPECT_THAT(in_cluster_config(folder_).error().message,
              HasSubstr("not in a pod"));
  ::setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  auto config = in_cluster_config(folder_);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->server, "https://[fd00::1]:443");
  EXPECT_EQ(config->ns, "sluice");
  EXPECT_EQ(*config->ca.get(), "ca");
  std::filesystem::remove(folder_ / "token");
  EXPECT_THAT(in_cluster_config(folder_).error().message,
              HasSubstr("service account: " + (folder_ / "token").string()));
}

TEST_F(ConfigTest, kubeconfig_from_the_environment) {
  write("config", kubeconfig("server: 'https://env'", ""));
  ::setenv("KUBECONFIG", (folder_ / "config").c_str(), 1);
  const auto config = load_cluster_config("");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->server, "https://env");
  EXPECT_FALSE(load_cluster_config(folder_ / "none"));
}

TEST_F(ConfigTest, a_file_is_read_again_when_it_changes) {
  write("token", "one");
  Material token = Material::file(folder_ / "token");
  EXPECT_EQ(*token.get(), "one");
  // Replaced, as kubelet does it.
  write("token.new", "two");
  std::filesystem::rename(folder_ / "token.new", folder_ / "token");
  EXPECT_EQ(*token.get(), "two");
  // A moment without the file, or with an empty one, loses nothing.
  std::filesystem::remove(folder_ / "token");
  EXPECT_EQ(*token.get(), "two");
  write("token", "");
  EXPECT_EQ(*token.get(), "two");
  write("token", "three");
  EXPECT_EQ(*token.get(), "three");
}

TEST_F(ConfigTest, a_file_that_was_never_there_is_an_error) {
  Material token = Material::file(folder_ / "none");
  const auto content = token.get();
  ASSERT_FALSE(content);
  EXPECT_THAT(content.error().message, HasSubstr("No such file"));
}

TEST(Base64, there_and_back) {
  EXPECT_EQ(base64_encode(""), "");
  EXPECT_EQ(base64_encode("f"), "Zg==");
  EXPECT_EQ(base64_encode("fo"), "Zm8=");
  EXPECT_EQ(base64_encode("foo"), "Zm9v");
  EXPECT_EQ(base64_encode("foob"), "Zm9vYg==");
  EXPECT_EQ(base64_decode("Zm9v\nYg==\n"), "foob");
  std::string bytes;
  for (int i = 0; i < 256; ++i) {
    bytes += static_cast<char>(i);
    EXPECT_EQ(base64_decode(base64_encode(bytes)), bytes);
  }
  for (const char* bad :
       {"Z", "Zg", "Zg=", "Zg===", "Z===", "Zg==Zg==", "Z!=="}) {
    EXPECT_FALSE(base64_decode(bad)) << bad;
  }
}

TEST(ResourcePath, of_collections_objects_and_subresources) {
  EXPECT_EQ(resource_path(nodes(), "v1"), "/api/v1/nodes");
  EXPECT_EQ(resource_path(pods(), "v1", "x", "a", "status"),
            "/api/v1/namespaces/x/pods/a/status");
  EXPECT_EQ(resource_path(cidr_groups(), "v2", "", "g"),
            "/apis/cilium.io/v2/ciliumcidrgroups/g");
  EXPECT_EQ(resource_path(pods(), "v1", "x/y", "a?b", ""),
            "/api/v1/namespaces/x%2Fy/pods/a%3Fb");
  EXPECT_EQ(resource_path(pods(), "v1", "x", ".."),
            "/api/v1/namespaces/x/pods/%2E%2E");
}

}  // namespace
}  // namespace sluice::kube::test
