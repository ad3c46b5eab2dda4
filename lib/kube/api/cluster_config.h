// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "lib/base/result.h"

// The address of the API server and the credentials.
//
//   auto config = load_cluster_config("");   // in a pod, else $KUBECONFIG,
//   else
//                                            // ~/.kube/config
//
// Certificates, keys and tokens in files are read again whenever the files
// change, so that rotation needs no action. Values; one thread at a time.
namespace sluice::kube {

// A secret or certificate: given literally, or the content of a file, which is
// read again when it has changed.
class Material {
 public:
  Material() = default;
  static Material literal(std::string content);
  static Material file(std::filesystem::path path);

  [[nodiscard]] bool empty() const { return path_.empty() && content_.empty(); }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  // Returns the current content. If a file cannot be read, returns its previous
  // content (a file may be absent for a moment while it is replaced), or an
  // error if it has never been read.
  Result<std::string_view> get();
  // Reads the file again at the next get(), even if it looks unchanged.
  void forget() { known_ = Signature{}; }

 private:
  struct Signature {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = -1;
    timespec changed{};
    bool operator==(const Signature& other) const;
  };
  std::filesystem::path path_;
  std::string content_;
  Signature known_;
};

struct ClusterConfig {
  std::string server;     // "https://10.96.0.1:443", no slash at the end
  std::string ns;         // of the context or the pod; empty if none is known
  Material ca;            // PEM. None: the system's certificate authorities
  bool insecure = false;  // no verification; only if asked for by name
  std::string tls_server_name;  // verified and sent instead of the URL's host
  std::string proxy_url;        // empty: as the environment says
  Material token;               // white space around it is no part of it
  std::string username;         // basic authentication
  std::string password;
  Material client_certificate;  // PEM
  Material client_key;          // PEM
};

// The configuration in a pod: KUBERNETES_SERVICE_HOST and _PORT, and the files
// of the service account in `folder`. The error names what is missing.
Result<ClusterConfig> in_cluster_config(
    const std::filesystem::path& folder =
        "/var/run/secrets/kubernetes.io/serviceaccount");

// The current context of a kubeconfig, or the one named. Relative paths in it
// are relative to its folder. Authentication by exec or auth-provider plugins
// is an error.
Result<ClusterConfig> read_kubeconfig(const std::filesystem::path& path,
                                      std::string_view context = "");
// The same from text; `where` names it in errors, `folder` is where relative
// paths begin.
Result<ClusterConfig> parse_kubeconfig(std::string_view text,
                                       const std::string& where,
                                       const std::filesystem::path& folder,
                                       std::string_view context = "");

// `kubeconfig` if it is not empty; else in-cluster where
// KUBERNETES_SERVICE_HOST is set; else $KUBECONFIG; else ~/.kube/config.
Result<ClusterConfig> load_cluster_config(
    const std::filesystem::path& kubeconfig, std::string_view context = "");

}  // namespace sluice::kube
