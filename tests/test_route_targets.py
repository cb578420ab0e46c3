"""Targets of programs in routes, in the words of ip-route(8); and the attributes of the messages that make them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab.engines.attach.rtnetlink import attribute, attributes
from ebpflab.errors import AttachError
from ebpflab.program_types import BY_KIND, Route, parse_target, route_target


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("10.9.9.0/24 dev veth0", Route("10.9.9.0/24", dev="veth0")),
        (
            "10.9.9.0/24 via 10.0.0.2 dev veth0 table 100 metric 5",
            Route("10.9.9.0/24", dev="veth0", via="10.0.0.2", table=100, metric=5),
        ),
        ("fd00::/64 dev veth0", Route("fd00::/64", dev="veth0")),
        ("FD00:0::/64 via FE80::0:1 dev veth0", Route("fd00::/64", dev="veth0", via="fe80::1")),
        ("10.9.9.9 dev lo", Route("10.9.9.9/32", dev="lo")),
        ("fd00::9 dev lo", Route("fd00::9/128", dev="lo")),
        ("10.9.9.0/255.255.255.0 dev lo", Route("10.9.9.0/24", dev="lo")),
        ("default via 10.0.0.2", Route("0.0.0.0/0", via="10.0.0.2")),
        ("default via fe80::1 dev veth0 onlink", Route("::/0", dev="veth0", via="fe80::1", onlink=True)),
        ("default dev veth0", Route("0.0.0.0/0", dev="veth0")),
        ("unicast 10.9.9.0/24 dev lo", Route("10.9.9.0/24", dev="lo")),
        ("local 10.9.9.9 dev lo", Route("10.9.9.9/32", "local", dev="lo", table=255)),
        ("local 10.9.9.9 dev lo table main", Route("10.9.9.9/32", "local", dev="lo", table=254)),
        ("10.9.9.0/24 dev lo table default preference 0", Route("10.9.9.0/24", dev="lo", table=253, metric=0)),
        ("  10.9.9.0/24\tdev  lo src 10.0.0.1 ", Route("10.9.9.0/24", dev="lo", src="10.0.0.1")),
    ],
)
def test_a_route_is_read_as_ip_route_reads_it(text, route):
    assert route_target(text) == route
    assert route_target(str(route)) == route


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "leads nowhere"),
        ("10.9.9.0/24", "leads nowhere"),
        ("10.9.9.0/24 table 100", "leads nowhere"),
        ("10.9.9.1/24 dev lo", "the network is 10.9.9.0/24"),
        ("fd00::1/64 dev lo", "the network is fd00::/64"),
        ("10.9.9.0/33 dev lo", "'10.9.9.0/33' is no network"),
        ("veth0 dev lo", "'veth0' is no network"),
        ("dev lo", "'lo' in the route"),
        ("10.9.9.0/24 dve lo", "did you mean dev"),
        ("10.9.9.0/24 dev", "ends with 'dev'"),
        ("10.9.9.0/24 dev lo dev lo", "'dev' twice"),
        ("10.9.9.0/24 dev lo metric 1 priority 1", "'metric' twice"),
        ("10.9.9.0/24 via gateway", "via 'gateway' is no IP address"),
        ("10.9.9.0/24 via fe80::1", "two families"),
        ("fd00::/64 dev lo src 10.0.0.1", "two families"),
        ("10.9.9.0/24 dev lo table 0", "table 0"),
        ("10.9.9.0/24 dev lo table mine", "NUMBER, or default, main, local"),
        ("10.9.9.0/24 dev lo metric -1", "metric '-1' is no number"),
        ("10.9.9.0/24 dev lo metric 4294967296", "is no number"),
        ("10.9.9.0/24 encap bpf out obj x.o", "'encap'"),
    ],
)
def test_a_wrong_route_is_told_by_its_wrong_word(text, told):
    with pytest.raises(AttachError) as caught:
        route_target(text)
    assert told.lower() in str(caught.value).lower()
    assert caught.value.hint


def test_headroom_is_an_option_of_the_kind_that_can_use_it():
    assert parse_target(BY_KIND["lwt_xmit"], "10.9.9.0/24 dev lo,headroom=14").options == {"headroom": "14"}
    with pytest.raises(AttachError, match="no option 'headroom'"):
        parse_target(BY_KIND["lwt_in"], "10.9.9.0/24 dev lo,headroom=14")


@pytest.mark.parametrize("kind", ["lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local"])
def test_the_tables_example_is_a_route(kind):
    assert route_target(BY_KIND[kind].example).ipv6 == (kind == "lwt_seg6local")


WORDS = ["via", "dev", "table", "metric", "src", "onlink", "local", "default", "lo", "10.9.9.0/24", "fd00::1", "7"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text("a1./:-\0é²", max_size=6), max_size=9).map(" ".join))
def test_any_text_is_a_route_or_explained(text):
    try:
        route = route_target(text)
    except AttachError as error:
        hint = error.hint
    else:
        assert ipaddress.ip_network(route.prefix).version == (6 if route.ipv6 else 4)
        assert route_target(str(route)) == route
        return
    assert hint


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=9), max_size=5))
def test_attributes_come_back_as_they_were(wanted):
    data = b"".join(attribute(number, value) for number, value in wanted.items())
    assert len(data) % 4 == 0
    assert attributes(data) == wanted


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_attributes_of_any_bytes_come_to_an_end(data):
    assert sum(map(len, attributes(data).values())) <= len(data)
