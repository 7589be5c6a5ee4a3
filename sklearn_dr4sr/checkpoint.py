"""Checkpoints: the whole state of a training, written after every epoch, and taken up again."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import skorch
import torch
from skorch.callbacks import Callback
from skorch.history import History

from ._memory import is_out_of_memory
from ._parameters import check_path
from ._torch import interrupt_arrived

__all__ = ["Checkpoint", "ResumableNet", "check_checkpoint", "fingerprint"]

#: First line of every file; the SHA-256 of the rest, in hex, is the second.
MAGIC = b"sklearn_dr4sr checkpoint 1\n"
ADVICE = "delete it to start anew, or choose another checkpoint_dir"


class ResumableNet(skorch.NeuralNet):
    """A skorch net that :class:`Checkpoint` can take up where it stopped.

    Its training iterator has ``state_dict`` and ``load_state_dict``. A subclass whose training has
    more state than module, optimizer, iterator and callbacks hold extends the methods below.
    """

    _loader: Any = None
    _loader_state: Any = None

    def identity(self) -> tuple[Any, ...]:
        """Return what the training depends on besides the estimator's parameters and data."""
        return ()

    def extra_state(self) -> dict[str, Any]:
        """Return further state, of plain values and tensors."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what ``extra_state`` returned."""

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **params: Any) -> Any:
        """Train for the epochs that are left."""
        try:
            left = self.max_epochs - len(self.history)
            return super().fit_loop(X, y, epochs=left if epochs is None else epochs, **params)
        except KeyboardInterrupt:
            interrupt_arrived()
            raise
        finally:
            self._loader = self._loader_state = None  # it holds the data: not to be pickled

    def check_loss(self, loss: torch.Tensor) -> None:
        """Raise FloatingPointError if the loss of the batch at hand is not finite."""
        if not torch.isfinite(loss):
            epoch, step = len(self.history), len(self.history[-1]["batches"])
            raise FloatingPointError(
                f"the loss is {loss.item()} in epoch {epoch}, batch {step}: lower lr={self.lr}, "
                "or pass callbacks that clip the gradient"
            )

    def run_single_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Run an epoch, whose last step may have ruined the weights: no batch shows that."""
        super().run_single_epoch(*args, **kwargs)
        for name, parameter in self.module_.named_parameters():
            if not torch.isfinite(parameter).all():
                epoch, step = len(self.history), len(self.history[-1]["batches"])
                raise FloatingPointError(
                    f"{name} is no longer finite after epoch {epoch}, batch {step}: lower "
                    f"lr={self.lr}, or pass callbacks that clip the gradient"
                )

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Make the iterator, at the place where the checkpoint left it."""
        iterator = super().get_iterator(dataset, training=training)
        if training:
            self._loader = iterator
            if self._loader_state is not None:
                path, state = self._loader_state
                with _fitting(path):
                    iterator.load_state_dict(state)
        return iterator


