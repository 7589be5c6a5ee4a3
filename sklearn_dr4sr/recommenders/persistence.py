"""Fitted recommenders as JSON and safetensors: files that hold numbers and names, and run nothing.

What is read is not trusted: a name stands for a class only by way of a fixed table, and every shape
is known from the parameters before anything of its size is made.
"""

from __future__ import annotations

import json
import os
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .._parameters import as_path
from .._torch import isolated, resolve_device
from ..dataset import SequenceDataset
from ..sequences import Sequences

__all__ = ["Storable"]

#: Classes that can be stored; nothing else is ever looked up.
CLASSES = ("SASRec", "GRU4Rec", "FMLP", "GNN", "CL4SRec", "BSARec")
KEYS = {"format", "class", "parameters", "items", "fitted"}
FITTED = ("history_", "n_steps_", "best_epoch_")
#: Parameters that serve training alone, and say where it writes or what it runs.
NOT_STORED = ("callbacks", "checkpoint_dir")
#: Parameters younger than the format, with the value that does as was done before them.
ADDED = {"ema_decay": 0.0, "positions": "absolute"}


class Storable:
    """``save`` and ``load`` of neural recommenders."""

    #: Names of arrays that the module needs beside its weights.
    _extras: tuple[str, ...] = ()

    def _extra_arrays(self) -> dict[str, np.ndarray]:
        """Give the arrays named in ``_extras``."""
        return {}

    def _module_extras(self, arrays: dict[str, np.ndarray], n_items: int) -> dict[str, Any]:
        """Make arguments of the module of them, or raise ValueError."""
        return {}

    def save(self, folder: str | PathLike) -> None:
        """Write the fitted recommender to ``model.json`` and ``weights.safetensors``.

        Parameters
        ----------
        folder : str or path
            Made where it is absent. :meth:`load` reads it.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError
            If the recommender is none of the package's own models, which alone can be loaded, or
            is :class:`~sklearn_dr4sr.baselines.MELT`, which holds another one; ``joblib.dump``
            stores these.
        ValueError
            If a parameter was changed after ``fit`` and the weights no longer fit.
        ImportError
            Without safetensors.

        Notes
        -----
        ``callbacks``, ``checkpoint_dir`` and a ``random_state`` that is no number serve training
        alone and are stored as None. Both files are whole before they replace those of an earlier
        model, so a full disk leaves that one as it was. What may be loaded from whom is told in the
        user guide, under *Files from others*.

        Examples
        --------
        >>> import os
        >>> from tempfile import TemporaryDirectory
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> model = SASRec(max_epochs=1).fit([["tea", "pot", "cup"], ["pot", "cup"]])
        >>> with TemporaryDirectory() as folder:
        ...     model.save(folder)
        ...     sorted(os.listdir(folder))
        ['model.json', 'weights.safetensors']
        """
        check_is_fitted(self, "items_")
        if type(self) is not _classes().get(type(self).__name__):
            raise TypeError(
                f"save: expected one of {', '.join(CLASSES)}, got {type(self)!r}: "
                "store that by joblib.dump, and load such files only from whom you trust"
            )
        parameters = {**self.get_params(deep=False), **dict.fromkeys(NOT_STORED)}
        if not isinstance(self.random_state, (int, np.integer)):
            parameters["random_state"] = None
        stored = {
            "format": 1,
            "class": type(self).__name__,
            "parameters": parameters,
            "items": self.items_.tolist(),
            "fitted": {name: getattr(self, name) for name in FITTED},
        }
        text = json.dumps(stored, default=_plain, allow_nan=False)
        weights = self.net_.module_.state_dict()
        arrays = {f"module.{name}": v.cpu().numpy() for name, v in weights.items()}
        arrays |= {f"extra.{name}": v for name, v in self._extra_arrays().items()}
        arrays["popularity"] = self.popularity_
        for name, shape in _shapes(self, len(self.items_), len(arrays)).items():
            if shape is not None and arrays[name].shape != shape:
                raise ValueError(
                    f"save: {name} is of shape {arrays[name].shape}, and the parameters, changed "
                    f"after fit, make one of {shape}"
                )
        folder = as_path("folder", folder)
        folder.mkdir(parents=True, exist_ok=True)
        new = {name: folder / f"{name}.tmp" for name in ("weights.safetensors", "model.json")}
        try:
            _safetensors().numpy.save_file(
                {name: np.ascontiguousarray(v) for name, v in arrays.items()},
                new["weights.safetensors"],
            )
            new["model.json"].write_text(text, encoding="utf-8")
            (folder / "model.json").unlink(missing_ok=True)  # it goes with no other weights
            for name, path in new.items():
                os.replace(path, folder / name)
        finally:
            for path in new.values():
                path.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: str | PathLike, *, device: str = "auto") -> Any:
        """Read a recommender that :meth:`save` wrote, without running anything from the files.

        Parameters
        ----------
        folder : str or path
        device : str, default="auto"
            Where the model is to be, whatever device it was saved on.

        Returns
        -------
        recommender
            Fitted; of the class that was saved, which must be this one or a subclass.

        Raises
        ------
        ValueError
            If the files hold anything but what ``save`` writes, or are links out of the folder.
        OSError
            If they cannot be read.
        ImportError
            Without safetensors.

        Notes
        -----
        The folder may come from anyone: what that rules out, and what it does not, is told in the
        user guide, under *Files from others*. Other files in it are not looked at.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> model = SASRec(max_epochs=1).fit([["tea", "pot", "cup"], ["pot", "cup"]])
        >>> with TemporaryDirectory() as folder:
        ...     model.save(folder)
        ...     again = SASRec.load(folder, device="cpu")
        >>> again.predict([["tea"]]).tolist() == model.predict([["tea"]]).tolist()
        True
        """
        folder = as_path("folder", folder)
        path = _inside(folder, "model.json")
        stored = _read_json(path)
        try:
            _check_fitted(stored["fitted"])
            model = _estimator(stored, cls).set_params(device=device)
            model._check_parameters()
            items = _items(stored["items"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        arrays = _read_arrays(_inside(folder, "weights.safetensors"), model, len(items))
        resolved = resolve_device(device)
        empty = SequenceDataset(Sequences.from_codes([], [0, 0], items))
        extras = {name: arrays[f"extra.{name}"] for name in model._extras}
        net = model._make_net(empty, None, resolved, 0)
        try:
            made = model._module_extras(extras, len(items))
        except ValueError as error:
            raise ValueError(f"{folder / 'weights.safetensors'}: {error}") from None
        net.set_params(**{f"module__{name}": value for name, value in made.items()})
        isolated(net.initialize, seed=0, device=resolved)
        net.module_.load_state_dict(
            {
                name.removeprefix("module."): torch.from_numpy(values)
                for name, values in arrays.items()
                if name.startswith("module.")
            }
        )
        net.trim_for_prediction()
        net.module_.eval()
        net.interrupted = False
        model.popularity_ = arrays["popularity"]
        vars(model).update(stored["fitted"])
        model.net_, model.items_ = net, items
        return model


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, torch.device) else value.item()


def _classes() -> dict[str, type]:
    from .. import recommenders  # which imports this module

    return {name: getattr(recommenders, name) for name in CLASSES}


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            "save and load need safetensors: pip install sklearn_dr4sr[safe]"
        ) from None
    return safetensors


