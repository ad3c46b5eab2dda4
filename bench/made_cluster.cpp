// SPDX-License-Identifier: Apache-2.0
#include "bench/made_cluster.h"

#include <initializer_list>
#include <string_view>
#include <utility>

namespace sluice::bench {
namespace {

using std::to_string;
using Values = std::initializer_list<std::pair<std::string_view, std::string>>;

// `text` with every "$NAME$" replaced.
std::string filled(std::string_view text, const Values& values) {
  std::string result;
  result.reserve(text.size() + 256);
  while (!text.empty()) {
    const auto begin = text.find('$');
    if (begin == std::string_view::npos) {
      break;
    }
    const auto end = text.find('$', begin + 1);
    const auto name = text.substr(begin + 1, end - begin - 1);
    result += text.substr(0, begin);
    for (const auto& [key, value] : values) {
      if (key == name) {
        result += value;
      }
    }
    text.remove_prefix(end + 1);
  }
  result += text;
  return result;
}

std::string ns_of(const MadeCluster& cluster, int app) {
  return "ns" + to_string(app % cluster.namespaces);
}

constexpr std::string_view kMetadata =
    R"({"metadata":{"name":"$NAME$","generateName":"app-$APP$-7d9c6b5f4-","namespace":"$NS$","uid":"6f1d2c3b-4a59-4e68-8f77-$UID$","resourceVersion":"$VERSION$","creationTimestamp":"2026-01-01T10:00:00Z",$ENDING$)"
    R"("labels":{"app":"$LABEL$","app.kubernetes.io/managed-by":"Helm","app.kubernetes.io/part-of":"shop","pod-template-hash":"7d9c6b5f4","version":"v$PARITY$"},)"
    R"("annotations":{"checksum/config":"a3f5c0e1b2d4968778695a4b3c2d1e0fa3f5c0e1b2d4968778695a4b3c2d1e0f","kubectl.kubernetes.io/restartedAt":"2026-01-01T09:59:58Z","prometheus.io/port":"8080","prometheus.io/scrape":"true"},)"
    R"("ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"app-$APP$-7d9c6b5f4","uid":"0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9","controller":true,"blockOwnerDeletion":true}],)";

constexpr std::string_view kManaged =
    R"("managedFields":[{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-01-01T10:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:checksum/config":{},"f:kubectl.kubernetes.io/restartedAt":{},"f:prometheus.io/port":{},"f:prometheus.io/scrape":{}},"f:generateName":{},"f:labels":{".":{},"f:app":{},"f:app.kubernetes.io/managed-by":{},"f:app.kubernetes.io/part-of":{},"f:pod-template-hash":{},"f:version":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9\"}":{".":{},"f:apiVersion":{},"f:blockOwnerDeletion":{},"f:controller":{},"f:kind":{},"f:name":{},"f:uid":{}}}},"f:spec":{"f:containers":{"k:{\"name\":\"app\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"LOG_LEVEL\"}":{".":{},"f:name":{},"f:value":{}},"k:{\"name\":\"DB_HOST\"}":{".":{},"f:name":{},"f:value":{}},"k:{\"name\":\"POD_IP\"}":{".":{},"f:name":{},"f:valueFrom":{".":{},"f:fieldRef":{".":{},"f:apiVersion":{},"f:fieldPath":{}}}}},"f:image":{},"f:imagePullPolicy":{},"f:livenessProbe":{".":{},"f:failureThreshold":{},"f:httpGet":{".":{},"f:path":{},"f:port":{},"f:scheme":{}},"f:periodSeconds":{},"f:successThreshold":{},"f:timeoutSeconds":{}},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:name":{},"f:protocol":{}},"k:{\"containerPort\":9090,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:name":{},"f:protocol":{}}},"f:readinessProbe":{".":{},"f:failureThreshold":{},"f:httpGet":{".":{},"f:path":{},"f:port":{},"f:scheme":{}},"f:periodSeconds":{},"f:successThreshold":{},"f:timeoutSeconds":{}},"f:resources":{".":{},"f:limits":{".":{},"f:memory":{}},"f:requests":{".":{},"f:cpu":{},"f:memory":{}}},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{},"f:volumeMounts":{".":{},"k:{\"mountPath\":\"/etc/app\"}":{".":{},"f:mountPath":{},"f:name":{}}}}},"f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{},"f:volumes":{".":{},"k:{\"name\":\"config\"}":{".":{},"f:configMap":{".":{},"f:defaultMode":{},"f:name":{}},"f:name":{}}}}}},)"
    R"({"manager":"kubelet","operation":"Update","apiVersion":"v1","time":"2026-01-01T10:00:07Z","fieldsType":"FieldsV1","fieldsV1":{"f:status":{"f:conditions":{"k:{\"type\":\"ContainersReady\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Initialized\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},"f:containerStatuses":{},"f:hostIP":{},"f:phase":{},"f:podIP":{},"f:podIPs":{".":{},"k:{\"ip\":\"$IP$\"}":{".":{},"f:ip":{}}},"f:startTime":{}}}}]},)";

