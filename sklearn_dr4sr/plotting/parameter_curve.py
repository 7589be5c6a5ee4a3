"""ParameterCurveDisplay: what a search found for each value of one parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._style import check_fitted, despine, line_styles, make_axes

__all__ = ["ParameterCurveDisplay", "read_search", "short_name"]


class ParameterCurveDisplay:
    """Scores of a search over one of its parameters: K, γ, ... (Figures 6 and 7 of the paper).

    Use :meth:`from_search` to make one.

    Parameters
    ----------
    param : str
        Name of the parameter.
    values : list, length n_values
        What it was set to; numbers in rising order.
    scores : dict of str to ndarray of shape (n_values,)
        Mean score over the folds, by metric.
    deviations : dict of str to ndarray of shape (n_values,)
        Standard deviation over the folds.

    Attributes
    ----------
    ax_ : ndarray of matplotlib Axes, shape (n_metrics,)
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_dr4sr.baselines import SequentialRules
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.metrics import ranking_scorer
    >>> from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
    >>> from sklearn_dr4sr.plotting import ParameterCurveDisplay
    >>> split = leave_one_out(make_sequences(200, 50, random_state=0))
    >>> search = GridSearchCV(
    ...     SequentialRules(), {"max_gap": [1, 2, 5]}, cv=LeaveLastOut(),
    ...     scoring=ranking_scorer("recall@10", "ndcg@10"), refit="ndcg@10",
    ... ).fit(split.train, split.validation)
    >>> display = ParameterCurveDisplay.from_search(search, "max_gap")
    >>> display.values, sorted(display.scores)
    ([1, 2, 5], ['ndcg@10', 'recall@10'])
    """

    def __init__(
        self,
        param: str,
        values: list,
        scores: dict[str, np.ndarray],
        deviations: dict[str, np.ndarray],
    ) -> None:
        self.param = param
        self.values = values
        self.scores = scores
        self.deviations = deviations

    @classmethod
    def from_search(
        cls,
        search: Any,
        param: str,
        *,
        metrics: str | list[str] | None = None,
        fixed: dict[str, Any] | None = None,
        ax: Any = None,
    ) -> ParameterCurveDisplay:
        """Read a fitted search's ``cv_results_`` and plot.

        Parameters
        ----------
        search : GridSearchCV or RandomizedSearchCV
            Fitted, with one metric or several.
        param : str
            As in the grid: "regenerate__diversity_factor".
        metrics : str, list of str or None, default=None
            Of the search's metrics; None: all.
        fixed : dict of str to value, or None, default=None
            Values of other parameters; candidates that have others are left out. None: those of
            the best candidate, so that the curve passes through it. Of several candidates that are
            left for one value the best is drawn, metric by metric.
        ax : matplotlib Axes or array of them, default=None
            One a metric; None: a figure of its own.

        Returns
        -------
        ParameterCurveDisplay

        Raises
        ------
        NotFittedError
            If the search is not fitted.
        TypeError
            If it is none.
        ValueError
            If a parameter or metric is unknown; if ``fixed`` is None and the search has no best
            candidate (``refit=False`` with several metrics); if no candidate is left.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn.model_selection import GridSearchCV
        >>> from sklearn_dr4sr.baselines import SequentialRules
        >>> from sklearn_dr4sr.model_selection import LeaveLastOut
        >>> from sklearn_dr4sr.plotting import ParameterCurveDisplay
        >>> search = GridSearchCV(SequentialRules(), {"max_gap": [2, 1]}, cv=LeaveLastOut())
        >>> search = search.fit([[1, 2, 3], [2, 3, 1]], [1, 2])
        >>> ParameterCurveDisplay.from_search(search, "max_gap", ax=Figure().subplots()).values
        [1, 2]
        """
        values, scores, deviations = read_search(search, param, metrics, fixed)
        return cls(param, values, scores, deviations).plot(ax)

    def plot(self, ax: Any = None) -> ParameterCurveDisplay:
        """Draw a panel for each metric, with a ring around the best value.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            One a metric; None: a figure of its own.

        Returns
        -------
        ParameterCurveDisplay

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
        >>> from sklearn_dr4sr.plotting import ParameterCurveDisplay
        >>> scores = {"ndcg@20": np.array([0.1, 0.3])}
        >>> display = ParameterCurveDisplay("max_gap", [1, 2], scores, {"ndcg@20": np.zeros(2)})
        >>> display.plot(Figure().subplots()).ax_[0].get_ylabel()
        'ndcg@20'
        """
        axes = make_axes(ax, len(self.scores), size=(3.6, 3.0))
        numeric = _numeric(self.values)
        x = np.array(self.values, dtype=float) if numeric else np.arange(len(self.values))
        for ax, (metric, score), style in zip(
            axes, self.scores.items(), line_styles(), strict=False
        ):
            spread = self.deviations[metric]
            style["linestyle"] = style["linestyle"] if numeric else ""
            if spread.any():
                ax.errorbar(x, score, spread, capsize=3, **style)
            else:
                ax.plot(x, score, **style)
            best = int(np.argmax(np.nan_to_num(score, nan=-np.inf)))
            ring = {"marker": "o", "markersize": 12, "fillstyle": "none", "linestyle": ""}
            ax.plot(x[best], score[best], color=style["color"], **ring)
            ax.set(xlabel=self.param.split("__")[-1], ylabel=metric)
            if not numeric:
                ax.set_xticks(x, [short_name(value) for value in self.values])
                ax.set_xlim(-0.5, len(x) - 0.5)
            elif len(x) <= 10:
                ax.set_xticks(x, [f"{value:g}" for value in self.values])
            ax.margins(y=0.15)
            despine(ax)
        self.ax_, self.figure_ = axes, axes[0].figure
        return self


def read_search(
    search: Any,
    param: str,
    metrics: str | list[str] | None = None,
    fixed: dict[str, Any] | None = None,
) -> tuple[list, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Values of a parameter, and mean and deviation of each metric; see ``from_search``."""
    check_fitted("search", search, "cv_results_")
    results = search.cv_results_
    candidates = results["params"]
    known = [name.removeprefix("mean_test_") for name in results if "mean_test_" in name]
    wanted = known if metrics is None else [metrics] if isinstance(metrics, str) else metrics
    for metric in wanted:
        if metric not in known:
            raise ValueError(f"metrics: the search has {known}, got {metric!r}")
    if fixed is None:
        if not hasattr(search, "best_index_"):
            raise ValueError("the search has no best candidate: pass fixed={} or refit=")
        fixed = {k: v for k, v in candidates[search.best_index_].items() if k != param}
    for name in (param, *fixed):
        if f"param_{name}" not in results:
            varied = [key.removeprefix("param_") for key in results if "param_" in key[:6]]
            raise ValueError(f"{name!r} was not searched, but {varied}")
    left = [
        number
        for number, candidate in enumerate(candidates)
        if param in candidate
        and all(name in candidate and _same(candidate[name], v) for name, v in fixed.items())
    ]
    if not left:
        raise ValueError(f"no candidate has {fixed}")
    values: list = []
    of_value: list[list[int]] = []
    for number in left:
        value = candidates[number][param]
        place = next((i for i, other in enumerate(values) if _same(value, other)), len(values))
        if place == len(values):
            values.append(value)
            of_value.append([])
        of_value[place].append(number)
    if _numeric(values):
        order = np.argsort(values, kind="stable")
        values, of_value = [values[i] for i in order], [of_value[i] for i in order]
    scores, deviations = {}, {}
    for metric in wanted:
        mean, std = results[f"mean_test_{metric}"], results[f"std_test_{metric}"]
        rank = np.nan_to_num(mean, nan=-np.inf)  # a fit that failed
        best = [numbers[int(np.argmax(rank[numbers]))] for numbers in of_value]
        scores[metric], deviations[metric] = mean[best], std[best]
    return values, scores, deviations


def _numeric(values: list) -> bool:
    return all(
        isinstance(v, (int, float, np.number)) and not isinstance(v, (bool, np.bool_))
        for v in values
    )


def _same(one: Any, two: Any) -> bool:
    """Compare values of a grid: an estimator equals no other one, but is told by its parameters."""
    if _numeric([one, two]):
        return bool(one == two)
    return one is two or (type(one) is type(two) and repr(one) == repr(two))


def short_name(value: Any) -> str:
    """Name a value of a grid in a few letters."""
    text = value if isinstance(value, str) else repr(value).split("(")[0]
    return text if len(text) <= 20 else text[:19] + "…"
