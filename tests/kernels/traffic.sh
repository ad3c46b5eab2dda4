#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# Real packets through `sluice run` in the guest: two pods, a policy that comes,
# changes and goes, a stop that leaves enforcement, a cleanup that leaves nothing.
passed=0
failed=0
skipped=0
work=/tmp/traffic
mkdir -p $work/manifests
ip() { /bin/ip "$@"; } # not busybox's own

ok() { # ok NAME STATUS
  if [ "$2" = 0 ]; then
    passed=$((passed + 1))
    echo "ok $1"
  else
    failed=$((failed + 1))
    echo "FAILED traffic: $1"
  fi
}
allowed() { ok "$1" "$($2 >/dev/null 2>&1; echo $?)"; }
denied() { ok "$1" "$($2 >/dev/null 2>&1 && echo 1 || echo 0)"; }

pod() { # pod NAME NUMBER: routed veth, gateway 169.254.1.1 / fe80::1
  ip netns add $1
  ip link add v$1 address 02:00:00:00:00:01 type veth peer name eth0 netns $1
  ip addr add fe80::1/128 dev v$1 nodad
  ip link set v$1 up
  ip route add 10.0.0.$2/32 dev v$1 scope link
  ip -6 route add fd00::$2/128 dev v$1
  ip -n $1 link set lo up
  ip -n $1 addr add 10.0.0.$2/32 dev eth0
  ip -n $1 addr add fd00::$2/128 dev eth0 nodad
  ip -n $1 link set eth0 up
  ip -n $1 route add 169.254.1.1 dev eth0 scope link
  ip -n $1 neigh replace 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
  ip -n $1 route add default via 169.254.1.1 dev eth0
  ip -n $1 neigh replace fe80::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
  ip -n $1 route add default via fe80::1 dev eth0
  ip netns exec $1 sctp_probe listen 90 &
  ip netns exec $1 sctp_probe listen 91 &
  for port in 80 81; do
    ip netns exec $1 nc -ll -p $port -e /bin/true >/dev/null 2>&1 &
  done
}
pod_object() {
  cat <<Y
apiVersion: v1
kind: Pod
metadata: {namespace: default, name: $1, labels: {app: $1}}
spec: {nodeName: guest}
status: {phase: Running, podIP: 10.0.0.$2, podIPs: [{ip: 10.0.0.$2}, {ip: "fd00::$2"}]}
---
Y
}
policy() { # policy PORT: app a accepts app b on this port
  cat >$work/policy.new <<Y
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: default, name: p}
spec:
  endpointSelector: {matchLabels: {app: a}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: b}}]
    toPorts: [{ports: [{port: "$1", protocol: TCP}, {port: "90", protocol: SCTP}]}]
Y
  mv $work/policy.new $work/manifests/policy.yaml
}
names_policy() { # app c asks b about names of allowed.test, and reaches the addresses that they have
  cat >$work/names.new <<Y
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: default, name: names}
spec:
  endpointSelector: {matchLabels: {app: c}}
  egress:
  - toEndpoints: [{matchLabels: {app: b}}]
    toPorts:
    - ports: [{port: "53", protocol: ANY}]
      rules: {dns: [{matchPattern: "*.allowed.test"}, {matchName: other.test}]}
  - toFQDNs: [{matchPattern: "*.allowed.test"}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
Y
  mv $work/names.new $work/manifests/names.yaml
}
asks() { ip netns exec c dns_probe ask $1 $2 $3 $4; } # asks udp|tcp 4|6 SERVER NAME
refused() { # refused NAME COMMAND
  $2 >/dev/null 2>&1
  ok "$1" $(($? == 3 ? 0 : 1))
}
sctp() { ip netns exec $1 sctp_probe connect $2 $3; }
# nc's -w bounds the connect alone: a connection that a change of policy cuts would be waited for
# as long as TCP tries.
tcp() { timeout 10 /bin/ip netns exec $1 nc -w 2 $2 $3 </dev/null; }
await() { # await NAME COMMAND: true within two minutes; software emulation may have little of a CPU
  end=$(($(date +%s) + 120))
  while ! $2 >/dev/null 2>&1; do
    if [ "$(date +%s)" -gt $end ]; then
      ok "$1" 1
      cat $work/log
      return
    fi
    usleep 100000
  done
  ok "$1" 0
}
enforced() { sluice status -o json --socket $work/socket | grep -q '"enforced": *true'; }
blocked() { ! tcp b 10.0.0.10 80; }
outside_blocked() { ! tcp c 10.0.0.13 80; }

echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
ip addr add 10.0.255.1/32 dev lo
pod a 10
pod b 11
pod c 12
pod d 13 # of which Kubernetes knows nothing: outside of the cluster
ip netns exec b dns_probe serve 10.0.0.13 fd00::13 &
{ pod_object a 10; pod_object b 11; pod_object c 12; } >$work/manifests/pods.yaml
policy 80

sluice run $work/manifests --node guest --pin-dir /sys/fs/bpf/sluice --socket $work/socket \
  >$work/log 2>&1 &
run=$!
await "policy is enforced" enforced
allowed "b reaches a on port 80, IPv4" "tcp b 10.0.0.10 80"
allowed "b reaches a on port 80, IPv6" "tcp b fd00::10 80"
denied "b does not reach a on port 81, IPv4" "tcp b 10.0.0.10 81"
denied "b does not reach a on port 81, IPv6" "tcp b fd00::10 81"
denied "c does not reach a" "tcp c 10.0.0.10 80"
denied "c does not ping a" "ip netns exec c ping -c1 -W1 10.0.0.10"
allowed "a pings c" "ip netns exec a ping -c1 -W2 10.0.0.12"
allowed "a pings c, IPv6" "ip netns exec a ping -c1 -W2 fd00::12"
allowed "the node reaches a" "ping -c1 -W2 10.0.0.10"
allowed "b reaches a by SCTP on port 90, IPv4" "sctp b 10.0.0.10 90"
allowed "b reaches a by SCTP on port 90, IPv6" "sctp b fd00::10 90"
denied "b does not reach a by SCTP on port 91, IPv4" "sctp b 10.0.0.10 91"
denied "b does not reach a by SCTP on port 91, IPv6" "sctp b fd00::10 91"
denied "c does not reach a by SCTP" "sctp c 10.0.0.10 90"
allowed "a reaches c by SCTP, IPv4" "sctp a 10.0.0.12 91"
allowed "a reaches c by SCTP, IPv6" "sctp a fd00::12 91"

policy 81
await "a change takes effect" blocked
allowed "b reaches a on port 81" "tcp b 10.0.0.10 81"

allowed "c reaches an address outside before there is a policy for names" "tcp c 10.0.0.13 80"
names_policy
await "a policy for names takes effect" outside_blocked
denied "c does not reach an address outside, IPv6" "tcp c fd00::13 80"
allowed "another name is resolved" "asks udp 4 10.0.0.11 other.test"
denied "its address stays closed" "tcp c 10.0.0.13 80"
allowed "a name that the node does not know is resolved, UDP, IPv4" "asks udp 4 10.0.0.11 a.allowed.test"
allowed "its address is open" "tcp c 10.0.0.13 80"
denied "at the rule's port alone" "tcp c 10.0.0.13 81"
denied "the address of the other family is closed" "tcp c fd00::13 80"
allowed "a name is resolved, TCP, IPv6" "asks tcp 6 fd00::11 b.allowed.test"
allowed "its address is open, IPv6" "tcp c fd00::13 80"
allowed "a name that the node knows is resolved, TCP" "asks tcp 4 10.0.0.11 a.allowed.test"
allowed "a name that the node knows is resolved, UDP, IPv6" "asks udp 6 fd00::11 b.allowed.test"
refused "a question that is not allowed is refused, UDP" "asks udp 4 10.0.0.11 c.denied.test"
refused "a question that is not allowed is refused, UDP, IPv6" "asks udp 6 fd00::11 c.denied.test"
refused "a question that is not allowed is refused, TCP" "asks tcp 4 10.0.0.11 c.denied.test"

kill -9 $run
allowed "a name that the node knows is resolved after a crash" "asks udp 4 10.0.0.11 a.allowed.test"
allowed "a name that the node knows is resolved after a crash, TCP" "asks tcp 6 fd00::11 b.allowed.test"
allowed "its address is open after a crash" "tcp c fd00::13 80"
refused "a question that is not allowed is refused after a crash" "asks udp 4 10.0.0.11 c.denied.test"
denied "enforced after a crash" "tcp b 10.0.0.10 80"
allowed "what is allowed passes after a crash" "tcp b 10.0.0.10 81"

sluice cleanup --pin-dir /sys/fs/bpf/sluice --socket $work/socket >>$work/log 2>&1
ok "cleanup" $?
allowed "all is open after cleanup" "tcp c 10.0.0.10 80"
allowed "all is open after cleanup, SCTP" "sctp c 10.0.0.10 91"
ok "nothing is pinned" "$(ls /sys/fs/bpf | grep -c sluice)"
[ $failed = 0 ] || cat $work/log
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
