"""Each pattern once: which patterns are equal, and which of them a regenerated data set keeps."""

from __future__ import annotations

import numpy as np

from .patterns import ORIGINS, PatternTable
from .sequences import Sequences

__all__ = ["count_distinct", "distinct"]


def count_distinct(sequences: Sequences) -> int:
    """Count the rows that differ."""
    return len(np.unique(_numbers(sequences)))


def distinct(table: PatternTable, histories: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """Find what X' keeps (section 3.5): a mined or a regenerated pattern at its first row alone.

    A regenerated pattern must be new besides: neither a history nor a mined pattern of any row.
    Patterns of other origins are all kept.

    Parameters
    ----------
    table : PatternTable
    histories : Sequences
        Of all rows, also where the table has no pattern of the origin "original".

    Returns
    -------
    number : ndarray of int64, shape (n_patterns,)
        The same for two patterns if and only if they are equal, whoever made them.
    kept : ndarray of bool, shape (n_patterns,)
    """
    number = _numbers(Sequences.concatenate([histories, table.sequences]))
    of_histories, number = np.split(number, [len(histories)])
    mined, regenerated = (table.origin == ORIGINS.index(name) for name in ("mined", "regenerated"))
    kept = ~(mined | regenerated)
    kept[mined] = _is_first(number[mined])
    known = np.concatenate([of_histories, number[mined]])
    kept[regenerated] = _is_first(number[regenerated]) & ~np.isin(number[regenerated], known)
    return number, kept


def _is_first(number: np.ndarray) -> np.ndarray:
    """Mask of the first occurrence of each number."""
    mask = np.zeros(len(number), dtype=bool)
    mask[np.unique(number, return_index=True)[1]] = True
    return mask


def _numbers(sequences: Sequences) -> np.ndarray:
    """Give each row a number such that two have the same if and only if they are equal."""
    number = np.zeros(len(sequences), dtype=np.int64)
    lengths, taken = sequences.lengths, 0
    for length in np.unique(lengths):  # rows of unequal length are never equal
        rows = np.flatnonzero(lengths == length)
        if length == 0:
            number[rows] = taken
            taken += 1
            continue
        codes = sequences.codes[sequences.offsets[rows][:, None] + np.arange(length)]
        view = np.ascontiguousarray(codes).view(np.dtype((np.void, codes.itemsize * length)))
        found, which = np.unique(view.ravel(), return_inverse=True)
        number[rows] = taken + which
        taken += len(found)
    return number
