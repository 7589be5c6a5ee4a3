"""Item sequences of unequal length, and the one door through which data enters the package."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np

from ._parameters import LENGTH, check_number, is_integer

__all__ = ["Sequences", "as_sequences"]


class Sequences(Sequence):
    """Item sequences of unequal length over the user's own ids.

    Stored flat: row ``i`` is ``items[codes[offsets[i]:offsets[i + 1]]]``. It reads like a list of
    lists of ids, and indexes like a one-dimensional array, so that scikit-learn can split it.

    Parameters
    ----------
    rows : sequence of sequences of hashable ids (all int or all str)
        Whatever :func:`as_sequences` takes.

    Attributes
    ----------
    codes : ndarray of int32, shape (n_interactions,)
        Every interaction, row after row, as a position in ``items``.
    offsets : ndarray of int64, shape (n_rows + 1,)
        Where each row begins in ``codes``.
    items : ndarray, shape (n_items,)
        The vocabulary, sorted: int64 for integer ids, object for strings.
    lengths : ndarray of int64, shape (n_rows,)
    shape : tuple (n_rows,)

    Raises
    ------
    ValueError, TypeError
        As :func:`as_sequences`.

    Examples
    --------
    >>> from sklearn_dr4sr import Sequences
    >>> sequences = Sequences([["tea", "cup"], ["tea", "pot", "cup"]])
    >>> sequences[1]
    ['tea', 'pot', 'cup']
    >>> sequences.codes, sequences.offsets
    (array([2, 0, 2, 1, 0], dtype=int32), array([0, 2, 5]))
    >>> sequences[[1]]
    Sequences(1 rows, 3 interactions, 3 items)
    """

    codes: np.ndarray
    offsets: np.ndarray
    items: np.ndarray

    def __init__(self, rows: Any) -> None:
        made = as_sequences(rows)
        self.codes, self.offsets, self.items = made.codes, made.offsets, made.items

    @classmethod
    def from_codes(cls, codes: np.ndarray, offsets: np.ndarray, items: np.ndarray) -> Sequences:
        """Make sequences of codes that are already positions in ``items`` (nothing is copied).

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_dr4sr import Sequences
        >>> list(Sequences.from_codes([1, 0, 1], [0, 2, 3], np.array([10, 20])))
        [[20, 10], [20]]
        """
        self = cls.__new__(cls)
        self.codes = np.asarray(codes, dtype=np.int32)
        self.offsets = np.asarray(offsets, dtype=np.int64)
        self.items = items
        return self

    @classmethod
    def concatenate(cls, parts: Sequence[Sequences]) -> Sequences:
        """Stack the rows of sequences, of one vocabulary or of several.

        Examples
        --------
        >>> from sklearn_dr4sr import Sequences
        >>> list(Sequences.concatenate([Sequences([["tea"]]), Sequences([["pot", "tea"]])]))
        [['tea'], ['pot', 'tea']]
        """
        kinds = {p.items.dtype == object for p in parts}
        if len(kinds) > 1:  # numbers and texts do not mix; a part without items is of either kind
            full = [p for p in parts if len(p.codes)] or parts[:1]
            if len({p.items.dtype == object for p in full}) > 1:
                raise TypeError("item ids must be all int or all str, got rows of both")
            parts = [p if len(p.codes) else p.recode(full[0].items) for p in parts]
        if any(p.items is not parts[0].items for p in parts):
            items = np.unique(np.concatenate([p.items for p in parts]))
            parts = [p.recode(items) for p in parts]
        codes = np.concatenate([p.codes for p in parts])
        lengths = np.concatenate([p.lengths for p in parts])
        return cls.from_codes(codes, _offsets(lengths), parts[0].items)

    @property
    def lengths(self) -> np.ndarray:
        """Number of interactions of each row."""
        return np.diff(self.offsets)

    @property
    def shape(self) -> tuple[int]:
        """``(n_rows,)``, as scikit-learn's splitters expect."""
        return (len(self.offsets) - 1,)

    @property
    def rows(self) -> np.ndarray:
        """The row of each interaction, shape (n_interactions,)."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):  # sklearn.utils._safe_indexing asks for X[key, ...]
            if len(key) != 2 or key[1] is not Ellipsis:
                raise TypeError(f"Sequences have one axis, got the index {key!r}")
            key = key[0]
        if isinstance(key, (int, np.integer)):
            n = len(self)
            if not -n <= key < n:
                raise IndexError(f"row {key} is out of range for {n} rows")
            key = int(key) % n
            return self.items[self.codes[self.offsets[key] : self.offsets[key + 1]]].tolist()
        if isinstance(key, slice) and key.step in (None, 1):  # contiguous rows: views, no copies
            start, stop, _ = key.indices(len(self))
            stop = max(start, stop)
            offsets = self.offsets[start : stop + 1]
            codes = self.codes[offsets[0] : offsets[-1]]
            return Sequences.from_codes(codes, offsets - offsets[0], self.items)
        picked = positions(key, len(self))
        starts = self.offsets[picked]
        lengths = self.offsets[picked + 1] - starts
        return Sequences.from_codes(
            self.codes[ranges(starts, lengths)], _offsets(lengths), self.items
        )

    def __iter__(self) -> Iterator[list]:
        return split(self, self.items[self.codes])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequences):
            return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(
            self.items[self.codes], other.items[other.codes]
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"Sequences({len(self)} rows, {len(self.codes)} interactions, {len(self.items)} items)"
        )

    def recode(self, items: np.ndarray) -> Sequences:
        """Express the rows in another (sorted) vocabulary; items that it lacks are skipped.

        Raises
        ------
        TypeError
            If the ids of one are integers and of the other strings: none would be known.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_dr4sr import Sequences
        >>> list(Sequences([[1, 2], [2, 3]]).recode(np.array([2, 3, 4])))
        [[2], [2, 3]]
        """
        if items is self.items:
            return self
        check_one_kind(self.items, items)
        translation = positions_in(items, self.items)
        codes = translation[self.codes] if len(self.codes) else self.codes
        known = codes >= 0
        if known.all():
            return Sequences.from_codes(codes, self.offsets, items)
        offsets = np.concatenate([[0], np.cumsum(known)])[self.offsets]
        return Sequences.from_codes(codes[known], offsets, items)

    def compact(self) -> Sequences:
        """Drop from the vocabulary what no row holds (so that a subset cannot leak the rest).

        Examples
        --------
        >>> from sklearn_dr4sr import Sequences
        >>> first = Sequences([[1, 2], [2, 3]])[:1]
        >>> first.items, first.compact().items
        (array([1, 2, 3]), array([1, 2]))
        """
        present = np.zeros(len(self.items), dtype=bool)
        present[self.codes] = True
        return self if present.all() else self.recode(self.items[present])

    def last(self, n: int) -> Sequences:
        """Keep the last ``n`` items of each row.

        Examples
        --------
        >>> from sklearn_dr4sr import Sequences
        >>> list(Sequences([[1, 2, 3], [4]]).last(2))
        [[2, 3], [4]]
        """
        check_number("n", n, 0, integer=True)
        if len(self) == 0 or self.lengths.max() <= n:
            return self
        lengths = np.minimum(self.lengths, n)
        starts = self.offsets[1:] - lengths
        return Sequences.from_codes(
            self.codes[ranges(starts, lengths)], _offsets(lengths), self.items
        )

    def drop_last(self, n: int = 1) -> Sequences:
        """Leave the last ``n`` items of each row out (a shorter row becomes empty).

        Examples
        --------
        >>> from sklearn_dr4sr import Sequences
        >>> list(Sequences([[1, 2, 3], [4]]).drop_last())
        [[1, 2], []]
        """
        check_number("n", n, 0, integer=True)
        lengths = np.maximum(self.lengths - n, 0)
        return Sequences.from_codes(
            self.codes[ranges(self.offsets[:-1], lengths)], _offsets(lengths), self.items
        )

    def describe(self) -> dict[str, Any]:
        """Count what a paper reports of its data.

        Returns
        -------
        dict
            ``n_rows``, ``n_items``, ``n_interactions``, ``density`` (interactions over rows times
            items), ``length_min``, ``length_median``, ``length_mean``, ``length_max``,
            ``lengths`` (how many rows there are of each length), ``repeats`` (share of interactions
            whose item the row already held), and ``hash``, equal where the rows are equal: the same
            data, whatever they were read from. Ties need times, which sequences do not keep:
            :meth:`~sklearn_dr4sr.datasets.Interactions.describe` counts them.

        Examples
        --------
        >>> from sklearn_dr4sr import Sequences
        >>> counts = Sequences([[1, 2, 1], [2]]).describe()
        >>> counts["n_interactions"], counts["density"], counts["lengths"], counts["repeats"]
        (4, 1.0, {1: 1, 3: 1}, 0.25)
        """
        used = self.compact()
        pairs = used.rows * len(used.items) + used.codes
        n, lengths = len(used.codes), used.lengths
        digest = hashlib.sha256(np.int64(lengths).tobytes())
        digest.update("\n".join(map(repr, used.items.tolist())).encode())
        digest.update(np.int64(used.codes).tobytes())
        return {
            "n_rows": len(used),
            "n_items": len(used.items),
            "n_interactions": n,
            "density": n / max(1, len(used) * len(used.items)),
            "length_min": int(lengths.min(initial=n)),
            "length_median": float(np.median(lengths)) if len(used) else 0.0,
            "length_mean": n / max(1, len(used)),
            "length_max": int(lengths.max(initial=0)),
            "lengths": dict(sorted(Counter(lengths.tolist()).items())),
            "repeats": 1 - len(np.unique(pairs)) / n if n else 0.0,
            "hash": digest.hexdigest(),
        }

    def padded(self, width: int | None = None, *, fill: int = -1) -> np.ndarray:
        """Codes as a right-padded matrix, shape (n_rows, width), the last ``width`` items kept.

        Examples
        --------
        >>> from sklearn_dr4sr import Sequences
        >>> Sequences([[7, 8, 9], [8]]).padded()
        array([[ 0,  1,  2],
               [ 1, -1, -1]])
        """
        if width is not None:
            check_number("width", width, 0, LENGTH, integer=True)
        kept = self if width is None else self.last(width)
        lengths = kept.lengths
        width = width or int(lengths.max(initial=0))
        matrix = np.full((len(self), width), fill, dtype=np.int64)
        matrix[np.arange(width) < lengths[:, None]] = kept.codes
        return matrix


def as_sequences(X: Any) -> Sequences:
    """Take item sequences in any accepted form: the only door for data.

    Parameters
    ----------
    X : list or tuple of sequences, object array, 2-D integer array, Sequences, SequenceDataset
        Rows of item ids, oldest first: all ``int`` (not negative) or all ``str``. A row may be
        empty. In a 2-D array, and there only, 0 is padding. Of a ``SequenceDataset`` the histories
        are taken. A table of interactions, one a line, is none of these: see
        :func:`~sklearn_dr4sr.datasets.sequences_from_interactions`.

    Returns
    -------
    Sequences
        The input is never modified.

    Raises
    ------
    ValueError, TypeError
        With the row, the position and the value that was received.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dr4sr.sequences import as_sequences
    >>> list(as_sequences(np.array([[7, 5, 0], [5, 0, 0]])))
    [[7, 5], [5]]
    """
    if isinstance(X, Sequences):
        return _not_empty(X)
    if hasattr(X, "histories"):  # a SequenceDataset, which is built on this module
        return X.histories
    if hasattr(X, "tocsr"):
        raise TypeError(
            "sparse input is not supported: a sparse matrix has no order of items; "
            "pass a list of item sequences"
        )
    _reject_log(X)
    if hasattr(X, "__array__") and not isinstance(X, np.ndarray):
        X = np.asarray(X)
    if isinstance(X, np.ndarray):
        if X.ndim == 2:
            return _from_padded(X)
        if X.ndim != 1 or X.dtype != object:
            raise ValueError(
                f"expected item sequences, got an array of shape {X.shape} and dtype {X.dtype}. "
                "Reshape your data: pass a list of sequences, a 1-D object array of sequences "
                "or a zero-padded 2-D integer array" + _wrap(X)
            )
    elif not isinstance(X, (list, tuple)):
        raise TypeError(
            "expected a list of item sequences, a 1-D object array, a zero-padded 2-D integer "
            f"array, Sequences or a SequenceDataset, got {type(X).__name__}"
        )
    return _from_rows(X)


def as_items(
    y: Any,
    n_rows: int,
    items: np.ndarray | None = None,
    names: tuple[str, str] = ("y", "X"),
) -> np.ndarray:
    """Take one held-out item a row; ``None`` (or NaN) marks a row whose next item is unknown.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
    n_rows : int
    items : ndarray or None
        Ids (int64, or object for str) that those of ``y`` are to be compared with.
    names : pair of str
        What errors call ``y``, and what has the rows.

    Returns
    -------
    ndarray of object, shape (n_rows,)
        Ids as plain ``int`` or ``str``, or None.

    Raises
    ------
    ValueError
        If ``y`` is not one id a row.
    TypeError
        If there are both int and str ids, which are never equal.
    """
    name, other = names
    if hasattr(y, "tocsr"):
        raise TypeError(f"{name} is sparse: pass one item id a row")
    if hasattr(y, "__array__"):
        y = np.asarray(y)
    if isinstance(y, np.ndarray):
        if y.ndim != 1:
            raise ValueError(
                f"{name} should be a 1d array, one item id a row; got the shape {y.shape}"
            )
        if y.dtype.kind in "mM":
            raise ValueError(f"{name}: expected item ids (int or str), got times ({y.dtype})")
        y = y.tolist()
    if isinstance(y, (str, bytes)) or not isinstance(y, Sequence):
        raise ValueError(f"{name}: expected one item id a row, got {type(y).__name__}")
    if len(y) != n_rows:
        raise ValueError(
            f"{name} has {len(y)} entries, {other} has {n_rows} rows: they must be equal"
        )
    texts = None if items is None or len(items) == 0 else items.dtype == object
    taken = np.empty(n_rows, dtype=object)
    for row, value in enumerate(y):
        if isinstance(value, (float, np.floating)):  # integers with NaN for the missing
            value = None if np.isnan(value) else int(value) if float(value).is_integer() else value
        if type(value).__name__ == "NAType":  # of pandas, which need not be there
            value = None
        if value is None or isinstance(value, str):
            taken[row] = value
        elif is_integer(value) and value >= 0:
            taken[row] = int(value)
        else:  # a negative id would match the mark at the end of a short ranking
            raise ValueError(
                f"{name}, row {row}: expected an item id (int, not negative, or str), got {value!r}"
            )
        if value is not None:
            texts = isinstance(value, str) if texts is None else texts
            if isinstance(value, str) != texts:
                raise TypeError(
                    f"{name}, row {row}: expected {'a str' if texts else 'an int'}, as the other "
                    f"item ids are, got {value!r}"
                )
    return taken


def distinct_ids(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct ids, and the position of each id among them, as ``np.unique`` gives them.

    Integers of a range not much wider than they are many are marked in an array: sorting them all
    takes three times as long, and more than in proportion.
    """
    if ids.dtype.kind != "i" or len(ids) == 0 or ids.min() < 0 or ids.max() >= 4 * len(ids):
        items, codes = np.unique(ids, return_inverse=True)
        return items, codes.ravel()  # of the shape of ids in some versions of numpy 2
    known = np.zeros(int(ids.max()) + 1, dtype=bool)
    known[ids] = True
    items = np.flatnonzero(known).astype(ids.dtype)
    return items, (np.cumsum(known, dtype=np.int64) - 1)[ids]


