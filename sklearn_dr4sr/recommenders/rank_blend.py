"""RankBlend: a weighted sum of what several recommenders think of each item, taken when ranking."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch
from sklearn.utils.metaestimators import _BaseComposition

from .._memory import in_chunks
from .._parameters import check_choice, check_number
from ..checkpoint import Checkpoint
from ..dataset import SequenceDataset, item_counts
from ..metrics import ndcg_of_ranks
from ..ranking import CHUNK_SIZE, BaseRecommender
from ..sequences import Sequences
from .base import SequentialRecommender
from .training import ranks_within

__all__ = ["RankBlend"]

TRANSFORMS = ("log_softmax", "log", "none")
#: Weights that "auto" tries for each member but the first, and rounds through the members.
GRID = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
ROUNDS = 3
#: What the most popular item has more of a score than one that nobody has.
POPULAR = 1e-9


class RankBlend(BaseRecommender, _BaseComposition):
    """Blend the scores of several recommenders at ranking time.

    A neural model and counted rules err in different places: their sum ranks better than either,
    at the price of fitting both.

    Parameters
    ----------
    estimators : list of (name, estimator)
        Recommenders, baselines or Pipelines that end in one; ``fit`` fits clones of them, and
        raises ValueError where one (a FrozenEstimator, say) ranks other items than the data holds.
        Their parameters are set as ``name__parameter``, and ``set_params(name="drop")`` leaves one
        out. A member's ``checkpoint_dir`` is written to in a folder of its name, and kept until all
        are fitted: a ``fit`` that was killed and is begun again goes on in the middle of the last.
    weights : list of float, "auto" or None, default=None
        Weight of each estimator's transformed scores; None: 1 for all; "auto": those that rank the
        held-out items best, for which ``fit`` needs ``y``. Set anew after ``fit``, they are checked
        again and hold for the next ranking, as ``transforms`` and ``floor`` do.
    transforms : list of {"log_softmax", "log", "none"} or "auto", default="auto"
        What makes each estimator's scores comparable: "log_softmax" turns logits into
        log-probabilities, "log" takes log(max(score, 0) + ``floor``) of counts. "auto":
        "log_softmax" for neural recommenders and blends, also at the end of a Pipeline, within a
        DatasetPersonalizer or where a search has chosen one; "log" for all else.
    floor : float, default=1e-3
        Added to a score before its logarithm, above 0: what an item that was never counted has.
    exclude_seen : bool, default=True
        Keep the history's own items out of the ranking.

    Attributes
    ----------
    estimators_ : list of estimators
        The fitted ones, without those that are dropped.
    named_estimators_ : Bunch
        The same by name.
    weights_ : ndarray of shape (n_estimators,)
        Of ``estimators_``, as chosen; only with ``weights="auto"``.
    popularity_ : ndarray of float64, shape (n_items,)
        Occurrences of each item in the patterns, times their weights.
    items_ : ndarray of shape (n_items,)
        The catalogue, sorted: the columns of ``decision_function``.

    Notes
    -----
    score(j) = sum over estimators m of weight_m * transform_m(score_m(j)). With a neural model
    and SequentialRules at weight 1 this is log p(j) + log(rules(j) + 1e-3): a product of the two
    opinions, where the floor keeps what the rules have not seen in the ranking.

    "auto" gives the first estimator the weight 1 and takes for each other one in turn the best of
    0, .1, .25, .5, 1 and 2 by NDCG@20 of the held-out items, the others being as they are, until a
    round changes nothing (three rounds at most). So few numbers hardly overfit thousands of rows;
    still the held-out items of such a blend are no test of it.

    Where no neural recommender is among them, scores are of double precision and equal ones, as
    those of an empty history, rank by popularity, as those of the counting models do.

    A held-out item that is not in the catalogue is passed on as an unknown one (None), so members
    that stop early do not count it.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import SequentialRules
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.recommenders import RankBlend, SASRec
    >>> blend = RankBlend([("model", SASRec(random_state=0)), ("rules", SequentialRules())])
    >>> blend = blend.set_params(model__loss="ce", model__max_epochs=2)
    >>> blend = blend.fit(make_sequences(200, 50, random_state=0))
    >>> blend.predict([[1, 2, 3], []], k=5).shape
    (2, 5)
    """

    def __init__(
        self,
        estimators: Any,
        weights: Any = None,
        *,
        transforms: Any = "auto",
        floor: float = 1e-3,
        exclude_seen: bool = True,
    ) -> None:
        self.estimators = estimators
        self.weights = weights
        self.transforms = transforms
        self.floor = floor
        self.exclude_seen = exclude_seen

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, those of the estimators among them.

        Examples
        --------
        >>> from sklearn_dr4sr.baselines import SequentialRules
        >>> from sklearn_dr4sr.recommenders import RankBlend
        >>> RankBlend([("rules", SequentialRules(max_gap=3))]).get_params()["rules__max_gap"]
        3
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params: Any) -> RankBlend:
        """Set parameters: of the blend, ``name__parameter``, or an estimator by its name.

        Examples
        --------
        >>> from sklearn_dr4sr.baselines import MarkovChain, SequentialRules
        >>> from sklearn_dr4sr.recommenders import RankBlend
        >>> blend = RankBlend([("chain", MarkovChain()), ("rules", SequentialRules())])
        >>> blend.set_params(chain="drop", rules__max_gap=3).estimators
        [('chain', 'drop'), ('rules', SequentialRules(max_gap=3))]
        """
        self._set_params("estimators", **params)
        return self

    def _check_parameters(self) -> None:
        pairs = self.estimators
        if (
            not isinstance(pairs, (list, tuple))
            or len(pairs) == 0
            or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs)
        ):
            raise ValueError(f"estimators: expected a list of (name, estimator), got {pairs!r}")
        names, estimators = zip(*pairs, strict=True)
        self._validate_names(names)
        for name, estimator in pairs:
            ranks = hasattr(estimator, "fit") and hasattr(estimator, "decision_function")
            if not (_dropped(estimator) or ranks):
                raise TypeError(
                    f"estimators, {name!r}: expected a recommender (fit, decision_function) or "
                    f"'drop', got {estimator!r}"
                )
        if all(map(_dropped, estimators)):
            raise ValueError("estimators: all are dropped, at least one must stay")
        if isinstance(self.weights, str):
            check_choice("weights", self.weights, ("auto",))
        elif self.weights is not None:
            try:
                weights = np.asarray(self.weights)
            except ValueError:  # lists of several lengths
                weights = np.empty(0)
            if weights.shape != (len(pairs),) or weights.dtype.kind not in "iuf":
                raise ValueError(f"weights: expected {len(pairs)} numbers, got {self.weights!r}")
            if not np.isfinite(weights).all():
                raise ValueError(f"weights must be finite, got {self.weights!r}")
        if not (isinstance(self.transforms, str) and self.transforms == "auto"):
            given = self.transforms if isinstance(self.transforms, (list, tuple)) else ()
            if len(given) != len(pairs) or not all(
                isinstance(t, str) and t in TRANSFORMS for t in given
            ):
                raise ValueError(
                    f"transforms: expected 'auto' or {len(pairs)} of {TRANSFORMS}, "
                    f"got {self.transforms!r}"
                )
        check_number("floor", self.floor, 0, above=True)

    def _fit(self, dataset: SequenceDataset, target: np.ndarray | None) -> None:
        for checkpoint in self._fit_members(dataset, target):
            checkpoint.remove()

    def _fit_members(
        self, dataset: SequenceDataset, target: np.ndarray | None, folder: str = ""
    ) -> list[Checkpoint]:
        """Fit them; give the checkpoints that stay, in ``folder / name``, until all is done.

        With those a fit that is begun again takes up what had finished, too.
        """
        if isinstance(self.weights, str) and target is None:
            raise ValueError("weights='auto' are chosen by held-out items: fit needs y")
        y = None
        if target is not None:
            items = dataset.histories.items
            y = [items[code] if code >= 0 else None for code in target]
        fitted, kept = {}, []
        for name, estimator in self.estimators:
            if not isinstance(estimator, str):
                member = clone(estimator)
                with _checkpoints(member, Path(folder, name), kept):
                    fitted[name] = member.fit(dataset, y)
                _check_catalogue(name, fitted[name], dataset.histories.items)
        self.named_estimators_ = Bunch(**fitted)
        self.estimators_ = list(fitted.values())
        self.popularity_ = item_counts(dataset)
        vars(self).pop("weights_", None)  # of an earlier fit
        if isinstance(self.weights, str):
            rows = np.flatnonzero(target >= 0)
            self._choose_weights(dataset.histories[rows], target[rows])
        return kept

    def _choose_weights(self, histories: Sequences, target: np.ndarray) -> None:
        """Search along one weight after the other."""
        self.weights_ = np.ones(len(self.estimators_))
        if len(target) == 0:
            return
        for _ in range(ROUNDS):
            before = self.weights_.copy()
            for member in range(1, len(before)):
                found = self._ndcg_along(member, histories, target)
                self.weights_[member] = GRID[int(np.argmax(found))]
            if len(before) <= 2 or np.array_equal(before, self.weights_):
                return

    def _ndcg_along(self, member: int, histories: Sequences, target: np.ndarray) -> np.ndarray:
        """NDCG@20 where a member has each weight of the grid in turn, (len(GRID),)."""
        device, size = self._device(), max(1, CHUNK_SIZE // self._row_cost(len(histories.items)))
        gain = np.zeros(len(GRID))

        def ranks(start: int, stop: int) -> list[np.ndarray]:
            part = histories[start:stop]
            wanted = torch.from_numpy(target[start:stop]).to(device)[:, None]
            rest = self._ties(len(part))
            for at, (_, weight, scores) in enumerate(self._transformed(part)):
                if at == member:
                    own = scores
                else:
                    rest.add_(scores, alpha=weight)
            seen = part if self.exclude_seen else None
            return [ranks_within(torch.add(rest, own, alpha=w), wanted, seen) for w in GRID]

        for _, found in in_chunks(len(target), size, ranks):
            gain += [ndcg_of_ranks(rank, 20).sum() for rank in found]
        return gain / len(target)

    def _scores(self, histories: Sequences) -> torch.Tensor:
        self._check_parameters()  # which may have been set since
        total = self._ties(len(histories))
        for _, weight, scores in self._transformed(histories):
            total.add_(scores, alpha=weight)
        return total

    def _ties(self, n_rows: int) -> torch.Tensor:
        """Give what scores are added to, (n_rows, n_items): it changes the order of ties alone.

        Nothing where a network, whose scores hardly tie, is among what is blended.
        """
        device = self._device()
        if not self._counts_alone():
            return torch.zeros(n_rows, len(self.popularity_), device=device)
        share = self.popularity_ / max(self.popularity_.max(), np.finfo(float).tiny)
        return torch.from_numpy(POPULAR * share).to(device).repeat(n_rows, 1)

    def _counts_alone(self) -> bool:
        """Whether no neural recommender is among the fitted estimators."""
        return not any(
            isinstance(e, SequentialRecommender)
            or (isinstance(e, RankBlend) and not e._counts_alone())
            for e in self._all_fitted()
        )

    def _all_fitted(self) -> Iterator[Any]:
        """Yield the fitted estimators and those that they wrap."""
        for fitted in self.estimators_:
            yield from nested(fitted)

    def _row_cost(self, n_items: int) -> int:
        members = [e for e in self._all_fitted() if isinstance(e, BaseRecommender)]
        costs = [e._row_cost(n_items) for e in members]
        return max([n_items, *costs])

    def _device(self) -> torch.device:
        """Where the scores meet: on an accelerator, if one of the networks is there."""
        for member in self._all_fitted():
            device = torch.device("cpu")
            if isinstance(member, RankBlend):
                device = member._device()
            elif hasattr(member, "net_"):
                device = torch.device(member.net_.device)
            if device.type != "cpu":
                return device
        return torch.device("cpu")

    def _transformed(self, histories: Sequences) -> Iterator[tuple[str, float, torch.Tensor]]:
        """Name, weight and comparable scores, (n_rows, n_items), of each fitted estimator."""
        device = self._device()
        precision = torch.float64 if self._counts_alone() else torch.float32
        shape = (len(histories), len(histories.items))
        for name, transform, weight in self._members():
            given = _scores_of(self.named_estimators_[name], histories)
            if given.shape != shape:
                raise ValueError(
                    f"{name!r} scores {given.shape[1]} items, and the data that the blend was "
                    f"fitted on holds {shape[1]}: its transformers must keep the catalogue"
                )
            scores = given.to(device, precision)
            if transform == "log_softmax":
                scores = scores.log_softmax(dim=1)
            elif transform == "log":
                scores = scores.clamp(min=0).add_(self.floor).log_()
            yield name, weight, scores

    def _members(self) -> Iterator[tuple[str, str, float]]:
        """Name, transform and weight of each estimator that was fitted."""
        weights = [1.0] * len(self.estimators) if self.weights is None else self.weights
        if isinstance(weights, str):
            if not hasattr(self, "weights_"):
                raise ValueError("weights='auto', set after fit: only fit chooses them")
            chosen = dict(zip(self.named_estimators_, self.weights_, strict=True))
            weights = [chosen.get(name, 0.0) for name, _ in self.estimators]
        for at, (name, _) in enumerate(self.estimators):
            if name in self.named_estimators_:
                transform = _transform_of(self.named_estimators_[name])
                if self.transforms != "auto":
                    transform = self.transforms[at]
                yield name, transform, float(weights[at])


def _scores_of(estimator: Any, histories: Sequences) -> torch.Tensor:
    """Scores of a fitted estimator, on the device that they are computed on where that is known."""
    if isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    if getattr(type(estimator), "decision_function", None) is BaseRecommender.decision_function:
        return estimator._scores(histories)  # the catalogue is the same: fit has looked
    return torch.from_numpy(estimator.decision_function(histories))


def _dropped(estimator: Any) -> bool:
    return isinstance(estimator, str) and estimator == "drop"


def _transform_of(estimator: Any) -> str:
    """Say what "auto" stands for: neural recommenders and blends give logits, all else counts."""
    neural = (SequentialRecommender, RankBlend)
    return "log_softmax" if any(isinstance(e, neural) for e in nested(estimator)) else "log"


def _check_catalogue(name: str, estimator: Any, items: np.ndarray) -> None:
    """Raise ValueError where the columns of a fitted estimator's scores are not ``items``."""
    own = next((e.items_ for e in nested(estimator) if hasattr(e, "items_")), items)
    if np.array_equal(own, items):
        return
    pairs = enumerate(zip_longest(np.asarray(own).tolist(), items.tolist()))
    column, theirs, ours = next((at, a, b) for at, (a, b) in pairs if a != b)
    raise ValueError(
        f"estimators, {name!r}: ranks {len(own)} items, and the data that the blend is fitted on "
        f"holds {len(items)}; column {column} of its scores is item {theirs!r}, where it should be "
        f"{ours!r}"
    )


