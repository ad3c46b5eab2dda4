// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/policy/parse_helpers.h"

// What is not enforced is refused, and the message says where it stands.
namespace sluice::policy::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// ---- everything that is not supported --------------------------------------

struct Unsupported {
  const char* section;
  const char* rule;
  const char* path;  // after "spec.<section>[0]"
};
class NotSupported : public testing::TestWithParam<Unsupported> {};

TEST_P(NotSupported, is_refused_by_its_path) {
  const std::string section = GetParam().section;
  EXPECT_EQ(rejection(ccnp(R"({"endpointSelector": {}, ")" + section +
                           R"(": [)" + GetParam().rule + "]}")),
            "spec." + section + "[0]" + GetParam().path + ": not supported");
}

INSTANTIATE_TEST_SUITE_P(
    fields, NotSupported,
    testing::Values(
        Unsupported{"ingress", R"({"fromNodes": [{}]})", ".fromNodes"},
        Unsupported{"ingress", R"({"fromGroups": [{}]})", ".fromGroups"},
        Unsupported{"ingress", R"({"fromRequires": []})", ".fromRequires"},
        Unsupported{"ingressDeny", R"({"fromNodes": [{}]})", ".fromNodes"},
        Unsupported{"egress", R"({"toNodes": [{}]})", ".toNodes"},
        Unsupported{"egress", R"({"toGroups": [{}]})", ".toGroups"},
        Unsupported{"egress", R"({"toRequires": [{}]})", ".toRequires"},
        Unsupported{"egress",
                    R"({"toPorts": [{"ports": [{"port": "443"}],
                                     "serverNames": ["a.b"]}]})",
                    ".toPorts[0].serverNames"},
        Unsupported{"egress",
                    R"({"toPorts": [{"ports": [{"port": "443"}],
                                     "terminatingTLS": {}}]})",
                    ".toPorts[0].terminatingTLS"},
        Unsupported{"egress",
                    R"({"toPorts": [{"ports": [{"port": "443"}],
                                     "originatingTLS": {}}]})",
                    ".toPorts[0].originatingTLS"},
        Unsupported{"egress",
                    R"({"toPorts": [{"ports": [{"port": "443"}],
                                     "listener": {}}]})",
                    ".toPorts[0].listener"},
        Unsupported{"ingress",
                    R"({"fromEndpoints": [{"matchCELExpression": "true"}]})",
                    ".fromEndpoints[0].matchCELExpression"}));

TEST(NotSupportedElsewhere, rules_of_layer_7_by_their_names) {
  EXPECT_EQ(rejection(cnp_ingress(
                R"({"toPorts": [{"ports": [{"port": "80"}],
                                 "rules": {"http": [{}], "kafka": [{}]}}]})")),
            "spec.ingress[0].toPorts[0].rules: not supported: \"http\", "
            "\"kafka\"");
  const auto without = accepted(cnp(R"({"endpointSelector": {}, "ingress": [
      {"toPorts": [{"ports": [{"port": "80"}], "rules": {}}]}]})"));
  EXPECT_EQ(without.specs.size(), 1U);
}

TEST(NotSupportedElsewhere, node_policies_authentication_and_protocols) {
  EXPECT_THAT(rejection(ccnp(R"({"nodeSelector": {}, "ingress": [{}]})")),
              StartsWith("spec.nodeSelector: not supported"));
  for (const char* mode : {"required", "test-always-fail"}) {
    EXPECT_THAT(rejection(cnp_ingress(
                    R"({"fromEndpoints": [{}], "authentication": {"mode": ")" +
                    std::string(mode) + R"("}})")),
                StartsWith("spec.ingress[0].authentication.mode: mode"));
  }
  for (const char* protocol :
       {"VRRP", "IGMP", "GRE", "IPIP", "IPV6", "ESP", "AH"}) {
    EXPECT_EQ(rejection(cnp_ingress(
                  R"({"toPorts": [{"ports": [{"port": "0", "protocol": ")" +
                  std::string(protocol) + R"("}]}]})")),
              "spec.ingress[0].toPorts[0].ports[0].protocol: protocol \"" +
                  std::string(protocol) + "\" is not supported");
  }
}

// ---- everything that is wrong -----------------------------------------------

struct Bad {
  const char* spec;
  const char* error;  // the whole of it
};

class CiliumErrors : public testing::TestWithParam<Bad> {};

