"""HistoryDisplay: one user's history, and the patterns that stand for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._parameters import check_number
from ..dataset import as_dataset
from ._style import GREY, ORIGIN_COLORS, make_axes, text_color

__all__ = ["HistoryDisplay"]

#: Longest id that is written in full.
ID_WIDTH = 14


class HistoryDisplay:
    """A row of a data set as a picture: the history above, its patterns below, with provenance.

    Use :meth:`from_dataset` to make one. ``dataset.explain(row)`` is the same as text.

    Parameters
    ----------
    history : list of ids
    labels : list of str, length n_patterns + 1
        Of the history and of each pattern: origin, support, memory.
    patterns : list of lists of ids
    origins : list of str, length n_patterns
    generative : list of arrays of bool
        Whether the regenerator chose an item from the whole catalogue.
    weights : list of arrays of float, or None, default=None

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    Below an item of a pattern stands its place in the history, or "new"; an item with a thick frame
    was chosen from the whole catalogue.

    Examples
    --------
    >>> from sklearn_dr4sr import PatternMiner
    >>> from sklearn_dr4sr.plotting import HistoryDisplay
    >>> data = PatternMiner(min_support=2).fit_transform([[1, 2, 3], [1, 3], [2, 1]])
    >>> display = HistoryDisplay.from_dataset(data, 0)
    >>> display.labels, display.patterns
    (['row 0', 'mined (support 2)'], [[1, 3]])
    """

    def __init__(
        self,
        history: list,
        labels: list[str],
        patterns: list[list],
        origins: list[str],
        generative: list[np.ndarray],
        weights: list[np.ndarray] | None = None,
    ) -> None:
        self.history = history
        self.labels = labels
        self.patterns = patterns
        self.origins = origins
        self.generative = generative
        self.weights = weights

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        row: int,
        *,
        max_patterns: int = 12,
        max_items: int = 20,
        ax: Any = None,
    ) -> HistoryDisplay:
        """Take a row, and plot.

        Parameters
        ----------
        dataset : SequenceDataset or item sequences
        row : int
        max_patterns : int, default=12
            Patterns that are shown, at most; of every origin as many as there is room for.
        max_items : int, default=20
            Of a longer history or pattern the last items are shown.
        ax : matplotlib Axes, default=None

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        IndexError
            If there is no such row.
        ValueError
            If ``max_patterns`` or ``max_items`` is less than 1.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr import SequenceDataset
        >>> from sklearn_dr4sr.plotting import HistoryDisplay
        >>> data = SequenceDataset([[1, 2, 3]], [[1, 3], [2, 3]], source=[0, 0], origin="mined")
        >>> HistoryDisplay.from_dataset(data, 0, ax=Figure().subplots()).labels
        ['row 0', 'mined', 'mined']
        """
        check_number("max_patterns", max_patterns, 1, integer=True)
        dataset = as_dataset(dataset)
        labels = [label.strip() for label, _ in dataset._explained(row)]
        history = dataset.histories[row]
        part = dataset[[row]]
        table = part.table
        turn = np.empty(len(table), dtype=int)  # how many of its origin stand before a pattern
        for code in np.unique(table.origin):
            turn[table.origin == code] = np.arange((table.origin == code).sum())
        shown = np.sort(np.argsort(turn, kind="stable")[:max_patterns])
        if len(shown) < len(table):
            labels[0] += f", {len(shown)} of {len(table)} patterns"
        bounds = table.sequences.offsets

        def of_items(values: np.ndarray) -> list[np.ndarray]:
            return [values[bounds[i] : bounds[i + 1]] for i in shown]

        display = cls(
            history,
            [labels[0], *(labels[i + 1] for i in shown)],
            [table.sequences[int(i)] for i in shown],
            part.origin[shown].tolist(),
            of_items(table.is_generative),
            None if part.weights is None else of_items(part.weights),
        )
        return display.plot(ax, max_items=max_items)

    def plot(self, ax: Any = None, *, max_items: int = 20) -> HistoryDisplay:
        """Draw the row.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a figure of its own, as wide as the items need.
        max_items : int, default=20
            Of a longer history or pattern the last items are shown.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        ValueError
            If ``max_items`` is less than 1.
        ImportError
            Without matplotlib.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr import SequenceDataset
        >>> from sklearn_dr4sr.plotting import HistoryDisplay
        >>> ax = Figure().subplots()
        >>> display = HistoryDisplay.from_dataset(SequenceDataset([[1, 2, 3]]), 0, ax=ax)
        >>> display.plot(ax, max_items=2).ax_ is ax
        True
        """
        check_number("max_items", max_items, 1, integer=True)
        left_out = [max(0, len(row) - max_items) for row in (self.history, *self.patterns)]
        labels = [
            f"{label}, last {max_items} of {left + max_items} items" if left else label
            for label, left in zip(self.labels, left_out, strict=True)
        ]
        rows = [row[-max_items:] for row in (self.history, *self.patterns)]
        longest = max(map(len, rows))
        cell = 0.2 + 0.075 * max((len(_short(i)) for row in rows for i in row), default=1)
        cell = max(cell, 0.85 if self.weights is not None else 0.45)
        size = (0.4 + 0.08 * max(map(len, labels)) + cell * max(longest, 4), 0.4 + 0.42 * len(rows))
        (ax,) = make_axes(ax, size=size)
        place = {item: number for number, item in reversed(list(enumerate(self.history, 1)))}
        for column, item in enumerate(rows[0]):
            self._draw(ax, column, 0, item, str(left_out[0] + column + 1), "white", False)
        for line, (pattern, origin) in enumerate(zip(rows[1:], self.origins, strict=True)):
            for column, item in enumerate(pattern):
                number = left_out[line + 1] + column
                note = str(place.get(item, "new"))
                if self.weights is not None:
                    note += f", w {self.weights[line][number]:.2f}"
                color, free = ORIGIN_COLORS[origin], bool(self.generative[line][number])
                self._draw(ax, column, line + 1, item, note, color, free)
        ax.set_xlim(0, max(longest, 4))
        ax.set_ylim(len(rows), 0)
        ax.set_yticks(np.arange(len(rows)) + 0.5, labels)
        ax.tick_params(length=0)
        ax.set_xticks([])
        ax.axhline(1, color=GREY, linewidth=0.8)
        ax.spines[:].set_visible(False)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @staticmethod
    def _draw(
        ax: Any, column: int, line: int, item: Any, note: str, color: str, free: bool
    ) -> None:
        from matplotlib.patches import Rectangle

        frame = {"edgecolor": "black", "linewidth": 2.2 if free else 0.6}
        ax.add_patch(Rectangle((column + 0.05, line + 0.09), 0.9, 0.82, facecolor=color, **frame))
        text = {"ha": "center", "va": "center", "color": text_color(color)}
        text |= {"clip_on": True, "parse_math": False}  # an id may hold dollars
        ax.text(column + 0.5, line + 0.36, _short(item), fontsize=8.5, **text)
        ax.text(column + 0.5, line + 0.73, note, fontsize=6, **text)


def _short(item: Any) -> str:
    text = str(item)
    return text if len(text) <= ID_WIDTH else text[: ID_WIDTH - 1] + "…"
