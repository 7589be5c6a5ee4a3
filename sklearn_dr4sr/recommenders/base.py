"""SequentialRecommender: any torch module that encodes sequences, as a scikit-learn estimator."""

from __future__ import annotations

import inspect
import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch.callbacks import EarlyStopping

from .._callbacks import fresh_callbacks
from .._memory import limit_on
from .._parameters import (
    COUNT,
    LARGE,
    LAYERS,
    LENGTH,
    WIDTH,
    check_choice,
    check_flag,
    check_number,
    check_verbose,
)
from .._progress import EpochTasks, TimeLeft
from .._torch import isolated, resolve_device, seed_of
from ..checkpoint import Checkpoint, check_checkpoint, fingerprint
from ..dataset import SequenceDataset
from ..ranking import BaseRecommender
from ..sequences import Sequences
from .averaging import WeightAverage
from .batching import GROUP_OVERHEAD, LengthGroupedBatches, TrainingPatterns
from .embeddings import EmbeddingSpace
from .losses import LOSSES
from .persistence import Storable
from .protocol import check_module
from .training import SequenceNet, ValidationNDCG, encode_histories

__all__ = ["SequentialRecommender"]

#: Optimizer steps an epoch that ``steps_per_epoch="histories"`` takes of a small log: with three or
#: four, the most epochs or the patience end a training that has hardly begun.
MIN_STEPS = 64