def _inside(folder: Path, name: str) -> Path:
    """Path of a file of the folder; one that a link takes elsewhere is refused."""
    path = folder / name
    place = os.path.realpath(path)
    if os.path.dirname(place) != os.path.realpath(folder):
        raise ValueError(f"{path} leads out of the folder, to {place}")
    if not path.is_file():  # a pipe might be read for ever
        raise FileNotFoundError(f"{path}: no such file")
    return path


def _finite(number: str) -> float:
    if not np.isfinite(value := float(number)):
        raise ValueError(f"numbers must be finite, got {number:.80}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of a JSON object; readers differ in which of two equal keys they take."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError(f"a key stands twice among {[key for key, _ in pairs]!r:.80}")
    return made


def _read_json(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(
            path.read_text(encoding="utf-8"),
            parse_constant=_finite,
            parse_float=_finite,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON as save writes it ({error})") from None
    if not isinstance(stored, dict) or set(stored) != KEYS:
        got = sorted(stored) if isinstance(stored, dict) else type(stored).__name__
        raise ValueError(f"{path}: expected the keys {sorted(KEYS)}, got {got}")
    if stored["format"] != 1:
        raise ValueError(
            f"{path}: expected format 1, got {stored['format']!r}: if a later version of "
            "sklearn_dr4sr wrote it, read it with that one"
        )
    return stored


def _check_fitted(fitted: Any) -> None:
    counts = ("n_steps_", "best_epoch_")
    if not isinstance(fitted, dict) or set(fitted) != set(FITTED):
        raise ValueError(f"fitted: expected {FITTED}, got {fitted!r:.80}")
    if not all(type(fitted[name]) is int and 0 <= fitted[name] < 2**63 for name in counts):
        raise ValueError(f"fitted: expected counts for {counts}, got {fitted!r:.80}")
    epochs = fitted["history_"]
    names = {"epoch", "train_loss", "valid_ndcg", "dur"}
    if not isinstance(epochs, list) or not all(
        isinstance(epoch, dict)
        and set(epoch) <= names
        and all(type(value) in (int, float) for value in epoch.values())
        for epoch in epochs
    ):
        raise ValueError(f"history_: expected a list of dicts of numbers, got {epochs!r:.80}")


def _estimator(stored: dict[str, Any], cls: type) -> Any:
    """Make the estimator, unfitted, of a class of the table and of parameters that it has."""
    name, parameters = stored["class"], stored["parameters"]
    if not isinstance(name, str) or name not in CLASSES:
        raise ValueError(f"class: expected one of {CLASSES}, got {name!r:.80}")
    kind = _classes()[name]
    if not issubclass(kind, cls):
        raise ValueError(f"class: expected {cls.__name__}, got {name!r}")
    expected = set(kind._get_param_names())
    if isinstance(parameters, dict):
        parameters = {k: v for k, v in ADDED.items() if k in expected} | parameters
    if not isinstance(parameters, dict) or set(parameters) != expected:
        given = set(parameters) if isinstance(parameters, dict) else {type(parameters).__name__}
        raise ValueError(
            f"parameters that do not fit {name}: {sorted(given ^ expected)}; if another version of "
            "sklearn_dr4sr wrote the file, read it with that one"
        )
    for parameter, value in parameters.items():
        if not (value is None or type(value) in (bool, int, float, str)):
            raise ValueError(f"{parameter}: expected a number, a text or null, got {value!r:.80}")
    for parameter in NOT_STORED:  # a fit would write where the file says
        if parameters[parameter] is not None:
            raise ValueError(f"{parameter}: expected null, got {parameters[parameter]!r:.80}")
    if not isinstance(parameters["random_state"], (int, type(None))):
        raise ValueError(f"random_state: expected an int, got {parameters['random_state']!r:.80}")
    return kind(**parameters)


def _items(ids: Any) -> np.ndarray:
    """Catalogue of a list of ids, all int or all str, increasing."""
    if not isinstance(ids, list) or not ids:
        raise ValueError(f"items: expected a list of ids, got {ids!r:.80}")
    kinds = {type(item) for item in ids}
    if kinds not in ({int}, {str}):
        raise ValueError(f"items must be all int or all str, got {sorted(map(str, kinds))}")
    if any(a >= b for a, b in pairwise(ids)):
        raise ValueError("items must increase, each of them once")
    if kinds == {int} and not 0 <= ids[0] <= ids[-1] < 2**63:
        raise ValueError(f"items must be non-negative 64-bit integers, got {ids[0]} .. {ids[-1]}")
    items = np.empty(len(ids), dtype=np.int64 if kinds == {int} else object)
    items[:] = ids
    return items


def _read_arrays(path: Path, model: Any, n_items: int) -> dict[str, np.ndarray]:
    """Read all arrays of a file, whose names, types and shapes must be those of the model."""
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            if file.metadata():
                raise ValueError(f"expected no metadata, got {file.metadata()!r:.80}")
            names = set(file.keys())
            expected = _shapes(model, n_items, len(names))
            if names != set(expected):
                raise ValueError(f"arrays that do not fit: {sorted(names ^ set(expected))[:9]}")
            for name, shape in expected.items():
                entry = file.get_slice(name)
                got, dtype = tuple(entry.get_shape()), entry.get_dtype()
                if shape is None:
                    if dtype not in ("F32", "I32"):  # numpy has not all that there are
                        raise ValueError(f"{name}: expected F32 or I32, got {dtype}")
                elif got != shape or dtype != "F32":
                    raise ValueError(f"{name}: expected F32 of shape {shape}, got {dtype} of {got}")
            arrays = {name: file.get_tensor(name) for name in names}
    except (ValueError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path}: {error}") from None
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{path}: {name} holds NaN or infinity")
    return arrays


def _shapes(model: Any, n_items: int, n_arrays: int) -> dict[str, tuple[int, ...] | None]:
    """Shape of each array that the model has; None where any may be."""
    if model.n_layers > n_arrays:  # a layer has an array at least
        raise ValueError(f"n_layers={model.n_layers}, and the file holds {n_arrays} arrays")
    items = np.arange(n_items)
    parameters = model._module_parameters(SequenceDataset(Sequences.from_codes([], [0, 0], items)))
    try:
        with torch.device("meta"):  # shapes alone: no memory, whatever the parameters say
            module = model._module(**parameters)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"parameters that make no {type(model).__name__}: {error}") from None
    shapes = {f"module.{name}": tuple(v.shape) for name, v in module.state_dict().items()}
    shapes |= {f"extra.{name}": None for name in model._extras}
    return {**shapes, "popularity": (n_items,)}
