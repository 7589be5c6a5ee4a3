"""Sequential rules: counted at long gaps in both directions, normalised, followed with decay."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ..dataset import SequenceDataset, item_counts
from .base import LinearRecommender, check_number, transition_counts

__all__ = ["SequentialRules"]


class SequentialRules(LinearRecommender):
    """Rules "who took a takes b" from co-occurrence within a window, weighted by distance.

    Needs no training beyond counting, and beats most published neural models on the Amazon data.

    Parameters
    ----------
    max_gap : int, default=10
        Widest gap between two items that is counted, at least 1.
    gap_decay : float in [0, 1], default=0.8
        A pair at gap g counts ``gap_decay ** (g - 1)``.
    reverse_weight : float in [0, 1e6], default=0.5
        Weight of a pair read backwards: 0 counts forwards only, 1 is symmetric.
    source_exponent, target_exponent : float in [-10, 10], default=-0.5, -0.2
        Powers of the popularity of the history's item and of the recommended item that a rule is
        multiplied by; negative ones hold popular items back.
    history_decay : float in [0, 1], default=0.6
        The item t steps before the end of the history counts ``history_decay ** t``.
    max_length : int, default=50
        Last items of each pattern that are counted, at least 2, and of each history that are
        followed.
    exclude_seen : bool, default=True
        Keep the items of a history out of its ranking.

    Attributes
    ----------
    rules_ : csr_matrix of float64, shape (n_items, n_items)
        M of the notes; row: the item of the history.
    popularity_ : ndarray of float64, shape (n_items,)
        Occurrences of each item in the patterns, times their weights.
    items_ : ndarray, shape (n_items,)
        The catalogue, sorted.
    n_features_in_ : int
        Width of the zero-padded matrix that was fitted; absent after ragged input.

    Notes
    -----
    With ``c_g(a, b)`` the number of times that ``b`` stands ``g`` places after ``a`` (times the
    weight of that ``b``, where the data set has weights)::

        C = sum over g = 1 .. max_gap of gap_decay ** (g - 1) * c_g
        C = C + reverse_weight * C^T, with a zero diagonal
        M(a, b) = popularity(a) ** source_exponent * C(a, b) * popularity(b) ** target_exponent
        score(j) = sum over t of history_decay ** t * M(i_t, j)

    where ``i_t`` is the item ``t`` steps before the end of the history. A popularity of 0, which
    only weights of 0 make, is taken for 1 in M. Scores that differ by 1e-9 of
    themselves, or not at all, rank by popularity; so do all items for an empty history.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import SequentialRules
    >>> rules = SequentialRules().fit([["tea", "cup", "pot"], ["tea", "cup"], ["jam", "pot"]])
    >>> rules.predict([["tea"], ["pot"]], k=2)
    array([['cup', 'pot'],
           ['jam', 'cup']], dtype=object)
    """

    def __init__(
        self,
        *,
        max_gap: int = 10,
        gap_decay: float = 0.8,
        reverse_weight: float = 0.5,
        source_exponent: float = -0.5,
        target_exponent: float = -0.2,
        history_decay: float = 0.6,
        max_length: int = 50,
        exclude_seen: bool = True,
    ) -> None:
        self.max_gap = max_gap
        self.gap_decay = gap_decay
        self.reverse_weight = reverse_weight
        self.source_exponent = source_exponent
        self.target_exponent = target_exponent
        self.history_decay = history_decay
        self.max_length = max_length
        self.exclude_seen = exclude_seen

    def _check_parameters(self) -> None:
        check_number("max_gap", self.max_gap, 1, integer=True)
        check_number("gap_decay", self.gap_decay, 0, 1)
        check_number("reverse_weight", self.reverse_weight, 0, 1e6)
        check_number("source_exponent", self.source_exponent, -10, 10)
        check_number("target_exponent", self.target_exponent, -10, 10)
        check_number("history_decay", self.history_decay, 0, 1)
        check_number("max_length", self.max_length, 2, integer=True)

    def _fit(self, dataset: SequenceDataset, target: np.ndarray | None) -> None:
        self.popularity_ = item_counts(dataset)
        widest = min(self.max_gap, int(dataset.patterns.lengths.max()) - 1)
        gap_weights = self.gap_decay ** np.arange(widest)
        forwards = transition_counts(dataset, gap_weights, self.max_length)
        counts = (forwards + self.reverse_weight * forwards.T).tocoo()
        occurrences = np.where(self.popularity_ > 0, self.popularity_, 1.0)
        values = counts.data * (counts.row != counts.col)
        values *= occurrences[counts.row] ** self.source_exponent
        values *= occurrences[counts.col] ** self.target_exponent
        self.rules_ = sparse.csr_matrix((values, (counts.row, counts.col)), shape=counts.shape)
        self.rules_.eliminate_zeros()

    @property
    def _matrix(self) -> sparse.csr_matrix:
        return self.rules_

    def _recency(self, steps: np.ndarray) -> np.ndarray:
        return (steps < self.max_length) * self.history_decay**steps
