# SPDX-License-Identifier: Apache-2.0
"""Ethernet frames as bytes, for packets that no socket would send."""

import socket
import struct

IPV4, IPV6, VLAN, VLAN_AD = 0x0800, 0x86DD, 0x8100, 0x88A8


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _mac(text):
    return bytes.fromhex(text.replace(":", ""))


def _packed(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def ethernet(destination, packet, source="02:00:00:00:00:02", tags=()):
    """`tags`: (ethertype, VLAN number), the outer one first."""
    kind = IPV6 if packet[0] >> 4 == 6 else IPV4
    inner = b"".join(struct.pack("!HH", *tag) for tag in tags)
    return _mac(destination) + _mac(source) + inner + struct.pack("!H", kind) + packet


def ip(source, destination, protocol, payload, hops=64):
    """An IPv4 or IPv6 packet without options; `payload` has its checksum."""
    if ":" in source:
        return (struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
                + _packed(source) + _packed(destination) + payload)
    header = (struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, hops, protocol, 0)
              + _packed(source) + _packed(destination))
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def _with_checksum(source, destination, protocol, segment, at):
    pseudo = _packed(source) + _packed(destination) + struct.pack("!II", len(segment), protocol)
    sum_ = checksum(pseudo + segment) or 0xFFFF
    return segment[:at] + struct.pack("!H", sum_) + segment[at + 2:]


def udp(source, destination, source_port, port, payload):
    segment = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload
    return ip(source, destination, 17, _with_checksum(source, destination, 17, segment, 6))


def tcp(source, destination, source_port, port, flags, sequence=0, acknowledged=0, payload=b""):
    """A segment without options. Flags as bits: FIN 1, SYN 2, RST 4, PSH 8, ACK 16."""
    segment = struct.pack("!HHIIBBHHH", source_port, port, sequence, acknowledged, 0x50, flags,
                          0xFFFF, 0, 0) + payload
    return ip(source, destination, 6, _with_checksum(source, destination, 6, segment, 16))


def icmp6(source, destination, kind, body, hops=255):
    message = struct.pack("!BBH", kind, 0, 0) + body
    return ip(source, destination, 58, _with_checksum(source, destination, 58, message, 2), hops)


def vxlan(number, frame):
    """What stands behind the UDP header."""
    return struct.pack("!II", 8 << 24, number << 8) + frame
