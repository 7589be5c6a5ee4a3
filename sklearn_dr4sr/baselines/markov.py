"""A Markov chain over the last few items, with transitions that may skip items."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ..dataset import SequenceDataset, item_counts
from .base import LinearRecommender, check_number, transition_counts

__all__ = ["MarkovChain"]


class MarkovChain(LinearRecommender):
    """Count which item follows which, and follow the last items of a history.

    Parameters
    ----------
    max_gap : int, default=2
        Transitions from an item to the next ``max_gap`` ones are counted, at least 1.
    n_recent : int, default=3
        Items at the end of a history that are followed, at least 1.
    exclude_seen : bool, default=True
        Keep the items of a history out of its ranking.

    Attributes
    ----------
    transitions_ : csr_matrix of float64, shape (n_items, n_items)
        Weighted count of each transition; row: the earlier item.
    popularity_ : ndarray of float64, shape (n_items,)
        Occurrences of each item, which rank items of equal score.
    items_ : ndarray, shape (n_items,)
        The catalogue, sorted.
    n_features_in_ : int
        Width of the zero-padded matrix that was fitted; absent after ragged input.

    Notes
    -----
    With ``c_g(a, b)`` the number of times that ``b`` stands ``g`` places after ``a`` in a training
    pattern (times the weight of that ``b``, where the data set has weights)::

        transitions(a, b) = sum over g = 1 .. max_gap of c_g(a, b) / g
        score(j) = sum over t = 0 .. n_recent - 1 of transitions(i_t, j) / (t + 1)

    where ``i_t`` is the item ``t`` steps before the end of the history. Scores that
    differ by 1e-9 of themselves, or not at all, rank by popularity; so do all items for an empty
    history.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import MarkovChain
    >>> chain = MarkovChain().fit([["tea", "cup", "pot"], ["tea", "cup"], ["jam", "pot"]])
    >>> chain.predict([["tea"], ["jam"]], k=2)
    array([['cup', 'pot'],
           ['pot', 'cup']], dtype=object)
    """

    def __init__(self, *, max_gap: int = 2, n_recent: int = 3, exclude_seen: bool = True) -> None:
        self.max_gap = max_gap
        self.n_recent = n_recent
        self.exclude_seen = exclude_seen

    def _check_parameters(self) -> None:
        check_number("max_gap", self.max_gap, 1, integer=True)
        check_number("n_recent", self.n_recent, 1, integer=True)

    def _fit(self, dataset: SequenceDataset, target: np.ndarray | None) -> None:
        self.popularity_ = item_counts(dataset)
        widest = min(self.max_gap, int(dataset.patterns.lengths.max()) - 1)
        self.transitions_ = transition_counts(dataset, 1.0 / np.arange(1, widest + 1))

    @property
    def _matrix(self) -> sparse.csr_matrix:
        return self.transitions_

    def _recency(self, steps: np.ndarray) -> np.ndarray:
        return (steps < self.n_recent) / (steps + 1.0)
