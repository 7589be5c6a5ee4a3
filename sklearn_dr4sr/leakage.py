"""A check that what is held out for validation and testing stays out of an estimator."""

from __future__ import annotations

import logging
import threading
import types
from collections import deque
from collections.abc import Iterator, Mapping, MappingView
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib import Memory
from sklearn.base import clone

from .baselines.infinite_ae import L2_GRID
from .dataset import SequenceDataset
from .model_selection import LeaveOneOutSplit
from .sequences import Sequences, as_items, as_sequences

__all__ = ["check_no_leakage"]

#: Ids that no catalogue holds, and that no count equals: exact in float32, too.
INTEGER_MARKERS = (2**50 + 2**30, 2**50 + 2**31)
TEXT_MARKERS = ("leakage marker: validation", "leakage marker: test")
#: Of a Pipeline's steps and others' inner estimators too: one epoch leaves nothing to choose by y.
WITHOUT_SELECTION = {"max_epochs": 1, "warmup_epochs": 0}
#: What holds no data of a fit.
OPAQUE = (type, types.ModuleType, threading.Thread, logging.Logger, Memory)
#: Of a data set; reading them makes the patterns.
PARTS = ("histories", "table", "weights")
#: What histories note of each epoch besides the training: how long it took, and its score on y.
NOTES = ("dur", "valid_ndcg", "valid_ndcg_best")


def check_no_leakage(
    estimator: Any,
    split: LeaveOneOutSplit,
    *,
    without_selection: dict[str, Any] | None = None,
) -> None:
    """Assert that held-out items cannot enter an estimator, whatever they are.

    Two checks, each of clones of the estimator:

    1. *Markers.* In every other row the held-out items are replaced by items that occur nowhere
       else. After ``fit(train, validation)``, ``predict(history)`` and ``score(history, test)``
       these must not be found in anything that is reached from the estimator (fitted attributes,
       networks, graphs, weights, closures), in what its steps make of the training rows, or in a
       ranking.
    2. *y.* With what ``y`` may decide turned off, models that are fitted with ``y``, with ``y``
       permuted and with markers in ``y`` must be identical: equal arrays, numbers and texts
       everywhere, patterns, weights and rankings. ``dur`` and ``valid_ndcg`` of a ``history_`` may
       differ, and numbers and texts (durations, addresses) that differ without a change of ``y``.

    Parameters
    ----------
    estimator : estimator
        A recommender or a transformer, of this package or your own, a Pipeline or a search of
        them. It is cloned, never fitted. Where a ``random_state`` is None, 0 is taken.
    split : LeaveOneOutSplit
        As ``leave_one_out`` or ``global_time_split`` makes it; small is enough. Not modified.
    without_selection : dict or None, default=None
        Parameters that turn off what ``y`` may decide (early stopping), set where the name is a
        parameter's, or the end of one (after "__"). None: ``max_epochs=1, warmup_epochs=0``, since
        of one epoch there is none to choose; and of an ``l2`` that is chosen by ``y`` its first
        candidate.

    Raises
    ------
    AssertionError
        What leaked, and where it was found.
    ValueError
        If the split holds nothing to plant a marker in, or two fits of the same data differ, so
        that nothing can be said.

    Notes
    -----
    Fits once with the estimator's own parameters and four times without selection. A search
    chooses parameters by ``y``, as it should: its second check is that of ``best_estimator_``.
    What is written to disk (``memory``, checkpoints) is not searched; nor what cannot be read
    without using it up or at all: generators and other iterators, the state of C extensions that
    offer neither a buffer nor ``to_numpy`` nor ``__array__``, modules' variables, threads. Of
    classes the attributes of those that have ``fit`` are searched.

    Passing says nothing about what a split itself lets through: under leave-one-out the last
    training items of one row may be later than the test items of another.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import MarkovChain
    >>> from sklearn_dr4sr.leakage import check_no_leakage
    >>> from sklearn_dr4sr.model_selection import leave_one_out
    >>> split = leave_one_out([[1, 2, 3, 4], [2, 3, 4, 1], [3, 4, 1, 2]])
    >>> check_no_leakage(MarkovChain(), split)
    >>> class Cheat(MarkovChain):
    ...     def fit(self, X, y=None):
    ...         return super().fit([[*row, item] for row, item in zip(X, y)])
    >>> check_no_leakage(Cheat(), split)
    Traceback (most recent call last):
    ...
    AssertionError: the held-out validation item leaked: 1125900980584448 in Cheat.items_[4]
    """
    if not all(hasattr(split, part) for part in LeaveOneOutSplit._fields):
        raise TypeError(
            f"split: expected one that leave_one_out or global_time_split made, got {split!r:.80}"
        )
    _check_split(split)
    planted, markers = _plant(split)
    model = clone(estimator)
    model.fit(planted.train, planted.validation)
    _assert_unmarked(model, markers, type(model).__name__)
    if hasattr(model, "predict"):
        ranking = model.predict(planted.history)
        _assert_unmarked(ranking, markers, f"{type(model).__name__}.predict(history)")
        if hasattr(model, "score"):
            model.score(planted.history, planted.test)
        _assert_unmarked(model, markers, f"{type(model).__name__} after predict")
    for where, made in _transformed(model, planted.train):
        _assert_unmarked(made, markers, where)
    _check_y(getattr(model, "best_estimator_", estimator), split, planted, without_selection)


