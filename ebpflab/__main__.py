"""``python -m ebpflab`` is the ``ebpflab`` command."""

import sys

from .cli import main

sys.exit(main())
