"""FMLP: learned filters in the frequency domain in place of attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .._dropout import Dropout
from .base import SequentialRecommender
from .layers import FeedForward, initialise

__all__ = ["FMLP", "FMLPModule"]

#: A step with more padded tokens of prefixes keeps only the prefixes for the backward pass, and
#: computes the rest again. On a device so many run at once.
PREFIX_TOKENS = 2**17
#: So many run at once on a CPU: larger tensors leave the cache, and are paged in anew each time.
CPU_PREFIX_TOKENS = 2**13


class _Filter(nn.Module):
    """Multiply the spectrum of each channel over time by a learned complex weight."""

    def __init__(self, max_length: int, dim: int) -> None:
        super().__init__()
        self.max_length = max_length
        # real and imaginary parts, (frequencies, dim, 2): complex parameters do not export
        self.weight = nn.Parameter(0.02 * torch.randn(max_length // 2 + 1, dim, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve circularly, (rows, max_length, dim) -> the same shape."""
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(self.weight)
        return torch.fft.irfft(spectrum, n=self.max_length, dim=1, norm="ortho")

    def kernel(self) -> torch.Tensor:
        """Weights over time that the spectrum stands for, (max_length, dim), lag 0 first."""
        return torch.fft.irfft(torch.view_as_complex(self.weight), n=self.max_length, dim=0)

    def last(self, x: torch.Tensor) -> torch.Tensor:
        """Give the last position of ``forward`` only, (rows, max_length, dim) -> (rows, dim)."""
        return torch.einsum("ntd,td->nd", x, self.kernel().flip(0))

    def causal(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve with what came before only, (rows, length, dim) -> the same shape."""
        # as a Toeplitz matrix: up to 50 positions, it takes half the time of a padded FFT or less
        time = torch.arange(x.shape[1], device=x.device)
        lag = time[:, None] - time  # (length, length)
        toeplitz = self.kernel()[lag.clamp(min=0)] * (lag >= 0)[:, :, None]
        return torch.einsum("tsd,nsd->ntd", toeplitz, x)


class _Block(nn.Module):
    """Filter layer and feed-forward layer, post-norm."""

    def __init__(self, max_length: int, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.filter = _Filter(max_length, dim)
        self.feed_forward = FeedForward(dim, hidden_dim, 0.0)
        self.norm_filter = nn.LayerNorm(dim, eps=1e-12)
        self.norm_feed_forward = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor, mode: str) -> torch.Tensor:
        if mode == "last":
            x = self.norm_filter(x[:, -1] + self.dropout(self.filter.last(x)))
        else:
            convolve = self.filter.causal if mode == "causal" else self.filter
            x = self.norm_filter(x + self.dropout(convolve(x)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))


class FMLPModule(nn.Module):
    """The network of :class:`FMLP`; parameters as there."""

    def __init__(
        self,
        n_items: int,
        max_length: int = 50,
        embedding_dim: int = 64,
        hidden_dim: int = 256,
        n_layers: int = 2,
        dropout: float = 0.5,
        mode: str = "prefix_fast",
    ) -> None:
        super().__init__()
        self.mode = mode
        self.max_length = max_length
        self.item_embedding = nn.Embedding(n_items + 1, embedding_dim, padding_idx=n_items)
        self.position_embedding = nn.Embedding(max_length, embedding_dim)
        self.input_norm = nn.LayerNorm(embedding_dim, eps=1e-12)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            _Block(max_length, embedding_dim, hidden_dim, dropout) for _ in range(n_layers)
        )
        self.apply(initialise)
        # the filters see the padding of a prefix: it is the zero vector, and stays so
        nn.init.zeros_(self.item_embedding.weight[n_items])

    def encode(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """States after each item, (batch, length) -> (batch, length, dim)."""
        if self.mode == "causal":
            x = self._embed(ids)
            for block in self.blocks:
                x = block(x, "causal")
            return x
        inside = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        row, end = inside.nonzero(as_tuple=True)  # each (prefixes,)
        states = self._encode_prefixes(ids, row, end)  # (prefixes, dim)
        return states.new_zeros(*ids.shape, states.shape[1]).index_put((row, end), states)

    def encode_last(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """States after the last items only, (batch, length) -> (batch, dim)."""
        row = torch.arange(ids.shape[0], device=ids.device)
        if self.mode == "causal":
            return self.encode(ids, lengths)[row, lengths - 1]
        return self._encode_prefixes(ids, row, lengths - 1)

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up items and add positions, (rows, length) -> (rows, length, dim)."""
        positions = self.position_embedding.weight[: ids.shape[1]]  # (length, dim)
        return self.dropout(self.input_norm(self.item_embedding(ids) + positions))

    def _encode_prefixes(
        self, ids: torch.Tensor, row: torch.Tensor, end: torch.Tensor
    ) -> torch.Tensor:
        """Encode the prefix of each given row that stops at ``end``, -> (prefixes, dim)."""
        at = end[:, None] + torch.arange(1 - self.max_length, 1, device=ids.device)
        padding = self.item_embedding.padding_idx
        prefixes = torch.where(at >= 0, ids[row[:, None], at.clamp(min=0)], padding)
        if torch.compiler.is_compiling():  # an exported batch has no size to split by
            return self._run(prefixes)
        tokens = CPU_PREFIX_TOKENS if prefixes.device.type == "cpu" else PREFIX_TOKENS
        parts = prefixes.split(max(1, tokens // self.max_length))
        if prefixes.numel() > PREFIX_TOKENS and torch.is_grad_enabled():
            return torch.cat([checkpoint(self._run, part, use_reentrant=False) for part in parts])
        return torch.cat([self._run(part) for part in parts])

    def _run(self, prefixes: torch.Tensor) -> torch.Tensor:
        """Encode left-padded samples, (prefixes, max_length) -> (prefixes, dim)."""
        x = self._embed(prefixes)
        for block in self.blocks[:-1]:
            x = block(x, "circular")  # (prefixes, max_length, dim)
        if self.mode == "prefix_fast":
            return self.blocks[-1](x, "last")
        return self.blocks[-1](x, "circular")[:, -1]


class FMLP(SequentialRecommender):
    """All-MLP with learnable filters.

    Parameters
    ----------
    mode : {"prefix", "prefix_fast", "causal"}, default="prefix_fast"
        "prefix": each prefix of a sequence is a sample of its own, as in the paper. "prefix_fast":
        the same numbers (up to rounding) in two thirds of the time. "causal": another, much
        cheaper model, whose filters see the past only. See the notes.
    embedding_dim : int, default=64
        Width d.
    hidden_dim : int, default=256
        Width of the feed-forward layers.
    n_layers : int, default=2
    dropout : float in [0, 1), default=0.5
        On the embedded input, and after every filter and feed-forward layer.
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
    x_t = dropout(LN(E[i_t] + P[t])); then per layer, F the discrete Fourier transform over the
    N = ``max_length`` positions and W complex, (N // 2 + 1, d)::

        z = LN(x + dropout(F^-1(W ∘ F(x))))
        x = LN(z + dropout(FFN(z)))

    and the score of item j after position t is x_t . E[j].

    **Why each prefix is a sample.** The filter of [1]_ is the circular convolution
    y_t = sum over s of w_{(t - s) mod N} x_s, with w the inverse transform of W: position t takes
    in the positions after it. Were all positions of a sequence trained at once, the state that is
    to predict item t + 1 would have seen it, and the model would learn to copy. So each prefix is
    padded on the left to N positions (with the zero vector) and read at its last position, where
    nothing later exists. Trimming the padding would change N, hence the filter. This costs N
    positions for every item, where :class:`SASRec` has one.

    "prefix_fast" computes the last layer at the position that is read, as
    y_N = sum over s of w_{N - s} x_s. "causal" keeps the weights and drops the wrapping,
    y_t = sum over s <= t of w_{t - s} x_s, with positions counted from the oldest item: then all
    positions are trained at once, like any other recommender's. Its results are not the paper's.

    References
    ----------
    .. [1] Zhou, Yu, Zhao and Wen, "Filter-enhanced MLP is All You Need for Sequential
       Recommendation", WWW 2022.

    Examples
    --------
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.recommenders import FMLP
    >>> model = FMLP(mode="causal", max_epochs=2, random_state=0).fit(make_sequences(200, 50))
    >>> model.predict([[1, 2, 3], []], k=5).shape
    (2, 5)
    """

    _module = FMLPModule
    _choices = {"mode": ("prefix", "prefix_fast", "causal")}

    def __init__(
        self,
        *,
        mode: str = "prefix_fast",
        embedding_dim: int = 64,
        hidden_dim: int = 256,
        n_layers: int = 2,
        dropout: float = 0.5,
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
        self.mode = mode
        self.embedding_dim = embedding_dim
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.dropout = dropout
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
