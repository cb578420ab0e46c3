"""The templates of all kinds, as the package has them."""

from pathlib import Path

CELLS = {
    path.name.removesuffix(".bpf.c"): path.read_text()
    for path in sorted((Path(__file__).parents[2] / "ebpflab" / "templates").glob("*.bpf.c"))
}
