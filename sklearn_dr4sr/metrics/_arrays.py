"""True items, rankings and item counts as arrays: what every metric starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .._parameters import is_integer
from ..sequences import Sequences, as_items, as_sequences, positions_in

__all__ = ["as_numbers", "encode_ranking", "item_counts", "relevance", "true_items"]


def as_numbers(name: str, values: Any) -> np.ndarray:
    """Take numbers of any shape, or raise TypeError."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biufO":
            raise TypeError
        return array.astype(float)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: expected numbers, got {values!r:.80}") from None


def encode_ranking(y_pred: ArrayLike, k: int) -> tuple[np.ndarray, np.ndarray]:
    """First ``k`` places of each ranking as codes.

    Returns
    -------
    codes : ndarray of int64, shape (n_rows, k)
        Positions in ``items``; -1 at the end of a ranking that is shorter than ``k`` (where
        ``predict`` writes -1 or None).
    items : ndarray of int64 or object (str), sorted

    Raises
    ------
    ValueError, TypeError
        If ``y_pred`` is no matrix of ids, or ``k`` is not in 1 .. its width.
    """
    try:
        y_pred = np.asarray(y_pred)
    except ValueError:
        raise _uneven(y_pred) from None
    if y_pred.ndim != 2:
        raise ValueError(f"y_pred: expected (n_rows, n_ranked) item ids, got shape {y_pred.shape}")
    if not is_integer(k) or not 1 <= k <= y_pred.shape[1]:
        raise ValueError(
            f"k must be an integer in 1 .. {y_pred.shape[1]} (ranked items), got {k!r}"
        )
    top = y_pred[:, :k]
    codes = np.full(top.shape, -1, dtype=np.int64)
    if top.dtype.kind in "iu" and top.dtype != np.uint64:
        items, codes[top >= 0] = np.unique(top[top >= 0].astype(np.int64), return_inverse=True)
        return codes, items
    present = np.full(top.shape, False)
    rows: list[list] = [[] for _ in top]
    for row, ids in enumerate(top.tolist()):
        for place, item in enumerate(ids):
            if isinstance(item, float) and item.is_integer():  # integers in a column that has NaN
                item = int(item)
            whole = is_integer(item)
            missing = item is None or (isinstance(item, float) and np.isnan(item))
            if not (whole or missing or isinstance(item, str)):
                raise TypeError(f"y_pred, row {row}: expected int or str ids, got {item!r}")
            if isinstance(item, str) or (whole and item >= 0):
                present[row, place] = True
                rows[row].append(item)
    ranked = _as_rows("y_pred", rows)
    codes[present] = ranked.codes
    return codes, ranked.items


def _uneven(y_pred: Any) -> ValueError:
    """Find the first row that is no list of as many ids as the first."""
    for row, ranked in enumerate(y_pred):
        if not isinstance(ranked, (list, tuple)) and getattr(ranked, "ndim", None) != 1:
            return ValueError(f"y_pred, row {row}: expected a list of item ids, got {ranked!r:.60}")
        if len(ranked) != len(y_pred[0]):
            return ValueError(
                f"y_pred, row {row}: expected as many item ids as in row 0, {len(y_pred[0])}, "
                f"got {len(ranked)}"
            )
    return ValueError(f"y_pred: expected (n_rows, n_ranked) item ids, got {y_pred!r:.60}")


def _as_rows(name: str, rows: list[list]) -> Sequences:
    try:
        return as_sequences(rows or [[]])
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}, {error}") from None


def true_items(
    y_true: Any, n_rows: int, names: tuple[str, str] = ("y_true", "y_pred")
) -> Sequences:
    """Relevant items of each row: one, or several (a list of lists); empty where unknown.

    Errors call ``y_true``, and what has the rows, by ``names``.

    Raises
    ------
    ValueError, TypeError
        If ``y_true`` is not one id, or one list of ids, a row; if int and str ids are mixed.
    """
    several = (list, tuple, set, frozenset, np.ndarray)
    if hasattr(y_true, "__array__"):
        y_true = np.asarray(y_true)
    flat_list = isinstance(y_true, (list, tuple)) or getattr(y_true, "ndim", None) == 1
    if isinstance(y_true, Sequences):
        truth = y_true
    elif flat_list and any(isinstance(row, several) for row in y_true):
        rows = [[] if row is None else row for row in y_true]
        truth = _as_rows(
            names[0], [list(row) if isinstance(row, (set, frozenset)) else row for row in rows]
        )
    else:
        one = as_items(y_true, n_rows, names=names).tolist()
        truth = _as_rows(names[0], [[] if item is None else [item] for item in one])
    if len(truth) != n_rows:
        raise ValueError(
            f"{names[0]} has {len(truth)} entries, {names[1]} has {n_rows} rows: they must be equal"
        )
    return truth


def relevance(
    y_true: Any, y_pred: ArrayLike, k: int, name: str = "y_true"
) -> tuple[np.ndarray, np.ndarray]:
    """Where the true items, which errors call ``name``, stand in the rankings.

    Returns
    -------
    hits : ndarray of bool, shape (n_rows, k)
        Whether the item at each place is a true one (the first time that it is ranked).
    n_true : ndarray of int64, shape (n_rows,)
        Distinct true items of each row, at least 1.

    Raises
    ------
    ValueError, TypeError
        As :func:`encode_ranking` and :func:`true_items`; if a row has no true item; if one holds
        integer ids and the other strings.
    """
    codes, items = encode_ranking(y_pred, k)
    truth = true_items(y_true, len(codes))
    if len(truth) == 0:
        raise ValueError("y_true, y_pred: there is no row")
    if (truth.lengths == 0).any():
        raise ValueError(
            f"y_true, row {int(truth.lengths.argmin())}: no held-out item (None or NaN); leave "
            "such rows out of y_true and y_pred, as ranking_scorer does"
        )
    if len(items) and items.dtype != truth.items.dtype:
        kinds = ["str" if ids.dtype == object else "int" for ids in (truth.items, items)]
        raise TypeError(
            f"{name} holds {kinds[0]} ids, the rankings {kinds[1]} ids: they cannot match"
        )
    at = positions_in(items, truth.items)[truth.codes]
    key = truth.rows * (len(items) + 1) + at  # a pair of row and item as one number
    n_true = np.bincount(np.unique(truth.rows * len(truth.items) + truth.codes) // len(truth.items))
    ranked = np.arange(len(codes), dtype=np.int64)[:, None] * (len(items) + 1) + codes
    place = np.flatnonzero(np.isin(ranked, key[at >= 0]) & (codes >= 0))
    first = np.unique(ranked.ravel()[place], return_index=True)[1]  # ranked again is no hit
    hits = np.full(codes.shape, False)
    hits.ravel()[place[first]] = True
    return hits, n_true


def item_counts(train: Any) -> tuple[np.ndarray, np.ndarray]:
    """Items, sorted, and how often each occurs: of training sequences, or of a mapping.

    Parameters
    ----------
    train : item sequences or mapping of id to count

    Raises
    ------
    ValueError, TypeError
        On bad sequences or counts, naming the row or the item.
    """
    if not isinstance(train, Mapping):
        sequences = as_sequences(train).compact()
        return sequences.items, np.bincount(sequences.codes)
    listed = as_sequences([list(train)])
    for item, count in train.items():
        if not isinstance(count, (int, float, np.number)) or not 0 <= count < np.inf:
            raise ValueError(f"the count of item {item!r} must not be negative, got {count!r}")
    counts = np.empty(len(train))
    counts[listed.codes] = list(train.values())
    return listed.items, counts
