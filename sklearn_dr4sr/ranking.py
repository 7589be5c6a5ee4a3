"""The template every recommender follows: fit checks and encodes, predict ranks in row chunks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ._doc_links import DocumentationLink
from ._memory import in_chunks, is_out_of_memory, out_of_memory
from ._parameters import check_flag, check_number
from ._progress import ReportsProgress, tracked
from ._tables import codes_of, long_table, row_ids
from .dataset import SequenceDataset, as_dataset
from .metrics import ranking_scorer
from .sequences import Sequences, as_items, as_sequences

__all__ = ["BaseRecommender", "SequenceInput", "top_k", "whole"]

#: Scores held at once, in numbers, whatever the catalogue: 64 MB as doubles (larger is slower).
CHUNK_SIZE = 2**23


T = TypeVar("T")


def whole(fit: Callable[..., T]) -> Callable[..., T]:
    """Make a ``fit`` that fails leave its estimator as it was: no part of what it had learned.

    Where memory did not suffice, the error names the parameters to lower.
    """

    @wraps(fit)
    def fit_or_nothing(self: Any, *args: Any, **kwargs: Any) -> T:
        before = dict(vars(self))
        try:
            return fit(self, *args, **kwargs)
        except BaseException as error:
            vars(self).clear()
            vars(self).update(before)
            if is_out_of_memory(error):
                raise out_of_memory(self, error) from error
            raise

    return fit_or_nothing


class SequenceInput(DocumentationLink, ReportsProgress):
    """What every estimator of the package tells scikit-learn: of its input, and of its progress.

    And where its documentation is; and what its pickles tell of themselves: the version of the
    package that wrote them.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_version": _version()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        written = state.pop("_version", "before 0.1.0")
        if written != _version():
            warnings.warn(
                f"this {type(self).__name__} was pickled by sklearn_dr4sr {written}, which "
                f"sklearn_dr4sr {_version()} may read wrongly: fit it anew, unpickle it with that "
                "version, or store models with save, whose files later versions read",
                stacklevel=2,
            )
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # Zero-padded integer matrices are one of the accepted forms, and the one that
        # scikit-learn's own checks can generate.
        tags.input_tags.two_d_array = True
        tags.input_tags.categorical = True
        tags.input_tags.positive_only = True
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = []  # what comes out is a data set, no array
        return tags

    def _read(self, X: Any, *, fitting: bool = False) -> Any:
        """Note the width of a matrix when fitting; a ragged input has none."""
        if fitting:
            width = getattr(X, "shape", ())
            if len(width) == 2:
                self.n_features_in_ = int(width[1])
            elif hasattr(self, "n_features_in_"):
                del self.n_features_in_
        return X


