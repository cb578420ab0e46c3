"""How types are shown: the same facts as text and HTML, within bounds, and with nothing that a name could break."""

import re
from html.parser import HTMLParser

from test_types import Made, layouts

from ebpflab.inspectors.types import TypeInfo


def wide(members, name="wide", member="m"):
    made = Made()
    number = made.integer("int", 4)
    made.struct(name, members * 4, *((f"{member}{i}", number, 4 * i) for i in range(members)))
    return TypeInfo.of(made.source, 2)


def test_a_long_text_is_cut_and_says_how_much_is_missing():
    lines = repr(wide(53)).splitlines()
    assert lines[0] == "struct wide [212 bytes] 4 cache lines of 64, 53 members, from a test"
    assert lines[1].split() == ["offset", "size", "member"]
    assert lines[41].split() == ["156", "4", "int", "m39"]
    assert lines[42:] == ["  ... 13 more members; .fields has all of them"]
    assert "more" not in repr(wide(40))
    made = Made()
    made.enum("many", **{f"v{i}": i for i in range(43)})
    assert repr(TypeInfo.of(made.source, 1)).endswith("... 3 more values; .fields has all of them")


def test_holes_and_padding_stand_where_they_are():
    lines = [line.split(maxsplit=2) for line in repr(layouts("far")).splitlines()[2:]]
    assert lines == [
        ["0", "1", "u8 first"],
        ["1", "63", "(hole)"],
        ["64", "4", "u32 line"],
        ["68", "60", "(padding)"],
    ]


class Page(HTMLParser):
    """The text of HTML, how deep <details> are nested, and the names of all tags."""

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self.open, self.deepest = [], [], [], 0
        self.feed(re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        self.deepest = max(self.deepest, self.open.count("details"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += [data] if data.strip() else []  # blanks stand between the words


def test_html_says_what_the_text_says():
    for name in ("layouts", "far", "class", "three"):
        info = layouts(name)
        shown = Page(info._repr_html_()).words
        lines = [line.strip() for line in repr(info).splitlines()]
        assert "{} [{}] {}".format(*shown[:3]) == lines[0]
        for line in lines[2:40]:
            offset, size, said = line.split(maxsplit=2)
            assert any(shown[i : i + 3] == [offset, size, said] for i in range(len(shown))), line


def test_embedded_structs_open_without_a_script_two_levels_deep():
    made = Made()
    number = made.integer("int", 4)
    for level in range(5):
        made.struct(f"s{level}", 4, ("inner", number + level, 0))
    page = Page(TypeInfo.of(made.source, 6)._repr_html_())
    assert page.deepest == 2
    assert "script" not in page.tags
    assert [word for word in page.words if "inner" in word] == ["struct s3 inner", "struct s2 inner", "struct s1 inner"]
    assert any(".expand(path)" in word for word in page.words)


def test_names_are_escaped():
    html = wide(3, "<b>&", "<script>alert(1)</script>")._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;0" in html
    assert "struct &lt;b&gt;&amp;" in html


def test_html_is_bounded_whatever_the_size():
    info = wide(5003, member="a_member_whose_name_is_rather_long_" * 4)
    html = info._repr_html_()
    assert len(html) < 200_000
    assert "... 4,003 more members" in html
