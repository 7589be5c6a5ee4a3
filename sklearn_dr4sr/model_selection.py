"""Leave-one-out evaluation: split sequences by their last items, and a splitter for searches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from .sequences import Sequences, as_items, as_sequences

__all__ = ["LeaveLastOut", "LeaveOneOutSplit", "global_time_split", "leave_one_out"]


class LeaveOneOutSplit(NamedTuple):
    """Parts of a leave-one-out split, row for row.

    Attributes
    ----------
    train : Sequences
        Each row without its last two items: what models learn from and validate with.
    validation : ndarray of shape (n_rows,)
        The last item but one: the next item after ``train``.
    history : Sequences
        Each row without its last item: what the final ranking is made from.
    test : ndarray of shape (n_rows,)
        The last item: the next item after ``history``.

    Examples
    --------
    >>> from sklearn_dr4sr.model_selection import leave_one_out
    >>> train, validation, history, test = leave_one_out([["tea", "pot", "cup", "milk"]])
    >>> list(train), validation.tolist(), list(history), test.tolist()
    ([['tea', 'pot']], ['cup'], [['tea', 'pot', 'cup']], ['milk'])
    """

    train: Sequences
    validation: np.ndarray
    history: Sequences
    test: np.ndarray


def leave_one_out(sequences: Any) -> LeaveOneOutSplit:
    """Hold the last item of each sequence out for testing and the one before for validation.

    Parameters
    ----------
    sequences : anything that :func:`~sklearn_dr4sr.sequences.as_sequences` takes
        One row a user, oldest item first.

    Returns
    -------
    LeaveOneOutSplit
        ``(train, validation, history, test)``. All four have one entry a row. A row of two items
        gives its first item to ``train`` and ``history`` and its second to ``test`` and has no
        validation item; a row of one item only trains. A held-out item that a row lacks is None.

    Notes
    -----
    The protocol of the paper (5.1.3). The vocabulary of ``train`` holds only what its rows hold, so
    that nothing held out can enter a model by way of it. What this protocol does leak: the rows'
    last items lie at different times, so a model learns from interactions that happened after
    other users' test items.

    Examples
    --------
    >>> from sklearn_dr4sr.model_selection import leave_one_out
    >>> split = leave_one_out([[1, 2, 3, 4], [5, 6]])
    >>> list(split.train), split.validation, list(split.history), split.test
    ([[1, 2], [5]], array([3, None], dtype=object), [[1, 2, 3], [5]], array([4, 6]))
    """
    rows = as_sequences(sequences)
    lengths = rows.lengths
    first = np.minimum(lengths, 1)  # which each row keeps
    return LeaveOneOutSplit(
        train=_heads(rows, np.maximum(lengths - 2, first)),
        validation=_item_at(rows, lengths - 2, lengths >= 3),
        history=_heads(rows, np.maximum(lengths - 1, first)),
        test=_item_at(rows, lengths - 1, lengths >= 2),
    )


def global_time_split(
    sequences: Any,
    times: Any,
    *,
    validation_from: Any = None,
    test_from: Any = None,
) -> LeaveOneOutSplit:
    """Split all rows at the same two moments: nothing trains that happened after what is tested.

    Parameters
    ----------
    sequences : anything that :func:`~sklearn_dr4sr.sequences.as_sequences` takes
        One row a user, oldest item first.
    times : array of shape (n_interactions,), or a sequence of times for each row
        Time of each interaction, row after row, never falling within a row; as
        ``sequences_from_interactions(..., return_details=True).times`` has them.
    validation_from, test_from : time, default=None
        Interactions from ``validation_from`` on do not train; from ``test_from`` on they are no
        history either. None: the .8 and .9 quantiles of all times.

    Returns
    -------
    LeaveOneOutSplit
        Row for row: ``train``, the items before ``validation_from``; ``validation``, the first item
        between the two moments; ``history``, the items before ``test_from``; ``test``, the first
        item after. None where a row has no such item; a row may be empty in ``train`` (a new user).

    Raises
    ------
    ValueError
        If times and interactions differ in number, times fall within a row, are missing or neither
        numbers nor dates, if there are none to take a quantile of, if ``validation_from`` or
        ``test_from`` is NaN or NaT, or if ``test_from`` lies before ``validation_from``.
    TypeError
        If ``times`` is no array and no sequence.

    Notes
    -----
    :func:`leave_one_out` is the paper's protocol, but lets a model learn from what other users did
    after a test item; under this split what trains lies before all that is ranked. Figures of the
    two protocols do not compare.

    Examples
    --------
    >>> from sklearn_dr4sr.model_selection import global_time_split
    >>> split = global_time_split(
    ...     [[1, 2, 3], [4, 5]], [[10, 20, 30], [10, 15]], validation_from=20, test_from=30
    ... )
    >>> list(split.train), split.validation.tolist(), split.test.tolist()
    ([[1], [4, 5]], [2, None], [3, None])
    """
    rows = as_sequences(sequences)
    when = _flat_times(rows, times)
    if len(when) == 0 and (validation_from is None or test_from is None):
        raise ValueError(
            "times is empty, so it has no quantiles: give validation_from and test_from"
        )
    if validation_from is None:
        validation_from = np.quantile(when, 0.8, method="higher")
    if test_from is None:
        test_from = np.quantile(when, 0.9, method="higher")
    early = _before(when, validation_from, "validation_from")
    known = _before(when, test_from, "test_from")
    if (early & ~known).any():
        raise ValueError(
            f"test_from={test_from} lies before validation_from={validation_from}: what is "
            "validated on comes before what is tested on"
        )
    count = np.concatenate([[0], np.cumsum(early)])
    n_train = count[rows.offsets[1:]] - count[rows.offsets[:-1]]
    count = np.concatenate([[0], np.cumsum(known)])
    n_history = count[rows.offsets[1:]] - count[rows.offsets[:-1]]
    return LeaveOneOutSplit(
        train=_heads(rows, n_train),
        validation=_item_at(rows, n_train, n_history > n_train),
        history=_heads(rows, n_history),
        test=_item_at(rows, n_history, rows.lengths > n_history),
    )


def _flat_times(rows: Sequences, times: Any) -> np.ndarray:
    """One time an interaction, checked against the rows."""
    if isinstance(times, (str, bytes)) or not np.iterable(times) or not hasattr(times, "__len__"):
        raise TypeError(f"times: expected one time an interaction, got {times!r}")
    parts = list(times)
    if any(map(_is_list, parts)):
        if len(parts) != len(rows):
            raise ValueError(f"times has {len(parts)} rows, sequences has {len(rows)}")
        for row, (given, wanted) in enumerate(zip(parts, rows.lengths, strict=True)):
            if not _is_list(given):
                raise TypeError(f"row {row}: expected its times, got {given!r}")
            if len(given) != wanted:
                raise ValueError(f"row {row}: {len(given)} times for {wanted} interactions")
        parts = [time for given in parts for time in given]
    try:
        when = np.asarray(times if isinstance(times, np.ndarray) and times.ndim == 1 else parts)
    except (TypeError, ValueError):
        raise TypeError(f"times: expected numbers or dates, got {times!r}") from None
    if when.shape != (len(rows.codes),):
        raise ValueError(
            f"times: expected one for each of {len(rows.codes)} interactions, got {when.shape}"
        )
    if when.dtype.kind not in "iufmMO":  # texts, which sort "10" before "2"; structured arrays
        raise ValueError(f"times: expected numbers or dates, got the dtype {when.dtype}")
    if when.dtype == object:
        for row, time in zip(rows.rows.tolist(), when, strict=True):
            if isinstance(time, (str, bytes)):
                raise ValueError(f"row {row}: expected a number or a date, got the text {time!r}")
    unknown = when != when  # NaN and NaT
    if unknown.any():
        raise ValueError(f"row {rows.rows[int(unknown.argmax())]}: a time is missing (NaN or NaT)")
    same_row = rows.rows[1:] == rows.rows[:-1]
    try:
        falls = same_row & (when[1:] < when[:-1])
    except TypeError as error:
        raise TypeError(f"times: they do not compare with each other ({error})") from None
    if falls.any():
        at = int(falls.argmax())
        raise ValueError(
            f"row {rows.rows[at]}: times must not fall within a row, got {when[at]} before "
            f"{when[at + 1]}"
        )
    return when


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, range)) or (
        isinstance(value, np.ndarray) and value.ndim == 1
    )


def _before(when: np.ndarray, moment: Any, name: str) -> np.ndarray:
    """Which times lie before the moment."""
    before = None
    with suppress(TypeError, ValueError):  # what does not compare
        if np.ndim(moment) == 0:
            before = np.asarray(when < moment)
    if before is None or before.shape != when.shape or before.dtype != bool:
        raise TypeError(f"{name}: expected a time of the kind of times, got {moment!r}")
    if moment != moment:  # NaN and NaT come before and after nothing
        raise ValueError(f"{name} is no moment, got {moment!r}")
    return before


class LeaveLastOut:
    """Splitter of one fold for ``GridSearchCV`` where ``y`` is the held-out next item.

    All rows train; the rows whose held-out item is known are ranked. This is honest, though
    training and test rows are the same, because the held-out item stands in ``y`` and not in ``X``,
    and no estimator of this package trains on ``y`` (it only decides when to stop).

    Examples
    --------
    >>> from sklearn_dr4sr.model_selection import LeaveLastOut
    >>> [(train, test)] = LeaveLastOut().split([[1, 2], [3, 4], [5]], [3, None, 1])
    >>> train, test
    (array([0, 1, 2]), array([0, 2]))
    """

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the one fold.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            Histories without the held-out item.
        y : array-like of shape (n_rows,)
            The held-out item of each row; None where it is unknown.
        groups : ignored
            Present for scikit-learn's sake.

        Yields
        ------
        train, test : ndarray of int
            All rows; the rows with a held-out item.

        Raises
        ------
        ValueError
            If ``y`` is None or holds no item.

        Examples
        --------
        >>> from sklearn_dr4sr.model_selection import LeaveLastOut
        >>> list(LeaveLastOut().split([[1, 2], [3, 4]], [3, None]))
        [(array([0, 1]), array([0]))]
        """
        if y is None:
            raise ValueError(
                "LeaveLastOut needs y, the held-out next item of each row: "
                "split = leave_one_out(sequences); search.fit(split.train, split.validation)"
            )
        n_rows = len(as_sequences(X))
        known = np.array([item is not None for item in as_items(y, n_rows)])
        if not known.any():
            raise ValueError("y: no row has a held-out item")
        yield np.arange(n_rows), np.flatnonzero(known)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return 1: there is one last item a row.

        Examples
        --------
        >>> from sklearn_dr4sr.model_selection import LeaveLastOut
        >>> LeaveLastOut().get_n_splits()
        1
        """
        return 1

    def __repr__(self) -> str:
        return "LeaveLastOut()"


def _heads(rows: Sequences, lengths: np.ndarray) -> Sequences:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    keep = np.arange(len(rows.codes)) - np.repeat(rows.offsets[:-1], rows.lengths) < np.repeat(
        lengths, rows.lengths
    )
    return Sequences.from_codes(rows.codes[keep], offsets, rows.items).compact()


def _item_at(rows: Sequences, position: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Item at a position of each row, None where it is not known."""
    items = rows.items[rows.codes[(rows.offsets[:-1] + position)[known]]]
    if known.all():
        return items
    taken = np.full(len(rows), None)
    taken[known] = items.tolist()
    return taken
