"""RankStack: several recommenders name candidates, and a classifier learns how to order them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier

from .._parameters import check_choice, check_number
from .._torch import seed_of
from ..checkpoint import Checkpoint
from ..dataset import SequenceDataset
from ..ranking import top_k
from ..sequences import Sequences
from .rank_blend import RankBlend, nested

__all__ = ["RankStack"]

LABELS = ("held_back", "y")
#: Last items of a history that a candidate's embedding is compared with.
COMPARED = 30
#: How far below the last candidate the first of the other items stands.
STEP = 1e-3
#: What each place in the first stage takes off a candidate's log-odds, to order equal ones.
TIE = 4e-6


class RankStack(RankBlend):
    """Stack recommenders: a classifier orders the candidates on which their blend is agreed.

    The first stage is a :class:`RankBlend`, whose best items are the candidates; the second learns
    from items that the first has not seen which of the candidates it is [1]_. It knows when to
    trust which member, for a long history or a rare item say, where a blend has one weight for all.

    Parameters
    ----------
    estimators : list of (name, estimator)
        As in :class:`RankBlend`: different kinds (a neural model, rules, neighbours, a linear
        model) give the second stage the most to choose from.
    weights : list of float or None, default=None
        Of the first stage.
    final_estimator : classifier or None, default=None
        With ``predict_proba``; a clone is fitted on the features of the notes, 1 for the item that
        followed and 0 for the other candidates. None: a HistGradientBoostingClassifier with
        ``max_iter=200, learning_rate=0.05, min_samples_leaf=300, l2_regularization=10``, seeded by
        ``random_state``.
    n_candidates : int, default=100
        Items of each history that the second stage orders, at least 2. All others come after them,
        in the order of the first stage.
    labels : {"held_back", "y"}, default="held_back"
        What the second stage learns from. "held_back": the last item of each training row; the
        members are fitted without them for that, and anew on whole rows for the ranking, so that
        all training is done twice, and ``y`` serves early stopping alone, as in every recommender.
        "y": the held-out items of ``fit``, with one training, and with as much more data as they
        are: compare with what has learned from them too.
    n_rows : int, default=50000
        Most rows, drawn at random, that the second stage learns from, at least 1.
    transforms, floor, exclude_seen :
        As in :class:`RankBlend`.
    random_state : int, RandomState or None, default=None
        Of the rows that are drawn, and of the default classifier.

    Attributes
    ----------
    final_estimator_ : classifier or None
        None where no candidate list held the item that followed (there is a warning then): the
        ranking is that of the first stage.
    feature_names_ : list of str
        Columns of the features.
    n_lists_ : int
        Candidate lists that the second stage has learned from.
    estimators_, named_estimators_, popularity_, items_ :
        As in :class:`RankBlend`.

    Notes
    -----
    Features of an item among the candidates of a history: each member's score, transformed as in
    the blend, and its difference from the best candidate's; the blend's score, difference and
    rank; log(1 + popularity) of the item and on average of the history; the length of the history;
    and for each member with ``item_embeddings_`` the item's cosine with the last item of the
    history, its largest and its mean one with the last 30. Lists that do not hold the item that
    followed are not learned from, nor can they be mended: the first stage has to find it.

    A candidate's score is its log-odds, log(p / (1 - p)); of p this small that is nearly log p, so
    that a stack may teach (:class:`~sklearn_dr4sr.augmentation.TeacherContinuation`) and be blended
    as a neural model is. What is no candidate comes after them, at its distance in the first stage;
    with ``exclude_seen`` so do the items of a history, which are no candidates then, in
    ``decision_function``.

    Members that stop early do so on what is held back in the first of the two fits of "held_back",
    and on ``y`` in the second: without ``y`` that runs for ``max_epochs``.

    "held_back" cuts histories, which does not cut patterns made of them: it takes plain sequences,
    and members may be Pipelines that make the patterns. A fitted member (FrozenEstimator) has seen
    the whole rows, so that it needs ``labels="y"``.

    References
    ----------
    .. [1] Wolpert, "Stacked Generalization", Neural Networks 1992.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import MarkovChain, SequentialRules, UserKNN
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.recommenders import RankStack
    >>> members = [("chain", MarkovChain()), ("rules", SequentialRules()), ("knn", UserKNN())]
    >>> stack = RankStack(members, n_candidates=20, random_state=0)
    >>> stack = stack.fit(make_sequences(200, 50, random_state=0))
    >>> stack.predict([[1, 2, 3], []], k=5).shape
    (2, 5)
    """

    def __init__(
        self,
        estimators: Any,
        weights: Any = None,
        *,
        final_estimator: Any = None,
        n_candidates: int = 100,
        labels: str = "held_back",
        n_rows: int = 50_000,
        transforms: Any = "auto",
        floor: float = 1e-3,
        exclude_seen: bool = True,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            estimators, weights, transforms=transforms, floor=floor, exclude_seen=exclude_seen
        )
        self.final_estimator = final_estimator
        self.n_candidates = n_candidates
        self.labels = labels
        self.n_rows = n_rows
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if isinstance(self.weights, str):
            raise ValueError(f"weights: expected numbers or None, got {self.weights!r}")
        given = self.final_estimator
        if given is not None and not (hasattr(given, "fit") and hasattr(given, "predict_proba")):
            raise TypeError(
                f"final_estimator: expected a classifier (fit, predict_proba), got {given!r}"
            )
        check_number("n_candidates", self.n_candidates, 2, integer=True)
        check_number("n_rows", self.n_rows, 1, integer=True)
        check_choice("labels", self.labels, LABELS)
        if self.labels == "held_back":
            for name, estimator in self.estimators:
                if any(type(e).__name__ == "FrozenEstimator" for e in nested(estimator)):
                    raise ValueError(
                        f"estimators, {name!r}: is fitted already, on the items that "
                        "labels='held_back' would hold back: labels='y' takes it, or pass it "
                        "unfitted"
                    )

    def _fit(self, dataset: SequenceDataset, target: np.ndarray | None) -> None:
        seed = seed_of(self.random_state)
        if self.labels == "y":
            if target is None:
                raise ValueError("labels='y' learns from the held-out items: fit needs y")
            kept = self._fit_members(dataset, target)
            self._fit_second(dataset.histories, target, seed)
        else:
            kept = self._fit_held_back(dataset, target, seed)
        for checkpoint in kept:
            checkpoint.remove()

    def _fit_held_back(
        self, dataset: SequenceDataset, target: np.ndarray | None, seed: int
    ) -> list[Checkpoint]:
        """Fit the second stage on what shorter rows leave out, then the first on whole rows."""
        shorter, last = _hold_back(dataset)
        if shorter.histories.lengths.max() < 2:  # no member can learn from them
            kept = self._fit_members(dataset, target)
            self._fit_second(dataset.histories, np.full(len(dataset), -2), seed)
            return kept
        kept = self._fit_members(shorter, last, "held_back")
        self._fit_second(shorter.histories, last, seed)
        return kept + self._fit_members(dataset, target)

    def _fit_second(self, histories: Sequences, target: np.ndarray, seed: int) -> None:
        """Learn to order the candidates of rows whose next item is known."""
        rows = np.flatnonzero((target >= 0) & (histories.lengths > 0))
        if len(rows) > self.n_rows:
            drawn = np.random.default_rng(seed).choice(rows, self.n_rows, replace=False)
            rows = np.sort(drawn)
        features, labels = [], []
        parts = self._in_chunks(histories[rows], self._candidates)
        for start, (_, codes, there, columns) in parts:
            wanted = torch.from_numpy(target[rows[start : start + len(codes)]])
            hit = (codes == wanted[:, None]) & there
            kept = there & hit.any(dim=1, keepdim=True)
            features.append(_features(columns, kept))
            labels.append(hit[kept].numpy())
            self.feature_names_ = list(columns)
        self.n_lists_ = int(sum(part.sum() for part in labels))
        y = np.concatenate(labels) if labels else np.empty(0, bool)
        self.final_estimator_ = None
        if len(np.unique(y)) < 2:
            warnings.warn(
                f"of {len(rows)} rows to learn from none has the item that followed it, among "
                f"others, in its {self.n_candidates} candidates: the ranking is the first stage's",
                stacklevel=2,
            )
            return
        model = self.final_estimator
        if model is None:
            model = HistGradientBoostingClassifier(
                max_iter=200,
                learning_rate=0.05,
                min_samples_leaf=300,
                l2_regularization=10,
                random_state=seed,
            )
        self.final_estimator_ = clone(model).fit(np.concatenate(features), y)

    def _row_cost(self, n_items: int) -> int:
        features = 6 + 5 * len(self.estimators_)  # at the most
        return super()._row_cost(n_items) + self.n_candidates * (COMPARED + features)

    def _device(self) -> torch.device:
        """Where the scores meet: with the classifier, on the host."""
        return torch.device("cpu")

    def _scores(self, histories: Sequences) -> torch.Tensor:
        self._check_parameters()  # which may have been set since
        if self.final_estimator_ is None or len(histories) == 0:
            return super()._scores(histories)
        base, codes, there, columns = self._candidates(histories)
        if not there.any():
            return base
        p = self.final_estimator_.predict_proba(_features(columns, there))[:, 1]
        tiny = np.finfo(np.float64).tiny
        log_odds = np.log(np.maximum(p, tiny)) - np.log(np.maximum(1 - p, tiny))
        ordered = torch.full(codes.shape, torch.inf)
        ordered[there] = torch.from_numpy(log_odds.astype(np.float32))
        ordered -= TIE * torch.arange(codes.shape[1])  # of equal odds, the first stage's best first
        border = base.gather(1, codes).masked_fill(~there, torch.inf).amin(dim=1, keepdim=True)
        lowest = ordered.amin(dim=1, keepdim=True)  # (rows, 1)
        distance = base - border
        above = distance.clamp(min=0)  # items of the history, which come next, less than STEP apart
        rest = lowest - STEP + distance.clamp(max=0) + STEP / 2 * above / (1 + above)
        # a row that has seen every item has no candidate: it stays as the first stage has it
        rest = torch.where(there.any(dim=1, keepdim=True), rest, base)
        return rest.scatter(1, codes, torch.where(there, ordered, rest.gather(1, codes)))

    def _candidates(
        self, histories: Sequences
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Give the blend's scores, its best items, and what is known of them.

        Returns
        -------
        base : tensor of float, shape (rows, n_items)
        codes : tensor of int64, shape (rows, candidates)
        there : tensor of bool, shape (rows, candidates)
            False where a row has no further candidate.
        columns : dict of str to tensor of shape (rows, candidates)
            Features by name.
        """
        base = self._ties(len(histories))
        scores = {}
        for name, weight, part in self._transformed(histories):
            scores[name] = part
            base.add_(part, alpha=weight)
        unseen = base.clone()
        if self.exclude_seen:
            unseen[histories.rows, histories.codes.astype(np.int64)] = -torch.inf
        found = top_k(unseen, min(self.n_candidates, base.shape[1]))  # equal scores by column
        codes, best = map(torch.from_numpy, found)  # (rows, candidates)
        there = ~torch.isneginf(best)
        columns = {}
        for name, part in [*scores.items(), ("blend", base)]:
            own = part.gather(1, codes)  # (rows, candidates)
            most = own.masked_fill(~there, -torch.inf).amax(dim=1, keepdim=True)
            columns[name], columns[f"{name}, below the best"] = own, own - most
        columns["rank"] = torch.arange(codes.shape[1]).expand(codes.shape)
        columns |= self._counts(histories, codes)
        for name, estimator in self.named_estimators_.items():
            vectors = _embeddings(estimator)
            if vectors is not None:
                cosines = _cosines(vectors, histories, codes)
                columns |= {f"{name}, {what}": cosine for what, cosine in cosines.items()}
        return base, codes, there, columns

    def _counts(self, histories: Sequences, codes: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features of popularity and length, each (rows, candidates)."""
        popularity = np.log1p(self.popularity_)
        rows = np.bincount(
            histories.rows, weights=popularity[histories.codes], minlength=len(histories)
        )
        rows = torch.from_numpy(rows / np.maximum(1, histories.lengths))
        length = torch.from_numpy(histories.lengths)
        return {
            "popularity": torch.from_numpy(popularity)[codes],
            "popularity of the history": rows[:, None].expand(codes.shape),
            "length of the history": length[:, None].expand(codes.shape),
        }


def _hold_back(dataset: SequenceDataset) -> tuple[SequenceDataset, np.ndarray]:
    """Rows without their last items, and those items: -2 where a row keeps its own.

    A row keeps it where the item stands at the ends of rows only (no model of the shorter rows
    would know it), and where the row has no other.
    """
    histories = dataset.histories
    plain = len(dataset.patterns) == len(histories) and np.array_equal(
        dataset.patterns.codes, histories.codes
    )
    if not plain:
        raise ValueError(
            "labels='held_back' needs plain sequences: the patterns of X hold the items that it "
            "would hold back. Give what makes the patterns to the members, as a Pipeline, or use "
            "labels='y'"
        )
    ends = histories.offsets[1:][histories.lengths > 0] - 1
    inside = np.ones(len(histories.codes), bool)
    inside[ends] = False
    stays = np.bincount(histories.codes[inside], minlength=len(histories.items)) > 0
    taken = np.flatnonzero(histories.lengths >= 2)
    taken = taken[stays[histories.codes[histories.offsets[taken + 1] - 1]]]
    at = histories.offsets[taken + 1] - 1
    last = np.full(len(histories), -2)
    last[taken] = histories.codes[at]
    lengths = histories.lengths.copy()
    lengths[taken] -= 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    shorter = Sequences.from_codes(np.delete(histories.codes, at), offsets, histories.items)
    weights = None if dataset.weights is None else np.delete(dataset.weights, at)
    return SequenceDataset(shorter, weights=weights), last


def _embeddings(estimator: Any) -> torch.Tensor | None:
    """Item vectors of length 1 of what an estimator wraps, (n_items, dim), where it has any."""
    for inner in nested(estimator):
        vectors = getattr(inner, "item_embeddings_", None)
        if vectors is not None:
            return torch.nn.functional.normalize(torch.from_numpy(np.array(vectors)), dim=1)
    return None


def _features(columns: dict[str, torch.Tensor], which: torch.Tensor) -> np.ndarray:
    """Rows of features of the candidates that a mask holds, float32."""
    return torch.stack([column[which].float() for column in columns.values()], dim=1).numpy()


def _cosines(
    vectors: torch.Tensor, histories: Sequences, codes: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Cosines of the candidates with items of the history, each (rows, candidates)."""
    recent = histories.last(COMPARED)
    ids = torch.from_numpy(recent.padded(COMPARED, fill=-1).astype(np.int64))  # (rows, COMPARED)
    inside = ids >= 0
    length = inside.sum(dim=1)
    history = vectors[ids.clamp(min=0)] * inside[:, :, None]  # (rows, COMPARED, dim)
    cosines = vectors[codes] @ history.transpose(1, 2)  # (rows, candidates, COMPARED)
    last = (length - 1).clamp(min=0)[:, None, None].expand(-1, codes.shape[1], 1)
    largest = cosines.masked_fill(~inside[:, None], -1.0).amax(dim=2)
    return {
        "cosine with the last item": cosines.gather(2, last)[:, :, 0],
        "largest cosine": largest.masked_fill(length[:, None] == 0, 0.0),
        "mean cosine": cosines.sum(dim=2) / length.clamp(min=1)[:, None],
    }
