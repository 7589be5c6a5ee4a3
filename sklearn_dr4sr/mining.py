"""Pattern mining (paper, 4.2.1): the subsequences that several users share within a window."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from joblib import Parallel, effective_n_jobs
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._growth import match_patterns, mine_patterns, mine_shards
from ._parameters import check_choice, check_flag, check_jobs, check_number, check_verbose
from ._progress import tracked
from .dataset import PatternTable, SequenceDataset
from .ranking import SequenceInput, whole
from .sequences import Sequences, as_items, as_sequences, check_one_kind

__all__ = ["PatternMiner", "match_patterns"]


class PatternMiner(SequenceInput, TransformerMixin, BaseEstimator):
    """Mine the item transition patterns that several sequences share, and give each row its own.

    A pattern is an ordered subsequence of at least two items, gaps allowed, whose first and last
    item lie within a window of α positions of some sequence. Its support is the number of sequences
    that hold it so; patterns with a support of at least β are kept (section 4.2.1 of the paper
    [1]_, which mines with Seq2Pat [2]_: the patterns here are the same).

    Parameters
    ----------
    window_size : int, default=5
        α: the last item of a pattern comes at most α - 1 positions after the first. At least 2.
        The paper takes 5 for Beauty and 10 for Toys.
    min_support : int, default=2
        β: how many sequences must hold a pattern. At least 1.
    max_pattern_length : int or None, default=None
        Longest pattern, at least 2. None: as long as the window.
    matching : {"window", "any_gap"}, default="window"
        What ``transform`` takes for a row's own patterns: those that it holds within the window, as
        the paper says, or at any gap, as its published code does.
    deduplicate : bool, default=False
        True: of the rows that hold a pattern only the first has it, so that the data set has every
        pattern once. This is the paper's data set "pattern".
    n_jobs : int or None, default=None
        Shards that the rows are split into, each mined by a worker of joblib (processes, or what
        ``joblib.parallel_config`` says: dask, ray); -1: as many as there are processors. Patterns
        and supports are those of one run. That is one process here, too, unless the context says
        otherwise: it takes seconds for millions of items, and shards are for what exceeds it.
    verbose : int, default=0
        Above 0: a line for each length of patterns mined, and the time left where it takes long.

    Attributes
    ----------
    patterns_ : Sequences
        The patterns, shorter ones first, then in the order of ``items_``.
    supports_ : ndarray of int64, shape (n_patterns,)
        Support of each pattern.
    items_ : ndarray, shape (n_items,)
        Every item of the sequences that were mined, sorted.
    n_features_in_ : int
        Width of ``X``, only where it was a zero-padded matrix.

    See Also
    --------
    sklearn_dr4sr.DatasetRegenerator : Learns to make new patterns from these.

    Notes
    -----
    Patterns grow by one item at a time. From every occurrence of a frequent pattern of length n all
    positions up to the end of its window are candidates for the item n + 1; one sort brings equal
    candidates together, and their rows are counted. Of the occurrences of a pattern that end at one
    position the one that begins last allows all that the others do, so only that one is kept. Time
    is linear in the number of sequences (times the logarithm of a bounded chunk).

    References
    ----------
    .. [1] Yin et al., "Dataset Regeneration for Sequential Recommendation", KDD 2024.
    .. [2] Wang et al., "Seq2Pat: Sequence-to-Pattern Generation for Constraint-based Sequential
       Pattern Mining", AAAI 2022.

    Examples
    --------
    >>> from sklearn_dr4sr import PatternMiner
    >>> miner = PatternMiner(window_size=3, min_support=2).fit([[1, 2, 3, 4, 5], [1, 2, 3]])
    >>> list(miner.patterns_), miner.supports_
    ([[1, 2], [1, 3], [2, 3], [1, 2, 3]], array([2, 2, 2, 2]))
    >>> data = miner.transform([[1, 2, 9], [7, 8]])
    >>> list(data.patterns), data.origin.tolist()
    ([[1, 2], [7, 8]], ['mined', 'original'])
    """

    def __init__(
        self,
        *,
        window_size: int = 5,
        min_support: int = 2,
        max_pattern_length: int | None = None,
        matching: str = "window",
        deduplicate: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.window_size = window_size
        self.min_support = min_support
        self.max_pattern_length = max_pattern_length
        self.matching = matching
        self.deduplicate = deduplicate
        self.n_jobs = n_jobs
        self.verbose = verbose

    @tracked
    @whole
    def fit(self, X: Any, y: Any = None) -> PatternMiner:
        """Mine the patterns of ``X``.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            In any form that :func:`~sklearn_dr4sr.sequences.as_sequences` takes; of a data set the
            histories are mined.
        y : array-like of shape (n_rows,) or None, default=None
            Held-out items, one a row: checked, never mined.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On a parameter out of range; on bad input, naming the row; if no row holds two items.

        Examples
        --------
        >>> from sklearn_dr4sr import PatternMiner
        >>> list(PatternMiner(min_support=2).fit([[1, 2, 3], [1, 3], [2, 1]]).patterns_)
        [[1, 3]]
        """
        self._check_parameters()
        sequences = as_sequences(self._read(X, fitting=True)).compact()
        if y is not None:
            as_items(y, len(sequences), sequences.items)
        widest = int(sequences.lengths.max(initial=0))
        if widest < 2:
            raise ValueError(
                "no sequence of X holds two items, so there is no pattern to mine "
                f"({len(sequences)} sample(s), the longest with {widest} feature(s), that is items)"
            )
        window = int(self.window_size)
        longest = min(window, self.max_pattern_length or window)
        settings = window, self.min_support, longest
        n_shards = min(effective_n_jobs(self.n_jobs), len(sequences))
        if n_shards > 1:
            edges = np.linspace(0, len(sequences), n_shards + 1).astype(int)
            shards = [sequences[start:stop] for start, stop in pairwise(edges)]
            parallel = Parallel(n_jobs=self.n_jobs, verbose=self.verbose)
            patterns, supports = mine_shards(shards, *settings, parallel)
        else:
            patterns, supports = mine_patterns(sequences, *settings, self.verbose)
        self.patterns_, self.supports_, self.items_ = patterns, supports, sequences.items
        return self

    def transform(self, X: Any) -> SequenceDataset:
        """Give each row the mined patterns that it holds; a row without any keeps its history.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            Also rows that were not mined, with items that were not seen. Of a data set the
            histories are taken.

        Returns
        -------
        SequenceDataset
            One row a row of ``X``, with its history. Its patterns are looked for when they are
            first read: origin "mined" with their support, or "original" with a support of 0 for a
            history that was kept. Within a row they are in the order of ``patterns_``.

        Raises
        ------
        NotFittedError, ValueError, TypeError
            Before ``fit``; on bad input.

        Examples
        --------
        >>> from sklearn_dr4sr import PatternMiner
        >>> miner = PatternMiner(min_support=2).fit([[1, 2, 3], [1, 3], [2, 1]])
        >>> data = miner.transform([[1, 9, 3], [7, 8]])
        >>> list(data.patterns), data.origin.tolist()
        ([[1, 3], [7, 8]], ['mined', 'original'])
        """
        check_is_fitted(self, "patterns_")
        self._check_parameters()
        histories = as_sequences(self._read(X))
        check_one_kind(histories.items, self.patterns_.items)
        window = self.window_size if self.matching == "window" else None
        make = partial(
            _own_patterns,
            histories,
            self.patterns_,
            self.supports_,
            window,
            self.deduplicate,
            self.verbose,
        )
        return SequenceDataset(histories, make)

    def _check_parameters(self) -> None:
        check_number("window_size", self.window_size, 2, integer=True)
        check_number("min_support", self.min_support, 1, integer=True)
        if self.max_pattern_length is not None:
            check_number("max_pattern_length", self.max_pattern_length, 2, integer=True)
        check_choice("matching", self.matching, ("window", "any_gap"))
        check_flag("deduplicate", self.deduplicate)
        check_jobs(self.n_jobs)
        check_verbose(self.verbose)


def _own_patterns(
    histories: Sequences,
    patterns: Sequences,
    supports: np.ndarray,
    window_size: int | None,
    deduplicate: bool,
    verbose: int,
) -> PatternTable:
    """Make the table of each row's own patterns, and of the histories of the rows without any."""
    rows, ids = match_patterns(histories, patterns, window_size, verbose)
    without = np.setdiff1d(np.arange(len(histories)), rows)
    if deduplicate:
        first = np.sort(np.unique(ids, return_index=True)[1])  # matches are in order of rows
        rows, ids = rows[first], ids[first]
    mined = PatternTable.of(patterns[ids], rows, "mined", supports[ids])
    kept = PatternTable.of(histories[without], without, "original")
    return PatternTable.concatenate([mined, kept])
