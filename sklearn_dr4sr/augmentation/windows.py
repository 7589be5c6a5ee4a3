"""Every prefix of a history, or every window of consecutive items."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .._parameters import check_flag, check_number
from ..dataset import PatternTable, SequenceDataset
from ..sequences import Sequences, ranges
from .base import Augmenter, select, with_originals

__all__ = ["SlidingWindow"]


class SlidingWindow(Augmenter):
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
    return with_originals(select(histories, at, length), row, histories, include_original)