TEST_P(CiliumErrors, name_the_field) {
  EXPECT_EQ(rejection(cnp(GetParam().spec)), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    spec, CiliumErrors,
    testing::Values(
        Bad{"null", "spec: must be an object, is null"},
        Bad{"[]", "spec: must be an object, is a list"},
        Bad{R"({"ingress": [{}]})", "spec: endpointSelector must be set"},
        Bad{R"({"endpointSelector": null, "ingress": [{}]})",
            "spec.endpointSelector: must be an object, is null"},
        Bad{R"({"endpointSelector": {}, "ingress": {}, "egress": [{}]})",
            "spec.ingress: must be a list, is an object"},
        Bad{R"({"endpointSelector": {}, "ingress": ["x"]})",
            "spec.ingress[0]: must be an object, is a string"},
        Bad{R"({"endpointSelector": {}, "ingress": [{}], "ingres": []})",
            "spec.ingres: unknown field"},
        Bad{R"({"endpointSelector": {}, "ingress": [{}], "a b": 1})",
            R"(spec["a b"]: unknown field)"},
        Bad{R"({"endpointSelector": {}, "ingress": [{}],
                "enableDefaultDeny": {"ingress": "false"}})",
            "spec.enableDefaultDeny.ingress: must be true or false, is a string"},
        Bad{R"({"endpointSelector": {}, "ingress": [{}],
                "enableDefaultDeny": {"inbound": true}})",
            "spec.enableDefaultDeny.inbound: unknown field"},
        Bad{R"({"endpointSelector": {}, "ingress": [{}], "description": 1})",
            "spec.description: must be a string, is a number"},
        Bad{R"({"endpointSelector": {}, "ingress": [{}], "labels": ["a"]})",
            "spec.labels[0]: must be an object, is a string"},
        Bad{R"({"endpointSelector": {}, "ingress": [{}], "labels": [{}]})",
            "spec.labels[0].key: must be set"},
        Bad{R"({"endpointSelector": {}, "ingress": [{}],
                "log": {"value": "123456789012345678901234567890123"}})",
            "spec.log.value: must have at most 32 characters, has 33"},
        Bad{R"({"endpointSelector": {}, "ingress": [{}],
                "log": {"value": "a\nb"}})",
            R"(spec.log.value: must be printable, is "a\nb")"},
        Bad{R"({"endpointSelector": {}, "ingress": [{}],
                "log": {"value": "a\u202eb"}})",
            // NOLINTNEXTLINE(misc-misleading-bidirectional): what is refused
            "spec.log.value: must be printable, is \"a\u202eb\""}));

INSTANTIATE_TEST_SUITE_P(
    selectors, CiliumErrors,
    testing::Values(
        Bad{R"({"endpointSelector": {"matchLabel": {}}, "ingress": [{}]})",
            "spec.endpointSelector.matchLabel: unknown field"},
        Bad{R"({"endpointSelector": {"matchLabels": []}, "ingress": [{}]})",
            "spec.endpointSelector.matchLabels: must be an object, is a list"},
        Bad{R"({"endpointSelector": {"matchLabels": {"a": true}},
                "ingress": [{}]})",
            "spec.endpointSelector.matchLabels.a: must be a string, is a "
            "boolean"},
        Bad{R"({"endpointSelector": {"matchLabels": {"bad key": "x"}},
                "ingress": [{}]})",
            R"(spec.endpointSelector.matchLabels["bad key"]: not a label key: "bad key")"},
        Bad{R"({"endpointSelector": {"matchLabels": {"a": "-x"}},
                "ingress": [{}]})",
            R"(spec.endpointSelector.matchLabels.a: not a label value: "-x")"},
        Bad{R"({"endpointSelector": {"matchLabels": {"k8s:": "x"}},
                "ingress": [{}]})",
            R"(spec.endpointSelector.matchLabels["k8s:"]: not a label key: "k8s:")"},
        Bad{R"({"endpointSelector": {"matchExpressions": [{"operator": "Exists"}]},
                "ingress": [{}]})",
            "spec.endpointSelector.matchExpressions[0].key: must be set"},
        Bad{R"({"endpointSelector": {"matchExpressions": [{"key": "a"}]},
                "ingress": [{}]})",
            "spec.endpointSelector.matchExpressions[0].operator: must be set"},
        Bad{R"({"endpointSelector": {"matchExpressions":
                 [{"key": "a", "operator": "in", "values": ["b"]}]},
                "ingress": [{}]})",
            R"(spec.endpointSelector.matchExpressions[0].operator: must be In, NotIn, Exists or DoesNotExist, is "in")"},
        Bad{R"({"endpointSelector": {"matchExpressions":
                 [{"key": "a", "operator": "NotIn", "values": []}]},
                "ingress": [{}]})",
            "spec.endpointSelector.matchExpressions[0]: values must not be "
            "empty for In and NotIn"},
        Bad{R"({"endpointSelector": {"matchExpressions":
                 [{"key": "a", "operator": "Exists", "values": ["b"]}]},
                "ingress": [{}]})",
            "spec.endpointSelector.matchExpressions[0].values: must be empty "
            "for Exists and DoesNotExist"},
        Bad{R"({"endpointSelector": {"matchExpressions":
                 [{"key": "a", "operator": "In", "values": ["a b"]}]},
                "ingress": [{}]})",
            R"(spec.endpointSelector.matchExpressions[0].values[0]: not a label value: "a b")"}));

