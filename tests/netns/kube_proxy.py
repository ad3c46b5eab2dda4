# SPDX-License-Identifier: Apache-2.0
"""What kube-proxy's newer modes do to packets on a node, for clusters whose kube-proxy or kernel this
machine does not have: rules of the same form, for one Service with one pod."""

import dataclasses

# The bit by which a packet is known until it is masqueraded.
_MARK = "0x4000"
_KINDS = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}


@dataclasses.dataclass
class Service:
    """Its addresses by family, for TCP and UDP alike."""
    pod: object
    target: int
    port: int
    cluster: dict
    balanced: dict
    node_port: int  # externalTrafficPolicy: Cluster
    local_port: int  # externalTrafficPolicy: Local


def nftables(service, family, pods, node):
    """The table that the nftables mode makes: verdict maps by address and port, a mark for what is to be
    masqueraded, and masquerading at random ports. `pods`: the cluster's pods as a prefix; `node`: the
    address that node ports are served at."""
    table, kind = _KINDS[family]
    pod, cluster = service.pod.address(family), service.cluster[family]
    backend = f"[{pod}]" if family == 6 else pod

    def elements(*what):
        return ", ".join(f"{key} : goto {chain}" for key, chain in what)
    services = [(f"{address} . {proto} . {service.port}", chain) for proto in ("tcp", "udp")
                for address, chain in ((cluster, "service"), (service.balanced[family], "external"))]
    ports = [(f"{proto} . {port}", chain) for proto in ("tcp", "udp")
             for port, chain in ((service.node_port, "external"), (service.local_port, "local"))]
    return f"""table {table} kube-proxy {{
map service-ips {{
 type {kind} . inet_proto . inet_service : verdict
 elements = {{ {elements(*services)} }}
}}
map service-nodeports {{
 type inet_proto . inet_service : verdict
 elements = {{ {elements(*ports)} }}
}}
chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
chain nat-output {{ type nat hook output priority -100; jump services; }}
chain nat-postrouting {{
 type nat hook postrouting priority srcnat
 meta mark & {_MARK} == 0 return
 meta mark set meta mark ^ {_MARK}
 masquerade fully-random
}}
chain services {{
 {table} daddr . meta l4proto . th dport vmap @service-ips
 {table} daddr {node} meta l4proto . th dport vmap @service-nodeports
}}
chain mark-for-masquerade {{ meta mark set meta mark | {_MARK}; }}
chain external {{
 jump mark-for-masquerade
 goto service
}}
chain local {{
 {table} saddr {pods} goto service
 fib saddr type local jump mark-for-masquerade
 goto endpoint
}}
chain service {{
 {table} daddr {cluster} {table} saddr != {pods} jump mark-for-masquerade
 numgen random mod 1 vmap {{ 0 : goto endpoint }}
}}
chain endpoint {{
 {table} saddr {pod} jump mark-for-masquerade
 meta l4proto tcp dnat to {backend}:{service.target}
 meta l4proto udp dnat to {backend}:{service.target}
}}
}}
"""


def ipvs_device(service):
    """What the ipvs mode has besides: a device that makes the Services' addresses the node's own. It is a dummy
    there, which not every kernel has."""
    addresses = [*service.cluster.values(), *service.balanced.values()]
    return ["link add kube-ipvs0 type bridge", "link set kube-ipvs0 up",
            *(f"addr add {a}/{128 if ':' in a else 32} dev kube-ipvs0" for a in addresses)]
