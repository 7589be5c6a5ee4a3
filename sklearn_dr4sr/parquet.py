"""Data sets as Parquet files: a line is a row, with its history and its patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np

from ._parameters import as_path
from .patterns import ORIGINS, PatternTable, check_lengths
from .sequences import Sequences, distinct_ids

__all__ = ["check_columns", "import_pyarrow", "read_parquet", "read_parquet_table", "write_parquet"]


def write_parquet(
    histories: Sequences, table: PatternTable, weights: np.ndarray | None, path: str | PathLike
) -> None:
    """Write the parts of a data set; columns as in ``SequenceDataset.to_parquet``."""
    pa, pq = import_pyarrow()
    fields = {
        "items": _list_array(pa, table.sequences),
        "origin": pa.array(np.array(ORIGINS, dtype=object)[table.origin], pa.string()),
        "support": pa.array(table.support),
        "memory": pa.array(table.memory),
    }
    for name, values in (("generative", table.generative), ("weights", weights)):
        if values is not None:
            offsets = pa.array(table.sequences.offsets)
            fields[name] = pa.LargeListArray.from_arrays(offsets, pa.array(values))
    structs = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    bounds = np.searchsorted(table.source, np.arange(len(histories) + 1))
    patterns = pa.LargeListArray.from_arrays(pa.array(bounds), structs)
    made = pa.table({"history": _list_array(pa, histories), "patterns": patterns})
    pq.write_table(made, as_path("path", path))


def read_parquet(path: str | PathLike) -> tuple[Sequences, PatternTable, np.ndarray | None]:
    """Read histories, patterns and weights, or raise ValueError with the column that is wrong."""
    pa, _ = import_pyarrow()
    read = read_parquet_table(path)
    columns = {name: read[name].combine_chunks() for name in read.column_names}
    histories = _sequences(pa, path, "history", columns.get("history"))
    lists = _checked(pa, path, "patterns", columns.get("patterns"))
    structs = lists.flatten()
    if not pa.types.is_struct(structs.type):
        raise ValueError(f"{path}: patterns must hold structs, got {structs.type}")
    fields = {structs.type[i].name: part for i, part in enumerate(structs.flatten())}
    sequences = _sequences(pa, path, "items", fields.get("items"))
    origin = _column(pa, path, fields, "origin", object)
    source = np.repeat(np.arange(len(lists)), lists.value_lengths())
    flat, lengths = {}, {}
    for name, dtype in (("generative", bool), ("weights", np.float32)):
        if name in fields:
            values = _checked(pa, path, name, fields[name])
            flat[name] = _column(pa, path, {name: values.flatten()}, name, dtype)
            lengths[name] = values.value_lengths().to_numpy()
    support = _column(pa, path, fields, "support", np.int64)
    memory = _column(pa, path, fields, "memory", np.int8)
    try:
        for name, given in lengths.items():
            check_lengths(name, given, sequences.lengths)
        table = PatternTable.checked(sequences, len(histories), source, origin)
        table = replace(table, support=support, memory=memory, generative=flat.get("generative"))
        table.check(len(histories))
    except ValueError as error:
        raise ValueError(f"{path}, {error}") from None
    return histories, table, flat.get("weights")


def read_parquet_table(path: str | PathLike, columns: Sequence[str] | None = None) -> Any:
    """Read columns of a file (None: all) as a table of pyarrow.

    Raises
    ------
    ValueError
        If it is no Parquet file, is damaged, has texts that are not UTF-8, or has not exactly one
        column of each name.
    OSError
        If it cannot be opened.
    """
    pa, pq = import_pyarrow()
    with open(as_path("path", path), "rb") as opened:
        try:
            file = pq.ParquetFile(opened)
            names = file.schema_arrow.names
            check_columns(path, names, names if columns is None else columns)
            table = file.read(columns=None if columns is None else list(columns))
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:  # a damaged page is an OSError
            raise ValueError(f"{path}: not a Parquet file ({error})") from None
    return table


def check_columns(where: Any, names: list[str], wanted: Sequence[str]) -> None:
    """Raise ValueError unless each column that is wanted is there, and once."""
    for name in wanted:
        if names.count(name) != 1:
            what = "no column" if name not in names else "more than one column"
            raise ValueError(f"{where}: {what} {name!r}, but {names}")


def import_pyarrow() -> tuple:
    """Pyarrow and its module for Parquet, or ImportError with what to install."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError("Parquet files need pyarrow: pip install sklearn_dr4sr[frames]") from None
    return pyarrow, pyarrow.parquet


def _list_array(pa: Any, sequences: Sequences) -> Any:
    text = sequences.items.dtype == object
    values = pa.array(sequences.items[sequences.codes], pa.string() if text else pa.int64())
    return pa.LargeListArray.from_arrays(pa.array(sequences.offsets), values)


def _checked(pa: Any, path: Any, name: str, column: Any) -> Any:
    """Raise ValueError unless a column is there, holds lists and no nulls."""
    if column is None:
        raise ValueError(f"{path}: the column {name} is missing")
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise ValueError(f"{path}: {name} must hold lists, got {column.type}")
    if column.null_count:
        at = f"{_line(name)} {int(column.is_null().to_numpy(zero_copy_only=False).argmax())}"
        raise ValueError(f"{path}: {name} holds {column.null_count} nulls, the first at {at}")
    return column


def _line(name: str) -> str:
    """Tell what is counted where a column has a fault: rows, or patterns of all of them."""
    return "row" if name in ("history", "patterns") else "pattern"


def _column(pa: Any, path: Any, fields: dict, name: str, dtype: Any) -> np.ndarray:
    """Values of a flat column, of the given type and without nulls."""
    if name not in fields:
        raise ValueError(f"{path}: the column {name} is missing")
    values = fields[name]
    wanted = pa.string() if dtype is object else pa.from_numpy_dtype(dtype)
    if values.null_count or values.type not in (wanted, pa.large_string()):
        raise ValueError(f"{path}: {name} must hold {wanted} without nulls, got {values.type}")
    return values.to_numpy(zero_copy_only=False)


def _sequences(pa: Any, path: Any, name: str, column: Any) -> Sequences:
    """Sequences of a column of lists of ids."""
    lists = _checked(pa, path, name, column)
    values = lists.flatten()
    text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if values.null_count or not (text or pa.types.is_int64(values.type)):
        raise ValueError(f"{path}: {name} must hold int64 or string ids, got {values.type}")
    ids = values.to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())])
    if not text and len(ids) and ids.min() < 0:
        at = f"{_line(name)} {int(np.searchsorted(offsets, ids.argmin(), side='right')) - 1}"
        raise ValueError(f"{path}, {at}: {name} must hold ids not negative, got {ids.min()}")
    items, codes = distinct_ids(ids)
    return Sequences.from_codes(codes, offsets, items)
