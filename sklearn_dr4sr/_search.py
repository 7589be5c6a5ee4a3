"""The estimator within a search, whose ``predict`` has no ``k``."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted

__all__ = ["best_of"]


def best_of(estimator: Any) -> Any:
    """Give what a fitted search has chosen; any other estimator as it is.

    Raises
    ------
    NotFittedError, ValueError
        If a search is not fitted; if it does not refit, and so keeps no estimator.
    """
    if not hasattr(estimator, "refit"):
        return estimator
    if not estimator.refit:
        raise ValueError(
            f"{type(estimator).__name__} has refit={estimator.refit!r}, so it keeps no estimator"
        )
    check_is_fitted(estimator, "best_estimator_")
    return estimator.best_estimator_