def _check_split(split: LeaveOneOutSplit) -> None:
    """Assert that training rows end where the held-out items begin."""
    train, history = as_sequences(split.train), as_sequences(split.history)
    validation = as_items(split.validation, len(train))
    unused = set(train.items.tolist()) - set(train.compact().items.tolist())
    if unused:
        raise AssertionError(
            f"split.train knows items that none of its rows holds, such as {next(iter(unused))!r}: "
            "call its compact()"
        )
    for row, item in enumerate(validation):
        n_train = int(train.lengths[row])
        if item is not None and (
            n_train >= history.lengths[row] or history[row][: n_train + 1] != [*train[row], item]
        ):
            raise AssertionError(
                f"split, row {row}: the history must hold the training items and then the "
                f"validation item {item!r}; the training items are {train[row]}"
            )


def _plant(split: LeaveOneOutSplit) -> tuple[LeaveOneOutSplit, dict[Any, str]]:
    """Replace the held-out items of every other row; the markers, and what they mark."""
    train, history = as_sequences(split.train), as_sequences(split.history)
    validation = as_items(split.validation, len(history))
    test = as_items(split.test, len(history))
    first, second = TEXT_MARKERS if history.items.dtype == object else INTEGER_MARKERS
    rows = [row for row, item in enumerate(validation) if item is not None][::2]
    if not rows:
        raise ValueError("split: no row has a validation item to plant a marker in")
    histories = list(history)
    for row in rows:
        histories[row][int(train.lengths[row])] = validation[row] = first
        test[row] = None if test[row] is None else second
    planted = LeaveOneOutSplit(train, validation, Sequences(histories), test)
    return planted, {first: "validation", second: "test"}


def _transformed(model: Any, X: Any) -> Iterator[tuple[str, Any]]:
    """Yield what each step of a fitted estimator makes of the training rows, and where."""
    model = getattr(model, "best_estimator_", model)
    if not hasattr(model, "steps"):
        if hasattr(model, "transform"):
            yield f"{type(model).__name__}.transform(train)", model.transform(X)
        return
    for name, step in model.steps:
        if hasattr(step, "transform"):
            X = step.transform(X)
            yield f"{type(model).__name__}[{name!r}].transform(train)", X


def _assert_unmarked(value: Any, markers: dict[Any, str], where: str) -> None:
    for path, leaf in _leaves(value, where):
        for marker, part in markers.items():
            found = _find(leaf, marker)
            if found is not None:
                raise AssertionError(
                    f"the held-out {part} item leaked: {marker!r} in {path}{found}"
                )


