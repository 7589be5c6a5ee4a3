"""A data set as an artefact: frames, files that others read, and texts that people read."""

from __future__ import annotations

from html import escape
from os import PathLike
from typing import Any

import numpy as np

from ._parameters import COUNT, as_path, check_number
from .frames import read_frame, write_frame
from .parquet import read_parquet, write_parquet
from .patterns import ORIGINS
from .sequences import Sequences, as_sequences, split

__all__ = ["Exchange"]

#: What a notebook shows of the first rows: rows, lines of each, characters of each line.
HTML_ROWS, HTML_LINES, HTML_WIDTH = 3, 8, 100


class Exchange:
    """What a SequenceDataset is written to, read from and shown as.

    All but the picture for notebooks make the patterns where they are not made yet.
    """

    def to_frame(self) -> Any:
        """Give the patterns as a data frame, a line a pattern.

        Returns
        -------
        DataFrame
            Columns "source" (row of the history), "origin", "items" (list of ids), "support" (0
            where it was not counted), "memory" (of the regenerator; -1 for others), "generative"
            (list of bool: whether an item was chosen from the whole catalogue) and, if there are
            any, "weights" (list of float). A dict of arrays where pandas is not installed. The
            histories are not in it; with them, :meth:`from_frame` reads it back.

        Examples
        --------
        >>> from sklearn_dr4sr import SequenceDataset
        >>> data = SequenceDataset([["tea", "pot"], ["pot"]], [["tea"], ["pot"]])
        >>> data.to_frame()[["source", "origin", "items"]]
           source    origin  items
        0       0  original  [tea]
        1       1  original  [pot]
        """
        return write_frame(self.table, self.weights)

    @classmethod
    def from_frame(cls, histories: Any, frame: Any) -> Any:
        """Make a data set of what :meth:`to_frame` gave, or of a frame like it.

        Parameters
        ----------
        histories : anything that :func:`~sklearn_dr4sr.sequences.as_sequences` takes
            One row a user: a frame does not hold them.
        frame : data frame of pandas, polars or pyarrow, or dict of lists or arrays
            A line a pattern, in order of "source", with the columns of :meth:`to_frame`;
            "generative" and "weights" may be absent, and others are ignored.

        Returns
        -------
        SequenceDataset
            Equal to the one that the frame was made of. Where no item is marked,
            ``table.generative`` is None.

        Raises
        ------
        ImportError
            Without narwhals, unless the frame is a dict.
        TypeError, ValueError
            On a missing column, or with the line (the pattern) and the column that is wrong.

        Examples
        --------
        >>> from sklearn_dr4sr import SequenceDataset
        >>> rows = [[1, 2, 3], [2, 3]]
        >>> data = SequenceDataset(rows, [[1, 3], [2, 3]], source=[0, 1], origin="mined")
        >>> frame = data.to_frame()
        >>> chosen = SequenceDataset.from_frame(rows, frame[frame["source"] == 1])
        >>> list(chosen.patterns), chosen.origin.tolist()
        ([[2, 3]], ['mined'])
        """
        histories = as_sequences(histories)
        return cls(histories, *read_frame(frame, len(histories)))

    def to_text(self, path: str | PathLike) -> None:
        """Write the patterns in the paper's format: a line is a row's number and a pattern.

        Parameters
        ----------
        path : str or path
            File to write; a pattern of the row ``r`` is a line ``r item item ...``.
            :func:`~sklearn_dr4sr.datasets.load_sequences` reads the patterns back (digits alone as
            integers).

        Raises
        ------
        ValueError
            If an id is empty or holds white space, which separates the fields.

        Notes
        -----
        What is lost: the histories, empty patterns, and of a pattern its origin, support, memory,
        generative marks and weights; on reading also its row. :meth:`to_parquet` keeps all.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from sklearn_dr4sr import SequenceDataset
        >>> data = SequenceDataset([["tea", "pot"], ["pot", "cup"]])
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "patterns.txt")
        ...     data.to_text(path)
        ...     print(path.read_text(), end="")
        0 tea pot
        1 pot cup
        """
        patterns = self.patterns
        names = _names(patterns, lambda name: name.split() == [name], "text", "white space")
        with open(as_path("path", path), "w", encoding="utf-8", newline="\n") as file:
            for row, pattern in zip(self.source.tolist(), split(patterns, names), strict=True):
                if pattern:
                    file.write(" ".join([str(row), *pattern]) + "\n")

    def to_recbole(self, folder: str | PathLike) -> None:
        """Write the patterns as a RecBole data set: ``folder/<name of the folder>.inter``.

        Parameters
        ----------
        folder : str or path
            Made where it is absent. A line is an item of a pattern, with the fields ``user_id``
            (number of the pattern, which is a sequence of its own), ``item_id``, ``timestamp``
            (place in the pattern), ``source`` (row), ``origin`` and, if there are any, ``weight``.

        Raises
        ------
        ValueError
            If an id is empty or holds a tab, a line break or a quotation mark.

        Notes
        -----
        The first three are RecBole's default fields, and those that
        :func:`~sklearn_dr4sr.datasets.load_sequences` reads. RecBole loads users and items alone
        unless it is told ``load_col: {inter: [user_id, item_id, timestamp]}``, and a sequence needs
        the times.

        What is lost: the histories, empty patterns, and of a pattern its support, memory and
        generative marks. :meth:`to_parquet` keeps all.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from sklearn_dr4sr import SequenceDataset
        >>> with TemporaryDirectory() as folder:
        ...     SequenceDataset([["tea", "pot"], ["cup"]]).to_recbole(Path(folder, "shop"))
        ...     lines = Path(folder, "shop", "shop.inter").read_text().splitlines()
        >>> for line in lines:
        ...     print(*line.split())
        user_id:token item_id:token timestamp:float source:token origin:token
        0 tea 0 0 original
        0 pot 1 0 original
        1 cup 0 1 original
        """
        patterns, place = self.patterns, np.arange(len(self.patterns.codes))
        names = _names(
            patterns,
            lambda name: name.splitlines() == [name] and not set(name) & set('\t"'),
            "RecBole's files",
            "a tab, a line break or a quotation mark",
        )
        fields = {
            "user_id:token": patterns.rows,
            "item_id:token": names,
            "timestamp:float": place - patterns.offsets[:-1][patterns.rows],
            "source:token": self.source[patterns.rows],
            "origin:token": self.origin[patterns.rows],
        }
        if self.weights is not None:
            fields["weight:float"] = self.weights
        folder = as_path("folder", folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{folder.resolve().name}.inter"
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write("\t".join(fields) + "\n")
            for line in zip(*(column.tolist() for column in fields.values()), strict=True):
                file.write("\t".join(map(str, line)) + "\n")

    def to_parquet(self, path: str | PathLike) -> None:
        """Write everything to a Parquet file: a line is a row, as everywhere; needs pyarrow.

        Parameters
        ----------
        path : str or path
            File to write. Columns: "history", a list of ids, and "patterns", a list of structs of
            "items", "origin", "support", "memory" and, if known, "generative" and "weights"
            (lists as long as "items"). :meth:`from_parquet` reads it back.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import pandas as pd
        >>> from sklearn_dr4sr import SequenceDataset
        >>> with TemporaryDirectory() as folder:
        ...     SequenceDataset([["tea", "pot"], ["cup"]]).to_parquet(Path(folder, "data.parquet"))
        ...     pd.read_parquet(Path(folder, "data.parquet"))["history"].map(list).tolist()
        [['tea', 'pot'], ['cup']]
        """
        write_parquet(self.histories, self.table, self.weights, path)

    @classmethod
    def from_parquet(cls, path: str | PathLike) -> Any:
        """Read what :meth:`to_parquet` wrote.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        SequenceDataset

        Raises
        ------
        ValueError
            If the file is damaged or of another form: the message names the column, and by its
            number a row, or a pattern of all, whose value is wrong.

        Notes
        -----
        Such a file holds data alone, and what is read is checked; see *Files from others* in the
        user guide.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from sklearn_dr4sr import SequenceDataset
        >>> data = SequenceDataset([[1, 2, 3]], [[1, 3], [2, 3]], source=[0, 0], origin="mined")
        >>> with TemporaryDirectory() as folder:
        ...     data.to_parquet(Path(folder, "data.parquet"))
        ...     again = SequenceDataset.from_parquet(Path(folder, "data.parquet"))
        >>> list(again.patterns), again.origin.tolist()
        ([[1, 3], [2, 3]], ['mined', 'mined'])
        """
        return cls(*read_parquet(path))

    def explain(self, row: int) -> str:
        """Tell a user's history, and beside it the patterns that stand for it.

        Parameters
        ----------
        row : int
            From 0, or from the end where it is negative.

        Returns
        -------
        str
            A line for the history and one for each pattern with its origin, support and memory;
            ``*`` marks an item that the regenerator chose from the whole catalogue, and a number
            in brackets is an item's weight.

        Examples
        --------
        >>> from sklearn_dr4sr import PatternMiner
        >>> data = PatternMiner(min_support=2).fit_transform([[1, 2, 3], [1, 3], [2, 1]])
        >>> print(data.explain(0))
        row 0                  1 2 3
          mined (support 2)    1 3
        """
        lines = self._explained(row)
        width = max(len(label) for label, _ in lines) + 4
        return "\n".join(f"{label:<{width}}{' '.join(items)}".rstrip() for label, items in lines)

    def _explained(self, row: int) -> list[tuple[str, list[str]]]:
        """Label and items of a row's history, and of each of its patterns."""
        check_number("row", row, -COUNT, integer=True)
        history = self.histories[row]
        part = self[[row]]
        table, weights = part.table, part.weights
        patterns = table.sequences
        names = np.array([str(item) for item in patterns.items.tolist()], dtype=object)
        names = names[patterns.codes]
        names[table.is_generative] = "*" + names[table.is_generative]
        if weights is not None:
            names += [f"({w:.2f})" for w in weights.tolist()]
        lines = [(f"row {row}", [str(item) for item in history])]
        for origin, support, memory, items in zip(
            part.origin, table.support, table.memory, split(patterns, names), strict=True
        ):
            known = [f"support {support}"] if support else []
            known += [f"memory {memory}"] if memory >= 0 else []
            lines.append((f"  {origin}" + (f" ({', '.join(known)})" if known else ""), items))
        return lines

    def _repr_html_(self) -> str:
        """A summary for notebooks; patterns that are not made yet stay so."""  # noqa: D401
        histories = self.histories
        lines = [("histories", len(histories), histories.lengths, "")]
        if self._table is not None:
            lengths = self.patterns.lengths
            for number, origin in enumerate(ORIGINS):
                mask = self._table.origin == number
                if mask.any():
                    support = self._table.support[mask]
                    mean = f"{support[support > 0].mean():.1f}" if support.any() else ""
                    lines.append((f"{origin} patterns", int(mask.sum()), lengths[mask], mean))
        body = "".join(
            f"<tr><th>{name}</th><td>{count}</td><td>{length.mean():.1f}</td><td>{mean}</td></tr>"
            for name, count, length, mean in lines
        )
        head = "".join(f"<th>{name}</th>" for name in ("", "number", "mean length", "mean support"))
        html = f"<table><caption>{self!r}</caption><tr>{head}</tr>{body}</table>"
        if self._table is not None and len(histories):
            rows = range(min(HTML_ROWS, len(histories)))
            told = escape("\n".join(_shortened(self.explain(row)) for row in rows))
            html += f"<details><summary>first rows</summary><pre>{told}</pre></details>"
        return html


def _shortened(text: str) -> str:
    """Cut lines that are many, and such as are long."""
    lines = text.splitlines()
    left = [f"  ... {len(lines) - HTML_LINES} more"] if len(lines) > HTML_LINES else []
    return "\n".join(line[:HTML_WIDTH] for line in lines[:HTML_LINES] + left)


def _names(sequences: Sequences, fits: Any, where: str, what: str) -> np.ndarray:
    """Every interaction's id as text, for a format that not every text suits."""
    items = sequences.compact().items.tolist()
    bad = next((item for item in items if not fits(str(item))), None)
    if bad is not None:
        raise ValueError(f"{where} cannot hold an id that is empty or holds {what}, got {bad!r}")
    names = np.array([str(item) for item in sequences.items.tolist()], dtype=object)
    return names[sequences.codes]
