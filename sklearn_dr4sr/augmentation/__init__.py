"""Data operators that one would try before regenerating, and the size-matched random control.

Each is a transformer of the shape of :class:`~sklearn_dr4sr.DatasetRegenerator`, one row a user, so
that they compare in one grid: ``{"data": ["passthrough", SlidingWindow(), RepeatPadding(), ...]}``.
"""

from .continuation import TeacherContinuation
from .repetition import RepeatPadding
from .subsequences import RandomSubsequences
from .views import CropMaskReorder
from .windows import SlidingWindow

__all__ = [
    "CropMaskReorder",
    "RandomSubsequences",
    "RepeatPadding",
    "SlidingWindow",
    "TeacherContinuation",
]
