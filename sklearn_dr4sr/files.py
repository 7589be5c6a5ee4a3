"""Files: the paper's text format; tables, as RecBole's atomic files, CSV, TSV and Parquet."""

from __future__ import annotations

import csv
import gzip
import json
import math
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .parquet import check_columns, read_parquet_table
from .sequences import Sequences

__all__ = [
    "TABLES",
    "TEXT",
    "is_integer",
    "read_delimited",
    "read_file",
    "read_json_lines",
    "read_sequences",
    "table_suffix",
    "whole_lines",
]

#: What each suffix is read as: delimiter (None: Parquet) and the usual names of its columns.
TABLES = {
    ".inter": ("\t", ("user_id", "item_id", "timestamp")),
    ".csv": (",", ("user", "item", "time")),
    ".tsv": ("\t", ("user", "item", "time")),
    ".parquet": (None, ("user", "item", "time")),
}

#: How a text is opened, so that :func:`whole_lines` can name a line that is not UTF-8.
TEXT = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


def read_sequences(path: str | PathLike) -> Sequences:
    """Read the paper's text format: a line is a user and then the items in order of time."""
    rows = []
    with open(path, **TEXT) as file:
        for number, line in enumerate(whole_lines(file, path), start=1):
            fields = line.split()
            if len(fields) == 1:
                raise ValueError(
                    f"{path}, line {number}: a user without items, got {line.strip()[:60]!r}"
                )
            if fields:
                rows.append(fields[1:])
    if not rows:
        raise ValueError(f"{path}: the file holds no sequence")
    if all(is_integer(item) for row in rows for item in row):
        rows = [list(map(int, row)) for row in rows]
    return Sequences(rows)


def read_file(
    path: str | PathLike, wanted: Sequence[str | None], names: Sequence[str] | None = None
) -> tuple[Any, tuple[str, ...]]:
    """Read a table as a frame for ``sequences_from_interactions``.

    Parameters
    ----------
    path : str or path
        Ends in one of ``TABLES``; a text file may be compressed (``.csv.gz``).
    wanted : sequence of str or None
        Names of the columns for users, items and times; None: the usual one.
    names : sequence of str or None, default=None
        Names of all columns of a text file that has no line of them.

    Returns
    -------
    frame : DataFrame of pandas, or table of pyarrow
    columns : tuple of str
        The names of the three columns in it.

    Raises
    ------
    ImportError
        Without pandas (text) or pyarrow (Parquet).
    ValueError
        With the line, or the column, that is wrong.
    """
    delimiter, usual = TABLES[table_suffix(path)]
    for what, given in zip(("user", "item", "time"), wanted, strict=True):
        if given is not None and not isinstance(given, str):
            raise TypeError(f"{what}: expected the name of a column, got {given!r}")
    if names is not None and not (
        isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    ):
        raise TypeError(f"names: expected a list of the columns' names, got {names!r}")
    columns = tuple(
        given if given is not None else name for given, name in zip(wanted, usual, strict=True)
    )
    if delimiter is None:
        if names is not None:
            raise ValueError(f"{path}: names is for text files; a Parquet file names its columns")
        return read_parquet_table(path, columns), columns
    recbole = table_suffix(path) == ".inter"
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "rt", **{**TEXT, "encoding": "utf-8-sig"}) as file:
        try:
            return read_delimited(file, path, columns, delimiter, names, typed=recbole), columns
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: not a whole gzip file ({error})") from None


def table_suffix(path: str | PathLike) -> str | None:
    """Suffix of a file that is read as a table, without ``.gz``; None for any other."""
    path = Path(path)
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return suffix.lower() if suffix.lower() in TABLES else None


def read_delimited(
    lines: Iterable[str],
    where: Any,
    columns: Sequence[str],
    delimiter: str,
    names: Sequence[str] | None = None,
    *,
    typed: bool = False,
) -> Any:
    """Read users, items and times from lines of text.

    Parameters
    ----------
    lines : iterable of str
        As ``TEXT`` opens them.
    where : object
        What errors call it.
    columns : three str
        Names of the columns for users, items and times.
    delimiter : str
    names : sequence of str or None, default=None
        Names of all columns; None: they stand in the first line.
    typed : bool, default=False
        RecBole's kind: a type after each name, and quotation marks that mean nothing.

    Returns
    -------
    DataFrame
        Of pandas. Ids are integers where all of a column are (without leading zeros), else strings;
        times are numbers or dates.

    Raises
    ------
    ImportError, ValueError
        As :func:`read_file`.
    """
    reader = csv.reader(
        whole_lines(lines, where),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if typed else csv.QUOTE_MINIMAL,
    )
    last = 0  # line of the record before
    number, texts = array("q"), ([], [], [])
    try:
        if names is None:
            names = next(reader, [])
            names = [name.rsplit(":", 1)[0] for name in names] if typed else names
        names = list(names)
        check_columns(where, names, columns)
        at = [names.index(name) for name in columns]
        last = reader.line_num
        for fields in reader:
            line, last = last + 1, reader.line_num  # where a record of several lines begins
            if not fields:  # a blank line
                continue
            if len(fields) != len(names):
                raise ValueError(
                    f"{where}, line {line}: expected {len(names)} fields, got "
                    f"{len(fields)}: {delimiter.join(fields)[:60]!r}"
                )
            number.append(line)
            for name, place, column in zip(columns, at, texts, strict=True):
                if not fields[place]:
                    raise ValueError(f"{where}, line {line}: no {name!r}")
                # most ids come many times: one text for all of them
                column.append(sys.intern(fields[place]) if name != columns[2] else fields[place])
    except csv.Error as error:
        raise ValueError(f"{where}, line {last + 1}: {error}") from None
    if not number:
        raise ValueError(f"{where}: the file holds no interaction")
    return _frame(where, columns, texts, number)