def _find(leaf: Any, marker: Any) -> str | None:
    """Where a leaf holds the marker: an index as text, "" for the leaf itself, None for nowhere."""
    if isinstance(leaf, np.ndarray):
        if leaf.dtype.kind in "iufc" and not isinstance(marker, str):
            hit = np.argwhere(leaf == marker)
        elif leaf.dtype.kind in "US":
            text = leaf if leaf.dtype.kind == "U" else np.char.decode(leaf, "utf-8", "replace")
            hit = np.argwhere(np.char.find(text, str(marker)) >= 0)
        else:
            return None
        return None if len(hit) == 0 else str(hit[0].tolist()) if leaf.ndim else ""
    if isinstance(leaf, bytes):
        return "" if str(marker).encode() in leaf else None
    if isinstance(leaf, str):
        return "" if str(marker) in leaf else None
    if isinstance(leaf, range):
        return "" if marker in leaf else None
    return "" if not isinstance(marker, str) and leaf == marker else None


def _check_y(
    estimator: Any,
    split: LeaveOneOutSplit,
    planted: LeaveOneOutSplit,
    without_selection: dict[str, Any] | None,
) -> None:
    """Assert that fits that differ in y alone are identical."""
    estimator = _settled(clone(estimator), without_selection)
    name = type(estimator).__name__
    y = as_items(split.validation, len(planted.validation))
    known = np.flatnonzero([item is not None for item in y])
    permuted = y.copy()
    permuted[known] = np.random.default_rng(0).permutation(y[known])
    plain = _state(clone(estimator).fit(split.train, y), split)
    again = _state(clone(estimator).fit(split.train, y), split)
    noise = dict(_differences(plain, again))
    for path, different in noise.items():
        if isinstance(plain.get(path, again.get(path)), np.ndarray):
            raise ValueError(
                f"two fits of {name} on the same data, with the same random_state, differ in "
                f"{different}: what y changes cannot be told"
            )
    for what, other in {"permuted": permuted, "with unknown items": planted.validation}.items():
        fitted = clone(estimator).fit(split.train, other)
        for path, different in _differences(plain, _state(fitted, split)):
            if path not in noise:
                raise AssertionError(
                    f"y changes more than when training stops: fitted with y {what}, {name} "
                    f"differs in {different}"
                )


def _settled(estimator: Any, without_selection: dict[str, Any] | None) -> Any:
    """Turn off what y may decide, and fix the seeds."""
    chosen = WITHOUT_SELECTION if without_selection is None else without_selection
    settled = {}
    for name, value in estimator.get_params().items():
        last = name.rpartition("__")[2]
        if last in chosen:
            settled[name] = chosen[last]
        elif last == "random_state" and value is None:
            settled[name] = 0
        elif last == "l2" and without_selection is None:
            if isinstance(value, str):
                settled[name] = L2_GRID[0]
            elif np.ndim(value):
                settled[name] = value[0]
    return estimator.set_params(**settled)


def _state(model: Any, split: LeaveOneOutSplit) -> dict[str, Any]:
    """Every leaf of a fitted model and of what it gives, by where it stands."""
    name = type(model).__name__
    given = {name: model, **dict(_transformed(model, split.train))}
    for method in ("predict", "decision_function"):
        if hasattr(model, method):
            given[f"{name}.{method}(history)"] = getattr(model, method)(split.history)
    return {
        path: leaf
        for where, value in given.items()
        for path, leaf in _leaves(value, where)
        if not path.endswith(tuple(f"[{note!r}]" for note in NOTES))
    }


