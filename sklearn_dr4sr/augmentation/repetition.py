"""RepPad: each history repeated to fill the input."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .._parameters import LENGTH, PATTERNS, check_flag, check_number
from ..dataset import PatternTable, SequenceDataset
from ..sequences import Sequences, ranges
from .base import Augmenter, select, with_originals

__all__ = ["RepeatPadding"]


class RepeatPadding(Augmenter):
    """Each history repeated to fill the input: RepPad.

    Parameters
    ----------
    max_length : int, default=50
        N, the recommender's ``max_length``, at least 1.
    repeats : {"random", "max"} or int, default="random"
        Copies that are put before the history: as many as fit, "random" from 1 to as many as fit,
        drawn for each row, or a number of at least 1 (or as many as fit, if these are fewer).
    delimiter : bool, default=True
        Do not learn to predict the first item of a copy from the last of the one before.
    include_original : bool, default=False
        Keep each history as a pattern of its own; the repetition holds it anyway.
    random_state : int, RandomState or None, default=None
        Seed of "random".

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
    A history of L items is an input of L - 1 items and as many targets. m copies are put before
    it, m uniform in 1 .. floor(N / (L - 1)), and the last N inputs are used [1]_; a history with
    L - 1 >= N stays as it is.

    **The delimiter.** Between copies [1]_ puts a 0, which is padding as input and no target::

        input    a b c 0 a b c          here    a b c d a b c
        target   b c d 0 b c d                  b c d . b c d

    Item ids leave none for a delimiter, so the pattern is a b c d a b c d and the first item of
    each copy after the first has the weight 0 (marked "."): the same positions, the same targets,
    and the delimiter's place taken by the item that ended the copy. Departure: this item is seen
    as input, where [1]_ has padding. The data set so has weights, and the mean of a loss counts
    the targets of weight 0. Without a delimiter the pattern has no weights: all is learnt.

    Departure: the repetitions are drawn once, and not anew for each epoch.

    References
    ----------
    .. [1] Dang, Liu, Yang, Guo, Jiang, Wang and Zhao, "Repeated Padding for Sequential
       Recommendation", RecSys 2024, and its published code.

    Examples
    --------
    >>> from sklearn_dr4sr.augmentation import RepeatPadding
    >>> data = RepeatPadding(max_length=6, repeats="max").fit_transform([[1, 2, 3]])
    >>> list(data.patterns), data.weights.tolist()
    ([[3, 1, 2, 3, 1, 2, 3]], [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    """

    def __init__(
        self,
        *,
        max_length: int = 50,
        repeats: str | int = "random",
        delimiter: bool = True,
        include_original: bool = False,
        random_state: Any = None,
    ) -> None:
        self.max_length = max_length
        self.repeats = repeats
        self.delimiter = delimiter
        self.include_original = include_original
        self.random_state = random_state

    def _check_parameters(self) -> None:
        check_number("max_length", self.max_length, 1, LENGTH, integer=True)
        if not (isinstance(self.repeats, str) and self.repeats in ("random", "max")):
            if isinstance(self.repeats, str):
                raise ValueError(
                    f'repeats must be "random", "max" or an integer, got {self.repeats!r}'
                )
            check_number("repeats", self.repeats, 1, PATTERNS, integer=True)
        check_flag("delimiter", self.delimiter)
        check_flag("include_original", self.include_original)

    def _recipe(self, dataset: SequenceDataset) -> Any:
        return partial(
            _repetitions,
            dataset.histories,
            self.max_length,
            self.repeats,
            self.delimiter,
            self.include_original,
            self.seed_,
        )


def _repetitions(
    histories: Sequences,
    max_length: int,
    repeats: str | int,
    delimiter: bool,
    include_original: bool,
    seed: int,
) -> PatternTable | tuple[PatternTable, np.ndarray]:
    lengths = histories.lengths
    row = np.flatnonzero((lengths >= 2) & (lengths - 1 < max_length))
    length = lengths[row]
    most = max_length // (length - 1)
    if repeats == "random":
        copies = np.random.default_rng(seed).integers(1, most + 1)
    else:
        copies = most if repeats == "max" else np.minimum(most, repeats)
    total = np.minimum((copies + 1) * length, max_length + 1)
    # counted from the end of the pattern, its items are those of the history, over and over
    back = np.repeat(total, total) - 1 - ranges(np.zeros_like(total), total)
    place = np.repeat(length, total) - 1 - back % np.repeat(length, total)
    at = np.repeat(histories.offsets[row], total) + place
    table = with_originals(select(histories, at, total), row, histories, include_original)
    if not delimiter:
        return table
    # every head of a copy but the first item of a pattern; originals are one copy
    sequences = table.sequences
    ends = np.repeat(sequences.offsets[1:], sequences.lengths)
    back = ends - 1 - np.arange(len(sequences.codes))
    own = np.repeat(lengths[table.source], sequences.lengths)
    weights = np.where(back % np.maximum(own, 1) == own - 1, 0.0, 1.0)
    weights[sequences.offsets[:-1][sequences.lengths > 0]] = 1.0
    return table, weights