class CiliumRuleErrors : public testing::TestWithParam<Bad> {};

TEST_P(CiliumRuleErrors, name_the_field) {
  EXPECT_EQ(rejection(cnp_egress(GetParam().spec)),
            std::string("spec.egress[0]") + GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    peers, CiliumRuleErrors,
    testing::Values(
        Bad{R"({"toEndpoint": [{}]})", ".toEndpoint: unknown field"},
        Bad{R"({"fromEndpoints": [{}]})", ".fromEndpoints: unknown field"},
        Bad{R"({"toEndpoints": {}})",
            ".toEndpoints: must be a list, is an object"},
        Bad{R"({"toEndpoints": null})",
            ".toEndpoints: must be a list, is null"},
        Bad{R"({"toEndpoints": ["a"]})",
            ".toEndpoints[0]: must be an object, is a string"},
        Bad{R"({"toEntities": ["World"]})",
            R"(.toEntities[0]: unsupported entity "World")"},
        Bad{R"({"toEntities": ["all", 1]})",
            ".toEntities[1]: must be a string, is a number"},
        Bad{R"({"toCIDR": ["10.0.0.0/33"]})",
            R"(.toCIDR[0]: unable to parse CIDR "10.0.0.0/33")"},
        Bad{R"({"toCIDR": [""]})", R"(.toCIDR[0]: unable to parse CIDR "")"},
        Bad{R"({"toCIDR": ["203.0.113.7"]})",
            R"(.toCIDR[0]: no prefix length in CIDR "203.0.113.7", write "203.0.113.7/32")"},
        Bad{R"({"toCIDR": ["::ffff:10.0.0.0/8"]})",
            R"(.toCIDR[0]: unable to parse CIDR "::ffff:10.0.0.0/8": write the IPv4 address as such)"},
        Bad{R"({"toCIDRSet": ["10.0.0.0/8"]})",
            ".toCIDRSet[0]: must be an object, is a string"},
        Bad{R"({"toCIDRSet": [{}]})",
            ".toCIDRSet[0]: must have exactly one of cidr, cidrGroupRef, "
            "cidrGroupSelector"},
        Bad{R"({"toCIDRSet": [{"cidr": "10.0.0.0/8", "excepts": []}]})",
            ".toCIDRSet[0].excepts: unknown field"},
        Bad{R"({"toCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["::/8"]}]})",
            R"(.toCIDRSet[0].except[0]: CIDR prefix 10.0.0.0/8 does not contain exclude CIDR prefix "::/8")"},
        Bad{R"({"toCIDRSet": [{"cidrGroupRef": ""}]})",
            R"(.toCIDRSet[0].cidrGroupRef: not a name: "")"},
        Bad{R"({"toCIDRSet": [{"cidrGroupRef": "g", "except": ["x"]}]})",
            R"(.toCIDRSet[0].except[0]: unable to parse CIDR "x")"},
        Bad{R"({"toEndpoints": [{}], "authentication": {"mode": "maybe"}})",
            R"(.authentication.mode: must be disabled, required or test-always-fail, is "maybe")"},
        Bad{R"({"toEndpoints": [{}], "authentication": {}})",
            ".authentication.mode: must be set"}));