class BaseRecommender(SequenceInput, BaseEstimator):
    """Common part of the package's recommenders.

    A subclass implements ``_fit(dataset, target)``, where all codes of ``dataset`` are positions in
    the catalogue and ``target`` holds one code a row (-1: unknown item, -2: no held-out item) or is
    None, and ``_scores(histories)``, which returns a float tensor (n_rows, n_items).
    """

    @tracked
    @whole
    def fit(self, X: Any, y: Any = None) -> BaseRecommender:
        """Learn from the patterns of ``X`` (from the sequences themselves where ``X`` is plain).

        Parameters
        ----------
        X : item sequences or SequenceDataset
            In any form that :func:`~sklearn_dr4sr.sequences.as_sequences` takes.
        y : array-like of shape (n_rows,) or None, default=None
            The held-out next item of each row (None: unknown). Nothing trains on it; it serves
            early stopping, where the estimator has that.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On bad input, naming the row; if no pattern holds two items.

        Warns
        -----
        UserWarning
            If ``y`` holds items, but none that ``X`` holds: validation scores are 0 then.

        Examples
        --------
        >>> from sklearn_dr4sr.baselines import MarkovChain
        >>> model = MarkovChain().fit([["tea", "pot", "cup"], ["tea", "pot"]])
        >>> model.items_
        array(['cup', 'pot', 'tea'], dtype=object)
        """
        check_flag("exclude_seen", self.exclude_seen)
        self._check_parameters()
        dataset = as_dataset(self._read(X, fitting=True))
        target = None if y is None else as_items(y, len(dataset), dataset.histories.items)
        items = dataset.items
        longest = int(dataset.patterns.lengths.max(initial=0))
        if longest < 2:
            raise ValueError(
                "no sequence of X holds two items, so there is no transition to learn from "
                f"({len(dataset)} sample(s), the longest with {longest} feature(s), that is items)"
            )
        table = dataset.table
        encoded = SequenceDataset(
            dataset.histories.recode(items),
            replace(table, sequences=table.sequences.recode(items)),
            dataset.weights,
        )
        self._fit(encoded, None if target is None else _encode_targets(target, items))
        self.items_ = items
        return self

    def predict(self, X: Any, k: int = 10) -> np.ndarray:
        """Rank the catalogue for each row's history.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            Histories, oldest item first. Items that were not seen in ``fit`` are skipped; an empty
            history is legal.
        k : int, default=10
            Length of the ranking, at least 1; cut to the size of the catalogue.

        Returns
        -------
        ndarray of ids, shape (n_rows, min(k, n_items))
            Best first; equal scores in the order of ``items_`` (counting models break most ties by
            popularity first). Where ``exclude_seen`` leaves a row
            fewer than ``k`` items, the ranking ends in -1 (integer ids) or None (strings).

        Raises
        ------
        NotFittedError, ValueError, TypeError
            Before ``fit``; on bad input.

        Examples
        --------
        >>> from sklearn_dr4sr.baselines import MarkovChain
        >>> model = MarkovChain().fit([["tea", "pot", "cup"], ["tea", "pot"]])
        >>> model.predict([["tea"], ["pot", "unknown"]], k=2)
        array([['pot', 'cup'],
               ['cup', 'tea']], dtype=object)
        """
        histories = self._histories(X)
        codes, _ = self._rank(histories, k, self.exclude_seen)
        absent = None if self.items_.dtype == object else -1
        ids = self.items_[codes]
        ids[codes < 0] = absent
        return ids

    def recommend(
        self,
        X: Any,
        k: int = 10,
        *,
        user_ids: Any = None,
        exclude_seen: bool | None = None,
        exclude: Any = None,
        only: Any = None,
        with_scores: bool = True,
    ) -> Any:
        """Rank the catalogue for each row's history, as a long table: a line a recommendation.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            Histories, as in ``predict``: unknown items are skipped, and a user of whom nothing is
            known (an empty history) gets what ``predict`` gives, for most models the most popular
            items.
        k : int, default=10
            Most items a row, at least 1. A row has fewer where fewer may be recommended.
        user_ids : array-like of shape (n_rows,) or None, default=None
            What stands in the column "user", of the same type; None: the row's number.
        exclude_seen : bool or None, default=None
            Keep a history's own items out; None: as the parameter of the estimator says.
        exclude : list of ids or None, default=None
            Items to recommend to nobody (out of stock, say); unknown ones are ignored.
        only : list of ids or None, default=None
            The items that may be recommended; unknown ones are ignored.
        with_scores : bool, default=True
            Give the column "score", too.

        Returns
        -------
        DataFrame with the columns "user", "item", "score" and "rank"
            Row after row of ``X``, in the order of ``predict``, ranks from 1; scores are those of
            ``decision_function``. Of the library of
            ``user_ids`` (without them, of ``X``) where that is a column or a frame of polars or
            pyarrow and narwhals is installed, else of pandas; without pandas a dict of arrays.

        Raises
        ------
        NotFittedError, ValueError, TypeError
            Before ``fit``; on bad input; if no item of ``only`` is known.

        Examples
        --------
        >>> from sklearn_dr4sr.baselines import MarkovChain
        >>> model = MarkovChain().fit([["tea", "pot", "cup"], ["tea", "pot"], ["pot", "cup"]])
        >>> model.recommend([["tea"]], k=2, user_ids=["ann"], with_scores=False)
          user item  rank
        0  ann  pot     1
        1  ann  cup     2
        """
        histories = self._histories(X)
        users = row_ids(user_ids, len(histories))
        barred = np.zeros(len(self.items_), dtype=bool)
        if only is not None:
            allowed = codes_of("only", only, self.items_)
            barred[:] = True
            barred[allowed[allowed >= 0]] = False
            if barred.all():
                raise ValueError(f"only: none of its {len(allowed)} items was seen in fit")
        if exclude is not None:
            codes = codes_of("exclude", exclude, self.items_)
            barred[codes[codes >= 0]] = True
        seen = self.exclude_seen if exclude_seen is None else exclude_seen
        codes, scores = self._rank(histories, k, seen, barred)
        row, place = (codes >= 0).nonzero()
        columns = {"user": users[row], "item": self.items_[codes[row, place]]}
        if with_scores:
            columns["score"] = scores[row, place]
        return long_table({**columns, "rank": place + 1}, like=X if user_ids is None else user_ids)

    def decision_function(self, X: Any) -> np.ndarray:
        """Score every item for each row, seen ones included.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            Histories, as in ``predict``.

        Returns
        -------
        ndarray of float32, shape (n_rows, n_items)
            Columns in the order of ``items_``. What orders the ties of counting models in
            ``predict`` is too little to show in this precision. For many rows this is large:
            ``predict`` needs a bounded chunk only.

        Examples
        --------
        >>> from sklearn_dr4sr.baselines import MarkovChain
        >>> model = MarkovChain().fit([["tea", "pot", "cup"], ["tea", "pot"]])
        >>> scores = model.decision_function([["tea"]])
        >>> scores.shape, model.items_[scores.argmax()]
        ((1, 3), 'pot')
        """
        histories = self._histories(X)
        scores = np.empty((len(histories), len(self.items_)), dtype=np.float32)
        for start, part in self._score_chunks(histories):
            scores[start : start + len(part)] = part.cpu().numpy()
        return scores

    def score(self, X: Any, y: Any) -> float:
        """NDCG@20 of the rankings against the held-out items ``y``.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            Histories.
        y : array-like of shape (n_rows,)
            The item that follows each history; rows with None are left out.

        Returns
        -------
        float
            In [0, 1].

        Examples
        --------
        >>> from sklearn_dr4sr.baselines import MarkovChain
        >>> model = MarkovChain().fit([["tea", "pot", "cup"], ["tea", "pot"]])
        >>> model.score([["tea"], ["pot"]], ["pot", "cup"])
        1.0
        """
        check_is_fitted(self, "items_")
        return ranking_scorer("ndcg@20")(self, X, y)

    def _histories(self, X: Any) -> Sequences:
        """Histories in codes of the catalogue, unknown items skipped."""
        check_is_fitted(self, "items_")
        return as_sequences(self._read(X)).recode(self.items_)

    def _rank(
        self, histories: Sequences, k: int, exclude_seen: bool, barred: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes and scores of the best items of each row, (n_rows, min(k, n_items)).

        Without the items that ``barred``, a mask over the catalogue, holds. Where a row has fewer
        than ``k``, its codes end in -1.
        """
        check_number("k", k, 1, integer=True)
        check_flag("exclude_seen", exclude_seen)
        k = min(int(k), len(self.items_))
        codes = np.full((len(histories), k), -1)
        values = np.full((len(histories), k), -np.inf, dtype=np.float32)

        def best(part: Sequences) -> tuple[np.ndarray, np.ndarray]:
            scores = self._scores(part)
            if exclude_seen:
                scores[part.rows, part.codes.astype(np.int64)] = -torch.inf
            if barred is not None and barred.any():
                scores[:, torch.from_numpy(barred).to(scores.device)] = -torch.inf
            return top_k(scores, k)

        # rows of one length in one chunk: what encodes it has little padding, and large batches
        order = np.argsort(histories.lengths, kind="stable")
        for start, (found, best_values) in self._in_chunks(histories[order], best, order):
            rows = order[start : start + len(found)]
            codes[rows] = np.where(np.isneginf(best_values), -1, found)
            values[rows] = best_values
        return codes, values

    def _score_chunks(self, histories: Sequences) -> Iterator[tuple[int, torch.Tensor]]:
        return self._in_chunks(histories, self._scores)

    def _in_chunks(
        self,
        histories: Sequences,
        work: Callable[[Sequences], T],
        order: np.ndarray | None = None,
    ) -> Iterator[tuple[int, T]]:
        """Work on as many rows at once as the scores of are a bounded chunk."""
        rows = max(1, CHUNK_SIZE // max(1, self._row_cost(len(histories.items))))

        def part(start: int, stop: int) -> T:
            return work(histories[start:stop])

        return in_chunks(len(histories), rows, part, order)

    def _row_cost(self, n_items: int) -> int:
        """Numbers that scoring a history takes, about: what is scored at once depends on it."""
        return n_items

    def _check_parameters(self) -> None:
        """Raise ValueError on a parameter out of range; subclasses extend it."""

    def _fit(self, dataset: SequenceDataset, target: np.ndarray | None) -> None:
        raise NotImplementedError

    def _scores(self, histories: Sequences) -> torch.Tensor:
        raise NotImplementedError


def _version() -> str:
    from . import __version__  # the package imports this module

    return __version__


def top_k(scores: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of the ``k`` best scores of each row, equal scores in column order.

    ``torch.topk`` leaves the order of equal scores open, so that a model that has collapsed to
    equal scores would rank by chance; here it ranks by column, the same everywhere.

    Parameters
    ----------
    scores : tensor of shape (n_rows, n_items)
    k : int, at most n_items

    Returns
    -------
    columns : ndarray of int64, shape (n_rows, k)
    values : ndarray of float, shape (n_rows, k)

    Raises
    ------
    ValueError
        If a score is NaN.
    """
    n_items = scores.shape[1]
    # One more than asked for: if the last two differ, no tie crosses the border.
    values, columns = torch.topk(scores, min(k + 1, n_items), dim=1)
    if torch.isnan(values[:, 0]).any():  # topk sorts NaN first
        raise ValueError("a score is NaN: the model has diverged; lower lr, or check its inputs")
    if k < n_items:
        tied = (values[:, k - 1] == values[:, k]).nonzero()[:, 0]
        values, columns = values[:, :k], columns[:, :k]
        if len(tied):
            exact = torch.sort(scores[tied], dim=1, descending=True, stable=True)
            values[tied], columns[tied] = exact.values[:, :k], exact.indices[:, :k]
    columns, order = torch.sort(columns, dim=1)
    values, by_value = torch.sort(values.gather(1, order), dim=1, descending=True, stable=True)
    return columns.gather(1, by_value).cpu().numpy(), values.cpu().numpy()


def _encode_targets(target: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Code of each held-out item: -1 where the catalogue lacks it, -2 where there is none."""
    place = {item: code for code, item in enumerate(items.tolist())}
    codes = np.array([-2 if item is None else place.get(item, -1) for item in target])
    if codes.max() == -1:
        row = int(codes.argmax())
        warnings.warn(
            f"y: X holds none of its items (row {row}: {target[row]!r}), so validation scores are "
            "0, and early stopping, where there is any, keeps the first epoch",
            stacklevel=4,
        )
    return codes
