"""Long tables in whatever frame library there is, and the ids that stand in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .sequences import as_sequences, positions_in

__all__ = ["codes_of", "long_table", "read_table", "row_ids"]

#: Frames other than pandas' that narwhals makes.
_LIBRARIES = ("cudf", "modin", "polars", "pyarrow")


def long_table(columns: dict[str, np.ndarray], like: Any = None) -> Any:
    """Make a frame of columns of one length.

    Parameters
    ----------
    columns : dict of str to 1-D arrays
    like : object, default=None
        A column or a frame of polars or pyarrow, say, whose library the frame is to be of.

    Returns
    -------
    DataFrame
        Of the library of ``like`` where that is not numpy and narwhals is installed, else of
        pandas; without pandas the dict itself.
    """
    try:
        import narwhals as nw

        if (library := type(like).__module__.partition(".")[0]) in _LIBRARIES:
            plain = {name: column.tolist() for name, column in columns.items()}
            return nw.from_dict(plain, backend=library).to_native()
    except ImportError:
        pass
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
    names : sequence of str
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
        if not isinstance(name, str) or name not in table.columns:
            raise ValueError(f"frame has no column {name!r}, but {list(table.columns)}")
        missing = table[name].is_null().to_numpy()
        if missing.any():
            raise ValueError(f"row {int(missing.argmax())}: no {name!r}")
    return table


def row_ids(ids: Any, n_rows: int) -> np.ndarray:
    """Take one id a row, of any kind; None: the rows' numbers.

    Raises
    ------
    ValueError
        If there is not one a row.
    """
    if ids is None:
        return np.arange(n_rows)
    if isinstance(ids, (str, bytes)) or not hasattr(ids, "__iter__"):
        raise TypeError(f"user_ids: expected one id a row, got {ids!r}")
    ids = np.asarray(ids) if hasattr(ids, "__array__") else list(ids)
    if isinstance(ids, np.ndarray) and ids.ndim != 1:
        raise ValueError(f"user_ids: expected one id a row, got an array of shape {ids.shape}")
    if len(ids) != n_rows:
        raise ValueError(f"user_ids has {len(ids)} entries, X has {n_rows} rows: must be equal")
    if isinstance(ids, list):
        whole = all(isinstance(v, int) and not isinstance(v, bool) for v in ids)
        ids = np.fromiter(ids, dtype=np.int64 if whole else object, count=n_rows)
    return ids


def codes_of(name: str, ids: Any, items: np.ndarray) -> np.ndarray:
    """Code of each id in the catalogue ``items``, -1 for an unknown one.

    Raises
    ------
    TypeError, ValueError
        If ``ids`` is no flat list of ids; the message begins with ``name``.
    """
    if hasattr(ids, "__array__"):
        ids = np.asarray(ids).tolist()
    if isinstance(ids, (set, frozenset)):
        ids = list(ids)
    if not isinstance(ids, (list, tuple)):
        raise TypeError(f"{name}: expected a list of item ids, got {ids!r}")
    try:
        sequences = as_sequences([ids])
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    return positions_in(items, sequences.items)[sequences.codes]