constexpr std::string_view kSpec =
    R"("spec":{"volumes":[{"name":"config","configMap":{"name":"app-$APP$","defaultMode":420}},{"name":"kube-api-access-x2v4b","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},{"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}],"defaultMode":420}}],)"
    R"("containers":[{"name":"app","image":"registry.example.com/shop/app-$APP$@sha256:8f3b0c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b","ports":[{"name":"http","containerPort":8080,"protocol":"TCP"},{"name":"metrics","containerPort":9090,"protocol":"TCP"}],"env":[{"name":"LOG_LEVEL","value":"info"},{"name":"DB_HOST","value":"db.shop.svc.cluster.local"},{"name":"POD_IP","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"status.podIP"}}}],"resources":{"limits":{"memory":"512Mi"},"requests":{"cpu":"100m","memory":"256Mi"}},"volumeMounts":[{"name":"config","mountPath":"/etc/app"},{"name":"kube-api-access-x2v4b","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"livenessProbe":{"httpGet":{"path":"/live","port":"http","scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},"readinessProbe":{"httpGet":{"path":"/ready","port":"http","scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":5,"successThreshold":1,"failureThreshold":3},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent","securityContext":{"capabilities":{"drop":["ALL"]},"runAsNonRoot":true,"readOnlyRootFilesystem":true,"allowPrivilegeEscalation":false}}],)"
    R"("restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default","serviceAccount":"default",$NODE$"securityContext":{"runAsUser":1000,"fsGroup":1000},"affinity":{"podAntiAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":100,"podAffinityTerm":{"labelSelector":{"matchLabels":{"app":"$LABEL$"}},"topologyKey":"kubernetes.io/hostname"}}]}},"schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"},)";

constexpr std::string_view kStatus =
    R"("status":{"phase":"$PHASE$","conditions":[{"type":"Initialized","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-01T10:00:00Z"},{"type":"Ready","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-01T10:00:07Z"},{"type":"ContainersReady","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-01T10:00:07Z"},{"type":"PodScheduled","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-01-01T10:00:00Z"}],"hostIP":"10.64.0.1",$IPS$"startTime":"2026-01-01T10:00:00Z","containerStatuses":[{"name":"app","state":{"running":{"startedAt":"2026-01-01T10:00:05Z"}},"lastState":{},"ready":true,"restartCount":0,"image":"registry.example.com/shop/app","imageID":"registry.example.com/shop/app@sha256:8f3b0c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b","containerID":"containerd://5d4c3b2a190817263544536271809f8e7d6c5b4a39281706f5e4d3c2b1a09f8e","started":true}],"qosClass":"Burstable"}})";

std::string identity(const std::string& name, const std::string& ns,
                     std::uint64_t version, std::string_view labels = "") {
  return R"({"metadata":{"name":")" + name + R"(",)" +
         (ns.empty() ? "" : R"("namespace":")" + ns + R"(",)") +
         R"("uid":"u-)" + ns + "-" + name + R"(","resourceVersion":")" +
         to_string(version) + R"(","generation":1,"labels":{)" +
         std::string(labels) + "}}";
}

const char* phase_of(const MadePod& pod) {
  if (pod.finished) {
    return "Succeeded";
  }
  return pod.ip.empty() ? "Pending" : "Running";
}

}  // namespace

std::string ip_text(std::uint32_t address) {
  return to_string(address >> 24) + "." + to_string(address >> 16 & 255) + "." +
         to_string(address >> 8 & 255) + "." + to_string(address & 255);
}

