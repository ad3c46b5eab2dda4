# SPDX-License-Identifier: Apache-2.0
"""The cases of the Kubernetes project's end-to-end tests of NetworkPolicy, as data.

Three namespaces x, y, z with three pods a, b, c each. A case is a sequence of
steps; a step changes something and says what the whole table of connections
must be then. A table is a list of statements, of which the last one that fits a
pair of pods counts; without one the pair may talk. `D * > x/*` = nobody reaches
a pod in x; `A y/b > x/a` = but for y/b to x/a.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Step:
    tables: dict                 # what is sent ("tcp/80") to statements
    put: tuple = ()              # NetworkPolicies to create or replace
    remove: tuple = ()           # ("namespace", "name") of NetworkPolicies
    namespace_labels: dict = dataclasses.field(default_factory=dict)  # added to a namespace
    pod_labels: dict = dataclasses.field(default_factory=dict)        # added to a pod


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    steps: tuple


_NAME = "kubernetes.io/metadata.name"
_ANY = {}


def _policy(name, pods, ns="x", ingress=None, egress=None):
    """Of which directions there are rules (also none at all), those it is about."""
    spec = {"podSelector": pods, "policyTypes": []}
    for direction, rules in (("Ingress", ingress), ("Egress", egress)):
        if rules is not None:
            spec["policyTypes"].append(direction)
            spec[direction.lower()] = rules
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": ns, "name": name}, "spec": spec}


def _pod(*names):
    if len(names) == 1:
        return {"matchLabels": {"pod": names[0]}}
    return {"matchExpressions": [{"key": "pod", "operator": "In", "values": list(names)}]}


def _ns(name, key=_NAME):
    return {"matchLabels": {key: name}}


def _ns_in(operator, *names):
    return {"matchExpressions": [{"key": _NAME, "operator": operator, "values": list(names)}]}


def _from(*peers, ports=None):
    return {"from": list(peers), **({"ports": ports} if ports else {})}


def _to(*peers, ports=None):
    return {"to": list(peers), **({"ports": ports} if ports else {})}


def _peer(pods=None, namespaces=None):
    return {**({} if pods is None else {"podSelector": pods}),
            **({} if namespaces is None else {"namespaceSelector": namespaces})}


def _blocks(*pairs):
    """ipBlocks of both families: (cidr, *excepts) each."""
    return [{"ipBlock": {"cidr": cidr, **({"except": list(excepts)} if excepts else {})}}
            for cidr, *excepts in pairs]


def _port(port=None, protocol="TCP"):
    return {"protocol": protocol, **({} if port is None else {"port": port})}


def _one(name, tables, *policies):
    return Case(name, (Step(tables, policies),))


def _tcp(port, *statements):
    return {f"tcp/{port}": statements}


# The addresses of tests/netns/lab.py.
_XB, _YB = ("10.0.0.12", "fd00::12"), ("10.0.1.12", "fd00:0:0:1::12")
_AROUND_XB = (("0.0.0.0/4", _XB[0] + "/32"), ("f000::/4", _XB[1] + "/128"))


def _hosts(addresses):
    return _blocks((addresses[0] + "/32",), (addresses[1] + "/128",))


_FROM_Y_81 = _policy("from-y-81", _pod("a"), ingress=[_from(_peer(namespaces=_ns("y")), ports=[_port(81)])])
_FROM_Y_80 = _policy("from-y-80", _pod("a"), ingress=[_from(_peer(namespaces=_ns("y")), ports=[_port(80)])])
_ONLY_Y = ("D x/* > x/a", "D z/* > x/a")

TCP = (
    _one("default deny of ingress", _tcp(80, "D * > x/*"), _policy("p", _ANY, ingress=[])),
    _one("default deny of both directions", _tcp(80, "D * > x/*", "D x/* > *"),
         _policy("p", _ANY, ingress=[], egress=[])),
    _one("a pod of the own namespace by podSelector", _tcp(80, "D * > x/a", "A x/b > x/a"),
         _policy("p", _pod("a"), ingress=[_from(_peer(_pod("b")))])),
    _one("default deny, and all pods may reach one",
         _tcp(80, "D * > x/b", "D * > x/c"),
         _policy("deny", _ANY, ingress=[]),
         _policy("allow", _pod("a"), ingress=[_from(_peer(_ANY, _ANY))])),
    _one("pods of all namespaces", _tcp(80),
         _policy("p", _pod("a"), ingress=[_from(_peer(namespaces=_ANY))])),
    _one("another namespace by namespaceSelector", _tcp(80, *_ONLY_Y),
         _policy("p", _pod("a"), ingress=[_from(_peer(namespaces=_ns("y")))])),
    _one("podSelector with matchExpressions", _tcp(80, "D * > x/a", "A x/b > x/a"),
         _policy("p", _pod("a"), ingress=[_from(_peer({"matchExpressions": [
             {"key": "pod", "operator": "In", "values": ["b"]}]}))])),
    _one("namespaceSelector with matchExpressions", _tcp(80, *_ONLY_Y),
         _policy("p", _pod("a"), ingress=[_from(_peer(namespaces=_ns_in("In", "y")))])),
    _one("podSelector or namespaceSelector", _tcp(80, "D x/c > x/a"),
         _policy("p", _pod("a"), ingress=[_from(_peer(namespaces=_ns_in("NotIn", "x")),
                                                _peer(_pod("b")))])),
    _one("podSelector and namespaceSelector",
         _tcp(80, "D * > x/a", "A y/b > x/a", "A z/b > x/a"),
         _policy("p", _pod("a"), ingress=[_from(_peer(_pod("b"), _ns_in("NotIn", "x")))])),
    _one("several pods of several namespaces", _tcp(80, "D x/* > x/a", "D y/a > x/a", "D z/a > x/a"),
         _policy("p", _pod("a"), ingress=[_from(_peer(_pod("b", "c"), _ns_in("NotIn", "x")))])),
    _one("any of two podSelectors", _tcp(80, "D * > x/a", "A x/b > x/a", "A x/c > x/a"),
         _policy("p", _pod("a"), ingress=[_from(_peer(_pod("b")), _peer(_pod("c")))])),
    _one("one pod of another namespace", _tcp(80, "D * > x/a", "A y/a > x/a"),
         _policy("p", _pod("a"), ingress=[_from(_peer(_pod("a"), _ns("y")))])),
    _one("a port", _tcp(81, *_ONLY_Y), _FROM_Y_81),
    Case("policies that overlap add up", (
        Step({**_tcp(81, *_ONLY_Y), **_tcp(80, "D * > x/a")}, (_FROM_Y_81,)),
        Step({**_tcp(81, *_ONLY_Y), **_tcp(80, *_ONLY_Y)}, (_FROM_Y_80,)))),
    _one("allow all", {**_tcp(80), **_tcp(81)}, _policy("p", _ANY, ingress=[{}])),
    _one("a named port", {**_tcp(81), **_tcp(80, "D * > x/*")},
         _policy("p", _ANY, ingress=[{"ports": [{"port": "serve-81-tcp"}]}])),
    _one("a named port, from one namespace", {**_tcp(80, *_ONLY_Y), **_tcp(81, "D * > x/a")},
         _policy("p", _pod("a"), ingress=[_from(_peer(namespaces=_ns("y")),
                                                ports=[_port("serve-80-tcp")])])),
    _one("egress to a named port", {**_tcp(80), **_tcp(81, "D x/* > *")},
         _policy("p", _ANY, egress=[{"ports": [{"port": "serve-80-tcp"}]}])),
    Case("a policy that is changed", (
        Step(_tcp(81), (_policy("p", _ANY, ingress=[{}]),)),
        Step(_tcp(81, "D * > x/*"), (_policy("p", _ANY, ingress=[]),)))),
    Case("a namespace that gets a label", (
        Step(_tcp(80, "D * > x/a"), (_policy("p", _pod("a"), ingress=[
            _from(_peer(namespaces=_ns("updated", "ns2")))]),)),
        Step(_tcp(80, "D * > x/a", "A y/* > x/a"), namespace_labels={"y": {"ns2": "updated"}}))),
    Case("a peer that gets a label", (
        Step(_tcp(80, "D * > x/a"), (_policy("p", _pod("a"), ingress=[
            _from(_peer({"matchLabels": {"pod": "b", "pod2": "updated"}}))]),)),
        Step(_tcp(80, "D * > x/a", "A x/b > x/a"), pod_labels={"x/b": {"pod2": "updated"}}))),
    _one("nobody from other namespaces", _tcp(80, "D y/* > x/*", "D z/* > x/*"),
         _policy("p", _ANY, ingress=[_from(_peer(_ANY))])),
    Case("a pod that gets a label is isolated", (
        Step(_tcp(80), (_policy("p", {"matchLabels": {"target": "isolated"}}, ingress=[]),)),
        Step(_tcp(80, "D * > x/a"), pod_labels={"x/a": {"target": "isolated"}}))),
    _one("no egress from a pod", _tcp(80, "D x/a > *"), _policy("p", _pod("a"), egress=[])),
    _one("no egress from a namespace", _tcp(80, "D x/* > *"), _policy("p", _ANY, egress=[])),
    _one("both directions in one policy",
         {**_tcp(80, "D * > x/a", "A x/b > x/a"),
          **_tcp(81, "D * > x/a", "D x/a > *", "A x/b > x/a")},
         _policy("p", _pod("a"), ingress=[_from(_peer(_pod("b")))],
                 egress=[{"ports": [_port(80)]}])),
    _one("the client's egress forbids what the server's ingress allows",
         _tcp(80, "D x/a > *", "D * > y/a", "A x/a > y/a", "D * > y/b"),
         _policy("to", _pod("a"), egress=[_to(_peer(_pod("a"), _ns("y")))]),
         _policy("a", _pod("a"), "y", ingress=[_from(_peer(_pod("a"), _ns("x")))]),
         _policy("b", _pod("b"), "y", ingress=[_from(_peer(_pod("a"), _ns("x")))])),
    _one("egress to a pod of another namespace", _tcp(80, "D x/a > *", "A x/a > y/a"),
         _policy("p", _pod("a"), egress=[_to(_peer(_pod("a"), _ns("y")))])),
    _one("any port of a protocol", {**_tcp(80), "udp/80": ("D * > x/a",)},
         _policy("p", _pod("a"), ingress=[{"ports": [_port()]}])),
    Case("ingress: allow all beside less", (
        Step(_tcp(81, "D * > x/*"), (_policy("p", _ANY, ingress=[{"ports": [_port(80)]}]),)),
        Step(_tcp(81), (_policy("all", _ANY, ingress=[{}]),)))),
    Case("egress: allow all beside less", (
        Step(_tcp(81, "D x/* > *"), (_policy("p", _ANY, egress=[{"ports": [_port(80)]}]),)),
        Step(_tcp(81), (_policy("all", _ANY, egress=[{}]),)))),
    Case("a policy that is deleted", (
        Step(_tcp(80, "D * > x/*", "D x/* > *"), (_policy("p", _ANY, ingress=[], egress=[]),)),
        Step(_tcp(80), remove=(("x", "p"),)))),
    _one("egress to the address of a pod", _tcp(80, "D x/a > *", "A x/a > y/b"),
         _policy("p", _pod("a"), egress=[_to(*_hosts(_YB))])),
    _one("egress to a CIDR except a pod's address", _tcp(80, "D x/a > x/b"),
         _policy("p", _pod("a"), egress=[_to(*_blocks(*_AROUND_XB))])),
    Case("an address that was an exception is allowed", (
        Step(_tcp(80, "D x/a > x/b"),
             (_policy("p", _pod("a"), egress=[_to(*_blocks(*_AROUND_XB))]),)),
        Step(_tcp(80, "D x/a > *", "A x/a > x/b"),
             (_policy("p", _pod("a"), egress=[_to(*_hosts(_XB))]),)))),
    Case("ingress and egress do not depend on each other", (
        Step(_tcp(80), (_policy("egress", _pod("a"), egress=[{}]),)),
        Step(_tcp(80, "D * > x/a"), (_policy("ingress", _pod("a"), ingress=[]),)))),
    _one("SCTP is not TCP", _tcp(81, "D * > x/*"),
         _policy("deny", _ANY, ingress=[]),
         _policy("p", _pod("a"), ingress=[{"ports": [_port(81, "SCTP")]}])),
    _one("a policy for SCTP isolates", _tcp(81, "D * > x/a"),
         _policy("p", _pod("a"), ingress=[{"ports": [_port(80, "SCTP")]}])),
    _one("UDP is not TCP", _tcp(81, "D * > x/a"),
         _policy("p", _pod("a"), ingress=[{"ports": [_port(81, "UDP")]}])),
    _one("a namespace by its name", _tcp(80, *_ONLY_Y),
         _policy("p", _pod("a"), ingress=[_from(_peer(namespaces=_ns("y", _NAME)))])),
    _one("namespaces by not having a name", _tcp(80, "D x/a > y/*"),
         _policy("p", _pod("a"), egress=[_to(_peer(namespaces=_ns_in("NotIn", "y")))])),
)


def _of(protocol):
    what = protocol.lower()
    return (
        _one(f"{protocol}: default deny of ingress", {f"{what}/80": ("D * > x/*",)},
             _policy("p", _ANY, ingress=[])),
        _one(f"{protocol}: a port", {f"{what}/81": _ONLY_Y},
             _policy("p", _pod("a"), ingress=[_from(_peer(namespaces=_ns("y")),
                                                    ports=[_port(81, protocol)])])),
        _one(f"{protocol}: one pod of another namespace",
             {f"{what}/80": ("D * > x/a", "A y/a > x/a")},
             _policy("p", _pod("a"), ingress=[_from(_peer(_pod("a"), _ns("y")))])),
    )


UDP, SCTP = _of("UDP"), _of("SCTP")
PODS = tuple(f"{ns}/{pod}" for ns in "xyz" for pod in "abc")


def _fits(pattern, pod):
    return pattern in ("*", pod) or (pattern.endswith("/*") and pod.startswith(pattern[:-1]))


def table(statements):
    """{(from, to): may they talk} of all pairs of different pods."""
    result = {(a, b): True for a in PODS for b in PODS if a != b}
    for statement in statements:
        verdict, source, arrow, destination = statement.split()
        assert arrow == ">" and verdict in "AD", statement
        for pair in result:
            if _fits(source, pair[0]) and _fits(destination, pair[1]):
                result[pair] = verdict == "A"
    return result