def check_one_kind(items: np.ndarray, known: np.ndarray) -> None:
    """Raise TypeError if the ids of one are integers and those of the other strings."""
    if len(items) and len(known) and (items.dtype == object) != (known.dtype == object):
        one, other = items.tolist()[0], known.tolist()[0]
        raise TypeError(
            f"item ids such as {one!r} where those that are known are such as {other!r}: integers "
            "and strings are never equal"
        )


def positions_in(items: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Position of each wanted id in the sorted ``items``, -1 where it is not among them."""
    if len(items) == 0 or len(wanted) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    numbers = items.dtype != object and wanted.dtype != object
    few = len(wanted) * 16 < len(items)  # not worth a dict of all items
    if numbers or (few and items.dtype == object and all(isinstance(v, str) for v in wanted)):
        at = np.searchsorted(items, wanted).clip(max=len(items) - 1)
        return np.where(items[at] == wanted, at, -1)
    place = {item: code for code, item in enumerate(items.tolist())}
    return np.array([place.get(item, -1) for item in wanted.tolist()], dtype=np.int64)


def _from_padded(X: np.ndarray) -> Sequences:
    if X.shape[0] == 0:
        raise ValueError(f"Found array with 0 sample(s) (shape={X.shape}): X has no rows")
    if X.shape[1] == 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={X.shape}) while a minimum of 1 is required: "
            "X has no columns"
        )
    if X.dtype.kind == "c":
        raise ValueError("Complex data not supported: item ids are integers or strings")
    if X.dtype == object:
        numbers = [isinstance(v, (int, float, np.number)) for v in X.ravel().tolist()]
        if not all(numbers):
            row = int(numbers.index(False)) // X.shape[1]
            raise TypeError(
                f"row {row}: the argument must be a list of sequences for string ids; a 2-D array "
                f"holds numbers, zero-padded, got {_short(X.ravel()[numbers.index(False)])}; "
                + _LOG_ADVICE
            )
        whole = np.array([is_integer(v) for v in X.ravel().tolist()]).reshape(X.shape)
        large = np.zeros(X.shape, dtype=bool)
        large[whole] = [not -(2**63) <= v < 2**63 for v in X[whole].tolist()]
        _reject(large, X, "item ids must lie in 0 .. 2**63 - 1")
        X = X.astype(np.int64 if whole.all() else float)  # float would merge large ids
    if X.dtype.kind not in "iuf":
        raise TypeError(
            f"a 2-D array must hold zero-padded integers, got the dtype {X.dtype}; "
            f"pass string ids as a list of sequences; {_LOG_ADVICE}"
        )
    if X.dtype.kind == "f":
        _reject(~np.isfinite(X), X, "Input contains NaN or infinity; item ids are integers")
        _reject(np.floor(X) != X, X, "item ids are integers")
    if X.dtype.kind in "uf":
        limit = 2**63 if X.dtype.kind == "u" else 2.0**63
        _reject(np.greater_equal(X, limit), X, "item ids must be below 2**63")
    _reject(X < 0, X, "Negative values in data: item ids must not be negative")
    present = X != 0
    items, codes = distinct_ids(X[present].astype(np.int64))
    return Sequences.from_codes(codes, _offsets(present.sum(axis=1)), items)


#: Words for what, who and when in the columns of a log; a padded matrix has columns of one kind.
_LOG_WORDS = (
    "item|product|movie|book|song|track|article|asin|sku",
    "user|customer|visitor|session|reviewer|member",
    "time|date|^ts$",
)
_LOG_ADVICE = (
    "a table of interactions, one a line, becomes item sequences by "
    "sklearn_dr4sr.datasets.sequences_from_interactions(X, user=..., item=..., time=...)"
)


def _reject_log(X: Any) -> None:
    """Say where a table of interactions is to go: one of integers would pass for a matrix."""
    if hasattr(X, "collect") and hasattr(X, "lazy"):
        raise TypeError(f"X: a {type(X).__name__} has no rows yet, call .collect(); {_LOG_ADVICE}")
    if isinstance(X, Mapping):
        names = list(X)
    else:  # of numpy; of pyarrow; of others
        names = getattr(X, "column_names", getattr(X, "columns", ()))
        names = getattr(getattr(X, "dtype", None), "names", None) or names
    kinds = [
        next((kind for kind, words in enumerate(_LOG_WORDS) if re.search(words, name.lower())), -1)
        for name in (list(names) if np.iterable(names) else ())
        if isinstance(name, str)
    ]
    if len({*kinds} - {-1}) > 1:
        raise TypeError(f"X has the columns {_short(list(names))}: {_LOG_ADVICE}")


def _wrap(X: Any) -> str:
    """Advice for a single history, a list of ids where a list of rows is to be."""
    ids = X.ravel().tolist() if isinstance(X, np.ndarray) else list(X)
    if not ids or not all(isinstance(item, (int, str)) for item in ids):
        return ""
    return f"; wrap a single history, which is one row: {_short([ids])}"


def _reject(bad: np.ndarray, X: np.ndarray, why: str) -> None:
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(f"row {row}, position {column}: {why}, got {X[row, column]!r}")


def _from_rows(rows: Any) -> Sequences:
    if len(rows) == 0:
        raise ValueError("X has no rows (0 sample(s)): pass at least one item sequence")
    for number, row in enumerate(rows):
        if isinstance(row, (str, bytes)) or not isinstance(
            row, (list, tuple, np.ndarray, Sequence)
        ):
            raise _bad_row(number, row, _wrap(rows))
        if isinstance(row, np.ndarray) and row.ndim != 1:
            raise _bad_row(number, row)
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    # tolist turns an array's scalars into plain int and str, which one set() of types then checks
    flat = list(chain.from_iterable(r.tolist() if isinstance(r, np.ndarray) else r for r in rows))
    types = set(map(type, flat))
    # a timedelta64 is an np.integer
    if all(issubclass(t, (int, np.integer)) and t not in (bool, np.timedelta64) for t in types):
        try:
            values = np.array(flat, dtype=np.int64)
        except OverflowError:
            raise _bad_item(rows, lambda v: not -(2**63) <= v < 2**63) from None
        if len(values) and values.min() < 0:
            raise _bad_item(rows, lambda v: v < 0)
        items, codes = distinct_ids(values)
        return Sequences.from_codes(codes, _offsets(lengths), items)
    if all(issubclass(t, str) for t in types):
        names = sorted(set(flat))
        place = {name: code for code, name in enumerate(names)}
        codes = np.fromiter((place[name] for name in flat), dtype=np.int32, count=len(flat))
        items = np.empty(len(names), dtype=object)
        # not str(name), which strips trailing NULs from a numpy string
        items[:] = [str.__str__(name) for name in names]
        return Sequences.from_codes(codes, _offsets(lengths), items)
    is_id = (int, np.integer, str)
    raise _bad_item(
        rows, lambda v: isinstance(v, (bool, np.timedelta64)) or not isinstance(v, is_id)
    )


def _bad_row(number: int, row: Any, advice: str = "") -> Exception:
    return TypeError(
        f"row {number}: expected a sequence of item ids, argument must be a list, a tuple or a "
        f"1-D array, got {type(row).__name__}: {_short(row)}{advice}"
    )


def _bad_item(rows: Any, is_bad: Callable[[Any], bool]) -> Exception:
    """Find the first offending id (or the first that mixes int and str) and say where it stands."""
    first_is_text = None
    for number, row in enumerate(rows):
        for position, value in enumerate(row):
            where = f"row {number}, position {position}: "
            if is_bad(value):
                kind = ValueError if isinstance(value, (int, float, np.number)) else TypeError
                return kind(
                    f"{where}item ids must be non-negative 64-bit integers or strings, "
                    f"got {_short(value)} ({type(value).__name__})"
                )
            if first_is_text is None:
                first_is_text = isinstance(value, str)
            elif isinstance(value, str) != first_is_text:
                return TypeError(
                    f"{where}item ids must be all int or all str, got both: "
                    f"{_short(value)} ({type(value).__name__})"
                )
    raise AssertionError("called without an offending id")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _not_empty(sequences: Sequences) -> Sequences:
    if len(sequences) == 0:
        raise ValueError("X has no rows (0 sample(s)): pass at least one item sequence")
    return sequences


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def split(sequences: Sequences, values: np.ndarray) -> Iterator[list]:
    """Cut one value an item into a list a row."""
    flat = values.tolist()
    return (flat[a:b] for a, b in pairwise(sequences.offsets.tolist()))


def positions(key: Any, n: int) -> np.ndarray:
    """Rows that an index picks of ``n``, counted from the first.

    Where it names them, the time depends on how many it names, not on ``n``: that is how batches
    are picked.

    Raises
    ------
    IndexError
        If it names a row that there is not.
    """
    if isinstance(key, (int, np.integer)):
        key = np.asarray(key)
    if not isinstance(key, np.ndarray) or key.dtype.kind not in "iu":
        return np.arange(n)[key]
    key = key.astype(np.int64, copy=False)  # n may be more than its type holds
    outside = (key < -n) | (key >= n)
    if outside.any():
        raise IndexError(f"row {key[outside][0]} is out of range for {n} rows")
    return np.where(key < 0, key + n, key)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenate ``arange(start, start + length)`` for every pair, without a loop."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
