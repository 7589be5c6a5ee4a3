"""LearningCurveDisplay: what a fit noted on its way: losses, validation, weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from .._search import best_of
from ._style import as_named, check_fitted, despine, line_styles, make_axes

__all__ = ["LearningCurveDisplay", "Panel"]


@dataclass
class Panel:
    """One pair of axes of a LearningCurveDisplay.

    Attributes
    ----------
    ylabel, xlabel : str
    lines : dict of str to (x, y), each an ndarray of shape (n_points,)
    spread : dict of str to ndarray of shape (n_points,)
        Half the width of a band around a line; not every line has one.
    best : dict of str to int
        Position in a line of what was kept; not every line has one.
    """

    ylabel: str
    xlabel: str
    lines: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    spread: dict[str, np.ndarray] = field(default_factory=dict)
    best: dict[str, int] = field(default_factory=dict)


class LearningCurveDisplay:
    """The course of a training: of a recommender, a regenerator or a personalizer.

    Use :meth:`from_estimator` to make one.

    Parameters
    ----------
    panels : list of Panel
        What is drawn side by side.

    Attributes
    ----------
    ax_ : ndarray of matplotlib Axes, shape (n_panels,)
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.model_selection import leave_one_out
    >>> from sklearn_dr4sr.plotting import LearningCurveDisplay
    >>> from sklearn_dr4sr.recommenders import SASRec
    >>> split = leave_one_out(make_sequences(200, 50, random_state=0))
    >>> model = SASRec(max_epochs=3, random_state=0).fit(split.train, split.validation)
    >>> display = LearningCurveDisplay.from_estimator(model)
    >>> [panel.ylabel for panel in display.panels]
    ['training loss', 'validation NDCG@20']
    """

    def __init__(self, panels: list[Panel]) -> None:
        self.panels = panels

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> LearningCurveDisplay:
        """Plot what fitted estimators have noted.

        Parameters
        ----------
        estimator : estimator, Pipeline, search, or list or dict of them
            Fitted, each with ``history_`` (neural recommenders, DatasetRegenerator) or
            ``upper_history_`` (DatasetPersonalizer). Of a search what it has chosen is
            taken, of a pipeline the last step. Several are drawn into the same panels, by name.
        ax : array of matplotlib Axes, default=None
            One a panel; None: a figure of its own.

        Returns
        -------
        LearningCurveDisplay

        Raises
        ------
        NotFittedError
            If one is not fitted.
        TypeError
            If one does not note its training.

        Notes
        -----
        Of a recommender: its training loss and, where it was given ``y``, NDCG@20 on it, with a
        ring around the epoch whose weights were kept. Of a regenerator: the negative log-likelihood
        of a token in both modes, and the entropies of the choice among the memories. Of a
        personalizer: the same of its recommender (the lower level), then for each upper step
        L_dev, the norm of the hypergradient before it is clipped, and mean and standard deviation
        of the weights in its batch.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr.plotting import LearningCurveDisplay
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> model = SASRec(max_epochs=2, random_state=0).fit([[1, 2, 3], [2, 3, 1]])
        >>> LearningCurveDisplay.from_estimator(model, ax=Figure().subplots()).panels[0].ylabel
        'training loss'
        """
        named = as_named("estimator", estimator)
        merged: dict[str, Panel] = {}
        for name, given in named.items():
            chosen = best_of(given)
            last = chosen[-1] if isinstance(chosen, Pipeline) else chosen
            for panel in _panels(last):
                into = merged.setdefault(panel.ylabel, Panel(panel.ylabel, panel.xlabel))
                for part in ("lines", "spread", "best"):
                    for line, values in getattr(panel, part).items():
                        label = line if len(named) == 1 else f"{name} {line}".strip()
                        getattr(into, part)[label] = values
        return cls(list(merged.values())).plot(ax)

    def plot(self, ax: Any = None) -> LearningCurveDisplay:
        """Draw the panels.

        Parameters
        ----------
        ax : array of matplotlib Axes, default=None
            One a panel; None: a figure of its own.

        Returns
        -------
        LearningCurveDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If the number of axes is another.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from sklearn_dr4sr.plotting import LearningCurveDisplay
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> model = SASRec(max_epochs=2, random_state=0).fit([[1, 2, 3], [2, 3, 1]], [1, None])
        >>> display = LearningCurveDisplay.from_estimator(model, ax=Figure().subplots(1, 2))
        >>> [ax.get_ylabel() for ax in display.plot(Figure().subplots(1, 2)).ax_]
        ['training loss', 'validation NDCG@20']
        """
        axes = make_axes(ax, len(self.panels), size=(3.4, 3.0))
        for ax, panel in zip(axes, self.panels, strict=True):
            for (name, (x, y)), style in zip(panel.lines.items(), line_styles(), strict=False):
                style["marker"] = "." if len(x) < 30 else ""
                (line,) = ax.plot(x, y, label=name or None, **style)
                if name in panel.spread:
                    low, high = y - panel.spread[name], y + panel.spread[name]
                    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
                if name in panel.best:
                    at = panel.best[name]
                    ring = {"marker": "o", "markersize": 9, "fillstyle": "none", "linestyle": ""}
                    ax.plot(x[at], y[at], color=line.get_color(), **ring)
            ax.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
            ax.xaxis.get_major_locator().set_params(integer=True)
            if any(panel.lines):
                ax.legend(frameon=False)
            despine(ax)
        self.ax_, self.figure_ = axes, axes[0].figure
        return self


def _panels(estimator: Any) -> Iterator[Panel]:
    """Lay out what one estimator has noted; a line without a name is its panel's only one."""
    check_fitted("estimator", estimator)
    if hasattr(estimator, "upper_history_"):
        yield from _panels(estimator.recommender_)
        yield from _upper_panels(estimator.upper_history_)
        return
    history = getattr(estimator, "history_", None)
    if not history:
        raise TypeError(f"{type(estimator).__name__} notes nothing of its training in history_")
    if "restrictive" in history[0]:
        loss = Panel("loss, nats a token", "epoch")
        entropy = Panel("entropy of the memories, nats", "epoch")
        loss.lines = {name: _line(history, name) for name in ("restrictive", "generative")}
        entropy.lines = {
            "of their mean use": _line(history, "usage_entropy"),
            "of a pattern's choice": _line(history, "choice_entropy"),
        }
        yield from (loss, entropy)
        return
    yield Panel("training loss", "epoch", {"": _line(history, "train_loss")})
    if "valid_ndcg" in history[0]:
        panel = Panel("validation NDCG@20", "epoch", {"": _line(history, "valid_ndcg")})
        panel.best[""] = estimator.best_epoch_ - 1
        yield panel


def _upper_panels(history: list[dict[str, float]]) -> Iterator[Panel]:
    if not history:  # training ended before the first upper step
        return
    step = "lower steps since the warm-up"
    yield Panel("L_dev, upper loss", step, {"": _line(history, "dev_loss", "step")})
    yield Panel("norm of the hypergradient", step, {"": _line(history, "gradient_norm", "step")})
    weight = Panel("weight, mean ± std", step, {"": _line(history, "weight_mean", "step")})
    weight.spread[""] = _line(history, "weight_std", "step")[1]
    yield weight


def _line(
    history: list[dict[str, float]], name: str, place: str = "epoch"
) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array([entry[key] for entry in history]) for key in (place, name))
