"""What the data operators share: the template of a transformer, and the assembly of patterns."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._progress import tracked
from .._torch import seed_of
from ..dataset import PatternTable, SequenceDataset, as_dataset, left_out
from ..ranking import SequenceInput, whole
from ..sequences import Sequences, as_items

__all__ = ["Augmenter", "keep_the_rest", "select", "with_originals"]


class Augmenter(SequenceInput, TransformerMixin, BaseEstimator):
    """Template: ``_recipe(dataset)`` returns the callable that makes the patterns when read."""

    #: Whether the patterns of ``X`` serve, too, and not its histories alone.
    _reads_patterns = False

    @tracked
    @whole
    def fit(self, X: Any, y: Any = None) -> Augmenter:
        """Check the parameters and the input; there is nothing to learn.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            In any form that :func:`~sklearn_dr4sr.sequences.as_sequences` takes.
        y : array-like of shape (n_rows,) or None, default=None
            Held-out items, one a row: checked; they never become patterns.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On a parameter out of range; on bad input, naming the row.

        Examples
        --------
        >>> from sklearn_dr4sr.augmentation import SlidingWindow
        >>> SlidingWindow(window_size=2).fit([[1, 2, 3], [4, 5]]).items_
        array([1, 2, 3, 4, 5])
        """
        self._check_parameters()
        histories = as_dataset(self._read(X, fitting=True)).histories
        items = histories.compact().items
        if y is not None:
            as_items(y, len(histories), items)
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
            Also rows and items that were not seen in ``fit``. Of a data set the histories are
            taken: its own patterns and weights are dropped, with a warning, but for
            :class:`RandomSubsequences` and :class:`TeacherContinuation`, which read them.

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

        Warns
        -----
        UserWarning
            When the patterns are made, if ``X`` had weights or patterns that were not "original".

        Examples
        --------
        >>> from sklearn_dr4sr.augmentation import SlidingWindow
        >>> list(SlidingWindow(window_size=2).fit_transform([[1, 2, 3], [4, 5]]).patterns)
        [[1, 2, 3], [1, 2], [2, 3], [4, 5]]
        """
        check_is_fitted(self, "items_")
        self._check_parameters()
        dataset = as_dataset(self._read(X))
        recipe = self._recipe(dataset)
        if not self._reads_patterns:
            recipe = partial(_made_of_histories, recipe, dataset, type(self).__name__)
        return SequenceDataset(dataset.histories, recipe)

    def _check_parameters(self) -> None:
        raise NotImplementedError

    def _recipe(self, dataset: SequenceDataset) -> Any:
        raise NotImplementedError


def _made_of_histories(recipe: Callable, dataset: SequenceDataset, operator: str) -> Any:
    """Call the recipe; warn of what else the data set holds (not making that only to count it)."""
    if dataset._table is None:
        dropped = ["the patterns of the step before"]
    else:
        dropped = left_out(dataset, ("original",))
    if dropped:
        warnings.warn(
            f"{operator} makes its patterns of the histories alone and drops "
            f"{' and '.join(dropped)} of X: pass X.histories if that is meant; to train on both, "
            "join the two tables with PatternTable.concatenate",
            stacklevel=2,
        )
    return recipe()


def select(histories: Sequences, at: np.ndarray, lengths: np.ndarray) -> Sequences:
    """Patterns of the interactions at the given places, ``lengths`` of them each."""
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return Sequences.from_codes(histories.codes[at], offsets, histories.items)


def with_originals(
    patterns: Sequences, row: np.ndarray, histories: Sequences, include_original: bool
) -> PatternTable:
    """Table of new patterns, and of all histories or of those without a new pattern."""
    new = PatternTable.of(patterns, row, "augmented")
    if not include_original:
        return keep_the_rest(new, histories)
    original = PatternTable.of(histories, np.arange(len(histories)), "original")
    return PatternTable.concatenate([original, new])


def keep_the_rest(new: PatternTable, histories: Sequences) -> PatternTable:
    """Add the history of each row that has no pattern, so that every row stands for something."""
    without = np.setdiff1d(np.arange(len(histories)), new.source)
    kept = PatternTable.of(histories[without], without, "original")
    return PatternTable.concatenate([kept, new])
