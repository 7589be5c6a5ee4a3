"""RelativeScoreDisplay: what variants gain or lose against one of them, on several data sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._style import COLORS, GREY, despine, make_axes
from .parameter_curve import read_search, short_name

__all__ = ["RelativeScoreDisplay"]


class RelativeScoreDisplay:
    """Scores of variants over a baseline's, a group of bars a data set (Figure 5 of the paper).

    Parameters
    ----------
    scores : dict of str to dict of str to float or array of shape (n_seeds,)
        By data set (or model, or whatever else there are several of), then by variant.
    baseline : str or None, default=None
        The variant that all are divided by; None: the first of the first data set.
    metric : str, default="score"
        What the scores are.

    Attributes
    ----------
    relative : dict of str to dict of str to ndarray of shape (n_seeds,)
        Each score over the mean of the baseline's on the same data set.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Raises
    ------
    ValueError
        If there is no score, a data set has no baseline, or the baseline's mean is not above 0.

    Examples
    --------
    The paper's N@20 of CL4SRec, its views drawn from original and from regenerated sequences:

    >>> from sklearn_dr4sr.plotting import RelativeScoreDisplay
    >>> display = RelativeScoreDisplay({
    ...     "Beauty": {"original": 0.0427, "regenerated": 0.0495},
    ...     "Toys": {"original": 0.0542, "regenerated": 0.0549},
    ... }, metric="ndcg@20")
    >>> {name: round(float(of["regenerated"][0]), 3) for name, of in display.relative.items()}
    {'Beauty': 1.159, 'Toys': 1.013}
    """

    def __init__(
        self,
        scores: dict[str, dict[str, Any]],
        baseline: str | None = None,
        *,
        metric: str = "score",
    ) -> None:
        if not scores or not all(scores.values()):
            raise ValueError(f"scores: expected variants for each data set, got {scores!r}")
        self.baseline = next(iter(next(iter(scores.values())))) if baseline is None else baseline
        self.metric = metric
        self.relative = {}
        for name, variants in scores.items():
            if self.baseline not in variants:
                raise ValueError(f"{name}: expected a score of {self.baseline!r}, got {variants!r}")
            mean = np.mean(variants[self.baseline])
            if not mean > 0:
                raise ValueError(f"{name}: the baseline's mean must be above 0, got {mean}")
            self.relative[name] = {
                variant: np.atleast_1d(np.asarray(score, dtype=float)) / mean
                for variant, score in variants.items()
            }

    @classmethod
    def from_search(
        cls,
        search: Any,
        param: str,
        *,
        metric: str | None = None,
        baseline: str | None = None,
        ax: Any = None,
    ) -> RelativeScoreDisplay:
        """Read fitted searches, one a data set, over one parameter, and plot.

        Parameters
        ----------
        search : dict of str to GridSearchCV or RandomizedSearchCV
            Fitted. Of other parameters the values of the best candidate count.
        param : str
            As in the grid, ``"recommend__graph"`` of a GNN say: its values are the variants, by
            their names.
        metric : str or None, default=None
            Of the searches' metrics; None: the one that they refit by, "score" where there is one.
        baseline : str or None, default=None
            Name of a value; None: the first.
        ax : matplotlib Axes, default=None

        Returns
        -------
        RelativeScoreDisplay

        Raises
        ------
        NotFittedError
            If a search is not fitted.
        ValueError
            If the parameter, metric or baseline is unknown, or a search has no best candidate.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn.model_selection import GridSearchCV
        >>> from sklearn_dr4sr.baselines import SequentialRules
        >>> from sklearn_dr4sr.model_selection import LeaveLastOut
        >>> from sklearn_dr4sr.plotting import RelativeScoreDisplay
        >>> search = GridSearchCV(SequentialRules(), {"max_gap": [1, 2]}, cv=LeaveLastOut())
        >>> search = search.fit([[1, 2, 3], [1, 2]], [None, 3])
        >>> display = RelativeScoreDisplay.from_search(
        ...     {"tiny": search}, "max_gap", ax=Figure().subplots()
        ... )
        >>> list(display.relative["tiny"])
        ['1', '2']
        """
        scores: dict[str, dict[str, Any]] = {}
        for name, fitted in search.items():
            check_is_fitted(fitted, "cv_results_")
            if metric is None:
                metric = fitted.refit if isinstance(fitted.refit, str) else "score"
            values, found, _ = read_search(fitted, param, [metric])
            names = list(map(short_name, values))
            if len(set(names)) < len(names):  # estimators of one class
                names = list(map(repr, values))
            scores[name] = dict(zip(names, found[metric], strict=True))
        return cls(scores, baseline, metric=metric or "score").plot(ax)

    def plot(self, ax: Any = None) -> RelativeScoreDisplay:
        """Draw bars that rise and fall from the baseline's line.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a figure of its own.

        Returns
        -------
        RelativeScoreDisplay

        Raises
        ------
        ImportError
            Without matplotlib.

        Notes
        -----
        With several seeds a bar ends at the mean, and its whiskers, as the shade around the
        baseline, show a standard deviation to either side.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr.plotting import RelativeScoreDisplay
        >>> display = RelativeScoreDisplay({"Toys": {"original": [0.4, 0.6], "mined": [0.5, 0.7]}})
        >>> display.plot(Figure().subplots()).ax_.get_ylabel()
        'score over that of original'
        """
        (ax,) = make_axes(ax)
        others = dict.fromkeys(
            variant
            for variants in self.relative.values()
            for variant in variants
            if variant != self.baseline
        )
        width = 0.8 / max(1, len(others))
        ax.axhline(1, color=GREY, linewidth=1, label=self.baseline)
        for group, variants in enumerate(self.relative.values()):
            spread = variants[self.baseline].std()
            shade = {"color": GREY, "alpha": 0.25, "linewidth": 0}
            ax.fill_between([group - 0.45, group + 0.45], 1 - spread, 1 + spread, **shade)
        for number, variant in enumerate(others):
            there = [g for g, of in enumerate(self.relative.values()) if variant in of]
            found = [of[variant] for of in self.relative.values() if variant in of]
            several = any(len(values) > 1 for values in found)
            ax.bar(
                np.array(there) + (number - (len(others) - 1) / 2) * width,
                [values.mean() - 1 for values in found],
                0.9 * width,
                bottom=1,
                yerr=[values.std() for values in found] if several else None,
                capsize=3,
                color=COLORS[number % len(COLORS)],
                label=variant,
            )
        ax.set_xticks(range(len(self.relative)), list(self.relative))
        ax.set_xlim(-0.6, len(self.relative) - 0.4)
        ax.use_sticky_edges = False  # the baseline's line is not to be the frame
        ax.margins(y=0.25)
        ax.set_ylabel(f"{self.metric} over that of {self.baseline}")
        ax.legend(frameon=False)
        despine(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self
