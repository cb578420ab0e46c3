"""What programs keep in the kernel: maps as mappings and frames, global variables as a mapping."""

from .bpfmap import BpfMap
from .mapping import Maps
from .record import Named, Record
from .variables import Variables, set_before_load
from .watch import Watch

__all__ = ["BpfMap", "Maps", "Named", "Record", "Variables", "Watch", "set_before_load"]
