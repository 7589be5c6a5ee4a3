"""PatternLengthDisplay: how long patterns are, by origin; lengths before and after."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._parameters import check_number
from ..dataset import ORIGINS, as_dataset
from ._style import GREY, ORIGIN_COLORS, despine, make_axes

__all__ = ["PatternLengthDisplay"]


class PatternLengthDisplay:
    """Patterns of a data set by length and origin, or the law of lengths before and after.

    Use :meth:`from_dataset` to make one.

    Parameters
    ----------
    lengths : ndarray of int, shape (n_lengths,)
        1, 2, 3, ...; the last stands for itself and all above where ``clipped``.
    counts : dict of str to ndarray of int, shape (n_lengths,)
        Number of patterns of each length, by origin; only origins that there are.
    history_counts : ndarray of int, shape (n_lengths,)
        Number of histories of each length.
    clipped : bool, default=False
        Whether the last length stands for longer ones, too.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn_dr4sr import PatternMiner
    >>> from sklearn_dr4sr.plotting import PatternLengthDisplay
    >>> data = PatternMiner(window_size=3).fit_transform([[1, 2, 3, 4, 5], [1, 2, 3], [7]])
    >>> display = PatternLengthDisplay.from_dataset(data)
    >>> display.counts
    {'original': array([1, 0, 0, 0, 0]), 'mined': array([0, 6, 2, 0, 0])}
    """

    def __init__(
        self,
        lengths: np.ndarray,
        counts: dict[str, np.ndarray],
        history_counts: np.ndarray,
        *,
        clipped: bool = False,
    ) -> None:
        self.lengths = lengths
        self.counts = counts
        self.history_counts = history_counts
        self.clipped = clipped

    @classmethod
    def from_dataset(
        cls, dataset: Any, *, max_length: int = 20, kind: str = "origin", ax: Any = None
    ) -> PatternLengthDisplay:
        """Count and plot.

        Parameters
        ----------
        dataset : SequenceDataset or item sequences
            What a miner, a regenerator or another operator returns.
        max_length : int, default=20
            Longer ones are counted with it; at least 1.
        kind : {"origin", "law"}, default="origin"
            See :meth:`plot`.
        ax : matplotlib Axes, default=None

        Returns
        -------
        PatternLengthDisplay

        Raises
        ------
        ValueError
            If ``max_length`` or ``kind`` is out of range.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr.plotting import PatternLengthDisplay
        >>> rows = [[1, 2], [3], [1, 2, 3, 4]]
        >>> PatternLengthDisplay.from_dataset(rows, max_length=3, ax=Figure().subplots()).counts
        {'original': array([1, 1, 1])}
        """
        check_number("max_length", max_length, 1, integer=True)
        dataset = as_dataset(dataset)
        before, after = dataset.histories.lengths, dataset.patterns.lengths
        longest = int(max(before.max(initial=1), after.max(initial=1)))
        top = min(longest, max_length)

        def count(lengths: np.ndarray) -> np.ndarray:
            return np.bincount(np.minimum(lengths, top), minlength=top + 1)[1:]

        counts = {
            origin: count(after[dataset.table.origin == code])
            for code, origin in enumerate(ORIGINS)
            if (dataset.table.origin == code).any()
        }
        display = cls(np.arange(1, top + 1), counts, count(before), clipped=longest > top)
        return display.plot(ax, kind=kind)

    def plot(self, ax: Any = None, *, kind: str = "origin") -> PatternLengthDisplay:
        """Draw the counts.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a figure of its own.
        kind : {"origin", "law"}, default="origin"
            "origin": number of patterns of each length, stacked by origin. "law": share of the
            histories (before) and of the patterns (after) that have each length.

        Returns
        -------
        PatternLengthDisplay

        Raises
        ------
        ValueError
            If ``kind`` is unknown.
        ImportError
            Without matplotlib.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr.plotting import PatternLengthDisplay
        >>> display = PatternLengthDisplay.from_dataset([[1, 2], [3]], ax=Figure().subplots())
        >>> display.plot(Figure().subplots(), kind="law").ax_.get_ylabel()
        'share'
        """
        if kind not in ("origin", "law"):
            raise ValueError(f'kind must be "origin" or "law", got {kind!r}')
        (ax,) = make_axes(ax)
        if kind == "origin":
            base = np.zeros(len(self.lengths))
            for origin, count in self.counts.items():
                color = ORIGIN_COLORS[origin]
                label = f"{origin} ({count.sum():,})"
                style = {"color": color, "edgecolor": "white", "linewidth": 0.5}
                ax.bar(self.lengths, count, 0.85, base, label=label, **style)
                base = base + count
            ax.set(ylabel="patterns")
        else:
            after = sum(self.counts.values(), np.zeros(len(self.lengths)))
            laws = {"histories (before)": self.history_counts, "patterns (after)": after}
            styles = {"histories (before)": (GREY, "s", "--"), "patterns (after)": ("k", "o", "-")}
            for name, count in laws.items():
                color, marker, dashes = styles[name]
                share = count / max(1, count.sum())
                ax.plot(
                    self.lengths,
                    share,
                    color=color,
                    marker=marker,
                    markersize=6 if len(self.lengths) <= 25 else 2.5,
                    linestyle=dashes,
                    label=f"{name}, mean {self._mean(count)}",
                )
            ax.set(ylabel="share")
        ax.set_ylim(bottom=0)
        ax.set_xlabel("length")
        top = int(self.lengths[-1])
        ticks = [*range(top, 0, -(1 + top // 10))][::-1]
        ax.set_xticks(ticks, [*map(str, ticks[:-1]), f"{top}+" if self.clipped else str(top)])
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False)
        despine(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _mean(self, count: np.ndarray) -> str:
        mean = (self.lengths * count).sum() / max(1, count.sum())
        return f"≥ {mean:.2f}" if self.clipped else f"{mean:.2f}"