def _differences(one: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where two states differ, and that in words."""
    for path in [*one, *(path for path in other if path not in one)]:
        a, b = one.get(path), other.get(path)
        if a is None or b is None:
            yield path, f"{path}, which only one of them has"
        elif getattr(a, "shape", ()) != getattr(b, "shape", ()):
            yield path, f"{path}, of shape {np.shape(a)} and {np.shape(b)}"
        elif not _same(a, b):
            yield path, path


def _same(a: Any, b: Any) -> bool:
    """Whether two leaves of one shape are equal; the elements of objects are leaves themselves."""
    if not isinstance(a, np.ndarray):
        return type(a) is type(b) and (a == b or (a != a and b != b))
    return a.dtype == b.dtype and (a.dtype == object or a.tobytes() == b.tobytes())


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Walk all that is reached from a value: arrays, numbers and texts with the way to each.

    Tensors, frames, buffers and sparse matrices come as arrays. Iterative, since nets nest deeply;
    what is met twice is walked once.
    """
    met, stack = {}, [(path, value)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, (str, bytes, int, float, complex, range, np.generic)):
            yield path, value
            continue
        if value is None or isinstance(value, OPAQUE) or id(value) in met:
            continue
        met[id(value)] = value  # held, so that no other object takes over the id
        array = _as_array(value)
        if isinstance(array, bytes):
            yield path, array
        elif array is not None:
            yield path, array
            if array.dtype == object:
                stack += [(f"{path}[{i}]", v) for i, v in enumerate(array.ravel().tolist())]
            for part in array.dtype.names or ():
                stack.append((f"{path}[{part!r}]", array[part]))
            for part in ("index", "columns", "name"):  # of a frame
                if hasattr(type(value), "to_numpy") and hasattr(value, part):
                    stack.append((f"{path}.{part}", getattr(value, part)))
        elif isinstance(value, SequenceDataset):
            stack += [(f"{path}.{part}", getattr(value, part)) for part in PARTS]
        else:
            children = list(_children(value))
            stack += [(path + step, child) for step, child in reversed(children)]


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield f"[key {key!r}]", key
            yield f"[{key!r}]", child
    elif isinstance(value, (list, tuple, set, frozenset, deque, MappingView)):
        for number, child in enumerate(value):
            yield f"[{number}]", child
    elif isinstance(value, partial):
        yield ".func", value.func
        yield ".args", value.args
        yield ".keywords", value.keywords
    elif isinstance(value, (types.MethodType, types.BuiltinMethodType)):
        yield ".__self__", value.__self__
    elif isinstance(value, types.FunctionType):
        yield ".__defaults__", value.__defaults__
        yield ".__kwdefaults__", value.__kwdefaults__
        names = value.__code__.co_freevars
        for name, cell in zip(names, value.__closure__ or (), strict=True):
            if cell != types.CellType():  # an empty one has no contents to read
                yield f".<{name}>", cell.cell_contents
        return
    for name, child in getattr(value, "__dict__", {}).items():
        yield f".{name}", child
    if hasattr(type(value), "fit"):
        for base in type(value).__mro__:
            for name, child in vars(base).items():
                if not name.startswith("__") and not hasattr(child, "__get__"):
                    yield f".{base.__name__}.{name}", child
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and not name.startswith("__"):
                yield f".{name}", getattr(value, name)


def _as_array(value: Any) -> np.ndarray | bytes | None:
    """Take tensors, frames and buffers for arrays, those of bytes for bytes; None for the rest."""
    if isinstance(value, torch.Tensor):
        return _of_tensor(value)
    if isinstance(value, SequenceDataset):
        return None
    for method in ("to_numpy", "__array__"):
        if hasattr(type(value), method):
            try:
                return np.asarray(getattr(value, method)())
            except Exception:  # it takes arguments, or makes no array of what it holds
                continue
    try:
        view = memoryview(value)
        return view.tobytes() if view.format in "Bbc" else np.asarray(view)
    except (TypeError, ValueError, BufferError):
        return None


def _of_tensor(tensor: torch.Tensor) -> np.ndarray:
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:  # which numpy lacks
        tensor = tensor.float()
    return tensor.numpy()
