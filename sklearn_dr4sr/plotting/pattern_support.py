"""PatternSupportDisplay: how many mined patterns have at least a support, by length."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._search import best_of
from ..dataset import ORIGINS, as_dataset
from ..mining import PatternMiner
from ._style import DASHES, despine, make_axes

__all__ = ["PatternSupportDisplay"]


class PatternSupportDisplay:
    """Support of mined patterns: how many would be left with a higher ``min_support``.

    Use :meth:`from_estimator` or :meth:`from_dataset` to make one.

    Parameters
    ----------
    lengths : ndarray of int, shape (n_patterns,)
        Length of each distinct pattern.
    supports : ndarray of int, shape (n_patterns,)
        Its support: the number of sequences that hold it.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn_dr4sr import PatternMiner
    >>> from sklearn_dr4sr.plotting import PatternSupportDisplay
    >>> miner = PatternMiner(window_size=3).fit([[1, 2, 3, 4], [1, 2, 3], [1, 2]])
    >>> display = PatternSupportDisplay.from_estimator(miner)
    >>> display.lengths, display.supports
    (array([2, 2, 2, 3]), array([3, 2, 2, 2]))
    """

    def __init__(self, lengths: np.ndarray, supports: np.ndarray) -> None:
        self.lengths = lengths
        self.supports = supports

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> PatternSupportDisplay:
        """Plot the patterns that a miner has mined.

        Parameters
        ----------
        estimator : PatternMiner, Pipeline or search
            Fitted. Of a search the chosen estimator is taken, of a pipeline the first miner.
        ax : matplotlib Axes, default=None

        Returns
        -------
        PatternSupportDisplay

        Raises
        ------
        NotFittedError, TypeError
            If it is not fitted; if it mines nothing.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr import PatternMiner
        >>> from sklearn_dr4sr.plotting import PatternSupportDisplay
        >>> miner = PatternMiner().fit([[1, 2, 3], [1, 3], [1, 2]])
        >>> PatternSupportDisplay.from_estimator(miner, ax=Figure().subplots()).supports
        array([2, 2])
        """
        estimator = best_of(estimator)
        steps = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else []
        miner = next((s for s in steps or [estimator] if isinstance(s, PatternMiner)), None)
        if miner is None:
            raise TypeError(f"estimator: expected a PatternMiner, or a Pipeline of one, got "
                            f"{type(estimator).__name__}")  # fmt: skip
        check_is_fitted(miner, "patterns_")
        return cls(miner.patterns_.lengths, miner.supports_).plot(ax)

    @classmethod
    def from_dataset(cls, dataset: Any, *, ax: Any = None) -> PatternSupportDisplay:
        """Plot the mined patterns of a data set, each once, however many rows have it.

        Parameters
        ----------
        dataset : SequenceDataset
        ax : matplotlib Axes, default=None

        Returns
        -------
        PatternSupportDisplay

        Raises
        ------
        ValueError
            If the data set holds no mined patterns.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr import PatternMiner
        >>> from sklearn_dr4sr.plotting import PatternSupportDisplay
        >>> data = PatternMiner().fit_transform([[1, 2, 3], [1, 3], [2, 1]])
        >>> PatternSupportDisplay.from_dataset(data, ax=Figure().subplots()).supports
        array([2])
        """
        table = as_dataset(dataset).table
        mined = table[table.origin == ORIGINS.index("mined")]
        if len(mined) == 0:
            raise ValueError("dataset: it holds no mined pattern, so there is no support to plot")
        distinct = list({tuple(p): number for number, p in enumerate(mined.sequences)}.values())
        return cls(mined.sequences.lengths[distinct], mined.support[distinct]).plot(ax)

    def plot(self, ax: Any = None) -> PatternSupportDisplay:
        """Draw, for each length, the number of patterns of at least a support.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a figure of its own.

        Returns
        -------
        PatternSupportDisplay

        Raises
        ------
        ImportError
            Without matplotlib.

        Examples
        --------
        >>> import numpy as np
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr.plotting import PatternSupportDisplay
        >>> display = PatternSupportDisplay(np.array([2, 2, 3]), np.array([5, 2, 2]))
        >>> display.plot(Figure().subplots()).ax_.get_xlabel()
        'support'
        """
        (ax,) = make_axes(ax)
        from matplotlib import colormaps, ticker

        kinds = np.unique(self.lengths)
        shades = colormaps["viridis"](np.linspace(0, 0.88, len(kinds)))
        for number, (length, color) in enumerate(zip(kinds, shades, strict=True)):
            support, count = np.unique(self.supports[self.lengths == length], return_counts=True)
            at_least = count[::-1].cumsum()[::-1]
            ax.plot(
                support,
                at_least,
                color=color,
                linestyle=DASHES[number % len(DASHES)],
                marker="o",
                markersize=3,
                drawstyle="steps-pre",
                label=f"{length} items ({at_least[0]:,})",
            )
        ax.set(xscale="log", yscale="log", xlabel="support", ylabel="patterns of at least that")
        ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(ticker.ScalarFormatter())
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False)
        despine(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self
