"""Axes to draw on, and colours that stay apart in grey; matplotlib is imported here alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

__all__ = [
    "COLORS",
    "GREY",
    "ORIGIN_COLORS",
    "as_named",
    "check_fitted",
    "despine",
    "line_styles",
    "make_axes",
    "text_color",
]

GREY = "0.45"
#: From dark to light, so that a stack reads in print, too; the hues are apart for the colour-blind.
ORIGIN_COLORS = {
    "original": "#1f3552",
    "mined": "#3f87b5",
    "regenerated": "#f0a43a",
    "augmented": "#dfe3b9",
}
COLORS = ("#1f3552", "#d1603d", "#3f87b5", "#8a9a2b", "#8d6bb0", "#f0a43a")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
MARKERS = "osD^vP"


def check_fitted(name: str, given: Any, attributes: str | None = None) -> None:
    """Raise TypeError unless ``given`` is an estimator, NotFittedError unless it is fitted."""
    if isinstance(given, type) or not hasattr(given, "fit"):
        raise TypeError(f"{name}: expected a fitted {name}, got {given!r:.80}")
    check_is_fitted(given, attributes)


def make_axes(ax: Any, n: int = 1, *, size: tuple[float, float] = (5.0, 3.4), **kwargs: Any) -> Any:
    """Take the axes that are given, or make a figure of ``n`` in a row, each of ``size`` inches.

    Returns
    -------
    ndarray of Axes, shape (n,)

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the number of axes is another.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError('plots need matplotlib: pip install "sklearn-dr4sr[plot]"') from None
    if ax is None:
        width, height = size
        _, axes = plt.subplots(
            1, n, figsize=(n * width, height), layout="constrained", squeeze=False, **kwargs
        )
        return axes[0]
    axes = np.array([ax] if np.ndim(ax) == 0 else ax, dtype=object).ravel()
    if len(axes) != n:
        raise ValueError(f"ax: this plot has {n} panel(s), got {len(axes)} axes")
    return axes


def despine(ax: Any) -> None:
    """Leave the frame out where no scale is."""
    ax.spines[["top", "right"]].set_visible(False)


def line_styles() -> Iterator[dict[str, Any]]:
    """Give colour, dashes and marker of one line after the other, without end."""
    number = 0
    while True:
        which = number % len(COLORS)
        yield {"color": COLORS[which], "linestyle": DASHES[which], "marker": MARKERS[which]}
        number += 1


def text_color(background: Any) -> str:
    """Give black or white, whichever is read on a background."""
    from matplotlib.colors import to_rgb

    return "black" if np.dot(to_rgb(background), (0.299, 0.587, 0.114)) > 0.55 else "white"


def as_named(what: str, given: Any) -> dict[str, Any]:
    """Take one thing, a list of things or a dict by name; a thing's name is that of its class.

    Raises
    ------
    ValueError
        If there is none.
    """
    if isinstance(given, dict):
        named = dict(given)
    else:
        things = list(given) if isinstance(given, (list, tuple)) else [given]
        names = [type(thing).__name__ for thing in things]
        named = {
            name if names.count(name) == 1 else f"{name} {number + 1}": thing
            for number, (name, thing) in enumerate(zip(names, things, strict=True))
        }
    if not named:
        raise ValueError(f"{what}: expected at least one, got {given!r}")
    return named