def read_json_lines(lines: Iterable[str], where: Any, columns: Sequence[str]) -> Any:
    """Read users, items and times from lines that are JSON objects with texts in them.

    Parameters
    ----------
    lines, where
        As in :func:`read_delimited`.
    columns : three str
        Their keys.

    Returns
    -------
    DataFrame
        As :func:`read_delimited`.

    Raises
    ------
    ImportError, ValueError
        As :func:`read_file`.
    """
    number, texts = array("q"), ([], [], [])
    for at, line in enumerate(whole_lines(lines, where), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}, line {at}: not JSON ({error}): {line[:60]!r}") from None
        for name, column in zip(columns, texts, strict=True):
            value = record.get(name) if isinstance(record, dict) else None
            if not isinstance(value, str) or not value or not _is_unicode(value):
                raise ValueError(f"{where}, line {at}: no text {name!r}: {line[:60]!r}")
            column.append(sys.intern(value) if name != columns[2] else value)
        number.append(at)
    if not number:
        raise ValueError(f"{where}: the file holds no interaction")
    return _frame(where, columns, texts, number)


def whole_lines(lines: Iterable[str], where: Any) -> Iterator[str]:
    """Yield the lines of a text that ``TEXT`` opened, or name the one that is not UTF-8.

    Raises
    ------
    ValueError
    """
    for number, line in enumerate(lines, start=1):
        if not _is_unicode(line):
            raise ValueError(f"{where}, line {number}: not UTF-8 text: {line.strip()[:60]!r}")
        yield line


def _is_unicode(text: str) -> bool:
    """Whether a text has no surrogates, which stand for bytes that are no UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True


def _frame(
    where: Any, columns: Sequence[str], texts: tuple[list, list, list], number: Sequence[int]
) -> Any:
    """Frame of texts; ``number`` is the line of each."""
    try:
        import pandas as pd
    except ImportError:
        raise ImportError(
            'tables in text files need pandas: pip install "sklearn_dr4sr[frames]"'
        ) from None
    users, items, times = texts
    try:
        when = _times_of(times, pd)
    except _TimeError as error:
        raise ValueError(
            f"{where}, line {number[error.row]}, {columns[2]!r}: expected a number or an ISO date "
            f"like the others, got {times[error.row]!r}"
        ) from None
    made = zip(columns, (_ids_of(users), _ids_of(items), when), strict=True)
    return pd.DataFrame(dict(made))


def _ids_of(texts: list[str]) -> np.ndarray:
    """Integers where all texts are non-negative ones as Python writes them, else the texts."""
    if all(is_integer(text) for text in texts):
        return np.array(list(map(int, texts)), dtype=np.int64)
    return np.array(texts, dtype=object)


def is_integer(text: str) -> bool:
    """Whether a text is an integer id; one with leading zeros is not, or "01" would become "1"."""
    if not (text.isascii() and text.isdigit() and (text[0] != "0" or len(text) == 1)):
        return False
    return len(text) < 19 or (len(text) == 19 and int(text) < 2**63)


class _TimeError(Exception):
    def __init__(self, row: int) -> None:
        self.row = row


def _times_of(texts: list[str], pd: Any) -> np.ndarray:
    """Numbers or dates, as the first text is one or the other."""
    if _is_number(texts[0]):
        try:
            return np.array(list(map(int, texts)), dtype=np.int64)  # exact, where floats tie
        except (ValueError, OverflowError):
            pass
        bad = next((row for row, text in enumerate(texts) if not _is_number(text)), None)
        if bad is not None:
            raise _TimeError(bad)
        return np.array(list(map(float, texts)))
    dates = pd.to_datetime(pd.Series(texts), utc=True, format="ISO8601", errors="coerce")
    if dates.isna().any():
        raise _TimeError(int(dates.isna().argmax()))
    return dates.dt.tz_localize(None).to_numpy()


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