INSTANTIATE_TEST_SUITE_P(
    ports, CiliumRuleErrors,
    testing::Values(
        Bad{R"({"toPorts": [1]})",
            ".toPorts[0]: must be an object, is a number"},
        Bad{R"({"toPorts": [{"port": "80"}]})",
            ".toPorts[0].port: unknown field"},
        Bad{R"({"toPorts": [{"ports": [{}]}]})",
            ".toPorts[0].ports[0]: port must be specified"},
        Bad{R"({"toPorts": [{"ports": [{"port": 80}]}]})",
            ".toPorts[0].ports[0].port: must be a string, is a number"},
        Bad{R"({"toPorts": [{"ports": [{"port": "-1"}]}]})",
            R"(.toPorts[0].ports[0].port: unable to parse port "-1")"},
        Bad{R"({"toPorts": [{"ports": [{"port": "089"}]}]})",
            R"(.toPorts[0].ports[0].port: unable to parse port "089")"},
        Bad{R"({"toPorts": [{"ports": [{"port": "abcdefghijklmnop"}]}]})",
            R"(.toPorts[0].ports[0].port: unable to parse port "abcdefghijklmnop")"},
        Bad{R"({"toPorts": [{"ports": [{"port": "80", "endPort": 65536}]}]})",
            ".toPorts[0].ports[0].endPort: must be from 0 to 65535, is 65536"},
        Bad{R"({"toPorts": [{"ports": [{"port": "80", "endPort": "90"}]}]})",
            ".toPorts[0].ports[0].endPort: must be a whole number, is a string"},
        Bad{R"({"toPorts": [{"ports": [{"port": "80", "protocol": "tcp"}]}]})",
            R"(.toPorts[0].ports[0].protocol: must be TCP, UDP, SCTP or ANY, is "tcp")"},
        Bad{R"({"toPorts": [{"ports": [{"port": "80", "proto": "TCP"}]}]})",
            ".toPorts[0].ports[0].proto: unknown field"},
        Bad{R"({"icmps": [{"types": []}]})", ".icmps[0].types: unknown field"},
        Bad{R"({"icmps": [{"fields": [{"family": "IPv4"}]}]})",
            ".icmps[0].fields[0].type: must be set"},
        Bad{R"({"icmps": [{"fields": [{"type": 8.5}]}]})",
            ".icmps[0].fields[0].type: must be a number or a name, is a number"},
        Bad{R"({"icmps": [{"fields": [{"type": -1}]}]})",
            ".icmps[0].fields[0].type: must be from 0 to 2147483647, is -1"},
        Bad{R"({"icmps": [{"fields": [{"type": "08"}]}]})",
            R"(.icmps[0].fields[0].type: not an ICMP type of IPv4: "08")"},
        Bad{R"({"icmps": [{"fields": [{"type": 8, "family": "ipv4"}]}]})",
            R"(.icmps[0].fields[0].family: must be IPv4 or IPv6, is "ipv4")"},
        Bad{R"({"icmps": [{"fields": [{"type": 8, "code": 0}]}]})",
            ".icmps[0].fields[0].code: unknown field"}));

TEST(CiliumDenyRules, have_no_members_that_only_allow_rules_have) {
  EXPECT_EQ(rejection(cnp(R"({"endpointSelector": {}, "egressDeny": [
                {"toFQDNs": [{"matchName": "a"}]}]})")),
            "spec.egressDeny[0].toFQDNs: unknown field");
  EXPECT_EQ(rejection(cnp(R"({"endpointSelector": {}, "ingressDeny": [
                {"authentication": {"mode": "disabled"}}]})")),
            "spec.ingressDeny[0].authentication: unknown field");
  EXPECT_EQ(rejection(cnp(R"({"endpointSelector": {}, "ingressDeny": [
                {"toPorts": [{"ports": [{"port": "80"}], "rules": {}}]}]})")),
            "spec.ingressDeny[0].toPorts[0].rules: unknown field");
}

class NetworkPolicyErrors : public testing::TestWithParam<Bad> {};

