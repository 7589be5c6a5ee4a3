"""What the counting baselines share: counted patterns, and scores linear in the history."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse

from .._parameters import check_number
from ..dataset import SequenceDataset
from ..ranking import BaseRecommender
from ..sequences import Sequences

__all__ = ["LinearRecommender", "check_number", "transition_counts"]

#: What popularity adds to a score, at most: a share of it, and to a score of zero so much.
TIE, LEAST = 1e-9, 1e-30


class LinearRecommender(BaseRecommender):
    """Score items by a matrix: score(j) = sum over the history of recency(t) * matrix[i_t, j].

    A subclass sets ``popularity_`` in ``_fit``, names its fitted matrix in ``_matrix`` and gives
    the weight of an item ``t`` steps before the end of the history in ``_recency``. Equal scores
    rank by popularity, which adds 1e-9 of itself to a score at the most; so does an empty history.
    """

    @property
    def _matrix(self) -> Any:
        """Sparse or dense, (n_items, n_items), a row for each item of a history."""
        raise NotImplementedError

    def _recency(self, steps: np.ndarray) -> np.ndarray:
        """Weight of a history's item by its steps from the end (0 = the last)."""
        raise NotImplementedError

    def _scores(self, histories: Sequences) -> torch.Tensor:
        weights = self._recency(steps_from_end(histories)).astype(self._matrix.dtype)
        shape = (len(histories), len(histories.items))
        recent = sparse.csr_matrix((weights, histories.codes, histories.offsets), shape=shape)
        return torch.from_numpy(with_ties_by(self.popularity_, recent @ self._matrix))


def with_ties_by(popularity: np.ndarray, scores: Any) -> np.ndarray:
    """Raise scores, (n_rows, n_items), by so little that only equal ones are ordered.

    Dense ones in place; sparse ones become dense, the zeros of each row in one stroke.
    """
    share = popularity / max(popularity.max(), np.finfo(float).tiny)
    if not sparse.issparse(scores):
        scores += share * (TIE * abs(scores) + LEAST)
        return scores
    scores = scores.tocsr()
    raised = np.tile((share * LEAST).astype(scores.dtype), (scores.shape[0], 1))
    rows = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    share = share[scores.indices]
    raised[rows, scores.indices] = scores.data + share * (TIE * abs(scores.data) + LEAST)
    return raised


def transition_counts(
    dataset: SequenceDataset, gap_weights: np.ndarray, max_length: int | None = None
) -> sparse.csr_matrix:
    """Count how often an item follows another, weighted by the gap between them.

    Parameters
    ----------
    dataset : SequenceDataset
        Its patterns are counted; a weight multiplies the counts of the pairs that end in its item.
    gap_weights : array of shape (max_gap,)
        What a pair at gap 1, 2, ... adds (an item and its direct successor have gap 1).
    max_length : int or None, default=None
        Count within the last ``max_length`` items of each pattern.

    Returns
    -------
    csr_matrix of float64, shape (n_items, n_items)
        Row: the earlier item; column: the later one.
    """
    patterns = dataset.patterns
    rows, codes = patterns.rows, patterns.codes
    weights = np.ones(len(codes)) if dataset.weights is None else dataset.weights
    usable = np.ones(len(codes), bool)
    if max_length is not None:
        usable = steps_from_end(patterns) < max_length
    counts = sparse.csr_matrix((len(patterns.items),) * 2)
    for gap, gap_weight in enumerate(gap_weights, start=1):
        pair = (rows[:-gap] == rows[gap:]) & usable[:-gap]
        values = gap_weight * weights[gap:][pair]
        ends = codes[:-gap][pair], codes[gap:][pair]
        counts = counts + sparse.csr_matrix((values, ends), shape=counts.shape)
    return counts


def steps_from_end(sequences: Sequences) -> np.ndarray:
    """Count the steps from each interaction to the end of its row: 0 for the last."""
    ends = np.repeat(sequences.offsets[1:], sequences.lengths)
    return ends - 1 - np.arange(len(sequences.codes))
