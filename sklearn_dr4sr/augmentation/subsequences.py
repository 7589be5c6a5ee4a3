"""The size-matched random control of a regenerated data set."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .._parameters import LENGTH, PATTERNS, check_flag, check_number
from ..dataset import ORIGINS, PatternTable, SequenceDataset
from ..sequences import ranges
from .base import Augmenter, keep_the_rest, select

__all__ = ["RandomSubsequences"]


class RandomSubsequences(Augmenter):
    """Random ordered subsequences: the size-matched control of a regenerated data set.

    Put after the step that makes patterns, it keeps how many there are, of which rows and how
    long, and replaces what they say by chance: what a recommender still gains is owed to the number
    and the lengths of the patterns, and not to the patterns.

    Parameters
    ----------
    n_patterns : int, default=1
        Subsequences of each history, for input without patterns of its own. At least 1.
    min_length, max_length : int, default=2, 5
        Their lengths are uniform in this range, cut to the history's length; for input without
        patterns of its own. At least 2.
    include_original : bool, default=True
        Keep the patterns of ``X`` whose origin is "original". False: leave them out.
    random_state : int, RandomState or None, default=None

    Attributes
    ----------
    items_ : ndarray, shape (n_items,)
        Every item of the histories, sorted.
    seed_ : int
        What ``transform`` draws from.
    n_features_in_ : int
        Width of ``X``, only where it was a zero-padded matrix.

    Notes
    -----
    Where ``X`` is a data set with patterns whose origin is not "original", each of these is
    replaced by items of the same row, at places drawn uniformly without replacement and taken in
    order, as many as the pattern has (all of them, where a regenerated pattern is longer than its
    row). Weights of ``X`` are not carried over. Any other input, plain sequences among them, has
    ``n_patterns`` made of each history of two items or more. This is the kill test "original +
    size-matched random subsequences" that any regenerated data set has to pass.

    Examples
    --------
    >>> from sklearn_dr4sr import SequenceDataset
    >>> from sklearn_dr4sr.augmentation import RandomSubsequences
    >>> made = SequenceDataset([[1, 2, 3, 4]], [[1, 2, 3, 4], [4, 1], [2, 9, 3]], source=[0, 0, 0],
    ...                        origin=["original", "regenerated", "regenerated"])
    >>> list(RandomSubsequences(random_state=0).fit_transform(made).patterns)
    [[1, 2, 3, 4], [3, 4], [1, 3, 4]]
    """

    _reads_patterns = True  # the number and lengths of them

    def __init__(
        self,
        *,
        n_patterns: int = 1,
        min_length: int = 2,
        max_length: int = 5,
        include_original: bool = True,
        random_state: Any = None,
    ) -> None:
        self.n_patterns = n_patterns
        self.min_length = min_length
        self.max_length = max_length
        self.include_original = include_original
        self.random_state = random_state

    def _check_parameters(self) -> None:
        check_number("n_patterns", self.n_patterns, 1, PATTERNS, integer=True)
        check_number("min_length", self.min_length, 2, integer=True)
        check_number("max_length", self.max_length, 2, LENGTH, integer=True)
        if self.max_length < self.min_length:
            raise ValueError(
                f"max_length must be at least min_length={self.min_length!r}, "
                f"got {self.max_length!r}"
            )
        check_flag("include_original", self.include_original)

    def _recipe(self, dataset: SequenceDataset) -> Any:
        return partial(
            _subsequences,
            dataset,
            self.n_patterns,
            (self.min_length, self.max_length),
            self.include_original,
            self.seed_,
        )


def _subsequences(
    dataset: SequenceDataset,
    n_patterns: int,
    bounds: tuple[int, int],
    include_original: bool,
    seed: int,
) -> PatternTable:
    rng = np.random.default_rng(seed)
    histories, table = dataset.histories, dataset.table
    original = table.origin == ORIGINS.index("original")
    if original.all():
        row = np.repeat(np.flatnonzero(histories.lengths >= 2), n_patterns)
        length = rng.integers(bounds[0], bounds[1] + 1, size=len(row))
    else:
        row, length = table.source[~original], table.sequences.lengths[~original]
    L = histories.lengths[row]
    length = np.minimum(length, L)
    # the `length` items of the lowest noise, which are then taken in order
    drawn = np.repeat(np.arange(len(row)), L)
    place = ranges(np.zeros_like(L), L)
    order = np.lexsort((rng.random(len(place)), drawn))
    at = (np.repeat(histories.offsets[row], L) + place)[order[place < length[drawn]]]
    at = at[np.lexsort((at, np.repeat(np.arange(len(row)), length)))]
    new = PatternTable.of(select(histories, at, length), row, "augmented")
    if include_original:
        return PatternTable.concatenate([table[original], new])
    return keep_the_rest(new, histories)