TEST_P(NetworkPolicyErrors, name_the_field) {
  EXPECT_EQ(rejection(netpol(GetParam().spec)), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    spec, NetworkPolicyErrors,
    testing::Values(
        Bad{R"({"podSelector": {}, "endpointSelector": {}})",
            "spec.endpointSelector: unknown field"},
        Bad{R"({"podSelector": {"matchLabels": {"k8s:app": "a"}}})",
            R"(spec.podSelector.matchLabels["k8s:app"]: not a label key: "k8s:app")"},
        Bad{R"({"podSelector": {}, "policyTypes": ["ingress"]})",
            R"(spec.policyTypes[0]: must be Ingress or Egress, is "ingress")"},
        Bad{R"({"podSelector": {}, "policyTypes":
                ["Ingress", "Egress", "Ingress"]})",
            "spec.policyTypes: must have at most 2 elements, has 3"},
        Bad{R"({"podSelector": {}, "ingress": [{"to": []}]})",
            "spec.ingress[0].to: unknown field"},
        Bad{R"({"podSelector": {}, "ingress": [{"from": [{}]}]})",
            "spec.ingress[0].from[0]: must specify a peer"},
        Bad{R"({"podSelector": {}, "ingress": [{"from": [
                {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]})",
            "spec.ingress[0].from[0].ipBlock: must not be combined with "
            "podSelector or namespaceSelector"},
        Bad{R"({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {}}]}]})",
            "spec.ingress[0].from[0].ipBlock.cidr: must be set"},
        Bad{R"({"podSelector": {}, "ingress": [{"from":
                [{"ipBlock": {"cidr": "10.0.0.1"}}]}]})",
            R"(spec.ingress[0].from[0].ipBlock.cidr: no prefix length in CIDR "10.0.0.1", write "10.0.0.1/32")"},
        Bad{R"({"podSelector": {}, "ingress": [{"ports": [{"port": "80"}]}]})",
            R"(spec.ingress[0].ports[0].port: not a port name: "80")"},
        Bad{R"({"podSelector": {}, "ingress": [{"ports": [{"port": "HTTP"}]}]})",
            R"(spec.ingress[0].ports[0].port: not a port name: "HTTP")"},
        Bad{R"({"podSelector": {}, "ingress": [{"ports": [{"port": 65536}]}]})",
            "spec.ingress[0].ports[0].port: must be from 1 to 65535, is 65536"},
        Bad{R"({"podSelector": {}, "ingress":
                [{"ports": [{"port": 18446744073709551615}]}]})",
            "spec.ingress[0].ports[0].port: must be from 1 to 65535, is "
            "18446744073709551615"},
        Bad{R"({"podSelector": {}, "ingress": [{"ports": [{"protocol": "ICMP"}]}]})",
            R"(spec.ingress[0].ports[0].protocol: must be TCP, UDP or SCTP, is "ICMP")"}));

// ---- the object around the spec
// ----------------------------------------------

TEST(PolicyObject, names_are_checked) {
  json object = cnp_ingress("{}");
  object["metadata"]["name"] = "Not A Name";
  EXPECT_EQ(rejection(object), R"(metadata.name: not a name: "Not A Name")");
  object["metadata"]["name"] = 7;
  EXPECT_EQ(rejection(object), "metadata.name: must be a string, is a number");
  for (const char* missing :
       {R"({})", R"({"name": ""})", R"({"name": null})"}) {
    object["metadata"] = json::parse(missing);
    EXPECT_EQ(rejection(object), "metadata.name: must be set");
  }
  object.erase("metadata");
  EXPECT_EQ(rejection(object), "metadata.name: must be set");
  object["metadata"] = "x";
  EXPECT_EQ(rejection(object), "metadata: must be an object, is a string");
}

TEST(PolicyObject, metadata_and_status_are_the_servers_affair) {
  json object = cnp_ingress("{}");
  object["metadata"]["creationTimestamp"] = nullptr;
  object["metadata"]["managedFields"] = json::array();
  object["status"] = {{"conditions", json::array()}};
  EXPECT_EQ(rejection(object), "accepted");
}

TEST(PolicyObject, neither_spec_nor_specs) {
  json object = cnp_ingress("{}");
  object.erase("spec");
  EXPECT_EQ(rejection(object), "spec: spec or specs must be provided");
}

TEST(PolicyObject, kinds_that_are_policies) {
  EXPECT_TRUE(is_policy("cilium.io/v2", "CiliumNetworkPolicy"));
  EXPECT_TRUE(is_policy("cilium.io/v2", "CiliumClusterwideNetworkPolicy"));
  EXPECT_TRUE(is_policy("networking.k8s.io/v1", "NetworkPolicy"));
  EXPECT_TRUE(
      is_policy("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"));
  EXPECT_FALSE(is_policy("cilium.io/v2", "CiliumCIDRGroup"));
  EXPECT_FALSE(is_policy("extensions/v1beta1", "NetworkPolicy"));
  EXPECT_FALSE(is_policy("", ""));
}

