"""Routes that a program is attached to, in the words of ip-route(8)."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import AttachError
from ..similar import did_you_mean, nearest

_TYPES = ("unicast", "local")
_TABLES = {"default": 253, "main": 254, "local": 255}  # enum rt_class_t, include/uapi/linux/rtnetlink.h
_WORDS = ("via", "dev", "table", "metric", "src", "onlink")
_SYNTAX = "write PREFIX dev INTERFACE, as in 10.9.9.0/24 dev eth0; also: via ADDRESS, table N, metric N, src ADDRESS"


@dataclass(frozen=True)
class Route:
    """Where packets go; ``metric`` None is what the kernel takes: 0 for IPv4, 1024 for IPv6.

    Attributes
    ----------
    prefix
        The destinations, as a network: ``10.9.9.0/24``.
    type
        "unicast", or "local" for addresses of this machine.
    dev, via
        The interface and the next hop; one of them may be "".
    table
        The number of the routing table.
    src
        The address that packets are sent from, or "".
    onlink
        Whether the next hop is taken to be on the interface's link, whatever its address.
    """

    prefix: str
    type: str = "unicast"
    dev: str = ""
    via: str = ""
    table: int = _TABLES["main"]
    metric: int | None = None
    src: str = ""
    onlink: bool = False

    @property
    def ipv6(self) -> bool:
        """Whether it is a route of IPv6."""
        return ":" in self.prefix

    def __str__(self) -> str:
        kind = "" if self.type == "unicast" else f"{self.type} "
        usual = _TABLES["local" if self.type == "local" else "main"]
        values = {
            "via": self.via,
            "dev": self.dev,
            "table": "" if self.table == usual else str(self.table),
            "metric": "" if self.metric is None else str(self.metric),
            "src": self.src,
        }
        words = [f" {name} {value}" for name, value in values.items() if value]
        return f"{kind}{self.prefix}{''.join(words)}{' onlink' if self.onlink else ''}"


def route_target(text: str) -> Route:
    """Take a route apart, as in ``10.9.9.0/24 via 10.0.0.2 dev veth0 table 100 metric 5``.

    The words are those of ip-route(8): ``[local] PREFIX [via ADDRESS] [dev INTERFACE] [table TABLE]
    [metric NUMBER] [src ADDRESS] [onlink]``, with a ``via`` or a ``dev``. A prefix is a network, an address
    or ``default``; a table is a number, or ``main``, ``local`` or ``default``.

    Raises
    ------
    AttachError
        The text is something else; tells which word is wrong.

    Examples
    --------
    >>> route_target("fd00:9::/64 dev veth0")
    Route(prefix='fd00:9::/64', type='unicast', dev='veth0', via='', table=254, metric=None, src='', onlink=False)
    """
    words = text.split()
    kind = words.pop(0) if words and words[0] in _TYPES else "unicast"
    prefix = words.pop(0) if words else ""
    values = _values(words, text)
    if not values.keys() & {"dev", "via"}:
        raise AttachError(f"the route {text!r} leads nowhere", hint=_SYNTAX)
    via, src = (_address(name, values[name]) if name in values else "" for name in ("via", "src"))
    network = _network(prefix, ipv6=":" in via + src)
    for name, address in (("via", via), ("src", src)):
        if address and (":" in address) != (":" in network):
            raise AttachError(f"{name} {address} and {network} are of two families", hint=_SYNTAX)
    return Route(
        network,
        kind,
        values.get("dev", ""),
        via,
        _table(values.get("table", "local" if kind == "local" else "main")),
        _number("metric", values["metric"]) if "metric" in values else None,
        src,
        "onlink" in values,
    )


def _values(words: list[str], text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name = {"preference": "metric", "priority": "metric"}.get(word, word)
        if name not in _WORDS:
            hint = did_you_mean(nearest(word, _WORDS)) or _SYNTAX
            raise AttachError(f"{word!r} in the route {text!r} is not understood", hint=hint)
        value = "" if name == "onlink" else next(rest, None)
        if value is None or name in values:
            problem = f"ends with {word!r}" if value is None else f"says {name!r} twice"
            raise AttachError(f"the route {text!r} {problem}", hint=_SYNTAX)
        values[name] = value
    return values


def _network(text: str, *, ipv6: bool) -> str:
    import ipaddress

    if text == "default":
        return "::/0" if ipv6 else "0.0.0.0/0"
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise AttachError(f"{text!r} is no network to route to", hint=_SYNTAX) from None
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise AttachError(f"{text} is an address in a network", hint=f"the network is {network}")
    return str(network)


def _address(name: str, text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise AttachError(f"{name} {text!r} is no IP address", hint=_SYNTAX) from None


def _table(text: str) -> int:
    number = _TABLES.get(text) or _number("table", text)
    if not number:
        raise AttachError("table 0 cannot be chosen: it is all of them", hint="write table 100, say")
    return number


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 32:
        names = f", or {', '.join(_TABLES)}" if name == "table" else ""
        raise AttachError(f"{name} {text!r} is no number", hint=f"write {name} NUMBER{names}")
    return int(text)
