"""CL4SRec: SASRec with a contrastive loss between two augmented views of each sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from ..dataset import SequenceDataset
from ..sequences import Sequences
from .base import SequentialRecommender
from .batching import Group
from .layers import Layout
from .sasrec import SASRecModule

__all__ = ["CL4SRec", "CL4SRecModule", "augment", "info_nce"]

#: Parts of similar length that the views of a step are encoded in.
N_PARTS = 4


class CL4SRecModule(SASRecModule):
    """The network of :class:`CL4SRec`; parameters as there.

    ``originals`` holds the sequences to take views of; None: those of the batch.
    """

    def __init__(
        self,
        n_items: int,
        max_length: int = 50,
        embedding_dim: int = 64,
        hidden_dim: int = 128,
        n_layers: int = 2,
        n_heads: int = 2,
        dropout: float = 0.5,
        crop: float = 0.2,
        mask: float = 0.7,
        reorder: float = 0.2,
        contrast_weight: float = 0.1,
        temperature: float = 1.0,
        originals: Originals | None = None,
    ) -> None:
        # one row more than SASRec: n_items is the padding, n_items + 1 the mask
        super().__init__(
            n_items + 1, max_length, embedding_dim, hidden_dim, n_layers, n_heads, dropout
        )
        self.n_items = n_items
        self.ratios = (crop, mask, reorder)
        self.contrast_weight = contrast_weight
        self.temperature = temperature
        self.originals = originals

    def extra_loss(self, groups: list[Group]) -> torch.Tensor:
        """Contrastive loss of a step, times its weight."""
        if self.originals is None:
            ids, lengths = _stack(groups, self.n_items)  # (n, length), (n,)
        else:
            ids, lengths = self.originals.of(groups, self.n_items)
        ids, lengths = ids[lengths >= 2], lengths[lengths >= 2]
        if len(ids) < 2:  # nothing to tell a view from
            return self.item_embedding.weight.new_zeros(())
        views, lengths = augment(ids.repeat(2, 1), lengths.repeat(2), self.ratios, self.n_items + 1)
        first, second = self._pooled(views, lengths).chunk(2)  # each (n, dim)
        return self.contrast_weight * info_nce(first, second, self.temperature)

    def _pooled(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean state of each row, (rows, length) -> (rows, dim), rows of like length together."""
        order = lengths.argsort()
        parts = order.chunk(N_PARTS)
        cut = [ids[part, : int(lengths[part[-1]])] for part in parts]  # each (part, width)
        tokens = self.encode_groups(cut, [lengths[part] for part in parts])
        pooled = []
        for part, states in zip(parts, Layout.of(cut).groups(tokens), strict=True):
            inside = torch.arange(states.shape[1], device=ids.device) < lengths[part, None]
            total = torch.einsum("ntd,nt->nd", states, inside.to(states.dtype))
            pooled.append(total / lengths[part, None])
        return torch.cat(pooled)[order.argsort()]


