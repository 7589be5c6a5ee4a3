"""Item sequences from a table of interactions: one row a user, oldest first."""

from __future__ import annotations

import math
import re
from datetime import date
from numbers import Number
from typing import Any, NamedTuple

import numpy as np

from ._parameters import check_choice, check_number
from ._tables import read_table
from .sequences import Sequences, distinct_ids

__all__ = ["Interactions", "sequences_from_interactions"]


class Interactions(NamedTuple):
    """Sequences, whose they are, when each interaction was, and what was left out.

    Attributes
    ----------
    sequences : Sequences
    users : column of shape (n_rows,)
        Id of each row's user, sorted; of the library and the type of the table's column, so that
        ``recommend`` with these ``user_ids`` gives a frame of that library. An ndarray where a file
        was read.
    times : ndarray of shape (n_interactions,)
        Time of each interaction, row after row, as it stood in the table.
    dropped : dict
        Interactions left out: ``duplicates`` and ``rare`` (by ``min_count``); ``users`` and
        ``items`` that are gone; ``rounds`` of the k-core.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_dr4sr.datasets import sequences_from_interactions
    >>> log = pd.DataFrame({"user": [7, 5, 7], "item": ["tea", "tea", "pot"], "time": [2, 1, 1]})
    >>> found = sequences_from_interactions(log, min_count=1, return_details=True)
    >>> list(found.sequences), list(found.users), found.times, found.dropped["rare"]
    ([['tea'], ['pot', 'tea']], [5, 7], array([1, 1, 2]), 0)
    """

    sequences: Sequences
    users: Any
    times: np.ndarray
    dropped: dict[str, int]

    def describe(self) -> dict[str, Any]:
        """Count what a paper reports of its data, where times are known.

        Returns
        -------
        dict
            What :meth:`Sequences.describe` counts, and ``ties`` (share of interactions at the time
            of their row's previous one: their order is the table's), ``time_first``, ``time_last``
            and ``dropped``.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_dr4sr.datasets import sequences_from_interactions
        >>> log = pd.DataFrame({"user": [1, 1, 1, 2], "item": [5, 6, 7, 5], "time": [3, 3, 4, 3]})
        >>> made = sequences_from_interactions(log, min_count=1, return_details=True)
        >>> counts = made.describe()
        >>> counts["n_interactions"], counts["ties"], counts["dropped"]["rare"]
        (4, 0.25, 0)
        """
        rows, times = self.sequences.rows, self.times
        ties = (rows[1:] == rows[:-1]) & (times[1:] == times[:-1])
        return {
            **self.sequences.describe(),
            "ties": float(ties.sum() / len(times)),
            "time_first": times.min(),
            "time_last": times.max(),
            "dropped": self.dropped,
        }


def sequences_from_interactions(
    frame: Any,
    user: str = "user",
    item: str = "item",
    time: str = "time",
    min_count: int = 5,
    *,
    duplicates: str = "keep",
    return_details: bool = False,
) -> Sequences | Interactions:
    """Make item sequences of a pandas, polars or pyarrow table of interactions.

    Parameters
    ----------
    frame : data frame
        A row an interaction; any eager frame that narwhals takes. Not modified.
    user, item, time : str
        Names of its columns (or their numbers, where a pandas frame has those for names). Users and
        items are integers (not negative) or strings; times are numbers, also as text, or dates
        (without a time zone, or in UTC where they have one).
    min_count : int, default=5
        Users and items with fewer interactions are left out, again and again until none is left
        (the k-core; 5 in the paper). 1 keeps all.
    duplicates : {"keep", "first", "last"}, default="keep"
        What is kept where a user has the same item more than once: all, or the first or last time.
        Decided before the k-core.
    return_details : bool, default=False
        Return :class:`Interactions`: also users, times and what was dropped.

    Returns
    -------
    Sequences or Interactions
        Rows in order of the users' ids; interactions at the same time keep the table's order.

    Raises
    ------
    ImportError
        Without narwhals.
    TypeError, ValueError
        On a missing column or value (with its row), on ids or times of another type, or if no
        interaction is left.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_dr4sr.datasets import sequences_from_interactions
    >>> log = pd.DataFrame({
    ...     "who": ["bob", "ann", "ann", "bob"],
    ...     "what": ["tea", "cup", "tea", "pot"],
    ...     "when": [4, 2, 1, 3],
    ... })
    >>> list(sequences_from_interactions(log, "who", "what", "when", min_count=1))
    [['tea', 'cup'], ['pot', 'tea']]
    """
    check_number("min_count", min_count, 1, integer=True)
    check_choice("duplicates", duplicates, ("keep", "first", "last"))
    table = read_table(frame, (user, item, time))
    if len(table) == 0:
        raise ValueError("frame has no rows")
    users, row = _ids(table.get_column(user), user)
    items, code = _ids(table.get_column(item), item)
    when = _times(table.get_column(time), time)
    order = np.lexsort((when, row))  # stable: the table's order at equal times
    if duplicates != "keep":
        order = order[_once(row[order] * len(items) + code[order], last=duplicates == "last")]
    core, rounds = _core(row[order], code[order], min_count)
    n_distinct, order = len(order), order[core]
    if len(order) == 0:
        raise ValueError(
            f"no interaction of {len(table)} is left: no user and item have "
            f"min_count={min_count} interactions among each other"
        )
    starts, counts = np.unique(row[order], return_index=True, return_counts=True)[1:]
    kept_items, codes = distinct_ids(code[order])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    sequences = Sequences.from_codes(codes, offsets, items[kept_items])
    if not return_details:
        return sequences
    dropped = {
        "duplicates": len(table) - n_distinct,
        "rare": n_distinct - len(order),
        "users": len(users) - len(starts),
        "items": len(items) - len(kept_items),
        "rounds": rounds,
    }
    import narwhals as nw  # which has read the table

    of_rows = nw.maybe_reset_index(table.get_column(user)[order[starts]]).to_native()
    return Interactions(sequences, of_rows, when[order], dropped)


