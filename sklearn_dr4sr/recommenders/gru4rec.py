"""GRU4Rec: a recurrent network over the history."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .._dropout import Dropout
from .base import SequentialRecommender
from .layers import initialise

__all__ = ["GRU4Rec", "GRU4RecModule"]


class GRU4RecModule(nn.Module):
    """The network of :class:`GRU4Rec`; parameters as there."""

    def __init__(
        self,
        n_items: int,
        embedding_dim: int = 64,
        hidden_dim: int = 256,
        n_layers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.item_embedding = nn.Embedding(n_items + 1, embedding_dim)
        self.dropout = Dropout(dropout)
        self.gru = nn.GRU(embedding_dim, hidden_dim, n_layers, bias=False, batch_first=True)
        self.out = nn.Linear(hidden_dim, embedding_dim)
        self.apply(initialise)

    def encode(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """States after each item, (batch, length) -> (batch, length, dim)."""
        x = self.dropout(self.item_embedding(ids))  # (batch, length, dim)
        hidden, _ = self.gru(x)  # (batch, length, hidden_dim)
        return self.out(hidden)


class GRU4Rec(SequentialRecommender):
    """Gated recurrent units over the history.

    Parameters
    ----------
    embedding_dim : int, default=64
        Width d.
    hidden_dim : int, default=256
        Width of the recurrent states.
    n_layers : int, default=2
        Recurrent layers.
    dropout : float in [0, 1), default=0.2
        On the embedded input.
    loss, n_negatives, negatives, calibration, targets, max_length, max_epochs, patience, \
steps_per_epoch, batch_size, lr, weight_decay, ema_decay, exclude_seen, callbacks, \
checkpoint_dir, precision, device, random_state, verbose :
        As :class:`SequentialRecommender`, but ``weight_decay=1e-4`` by default.

    Attributes
    ----------
    items_, net_, item_embeddings_, popularity_, history_, n_steps_, best_epoch_ :
        As :class:`SequentialRecommender`.

    Notes
    -----
    x_t = dropout(E[i_t]); then per layer, with σ the logistic function and ∘ elementwise::

        r_t = σ(W_r x_t + U_r h_{t-1})
        z_t = σ(W_z x_t + U_z h_{t-1})
        n_t = tanh(W_n x_t + r_t ∘ (U_n h_{t-1}))
        h_t = (1 - z_t) ∘ n_t + z_t ∘ h_{t-1},        h_0 = 0

    without biases, h_t being the x_t of the next layer; the state is A h_t + b of the last layer,
    and the score of item j after position t its product with E[j]. The setting of the DR4SR paper
    (A.4): the input embedding is the output embedding too, and whole sequences are trained with
    the loss of all recommenders here, unlike the original session-parallel batches and ranking
    loss of [1]_. The paper searches ``dropout`` in {.2, .5} and ``n_layers`` in {2, 3}.

    References
    ----------
    .. [1] Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based Recommendations with Recurrent
       Neural Networks", ICLR 2016.

    Examples
    --------
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.recommenders import GRU4Rec
    >>> model = GRU4Rec(loss="ce", max_epochs=2, random_state=0).fit(make_sequences(200, 50))
    >>> model.predict([[1, 2, 3], []], k=5).shape
    (2, 5)
    """

    _module = GRU4RecModule

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        hidden_dim: int = 256,
        n_layers: int = 2,
        dropout: float = 0.2,
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
        weight_decay: float = 1e-4,
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
