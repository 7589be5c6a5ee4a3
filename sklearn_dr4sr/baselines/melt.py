"""MELT: a recommender trained on so that frequent users and items teach the rare ones."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn

from .._torch import resolve_device, seed_of
from ..checkpoint import Checkpoint
from ..dataset import SequenceDataset
from ..recommenders.base import SequentialRecommender
from ..recommenders.batching import Group, group_edges
from ..recommenders.sasrec import SASRec
from ..recommenders.training import SequenceNet, encode_groups, last_states
from ..sequences import Sequences, ranges
from .base import check_number

__all__ = ["MELT", "Branches", "MELTModule", "curriculum"]


class Branches:
    """Head and tail of users and items, and what the two branches train on.

    They serve training alone: pickled, this is empty, so that a stored model holds no user's data.

    Parameters
    ----------
    histories : Sequences or None
        Of each the last ``max_length`` items are used.
    max_length : int
        N.
    user_quantile, item_quantile : float
    n_steps : int
        Optimizer steps of an epoch, over which head users and head items are spread.
    n_epochs : int
        E of the curriculum.
    seed : int

    Attributes
    ----------
    lengths : ndarray of int
        Of the histories, cut to ``max_length``: longer ones look alike to the encoder.
    user_threshold, item_threshold : float
        T_u and T_i.
    head_users : ndarray of int, rows of ``histories`` whose ``lengths`` are above T_u
    head_items, tail_items : ndarray of int
        Codes of items more frequent than T_i; codes of the others that occur.
    context : ndarray of int
        Places in ``histories.codes``, item by item: a context of an item is the row up to there.
    first : ndarray of int, shape (n_items + 1,)
        Where the contexts of each item begin in ``context``.
    """

    def __init__(
        self,
        histories: Sequences | None = None,
        max_length: int = 50,
        user_quantile: float = 0.8,
        item_quantile: float = 0.78,
        n_steps: int = 1,
        n_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        self.histories = histories
        if histories is None:
            return
        self.max_length, self.n_steps, self.n_epochs = max_length, n_steps, n_epochs
        self.lengths = np.minimum(histories.lengths, max_length)
        self.user_threshold = float(np.quantile(self.lengths, user_quantile))
        self.head_users = np.flatnonzero(self.lengths > self.user_threshold)
        self.count = np.bincount(histories.codes, minlength=len(histories.items))
        self.item_threshold = float(np.quantile(self.count[self.count > 0], item_quantile))
        self.head_items = np.flatnonzero(self.count > self.item_threshold)
        self.tail_items = np.flatnonzero((self.count > 0) & (self.count <= self.item_threshold))
        self.context = np.argsort(histories.codes, kind="stable")
        self.first = np.concatenate([[0], np.cumsum(self.count)])
        self.row = histories.rows
        self.rng = np.random.default_rng(seed)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Shuffle the heads into as many parts as the epoch has steps."""
        self.epoch, self.step = epoch, 0
        self.user_parts = np.array_split(self.rng.permutation(self.head_users), self.n_steps)
        self.item_parts = np.array_split(self.rng.permutation(self.head_items), self.n_steps)

    def next_heads(self) -> tuple[np.ndarray, np.ndarray]:
        """Head users and head items of this step."""
        at = self.step % self.n_steps
        self.step += 1
        return self.user_parts[at], self.item_parts[at]

    def user_weights(self, users: np.ndarray) -> np.ndarray:
        """w_u: of the lengths."""
        width = max(1.0, self.max_length - self.user_threshold - 1)
        progress = self.epoch / self.n_epochs
        return curriculum(progress, self.lengths[users], self.user_threshold, width)

    def item_weights(self, items: np.ndarray) -> np.ndarray:
        """w_i: of the frequencies, cut to T_i + N."""
        size = np.minimum(self.count[items], self.item_threshold + self.max_length)
        return curriculum(self.epoch / self.n_epochs, size, self.item_threshold, self.max_length)

    def recent(self, users: np.ndarray) -> Sequences:
        """Last r items of each user, r uniform in 1 .. T_u - 1 (at least 1)."""
        below = max(2, int(np.ceil(self.user_threshold)))
        length = np.minimum(self.rng.integers(1, below, size=len(users)), self.lengths[users])
        end = self.histories.offsets[users + 1]
        return self._cut(end - length, length)

    def full(self, users: np.ndarray) -> Sequences:
        """Last N items of each user."""
        return self.histories[users].last(self.max_length)

    def sampled_contexts(self, items: np.ndarray) -> tuple[Sequences, np.ndarray]:
        """Contexts of each item, 1 to min(its number, T_i) of them, and which item each is of."""
        most = np.maximum(1, np.minimum(self.count[items], int(self.item_threshold)))
        n_drawn = self.rng.integers(1, most + 1)
        own = self.count[items]
        which = np.repeat(np.arange(len(items)), own)
        order = np.lexsort((self.rng.random(len(which)), which))
        drawn = order[ranges(np.zeros_like(own), own) < np.repeat(n_drawn, own)]
        place = self.context[ranges(self.first[items], own)[drawn]]
        start = self.histories.offsets[self.row[place]]
        start = np.maximum(start, place + 1 - self.max_length)
        return self._cut(start, place + 1 - start), np.repeat(np.arange(len(items)), n_drawn)

    def _cut(self, start: np.ndarray, length: np.ndarray) -> Sequences:
        offsets = np.concatenate([[0], np.cumsum(length)])
        codes = self.histories.codes[ranges(start, length)]
        return Sequences.from_codes(codes, offsets, self.histories.items)

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint keeps: the rest follows from the number of the epoch."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Draw on from where another one was."""
        self.rng.bit_generator.state = state["rng"]

    def __reduce__(self) -> tuple:
        return Branches, ()


