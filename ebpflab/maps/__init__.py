"""What programs keep in the kernel: global variables as a mapping."""

from .variables import Variables, set_before_load

__all__ = ["Variables", "set_before_load"]
