"""Is one ranking better than another? Paired tests over users, corrected for how many there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.utils import check_random_state

from .._parameters import check_number, check_share
from ._arrays import as_numbers, relevance
from .accuracy import PER_ROW
from .scorer import split_name

__all__ = ["Comparison", "compare_rankings", "compare_to_baseline", "holm", "sign_flip_test"]

#: Signs drawn at once: 32 MB as doubles.
CHUNK_SIZE = 2**22


@dataclass(frozen=True)
class Comparison:
    """One metric of two rankings of the same rows.

    Attributes
    ----------
    metric : str
        As "ndcg@20".
    mean_a, mean_b : float
        Of the first ranking and of the second.
    difference : float
        ``mean_a - mean_b``.
    relative : float
        The difference as a share of ``mean_b``; NaN where that is 0.
    interval : tuple (low, high)
        Of the difference.
    p_value : float
        Two-sided, of :func:`sign_flip_test`.
    p_adjusted : float or None
        After :func:`holm`, where several rankings were compared in one call.
    n_rows : int

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import compare_rankings
    >>> rankings = [[1], [2], [4]], [[1], [4], [4]]
    >>> found = compare_rankings([1, 2, 3], *rankings, "recall@1")["recall@1"]
    >>> round(found.mean_a, 2), round(found.difference, 2), found.n_rows
    (0.67, 0.33, 3)
    """

    metric: str
    mean_a: float
    mean_b: float
    difference: float
    relative: float
    interval: tuple[float, float]
    p_value: float
    n_rows: int
    p_adjusted: float | None = None

    def __str__(self) -> str:
        low, high = self.interval
        adjusted = "" if self.p_adjusted is None else f", adjusted {self.p_adjusted:.4f}"
        return (
            f"{self.metric}: {self.difference:+.5f} ({self.relative:+.1%}), interval {low:+.5f} .. "
            f"{high:+.5f}, p = {self.p_value:.4f}{adjusted}"
        )


def compare_rankings(
    y_true: ArrayLike,
    ranking_a: ArrayLike,
    ranking_b: ArrayLike,
    metrics: str | tuple[str, ...] = ("ndcg@20", "recall@20"),
    *,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    random_state: int | np.random.RandomState | None = 0,
) -> dict[str, Comparison]:
    """Compare two rankings of the same rows, row by row.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,), or list of lists
        The held-out item of each row, or several a row. At least two rows.
    ranking_a, ranking_b : array-like of shape (n_rows, n_ranked)
        Ranked items, best first, at least as many as the largest cut-off.
    metrics : str or tuple of str, default=("ndcg@20", "recall@20")
        "recall", "ndcg", "mrr", "map" or "hit_rate", each with "@k".
    n_resamples : int, default=10_000
        Of the permutation test, at least 1.
    confidence : float in (0, 1), default=0.95
        Of the interval.
    random_state : int, RandomState or None, default=0
        Seed of the permutation test.

    Returns
    -------
    dict of str to Comparison
        By metric; differences are the first ranking's score minus the second's.

    Raises
    ------
    ValueError, TypeError
        As :func:`recall_at_k`; on an unknown metric or a parameter out of range.

    Notes
    -----
    The interval is the normal one, mean ± z · s / sqrt(n) of the rows' differences: with the
    thousands of users that there usually are, it agrees with a bootstrap and costs nothing. p is
    exact under the hypothesis that the two rankings are exchangeable for each user. Neither knows
    of the scatter between training runs: two seeds of one model can differ "significantly".

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import compare_rankings
    >>> truth = [1, 2, 3, 4, 5, 6]
    >>> good, bad = [[i, 9] for i in truth], [[9, i] for i in truth]
    >>> found = compare_rankings(truth, good, bad, "mrr@2")["mrr@2"]
    >>> found.difference, found.relative, found.p_value
    (0.5, 1.0, 0.03125)
    """
    if not isinstance(metrics, (str, list, tuple)):
        raise TypeError(f"metrics: expected a name or a list of them, got {metrics!r}")
    metrics = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    wanted = {name: split_name(name, PER_ROW) for name in metrics}
    if not wanted:
        raise ValueError("metrics: expected at least one, such as 'ndcg@20'")
    check_share("confidence", confidence)
    k_max = max(k for _, k in wanted.values())
    (hits_a, n_true), (hits_b, _) = (relevance(y_true, r, k_max) for r in (ranking_a, ranking_b))
    if len(hits_a) < 2:
        raise ValueError("y_true: a comparison needs at least two rows, got 1")
    z = stats.norm.ppf((1 + confidence) / 2)
    found = {}
    for name, (metric, k) in wanted.items():
        a, b = (PER_ROW[metric](hits[:, :k], n_true) for hits in (hits_a, hits_b))
        mean, error = float((a - b).mean()), float(z * stats.sem(a - b))
        base = float(b.mean())
        found[name] = Comparison(
            metric=name,
            mean_a=float(a.mean()),
            mean_b=base,
            difference=mean,
            relative=mean / base if base else np.nan,
            interval=(mean - error, mean + error),
            p_value=sign_flip_test(a - b, n_resamples=n_resamples, random_state=random_state),
            n_rows=len(a),
        )
    return found


def compare_to_baseline(
    y_true: ArrayLike,
    baseline: ArrayLike,
    rankings: Mapping[str, ArrayLike],
    metrics: str | tuple[str, ...] = ("ndcg@20", "recall@20"),
    *,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    random_state: int | np.random.RandomState | None = 0,
) -> dict[str, dict[str, Comparison]]:
    """Compare several rankings with one, and correct p for how many comparisons that are.

    Parameters
    ----------
    y_true, metrics, n_resamples, confidence, random_state
        As in :func:`compare_rankings`.
    baseline : array-like of shape (n_rows, n_ranked)
        The ranking that each of the others is compared with.
    rankings : mapping of name to array-like of shape (n_rows, n_ranked)
        At least one.

    Returns
    -------
    dict of str to dict of str to Comparison
        By name, then by metric. ``p_adjusted`` is corrected over all that is returned: every name
        and every metric. The intervals are each by itself.

    Raises
    ------
    ValueError, TypeError
        As :func:`compare_rankings`; if ``rankings`` is empty or no mapping.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import compare_to_baseline
    >>> truth = [1, 2, 3, 4, 5, 6]
    >>> good, bad = [[i, 9] for i in truth], [[9, i] for i in truth]
    >>> found = compare_to_baseline(truth, bad, {"good": good, "same": bad}, "mrr@2")
    >>> found["good"]["mrr@2"].p_adjusted, found["same"]["mrr@2"].p_adjusted
    (0.0625, 1.0)
    """
    if not isinstance(rankings, Mapping) or not rankings:
        raise ValueError(f"rankings: expected a mapping of names to rankings, got {rankings!r}")
    random = check_random_state(random_state)
    found = {
        name: compare_rankings(
            y_true, ranking, baseline, metrics,
            n_resamples=n_resamples, confidence=confidence, random_state=random,
        )
        for name, ranking in rankings.items()
    }  # fmt: skip
    flat = [(name, metric) for name, by_metric in found.items() for metric in by_metric]
    adjusted = holm([found[name][metric].p_value for name, metric in flat])
    for (name, metric), p in zip(flat, adjusted.tolist(), strict=True):
        found[name][metric] = replace(found[name][metric], p_adjusted=p)
    return found


def sign_flip_test(
    difference: ArrayLike,
    *,
    n_resamples: int = 10_000,
    random_state: int | np.random.RandomState | None = 0,
) -> float:
    """Two-sided p of a mean of paired differences, by flipping their signs.

    Parameters
    ----------
    difference : array-like of shape (n,)
        One score of each row minus the other, finite.
    n_resamples : int, default=10_000
        Random flips, at least 1. Where there are no more than that altogether, all are taken and p
        is exact.
    random_state : int, RandomState or None, default=0
        Seed.

    Returns
    -------
    float
        In (0, 1]. At random, (1 + those at least as extreme) / (1 + ``n_resamples``), so that it is
        valid for any number of resamples and never 0.

    Raises
    ------
    ValueError
        On differences that are no finite numbers in one dimension, or ``n_resamples`` below 1.

    Notes
    -----
    The test of ``scipy.stats.permutation_test(..., permutation_type="samples")``, with rows of
    difference 0 left out (a flip leaves them as they are) and the signs drawn as bits: ten thousand
    resamples of 22,000 users take a second.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import sign_flip_test
    >>> sign_flip_test([1, 1, 1, 1, 0])  # 2 of the 16 flips are as extreme
    0.125
    """
    difference = as_numbers("difference", difference)
    if difference.ndim != 1 or len(difference) == 0 or not np.isfinite(difference).all():
        raise ValueError(
            "difference: expected finite numbers in one dimension, got an array of shape "
            f"{difference.shape}"
        )
    check_number("n_resamples", n_resamples, 1, integer=True)
    n_resamples = int(n_resamples)  # products of a uint8 would overflow
    x = difference[difference != 0]
    observed = abs(x.sum()) - 1e-12 * np.abs(x).sum()  # equal sums differ by rounding
    if 1 << len(x) <= n_resamples:
        bits = np.arange(2 ** len(x))[:, None] >> np.arange(len(x)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ x) >= observed))
    random = check_random_state(random_state)
    extreme, chunk = 0, max(1, CHUNK_SIZE // len(x))
    for start in range(0, n_resamples, chunk):
        rows = min(chunk, n_resamples - start)
        drawn = np.frombuffer(random.bytes(rows * (-(-len(x) // 8))), dtype=np.uint8)
        bits = np.unpackbits(drawn.reshape(rows, -1), axis=1, count=len(x))
        extreme += np.count_nonzero(np.abs(x.sum() - 2 * (bits @ x)) >= observed)
    return float((1 + extreme) / (1 + n_resamples))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Correct p-values for their number, by Holm's step-down method.

    Parameters
    ----------
    p_values : array-like of shape (n,)
        In [0, 1].

    Returns
    -------
    ndarray of float, shape (n,)
        In the order given: rejecting where it is at most 0.05 makes a false rejection among all of
        them with probability at most 0.05, however they depend on each other.

    Raises
    ------
    ValueError
        On values that are no probabilities.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
       of Statistics 6(2), 1979.

    Examples
    --------
    >>> from sklearn_dr4sr.metrics import holm
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = as_numbers("p_values", p_values)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values: expected probabilities in one dimension, got {p_values!r}")
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return adjusted
