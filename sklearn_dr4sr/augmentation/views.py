"""CL4SRec's three operators as patterns to train on."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .._parameters import PATTERNS, check_flag, check_number, check_some
from ..dataset import PatternTable, SequenceDataset
from ..sequences import Sequences, ranges
from .base import Augmenter, select, with_originals

__all__ = ["CropMaskReorder"]


class CropMaskReorder(Augmenter):
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
        operators = [name for name in OPERATORS if name in self.operators]  # a set has no order
        return partial(
            _views,
            dataset.histories,
            self.n_views,
            np.array([getattr(self, name) for name in operators], dtype=float),
            np.array([OPERATORS.index(name) for name in operators]),
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
    return with_originals(select(histories, at, length), row, histories, include_original)
