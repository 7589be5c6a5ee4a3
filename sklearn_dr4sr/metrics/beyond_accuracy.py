"""Metrics of what is recommended, whether or not it is what was held out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._parameters import is_integer
from .._tables import as_ids
from ..sequences import check_one_kind, positions_in
from ._arrays import as_numbers, encode_ranking, item_counts

__all__ = [
    "average_popularity_at_k",
    "coverage_at_k",
    "gini",
    "gini_at_k",
    "intra_list_diversity_at_k",
    "novelty_at_k",
]

#: Rows whose embeddings are held at once.
CHUNK_ROWS = 4096


def coverage_at_k(y_pred: ArrayLike, k: int, catalogue: Any) -> float:
    """Share of the catalogue that is recommended to anyone.

    Parameters
    ----------
    y_pred : array-like of shape (n_rows, n_ranked), n_ranked >= k
        Ranked items, best first, as ``predict`` returns them.
    k : int
        Cut-off, at least 1.
    catalogue : int or array-like of ids
        The items that might have been recommended (``model.items_``), or how many they are.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError, TypeError
        On bad rankings, ``k`` out of range, or an item outside the catalogue.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import coverage_at_k
    >>> coverage_at_k([["tea", "cup"], ["tea", "pot"]], 1, ["tea", "cup", "pot", "jam"])
    0.25
    """
    shown = _shown(y_pred, k, catalogue)
    return float(np.count_nonzero(shown) / len(shown))


def gini_at_k(y_pred: ArrayLike, k: int, catalogue: Any) -> float:
    """Gini coefficient of how often each item of the catalogue is recommended.

    Parameters
    ----------
    y_pred, k, catalogue
        As in :func:`coverage_at_k`.

    Returns
    -------
    float
        0: all items equally often; towards 1: few items take all places.

    Raises
    ------
    ValueError, TypeError
        As :func:`coverage_at_k`, and if no row has an item.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import gini_at_k
    >>> gini_at_k([[1, 2], [1, 3]], 1, catalogue=4)
    0.75
    """
    shown = _shown(y_pred, k, catalogue)
    if not shown.any():
        raise ValueError("y_pred: no row has an item")
    return gini(shown)


def gini(counts: ArrayLike) -> float:
    r"""Gini coefficient of non-negative numbers: how unequal they are.

    Parameters
    ----------
    counts : array-like of shape (n,)
        Not negative, with a positive sum.

    Returns
    -------
    float
        In [0, (n - 1) / n].

    Raises
    ------
    ValueError
        If ``counts`` is empty, negative, not finite or all zero.

    Notes
    -----
    Half the mean absolute difference of all pairs over the mean; of the sorted
    :math:`x_1 \le \dots \le x_n` it is :math:`\sum_i (2 i - n - 1) x_i / (n \sum_i x_i)`.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import gini
    >>> gini([5, 5, 5]), gini([0, 0, 0, 8])
    (0.0, 0.75)
    """
    x = as_numbers("counts", counts)
    x = np.sort(x) if x.ndim == 1 else x
    if x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all() or x[0] < 0 or x[-1] == 0:
        raise ValueError(
            "counts: expected numbers in one dimension, not negative, not all 0, "
            f"got {np.asarray(counts)!r}"
        )
    n = len(x)
    return float((2 * np.arange(1, n + 1) - n - 1) @ x / (n * x.sum()))


def average_popularity_at_k(y_pred: ArrayLike, k: int, train: Any) -> float:
    """Mean number of training interactions of the recommended items.

    Parameters
    ----------
    y_pred, k
        As in :func:`coverage_at_k`.
    train : item sequences, or mapping of id to count
        What popularity is counted in; an item that it lacks has 0.

    Returns
    -------
    float
        Mean over rows of the mean over their items; a row without any is left out.

    Raises
    ------
    ValueError, TypeError
        On bad rankings, ``k`` out of range, bad counts, or if no row has an item.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import average_popularity_at_k
    >>> average_popularity_at_k([[1, 2], [1, 3]], 2, {1: 10, 2: 4, 3: 0})
    6.0
    """
    return _mean_of_items(y_pred, k, train, lambda count, total: count)


def novelty_at_k(y_pred: ArrayLike, k: int, train: Any) -> float:
    r"""Mean self-information of the recommended items, in bits: the rarer, the more.

    Parameters
    ----------
    y_pred, k, train
        As in :func:`average_popularity_at_k`; but an item that ``train`` lacks counts as if it
        occurred once, which keeps its information finite.

    Returns
    -------
    float
        At least 0. Mean over rows of the mean over their items.

    Raises
    ------
    ValueError, TypeError
        As :func:`average_popularity_at_k`; if the counts are all 0.

    Notes
    -----
    :math:`-\log_2 p(i)`, where p(i) is the item's share of the interactions of ``train`` [1]_.

    References
    ----------
    .. [1] T. Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender
       systems", PNAS 107(10), 2010.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import novelty_at_k
    >>> novelty_at_k([["tea", "cup"]], 2, {"tea": 4, "cup": 2, "pot": 2})  # 1 bit and 2 bits
    1.5
    """
    return _mean_of_items(
        y_pred, k, train, lambda count, total: np.log2(total) - np.log2(np.maximum(count, 1))
    )


def intra_list_diversity_at_k(
    y_pred: ArrayLike, k: int, items: ArrayLike, embeddings: ArrayLike
) -> float:
    """Mean cosine distance between the items of a ranking, over all pairs of them.

    Parameters
    ----------
    y_pred : array-like of shape (n_rows, n_ranked), n_ranked >= k
        Ranked items, best first.
    k : int
        Cut-off, at least 2. A row with fewer than two items is left out.
    items : array-like of ids, shape (n_items,)
        Whose embeddings they are, as ``model.items_``.
    embeddings : array-like of float, shape (n_items, dim)
        One a row, none all zero, as ``model.item_embeddings_``. To compare models, take the same
        for all of them.

    Returns
    -------
    float
        In [0, 2]: the mean over rows of the mean of 1 - cosine.

    Raises
    ------
    ValueError, TypeError
        On bad rankings or shapes, an item without an embedding, or if no row has two items.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import intra_list_diversity_at_k
    >>> intra_list_diversity_at_k([[1, 2], [1, 3]], 2, [1, 2, 3], [[1, 0], [0, 2], [3, 0]])
    0.5
    """
    codes, ranked = encode_ranking(y_pred, k)
    if k < 2:
        raise ValueError(f"k must be at least 2 for a distance between items, got {k}")
    given = as_ids("items", items)
    vectors = as_numbers("embeddings", embeddings)
    if vectors.ndim != 2 or len(vectors) != len(given.codes):
        raise ValueError(
            f"embeddings: expected one row for each of {len(given.codes)} items, "
            f"got the shape {vectors.shape}"
        )
    norms = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(norms) & (norms > 0)).all():
        row = int(np.argmin(np.isfinite(norms) & (norms > 0)))
        raise ValueError(f"embeddings, row {row}: expected a finite vector that is not 0")
    row_of = np.empty(len(given.items), dtype=np.int64)
    row_of[given.codes] = np.arange(len(given.codes))
    place = _inside(ranked, given.items, "embeddings")
    units = np.zeros((len(vectors) + 1, vectors.shape[1]))  # the last, at -1, where no item is
    units[:-1] = vectors / norms[:, None]
    rows = np.append(row_of[place], -1)[codes]  # (n_rows, k)
    n = (codes >= 0).sum(axis=1)
    rows, n = rows[n >= 2], n[n >= 2]
    if len(n) == 0:
        raise ValueError("y_pred: no row has two items")
    # all pairs at once: |sum of unit vectors|^2 = n + twice the sum of the cosines
    squares = [
        np.square(units[rows[start : start + CHUNK_ROWS]].sum(axis=1)).sum(axis=1)
        for start in range(0, len(rows), CHUNK_ROWS)
    ]
    cosine = (np.concatenate(squares) - n) / (n * (n - 1))
    return float((1 - cosine).mean())


def _shown(y_pred: ArrayLike, k: int, catalogue: Any) -> np.ndarray:
    """How often each item of the catalogue stands among the first ``k``."""
    codes, ranked = encode_ranking(y_pred, k)
    counts = np.bincount(codes[codes >= 0])
    if is_integer(catalogue):
        if catalogue < max(1, len(ranked)):
            raise ValueError(f"catalogue={catalogue}, but {len(ranked)} items are recommended")
        return np.pad(counts, (0, catalogue - len(ranked)))
    items = as_ids("catalogue", catalogue).items
    if len(items) == 0:
        raise ValueError("catalogue holds no item")
    shown = np.zeros(len(items))
    shown[_inside(ranked, items, "catalogue")] = counts
    return shown


def _inside(ranked: np.ndarray, items: np.ndarray, name: str) -> np.ndarray:
    """Position of each ranked item in ``items``, or ValueError for one that is not there."""
    place = positions_in(items, ranked)
    if (place < 0).any():
        raise ValueError(f"{name}: item {ranked.tolist()[int(place.argmin())]!r} is not among them")
    return place


def _mean_of_items(y_pred: ArrayLike, k: int, train: Any, value: Any) -> float:
    """Mean over rows of the mean over items of ``value(count, total)``."""
    codes, ranked = encode_ranking(y_pred, k)
    items, counts = item_counts(train)
    if counts.sum() == 0:
        raise ValueError("train: the counts are all 0")
    check_one_kind(ranked, items)
    place = positions_in(items, ranked)
    values = value(np.append(counts, 0)[place], counts.sum())  # unknown: -1, the appended 0
    n = (codes >= 0).sum(axis=1)
    if not n.any():
        raise ValueError("y_pred: no row has an item")
    sums = np.append(values, 0.0)[codes].sum(axis=1)
    return float((sums[n > 0] / n[n > 0]).mean())
