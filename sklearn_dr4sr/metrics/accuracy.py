"""Metrics of how well a ranking finds the items that were held out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .._parameters import check_share
from ..sequences import check_one_kind, positions_in
from ._arrays import item_counts, relevance, true_items

__all__ = [
    "HeadTailRecall",
    "head_tail_recall_at_k",
    "hit_rate_at_k",
    "map_at_k",
    "mrr_at_k",
    "ndcg_at_k",
    "ndcg_of_ranks",
    "ranks",
    "recall_at_k",
]


def recall_at_k(y_true: ArrayLike, y_pred: ArrayLike, k: int) -> float:
    """Share of the held-out items that are among the first ``k`` of their row's ranking.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,), or list of lists
        The held-out item of each row (int or str), or several a row.
    y_pred : array-like of shape (n_rows, n_ranked), n_ranked >= k
        Ranked items, best first, as ``predict`` returns them; -1 or None where a ranking is short.
    k : int
        Cut-off, at least 1.

    Returns
    -------
    float
        In [0, 1]: the mean over rows.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit, ``k`` is out of range, a row has no held-out item (None, NaN,
        ``pd.NA``: the message names it), or one side holds integers and the other strings.

    Notes
    -----
    With one held-out item, Recall@k = [rank <= k], which is also the hit rate. With several, the
    share of them that is found.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import recall_at_k
    >>> recall_at_k([3, 5], [[3, 1], [1, 2]], k=2)
    0.5
    """
    return _mean("recall", y_true, y_pred, k)


def ndcg_at_k(y_true: ArrayLike, y_pred: ArrayLike, k: int) -> float:
    """Mean normalised discounted cumulative gain of the first ``k`` places.

    Parameters
    ----------
    y_true, y_pred, k
        As in :func:`recall_at_k`.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError, TypeError
        As :func:`recall_at_k`.

    Notes
    -----
    A hit at rank r gains 1 / log2(r + 1); the sum is divided by that of the best ranking. With one
    held-out item the best is 1, so the gain is 1 / log2(rank + 1), 0 below ``k``.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import ndcg_at_k
    >>> ndcg_at_k([3, 5], [[3, 1, 4], [1, 2, 5]], k=3)
    0.75
    """
    return _mean("ndcg", y_true, y_pred, k)


def mrr_at_k(y_true: ArrayLike, y_pred: ArrayLike, k: int) -> float:
    """Mean reciprocal rank of the first held-out item, 0 where none is among the first ``k``.

    Parameters
    ----------
    y_true, y_pred, k
        As in :func:`recall_at_k`.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError, TypeError
        As :func:`recall_at_k`.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import mrr_at_k
    >>> mrr_at_k([3, 5], [[1, 3], [5, 2]], k=2)
    0.75
    """
    return _mean("mrr", y_true, y_pred, k)


def map_at_k(y_true: ArrayLike, y_pred: ArrayLike, k: int) -> float:
    """Mean average precision: the precision at each hit, over the number of held-out items.

    Parameters
    ----------
    y_true, y_pred, k
        As in :func:`recall_at_k`.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError, TypeError
        As :func:`recall_at_k`.

    Notes
    -----
    As trec_eval's ``map_cut_k``: what is not found among the first ``k`` counts as precision 0.
    With one held-out item it equals :func:`mrr_at_k`.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import map_at_k
    >>> map_at_k([[3, 1]], [[3, 2, 4, 1]], k=4)  # (1/1 + 2/4) / 2
    0.75
    """
    return _mean("map", y_true, y_pred, k)


def hit_rate_at_k(y_true: ArrayLike, y_pred: ArrayLike, k: int) -> float:
    """Share of rows with a held-out item among the first ``k``.

    Parameters
    ----------
    y_true, y_pred, k
        As in :func:`recall_at_k`.

    Returns
    -------
    float
        In [0, 1]; with one held-out item a row the same as :func:`recall_at_k`.

    Raises
    ------
    ValueError, TypeError
        As :func:`recall_at_k`.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import hit_rate_at_k
    >>> hit_rate_at_k([[3, 9], [5]], [[1, 3], [2, 4]], k=2)
    0.5
    """
    return _mean("hit_rate", y_true, y_pred, k)


class HeadTailRecall(NamedTuple):
    """Recall@k of popular and of rare held-out items; NaN where none of a kind is held out.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import head_tail_recall_at_k
    >>> head_tail_recall_at_k([1, 2], [[1, 3], [1, 3]], k=2, train=[[1, 2, 3], [1]])
    HeadTailRecall(head=1.0, tail=0.0)
    """

    head: float
    tail: float


def head_tail_recall_at_k(
    y_true: ArrayLike, y_pred: ArrayLike, k: int, train: Any, *, head_share: float = 0.2
) -> HeadTailRecall:
    """Recall@k, separately for held-out items that are popular and for those that are not.

    Parameters
    ----------
    y_true, y_pred, k
        As in :func:`recall_at_k`, one held-out item a row.
    train : item sequences, or mapping of id to count
        What popularity is counted in.
    head_share : float in (0, 1), default=0.2
        Share of the items of ``train`` that are the head, rounded up: the most popular ones, equal
        counts in the order of ids. All others, unknown ones too, are the tail.

    Returns
    -------
    HeadTailRecall
        ``(head, tail)``, each in [0, 1] or NaN.

    Raises
    ------
    ValueError, TypeError
        As :func:`recall_at_k`; on bad counts; if ``head_share`` is out of range; if a row has
        several held-out items.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import head_tail_recall_at_k
    >>> train = [["tea", "cup"], ["tea", "pot"], ["tea"]]
    >>> head_tail_recall_at_k(["tea", "pot", "cup"], [["tea"], ["tea"], ["cup"]], 1, train)
    HeadTailRecall(head=1.0, tail=0.5)
    """
    check_share("head_share", head_share)
    hits, n_true = relevance(y_true, y_pred, k)
    if (n_true > 1).any():
        raise ValueError(
            f"y_true, row {int(n_true.argmax())}: expected one held-out item, got {n_true.max()}"
        )
    items, counts = item_counts(train)
    n_head = int(np.ceil(head_share * len(items) - 1e-9))  # .07 * 100 is above 7
    popular = np.argsort(-counts, kind="stable")[:n_head]
    truth = true_items(y_true, len(hits))
    check_one_kind(truth.items, items)
    held_out = positions_in(items, truth.items)[truth.codes[truth.offsets[:-1]]]
    is_head = np.isin(held_out, popular)
    found = hits.any(axis=1)
    means = [float(found[part].mean()) if part.any() else np.nan for part in (is_head, ~is_head)]
    return HeadTailRecall(*means)


def ranks(y_true: ArrayLike, y_pred: ArrayLike, k: int) -> np.ndarray:
    """Rank (1 = best) of each row's (first) held-out item; ``k + 1`` if not among the first ``k``.

    Parameters
    ----------
    y_true, y_pred, k
        As in :func:`recall_at_k`.

    Returns
    -------
    ndarray of int64, shape (n_rows,)

    Raises
    ------
    ValueError, TypeError
        As :func:`recall_at_k`.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import ranks
    >>> ranks([3, 5], [[1, 3], [1, 2]], k=2)
    array([2, 3])
    """
    return _first_rank(relevance(y_true, y_pred, k)[0])


def ndcg_of_ranks(rank: np.ndarray, k: int) -> np.ndarray:
    """1 / log2(rank + 1) where ``rank <= k``, else 0: NDCG@k of each row with one held-out item.

    Parameters
    ----------
    rank : ndarray of int
        From 1, as :func:`ranks` returns them.
    k : int
        Cut-off.

    Returns
    -------
    ndarray of float, of the same shape

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dr4sr.metrics import ndcg_of_ranks
    >>> ndcg_of_ranks(np.array([1, 3, 4]), k=3)
    array([1. , 0.5, 0. ])
    """
    return np.where(rank <= k, 1.0 / np.log2(rank + 1.0), 0.0)


def _first_rank(hits: np.ndarray) -> np.ndarray:
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, hits.shape[1] + 1)


def _recall(hits: np.ndarray, n_true: np.ndarray) -> np.ndarray:
    return hits.sum(axis=1) / n_true


def _ndcg(hits: np.ndarray, n_true: np.ndarray) -> np.ndarray:
    k = hits.shape[1]
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    return hits @ discount / np.cumsum(discount)[np.minimum(n_true, k) - 1]


def _mrr(hits: np.ndarray, n_true: np.ndarray) -> np.ndarray:
    return hits.any(axis=1) / _first_rank(hits)


def _map(hits: np.ndarray, n_true: np.ndarray) -> np.ndarray:
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(axis=1) / n_true


def _hit_rate(hits: np.ndarray, n_true: np.ndarray) -> np.ndarray:
    return hits.any(axis=1).astype(float)


#: Of each row, from where its held-out items stand and how many they are.
PER_ROW = {"recall": _recall, "ndcg": _ndcg, "mrr": _mrr, "map": _map, "hit_rate": _hit_rate}


def _mean(name: str, y_true: ArrayLike, y_pred: ArrayLike, k: int) -> float:
    return float(PER_ROW[name](*relevance(y_true, y_pred, k)).mean())