class SequentialRecommender(EmbeddingSpace, Storable, BaseRecommender):
    """Next-item recommender around a torch module; the base of all neural ones here.

    Parameters
    ----------
    module : type, subclass of torch.nn.Module
        Called as ``module(n_items=..., **parameters)``. It must have

        - ``encode(ids, lengths)``: int64 tensors (rows, length), right-padded with ``n_items``,
          and (rows,); returns states (rows, length, dim), of which the state at t may depend on
          the items of its row up to t only (with ``targets="last"``, where only the last state of
          a row is used, on all of them), and neither on other rows nor on the padding;
        - ``item_embedding``: a ``torch.nn.Embedding`` of at least ``n_items + 1`` rows, row
          ``n_items`` being the padding; the score of item i is state . row i;
        - optionally ``encode_last(ids, lengths)``, states after the last items alone, (rows, dim),
          where these are cheaper: ranking then calls it;
        - optionally ``encode_groups(ids, lengths)``, lists of such tensors to the states of all
          their positions, (positions, dim), group after group and row after row, where that is
          cheaper than one group after the other: training then calls it;
        - optionally ``extra_loss(groups)``: a scalar that is added to the loss of a step.

        ``fit`` tries the module on two short rows, in evaluation mode, before it trains it, and
        raises TypeError or ValueError where it does not keep to this.

        A parameter of the module's constructor that bears the name of one of the parameters below
        (``max_length``) is passed on.
    loss : {"bce", "bpr", "ce", "sampled_softmax", "gbce"}, default="bce"
        Equations in :func:`~sklearn_dr4sr.recommenders.losses.next_item_loss`. "bce" is the
        paper's; "ce", over the full catalogue, is the strong one on small catalogues.
    n_negatives : int, default=1
        Negatives a target (shared by all targets of a step for "sampled_softmax"; then
        256 is a good number). Unused by "ce".
    negatives : {"unseen", "uniform"}, default="unseen"
        Draw negatives outside the pattern (the paper's Equation 7) or from all items (its code).
        Those of "sampled_softmax", which all targets share, are always of all items.
    calibration : float in [0, 1], default=0.75
        t of "gbce".
    targets : {"all", "last"}, default="all"
        Learn to predict every item of a pattern after its first, or its last only.
    max_length : int, default=50
        Longest input (N of the paper): earlier items are cut off.
    max_epochs : int, default=200
        Most epochs; the paper allows 1000.
    patience : int, default=20
        Epochs without a better validation NDCG@20 before training stops, where ``y`` is given.
    steps_per_epoch : int, "histories" or None, default=None
        Optimizer steps an epoch; None: one pass over the patterns; "histories": as many as one pass
        over the histories takes, whatever patterns stand in their place, but at least 64. With a
        number or "histories", training sets of any size are validated, and stopped, after the same
        number of steps.
    batch_size : int, default=256
        Patterns an optimizer step (B of the paper).
    lr : float, default=1e-3
        Learning rate of Adam.
    weight_decay : float, default=0.0
        L2 penalty in Adam.
    ema_decay : float in [0, 1), default=0.0
        Above 0: rank by a running average of the weights over the steps, which forgets at this
        rate (.998: half of it is the last 350 steps). It is what is validated, and kept. With it a
        learning rate two or three times as high ends as well in half the steps.
    exclude_seen : bool, default=True
        Keep the history's own items out of the ranking, as the paper's code does.
    callbacks : list of skorch callbacks or None, default=None
        What the skorch net calls; each fit takes copies. Where ``y`` is given they find
        "valid_ndcg" in ``net.history``, and "valid_ndcg_best", whether it is the highest so far. In
        place of a callback there may be a callable without arguments that makes one for each fit:
        for what cannot be cloned, such as an open TensorBoard writer.
    checkpoint_dir : str, path or None, default=None
        Where the whole state of the training is written after each epoch: a directory for this
        estimator alone, and for one fit at a time. A fit that was killed goes on from there when it
        is called again with the same data and parameters (``device``, ``callbacks`` and ``verbose``
        apart), and on one thread ends with the same result to the bit; anything else found there
        is an error. Of callbacks, plain attributes ending in ``_`` are kept. Needs an integer
        ``random_state``. A finished fit deletes its file; one that was interrupted by the keyboard
        leaves it.
    precision : {"float32", "bfloat16"}, default="float32"
        "bfloat16" computes the products of ``loss="ce"`` with the catalogue in half the bits: much
        faster where the processor has units for it, and slower where not. Other losses have no such
        products: they stay in float32, with a warning. So do the single losses that the upper level
        of a :class:`~sklearn_dr4sr.DatasetPersonalizer` takes.
    device : str, default="auto"
        "auto" (cuda where there is one), "cpu", "cuda", ....
    random_state : int, RandomState or None, default=None
        Seed of initial weights, order, dropout and negatives.
    verbose : int, default=0
        1 prints a line an epoch, with the minutes left until ``max_epochs``.
    **module_parameters :
        ``module__name=value`` is passed to the module as ``name``.

    Attributes
    ----------
    items_ : ndarray of shape (n_items,)
        The catalogue, sorted: the columns of ``decision_function``.
    net_ : skorch.NeuralNet
        The fitted net, without its optimizer.
    item_embeddings_ : ndarray of float32, shape (n_items, dim)
        Rows in the order of ``items_``.
    popularity_ : ndarray of float32, shape (n_items,)
        Share of each item in the training patterns: the ranking for an empty history.
    history_ : list of dict
        An entry a finished epoch: "epoch", "train_loss", "valid_ndcg" (with ``y``), "dur"
        (seconds).
    n_steps_ : int
        Optimizer steps taken.
    best_epoch_ : int
        Epoch whose weights were kept. Without ``y`` the last finished one, 0 if there is none; an
        interrupt keeps the steps taken since, too.

    Notes
    -----
    Each random batch is split into a few groups of similar length whose gradients add up: the same
    step as one padded batch, for a fraction of its cost.

    Training runs in a thread of its own with its own seed (see ``_torch.isolated``). On
    KeyboardInterrupt it ends with the best weights so far and a warning; so it does where loss or
    weights turn NaN or infinite after an epoch that was validated, and with a FloatingPointError
    where none was.

    Examples
    --------
    >>> import torch
    >>> from sklearn_dr4sr.recommenders import SequentialRecommender
    >>> class LastItem(torch.nn.Module):
    ...     def __init__(self, n_items, dim=8):
    ...         super().__init__()
    ...         self.item_embedding = torch.nn.Embedding(n_items + 1, dim)
    ...         self.step = torch.nn.Linear(dim, dim)
    ...     def encode(self, ids, lengths):
    ...         return self.step(self.item_embedding(ids))
    >>> model = SequentialRecommender(LastItem, module__dim=16, loss="ce", lr=0.05, max_epochs=30,
    ...                               random_state=0, device="cpu")
    >>> model.fit([[1, 2, 3], [2, 3, 4], [1, 2, 3, 4]]).predict([[1], [2]], k=1)
    array([[2],
           [3]])
    """

    def __init__(
        self,
        module: Any = None,
        *,
        loss: str = "bce",
        n_negatives: int = 1,
        negatives: str = "unseen",
        calibration: float = 0.75,
        targets: str = "all",
        max_length: int = 50,
        max_epochs: int = 200,
        patience: int = 20,
        steps_per_epoch: int | str | None = None,
        batch_size: int = 256,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        ema_decay: float = 0.0,
        exclude_seen: bool = True,
        callbacks: Any = None,
        checkpoint_dir: Any = None,
        precision: str = "float32",
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        **module_parameters: Any,
    ) -> None:
        self.module = module
        self.loss = loss
        self.n_negatives = n_negatives
        self.negatives = negatives
        self.calibration = calibration
        self.targets = targets
        self.max_length = max_length
        self.max_epochs = max_epochs
        self.patience = patience
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.ema_decay = ema_decay
        self.exclude_seen = exclude_seen
        self.callbacks = callbacks
        self.checkpoint_dir = checkpoint_dir
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        _check_module_names(module_parameters)
        vars(self).update(module_parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, ``module__`` ones among them.

        Examples
        --------
        >>> import torch
        >>> from sklearn_dr4sr.recommenders import SequentialRecommender
        >>> SequentialRecommender(torch.nn.Module, module__dim=16).get_params()["module__dim"]
        16
        """
        given = {name: value for name, value in vars(self).items() if name.startswith("module__")}
        return {**super().get_params(deep=deep), **given}

    def set_params(self, **params: Any) -> SequentialRecommender:
        """Set parameters, ``module__`` ones among them.

        Examples
        --------
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> SASRec().set_params(loss="ce", lr=0.01).loss
        'ce'
        """
        extra = {name: params.pop(name) for name in list(params) if name.startswith("module__")}
        if extra and not self._takes_module:
            raise ValueError(f"{type(self).__name__} has no parameter {next(iter(extra))!r}")
        vars(self).update(extra)
        return super().set_params(**params)

    #: A subclass names its module here; it then has no ``module`` parameter.
    _module: type[torch.nn.Module] | None = None
    #: What a subclass's own parameters may be: integers of 1 or more, bounds, choices, flags.
    _integers: tuple[str, ...] = ()
    _ranges: dict[str, tuple[float, float | None]] = {}
    _choices: dict[str, tuple[str, ...]] = {}
    _flags: tuple[str, ...] = ()

    #: What trains the module; the personalizer puts its own in place.
    _net_class: Any = SequenceNet

    @property
    def _takes_module(self) -> bool:
        return self._module is None

    def _check_parameters(self) -> None:
        choices = {
            "loss": LOSSES,
            "negatives": ("unseen", "uniform"),
            "targets": ("all", "last"),
            "precision": ("float32", "bfloat16"),
            **self._choices,
        }
        for name, allowed in choices.items():
            check_choice(name, getattr(self, name), allowed)
        most = dict.fromkeys(("max_epochs", "patience", "batch_size"), COUNT)
        most |= dict.fromkeys(("n_layers", *self._integers), LAYERS)
        most |= dict.fromkeys(("embedding_dim", "hidden_dim", "n_heads"), WIDTH)
        most |= dict.fromkeys(("n_negatives", "max_length"), LENGTH)
        if isinstance(self.steps_per_epoch, str):
            check_choice("steps_per_epoch", self.steps_per_epoch, ("histories",))
        elif self.steps_per_epoch is not None:
            most["steps_per_epoch"] = COUNT
        for name, high in most.items():
            check_number(name, getattr(self, name, 1), 1, high, integer=True)
        ranges = {"lr": (0, None), "weight_decay": (0, None), "calibration": (0, 1)}
        ranges |= {"dropout": (0, 1), "ema_decay": (0, 1), **self._ranges}
        for name, (low, high) in ranges.items():
            check_number(name, getattr(self, name, low), low, LARGE if high is None else high)
        if self.lr == 0:
            raise ValueError(f"lr must be above 0, got {self.lr!r}")
        for name in ("dropout", "ema_decay"):
            if getattr(self, name, 0) == 1:
                raise ValueError(f"{name} must be below 1, got {getattr(self, name)!r}")
        for name in self._flags:
            check_flag(name, getattr(self, name))
        check_verbose(self.verbose)
        if self._takes_module and not (
            isinstance(self.module, type) and issubclass(self.module, torch.nn.Module)
        ):
            raise TypeError(f"module: expected a subclass of torch.nn.Module, got {self.module!r}")
        if hasattr(self, "module__n_items"):
            raise ValueError(
                f"module__n_items={self.module__n_items!r}: n_items is the size of the catalogue, "
                "which fit gives to the module"
            )
        check_checkpoint(self.checkpoint_dir, self.random_state)
        resolve_device(self.device)

    def _module_parameters(self, dataset: SequenceDataset) -> dict[str, Any]:
        """Arguments for the module: those that it names and the estimator has."""
        module = self._module or self.module
        names = inspect.signature(module.__init__).parameters
        shared = {name: vars(self)[name] for name in names if name in vars(self)}
        for name, value in shared.items():
            if isinstance(value, np.integer):  # which not every layer of torch takes
                shared[name] = int(value)
        given = {
            name.removeprefix("module__"): value
            for name, value in vars(self).items()
            if name.startswith("module__")
        }
        return {**shared, **given, "n_items": len(dataset.histories.items)}

    def _n_subtasks(self) -> int:
        return self.max_epochs

    def _fit(self, dataset: SequenceDataset, target: np.ndarray | None) -> None:
        if self.precision != "float32" and self.loss != "ce":
            warnings.warn(
                f"precision={self.precision!r} serves loss='ce' alone: with loss={self.loss!r} all "
                "is computed in float32",
                stacklevel=4,
            )
        device = resolve_device(self.device)
        seed = seed_of(self.random_state)
        patterns = TrainingPatterns(
            dataset.patterns, dataset.weights, self.max_length, self.targets
        )
        net = self._make_net(dataset, target, device, seed)
        checkpoint = None
        if self.checkpoint_dir is not None:
            checkpoint = self._make_checkpoint(net, dataset, target)
            net.set_params(callbacks=[*net.callbacks, ("checkpoint", checkpoint)])
        isolated(lambda: net.fit(patterns, None), seed=seed, device=device)
        if net.interrupted:
            warnings.warn(
                f"{type(self).__name__}.fit was interrupted in epoch {len(net.history)}: the "
                "best weights so far are kept, and the estimator is usable",
                stacklevel=4,
            )
        if net.fault:
            warnings.warn(
                f"{type(self).__name__}.fit ended early, since {net.fault}. The best weights so "
                "far are kept, and the estimator is usable",
                stacklevel=4,
            )
        counts = np.bincount(dataset.patterns.codes, minlength=len(dataset.histories.items))
        self.popularity_ = (counts / counts.sum()).astype(np.float32)
        self.history_ = _epochs(net.history)
        self.n_steps_ = sum(len(epoch["batches"]) for epoch in net.history)
        ndcg = [epoch["valid_ndcg"] for epoch in self.history_ if "valid_ndcg" in epoch]
        self.best_epoch_ = int(np.argmax(ndcg)) + 1 if ndcg else len(self.history_)
        net.trim_for_prediction()
        net.module_.eval()
        self.net_ = net
        if checkpoint is not None and not net.interrupted:
            self._done_with(checkpoint)

    #: What a finished fit does with its checkpoint; a fit that goes on to another keeps it.
    _done_with = staticmethod(Checkpoint.remove)

    def _identity(self) -> dict[str, Any]:
        """Parameters that the result of a fit depends on."""
        unread = ("device", "callbacks", "verbose", "checkpoint_dir")
        return {k: v for k, v in self.get_params(deep=False).items() if k not in unread}

    def _make_checkpoint(
        self, net: SequenceNet, dataset: SequenceDataset, target: np.ndarray | None
    ) -> Checkpoint:
        data = (dataset.histories, dataset.table, dataset.weights, target)
        name = type(self).__name__
        identity = fingerprint(name, self._identity(), *data, *net.identity())
        return Checkpoint(self.checkpoint_dir, name, identity)

    def _make_net(
        self, dataset: SequenceDataset, target: np.ndarray | None, device: torch.device, seed: int
    ) -> SequenceNet:
        callbacks = [("time_left", TimeLeft())] if self.verbose else []
        if self.ema_decay:
            callbacks.append(("average", WeightAverage(self.ema_decay)))
        tasks = ("tasks", EpochTasks(self, getattr(self, "_callback_fit_ctx", None)))
        if target is not None and (target != -2).any():
            rows = np.flatnonzero(target != -2)
            held_out = ValidationNDCG(
                dataset.histories[rows], target[rows], self.max_length, self.exclude_seen
            )
            stop = EarlyStopping(
                monitor="valid_ndcg",
                lower_is_better=False,
                patience=self.patience,
                threshold=0.0,
                load_best=True,
                sink=print if self.verbose else _silent,
            )
            # tasks may end the training, which keeps the best of what early stopping has seen
            callbacks += [("validation", held_out), ("early_stopping", stop), tasks]
        else:
            callbacks.append(tasks)
        given = self._module_parameters(dataset)
        check = None
        if self._takes_module:
            check = partial(
                check_module,
                n_items=given["n_items"],
                max_length=self.max_length,
                targets=self.targets,
            )
        return self._net_class(
            self._module or self.module,
            loss=self.loss,
            n_negatives=self.n_negatives,
            negatives=self.negatives,
            calibration=self.calibration,
            precision=self.precision,
            check=check,
            optimizer=torch.optim.Adam,
            optimizer__fused=True,
            optimizer__weight_decay=self.weight_decay,
            lr=self.lr,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            iterator_train=LengthGroupedBatches,
            iterator_train__seed=seed,
            iterator_train__steps=self._steps(dataset),
            iterator_train__overhead=limit_on(GROUP_OVERHEAD, device),
            train_split=None,
            callbacks=callbacks + fresh_callbacks(self.callbacks),
            device=str(device),
            verbose=self.verbose,
            **{f"module__{name}": value for name, value in given.items()},
        )

    def _steps(self, dataset: SequenceDataset) -> int | None:
        """Optimizer steps an epoch; None: one pass over the patterns."""
        if self.steps_per_epoch != "histories":
            return self.steps_per_epoch
        return max(MIN_STEPS, -(-int((dataset.histories.lengths >= 2).sum()) // self.batch_size))

    def _scores(self, histories: Sequences) -> torch.Tensor:
        net = self.net_
        most = getattr(net, "module__max_length", self.max_length)
        if self.max_length > most:
            raise ValueError(
                f"max_length={self.max_length}, set after fit: the network has {most} positions"
            )
        with torch.no_grad():
            queries = encode_histories(net.module_, histories, self.max_length, net.device)
            scores = queries @ net.item_matrix().T
            empty = histories.lengths == 0
            if empty.any():
                popularity = torch.from_numpy(self.popularity_).to(scores)
                scores[torch.from_numpy(empty).to(scores.device)] = popularity
        return scores


def _silent(*args: Any) -> None:
    """Print nothing (and pickle, which a lambda would not)."""


def _check_module_names(parameters: dict[str, Any]) -> None:
    for name in parameters:
        if not name.startswith("module__"):
            raise TypeError(f"SequentialRecommender has no parameter {name!r}")


def _epochs(history: Any) -> list[dict[str, float]]:
    """Entries of the finished epochs: that of an interrupted one lacks what comes at its end."""
    kept = ("epoch", "train_loss", "valid_ndcg", "dur")
    rows = [{name: epoch[name] for name in kept if name in epoch} for epoch in history]
    return [row for row in rows if "dur" in row and row.keys() == rows[0].keys()]
