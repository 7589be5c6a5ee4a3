"""Data sets as data frames: a line is a pattern, with its row and where it comes from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ._parameters import COUNT, check_flag, check_number
from ._tables import long_table, read_table
from .parquet import check_columns
from .patterns import ORIGINS, PatternTable, flatten
from .sequences import Sequences, as_sequences, split

__all__ = ["read_frame", "write_frame"]

#: Columns that a frame must have, and those that it may have.
NEEDED, OPTIONAL = ("source", "origin", "items", "support", "memory"), ("generative", "weights")


def write_frame(table: PatternTable, weights: np.ndarray | None) -> Any:
    """Make a frame of pandas, or a dict; columns as in ``SequenceDataset.to_frame``."""
    patterns = table.sequences
    columns = {
        "source": table.source,
        "origin": np.array(ORIGINS)[table.origin],
        "items": _lists(patterns, patterns.items[patterns.codes]),
        "support": table.support,
        "memory": table.memory,
        "generative": _lists(patterns, table.is_generative),
    }
    if weights is not None:
        columns["weights"] = _lists(patterns, weights)
    return long_table(columns)


def read_frame(frame: Any, n_rows: int) -> tuple[PatternTable, list | None]:
    """Read the patterns of ``n_rows`` rows, and their weights as a list a pattern.

    Raises
    ------
    ImportError, TypeError, ValueError
        As ``SequenceDataset.from_frame``; weights are left for the data set to check.
    """
    columns = _columns(frame)
    items = columns["items"]
    try:
        # a frame without lines is legal: no row has to have patterns
        patterns = as_sequences(items) if items else Sequences.from_codes([], [0], np.empty(0, int))
    except (TypeError, ValueError) as error:
        raise type(error)(f"frame, column 'items': {error}") from None
    table = PatternTable.checked(patterns, n_rows, columns["source"], columns["origin"])
    for name, low, high in (("support", 0, COUNT), ("memory", -1, np.iinfo(np.int8).max)):
        for number, value in enumerate(columns[name]):
            check_number(f"pattern {number}: {name}", value, low, high, integer=True)
    marks = []
    if "generative" in columns:
        marks = flatten("generative", columns["generative"], patterns.lengths)
        for number, mark in zip(patterns.rows.tolist(), marks, strict=True):
            check_flag(f"pattern {number}: generative", mark)
    table = replace(
        table,
        support=np.array(columns["support"], dtype=np.int64),
        memory=np.array(columns["memory"], dtype=np.int8),
        generative=np.array(marks, dtype=bool) if any(marks) else None,
    )
    return table, columns.get("weights")


def _columns(frame: Any) -> dict[str, list]:
    """Columns of a frame as lists of one length; others than those that are known are left out."""
    if not isinstance(frame, dict):
        table = read_table(frame, NEEDED)
        names = [name for name in (*NEEDED, *OPTIONAL) if name in table.columns]
        return {name: table[name].to_list() for name in names}
    check_columns("frame", list(frame), NEEDED)
    columns = {name: frame[name] for name in (*NEEDED, *OPTIONAL) if name in frame}
    for name, column in columns.items():
        if not isinstance(column, (list, np.ndarray)) or getattr(column, "ndim", 1) != 1:
            raise TypeError(f"frame, column {name!r}: expected a list or an array, got {column!r}")
        if len(column) != len(columns["source"]):
            raise ValueError(
                f"frame, column {name!r}: {len(column)} entries for {len(columns['source'])} "
                "patterns"
            )
    return {
        name: column if isinstance(column, list) else column.tolist()
        for name, column in columns.items()
    }


def _lists(patterns: Sequences, values: np.ndarray) -> np.ndarray:
    """Object array of lists, one a pattern."""
    return np.fromiter(split(patterns, values), dtype=object, count=len(patterns))
