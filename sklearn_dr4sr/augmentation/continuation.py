"""TeacherContinuation: histories continued by a teacher, so that a student learns what it knows."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .._parameters import LENGTH, PATTERNS, check_flag, check_number, check_verbose
from .._progress import Timer, tracked
from .._torch import seed_of
from ..baselines import SequentialRules
from ..dataset import PatternTable, SequenceDataset, as_dataset
from ..ranking import whole
from ..recommenders import BSARec, RankBlend
from ..sequences import Sequences, check_one_kind, positions_in, ranges
from .base import Augmenter, keep_the_rest

__all__ = ["TeacherContinuation"]


class TeacherContinuation(Augmenter):
    """Copies of each history, continued by items that a teacher finds likely.

    Where a history ends nobody knows what follows, and that is where a recommender is asked. A
    teacher that is better than one model, such as a model blended with counted rules, has an
    opinion there; continuations drawn from it make the opinion training data for any recommender.
    A data set's patterns and weights teach the teacher; what is continued are its histories.

    Parameters
    ----------
    estimator : recommender, Pipeline that ends in one, or None, default=None
        The teacher; a clone is fitted on the training rows, with ``y`` where that is given. None:
        ``RankBlend([("model", BSARec.strong()), ("rules", SequentialRules())])``. One that is
        fitted already goes in as ``sklearn.frozen.FrozenEstimator(teacher)``.
    n_copies : int, default=6
        Continuations of each history, at least 1.
    n_items : int, default=3
        Items of a continuation, at least 1.
    temperature : float, default=1.0
        Above 0. Below 1 the teacher's favourites are drawn more often, above 1 less often.
    top : int, default=100
        Items are drawn among the teacher's so many best, at least 1.
    include_original : bool, default=False
        Keep each history as a pattern of its own; its copies hold it anyway.
    random_state : int, RandomState or None, default=None
        Seed of the draws, and of the default teacher.
    verbose : int, default=0
        Above 0: print how far the continuing is.

    Attributes
    ----------
    teacher_ : RankBlend
        The fitted teacher, its scores on a logarithmic scale.
    items_ : ndarray, shape (n_items,)
        Every item of the histories, sorted.
    seed_ : int
        What ``transform`` draws from.
    n_features_in_ : int
        Width of ``X``, only where it was a zero-padded matrix.

    Notes
    -----
    With s(j | h) the teacher's score of item j after h, log-probabilities of a neural model and
    logarithms of counts (:class:`~sklearn_dr4sr.recommenders.RankBlend`), a history s_1 .. s_L is
    continued item by item, each copy by itself::

        s_(L+1) ~ softmax(s(j | s_1 .. s_L) / temperature)  over the ``top`` best new j

    so that a copy with all its items as targets is one more pass over the history and n_items
    targets drawn from the teacher: in expectation the cross-entropy with soft labels [1]_ at the
    end of the history, and a pseudo-label [2]_ a copy. The items that were drawn are marked in the
    table's ``generative`` column. Only training rows are continued, so nothing held out is seen.

    References
    ----------
    .. [1] Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    .. [2] Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep
       Neural Networks", ICML Workshop 2013.

    Examples
    --------
    >>> from sklearn_dr4sr.augmentation import TeacherContinuation
    >>> from sklearn_dr4sr.baselines import SequentialRules
    >>> rows = [["tea", "cup", "pot"], ["tea", "cup"], ["cup", "pot", "jam"]]
    >>> teacher = TeacherContinuation(SequentialRules(), n_copies=1, n_items=1, random_state=0)
    >>> list(teacher.fit_transform(rows).patterns)
    [['tea', 'cup', 'pot', 'jam'], ['tea', 'cup', 'pot'], ['cup', 'pot', 'jam', 'tea']]
    """

    _reads_patterns = True  # the teacher, in ``fit``

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_copies: int = 6,
        n_items: int = 3,
        temperature: float = 1.0,
        top: int = 100,
        include_original: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_copies = n_copies
        self.n_items = n_items
        self.temperature = temperature
        self.top = top
        self.include_original = include_original
        self.random_state = random_state
        self.verbose = verbose

    @tracked
    @whole
    def fit(self, X: Any, y: Any = None) -> TeacherContinuation:
        """Fit the teacher.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            Training rows; a data set's patterns are what the teacher learns from.
        y : array-like of shape (n_rows,) or None, default=None
            Held-out items, by which a teacher may stop early. They never become patterns.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On a parameter out of range, on something that is no recommender; on bad input, naming
            the row.

        Examples
        --------
        >>> from sklearn_dr4sr.augmentation import TeacherContinuation
        >>> from sklearn_dr4sr.baselines import MarkovChain
        >>> teach = TeacherContinuation(MarkovChain(), random_state=0).fit([[1, 2, 3], [2, 3, 1]])
        >>> teach.teacher_.predict([[1]], k=1)
        array([[2]])
        """
        self._check_parameters()
        dataset = as_dataset(self._read(X, fitting=True))
        seed = seed_of(self.random_state)
        teacher = self.estimator
        if teacher is None:
            model = BSARec.strong(random_state=seed, verbose=self.verbose)
            teacher = RankBlend([("model", model), ("rules", SequentialRules())])
        # a blend of one brings every kind of score to logarithms
        self.teacher_ = RankBlend([("teacher", teacher)]).fit(dataset, y)
        self.seed_ = seed
        self.items_ = dataset.histories.compact().items
        return self

    def _check_parameters(self) -> None:
        given = self.estimator
        if given is not None and not (
            hasattr(given, "fit") and hasattr(given, "decision_function")
        ):
            raise TypeError(
                f"estimator: expected a recommender (fit, decision_function) or None, got {given!r}"
            )
        check_number("n_copies", self.n_copies, 1, PATTERNS, integer=True)
        check_number("n_items", self.n_items, 1, LENGTH, integer=True)
        check_number("top", self.top, 1, integer=True)
        check_number("temperature", self.temperature, 0, above=True)
        check_flag("include_original", self.include_original)
        check_verbose(self.verbose)

    def _recipe(self, dataset: SequenceDataset) -> Any:
        check_one_kind(dataset.histories.items, self.items_)
        return partial(
            _continuations,
            dataset.histories,
            self.teacher_,
            self.n_copies,
            self.n_items,
            self.temperature,
            self.top,
            self.include_original,
            self.seed_,
            self.verbose,
        )


def _continuations(
    histories: Sequences,
    teacher: RankBlend,
    n_copies: int,
    n_items: int,
    temperature: float,
    top: int,
    include_original: bool,
    seed: int,
    verbose: int,
) -> PatternTable:
    rng = np.random.default_rng(seed)
    timer = Timer("continuing histories", n_copies * n_items, verbose)
    histories = histories.recode(np.unique(np.concatenate([histories.items, teacher.items_])))
    code_of = np.append(positions_in(histories.items, teacher.items_), -1)
    rows = np.flatnonzero(histories.lengths > 0)
    known = histories[rows]
    first = teacher._rank(known.recode(teacher.items_), top, exclude_seen=True)
    parts = []
    for copy in range(n_copies):
        drawn = np.full((len(rows), n_items), -1)
        for step in range(n_items):
            best, scores = first
            if step:
                so_far = _appended(known, drawn[:, :step]).sequences
                best, scores = teacher._rank(so_far.recode(teacher.items_), top, exclude_seen=True)
            # the largest of score + Gumbel noise is a draw from their softmax
            noisy = scores / temperature + rng.gumbel(size=scores.shape)
            drawn[:, step] = code_of[best[np.arange(len(best)), noisy.argmax(axis=1)]]
            timer(copy * n_items + step + 1)
        parts.append(_appended(known, drawn))
    table = PatternTable.concatenate(parts)
    table = PatternTable.of(
        table.sequences, rows[table.source], "augmented", generative=table.generative
    )
    if include_original:
        original = PatternTable.of(histories, np.arange(len(histories)))
        return PatternTable.concatenate([original, table])
    return keep_the_rest(table, histories)


def _appended(histories: Sequences, drawn: np.ndarray) -> PatternTable:
    """Histories with the items drawn for them, (n_rows, n), at their ends; -1 is nothing."""
    there = drawn >= 0
    lengths = histories.lengths + there.sum(axis=1)
    new = ranges(np.zeros_like(lengths), lengths) >= np.repeat(histories.lengths, lengths)
    codes = np.empty(len(new), dtype=histories.codes.dtype)
    codes[~new], codes[new] = histories.codes, drawn[there]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    continued = Sequences.from_codes(codes, offsets, histories.items)
    return PatternTable.of(continued, np.arange(len(histories)), generative=new)
