"""All cells of the hook tests under one roof: the virtual machines get them compiled."""

from __future__ import annotations

import runpy
from pathlib import Path

CELLS: dict[str, str] = {
    f"{path.stem}: {name}": source
    for path in sorted(Path(__file__).parent.glob("cells_*.py"))
    for name, source in runpy.run_path(str(path)).get("CELLS", {}).items()
}
