"""Data operators that one would try before regenerating, and the size-matched random control.

Each is a transformer of the shape of :class:`~sklearn_dr4sr.DatasetRegenerator`, one row a user, so
that they compare in one grid: ``{"data": ["passthrough", SlidingWindow(), RepeatPadding(), ...]}``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._parameters import LENGTH, PATTERNS, check_flag, check_number, check_some
from ._progress import tracked
from ._torch import seed_of
from .dataset import ORIGINS, PatternTable, SequenceDataset, as_dataset
from .ranking import SequenceInput, whole
from .sequences import Sequences, ranges

__all__ = ["CropMaskReorder", "RandomSubsequences", "RepeatPadding", "SlidingWindow"]


class _Augmenter(SequenceInput, TransformerMixin, BaseEstimator):
    """Template: ``_recipe(dataset)`` returns the callable that makes the patterns when read."""

    @tracked
    @whole
    def fit(self, X: Any, y: Any = None) -> _Augmenter:
        """Check the parameters and the input; there is nothing to learn.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            In any form that :func:`~sklearn_dr4sr.sequences.as_sequences` takes.
        y : ignored
            Held-out items never become patterns.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On a parameter out of range; on bad input, naming the row.
        """
        self._check_parameters()
        items = as_dataset(self._read(X, fitting=True)).histories.compact().items
        if hasattr(self, "random_state"):
            # drawn once, so that transform gives the same patterns whenever it is called
            self.seed_ = seed_of(self.random_state)
        self.items_ = items
        return self

    def transform(self, X: Any) -> SequenceDataset:
        """Give each row its new patterns.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            Also rows and items that were not seen in ``fit``.

        Returns
        -------
        SequenceDataset
            One row a row of ``X``, with its history. The patterns are made when they are first
            read; they have the origin "augmented", and a row's own history, where it is kept,
            "original". A row of which an operator can make no pattern keeps its history.

        Raises
        ------
        NotFittedError, ValueError, TypeError
            Before ``fit``; on bad input.
        """
        check_is_fitted(self, "items_")
        self._check_parameters()
        dataset = as_dataset(self._read(X))
        return SequenceDataset(dataset.histories, self._recipe(dataset))

    def _check_parameters(self) -> None:
        raise NotImplementedError

    def _recipe(self, dataset: SequenceDataset) -> Any:
        raise NotImplementedError


# ------------------------------------------------------------------------------ SlidingWindow


class SlidingWindow(_Augmenter):
    """Every prefix of a history as a pattern, or every window of consecutive items.

    Parameters
    ----------
    window_size : int or None, default=None
        None: the prefixes [1]_. A number w, at least 2: the runs of w items [2]_.
    stride : int, default=1
        Steps from one prefix or window to the next, at least 1, counted from the end of the
        history, so that its last item is always covered.
    include_original : bool, default=True
        Keep each history as a pattern of its own.

    Attributes
    ----------
    items_ : ndarray, shape (n_items,)
        Every item of the histories, sorted.
    n_features_in_ : int
        Width of ``X``, only where it was a zero-padded matrix.

    Notes
    -----
    Of a history s_1 .. s_L the patterns end at e = L, L - stride, L - 2 stride, ...::

        prefixes    s_1 .. s_e            for e >= 2
        windows     s_(e - w + 1) .. s_e  for e >= w

    in the order of e. What equals the whole history is the original where that is kept, and stands
    once. Prefixes repeat early targets: with ``targets="last"`` each is one sample, as in [1]_.

    References
    ----------
    .. [1] Tan, Xu and Liu, "Improved Recurrent Neural Networks for Session-based
       Recommendations", DLRS 2016 (section 3.1).
    .. [2] Tang and Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence
       Embedding", WSDM 2018 (section 3.5).

    Examples
    --------
    >>> from sklearn_dr4sr.augmentation import SlidingWindow
    >>> list(SlidingWindow().fit_transform([[1, 2, 3, 4]]).patterns)
    [[1, 2, 3, 4], [1, 2], [1, 2, 3]]
    >>> list(SlidingWindow(window_size=3, include_original=False).fit_transform([[1, 2, 3, 4]])
    ...      .patterns)
    [[1, 2, 3], [2, 3, 4]]
    """

    def __init__(
        self, *, window_size: int | None = None, stride: int = 1, include_original: bool = True
    ) -> None:
        self.window_size = window_size
        self.stride = stride
        self.include_original = include_original

    def _check_parameters(self) -> None:
        if self.window_size is not None:
            check_number("window_size", self.window_size, 2, integer=True)
        check_number("stride", self.stride, 1, integer=True)
        check_flag("include_original", self.include_original)

    def _recipe(self, dataset: SequenceDataset) -> Any:
        return partial(
            _windows, dataset.histories, self.window_size, self.stride, self.include_original
        )


def _windows(
    histories: Sequences, window_size: int | None, stride: int, include_original: bool
) -> PatternTable:
    lengths = histories.lengths
    shortest = window_size or 2
    count = np.maximum(0, (lengths - shortest) // stride + 1)  # of each row
    row = np.repeat(np.arange(len(histories)), count)
    back = ranges(np.zeros_like(count), count)
    back = (np.repeat(count, count) - 1 - back) * stride  # steps from e to L: largest first
    end = lengths[row] - back
    length = end if window_size is None else np.full(len(row), window_size)
    if include_original:
        new = length < lengths[row]
        row, end, length = row[new], end[new], length[new]
    at = ranges(histories.offsets[row] + end - length, length)
    return _with_originals(_select(histories, at, length), row, histories, include_original)


# ------------------------------------------------------------------------------ RepeatPadding


class RepeatPadding(_Augmenter):
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
    table = _with_originals(_select(histories, at, total), row, histories, include_original)
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


# ----------------------------------------------------------------------------- CropMaskReorder


class CropMaskReorder(_Augmenter):
    """Views of a history by the three operators of CL4SRec, as patterns to train on.

    Parameters
    ----------
    n_views : int, default=2
        Patterns made of each history, at least 1.
    crop, mask, reorder : float in [0, 1], default=0.2, 0.7, 0.2
        Share of the history that a crop keeps, that a mask leaves out, that is shuffled. The
        defaults are those of :class:`~sklearn_dr4sr.recommenders.CL4SRec`.
    operators : tuple of {"crop", "mask", "reorder"}, default=("crop", "mask", "reorder")
        Each view is made by one of these, drawn uniformly.
    include_original : bool, default=True
        Keep each history as a pattern of its own.
    random_state : int, RandomState or None, default=None

    Attributes
    ----------
    items_ : ndarray, shape (n_items,)
        Every item of the histories, sorted.
    seed_ : int
        What ``transform`` draws from.
    n_features_in_ : int
        Width of ``X``, only where it was a zero-padded matrix.

    See Also
    --------
    sklearn_dr4sr.recommenders.CL4SRec : Uses such views for a contrastive loss.

    Notes
    -----
    Of a history of L items (equations 4 to 6 of [1]_; floor has a tolerance of 1e-9)::

        crop      a run of max(2, floor(crop L)) items, its place uniform
        mask      without min(L - 2, floor(mask L)) items, drawn uniformly, order kept
        reorder   a run of floor(reorder L) items shuffled, its place uniform

    Departures: [1]_ puts a mask token where "mask" leaves an item out, and a pattern holds items
    only; a pattern needs two items, so crop and mask keep at least two; and [1]_ draws views anew
    for each step. Histories of fewer than two items have no views.

    References
    ----------
    .. [1] Xie, Sun, Liu, Wu, Gao, Zhang, Ding and Cui, "Contrastive Learning for Sequential
       Recommendation", ICDE 2022 (section III.C).

    Examples
    --------
    >>> from sklearn_dr4sr.augmentation import CropMaskReorder
    >>> views = CropMaskReorder(crop=0.5, operators=("crop",), random_state=0)
    >>> list(views.fit_transform([[1, 2, 3, 4]]).patterns)
    [[1, 2, 3, 4], [2, 3], [1, 2]]
    """

    def __init__(
        self,
        *,
        n_views: int = 2,
        crop: float = 0.2,
        mask: float = 0.7,
        reorder: float = 0.2,
        operators: tuple[str, ...] = ("crop", "mask", "reorder"),
        include_original: bool = True,
        random_state: Any = None,
    ) -> None:
        self.n_views = n_views
        self.crop = crop
        self.mask = mask
        self.reorder = reorder
        self.operators = operators
        self.include_original = include_original
        self.random_state = random_state

    def _check_parameters(self) -> None:
        check_number("n_views", self.n_views, 1, PATTERNS, integer=True)
        for name in OPERATORS:
            check_number(name, getattr(self, name), 0, 1)
        check_some("operators", self.operators, OPERATORS)
        check_flag("include_original", self.include_original)

    def _recipe(self, dataset: SequenceDataset) -> Any:
        return partial(
            _views,
            dataset.histories,
            self.n_views,
            np.array([getattr(self, name) for name in self.operators], dtype=float),
            np.array([OPERATORS.index(name) for name in self.operators]),
            self.include_original,
            self.seed_,
        )


OPERATORS = ("crop", "mask", "reorder")


def _views(
    histories: Sequences,
    n_views: int,
    ratios: np.ndarray,
    operators: np.ndarray,
    include_original: bool,
    seed: int,
) -> PatternTable:
    rng = np.random.default_rng(seed)
    row = np.repeat(np.flatnonzero(histories.lengths >= 2), n_views)
    L = histories.lengths[row]
    drawn = rng.integers(len(operators), size=len(row))
    start = rng.random(len(row))
    operator = operators[drawn]
    count = np.floor(ratios[drawn] * L + 1e-9).astype(np.int64)  # .7 * 10 is below 7 in floats
    crop, mask, reorder = (operator == which for which in range(3))
    count = np.where(crop, np.maximum(2, count), np.where(mask, np.minimum(L - 2, count), count))
    start = np.floor(start * (L - count + 1)).astype(np.int64)

    # all items of all views, each with a key to sort by within its view
    view = np.repeat(np.arange(len(row)), L)
    place = ranges(np.zeros_like(L), L)
    noise = rng.random(len(place))
    in_run = (place >= start[view]) & (place < (start + count)[view])
    # reorder: places of the run are drawn within it; the rest stays where it is
    key = np.where(reorder[view] & in_run, start[view] + noise * count[view], place)
    key = np.where(mask[view], noise, key)
    order = np.lexsort((key, view))
    # mask: the `count` items of the lowest noise go
    kept = np.where(crop[view], in_run, True)
    kept[order] &= ~(mask[view] & (place < count[view]))
    order = order[kept[order]]
    at = histories.offsets[row][view[order]] + place[order]
    masked = mask[view[order]]  # what a mask has left returns to its order
    at[masked] = at[masked][np.lexsort((at[masked], view[order][masked]))]
    length = np.bincount(view[order], minlength=len(row))
    return _with_originals(_select(histories, at, length), row, histories, include_original)


# -------------------------------------------------------------------------- RandomSubsequences


class RandomSubsequences(_Augmenter):
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
    new = PatternTable.of(_select(histories, at, length), row, "augmented")
    if include_original:
        return PatternTable.concatenate([table[original], new])
    return _keep_the_rest(new, histories)


# -------------------------------------------------------------------------------------- shared


def _select(histories: Sequences, at: np.ndarray, lengths: np.ndarray) -> Sequences:
    """Patterns of the interactions at the given places, ``lengths`` of them each."""
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return Sequences.from_codes(histories.codes[at], offsets, histories.items)


def _with_originals(
    patterns: Sequences, row: np.ndarray, histories: Sequences, include_original: bool
) -> PatternTable:
    """Table of new patterns, and of all histories or of those without a new pattern."""
    new = PatternTable.of(patterns, row, "augmented")
    if not include_original:
        return _keep_the_rest(new, histories)
    original = PatternTable.of(histories, np.arange(len(histories)), "original")
    return PatternTable.concatenate([original, new])


def _keep_the_rest(new: PatternTable, histories: Sequences) -> PatternTable:
    """Add the history of each row that has no pattern, so that every row stands for something."""
    without = np.setdiff1d(np.arange(len(histories)), new.source)
    kept = PatternTable.of(histories[without], without, "original")
    return PatternTable.concatenate([kept, new])
