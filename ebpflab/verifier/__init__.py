"""What the verifier's log says: the cell's line, what was wrong, how it came about, and what to do."""

from .explaining import explain, locate
from .explanation import Explanation, Step
from .messages import CATEGORIES

__all__ = ["CATEGORIES", "Explanation", "Step", "explain", "locate"]