TEST(PolicyObject, every_problem_is_told) {
  EXPECT_EQ(rejection(cnp(R"({"endpointSelector": {}, "egress": [
                {"toEntities": ["foo"]}, {"toCIDR": ["x"]}]})")),
            R"(spec.egress[0].toEntities[0]: unsupported entity "foo"; )"
            R"(spec.egress[1].toCIDR[0]: unable to parse CIDR "x")");
  const std::string many = rejection(
      netpol(R"({"podSelector": {}, "a": 0, "b": 0, "c": 0, "d": 0, "e": 0,
                 "f": 0, "g": 0, "h": 0, "i": 0, "j": 0, "k": 0, "l": 0})"));
  EXPECT_THAT(many, HasSubstr("; and 2 more"));
}

// ---- any JSON anywhere
// ----------------------------------------------------------

const std::vector<json>& odd_values() {
  static const std::vector<json> values{nullptr,
                                        true,
                                        -1,
                                        18446744073709551615ULL,
                                        1.5,
                                        "",
                                        "\xff\xfe",
                                        std::string(10000, 'a'),
                                        json::array(),
                                        json::object(),
                                        json::array({nullptr}),
                                        json{{"", nullptr}}};
  return values;
}

// Replaces each value of `at` in turn by each odd one and parses the whole.
void replace_everywhere(json& whole, json& at, int& count) {
  if (at.is_structured()) {
    for (json& element : at) {
      replace_everywhere(whole, element, count);
    }
  }
  const json kept = at;
  for (const json& odd : odd_values()) {
    at = odd;
    const auto policy = parse_policy(whole);
    if (!policy) {
      EXPECT_FALSE(policy.error().message.empty());
      // Messages are valid UTF-8, whatever they quote.
      EXPECT_NO_THROW((void)json(policy.error().message).dump());
    }
    ++count;
  }
  at = kept;
}

TEST(PolicyObject, any_value_anywhere_gives_a_policy_or_an_error) {
  std::vector<json> objects{
      cnp(R"({"endpointSelector": {"matchExpressions":
               [{"key": "a", "operator": "In", "values": ["b"]}]},
              "labels": [{"key": "a", "value": "b", "source": "c"}],
              "enableDefaultDeny": {"ingress": true}, "log": {"value": "v"},
              "description": "d",
              "ingress": [{"fromEndpoints": [{"matchLabels": {"a": "b"}}],
                           "authentication": {"mode": "disabled"}},
                          {"icmps": [{"fields": [{"type": 8, "family": "IPv4"}]}]}],
              "egressDeny": [{"toEntities": ["world"],
                 "toPorts": [{"ports": [{"port": "1", "endPort": 2,
                                         "protocol": "TCP"}]}]},
                {"toCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["10.0.0.0/9"]},
                               {"cidrGroupRef": "g"},
                               {"cidrGroupSelector": {}}]},
                {"toCIDR": ["::/0"]}]})"),
      netpol(R"({"podSelector": {}, "policyTypes": ["Ingress"],
                 "ingress": [{"from": [{"podSelector": {}, "namespaceSelector": {}},
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/9"]}}],
                    "ports": [{"port": 1, "endPort": 2, "protocol": "UDP"},
                              {"port": "http"}]}]})"),
      kcnp(R"({"tier": "Admin", "priority": 1,
               "subject": {"pods": {"podSelector": {}, "namespaceSelector": {}}},
               "ingress": [{"action": "Deny", "name": "n",
                            "from": [{"namespaces": {}}]}],
               "egress": [{"action": "Pass", "to": [{"networks": ["::/0"]}],
                  "protocols": [{"tcp": {"destinationPort": {"number": 1}}},
                    {"udp": {"destinationPort": {"range":
                       {"start": 1, "end": 2}}}}]}]})")};
  int count = 0;
  for (json& object : objects) {
    EXPECT_EQ(rejection(object), "accepted");
    replace_everywhere(object, object, count);
  }
  EXPECT_GT(count, 1000);
}

TEST(PolicyObject, that_is_no_object) {
  for (const json& odd : odd_values()) {
    EXPECT_FALSE(parse_policy(odd).has_value());
  }
}

}  // namespace
}  // namespace sluice::policy::test
