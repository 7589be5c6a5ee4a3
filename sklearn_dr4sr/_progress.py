"""Progress of long steps: printed lines with the time left, and tasks for sklearn's callbacks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np
from skorch.callbacks import Callback

try:  # scikit-learn 1.9 and later
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:
        """Without ``set_callbacks``."""

    def with_callbacks(method: Callable) -> Callable:
        """Leave ``fit`` as it is."""
        return method


__all__ = ["EpochTasks", "ReportsProgress", "TimeLeft", "Timer", "subtask", "tracked"]

#: Seconds between two lines of a :class:`Timer`.
EVERY = 5.0


class Timer:
    """Print how far a loop is, and how long it will take, every few seconds.

    Parameters
    ----------
    label : str
    total : float
        Of what each call tells how much is done.
    verbose : int
        0 prints nothing.
    """

    def __init__(self, label: str, total: float, verbose: int) -> None:
        self.label = label
        self.total = total
        self.verbose = verbose
        self.started = self.printed = perf_counter()

    def __call__(self, done: float) -> None:
        """Note that so much is done."""
        now = perf_counter()
        if self.verbose > 0 and 0 < done < self.total and now - self.printed >= EVERY:
            self.printed = now
            left = (now - self.started) * (self.total / done - 1)
            print(f"{self.label}: {done / self.total:.0%}, {left / 60:.1f} minutes left")


class TimeLeft(Callback):
    """Record the minutes that the remaining epochs would take, as "min_left"."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Multiply the mean epoch by the epochs left; early stopping may end sooner."""
        seconds = float(np.mean(net.history[-5:, "dur"]))
        net.history.record("min_left", seconds * (net.max_epochs - len(net.history)) / 60)


class ReportsProgress(CallbackSupportMixin):
    """An estimator whose ``fit`` is :func:`tracked`."""

    def _n_subtasks(self) -> int:
        """Tell how many tasks ``fit`` consists of at most, 0 for one alone."""
        return 0


def tracked(fit: Callable) -> Callable:
    """Make a ``fit`` a task of scikit-learn's callbacks, where it has them (``set_callbacks``)."""

    @with_callbacks
    @functools.wraps(fit)
    def tracked_fit(self: Any, X: Any, y: Any = None) -> Any:
        if not hasattr(self, "_init_callback_context"):
            return fit(self, X, y)
        task = self._init_callback_context(max_subtasks=self._n_subtasks())
        task.call_on_fit_task_begin(estimator=self, X=X, y=y)
        fitted = fit(self, X, y)
        # no attributes to be replaced: by now the estimator is fitted
        task.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return fitted

    return tracked_fit


@contextmanager
def subtask(estimator: Any, name: str, n_subtasks: int = 0) -> Iterator[Any]:
    """Make what is done inside a part of the estimator's ``fit``; gives its context, or None."""
    parent = getattr(estimator, "_callback_fit_ctx", None)
    if parent is None:
        yield None
        return
    task = parent.subcontext(task_name=name, max_subtasks=n_subtasks)
    yield task.call_on_fit_task_begin(estimator=estimator)
    task.call_on_fit_task_end(estimator=estimator)


class EpochTasks(Callback):
    """Make each epoch of a skorch net a task; stop where one of the callbacks says so.

    Parameters
    ----------
    estimator : estimator
    context : CallbackContext or None
        What the epochs are parts of.
    """

    # names that end in _ are no parameters to skorch
    def __init__(self, estimator: Any, context: Any) -> None:
        self.estimator_ = estimator
        self.context_ = context
        self.stopped_ = False
        self.task_ = None

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin a task."""
        if self.context_ is not None:
            self.task_ = self.context_.subcontext(task_name="epoch")
            self.task_.call_on_fit_task_begin(estimator=self.estimator_)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """End it."""
        self.stopped_ = self._end()
        if self.stopped_:
            raise KeyboardInterrupt  # how skorch's own callbacks stop, too

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """End that of an epoch with which another callback has ended the training."""
        self._end()

    def _end(self) -> bool:
        task, self.task_ = self.task_, None
        return task is not None and task.call_on_fit_task_end(estimator=self.estimator_)
