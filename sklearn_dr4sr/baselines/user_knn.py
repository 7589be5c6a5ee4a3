"""UserKNN: what the users with the most similar histories took."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from ..dataset import SequenceDataset, item_counts
from ..ranking import BaseRecommender
from ..sequences import Sequences
from .base import check_number, steps_from_end, with_ties_by

__all__ = ["UserKNN"]


class UserKNN(BaseRecommender):
    """Nearest neighbours among the training patterns, recent items of the history counting more.

    Of the session-based neighbour methods this is the one with a decaying vector (V-SKNN [1]_),
    and with rare items counting more, also when patterns are compared.

    Parameters
    ----------
    n_neighbors : int, default=200
        Patterns that are looked up for each history, at least 1.
    history_decay : float in [0, 1], default=0.85
        The item t steps before the end of the history counts ``history_decay ** t``.
    max_length : int, default=50
        Last items of a history that are compared, at least 1.
    exclude_seen : bool, default=True
        Keep the items of a history out of its ranking.

    Attributes
    ----------
    patterns_ : csr_matrix of float32, shape (n_patterns, n_items)
        The weight of each item that a training pattern holds, 1 where the data set has none.
    rarity_ : ndarray of float32, shape (n_items,)
        idf of the notes.
    popularity_ : ndarray of float64, shape (n_items,)
        Occurrences of each item in the patterns, times their weights.
    items_ : ndarray, shape (n_items,)
        The catalogue, sorted.
    n_features_in_ : int
        Width of the zero-padded matrix that was fitted; absent after ragged input.

    Notes
    -----
    With x_n the binary vector of training pattern n, and q the vector of a history::

        idf(i) = log(1 + n_patterns / number of patterns that hold i)
        q(i) = history_decay ** t   for the item t steps before the end, the latest place of i
        sim(n) = cos(idf * q, idf * x_n)
        score(j) = sum over the n_neighbors most similar n of sim(n) * x_n(j)

    Where the data set has weights, they multiply x_n(j) in the score, and patterns are counted by
    their mean weight, items by their own: a pattern of weight w counts as w copies of it, but is
    one neighbour. Scores that differ by 1e-9 of themselves, or not at all, rank by popularity;
    so do all items for an empty history. A history that is itself a pattern is its own nearest
    neighbour, which adds to its own items alone.

    References
    ----------
    .. [1] Ludewig and Jannach, "Evaluation of Session-based Recommendation Algorithms", UMUAI 2018.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import UserKNN
    >>> knn = UserKNN(n_neighbors=2).fit([["tea", "cup"], ["tea", "cup", "jam"], ["jam", "pot"]])
    >>> knn.predict([["tea"], ["pot"]], k=1)
    array([['cup'],
           ['jam']], dtype=object)
    """

    def __init__(
        self,
        *,
        n_neighbors: int = 200,
        history_decay: float = 0.85,
        max_length: int = 50,
        exclude_seen: bool = True,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.history_decay = history_decay
        self.max_length = max_length
        self.exclude_seen = exclude_seen

    def _check_parameters(self) -> None:
        check_number("n_neighbors", self.n_neighbors, 1, integer=True)
        check_number("history_decay", self.history_decay, 0, 1)
        check_number("max_length", self.max_length, 1, integer=True)

    def _fit(self, dataset: SequenceDataset, target: np.ndarray | None) -> None:
        patterns = dataset.patterns
        weights = np.ones(len(patterns.codes)) if dataset.weights is None else dataset.weights
        self.popularity_ = item_counts(dataset)
        self.patterns_ = _latest(patterns, weights)
        total = np.bincount(patterns.rows, weights=weights, minlength=len(patterns))
        n_patterns = (total / np.maximum(1, patterns.lengths)).sum()
        held = np.asarray(self.patterns_.sum(axis=0)).ravel()
        held[held == 0] = 1.0
        self.rarity_ = np.log1p(n_patterns / held).astype(np.float32)
        binary = self.patterns_.copy()
        binary.data[:] = 1.0
        self._neighbors = _unit(binary.multiply(self.rarity_).tocsr()).T.tocsr()

    def _row_cost(self, n_items: int) -> int:
        return n_items + self.patterns_.shape[0]

    def _scores(self, histories: Sequences) -> torch.Tensor:
        recent = histories.last(self.max_length)
        recency = self.history_decay ** steps_from_end(recent)
        queries = _unit(_latest(recent, recency).multiply(self.rarity_).tocsr())
        similar = (queries @ self._neighbors).tocsr()  # (rows, n_patterns)
        for row in range(similar.shape[0]):
            own = similar.data[similar.indptr[row] : similar.indptr[row + 1]]
            if len(own) > self.n_neighbors:
                own[own.argpartition(-self.n_neighbors)[: -self.n_neighbors]] = 0.0
        similar.eliminate_zeros()
        scores = (similar @ self.patterns_).astype(np.float64)
        return torch.from_numpy(with_ties_by(self.popularity_, scores))


def _latest(sequences: Sequences, values: np.ndarray) -> sparse.csr_matrix:
    """One entry for each item that a row holds: the value at its latest place, float32."""
    backwards = slice(None, None, -1)
    key = sequences.rows * np.int64(len(sequences.items)) + sequences.codes
    _, at = np.unique(key[backwards], return_index=True)
    at = len(key) - 1 - at
    entries = values[at].astype(np.float32), (sequences.rows[at], sequences.codes[at])
    return sparse.csr_matrix(entries, shape=(len(sequences), len(sequences.items)))


def _unit(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    """Scale each row to length 1, empty ones left as they are."""
    norm = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    norm[norm == 0] = 1.0
    return (sparse.diags(1 / norm) @ rows).astype(np.float32).tocsr()
