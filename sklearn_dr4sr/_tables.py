"""Long tables in whatever frame library there is, and the ids that stand in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .sequences import Sequences, as_sequences, check_one_kind, positions_in

__all__ = ["as_ids", "codes_of", "long_table", "read_table", "row_ids"]

#: Frames other than pandas' that narwhals makes.
_LIBRARIES = ("cudf", "modin", "polars", "pyarrow")


def long_table(columns: dict[str, Any], like: Any = None) -> Any:
    """Make a frame of columns of one length.

    Parameters
    ----------
    columns : dict of str to 1-D arrays
        Of integers, float32 or texts; or, of the library of ``like``, what ``row_ids`` gave.
    like : object, default=None
        A column or a frame of polars or pyarrow, say, whose library the frame is to be of.

    Returns
    -------
    DataFrame
        Of the library of ``like`` where that is not numpy and narwhals is installed, else of
        pandas; without pandas the dict itself. Its types are the columns', however many lines.
    """
    nw, library = _narwhals(like)
    if nw is not None:
        types = {"i": nw.Int64, "f": nw.Float32, "O": nw.String}
        plain = {name: c for name, c in columns.items() if isinstance(c, np.ndarray)}
        schema = {name: types[column.dtype.kind] for name, column in plain.items()}
        taken = [c.alias(name) for name, c in columns.items() if name not in plain]
        frame = nw.from_dict(plain, schema, backend=library)
        return frame.with_columns(*taken).select(*columns).to_native()
    try:
        import pandas as pd
    except ImportError:
        return columns
    return pd.DataFrame(columns)


def read_table(frame: Any, names: Sequence[str]) -> Any:
    """Take a frame of any library as narwhals' own.

    Parameters
    ----------
    frame : data frame of pandas, polars or pyarrow
    names : sequence of str (or of what pandas has for names)
        Columns that it must have, without missing values.

    Raises
    ------
    ImportError
        Without narwhals.
    TypeError, ValueError
        If it is no frame, or with the column that is missing, or the row that has no value in it.
    """
    try:
        import narwhals as nw
    except ImportError:
        raise ImportError("data frames need narwhals: pip install narwhals") from None
    try:
        table = nw.from_native(frame)
    except TypeError:
        raise TypeError(
            f"frame: expected a pandas, polars or pyarrow table, got {type(frame).__name__}"
        ) from None
    if isinstance(table, nw.LazyFrame):  # its rows may come in any order, and times tie
        raise TypeError(f"frame: a {type(frame).__name__} has no rows yet, pass frame.collect()")
    for name in names:
        try:
            known = name in set(table.columns)
        except TypeError:  # what has no hash is no name
            known = False
        if not known:
            raise ValueError(f"frame has no column {name!r}, but {list(table.columns)}")
        missing = table.get_column(name).is_null().to_numpy()
        if missing.any():
            raise ValueError(f"row {int(missing.argmax())}: no {name!r}")
    return table


def row_ids(ids: Any, n_rows: int) -> Any:
    """Take one id a row, of any kind; None: the rows' numbers.

    Returns
    -------
    ndarray or narwhals Series, shape (n_rows,)
        The latter of a column of polars or pyarrow, whose type no array keeps.

    Raises
    ------
    TypeError, ValueError
        If there is not one a row.
    """
    if ids is None:
        return np.arange(n_rows)
    if isinstance(ids, (str, bytes)) or not hasattr(ids, "__iter__"):
        raise TypeError(f"user_ids: expected one id a row, got {ids!r}")
    column = _column(ids)
    if column is None:
        column = np.asarray(ids) if hasattr(ids, "__array__") else list(ids)
    if isinstance(column, np.ndarray) and column.ndim != 1:
        raise ValueError(f"user_ids: expected one id a row, got an array of shape {column.shape}")
    if len(column) != n_rows:
        raise ValueError(f"user_ids has {len(column)} entries, X has {n_rows} rows: must be equal")
    if isinstance(column, list):
        whole = all(isinstance(v, int) and not isinstance(v, bool) for v in column)
        column = np.fromiter(column, dtype=np.int64 if whole else object, count=n_rows)
    return column


def _narwhals(like: Any) -> tuple[Any, str]:
    """Give narwhals and the name of a column's or frame's library; None where it is not needed."""
    library = type(like).__module__.partition(".")[0]
    if library not in _LIBRARIES:
        return None, library
    try:
        import narwhals as nw
    except ImportError:
        return None, library
    return nw, library


def _column(ids: Any) -> Any:
    """Wrap a column of a library other than pandas; None where it is none."""
    nw, library = _narwhals(ids)
    if nw is None:
        return None
    if library == "pyarrow" and hasattr(ids, "type") and not hasattr(ids, "chunks"):
        import pyarrow as pa

        ids = pa.chunked_array([ids])  # narwhals takes no plain array
    column = nw.from_native(ids, series_only=True, pass_through=True)
    return column if isinstance(column, nw.Series) else None


def as_ids(name: str, ids: Any) -> Sequences:
    """Take a flat list of ids as one row.

    Raises
    ------
    TypeError, ValueError
        If ``ids`` is no flat list of ids; the message begins with ``name``.
    """
    if hasattr(ids, "__array__"):
        ids = np.asarray(ids).tolist()
    if isinstance(ids, (set, frozenset)):
        ids = list(ids)
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Sequence):
        raise TypeError(f"{name}: expected a list of item ids, got {ids!r}")
    try:
        return as_sequences([ids])
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def codes_of(name: str, ids: Any, items: np.ndarray) -> np.ndarray:
    """Code of each id in the catalogue ``items``, -1 for an unknown one.

    Raises
    ------
    TypeError, ValueError
        As :func:`as_ids`.
    """
    sequences = as_ids(name, ids)
    try:
        check_one_kind(sequences.items, items)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    return positions_in(items, sequences.items)[sequences.codes]
