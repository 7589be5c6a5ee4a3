"""Running torch without leaving a trace: device, seed and denormals, for one call only."""

from __future__ import annotations

import contextvars
import ctypes
import os
import threading
import warnings
from collections.abc import Callable
from functools import cache
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import torch

from ._parameters import is_integer

__all__ = ["interrupt_arrived", "isolated", "resolve_device", "seed_of"]

T = TypeVar("T")

#: torch's generators are the process's, not a thread's: two calls at once would draw from the same.
_ONE_AT_A_TIME = threading.Lock()
#: Whether this code runs inside such a call already (a callback that fits something, say).
_INSIDE = contextvars.ContextVar("inside", default=False)
#: Set when the code inside has noticed that the caller was interrupted.
_ARRIVED: contextvars.ContextVar[threading.Event] = contextvars.ContextVar("arrived")
#: Seconds after which an interrupt that did not arrive is sent again.
SEND_AGAIN = 1.0


def _forget_the_parent() -> None:
    """After a fork, free the lock that a thread holds which the child process does not have."""
    global _ONE_AT_A_TIME
    _ONE_AT_A_TIME = threading.Lock()
    _INSIDE.set(False)
    _ARRIVED.set(threading.Event())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_the_parent)


def resolve_device(device: str) -> torch.device:
    """Device for a ``device=`` parameter: "auto" is cuda where there is one.

    Raises
    ------
    ValueError
        If torch does not know the device, or this machine does not have it.
    """
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(f"device: expected 'auto', 'cpu', 'cuda', ..., got {device!r}") from None
    try:
        torch.empty(1, device=resolved).item()  # "meta" has no numbers
    except Exception as error:  # each backend has errors of its own
        raise ValueError(
            f"device={device!r}, but torch finds no {resolved} device ({error}); use 'auto' or "
            "'cpu'"
        ) from None
    return resolved


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Draw a seed: fresh entropy for None, so that numpy's global state stays untouched."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0] // 2)
    if is_integer(random_state):
        if not 0 <= random_state < 2**32:
            raise ValueError(f"random_state must lie in 0 .. 2**32 - 1, got {random_state}")
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    raise ValueError(f"random_state: expected an int, a RandomState or None, got {random_state!r}")


def interrupt_arrived() -> None:
    """Say, where a KeyboardInterrupt is handled inside of ``isolated``, that no other is needed."""
    arrived = _ARRIVED.get(None)
    if arrived is not None:
        arrived.set()


def isolated(function: Callable[[], T], *, seed: int, device: torch.device) -> T:
    """Call ``function`` with its own seed and flushed denormals, and leave nothing changed.

    A confident softmax over a catalogue makes denormal floats, which slow a CPU fifteenfold. The
    switch that flushes them to zero belongs to one thread, and torch's worker threads take it over
    from the thread that starts them. So the work runs in a fresh thread: its workers are new too,
    all of them flush, and the caller's threads keep their setting.

    Calls from several threads run one after the other, each as if it were alone; for two trainings
    at once take processes (``n_jobs``).

    Parameters
    ----------
    function : callable without arguments
    seed : int
        Seed of torch's generators for the call; the caller's generators are restored after it.
    device : torch.device
        Device whose generator is seeded along with the CPU's.

    Returns
    -------
    object
        What ``function`` returned; what it raised is raised here. A KeyboardInterrupt in the
        caller is passed on to the function, which may end in its own time once it has called
        ``interrupt_arrived``. Until then it is sent again: Python loses an exception that comes
        while a finalizer runs.
    """
    if not _INSIDE.get():
        with _ONE_AT_A_TIME:
            _make_first_optimizer()
            context = contextvars.copy_context()
            context.run(_INSIDE.set, True)
            return _in_own_thread(function, seed, device, context)
    return _in_own_thread(function, seed, device, contextvars.copy_context())


@cache
def _make_first_optimizer() -> None:
    """Take back what a process's first optimizer sets: torch imports its compiler then."""
    variable = "TORCHINDUCTOR_CACHE_DIR"
    before = os.environ.get(variable)
    with warnings.catch_warnings():
        torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    if before is None:
        os.environ.pop(variable, None)


def _in_own_thread(
    function: Callable[[], T], seed: int, device: torch.device, context: contextvars.Context
) -> T:
    outcome: dict[str, Any] = {}
    done, arrived = threading.Event(), threading.Event()
    context.run(_ARRIVED.set, arrived)
    cuda = [device] if device.type == "cuda" else []

    def work() -> None:
        torch.set_flush_denormal(True)
        try:
            with torch.random.fork_rng(devices=cuda):
                torch.manual_seed(seed)
                outcome["value"] = context.run(function)
        except BaseException as error:
            outcome["error"] = error
        finally:
            done.set()

    thread = threading.Thread(target=work, name="sklearn_dr4sr", daemon=True)
    thread.start()
    # an event, since an interrupted Thread.join may take a running thread for ended; and waits of
    # bounded length, since an endless one does not notice an interrupt everywhere
    sent = None
    while not done.is_set():
        interrupted = False
        try:
            done.wait(0.2)
        except KeyboardInterrupt:
            interrupted = True
            interrupt_arrived()  # of a call around this one
        lost = sent is not None and not arrived.is_set() and monotonic() - sent > SEND_AGAIN
        if interrupted or lost:
            sent = monotonic()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
            )
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]
