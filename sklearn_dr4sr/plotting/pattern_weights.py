"""PatternWeightsDisplay: what a personalizer makes of each target, for one model or several."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from .._parameters import check_number
from ..dataset import ORIGINS, SequenceDataset
from ._style import ORIGIN_COLORS, as_named, despine, make_axes

__all__ = ["PatternWeightsDisplay"]

PLAIN = "#9db8cc"
NOT_MINED = "not mined"
LABELS = {"length": "length of the pattern", "origin": "", "support": "support of the pattern"}


class PatternWeightsDisplay:
    """Weights of training targets, several target models side by side (Figure 4 of the paper).

    Use :meth:`from_estimator` or :meth:`from_dataset` to make one.

    Parameters
    ----------
    datasets : dict of str to SequenceDataset
        Each with weights; the name stands above its panel.

    Attributes
    ----------
    groups_ : dict of str to dict of str to ndarray of shape (n_targets_of_group,)
        What is drawn: the weights of each group's targets, by panel; of ``by="position"`` the
        matrices (n_patterns, longest) under the key "weights", NaN where there is no target.
    ax_ : ndarray of matplotlib Axes, shape (n_datasets,)
    figure_ : matplotlib Figure

    Notes
    -----
    A pattern's first item is no target, and is left out. What a personalizer does not weigh (items
    that it does not know, origins outside its ``weighted_origins``) has the weight 1, and counts.
    A title gives the variance over all targets, as the paper does. Weights of noise vary, too:
    compare with ``DatasetPersonalizer(recommender, upper_lr=0)``.

    Examples
    --------
    >>> from sklearn_dr4sr import SequenceDataset
    >>> from sklearn_dr4sr.plotting import PatternWeightsDisplay
    >>> data = SequenceDataset([[1, 2, 3], [2, 4]], weights=[1, 0.5, 0.25, 1, 0.75])
    >>> display = PatternWeightsDisplay.from_dataset({"SASRec": data}, by="length")
    >>> {name: weights.tolist() for name, weights in display.groups_["SASRec"].items()}
    {'2': [0.75], '3': [0.5, 0.25]}
    """

    def __init__(self, datasets: dict[str, SequenceDataset]) -> None:
        for name, dataset in datasets.items():
            if getattr(dataset, "weights", None) is None:
                raise ValueError(
                    f"dataset {name!r}: expected a SequenceDataset with weights, "
                    f"got {dataset!r:.80}"
                )
            if not _is_target(dataset).any():
                raise ValueError(
                    f"dataset {name!r}: no pattern holds two items, so there is no target"
                )
        self.datasets = datasets

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, by: str = "origin", ax: Any = None, **options: Any
    ) -> PatternWeightsDisplay:
        """Weigh the patterns of ``X``, and plot.

        Parameters
        ----------
        estimator : DatasetPersonalizer, Pipeline, or list or dict of them
            Fitted; each ``transform`` gives weights. A list's are named after their recommenders.
        X : SequenceDataset or item sequences
        by, ax, **options
            As in :meth:`plot`.

        Returns
        -------
        PatternWeightsDisplay

        Raises
        ------
        NotFittedError, ValueError
            If one is not fitted; if one gives no weights, or has no target.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr import DatasetPersonalizer
        >>> from sklearn_dr4sr.datasets import make_sequences
        >>> from sklearn_dr4sr.plotting import PatternWeightsDisplay
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> X = make_sequences(60, 20, random_state=0)
        >>> personalizer = DatasetPersonalizer(
        ...     SASRec(max_epochs=2, batch_size=32), warmup_epochs=1, inner_steps=1, random_state=0
        ... ).fit(X)
        >>> display = PatternWeightsDisplay.from_estimator(personalizer, X, ax=Figure().subplots())
        >>> list(display.groups_["SASRec"])
        ['original']
        """
        if not isinstance(estimator, dict):
            several = estimator if isinstance(estimator, (list, tuple)) else [estimator]
            named = as_named("estimator", [getattr(e, "recommender", e) for e in several])
            estimator = dict(zip(named, several, strict=True))
        datasets = {name: weigher.transform(X) for name, weigher in estimator.items()}
        return cls(datasets).plot(ax, by=by, **options)

    @classmethod
    def from_dataset(
        cls, dataset: Any, *, by: str = "origin", ax: Any = None, **options: Any
    ) -> PatternWeightsDisplay:
        """Plot weights that there are.

        Parameters
        ----------
        dataset : SequenceDataset, or list or dict of them
            With weights.
        by, ax, **options
            As in :meth:`plot`.

        Returns
        -------
        PatternWeightsDisplay

        Raises
        ------
        ValueError
            If one has no weights, or no target.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr import SequenceDataset
        >>> from sklearn_dr4sr.plotting import PatternWeightsDisplay
        >>> data = SequenceDataset([[1, 2, 3]], weights=[1, 0.5, 2])
        >>> display = PatternWeightsDisplay.from_dataset({"SASRec": data}, ax=Figure().subplots())
        >>> display.groups_["SASRec"]["original"].tolist()
        [0.5, 2.0]
        """
        return cls(as_named("dataset", dataset)).plot(ax, by=by, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        by: str = "origin",
        n_patterns: int = 25,
        random_state: Any = None,
    ) -> PatternWeightsDisplay:
        """Draw the weights.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            One a data set; None: a figure of its own.
        by : {"origin", "length", "support", "position"}, default="origin"
            "position": weights as shades, a line a pattern, of some patterns drawn at random (the
            paper's picture). Else boxes: quartiles, whiskers from the 5th to the 95th percentile,
            and a diamond at the mean, of the targets of each group.
        n_patterns : int, default=25
            How many patterns "position" shows; of data sets with as many patterns the same ones.
        random_state : int, RandomState or None, default=None
            Draws them.

        Returns
        -------
        PatternWeightsDisplay

        Raises
        ------
        ValueError
            If ``by`` is unknown, ``n_patterns`` out of range, or the number of axes another.
        ImportError
            Without matplotlib.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr import SequenceDataset
        >>> from sklearn_dr4sr.plotting import PatternWeightsDisplay
        >>> data = SequenceDataset([[1, 2, 3]], weights=[1, 0.5, 2])
        >>> display = PatternWeightsDisplay({"SASRec": data})
        >>> display.plot(Figure().subplots(), by="position").groups_["SASRec"]["weights"].tolist()
        [[nan, 0.5, 2.0]]
        """
        if by not in (*LABELS, "position"):
            raise ValueError(f"by: expected one of {(*LABELS, 'position')}, got {by!r}")
        check_number("n_patterns", n_patterns, 1, integer=True)
        size = (2.4, 4.0) if by == "position" else (3.4, 3.2)
        axes = make_axes(ax, len(self.datasets), size=size, sharey=True)
        if by == "position":
            seed = check_random_state(random_state).randint(2**31)
            self._draw_shades(axes, n_patterns, seed)
        else:
            self._draw_boxes(axes, by)
        for ax, (name, dataset) in zip(axes, self.datasets.items(), strict=True):
            variance = dataset.weights[_is_target(dataset)].var()
            ax.set_title(f"{name}\nvariance {variance:.4f}", fontsize="medium")
        self.ax_, self.figure_ = axes, axes[0].figure
        return self

    def _draw_boxes(self, axes: np.ndarray, by: str) -> None:
        self.groups_ = {name: _groups(dataset, by) for name, dataset in self.datasets.items()}
        for ax, groups in zip(axes, self.groups_.values(), strict=True):
            boxes = ax.boxplot(
                list(groups.values()),
                whis=(5, 95),
                widths=0.6,
                showfliers=False,
                showmeans=True,
                patch_artist=True,
                medianprops={"color": "black", "linewidth": 1.6},
                meanprops={
                    "marker": "D",
                    "markersize": 4,
                    "markerfacecolor": "white",
                    "markeredgecolor": "black",
                },
            )
            for box, group in zip(boxes["boxes"], groups, strict=True):
                box.set_facecolor(ORIGIN_COLORS.get(group, PLAIN))
                if group == "original":  # the black median would be lost
                    box.set_alpha(0.6)
            turn = {"rotation": 40, "ha": "right"} if len(groups) > 6 else {}
            ax.set_xticks(np.arange(1, len(groups) + 1), list(groups), **turn)
            ax.set(xlabel=LABELS[by])
            despine(ax)
        axes[0].set_ylabel("weight of a target")

    def _draw_shades(self, axes: np.ndarray, n_patterns: int, seed: int) -> None:
        self.groups_ = {}
        for name, dataset in self.datasets.items():
            patterns, weights = dataset.patterns, dataset.weights
            several = np.flatnonzero(patterns.lengths > 1)
            order = np.random.RandomState(seed).permutation(len(several))[:n_patterns]
            matrix = np.full((len(order), int(patterns.lengths.max(initial=1))), np.nan)
            for line, pattern in enumerate(several[order]):
                first, stop = patterns.offsets[pattern : pattern + 2]
                matrix[line, 1 : stop - first] = weights[first + 1 : stop]
            longest = patterns.lengths[several[order]].max()
            self.groups_[name] = {"weights": matrix[:, :longest]}
        shown = [groups["weights"] for groups in self.groups_.values()]
        low, high = min(map(np.nanmin, shown)), max(map(np.nanmax, shown))
        for ax, matrix in zip(axes, shown, strict=True):
            extent = (0.5, matrix.shape[1] + 0.5, len(matrix) + 0.5, 0.5)
            shades = {"cmap": "viridis", "vmin": low, "vmax": high, "interpolation": "none"}
            image = ax.imshow(matrix, aspect="auto", extent=extent, **shades)
            ax.set(xlabel="position in the pattern")
            ax.xaxis.get_major_locator().set_params(integer=True)
            despine(ax)
        axes[0].set_ylabel("pattern")
        axes[0].figure.colorbar(image, ax=list(axes), label="weight")


def _is_target(dataset: SequenceDataset) -> np.ndarray:
    """Whether an item of a pattern is predicted: all but the first."""
    patterns = dataset.patterns
    mask = np.ones(len(patterns.codes), dtype=bool)
    mask[patterns.offsets[:-1][patterns.lengths > 0]] = False
    return mask


def _groups(dataset: SequenceDataset, by: str) -> dict[str, np.ndarray]:
    """Weights of the targets of each group, groups in order."""
    target, table = _is_target(dataset), dataset.table
    weights, pattern = dataset.weights[target], table.sequences.rows[target]
    if by == "origin":
        number, names = table.origin[pattern], ORIGINS
    else:
        values = table.sequences.lengths if by == "length" else table.support
        number, names = _doubling(values[pattern])
    return {names[i]: weights[number == i] for i in np.unique(number)}


def _doubling(values: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """Put values into the groups 0; 1; 2; 3; 4; 5-8; 9-16; ...: their numbers, and names."""
    number = np.where(values <= 4, values, np.ceil(np.log2(np.maximum(values, 1))).astype(int) + 2)
    names = {0: NOT_MINED} | {i: str(i) for i in range(1, 5)}
    names |= {i: f"{2 ** (i - 3) + 1}–{2 ** (i - 2)}" for i in range(5, 64)}
    return number, names
