"""PopularityDisplay: how unequal items are in the data, before and after."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dataset import as_dataset
from ..metrics import gini
from ._style import GREY, as_named, despine, line_styles, make_axes

__all__ = ["PopularityDisplay"]


class PopularityDisplay:
    r"""Lorenz curves of item popularity, with their Gini coefficients.

    Use :meth:`from_dataset` to make one.

    Parameters
    ----------
    counts : dict of str to ndarray of int, shape (n_items,)
        Interactions with each item, by name of the data; all over one catalogue.

    Attributes
    ----------
    gini : dict of str to float
        0 where all items are equally frequent, near 1 where one has it all.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    With counts :math:`c_1 \le \dots \le c_n`, the curve joins
    :math:`(i/n, \sum_{j \le i} c_j / \sum_j c_j)`, and the coefficient is twice the area between
    it and the diagonal: :func:`sklearn_dr4sr.metrics.gini`.

    Examples
    --------
    >>> from sklearn_dr4sr import SequenceDataset
    >>> from sklearn_dr4sr.plotting import PopularityDisplay
    >>> data = SequenceDataset([[1, 2], [1, 3], [1, 4]], [[1], [2], [3, 4]])
    >>> display = PopularityDisplay.from_dataset(data)
    >>> display.counts["histories"], display.counts["patterns"]
    (array([3, 1, 1, 1]), array([1, 1, 1, 1]))
    >>> {name: float(gini) for name, gini in display.gini.items()}
    {'histories': 0.25, 'patterns': 0.0}
    """

    def __init__(self, counts: dict[str, np.ndarray]) -> None:
        self.counts = counts
        self.gini = {name: gini(count) for name, count in counts.items()}

    @classmethod
    def from_dataset(cls, dataset: Any, *, ax: Any = None) -> PopularityDisplay:
        """Count the items of histories and patterns, and plot.

        Parameters
        ----------
        dataset : SequenceDataset, or dict of str to SequenceDataset
            "histories" are before, "patterns" after. Of a dict the patterns of each are
            drawn, and the histories of the first. The catalogue is what any of them holds.
        ax : matplotlib Axes, default=None

        Returns
        -------
        PopularityDisplay

        Raises
        ------
        ValueError
            If there is no data set, one holds no item, or one is named "histories".

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr import PatternMiner
        >>> from sklearn_dr4sr.plotting import PopularityDisplay
        >>> data = PatternMiner().fit_transform([[1, 2, 3], [1, 3]])
        >>> PopularityDisplay.from_dataset({"mined": data}, ax=Figure().subplots()).counts
        {'histories': array([2, 1, 2]), 'mined': array([2, 0, 2])}
        """
        named = dataset if isinstance(dataset, dict) else {"patterns": dataset}
        named = {name: as_dataset(data) for name, data in as_named("dataset", named).items()}
        parts = {"histories": next(iter(named.values())).histories}
        if "histories" in named:
            raise ValueError('dataset: the name "histories" is taken by what was before')
        parts |= {name: data.patterns for name, data in named.items()}
        for name, part in parts.items():
            if len(part.codes) == 0:
                raise ValueError(f"dataset: its {name} hold no item")
        items = np.unique(np.concatenate([part.compact().items for part in parts.values()]))
        counts = {
            name: np.bincount(part.recode(items).codes, minlength=len(items))
            for name, part in parts.items()
        }
        return cls(counts).plot(ax)

    def plot(self, ax: Any = None) -> PopularityDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a figure of its own.

        Returns
        -------
        PopularityDisplay

        Raises
        ------
        ImportError
            Without matplotlib.

        Examples
        --------
        >>> import numpy as np
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr.plotting import PopularityDisplay
        >>> counts = {"histories": np.array([1, 1]), "patterns": np.array([0, 2])}
        >>> display = PopularityDisplay(counts)
        >>> display.plot(Figure().subplots()).gini["patterns"]
        0.5
        """
        (ax,) = make_axes(ax, size=(4.2, 4.0))
        ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, label="all alike: Gini 0")
        for (name, count), style in zip(self.counts.items(), line_styles(), strict=False):
            share = np.concatenate([[0], np.sort(count).cumsum() / count.sum()])
            at = np.linspace(0, 1, len(share))
            ax.plot(
                at, share, **style | {"marker": ""}, label=f"{name}: Gini {self.gini[name]:.3f}"
            )
        ax.set(
            xlabel="share of the items, least popular first",
            ylabel="share of the interactions",
            xlim=(0, 1),
            ylim=(0, 1),
            aspect="equal",
        )
        ax.legend(frameon=False, loc="upper left")
        despine(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self