@contextlib.contextmanager
def _checkpoints(estimator: Any, folder: Path, kept: list[Checkpoint]) -> Iterator[None]:
    """Keep what an estimator writes apart from others' files, and after its fit too."""
    own = [
        inner
        for inner in nested(estimator)
        if isinstance(inner, SequentialRecommender) and inner.checkpoint_dir is not None
    ]
    directories = [inner.checkpoint_dir for inner in own]
    for inner, directory in zip(own, directories, strict=True):
        inner.checkpoint_dir, inner._done_with = Path(directory, folder), kept.append
    try:
        yield
    finally:
        for inner, directory in zip(own, directories, strict=True):
            inner.checkpoint_dir = directory
        for inner in (*own, *nested(estimator)):  # and the copy that MELT, say, has fitted
            vars(inner).pop("_done_with", None)


def nested(estimator: Any) -> Iterator[Any]:
    """Yield an estimator and those it wraps: the last step of a Pipeline, the best of a search."""
    yield estimator
    if isinstance(estimator, Pipeline):
        yield from nested(estimator.steps[-1][1])
        return
    for name in ("best_estimator_", "recommender_", "estimator", "recommender"):
        if getattr(estimator, name, None) is not None:  # the fitted one first
            yield from nested(getattr(estimator, name))
            return