def _ids(column: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct ids, int64 or object (str), and each row's position among them."""
    native = column.to_native()
    if hasattr(getattr(native, "type", None), "index_type"):
        # a dictionary of pyarrow, of which version 15 makes no array
        values = native.cast(native.type.value_type).to_numpy()
    else:
        values = column.to_numpy()
    if values.dtype.kind in "iu":
        if values.min() < 0:
            row = int(values.argmin())
            raise ValueError(f"row {row}, {name!r}: ids must not be negative, got {values[row]}")
        if int(values.max()) > np.iinfo(np.int64).max:  # as Python compares: exactly
            row = int(values.argmax())
            raise ValueError(f"row {row}, {name!r}: ids must be below 2**63, got {values[row]}")
        return distinct_ids(values.astype(np.int64))
    listed = values.tolist()
    if set(map(type, listed)) != {str}:
        for row, value in enumerate(listed):
            if not isinstance(value, str):
                raise TypeError(f"row {row}, {name!r}: expected an int or str id, got {value!r}")
    ids = sorted(set(listed))  # few, where np.unique would sort all rows
    place = {value: code for code, value in enumerate(ids)}
    codes = np.fromiter(map(place.__getitem__, listed), dtype=np.int64, count=len(listed))
    return np.array(ids, dtype=object), codes


def _times(column: Any, name: str) -> np.ndarray:
    values = column.to_numpy()
    if values.dtype.kind in "OUT":
        values = _parsed(values.tolist(), name)
    if values.dtype.kind not in "iufM":
        raise TypeError(f"column {name!r}: expected numbers or dates, got {values.dtype}")
    bad = np.isnat(values) if values.dtype.kind == "M" else ~np.isfinite(values)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"row {row}, {name!r}: expected a time, got {values[row]}")
    return values


def _parsed(listed: list, name: str) -> np.ndarray:
    """Make times of objects or texts: all of them dates, or all numbers."""
    dates = isinstance(listed[0], (date, np.datetime64))
    for row, value in enumerate(listed):
        if not (isinstance(value, (date, np.datetime64)) if dates else _is_number(value)):
            wanted = "a date as in row 0" if dates else "a number or a date"
            text = "; make dates of texts first (pandas.to_datetime, say)"
            raise TypeError(
                f"row {row}, column {name!r}: expected {wanted}, got {value!r}"
                + text * isinstance(value, str)
            )
    if dates:
        return np.array(list(map(_utc, listed)), dtype="datetime64[us]")
    whole = all(isinstance(v, int) or re.fullmatch(r"[+-]?\d+", str(v)) for v in listed)
    values = np.array(list(map(int if whole else float, listed)))  # exact, where floats tie
    return values if values.dtype != object else values.astype(float)


def _utc(moment: Any) -> np.datetime64:
    if getattr(moment, "tzinfo", None) is None:
        return np.datetime64(moment, "us")
    return np.datetime64(moment.replace(tzinfo=None), "us") - np.timedelta64(moment.utcoffset())


def _is_number(value: Any) -> bool:
    try:
        known = isinstance(value, (Number, str)) and not isinstance(value, bool)
        return known and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _once(key: np.ndarray, last: bool) -> np.ndarray:
    """Positions of each key's first or last occurrence, in order."""
    if not last:
        return np.sort(np.unique(key, return_index=True)[1])
    return np.sort(len(key) - 1 - np.unique(key[::-1], return_index=True)[1])


def _core(row: np.ndarray, code: np.ndarray, min_count: int) -> tuple[np.ndarray, int]:
    """Positions of what stays when rare users and items go until none is rare; the rounds."""
    kept, rounds = np.arange(len(row)), 0
    while True:
        enough = np.bincount(row[kept])[row[kept]] >= min_count
        enough &= np.bincount(code[kept])[code[kept]] >= min_count
        if enough.all():
            return kept, rounds
        kept, rounds = kept[enough], rounds + 1
        if len(kept) == 0:
            return kept, rounds
