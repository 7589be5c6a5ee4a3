"""EASE: a linear model between items with a closed form."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from ..dataset import SequenceDataset, item_counts
from .base import LinearRecommender, check_number

__all__ = ["EASE"]


class EASE(LinearRecommender):
    """Embarrassingly shallow autoencoder: ridge regression of each item on all others.

    It knows no order when it learns; when it predicts, recent items of the history count more.

    Parameters
    ----------
    l2 : float, default=100.0
        Strength of the ridge penalty (lambda of the source), in 1e-9 .. 1e12.
    history_decay : float in [0, 1], default=0.7
        The item t steps before the end of the history counts ``history_decay ** t``; 1 is EASE as
        published.
    exclude_seen : bool, default=True
        Keep the items of a history out of its ranking.

    Attributes
    ----------
    coef_ : ndarray of float32, shape (n_items, n_items)
        B of the notes, with a zero diagonal; row: the item of the history.
    popularity_ : ndarray of float64, shape (n_items,)
        Occurrences of each item in the patterns, times their weights.
    items_ : ndarray, shape (n_items,)
        The catalogue, sorted.
    n_features_in_ : int
        Width of the zero-padded matrix that was fitted; absent after ragged input.

    Notes
    -----
    ``X`` is binary, a row for each training pattern. Minimising
    ``|X - X B|^2 + l2 |B|^2`` with ``diag(B) = 0`` gives [1]_::

        P = (X^T X + l2 I)^-1
        B = I - P diag(1 / diag(P))
        score(j) = sum over t of history_decay ** t * B(i_t, j)

    Where the data set has weights, an entry of ``X`` is the square root of the item's weight, so
    that a pattern of weight w counts as w copies of it. An empty history ranks by popularity.

    Dense: ``4 n_items ** 2`` bytes and ``n_items ** 3`` multiplications (12,000 items: 0.6 GB, and
    10 to 30 seconds on two cores).

    References
    ----------
    .. [1] H. Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import EASE
    >>> ease = EASE(l2=1.0).fit([["tea", "cup"], ["tea", "cup"], ["jam", "pot"]])
    >>> ease.predict([["tea"], ["pot"]], k=1)
    array([['cup'],
           ['jam']], dtype=object)
    """

    def __init__(
        self, *, l2: float = 100.0, history_decay: float = 0.7, exclude_seen: bool = True
    ) -> None:
        self.l2 = l2
        self.history_decay = history_decay
        self.exclude_seen = exclude_seen

    def _check_parameters(self) -> None:
        check_number("l2", self.l2, 1e-9, 1e12)
        check_number("history_decay", self.history_decay, 0, 1)

    def _fit(self, dataset: SequenceDataset, target: np.ndarray | None) -> None:
        self.popularity_ = item_counts(dataset)
        gram = _gram(dataset).toarray(order="F")
        gram[np.diag_indices_from(gram)] += np.float32(self.l2)
        # Cholesky and inverse in one buffer: LAPACK fills the lower triangle only
        gram, info = lapack.spotrf(gram, lower=1, clean=0, overwrite_a=1)
        if info == 0:
            gram, info = lapack.spotri(gram, lower=1, overwrite_c=1)
        if info != 0:
            raise ValueError(f"the Gram matrix is singular in float32: raise l2, got {self.l2!r}")
        for j in range(1, len(gram)):
            gram[:j, j] = gram[j, :j]
        coef = np.ascontiguousarray(gram.T)  # P is symmetric: no copy of a Fortran array
        coef /= -np.diag(coef)
        np.fill_diagonal(coef, 0.0)
        self.coef_ = coef

    @property
    def _matrix(self) -> np.ndarray:
        return self.coef_

    def _recency(self, steps: np.ndarray) -> np.ndarray:
        return self.history_decay**steps


def _gram(dataset: SequenceDataset) -> sparse.csr_matrix:
    """X^T X of the patterns, float32; an item that a pattern repeats counts once."""
    patterns = dataset.patterns
    weights = np.ones(len(patterns.codes)) if dataset.weights is None else dataset.weights
    order = np.lexsort((-weights, patterns.codes, patterns.rows))  # the heaviest repetition first
    rows, codes = patterns.rows[order], patterns.codes[order]
    first = np.ones(len(order), bool)
    first[1:] = (rows[1:] != rows[:-1]) | (codes[1:] != codes[:-1])
    values = np.sqrt(weights[order][first], dtype=np.float32)
    X = sparse.csr_matrix(
        (values, (rows[first], codes[first])), shape=(len(patterns), len(patterns.items))
    )
    return X.T @ X