std::string pod_json(const MadeCluster& cluster, const MadePod& pod) {
  const int app = pod.number % cluster.policies;
  const std::string ips =
      R"("podIP":")" + pod.ip + R"(","podIPs":[{"ip":")" + pod.ip + R"("}],)";
  const Values values{
      {"NAME", pod.name},
      {"NS", ns_of(cluster, app)},
      {"APP", to_string(app)},
      {"LABEL", (pod.stray ? "stray" : "app") + to_string(app)},
      {"UID", to_string(100'000'000'000ULL + pod.version)},
      {"VERSION", to_string(pod.version)},
      {"PARITY", to_string(pod.number % 2)},
      {"ENDING",
       pod.ending ? R"("deletionTimestamp":"2026-01-01T11:00:00Z",)" : ""},
      {"IP", pod.ip},
      {"IPS", pod.ip.empty() ? "" : ips},
      {"NODE", pod.scheduled
                   ? R"("nodeName":"node)" +
                         to_string(pod.number % cluster.nodes) + R"(",)"
                   : ""},
      {"PHASE", phase_of(pod)}};
  return filled(kMetadata, values) + filled(kManaged, values) +
         filled(kSpec, values) + filled(kStatus, values);
}

std::string namespace_json(int number, std::uint64_t version) {
  const std::string name = "ns" + to_string(number);
  return identity(name, "", version,
                  R"("kubernetes.io/metadata.name":")" + name + '"') +
         R"(,"status":{"phase":"Active"}})";
}

std::string node_json(int number, std::uint64_t version) {
  const std::string name = "node" + to_string(number);
  return identity(name, "", version, R"("kubernetes.io/os":"linux")") +
         R"(,"status":{"addresses":[{"type":"InternalIP","address":")" +
         ip_text(kFirstNodeAddress + static_cast<unsigned>(number)) +
         R"("},{"type":"Hostname","address":")" + name + R"("}]}})";
}

std::string service_json(const MadeCluster& cluster, int number,
                         std::uint64_t version) {
  const std::string ip = ip_text(0x0a60'0000U + static_cast<unsigned>(number));
  return identity("svc" + to_string(number), ns_of(cluster, number), version) +
         R"(,"spec":{"type":"ClusterIP","clusterIP":")" + ip +
         R"(","clusterIPs":[")" + ip + R"("],"selector":{"app":"app)" +
         to_string(number) +
         R"("},"ports":[{"name":"http","protocol":"TCP","port":80,"targetPort":8080}]}})";
}

std::string slice_json(const MadeCluster& cluster, int number,
                       std::uint64_t version) {
  std::string text = identity(
      "svc" + to_string(number) + "-x7k2p", ns_of(cluster, number), version,
      R"("kubernetes.io/service-name":"svc)" + to_string(number) + '"');
  text +=
      R"(,"addressType":"IPv4","ports":[{"name":"http","protocol":"TCP","port":8080}],"endpoints":[)";
  for (int pod = number; pod < cluster.pods; pod += cluster.policies) {
    text += (pod == number ? "" : ",") + std::string(R"({"addresses":[")") +
            ip_text(kFirstPodAddress + static_cast<unsigned>(pod)) +
            R"("],"conditions":{"ready":true}})";
  }
  return text + "]}";
}

std::string policy_json(const MadeCluster& cluster, int number,
                        std::uint64_t version) {
  const auto peer = [&](int step) {
    const int app = (number + step * 37) % cluster.policies;
    return R"({"matchLabels":{"app":"app)" + to_string(app) +
           R"(","k8s:io.kubernetes.pod.namespace":")" + ns_of(cluster, app) +
           R"("}})";
  };
  const std::string http =
      R"("toPorts":[{"ports":[{"port":"8080","protocol":"TCP"}]}])";
  return identity("policy" + to_string(number), ns_of(cluster, number),
                  version) +
         R"(,"spec":{"endpointSelector":{"matchLabels":{"app":"app)" +
         to_string(number) + R"("}},"ingress":[{"fromEndpoints":[)" + peer(1) +
         "," + peer(2) + "," + peer(3) + "]," + http +
         R"(}],"egress":[{"toEndpoints":[)" + peer(4) + "," + peer(5) + "]," +
         http +
         R"(},{"toEndpoints":[{"matchLabels":{"app":"app0","k8s:io.kubernetes.pod.namespace":"ns0"}}],"toPorts":[{"ports":[{"port":"53","protocol":"UDP"}]}]},{"toCIDR":[")" +
         ip_text(0xc612'0000U + (static_cast<unsigned>(number) << 8)) +
         R"(/24"]}]}})";
}

}  // namespace sluice::bench