def curriculum(progress: float, size: np.ndarray, threshold: float, width: float) -> np.ndarray:
    """|sin(π/2 progress + π/2 (size - threshold - 1) / width)|: first the long, then the short."""
    return np.abs(np.sin(np.pi / 2 * (progress + (size - threshold - 1) / width)))


class MELTModule(nn.Module):
    """A recommender's module with the two branches of :class:`MELT`.

    Parameters
    ----------
    n_items : int
    encoder : nn.Module
        As :class:`~sklearn_dr4sr.recommenders.SequentialRecommender` wants it; trained in place.
    branches : Branches
    user_loss_weight, item_loss_weight : float
    """

    def __init__(
        self,
        n_items: int,
        encoder: nn.Module,
        branches: Branches,
        user_loss_weight: float,
        item_loss_weight: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.branches = branches
        self.n_items = n_items
        self.loss_weights = (user_loss_weight, item_loss_weight)
        dim = encoder.item_embedding.weight.shape[1]
        self.user_map, self.item_map = nn.Linear(dim, dim), nn.Linear(dim, dim)  # W_U, W_I
        nn.init.xavier_normal_(self.user_map.weight)
        nn.init.xavier_normal_(self.item_map.weight)
        # without a head there is nothing to learn the map from, and it would be noise
        self.tail_length = branches.user_threshold if len(branches.head_users) else 0.0

    @property
    def item_embedding(self) -> nn.Embedding:
        """The encoder's."""
        return self.encoder.item_embedding

    def encode(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """States of the encoder, (rows, length, dim)."""
        return self.encoder.encode(ids, lengths)

    def encode_groups(self, ids: list[torch.Tensor], lengths: list[torch.Tensor]) -> torch.Tensor:
        """States of the encoder, (tokens, dim)."""
        return encode_groups(self.encoder, ids, lengths)

    def encode_last(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """F of a head user, f + W_U f of a tail user, (rows, dim)."""
        states = self.last_states(ids, lengths)
        tail = (lengths <= self.tail_length)[:, None]
        return torch.where(tail, states + self.user_map(states), states)

    def last_states(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """States f after the last items, (rows, dim)."""
        return last_states(self.encoder, ids, lengths)

    def extra_loss(self, groups: list[Group]) -> torch.Tensor:
        """Losses of the branches, weighted, and the encoder's own extra loss."""
        users, items = self.branches.next_heads()
        loss = self.item_embedding.weight.new_zeros(())
        if hasattr(self.encoder, "extra_loss"):
            loss = loss + self.encoder.extra_loss(groups)
        if len(users):
            loss = loss + self.loss_weights[0] * self.user_loss(users)
        if len(items):
            loss = loss + self.loss_weights[1] * self.item_loss(items)
        return loss

    def user_loss(self, users: np.ndarray) -> torch.Tensor:
        """L_u: mean of w_u (W_U f(recent) - f(full))^2."""
        few = self._states_of(self.branches.recent(users))
        full = self._states_of(self.branches.full(users))
        weights = self._column(self.branches.user_weights(users))
        return (weights * (self.user_map(few) - full) ** 2).mean()

    def item_loss(self, items: np.ndarray) -> torch.Tensor:
        """L_i: mean of (w_i (W_I mean(f + W_U f) - e_i))^2."""
        contexts, which = self.branches.sampled_contexts(items)
        states = self._states_of(contexts)
        means = self._mean(states + self.user_map(states), which, len(items))
        wanted = self.item_embedding(torch.from_numpy(items).to(states.device))
        weights = self._column(self.branches.item_weights(items))
        return ((weights * (self.item_map(means) - wanted)) ** 2).mean()

    @torch.no_grad()
    def overwrite_tail_items(self) -> None:
        """Replace each tail item's embedding by W_I of the mean of f over all its contexts."""
        branches = self.branches
        if len(branches.head_items) == 0:
            return
        was_training = self.training
        self.eval()
        device = self.item_embedding.weight.device
        # f after each item of a row is f of the context that ends there: one pass over the rows
        total = self.item_embedding.weight.new_zeros(self.item_embedding.weight.shape)
        count = total.new_zeros(len(total), 1)
        kept = branches.histories.last(branches.max_length)
        order = np.argsort(kept.lengths, kind="stable")
        for rows in np.array_split(order, max(1, len(order) // 256)):
            part = kept[rows[kept.lengths[rows] > 0]]
            if len(part) == 0:
                continue
            ids = torch.from_numpy(part.padded(fill=self.n_items)).to(device)
            inside = ids < self.n_items
            states = self.encode(ids, inside.sum(1))[inside]  # (interactions, dim)
            total.index_add_(0, ids[inside], states)
            count.index_add_(0, ids[inside], torch.ones_like(states[:, :1]))
        tail = torch.from_numpy(branches.tail_items).to(device)
        tail = tail[count[tail, 0] > 0]
        self.item_embedding.weight[tail] = self.item_map(total[tail] / count[tail])
        self.train(was_training)

    def _states_of(self, sequences: Sequences) -> torch.Tensor:
        """States f after each sequence, encoded in length groups, (rows, dim)."""
        device = self.item_embedding.weight.device
        group = np.searchsorted(group_edges(sequences.lengths, share=1.0), sequences.lengths)
        states = []
        for g in np.unique(group):
            part = sequences[np.flatnonzero(group == g)]
            ids = torch.from_numpy(part.padded(fill=self.n_items)).to(device)
            states.append(self.last_states(ids, torch.from_numpy(part.lengths).to(device)))
        place = np.argsort(np.argsort(group, kind="stable"))  # of each row among the groups'
        return torch.cat(states)[torch.from_numpy(place).to(device)]

    def _mean(self, states: torch.Tensor, which: np.ndarray, n: int) -> torch.Tensor:
        """Mean of the states of each group, (n, dim)."""
        at = torch.from_numpy(which).to(states.device)
        total = states.new_zeros(n, states.shape[1]).index_add(0, at, states)
        return total / torch.bincount(at, minlength=n)[:, None]

    def _column(self, weights: np.ndarray) -> torch.Tensor:
        parameter = self.item_embedding.weight
        return torch.from_numpy(weights).to(parameter.device, parameter.dtype)[:, None]


class _StartEpoch(Callback):
    """Overwrite the tail items and advance the curriculum at the start of each epoch."""

    def on_train_begin(self, net: SequenceNet, **kwargs: Any) -> None:
        self.branches_ = net.module_.branches  # where a checkpoint finds their state

    def on_epoch_begin(self, net: SequenceNet, **kwargs: Any) -> None:
        net.module_.branches.start_epoch(len(net.history) - 1)
        net.module_.overwrite_tail_items()


class MELT(SequentialRecommender):
    """Mutual enhancement of long-tailed users and items, around a trained recommender.

    Parameters
    ----------
    recommender : SequentialRecommender or None, default=None
        What is enhanced; None: ``SASRec()``, with ``exclude_seen`` as here. A fitted one is taken
        as the pre-trained model, an unfitted one is fitted first, on the same ``X`` and ``y``;
        neither is changed. Its loss, negatives, ``max_length`` and device hold for the training
        here too. ``clone`` leaves a recommender unfitted: in a search, wrap a fitted one in
        ``sklearn.frozen.FrozenEstimator``.
    user_weight, item_weight : float, default=0.1, 0.4
        λ_u and λ_i, weights of the branches' losses; the defaults are those for Beauty.
    user_quantile : float in [0, 1], default=0.8
        Users whose history, cut to ``max_length`` items, is longer than this quantile of such
        lengths, T_u, are the head.
    item_quantile : float in [0, 1], default=0.78
        Items more frequent than this quantile, T_i, are the head.
    max_epochs : int, default=180
        E, most epochs, over which the curriculum extends.
    patience : int, default=20
        Epochs without a better validation NDCG@20 before training stops, where ``y`` is given.
    batch_size : int, default=128
    lr : float, default=1e-3
        Learning rate of Adam, whose betas are (0.9, 0.98).
    weight_decay : float, default=0.0
    exclude_seen : bool, default=True
        Keep the items of a history out of its ranking.
    callbacks : list of skorch callbacks or None, default=None
    checkpoint_dir : str, path or None, default=None
        As :class:`~sklearn_dr4sr.recommenders.SequentialRecommender`, for both fits: an unfitted
        recommender without a ``checkpoint_dir`` of its own writes its file here too, and its last
        state stays until MELT has finished. A keyboard interrupt of the recommender's fit then is
        one of this fit.
    random_state : int, RandomState or None, default=None
        Also seeds an unfitted recommender that has none of its own.
    verbose : int, default=0
        1 prints a line an epoch.

    Attributes
    ----------
    recommender_ : SequentialRecommender
        The recommender as trained on here.
    user_threshold_, item_threshold_ : float
        T_u and T_i.
    head_items_ : ndarray of ids
    items_, net_, item_embeddings_, popularity_, history_, n_steps_, best_epoch_ :
        As :class:`~sklearn_dr4sr.recommenders.SequentialRecommender`.

    Notes
    -----
    f(s) is the recommender's state after s, N its ``max_length``, ``|s|`` the length of a history
    cut to N, e_i an item's embedding, W_U and W_I linear maps. The loss of a step is [1]_::

        L = L_rec + λ_u L_u + λ_i L_i
        L_u = mean over head users of w_u (W_U f(last r of s_u) - f(s_u))^2,  r uniform in [1, T_u)
        L_i = mean over head items of (w_i (W_I mean g(c) - e_i))^2,  g(c) = f(c) + W_U f(c)
        w_u = |sin(π/2 e/E + π/2 (|s_u| - T_u - 1) / (N - T_u - 1))|
        w_i = |sin(π/2 e/E + π/2 (frequency(i) - T_i - 1) / N)|

    in epoch e = 0, 1, ..., with L_rec the recommender's own loss on the patterns. A context c of an
    item is a history up to that item; of each head item of a step 1 to T_i contexts are drawn, as
    in the published code (which draws histories read backwards from the item too: not here). The
    head users and items are spread over the steps of an epoch. At the start of each epoch the
    embeddings of tail items are overwritten by W_I of the mean of f over all their contexts. To
    rank, a tail user (of a history of at most T_u items) has f + W_U f; a head user has f, and so
    the scores of ``recommender_``. Both branches read the histories, also where there are patterns.

    Without a head of users (of items), as where all histories are equally long, there is nothing to
    learn W_U (W_I) from: tail users then rank by f (no item is overwritten). So it is where a share
    of 1 - ``user_quantile`` of the users has N items or more: none is then longer than T_u = N. The
    head of users is told by the history that is ranked, which may be longer than the one that was
    trained on. Departure: the published code takes T_u of uncut lengths, and its curriculum divides
    by N - T_u - 1, which is meaningless from T_u = N - 1 on; below that, both are the same.

    ``save`` takes no MELT, since it holds another recommender; ``joblib.dump`` stores it, and
    :func:`~sklearn_dr4sr.recommenders.to_onnx` its ranking.

    References
    ----------
    .. [1] Kim, Hyun, Yun and Park, "MELT: Mutual Enhancement of Long-Tailed User and Item for
       Sequential Recommendation", SIGIR 2023.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import MELT
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.recommenders import SASRec
    >>> rows = make_sequences(200, 50, random_state=0)
    >>> base = SASRec(max_epochs=2, random_state=0).fit(rows)
    >>> MELT(base, max_epochs=2, random_state=0).fit(rows).predict([[1, 2, 3], []], k=5).shape
    (2, 5)
    """

    _module = MELTModule
    #: Tail items are overwritten between epochs: no path of steps that an average could follow.
    ema_decay = 0.0

    def __init__(
        self,
        recommender: Any = None,
        *,
        user_weight: float = 0.1,
        item_weight: float = 0.4,
        user_quantile: float = 0.8,
        item_quantile: float = 0.78,
        max_epochs: int = 180,
        patience: int = 20,
        batch_size: int = 128,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        exclude_seen: bool = True,
        callbacks: Any = None,
        checkpoint_dir: Any = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.recommender = recommender
        self.user_weight = user_weight
        self.item_weight = item_weight
        self.user_quantile = user_quantile
        self.item_quantile = item_quantile
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.exclude_seen = exclude_seen
        self.callbacks = callbacks
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose

    def __getattr__(self, name: str) -> Any:
        # what the training needs of the recommender's parameters
        if name in _SHARED and "recommender" in vars(self):
            return getattr(self._base(), name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _base(self) -> Any:
        """Find the recommender: the default one for None, a frozen one's inside."""
        base = self.recommender
        if base is None:
            base = SASRec(exclude_seen=self.exclude_seen)  # which its early stopping reads
        if type(base).__name__ == "FrozenEstimator":
            base = base.estimator
        return base

    def _check_parameters(self) -> None:
        base = self._base()
        if not isinstance(base, SequentialRecommender) or isinstance(base, MELT):
            raise TypeError(
                f"recommender: expected one of the neural recommenders but MELT, got {base!r}"
            )
        check_number("user_weight", self.user_weight, 0)
        check_number("item_weight", self.item_weight, 0)
        check_number("user_quantile", self.user_quantile, 0, 1)
        check_number("item_quantile", self.item_quantile, 0, 1)
        base._check_parameters()
        super()._check_parameters()

    def _fit(self, dataset: SequenceDataset, target: np.ndarray | None) -> None:
        base, items = copy.deepcopy(self._base()), dataset.histories.items
        kept: list[Checkpoint] = []
        if hasattr(base, "items_"):
            _check_same_items(base.items_, items)
        else:
            y = None
            if target is not None:
                y = [items[code] if code >= 0 else None for code in target]
            if base.random_state is None:
                base.random_state = seed_of(self.random_state)
            if self.checkpoint_dir is None:
                base.fit(dataset, y)
            else:
                kept = self._fit_resumably(base, dataset, y)
        module = base.net_.module_.to(resolve_device(self.device))
        if hasattr(module, "originals"):  # CL4SRec's sequences, which a copy does not hold
            module.originals = base._module_parameters(dataset)["originals"]
        self._pretrained = base
        try:
            super()._fit(dataset, target)
        finally:
            del self._pretrained
        branches = self.net_.module_.branches
        self.user_threshold_ = branches.user_threshold
        self.item_threshold_ = branches.item_threshold
        self.head_items_ = items[branches.head_items]
        base.net_.module_ = self.net_.module_.encoder
        base.popularity_ = self.popularity_
        self.recommender_ = base
        if not self.net_.interrupted:
            for checkpoint in kept:
                self._done_with(checkpoint)

    def _fit_resumably(self, base: Any, dataset: SequenceDataset, y: Any) -> list[Checkpoint]:
        """Fit the recommender, whose checkpoint, returned, stays: with it no fit starts over."""
        kept: list[Checkpoint] = []
        given, base._done_with = base.checkpoint_dir, kept.append
        if given is None:
            base.checkpoint_dir = self.checkpoint_dir
        base.fit(dataset, y)
        if base.net_.interrupted:  # a checkpoint of what followed would fit no finished one
            raise KeyboardInterrupt
        base.checkpoint_dir = given
        del base._done_with
        return kept

    def _identity(self) -> dict[str, Any]:
        base = self._base()
        weights = base.net_.module_.state_dict() if hasattr(base, "items_") else {}
        return {
            **super()._identity(),
            "recommender": {
                "class": type(base),
                **base._identity(),
                "weights": {name: value.cpu().numpy() for name, value in weights.items()},
            },
        }

    def _make_net(
        self, dataset: SequenceDataset, target: np.ndarray | None, device: torch.device, seed: int
    ) -> SequenceNet:
        net = super()._make_net(dataset, target, device, seed)
        usable = int((dataset.patterns.lengths >= 2).sum())
        branches = Branches(
            dataset.histories,
            self.max_length,
            self.user_quantile,
            self.item_quantile,
            n_steps=self._steps(dataset) or -(-usable // self.batch_size),
            n_epochs=self.max_epochs,
            seed=seed,
        )
        start = [("start_epoch", _StartEpoch())]
        return net.set_params(
            module__branches=branches, optimizer__betas=(0.9, 0.98), callbacks=start + net.callbacks
        )

    def _module_parameters(self, dataset: SequenceDataset) -> dict[str, Any]:
        return {
            "n_items": len(dataset.histories.items),
            "encoder": self._pretrained.net_.module_,
            "user_loss_weight": self.user_weight,
            "item_loss_weight": self.item_weight,
        }


def _check_same_items(fitted: np.ndarray, given: np.ndarray) -> None:
    if not np.array_equal(fitted, given):
        ours, theirs = set(given.tolist()), set(fitted.tolist())
        ids, where = (ours - theirs, "X") if ours - theirs else (theirs - ours, "recommender")
        raise ValueError(
            f"recommender was fitted on a catalogue of {len(fitted)} items, X has {len(given)}, "
            f"and {min(ids)!r} is in that of {where} alone: fit it on the same data, or pass it "
            "unfitted"
        )


#: Parameters of the recommender that hold for the training of the branches.
_SHARED = (
    "loss",
    "n_negatives",
    "negatives",
    "calibration",
    "targets",
    "max_length",
    "steps_per_epoch",
    "precision",
    "device",
)
