"""What stands in a ``callbacks=`` parameter, made ready for one fit."""

from __future__ import annotations

import copy
from typing import Any

__all__ = ["fresh_callbacks"]


def fresh_callbacks(callbacks: Any) -> list[Any]:
    """Copy skorch callbacks, so that a fit changes no parameter; make those given as a callable.

    Parameters
    ----------
    callbacks : list or None
        Of skorch callbacks, or of callables without arguments that return one (a class is one), or
        of pairs (name, one of these).

    Returns
    -------
    list of callbacks or of pairs (name, callback)
        The copies are shallow: an open writer that a callback holds is still the same one.

    Raises
    ------
    TypeError
        If it is none of this.
    """
    if callbacks is None:
        return []
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"callbacks: expected a list of skorch callbacks, got {callbacks!r}")
    fresh = []
    for entry in callbacks:
        named = isinstance(entry, (list, tuple)) and len(entry) == 2
        callback = entry[1] if named else entry
        if isinstance(callback, type) or not hasattr(callback, "on_train_begin"):
            if not callable(callback):
                raise TypeError(
                    "callbacks: expected skorch callbacks, or callables that return one, got "
                    f"{callback!r}"
                )
            made = callback()
            if not hasattr(made, "on_train_begin"):
                raise TypeError(f"callbacks: {callback!r} made no skorch callback but {made!r}")
            callback = made
        else:
            callback = copy.copy(callback)
        fresh.append((entry[0], callback) if named else callback)
    return fresh
