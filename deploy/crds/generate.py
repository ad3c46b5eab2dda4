#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the CustomResourceDefinitions in this folder.

  deploy/crds/generate.py            writes them
  deploy/crds/generate.py --check    fails if what is there differs

A policy's schema stands four times in them (spec and specs of two kinds), and
definitions have no references; so it is written down here, once.

Two rules. What is in the schema is checked as the operator would check it, so
that `kubectl apply` says what is wrong. And nothing is ever pruned: the API
server drops fields that a schema does not know, and a policy that lost a field
may allow what the field forbade. Every object keeps what the schema does not
know; the operator then refuses the policy and says which field it was.
"""

import json
import os
import re
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_GROUP = "cilium.io"

# ---- building blocks -----------------------------------------------------------------


def struct(description, properties, required=(), **more):
    """An object that keeps unknown fields."""
    result = {"type": "object", "description": description,
              "x-kubernetes-preserve-unknown-fields": True, "properties": properties}
    if required:
        result["required"] = list(required)
    return {**result, **more}


def array(description, items, **more):
    return {"type": "array", "description": description, "items": items, **more}


def text(description=None, **more):
    result = {"type": "string"}
    if description:
        result["description"] = description
    return {**result, **more}


# ---- selectors -----------------------------------------------------------------------

_LABEL_VALUE = {"maxLength": 63, "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"}
# A label key with an optional source: "k8s:app", "any:example.com/app", "reserved:host".
_LABEL_KEY = {"minLength": 1, "maxLength": 317, "pattern": "^[-A-Za-z0-9_.:$/]+$"}


def selector(description):
    expression = struct(
        "What a label's value, or its presence, must be.",
        {"key": text("The label's key, with or without its source (\"k8s:app\", \"app\").", **_LABEL_KEY),
         "operator": text(enum=["In", "NotIn", "Exists", "DoesNotExist"]),
         "values": array("For In and NotIn: one or more. Otherwise: none.", text(**_LABEL_VALUE))},
        ["key", "operator"],
        anyOf=[{"required": ["values"],
                "properties": {"operator": {"enum": ["In", "NotIn"]}, "values": {"minItems": 1}}},
               {"properties": {"operator": {"enum": ["Exists", "DoesNotExist"]},
                               "values": {"maxItems": 0}}}])
    return struct(description, {
        "matchLabels": {"type": "object", "description": "Labels that must have these values.",
                        "additionalProperties": text(**_LABEL_VALUE)},
        "matchExpressions": array("All of them must hold.", expression)})


# ---- layer 3 -------------------------------------------------------------------------

_ENTITIES = ["all", "cluster", "health", "host", "ingress", "init", "kube-apiserver", "none",
             "remote-node", "unmanaged", "world"]
_SUBDOMAIN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


def cidr(description=None):
    return text(description, format="cidr")


def cidr_rule():
    return struct(
        "Addresses: a CIDR or a group of them, without what is in `except`.",
        {"cidr": cidr("Such as 10.0.0.0/8 or 2001:db8::/32."),
         "cidrGroupRef": text("Name of a CiliumCIDRGroup; one that does not exist matches nothing.",
                              maxLength=253, pattern=_SUBDOMAIN),
         "cidrGroupSelector": selector("CiliumCIDRGroups by their labels."),
         "except": array("Not granted by this rule; another rule may still grant it.", cidr())},
        oneOf=[{"required": [name]} for name in ("cidr", "cidrGroupRef", "cidrGroupSelector")])


def peers(word, deny):
    """The members of a rule that name peers. `word` is "from" or "to"."""
    result = {
        word + "Endpoints": array("Pods. In a namespaced policy those of its namespace, unless the "
                                  "selector names one. An empty list selects nobody.",
                                  selector("Pods by their labels.")),
        word + "Entities": array("Peers by what they are.", text(enum=_ENTITIES)),
        word + "CIDR": array("Addresses outside the cluster.", cidr()),
        word + "CIDRSet": array("Addresses outside the cluster, with exceptions.", cidr_rule()),
    }
    if word == "to":
        result["toServices"] = array("What stands behind Services.", service())
    if word == "to" and not deny:
        result["toFQDNs"] = array(
            "Addresses outside the cluster that the pod's DNS servers have given it for names. Not "
            "beside other peers, nor beside `rules`.",
            dns_names("Names, by exactly one of the two.", oneOf=_NAME_OR_PATTERN))
    return result


# ---- names ---------------------------------------------------------------------------

_NAME_OR_PATTERN = [{"required": [name]} for name in ("matchName", "matchPattern")]


def dns_names(description, **more):
    def pattern(star):
        label = f"[-a-zA-Z0-9_{star}]+"
        return {"minLength": 1, "maxLength": 255, "pattern": f"^{label}([.]{label})*[.]?$"}
    return struct(description, {
        "matchName": text("One name, such as api.example.com.", **pattern("")),
        "matchPattern": text(
            "A name with stars. A star stands for zero or more letters, digits, hyphens and "
            "underscores; \"**.\" at the start stands for one or more labels; \"*\" alone is every "
            "name.", **pattern("*"))}, **more)


def service():
    namespace = text("Empty: the policy's own.", maxLength=63)
    return struct("A Service by name, or Services by their labels.", {
        "k8sService": struct("One Service.",
                             {"serviceName": text(maxLength=253), "namespace": namespace}),
        "k8sServiceSelector": struct("Services by their labels.",
                                     {"selector": selector("Labels of Services."),
                                      "namespace": namespace}, ["selector"])})


# ---- layer 4 -------------------------------------------------------------------------

# A number up to 65535, or a name with at least one letter.
_PORT = ("^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4}"
         "|([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*)$")
_ICMP_TYPES = """
    EchoReply DestinationUnreachable Redirect Echo EchoRequest RouterAdvertisement RouterSelection
    TimeExceeded ParameterProblem Timestamp TimestampReply Photuris ExtendedEchoRequest
    ExtendedEchoReply PacketTooBig MulticastListenerQuery MulticastListenerReport
    MulticastListenerDone RouterSolicitation NeighborSolicitation NeighborAdvertisement
    RedirectMessage RouterRenumbering ICMPNodeInformationQuery ICMPNodeInformationResponse
    InverseNeighborDiscoverySolicitation InverseNeighborDiscoveryAdvertisement
    HomeAgentAddressDiscoveryRequest HomeAgentAddressDiscoveryReply MobilePrefixSolicitation
    MobilePrefixAdvertisement DuplicateAddressRequestCodeSuffix
    DuplicateAddressConfirmationCodeSuffix""".split() + ["ExtendedEcho Request", "ExtendedEcho Reply"]
_ICMP_PATTERN = "^([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]|" + "|".join(_ICMP_TYPES) + ")$"


def layer4(word, deny):
    port = struct(
        "A port of the pod (not of the Service), or a range of them.",
        {"port": text("A number, or a name from the container's ports. \"0\": any.", minLength=1,
                      maxLength=15, pattern=_PORT),
         "endPort": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 65535,
                     "description": "Last port of a range that begins with `port`."},
         "protocol": text("ANY, or none: TCP, UDP and SCTP.", enum=["TCP", "UDP", "SCTP", "ANY"])},
        ["port"])
    icmp = struct(
        "An ICMP type.",
        {"family": text("IPv4 where it is left out.", enum=["IPv4", "IPv6"]),
         "type": {"description": "A number or a name.", "x-kubernetes-int-or-string": True,
                  "minimum": 0, "pattern": _ICMP_PATTERN}},
        ["type"])
    element = {"ports": array("At most 40.", port, maxItems=40)}
    if word == "to" and not deny:
        element["rules"] = struct("Only `dns`; rules for other protocols are not supported.", {
            "dns": array("The names that may be asked for at these ports, which must be single ports "
                         "of TCP and UDP. What the answers say is learned for toFQDNs. None: every name.",
                         dns_names("Names, by one of the two or both.", anyOf=_NAME_OR_PATTERN))})
    return {
        "toPorts": array("Ports; none: all protocols and ports.", struct("A list of ports.", element)),
        "icmps": array("ICMP types. Not in one rule with toPorts.", struct(
            "A list of ICMP types.", {"fields": array("At most 40.", icmp, maxItems=40)})),
    }


# ---- policies ------------------------------------------------------------------------


def rules(word, deny):
    properties = {**peers(word, deny), **layer4(word, deny)}
    if not deny:
        properties["authentication"] = struct(
            "Only `disabled` is enforced.",
            {"mode": text(enum=["disabled", "required", "test-always-fail"])}, ["mode"])
    what = "Denies" if deny else "Allows"
    return array(f"{what} traffic {word} peers. One kind of peer per rule; rules add up."
                 + (" What is denied cannot be allowed by another rule." if deny else ""),
                 struct("Peers and what they may do.", properties))


def policy_spec():
    sections = ("ingress", "ingressDeny", "egress", "egressDeny")
    properties = {
        "description": text("For people."),
        "endpointSelector": selector("The pods that the rules are for; {} is all pods in scope."),
        "enableDefaultDeny": struct(
            "Whether pods that are selected may do only what is allowed. By default yes, for each "
            "direction that has rules.",
            {"ingress": {"type": "boolean"}, "egress": {"type": "boolean"}}),
        "log": struct("Marks flow events of this policy.",
                      {"value": text(maxLength=32, pattern="^\\PC*$")}),
        "labels": array("Labels of the policy itself.", struct(
            "A label.", {"key": text(), "source": text(), "value": text()}, ["key"])),
    }
    for name in sections:
        properties[name] = rules("from" if name.startswith("in") else "to", name.endswith("Deny"))
    return struct(
        "Rules for the pods that endpointSelector selects.", properties, ["endpointSelector"],
        anyOf=[{"required": [s], "properties": {s: {"minItems": 1}}} for s in sections])


def status():
    condition = {
        "type": "object", "required": ["type", "status"],
        "properties": {
            "type": text("Valid: the policy was understood. Enforced: every node with pods that it "
                         "selects enforces this version of it."),
            "status": text(enum=["True", "False", "Unknown"]),
            "reason": text("One word for programs."),
            "message": text("For people: which field, which nodes, why."),
            "lastTransitionTime": text(format="date-time"),
            "observedGeneration": {"type": "integer", "format": "int64",
                                   "description": "The generation of the policy that this is about."}}}
    return {"type": "object", "description": "Written by the operator.",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"conditions": {
                "type": "array", "items": condition, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"]}}}


# That there is a spec or specs cannot be said: at the top, a definition with a status takes no
# alternatives. The operator says it.
def _top(description, properties, **more):
    return struct(description, {
        "apiVersion": text(), "kind": text(), "metadata": {"type": "object"}, **properties,
        "status": status()}, **more)


def _column(kind, priority=0, field="status"):
    name = kind.upper() if not priority else f"{kind} {field}".upper()
    result = {"name": name, "type": "string",
              "jsonPath": f".status.conditions[?(@.type=='{kind}')].{field}"}
    return {**result, "priority": priority} if priority else result


_AGE = {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def definition(kind, plural, short, scope, schema, versions, columns):
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{_GROUP}", "labels": {"app.kubernetes.io/part-of": "sluice"}},
        "spec": {
            "group": _GROUP, "scope": scope,
            "names": {"kind": kind, "listKind": kind + "List", "plural": plural,
                      "singular": kind.lower(), "shortNames": short},
            "versions": [{"name": version, "served": True, "storage": number == 0,
                          "additionalPrinterColumns": columns, "subresources": {"status": {}},
                          "schema": {"openAPIV3Schema": schema}}
                         for number, version in enumerate(versions)]}}


def definitions():
    """{file name: definition}"""
    policy = _top("Network policy; see docs/semantics.md of Sluice.",
                  {"spec": policy_spec(), "specs": array("More of them.", policy_spec())})
    group = _top("A named list of CIDRs that policies refer to.", {
        "spec": struct("The list.", {"externalCIDRs": array("Addresses outside the cluster.", cidr())},
                       ["externalCIDRs"])}, required=["spec"])
    columns = [_column("Valid"), _column("Enforced"), _AGE, _column("Valid", 1, "message"),
               _column("Enforced", 1, "message")]
    made = [
        definition("CiliumNetworkPolicy", "ciliumnetworkpolicies", ["cnp", "ciliumnp"], "Namespaced",
                   policy, ["v2"], columns),
        definition("CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies", ["ccnp"],
                   "Cluster", policy, ["v2"], columns),
        # The same under its older name, for manifests that use it.
        definition("CiliumCIDRGroup", "ciliumcidrgroups", ["ccg"], "Cluster", group,
                   ["v2", "v2alpha1"], [_column("Valid"), _AGE, _column("Valid", 1, "message")]),
    ]
    return {d["spec"]["names"]["plural"] + ".yaml": d for d in made}


# ---- YAML ----------------------------------------------------------------------------

_PLAIN = re.compile(r"^[A-Za-z][-A-Za-z0-9_./]*$")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def _scalar(value):
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def yaml(value, indent=0):
    """Lines of block-style YAML."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        for key, member in value.items():
            if isinstance(member, (dict, list)) and member:
                yield f"{pad}{_scalar(key)}:"
                yield from yaml(member, indent + (not isinstance(member, list)))
            else:
                yield f"{pad}{_scalar(key)}: {_scalar(member)}"
    elif isinstance(value, list) and value:
        for element in value:
            lines = list(yaml(element, indent + 1)) if isinstance(element, (dict, list)) and element \
                else [pad + "  " + _scalar(element)]
            yield f"{pad}- {lines[0].lstrip()}"
            yield from lines[1:]
    else:
        yield pad + json.dumps(value)


def main():
    check, bad = "--check" in sys.argv[1:], []
    for name, content in definitions().items():
        path = os.path.join(_HERE, name)
        wanted = ("# SPDX-License-Identifier: Apache-2.0\n# Written by generate.py.\n"
                  + "\n".join(yaml(content)) + "\n")
        if check:
            try:
                with open(path, encoding="utf-8") as file:
                    same = file.read() == wanted
            except OSError:
                same = False
            bad += [] if same else [name]
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(wanted)
    if bad:
        sys.exit(f"not as generate.py writes them: {', '.join(bad)}")


if __name__ == "__main__":
    main()
