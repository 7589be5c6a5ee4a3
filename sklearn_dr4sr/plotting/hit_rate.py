"""HitRateDisplay: for whom, and for which items, a recommender finds the next item."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._parameters import check_number
from .._search import best_of
from ..metrics import ranks
from ..sequences import as_items, as_sequences, positions_in
from ._style import as_named, despine, line_styles, make_axes

__all__ = ["HitRateDisplay"]

LABELS = {"popularity": "the next item's interactions in X", "length": "length of the history"}


class HitRateDisplay:
    """Hit rate by the popularity of the item to be found, and by the length of the history.

    Use :meth:`from_estimator` to make one.

    Parameters
    ----------
    hits : dict of str to ndarray of bool, shape (n_known,)
        Whether the held-out item was among the first ``k``, by recommender.
    groups : dict of str to ndarray of int, shape (n_known,)
        "popularity" and "length" of each row.
    k : int
    n_bins : int, default=5

    Attributes
    ----------
    rates_ : dict of str to dict of str to ndarray of shape (n_groups,)
        Hit rate by panel and recommender.
    sizes_ : dict of str to ndarray of int, shape (n_groups,)
        Rows in each group, by panel.
    labels_ : dict of str to list of str
        The groups' names, by panel.
    ax_ : ndarray of matplotlib Axes, shape (n_panels,)
    figure_ : matplotlib Figure

    Notes
    -----
    Bars of error reach one standard error, sqrt(p (1 - p) / n), to each side: of each rate alone.
    Recommenders are compared on the same rows, so a difference may be clearer than its bars.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import MarkovChain, Popularity
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.model_selection import leave_one_out
    >>> from sklearn_dr4sr.plotting import HitRateDisplay
    >>> split = leave_one_out(make_sequences(300, 50, random_state=0))
    >>> models = [MarkovChain().fit(split.train), Popularity().fit(split.train)]
    >>> display = HitRateDisplay.from_estimator(models, split.history, split.test, n_bins=2)
    >>> display.labels_["length"], display.sizes_["length"]
    (['4–7', '8–25'], array([177, 123]))
    """

    def __init__(
        self, hits: dict[str, np.ndarray], groups: dict[str, np.ndarray], k: int, n_bins: int = 5
    ) -> None:
        self.hits = hits
        self.groups = groups
        self.k = k
        self.n_bins = n_bins
        self.rates_, self.sizes_, self.labels_ = {}, {}, {}
        for by, values in groups.items():
            number, self.labels_[by] = _binned(values, n_bins)
            size = np.bincount(number)
            self.sizes_[by] = size
            self.rates_[by] = {
                name: np.bincount(number, weights=hit) / size for name, hit in hits.items()
            }

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        k: int = 20,
        by: str | tuple[str, ...] = ("popularity", "length"),
        n_bins: int = 5,
        ax: Any = None,
    ) -> HitRateDisplay:
        """Rank, and plot.

        Parameters
        ----------
        estimator : recommender, Pipeline, search, or list or dict of them
            Fitted; each (of a search, what it has chosen) ranks with ``predict(X, k=k)``.
        X : item sequences
            Histories.
        y : array-like of shape (n_rows,)
            The item that follows each; rows with None are left out.
        k : int, default=20
            Length of the rankings.
        by : {"popularity", "length"} or tuple of them, default=both
            A panel each. Popularity is how often ``X`` holds the item.
        n_bins : int, default=5
            Groups, at most: of about as many rows each, but equal values stay together.
        ax : matplotlib Axes or array of them, default=None
            One a panel; None: a figure of its own.

        Returns
        -------
        HitRateDisplay

        Raises
        ------
        ValueError
            If ``by``, ``k`` or ``n_bins`` is out of range, or no row has a held-out item.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr.baselines import Popularity
        >>> from sklearn_dr4sr.plotting import HitRateDisplay
        >>> X, y = [[1, 2], [1, 3], [2, 3]], [3, 2, 1]
        >>> display = HitRateDisplay.from_estimator(
        ...     Popularity().fit(X), X, y, k=1, by="length", ax=Figure().subplots()
        ... )
        >>> display.rates_
        {'length': {'Popularity': array([1.])}}
        """
        by = (by,) if isinstance(by, str) else tuple(by)
        if not by or not set(by) <= set(LABELS):
            raise ValueError(f"by: expected some of {tuple(LABELS)}, got {by!r}")
        check_number("n_bins", n_bins, 1, integer=True)
        histories = as_sequences(X)
        truth = as_items(y, len(histories))
        known = np.array([item is not None for item in truth], dtype=bool)
        if not known.any():
            raise ValueError("y: no row has a held-out item")
        hits = {}
        for name, model in as_named("estimator", estimator).items():
            model = best_of(model)
            if not hasattr(model, "predict"):
                raise TypeError(f"estimator: {type(model).__name__} has no predict")
            ranking = np.asarray(model.predict(X, k=k))
            width = ranking.shape[1]  # less than k where the catalogue is smaller
            hits[name] = ranks(truth[known], ranking[known], width) <= width
        code = positions_in(histories.items, truth[known])
        seen = np.bincount(histories.codes, minlength=len(histories.items))
        groups = {
            "popularity": np.where(code >= 0, seen[code], 0),
            "length": histories.lengths[known],
        }
        return cls(hits, {name: groups[name] for name in by}, k, n_bins).plot(ax)

    def plot(self, ax: Any = None) -> HitRateDisplay:
        """Draw a panel for each grouping.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            One a panel; None: a figure of its own.

        Returns
        -------
        HitRateDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If the number of axes is another.

        Examples
        --------
        >>> import numpy as np
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr.plotting import HitRateDisplay
        >>> hits = {"rules": np.array([True, False, True])}
        >>> display = HitRateDisplay(hits, {"length": np.array([2, 2, 5])}, k=10, n_bins=2)
        >>> display.plot(Figure().subplots()).ax_[0].get_ylabel()
        'hit rate @ 10'
        """
        own = ax is None
        axes = make_axes(ax, len(self.groups), size=(4.6, 3.4), sharey=True)
        for ax, by in zip(axes, self.groups, strict=True):
            size, x = self.sizes_[by], np.arange(len(self.sizes_[by]))
            shift = 0.06 * (np.arange(len(self.hits)) - (len(self.hits) - 1) / 2)
            for (name, rate), style, by_side in zip(
                self.rates_[by].items(), line_styles(), shift, strict=False
            ):
                error = np.sqrt(rate * (1 - rate) / size)
                ax.errorbar(x + by_side, rate, error, capsize=2, label=name, **style)
            ticks = [f"{label}\nn = {n:,}" for label, n in zip(self.labels_[by], size, strict=True)]
            ax.set_xticks(x, ticks, fontsize="small")
            ax.set(xlabel=LABELS[by])
            ax.set_ylim(bottom=0)
            despine(ax)
        axes[0].set_ylabel(f"hit rate @ {self.k}")
        self.ax_, self.figure_ = axes, axes[0].figure
        if own:  # above the panels, where no curve runs
            lines = axes[0].get_legend_handles_labels()
            self.figure_.legend(
                *lines, loc="outside upper center", ncols=2 * len(axes) - 1, frameon=False
            )
        else:
            axes[0].legend(frameon=False)
        return self


def _binned(values: np.ndarray, n_bins: int) -> tuple[np.ndarray, list[str]]:
    """Put values into ranges of about as many each: their numbers, and the ranges' names."""
    edges = np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1], method="inverted_cdf")
    edges = np.unique(edges)  # a group holds what is above the edge before, up to its own
    number = np.unique(np.searchsorted(edges, values), return_inverse=True)[1]
    ranges = [values[number == i] for i in range(number.max() + 1)]
    return number, [
        f"{part.min()}" if part.min() == part.max() else f"{part.min()}–{part.max()}"
        for part in ranges
    ]
