"""Network addresses and prefixes as text, to and from the bytes that packets have."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

from ..rules import ip_text, ipv6_text
from ._values import misfit

_MAC = 6
_MAPPED = 96  # bits of ::ffff:0:0, below which IPv4 addresses lie
_EXAMPLES = {4: "10.0.0.1", 16: "fe80::1", _MAC: "02:00:5e:10:00:01"}


class AddressNode:
    # The text that frames show (see rules), in the bytes that packets have.
    def __init__(self, c_type: str, size: int) -> None:
        self.c_type, self.size = c_type, size

    def read(self, raw: bytes, at: int) -> str:
        data = bytes(raw[at : at + self.size])
        if self.size == _MAC:
            return data.hex(":")
        text = ip_text if self.c_type == "ip_t" else ipv6_text
        return text(data) if self.size == 16 else str(ipaddress.ip_address(data))

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None:
        if isinstance(value, (bytes, bytearray)) and len(value) == self.size:
            into[at : at + self.size] = value
            return
        packed = packed_address(value, self.size)
        if packed is None:
            raise misfit(path, value, f"is no {self.c_type}", f'give text such as "{_EXAMPLES.get(self.size, "")}"')
        into[at : at + self.size] = packed


def packed_address(value: Any, size: int) -> bytes | None:
    # The bytes of an address as they are on the wire, or None if it is none of this size.
    if isinstance(value, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        value = str(value)
    if not isinstance(value, str):
        return None
    try:
        if size == _MAC:
            data = bytes.fromhex(value.replace(":", "").replace("-", ""))
        else:
            data = ipaddress.ip_address(value).packed
    except ValueError:
        return None
    if size == 16 and len(data) == 4:  # an IPv4 address in the room for both, as ::ffff:10.0.0.1
        data = bytes(10) + b"\xff\xff" + data
    return data if len(data) == size else None


class PrefixNode:
    # The key of an LPM trie whose data are one address: "10.0.0.0/8". The bytes are struct bpf_lpm_trie_key, include/
    # uapi/linux/bpf.h: the length in bits as a __u32, then the address in network byte order.
    def __init__(self, c_type: str, size: int) -> None:
        self.c_type, self.size = c_type, size

    def read(self, raw: bytes, at: int) -> str:
        length = int.from_bytes(raw[at : at + 4], sys.byteorder)
        address = ipaddress.ip_address(bytes(raw[at + 4 : at + self.size]))
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) and length >= _MAPPED else None
        return f"{mapped}/{length - _MAPPED}" if mapped else f"{address}/{length}"  # as it is written

    def write(self, into: bytearray, at: int, value: Any, path: str) -> None:
        into[at : at + self.size] = self._bytes(value, path)

    def _bytes(self, value: Any, path: str) -> bytes:
        data_size = self.size - 4
        hint = f'give "{_EXAMPLES[data_size]}/{2 * data_size}", or (length in bits, {data_size} bytes)'
        if isinstance(value, (str, ipaddress.IPv4Network, ipaddress.IPv6Network)):
            address, _, bits = str(value).partition("/")
            data, length = packed_address(address, data_size), int(bits) if bits.isdigit() else 8 * data_size
            bad = bool(bits) and not bits.isdigit()
            if bits.isdigit() and data_size == 16 and ":" not in address:  # it lies in ::ffff:0:0/96
                bad, length = length > 32, length + _MAPPED
        elif isinstance(value, tuple) and len(value) == 2:
            length, data = value
            data, bad = packed_address(data, data_size) or data, not isinstance(length, int)
        else:
            raise misfit(path, value, f"is no {self.c_type}", hint)
        if bad or not isinstance(data, bytes) or len(data) != data_size or not 0 <= length <= 8 * data_size:
            raise misfit(path, value, f"is no {self.c_type}", hint)
        return length.to_bytes(4, sys.byteorder) + data
