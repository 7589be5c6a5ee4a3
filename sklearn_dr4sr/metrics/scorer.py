"""A scorer for scikit-learn's searches that ranks once for all of its metrics."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._search import best_of
from ..sequences import Sequences
from . import beyond_accuracy as beyond
from ._arrays import relevance, true_items
from .accuracy import PER_ROW, head_tail_recall_at_k

__all__ = ["ranking_scorer", "split_name"]


@dataclass
class _Ranked:
    """One ranking, and what its metrics may ask for."""

    estimator: Any
    truth: Sequences
    ranking: np.ndarray
    train: Any
    given: tuple | None

    @property
    def items(self) -> np.ndarray:
        return _fitted(self.estimator, "items_")

    @property
    def embeddings(self) -> tuple:
        return self.given or (self.items, _fitted(self.estimator, "item_embeddings_"))


#: Those that need more than the held-out items.
_BEYOND: dict[str, Callable[[_Ranked, int], float]] = {
    "head_recall": lambda r, k: head_tail_recall_at_k(r.truth, r.ranking, k, r.train).head,
    "tail_recall": lambda r, k: head_tail_recall_at_k(r.truth, r.ranking, k, r.train).tail,
    "coverage": lambda r, k: beyond.coverage_at_k(r.ranking, k, r.items),
    "gini": lambda r, k: beyond.gini_at_k(r.ranking, k, r.items),
    "novelty": lambda r, k: beyond.novelty_at_k(r.ranking, k, r.train),
    "average_popularity": lambda r, k: beyond.average_popularity_at_k(r.ranking, k, r.train),
    "intra_list_diversity": lambda r, k: beyond.intra_list_diversity_at_k(
        r.ranking, k, *r.embeddings
    ),
}


def ranking_scorer(*names: str, train: Any = None, embeddings: tuple | None = None) -> _Scorer:
    """Make a scorer for ``cross_validate`` and ``GridSearchCV`` that ranks once for all metrics.

    Parameters
    ----------
    *names : str
        Metrics as "name@k", for example "recall@20", "ndcg@10". Of accuracy: "recall", "ndcg",
        "mrr", "map", "hit_rate", "head_recall", "tail_recall" (greater is better). Of what is
        recommended: "coverage", "gini", "novelty", "average_popularity", "intra_list_diversity",
        which describe rather than judge: lower is more even for "gini" and "average_popularity", so
        do not select by them. "coverage" and "gini" are over the ``items_`` of the fitted model.
    train : item sequences, mapping of id to count, or None, default=None
        What popularity is counted in, for "head_recall", "tail_recall", "novelty" and
        "average_popularity". None: the histories ``X`` that the scorer is called with.
    embeddings : tuple (items, matrix) or None, default=None
        For "intra_list_diversity"; None: the ``item_embeddings_`` of the fitted model, which
        compares one model with itself only.

    Returns
    -------
    callable (estimator, X, y) -> float or dict
        A float for one name, else a dict by name, as scikit-learn's multimetric scoring takes it
        (``refit="ndcg@20"``). Rows whose ``y`` is None or NaN are left out of all metrics. Of a
        fitted search it scores what that has chosen.

    Raises
    ------
    ValueError
        If a name is unknown; when called, if no row has a held-out item, or if the fitted estimator
        lacks what a metric needs.
    NotFittedError
        When called with a search that is not fitted.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import Popularity
    >>> from sklearn_dr4sr.metrics import ranking_scorer
    >>> model = Popularity().fit([[1, 2], [1, 2], [3, 1]])
    >>> ranking_scorer("recall@1", "recall@2")(model, [[1], [2]], [2, 3])
    {'recall@1': 0.5, 'recall@2': 1.0}
    """
    return _Scorer(names, train, embeddings)


def split_name(name: Any, known: Any) -> tuple[str, int]:
    """Take "ndcg@20" apart, or raise ValueError with what would have been known."""
    match = re.fullmatch(r"(\w+)@([1-9]\d*)", name) if isinstance(name, str) else None
    if match is None or match[1] not in known:
        raise ValueError(f"expected a metric such as {sorted(known)} + '@20', got {name!r}")
    return match[1], int(match[2])


class _Scorer:
    """A class, not a closure, so that it pickles into worker processes."""

    def __init__(self, names: tuple[str, ...], train: Any, embeddings: tuple | None) -> None:
        if not names:
            raise ValueError("ranking_scorer needs at least one metric, such as 'ndcg@20'")
        self.names, self.train, self.embeddings = names, train, embeddings
        self._metrics = {name: split_name(name, {**PER_ROW, **_BEYOND}) for name in names}

    def __call__(self, estimator: Any, X: Any, y: Any) -> float | dict[str, float]:
        if y is None:
            raise ValueError("y is None: a ranking score needs the held-out item of each row")
        estimator = best_of(estimator)
        k_max = max(k for _, k in self._metrics.values())
        ranking = np.asarray(estimator.predict(X, k=k_max))
        if ranking.shape[1] < k_max:  # a catalogue smaller than k: nothing ranks further down
            if ranking.dtype.kind != "i":
                ranking = ranking.astype(object)  # in an array of texts the mark would be an id
            short = ((0, 0), (0, k_max - ranking.shape[1]))
            ranking = np.pad(ranking, short, constant_values=-1)
        truth = true_items(y, len(ranking), ("y", "X"))
        known = truth.lengths > 0
        if not known.any():
            raise ValueError("y: no row has a held-out item")
        ranked = _Ranked(
            estimator,
            truth[known],
            ranking[known],
            X if self.train is None else self.train,
            self.embeddings,
        )
        hits, n_true = relevance(ranked.truth, ranked.ranking, k_max, "y")
        scores = {
            name: float(PER_ROW[metric](hits[:, :k], n_true).mean())
            if metric in PER_ROW
            else _BEYOND[metric](ranked, k)
            for name, (metric, k) in self._metrics.items()
        }
        return scores if len(scores) > 1 else next(iter(scores.values()))

    def __repr__(self) -> str:
        return f"ranking_scorer({', '.join(map(repr, self.names))})"


def _fitted(estimator: Any, name: str) -> Any:
    """Find what a model learned, in a Pipeline's last step or a personalizer's too."""
    inner = estimator
    while not hasattr(inner, name):
        if hasattr(inner, "steps"):
            inner = inner.steps[-1][1]
        elif hasattr(inner, "recommender_"):
            inner = inner.recommender_
        else:
            raise ValueError(f"{type(estimator).__name__} has no {name}, which the metric needs")
    return getattr(inner, name)