class Checkpoint(Callback):
    """Write the state of a :class:`ResumableNet` after each epoch; start from it if there is one.

    The last of the callbacks, since it stores what the others have changed: of each the attributes
    that end in ``_``, where they are plain values (of numbers, texts, tensors, ...) or have a
    ``state_dict``.

    Parameters
    ----------
    directory : str or path
        Made where it is missing.
    name : str
        Of the estimator; the file is ``directory / (name + ".checkpoint")``.
    fingerprint : str
        Of all that the training depends on, see :func:`fingerprint`: a file with another one is
        refused.

    Raises
    ------
    ValueError
        When training begins, if the file is damaged, no checkpoint, or of another training.
    OSError
        If a file cannot be written; the one before it stays as it was.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.recommenders import SASRec
    >>> rows = make_sequences(100, 30, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:  # if this is killed, it may be run again
    ...     model = SASRec(max_epochs=2, random_state=0, checkpoint_dir=folder).fit(rows)
    """

    def __init__(self, directory: str | os.PathLike, name: str, fingerprint: str) -> None:
        self.path = Path(directory) / f"{name}.checkpoint"
        self.fingerprint = fingerprint
        self.ours = False

    def on_train_begin(self, net: ResumableNet, **kwargs: Any) -> None:
        """Take up the training where the file left it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            return
        state = read(self.path)  # wholly read and checked before the net is touched
        if state.get("fingerprint") != self.fingerprint:
            raise ValueError(
                f"{self.path} is the checkpoint of a fit with other parameters, other data or "
                "another version of the package: fit with what it was begun with to go on, delete "
                "it to start anew, or choose another checkpoint_dir"
            )
        self.ours = True
        with _fitting(self.path):
            self._take_up(net, state)

    def _take_up(self, net: ResumableNet, state: dict[str, Any]) -> None:
        """Put the net, its iterator, callbacks and generators where ``on_epoch_end`` found them."""
        net.module_.load_state_dict(state["module"])
        net.optimizer_.load_state_dict(state["optimizer"])
        net.load_extra_state(state["extra"])
        net._loader_state = (self.path, state["loader"])
        net.history = History(state["history"])
        for name, callback in net.callbacks_:
            for attribute, value in state["callbacks"].get(name, {}).items():
                if not _is_kept(attribute):
                    raise ValueError(f"{attribute!r} of a callback is never written")
                if hasattr(getattr(callback, attribute, None), "load_state_dict"):
                    getattr(callback, attribute).load_state_dict(value)
                else:
                    setattr(callback, attribute, value)
        torch.set_rng_state(state["rng"])
        if "cuda_rng" in state and torch.device(net.device).type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], net.device)

    def on_epoch_end(self, net: ResumableNet, **kwargs: Any) -> None:
        """Write the state."""
        state = {
            "fingerprint": self.fingerprint,
            "module": net.module_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            "extra": net.extra_state(),
            "loader": net._loader.state_dict(),
            "history": [_plain_epoch(epoch) for epoch in net.history.to_list()],
            "callbacks": {name: _callback_state(callback) for name, callback in net.callbacks_},
            "rng": torch.get_rng_state(),
        }
        if torch.device(net.device).type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(net.device)
        write(self.path, state)
        self.ours = True

    def remove(self) -> None:
        """Delete the file of this fit, which has finished."""
        if self.ours:
            self.path.unlink(missing_ok=True)


def fingerprint(*parts: Any) -> str:
    """Hash of parameters and data, and of the package's version.

    Parameters
    ----------
    *parts : anything that ``joblib.hash`` takes
        Equal values give equal hashes, whatever objects hold them; classes count by their name.
    """
    from . import __version__  # the package imports this module

    return joblib.hash((__version__, *(_named(part) for part in parts)))


def check_checkpoint(directory: Any, random_state: Any, owner: str = "") -> None:
    """Check ``checkpoint_dir``, which needs a seed: no other would make the same training again.

    Raises
    ------
    TypeError, ValueError
        If ``directory`` is neither None nor a path; if there is one, but no seed.
    """
    if directory is None:
        return
    if not isinstance(directory, (str, os.PathLike)):
        raise TypeError(f"checkpoint_dir: expected a path or None, got {directory!r}")
    check_path("checkpoint_dir", directory)
    if not isinstance(random_state, (int, np.integer)):
        raise ValueError(
            f"checkpoint_dir={os.fspath(directory)!r} needs an integer random_state{owner}, got "
            f"{random_state!r}: without it no second fit is the same as the first"
        )


def write(path: Path, state: dict[str, Any]) -> None:
    """Replace the file by ``state`` at once: at every moment it is the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # who cleared it up need not end a long fit
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getbuffer()
        with open(temporary, "wb") as file:
            file.write(MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n")
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            text = f"{error.strerror or error}: the checkpoint of this epoch was not written, one "
            text += "of an earlier epoch is intact"
            raise OSError(error.errno, text, str(path)) from error
        raise
    if os.name == "posix":  # the renaming itself must reach the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path: Path) -> dict[str, Any]:
    """Read what :func:`write` wrote.

    It unpickles no code, but does not tell who wrote the file: keep ``checkpoint_dir`` where only
    those can write whom you trust (user guide, *Files from others*).

    Raises
    ------
    ValueError
        If the file is anything else, or not all of it.
    """
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise ValueError(f"{path} is no checkpoint of this package: {ADVICE}")
    digest, _, payload = content[len(MAGIC) :].partition(b"\n")
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        raise ValueError(f"{path} is a damaged checkpoint, truncated or changed: {ADVICE}")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} holds more than a checkpoint does: {ADVICE}") from error
    except (EOFError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is what torch cannot read ({error}): {ADVICE}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, not a state: {ADVICE}")
    return state


@contextlib.contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Tell which checkpoint it is whose state does not fit what takes it over."""
    try:
        yield
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        text = f"{path} is a checkpoint whose state does not fit ({error}): {ADVICE}"
        raise ValueError(text) from error


def _is_kept(attribute: str) -> bool:
    return attribute.endswith("_") and not attribute.endswith("__")


def _callback_state(callback: Callback) -> dict[str, Any]:
    state = {}
    for name, value in vars(callback).items():
        if _is_kept(name):
            with contextlib.suppress(TypeError):  # what is not plain is not kept
                own = hasattr(value, "state_dict")
                state[name] = _plain(value.state_dict() if own else value)
    return state


def _plain_epoch(epoch: dict[str, Any]) -> dict[str, Any]:
    plain = {}
    for key, value in epoch.items():
        try:
            plain[key] = _plain(value)
        except TypeError:
            raise TypeError(
                f"history[{key!r}]: a checkpoint keeps numbers, texts, arrays and lists of them, "
                f"got {value!r:.80}; keep it elsewhere, or fit without checkpoint_dir"
            ) from None
    return plain


def _plain(value: Any) -> Any:
    """Copy of containers and numbers as ``torch.load(weights_only=True)`` takes them."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    raise TypeError(f"no plain value: {value!r}")


def _named(value: Any) -> Any:
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    return value
