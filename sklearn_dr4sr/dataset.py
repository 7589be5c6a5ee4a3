"""What flows between the steps: users' histories and the patterns that stand for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ._distinct import distinct
from .exchange import Exchange
from .patterns import ORIGINS, PatternTable, flatten
from .sequences import Sequences, as_sequences, check_one_kind, positions, ranges

__all__ = ["ORIGINS", "PatternTable", "SequenceDataset", "as_dataset"]


class SequenceDataset(Exchange):
    """Users' histories, and the patterns that stand for them as training data: a row is a user.

    Every transformer of the package takes and returns one row an input sequence, so that stock
    scikit-learn pipelines and searches work unchanged. Recommenders train on ``patterns`` (with
    ``weights``) and predict from ``histories``.

    Parameters
    ----------
    histories : anything that :func:`~sklearn_dr4sr.sequences.as_sequences` takes
        One row a user.
    patterns : sequences, PatternTable, callable or None, default=None
        The patterns. None: every history is its own only pattern. A callable without arguments
        that returns a PatternTable, or a PatternTable and weights, is called when the patterns or
        the weights are first read (or pickled), so that predicting through a pipeline never pays
        for them.
    weights : array of shape (n_pattern_items,), list of arrays, or None, default=None
        W of the paper: a weight, not negative, for each item of each pattern, as the target of a
        prediction; flat, in the order of ``patterns.codes``.
    source : array of int, shape (n_patterns,), default=None
        Row of each pattern; needed where ``patterns`` are sequences that are not one a row.
    origin : str or array of str, default="original"
        "original", "mined", "regenerated" or "augmented".

    Attributes
    ----------
    histories : Sequences of n_rows rows
    patterns : Sequences of n_patterns rows, in order of ``source``
    source : ndarray of int64, shape (n_patterns,)
    origin : ndarray of str, shape (n_patterns,)
    table : PatternTable
        All of a pattern's columns, ``support``, ``memory`` and ``generative`` among them.
    weights : ndarray of float32, shape (n_pattern_items,), or None
    shape : tuple (n_rows,)

    Raises
    ------
    ValueError, TypeError
        If patterns, source, origin and weights do not fit together; if ids are integers in the
        histories and strings in the patterns, or the other way round.

    Examples
    --------
    >>> from sklearn_dr4sr import SequenceDataset
    >>> data = SequenceDataset([[1, 2, 3], [2, 3]], [[1, 2], [1, 3], [2, 3]], source=[0, 0, 1])
    >>> len(data), len(data.patterns), list(data[[1]].patterns)
    (2, 3, [[2, 3]])
    """

    def __init__(
        self,
        histories: Any,
        patterns: Any = None,
        weights: Any = None,
        *,
        source: Any = None,
        origin: str | np.ndarray = "original",
    ) -> None:
        self.histories = as_sequences(histories)
        self._table: PatternTable | None = None
        self._make: Callable[[], PatternTable | tuple[PatternTable, Any]] | None = None
        self._weights: np.ndarray | None = None
        described = source is not None or not (isinstance(origin, str) and origin == "original")
        if described and (
            patterns is None or callable(patterns) or isinstance(patterns, PatternTable)
        ):
            raise ValueError("source and origin are of patterns that are given as sequences")
        if patterns is None:
            patterns = PatternTable.of(self.histories, np.arange(len(self.histories)))
        if callable(patterns):
            self._make = patterns
        elif isinstance(patterns, PatternTable):
            self._table = self._checked_table(patterns)
        else:
            self._table = self._tabulate(self._read(patterns), source, origin)
        if weights is not None:
            self._weights = self._checked_weights(weights)

    def _read(self, patterns: Any) -> Sequences:
        """Patterns in any form, also none at all."""
        if isinstance(patterns, (list, tuple)) and len(patterns) == 0:
            return self.histories[:0]
        return patterns if isinstance(patterns, Sequences) else as_sequences(patterns)

    def _tabulate(self, patterns: Sequences, source: Any, origin: Any) -> PatternTable:
        if source is None:
            if len(patterns) != len(self.histories):
                raise ValueError(
                    f"{len(patterns)} patterns for {len(self.histories)} histories: pass source=, "
                    "the row of each pattern"
                )
            source = np.arange(len(patterns))
        check_one_kind(patterns.items, self.histories.items)
        return PatternTable.checked(patterns, len(self.histories), source, origin)

    def _checked_table(self, table: PatternTable) -> PatternTable:
        check_one_kind(table.sequences.items, self.histories.items)
        return table.check(len(self.histories))

    def _checked_weights(self, weights: Any) -> np.ndarray:
        lengths = self.patterns.lengths
        if isinstance(weights, (list, tuple)) and any(hasattr(w, "__len__") for w in weights):
            weights = flatten("weights", weights, lengths)
        try:
            weights = np.asarray(weights, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"weights: expected numbers, got {type(weights).__name__}") from None
        if weights.shape != (int(lengths.sum()),):
            raise ValueError(
                f"weights: expected one for each of the {int(lengths.sum())} pattern items, "
                f"got shape {weights.shape}"
            )
        bad = ~(np.isfinite(weights) & (weights >= 0))
        if bad.any():
            at = int(np.argmax(bad))
            raise ValueError(
                f"weights must be finite and not negative, got {weights[at]} for pattern "
                f"{self.patterns.rows[at]}"
            )
        return weights

    @property
    def table(self) -> PatternTable:
        """The patterns with their columns, made on first reading."""
        if self._table is None:
            made = self._make()
            table, weights = made if isinstance(made, tuple) else (made, None)
            if not isinstance(table, PatternTable):
                raise TypeError(f"patterns: the callable must return a PatternTable, got {made!r}")
            self._table, self._make = self._checked_table(table), None
            if weights is not None:
                self._weights = self._checked_weights(weights)
        return self._table

    @property
    def weights(self) -> np.ndarray | None:
        """A weight for each item of each pattern, flat; None where all count alike."""
        self.table  # noqa: B018  (the recipe for the patterns may give their weights too)
        return self._weights

    @property
    def patterns(self) -> Sequences:
        """The patterns, in order of ``source``."""
        return self.table.sequences

    @property
    def source(self) -> np.ndarray:
        """Row of each pattern."""
        return self.table.source

    @property
    def origin(self) -> np.ndarray:
        """Origin of each pattern, as text."""
        return np.array(ORIGINS)[self.table.origin]

    @property
    def shape(self) -> tuple[int]:
        """``(n_rows,)``."""
        return self.histories.shape

    @property
    def items(self) -> np.ndarray:
        """Every item that a history or a pattern holds, sorted."""
        histories, patterns = self.histories.compact().items, self.patterns.compact().items
        return np.unique(np.concatenate([histories, patterns]))

    @classmethod
    def concatenate(cls, shards: Any) -> SequenceDataset:
        """Stack the rows of data sets, with all of their patterns and weights.

        Parameters
        ----------
        shards : iterable of SequenceDataset
            At least one, in order of rows; all with weights, or none. Their patterns are made where
            they are not made yet.

        Returns
        -------
        SequenceDataset

        Raises
        ------
        TypeError, ValueError
            With the number of the shard that is no data set or has no weights; without any shard;
            if ids are integers in one and strings in another.

        See Also
        --------
        deduplicate : What is left to do where each shard holds a pattern once.

        Examples
        --------
        >>> from sklearn_dr4sr import PatternMiner, SequenceDataset
        >>> rows = [[1, 2, 3], [1, 3], [2, 1]]
        >>> miner = PatternMiner().fit(rows)
        >>> shards = [miner.transform(rows[:2]), miner.transform(rows[2:])]
        >>> data = SequenceDataset.concatenate(shards)
        >>> list(data.patterns), data.source
        ([[1, 3], [1, 3], [2, 1]], array([0, 1, 2]))
        """
        if not np.iterable(shards):
            raise TypeError(f"shards: expected a list of SequenceDatasets, got {shards!r}")
        shards = list(shards)
        if not shards:
            raise ValueError("shards: expected at least one SequenceDataset, got none")
        for number, shard in enumerate(shards):
            if not isinstance(shard, SequenceDataset):
                raise TypeError(f"shard {number}: expected a SequenceDataset, got {shard!r}")
        weights = [shard.weights for shard in shards]
        weighted = [given is not None for given in weights]
        if any(weighted) and not all(weighted):
            raise ValueError(
                f"shard {weighted.index(False)} has no weights, shard {weighted.index(True)} has: "
                "all must have some, or none"
            )
        starts = np.cumsum([0, *map(len, shards[:-1])])
        tables = [
            replace(shard.table, source=shard.source + start)
            for shard, start in zip(shards, starts, strict=True)
        ]
        return cls(
            Sequences.concatenate([shard.histories for shard in shards]),
            PatternTable.concatenate(tables),
            np.concatenate(weights) if all(weighted) else None,
        )

    def deduplicate(self) -> SequenceDataset:
        """Keep each mined and each regenerated pattern once, at the first row that has it.

        Regenerated patterns that are a history or a mined pattern of any row are left out, too, as
        :class:`~sklearn_dr4sr.DatasetRegenerator` leaves them out; patterns of other origins stay.
        So what is made of all rows at once is also made of shards: of a regenerator, if its
        ``include`` has "mined" wherever it has "regenerated", or of
        ``PatternMiner(deduplicate=True)``.

        Returns
        -------
        SequenceDataset
            With the same histories, and the weights of the patterns that are kept.

        See Also
        --------
        concatenate : Puts shards together.

        Examples
        --------
        >>> from sklearn_dr4sr import SequenceDataset
        >>> data = SequenceDataset([[1, 2, 3], [1, 3]], [[1, 3]] * 2, source=[0, 1], origin="mined")
        >>> len(data.patterns), data.deduplicate().source
        (2, array([0]))
        """
        table, weights = self.table, self.weights
        _, kept = distinct(table, self.histories)
        weights = None if weights is None else table.take_items(weights, kept)
        return SequenceDataset(self.histories, table[kept], weights)

    def __len__(self) -> int:
        return len(self.histories)

    def __getitem__(self, key: Any) -> SequenceDataset:
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]
        rows = np.atleast_1d(positions(key, len(self)))
        if len(rows) == 0:
            raise ValueError(f"the index {key!r} picks no row, and a data set has at least one")
        table = self.table
        first = np.searchsorted(table.source, rows, side="left")
        count = np.searchsorted(table.source, rows, side="right") - first
        picked = ranges(first, count)
        part = replace(table[picked], source=np.repeat(np.arange(len(rows)), count))
        weights = None if self._weights is None else table.take_items(self._weights, picked)
        return SequenceDataset(self.histories[rows], part, weights)

    def __iter__(self) -> Any:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Lay the patterns of each row out one after the other, (n_rows, width).

        Each pattern, and the row, ends in -1 (integer ids) or None (strings). Without this numpy
        would take a data set for a sequence of data sets without end.
        """
        patterns, lengths = self.patterns, self.patterns.lengths + 1
        absent = None if patterns.items.dtype == object else -1
        flat = np.full(lengths.sum(), absent, dtype=patterns.items.dtype)
        item = np.ones(len(flat), dtype=bool)
        item[np.cumsum(lengths) - 1] = False
        flat[item] = patterns.items[patterns.codes]
        widths = np.bincount(self.source, weights=lengths, minlength=len(self))
        matrix = np.full((len(self), int(widths.max(initial=0))), absent, dtype=flat.dtype)
        matrix[np.arange(matrix.shape[1]) < widths[:, None]] = flat
        return matrix if dtype is None else matrix.astype(dtype)

    def __getstate__(self) -> dict:
        self.table  # noqa: B018  (what is stored holds the patterns, not the recipe for them)
        return self.__dict__

    def __repr__(self) -> str:
        patterns = (
            "patterns not yet made" if self._table is None else f"{len(self._table)} patterns"
        )
        weighted = "" if self._weights is None else ", weighted"
        return f"SequenceDataset({len(self)} rows, {patterns}{weighted})"


def left_out(dataset: SequenceDataset, used: tuple[str, ...]) -> list[str]:
    """Name the weights and the patterns that a step does not use, for its warning.

    Parameters
    ----------
    dataset : SequenceDataset
    used : tuple of str
        Origins of the patterns that the step reads, or makes anew.
    """
    origins = dataset.origin
    others = origins[~np.isin(origins, used)]
    counts = zip(*np.unique(others, return_counts=True), strict=True)
    named = [f"{count} {origin} patterns" for origin, count in counts]
    return named + ([] if dataset.weights is None else ["the weights"])


def as_dataset(X: Any) -> SequenceDataset:
    """Take a SequenceDataset as it is, and anything else as plain histories."""
    return X if isinstance(X, SequenceDataset) else SequenceDataset(X)


def item_counts(dataset: SequenceDataset) -> np.ndarray:
    """Occurrences of each item in the patterns, times their weights; float64, (n_items,)."""
    patterns = dataset.patterns
    return np.bincount(patterns.codes, weights=dataset.weights, minlength=len(patterns.items)) * 1.0
