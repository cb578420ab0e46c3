"""Record notebooks/recordings/10_security/guard.parquet: the notebook's LSM policy, enforced by a kernel that can.

As root; the argument is the folder to write to. From the root of the repository, in Debian's 6.12 under QEMU::

    python -m tests.vm run 6.12 --as-test --timeout 600 --out build/vm/guard -- \\
        .venv/bin/python -m tests.record_security /vmjob
    cp build/vm/guard/guard.parquet notebooks/recordings/10_security

It runs the notebook's own cells with the tag ``for-recordings``.
"""

import os
import sys
from pathlib import Path

import nbformat

import ebpflab

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "10_security.ipynb"


def main(folder):
    """Run the cells, and write what the policy's program sent."""
    space = {}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "for-recordings" in cell.metadata.get("tags", []):
            exec(cell.source, space)
    path = Path(folder, "guard.parquet")
    with ebpflab.load(space["POLICY"], name="guard", attach=False, vars={"keeper": os.getpid()}) as guard:
        recorder = guard.events.record(path)
        space["put_to_the_test"](guard)
    path.chmod(0o644)  # it is for everybody
    print(f"{recorder.rows} events, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
