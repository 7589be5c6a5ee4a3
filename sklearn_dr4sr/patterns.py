"""Patterns, each with the row that it stands for and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from ._parameters import COUNT, check_choice
from .sequences import Sequences, positions, ranges

__all__ = ["ORIGINS", "PatternTable", "check_lengths", "flatten"]

#: Where a pattern comes from; ``PatternTable.origin`` holds positions in this tuple.
ORIGINS = ("original", "mined", "regenerated", "augmented")


@dataclass(frozen=True)
class PatternTable:
    """Patterns with the row that each stands for, and what is known of each.

    Attributes
    ----------
    sequences : Sequences
        The patterns.
    source : ndarray of int64, shape (n_patterns,)
        Row of the data set that the pattern stands for, not decreasing.
    origin : ndarray of int8, shape (n_patterns,)
        Position in :data:`ORIGINS`.
    support : ndarray of int64, shape (n_patterns,)
        Number of training sequences that hold a mined pattern; 0 where it was not counted.
    memory : ndarray of int8, shape (n_patterns,)
        The regenerator's memory (0 .. K - 1) that a pattern was decoded from; -1 for others.
    generative : ndarray of bool, shape (n_pattern_items,), or None
        Whether the regenerator chose an item of a pattern from the whole catalogue, flat, in the
        order of ``sequences.codes``; None where it never did.

    Examples
    --------
    >>> from sklearn_dr4sr import PatternMiner
    >>> table = PatternMiner().fit_transform([[1, 2, 3], [1, 3], [2, 1]]).table
    >>> list(table.sequences), table.source, table.support
    ([[1, 3], [1, 3], [2, 1]], array([0, 1, 2]), array([2, 2, 0]))
    """

    sequences: Sequences
    source: np.ndarray
    origin: np.ndarray
    support: np.ndarray
    memory: np.ndarray
    generative: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        sequences: Sequences,
        source: np.ndarray,
        origin: str | np.ndarray = "original",
        support: np.ndarray | None = None,
        memory: np.ndarray | None = None,
        generative: np.ndarray | None = None,
    ) -> PatternTable:
        """Fill in the columns that are not given.

        Examples
        --------
        >>> from sklearn_dr4sr import Sequences
        >>> from sklearn_dr4sr.patterns import PatternTable
        >>> PatternTable.of(Sequences([[1, 2], [3]]), [0, 0], "augmented").memory
        array([-1, -1], dtype=int8)
        """
        n = len(sequences)
        if isinstance(origin, str):
            check_choice("origin", origin, ORIGINS)
            origin = np.full(n, ORIGINS.index(origin))
        return cls(
            sequences,
            np.asarray(source, dtype=np.int64),
            np.asarray(origin, dtype=np.int8),
            np.zeros(n, np.int64) if support is None else np.asarray(support, dtype=np.int64),
            np.full(n, -1, np.int8) if memory is None else np.asarray(memory, dtype=np.int8),
            None if generative is None else np.asarray(generative, dtype=bool),
        )

    @classmethod
    def checked(
        cls, sequences: Sequences, n_rows: int, source: Any, origin: Any = "original"
    ) -> PatternTable:
        """Make a table of what others give: rows in 0 .. n_rows - 1, in order, and known origins.

        Raises
        ------
        TypeError, ValueError
            With the pattern whose row or origin is wrong.

        Examples
        --------
        >>> from sklearn_dr4sr import Sequences
        >>> from sklearn_dr4sr.patterns import PatternTable
        >>> PatternTable.checked(Sequences([[1, 2], [3]]), 2, [0, 1], ["mined", "original"]).origin
        array([1, 0], dtype=int8)
        """
        return cls.of(
            sequences,
            _checked_source(source, len(sequences), n_rows),
            _checked_origin(origin, len(sequences)),
        )

    def check(self, n_rows: int) -> PatternTable:
        """Raise ValueError unless all columns fit the patterns, and the rows of a data set.

        Examples
        --------
        >>> from sklearn_dr4sr import Sequences
        >>> from sklearn_dr4sr.patterns import PatternTable
        >>> PatternTable.of(Sequences([[1, 2], [3]]), [0, 2]).check(2)
        Traceback (most recent call last):
          ...
        ValueError: source: rows must lie in 0 .. 1, got 2 for pattern 1
        """
        _checked_source(self.source, len(self), n_rows)
        for name, low, high in _LIMITS:
            values = getattr(self, name)
            if values.shape != (len(self),):
                raise ValueError(f"{name}: expected {len(self)} numbers, got shape {values.shape}")
            outside = (values < low) | (values > high)
            if outside.any():
                at = int(outside.argmax())
                raise ValueError(
                    f"pattern {at}: {name} must lie in {low} .. {high}, got {values[at]}"
                )
        n_items, marks = len(self.sequences.codes), self.generative
        if marks is not None and marks.shape != (n_items,):
            raise ValueError(
                f"generative: expected a mark for each of the {n_items} pattern items, got shape "
                f"{marks.shape}"
            )
        return self

    @classmethod
    def concatenate(cls, parts: list[PatternTable]) -> PatternTable:
        """Merge tables row by row: all patterns of row 0, then of row 1, ..., parts in order.

        Examples
        --------
        >>> from sklearn_dr4sr import Sequences
        >>> from sklearn_dr4sr.patterns import PatternTable
        >>> parts = [PatternTable.of(Sequences(rows), [0, 1]) for rows in ([[1], [2]], [[3], [4]])]
        >>> list(PatternTable.concatenate(parts).sequences)
        [[1], [3], [2], [4]]
        """
        source = np.concatenate([p.source for p in parts])
        order = np.argsort(source, kind="stable")
        generative = None
        if any(p.generative is not None for p in parts):
            generative = np.concatenate([p.is_generative for p in parts])
        return cls(
            Sequences.concatenate([p.sequences for p in parts]),
            source,
            np.concatenate([p.origin for p in parts]),
            np.concatenate([p.support for p in parts]),
            np.concatenate([p.memory for p in parts]),
            generative,
        )[order]

    @property
    def is_generative(self) -> np.ndarray:
        """``generative`` as an array, also where that is None."""
        n_items = len(self.sequences.codes)
        return np.zeros(n_items, dtype=bool) if self.generative is None else self.generative

    def take_items(self, values: np.ndarray, key: np.ndarray) -> np.ndarray:
        """Pick, of one value an item of each pattern, those of the patterns that ``key`` picks.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_dr4sr import Sequences
        >>> from sklearn_dr4sr.patterns import PatternTable
        >>> table = PatternTable.of(Sequences([[1, 2], [3]]), [0, 1])
        >>> table.take_items(np.array([0.5, 1.0, 2.0]), [1])
        array([2.])
        """
        picked = positions(key, len(self))
        starts = self.sequences.offsets[picked]
        return values[ranges(starts, self.sequences.offsets[picked + 1] - starts)]

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, key: np.ndarray) -> PatternTable:
        """Pick patterns by position or by mask."""
        return PatternTable(
            self.sequences[key],
            self.source[key],
            self.origin[key],
            self.support[key],
            self.memory[key],
            None if self.generative is None else self.take_items(self.generative, key),
        )


_LIMITS = (
    ("origin", 0, len(ORIGINS) - 1),
    ("support", 0, COUNT),
    ("memory", -1, np.iinfo(np.int8).max),
)


def check_lengths(name: str, given: np.ndarray, lengths: np.ndarray) -> None:
    """Raise ValueError unless each pattern is given one value an item.

    Parameters
    ----------
    name : str
        What the values are.
    given, lengths : ndarray of int
        Number of values, and of items, of each pattern.
    """
    if len(given) != len(lengths):
        raise ValueError(f"{name} of {len(given)} patterns for {len(lengths)} patterns")
    differ = given != lengths
    if differ.any():
        at = int(differ.argmax())
        raise ValueError(
            f"pattern {at}: {name} must be as long as items, got {given[at]} for {lengths[at]}"
        )


def flatten(name: str, lists: Any, lengths: np.ndarray) -> list:
    """Join the lists that patterns are given, of one value an item.

    Raises
    ------
    TypeError, ValueError
        With the pattern that is given no list, or one of another length.
    """
    for number, given in enumerate(lists):
        if not hasattr(given, "__len__") or not hasattr(given, "__iter__"):
            raise TypeError(f"pattern {number}: {name} must be a list, got {given!r}")
    check_lengths(name, np.array([len(given) for given in lists], dtype=int), lengths)
    return list(chain.from_iterable(lists))


def _checked_source(source: Any, n_patterns: int, n_rows: int) -> np.ndarray:
    try:
        rows = np.asarray(source)
    except (TypeError, ValueError):
        rows = np.empty(0, dtype=object)
    if rows.dtype.kind not in "iu" and (rows.size or rows.dtype == object):
        raise TypeError(f"source: expected the row of each pattern, integers, got {source!r}")
    if rows.shape != (n_patterns,):
        raise ValueError(f"source: expected {n_patterns} rows, got shape {rows.shape}")
    outside = (rows < 0) | (rows >= n_rows)
    if outside.any():
        at = int(outside.argmax())
        raise ValueError(
            f"source: rows must lie in 0 .. {n_rows - 1}, got {rows[at]} for pattern {at}"
        )
    rows = rows.astype(np.int64)
    falls = np.diff(rows) < 0
    if falls.any():
        at = int(falls.argmax()) + 1
        raise ValueError(
            "source: the patterns must be in the order of their rows, but pattern "
            f"{at} is of row {rows[at]}, after one of row {rows[at - 1]}"
        )
    return rows


def _checked_origin(origin: Any, n_patterns: int) -> np.ndarray:
    single = isinstance(origin, str) or not hasattr(origin, "__iter__")
    if single or getattr(origin, "ndim", 1) == 0:
        check_choice("origin", origin, ORIGINS)
        return np.full(n_patterns, ORIGINS.index(origin))
    origin = list(origin)
    if len(origin) != n_patterns:
        raise ValueError(f"origin has {len(origin)} entries for {n_patterns} patterns")
    for number, name in enumerate(origin):
        check_choice(f"pattern {number}: origin", name, ORIGINS)
    return np.array([ORIGINS.index(name) for name in origin], dtype=np.int8)