class Originals:
    """The users' own sequences, to be found by the patterns of a batch.

    They serve training alone: pickled, this is empty, so a stored model holds no user's data.

    Parameters
    ----------
    histories : Sequences or None
    source : ndarray of int64, shape (n_patterns,), or None
        Row of each pattern.
    """

    def __init__(
        self, histories: Sequences | None = None, source: np.ndarray | None = None
    ) -> None:
        self.histories = histories
        self.source = source

    def of(self, groups: list[Group], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Sequences of the users in a batch, each once: ids (n, length) and lengths (n,)."""
        rows = np.unique(np.concatenate([self.source[group.pattern] for group in groups]))
        chosen, device = self.histories[rows], groups[0].ids.device
        ids = torch.from_numpy(chosen.padded(fill=fill)).to(device)
        return ids, torch.from_numpy(chosen.lengths).to(device)

    def __reduce__(self) -> tuple:
        return Originals, ()


def _stack(groups: list[Group], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Join the inputs of all groups: one matrix (n, length), and the lengths (n,)."""
    width = max(group.ids.shape[1] for group in groups)
    ids = [nn.functional.pad(g.ids, (0, width - g.ids.shape[1]), value=fill) for g in groups]
    return torch.cat(ids), torch.cat([group.lengths for group in groups])


def augment(
    ids: torch.Tensor, lengths: torch.Tensor, ratios: tuple[float, float, float], mask_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Crop, mask or reorder each row, which of the three at random.

    Parameters
    ----------
    ids : tensor of int64, shape (n, length)
        Right-padded.
    lengths : tensor of int64, shape (n,)
        At least 1.
    ratios : (crop, mask, reorder)
        Of a row of L items, crop keeps a run of floor(crop L), at least one; mask puts
        ``mask_id`` in place of floor(mask L) of them; reorder shuffles a run of floor(reorder L).
    mask_id : int

    Returns
    -------
    ids : tensor of int64, shape (n, length)
        Where a crop has left nothing, what stands there is arbitrary.
    lengths : tensor of int64, shape (n,)
    """
    n, width = ids.shape
    column = torch.arange(width, device=ids.device)
    operator = torch.randint(3, (n, 1), device=ids.device)
    crop, mask, reorder = operator == 0, operator == 1, operator == 2  # each (n, 1)
    ratio = torch.tensor(ratios, dtype=torch.float64, device=ids.device)[operator]
    count = (ratio * lengths[:, None]).long()  # (n, 1)
    count = torch.where(crop, count.clamp(min=1), count)
    # the run, of crop and of reorder, begins anywhere that leaves room for it
    room = lengths[:, None] - count + 1
    start = (torch.rand(n, 1, device=ids.device) * room).long().clamp(max=room - 1)
    noise = torch.rand(n, width, device=ids.device)

    # reorder: sort by place, but for random places within the run
    run = reorder & (column >= start) & (column < start + count)
    order = torch.where(run, start + noise * count, column).argsort(dim=1, stable=True)
    order = torch.where(crop, (column + start).clamp(max=width - 1), order)
    # mask: the items with the lowest noise
    rank = noise.masked_fill(column >= lengths[:, None], 2.0).argsort(dim=1).argsort(dim=1)
    views = ids.gather(1, order).masked_fill(mask & (rank < count), mask_id)
    return views, torch.where(crop, count, lengths[:, None])[:, 0]


def info_nce(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean over rows of -log softmax that a row's second view is told from all other views.

    Parameters
    ----------
    first, second : tensor of shape (n, dim)
        Two views of each of n rows. The candidates of row i are all second views and the first
        views of the other rows.
    temperature : float
        Similarities, dot products, are divided by it.

    Returns
    -------
    tensor of shape ()
    """
    across = first @ second.T / temperature  # (n, n), the positives on the diagonal
    within = (first @ first.T / temperature).fill_diagonal_(-torch.inf)
    answer = torch.arange(len(first), device=first.device)
    return nn.functional.cross_entropy(torch.cat([across, within], dim=1), answer)


class CL4SRec(SequentialRecommender):
    """SASRec that is also taught to tell whose sequence two augmented views come from.

    Parameters
    ----------
    embedding_dim : int, default=64
        Width d; a multiple of ``n_heads``.
    hidden_dim : int, default=128
        Width of the feed-forward layers.
    n_layers : int, default=2
    n_heads : int, default=2
    dropout : float in [0, 1), default=0.5
        On the embedded input, the attention weights, and in and after every sub-layer.
    augment : {"original", "regenerated"}, default="regenerated"
        Take the views of the patterns that a step trains on, or of the original sequences of
        their users, each once a step (the two of Figure 5b). On plain sequences both are the same.
    crop, mask, reorder : float in [0, 1], default=0.2, 0.7, 0.2
        Share of a sequence that a crop keeps, that is masked, and that is shuffled. The defaults
        are the paper's for Toys; it has ``mask=0.4`` for Beauty.
    contrast_weight : float, default=0.1
        Weight of the contrastive loss.
    temperature : float, default=1.0
        Temperature of the contrastive loss, above 0.
    loss, n_negatives, negatives, calibration, targets, max_length, max_epochs, patience, \
steps_per_epoch, batch_size, lr, weight_decay, ema_decay, exclude_seen, callbacks, \
checkpoint_dir, precision, device, random_state, verbose :
        As :class:`SequentialRecommender`.

    Attributes
    ----------
    items_, net_, item_embeddings_, popularity_, history_, n_steps_, best_epoch_ :
        As :class:`SequentialRecommender`.

    Notes
    -----
    The loss of a step is the recommender's (of :class:`SASRec`, weights included) plus
    ``contrast_weight`` times::

        mean over i of -log [exp(a_i . b_i / τ) / Z_i],
        Z_i = sum over j of exp(a_i . b_j / τ) + sum over j != i of exp(a_i . a_j / τ)

    where a_i and b_i are the mean states of two views of sequence i, each made by one operator of
    the three, drawn for each view. Inputs of one item take no part; fewer than two others make the
    loss 0. The setting of the DR4SR paper: [1]_ takes the last state in place of the mean, and
    both directions.

    References
    ----------
    .. [1] Xie, Sun, Liu, Wu, Gao, Zhang, Ding and Cui, "Contrastive Learning for Sequential
       Recommendation", ICDE 2022.

    Examples
    --------
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.recommenders import CL4SRec
    >>> model = CL4SRec(loss="ce", max_epochs=2, random_state=0).fit(make_sequences(200, 50))
    >>> model.predict([[1, 2, 3], []], k=5).shape
    (2, 5)
    """

    _module = CL4SRecModule
    _choices = {"augment": ("original", "regenerated")}
    _ranges = {
        "crop": (0, 1),
        "mask": (0, 1),
        "reorder": (0, 1),
        "contrast_weight": (0, None),
        "temperature": (0, None),
    }

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        hidden_dim: int = 128,
        n_layers: int = 2,
        n_heads: int = 2,
        dropout: float = 0.5,
        augment: str = "regenerated",
        crop: float = 0.2,
        mask: float = 0.7,
        reorder: float = 0.2,
        contrast_weight: float = 0.1,
        temperature: float = 1.0,
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
    ) -> None:
        self.embedding_dim = embedding_dim
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.dropout = dropout
        self.augment = augment
        self.crop = crop
        self.mask = mask
        self.reorder = reorder
        self.contrast_weight = contrast_weight
        self.temperature = temperature
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

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.temperature == 0:
            raise ValueError("temperature must be above 0, got 0")

    def _module_parameters(self, dataset: SequenceDataset) -> dict[str, Any]:
        originals = None
        if self.augment == "original":  # the inputs that their own patterns would have
            inputs = dataset.histories.last(self.max_length + 1).drop_last()
            originals = Originals(inputs, dataset.source)
        return {**super()._module_parameters(dataset), "originals": originals}
