"""Checks of parameters that estimators share: each error names the parameter and the value."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "as_path",
    "check_choice",
    "check_flag",
    "check_jobs",
    "check_number",
    "check_path",
    "check_share",
    "check_some",
    "check_verbose",
    "is_integer",
]

#: Largest integer for what is only counted; fits into every index.
COUNT = 2**31 - 1
#: Largest number otherwise.
LARGE = float(np.finfo(np.float32).max)
#: Largest width of a network, and longest input: beyond it the fault is the number, not the memory.
WIDTH = 2**14
LENGTH = 2**16
#: Most layers, and most patterns made of a row.
LAYERS = 256
PATTERNS = 100_000
#: Most jobs: joblib fails at numbers that it thinks too large.
JOBS = 2**16


def is_integer(value: Any) -> bool:
    """Whether it is an integer, not a flag, nor a timedelta64, which is an np.integer."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))


def check_number(
    name: str,
    value: Any,
    low: float,
    high: float = LARGE,
    *,
    integer: bool = False,
    above: bool = False,
) -> None:
    """Raise ValueError unless ``value`` is a number in ``low`` .. ``high``.

    With ``integer`` it must be an integer, of at most 2 ** 31 - 1; with ``above``, not ``low``.
    """
    known, most = is_integer(value), COUNT
    if not integer:
        most = 2**63 - 1 if known else LARGE
        known = known or isinstance(value, (float, np.floating))
    if known and low <= value <= min(high, most) and not (above and value == low):
        return
    what = "an integer" if integer else "a number"
    least = "above" if above else "of at least"
    too_large = known and value > min(high, most)
    upper = f" and at most {min(high, most)}" if high < LARGE or too_large else ""
    raise ValueError(f"{name} must be {what} {least} {low}{upper}, got {value!r}")


def check_share(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is a number between 0 and 1, neither of them."""
    if not isinstance(value, (float, np.floating)) or not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")


def check_flag(name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_choice(name: str, value: Any, allowed: Collection[str]) -> None:
    """Raise ValueError unless ``value`` is one of the texts."""
    if not (isinstance(value, str) and value in allowed):
        raise ValueError(f"{name} must be one of {tuple(allowed)}, got {value!r}")


def check_some(name: str, value: Any, allowed: Collection[str]) -> None:
    """Raise ValueError unless ``value`` holds at least one of the texts, and nothing else."""
    if not isinstance(value, (list, tuple, set, frozenset)) or not value:
        raise ValueError(f"{name} must be some of {tuple(allowed)}, got {value!r}")
    for entry in value:
        if not (isinstance(entry, str) and entry in allowed):
            raise ValueError(f"{name} must be some of {tuple(allowed)}, got {value!r}")


def check_jobs(value: Any) -> None:
    """Raise ValueError unless ``n_jobs`` is None or an integer other than 0."""
    if value is not None:
        check_number("n_jobs", value, -COUNT, JOBS, integer=True)
        if value == 0:
            raise ValueError("n_jobs must be None, a number of jobs or -1 for all, got 0")


def check_path(name: str, value: Any) -> None:
    """Raise ValueError if ``value`` is a text that no path can be."""
    if isinstance(value, (str, os.PathLike)):
        try:
            possible = b"\0" not in os.fsencode(value)
        except UnicodeEncodeError:
            possible = False
        if not possible:
            raise ValueError(f"{name}: {value!r} cannot be a path")


def as_path(name: str, value: Any) -> Path:
    """Make a path, or raise TypeError or ValueError: to ``open``, a number is an open file."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a text or a path, got {value!r}")
    check_path(name, value)
    return Path(value)


def check_verbose(value: Any) -> None:
    """Raise ValueError unless ``value`` is a flag or an integer that is not negative."""
    if not isinstance(value, (bool, np.bool_)):
        check_number("verbose", value, 0, integer=True)
