"""Ranking metrics for one held-out item a row, and a scorer that ranks once for all of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .sequences import as_items

__all__ = ["ndcg_at_k", "ranking_scorer", "recall_at_k"]


def recall_at_k(y_true: ArrayLike, y_pred: ArrayLike, k: int) -> float:
    """Share of rows whose held-out item is among the first ``k`` of their ranking.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
        The held-out item of each row; rows with None are left out of the mean.
    y_pred : array-like of shape (n_rows, n_ranked), n_ranked >= k
        Ranked items, best first, as ``predict`` returns them.
    k : int
        Cut-off, at least 1.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If the shapes do not fit, ``k`` is out of range or no row has a held-out item.

    Notes
    -----
    With one relevant item, Recall@k = [rank <= k], also called hit rate.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import recall_at_k
    >>> recall_at_k([3, 5], [[3, 1], [1, 2]], k=2)
    0.5
    """
    return float(np.mean(ranks(y_true, y_pred, k) <= k))


def ndcg_at_k(y_true: ArrayLike, y_pred: ArrayLike, k: int) -> float:
    """Mean of 1 / log2(rank + 1) over rows, 0 where the held-out item ranks below ``k``.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
        The held-out item of each row; rows with None are left out of the mean.
    y_pred : array-like of shape (n_rows, n_ranked), n_ranked >= k
        Ranked items, best first, as ``predict`` returns them.
    k : int
        Cut-off, at least 1.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        As :func:`recall_at_k`.

    Notes
    -----
    With one relevant item the ideal gain is 1, so DCG is already normalised.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import ndcg_at_k
    >>> ndcg_at_k([3, 5], [[3, 1, 4], [1, 2, 5]], k=3)
    0.75
    """
    return float(np.mean(ndcg_of_ranks(ranks(y_true, y_pred, k), k)))


def ranks(y_true: ArrayLike, y_pred: ArrayLike, k: int) -> np.ndarray:
    """Rank (1 = best) of each known held-out item; ``k + 1`` if not among the first ``k``."""
    y_pred = np.asarray(y_pred)
    if y_pred.ndim != 2:
        raise ValueError(f"y_pred: expected (n_rows, n_ranked) item ids, got shape {y_pred.shape}")
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 1 <= k <= y_pred.shape[1]:
        raise ValueError(
            f"k must be an integer in 1 .. {y_pred.shape[1]} (ranked items), got {k!r}"
        )
    truth = as_items(y_true, len(y_pred))
    known = np.array([item is not None for item in truth], dtype=bool)
    if not known.any():
        raise ValueError("y_true: no row has a held-out item")
    hit = y_pred[known, :k] == truth[known, None]  # (n_known, k)
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, k + 1)


def ndcg_of_ranks(rank: np.ndarray, k: int) -> np.ndarray:
    """1 / log2(rank + 1) where ``rank <= k``, else 0."""
    return np.where(rank <= k, 1.0 / np.log2(rank + 1.0), 0.0)


_METRICS = {"recall": recall_at_k, "ndcg": ndcg_at_k}


def ranking_scorer(*names: str) -> _RankingScorer:
    """Make a scorer for ``cross_validate`` and ``GridSearchCV`` that ranks once for all metrics.

    Parameters
    ----------
    *names : str
        Metrics as "name@k", for example "recall@20", "ndcg@10".

    Returns
    -------
    callable (estimator, X, y) -> float or dict
        A float for one name, else a dict by name, as scikit-learn's multimetric scoring takes it
        (``refit="ndcg@20"``). Greater is better. Rows whose ``y`` is None are left out.

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import Popularity
    >>> from sklearn_dr4sr.metrics import ranking_scorer
    >>> model = Popularity().fit([[1, 2], [1, 2], [3, 1]])
    >>> ranking_scorer("recall@1", "recall@2")(model, [[1], [2]], [2, 3])
    {'recall@1': 0.5, 'recall@2': 1.0}
    """
    return _RankingScorer(names)


class _RankingScorer:
    """A class, not a closure, so that it pickles into worker processes."""

    def __init__(self, names: tuple[str, ...]) -> None:
        if not names:
            raise ValueError("ranking_scorer needs at least one metric, such as 'ndcg@20'")
        self.names = names
        self._metrics = [self._parse(name) for name in names]

    @staticmethod
    def _parse(name: str) -> tuple[str, int]:
        match = re.fullmatch(r"(\w+)@([1-9]\d*)", name) if isinstance(name, str) else None
        if match is None or match[1] not in _METRICS:
            raise ValueError(f"expected a metric such as {sorted(_METRICS)} + '@20', got {name!r}")
        return match[1], int(match[2])

    def __call__(self, estimator: Any, X: Any, y: Any) -> float | dict[str, float]:
        if y is None:
            raise ValueError("y is None: a ranking score needs the held-out item of each row")
        k_max = max(k for _, k in self._metrics)
        ranking = np.asarray(estimator.predict(X, k=k_max))
        if ranking.shape[1] < k_max:  # a catalogue smaller than k: nothing ranks further down
            short = ((0, 0), (0, k_max - ranking.shape[1]))
            ranking = np.pad(ranking.astype(object), short, constant_values=None)
        scores = {
            name: _METRICS[metric](y, ranking, k)
            for name, (metric, k) in zip(self.names, self._metrics, strict=True)
        }
        return scores if len(scores) > 1 else next(iter(scores.values()))

    def __repr__(self) -> str:
        return f"ranking_scorer({', '.join(map(repr, self.names))})"
