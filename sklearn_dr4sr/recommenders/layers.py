"""Building blocks that several recommenders share."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from .._dropout import Dropout

#: How self-attention knows the order of items.
POSITIONS = ("absolute", "relative")


class Layout(NamedTuple):
    """Where the tokens of several padded groups of sequences lie, one behind the other.

    What acts on each position by itself takes all of them at once, (tokens, dim): on a CPU a small
    network spends most of its step on starting operations.

    Attributes
    ----------
    shapes : list of (rows, length)
        Of the groups; group after group, row after row.
    position : tensor of int64, shape (tokens,)
        Place of each token within its sequence, oldest first.
    """

    shapes: list[tuple[int, int]]
    position: torch.Tensor

    @classmethod
    def of(cls, ids: list[torch.Tensor]) -> Layout:
        """Lay out groups of ids, each (rows, length)."""
        shapes = [(part.shape[0], part.shape[1]) for part in ids]
        position = [torch.arange(n, device=ids[0].device).repeat(rows) for rows, n in shapes]
        return cls(shapes, torch.cat(position))

    def groups(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Cut (tokens, ...) into one (rows, length, ...) a group."""
        if len(self.shapes) == 1:
            return [x.unflatten(0, self.shapes[0])]
        parts = x.split([rows * length for rows, length in self.shapes])
        return [part.unflatten(0, shape) for part, shape in zip(parts, self.shapes, strict=True)]


class PackedEncoder(nn.Module):
    """Base of modules that encode all length groups of a step at once.

    A subclass makes ``item_embedding``, ``position_embedding`` (None where attention counts
    distances), ``input_norm``, ``dropout`` and ``blocks``, each called as ``block(x, layout)`` with
    x of shape (tokens, dim).
    """

    def encode(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """States after each item, (rows, length) -> (rows, length, dim)."""
        return self.encode_groups([ids], [lengths]).unflatten(0, ids.shape)

    def encode_groups(self, ids: list[torch.Tensor], lengths: list[torch.Tensor]) -> torch.Tensor:
        """States after each item, groups (rows, length) -> (tokens, dim)."""
        layout = Layout.of(ids)
        x = self._items(torch.cat([part.flatten() for part in ids]))  # (tokens, dim)
        if self.position_embedding is not None:
            x = x + self.position_embedding(layout.position)
        x = self._drop(self.input_norm(x))
        for block in self.blocks:
            x = block(x, layout)
        return x

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        """Drop out of the input, (tokens, dim), but of no token all.

        A narrow one may lose every channel. What follows is constant then, until the biases have
        left 0, and each norm multiplies the gradient of a constant by 1 / sqrt(its eps).
        """
        kept = self.dropout(x)
        if self.training:
            kept = torch.where((kept == 0).all(dim=-1, keepdim=True), x, kept)
        return kept

    def _items(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up input items, (tokens,) -> (tokens, dim)."""
        return self.item_embedding(ids)


class CausalSelfAttention(nn.Module):
    """Multi-head attention of each position to itself and the earlier ones.

    No padding mask is needed: sequences are padded on the right, where no real position looks.

    Parameters
    ----------
    dim, n_heads : int
        ``dim`` must be a multiple of ``n_heads``.
    dropout : float
        On the attention weights.
    n_distances : int, default=0
        Above 0: a bias of the logits is learned for each head and distance below this (it starts
        at 0).
    """

    def __init__(self, dim: int, n_heads: int, dropout: float, n_distances: int = 0) -> None:
        super().__init__()
        if dim % n_heads:
            raise ValueError(f"embedding_dim={dim} must be a multiple of n_heads={n_heads}")
        self.n_heads = n_heads
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.zeros(n_heads, n_distances)) if n_distances else None

    def forward(self, x: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Attend within each sequence; (tokens, dim) -> (tokens, dim)."""
        mixed = [self._mix(qkv).flatten(0, 1) for qkv in layout.groups(self.qkv(x))]
        return self.out(torch.cat(mixed))

    def _mix(self, qkv: torch.Tensor) -> torch.Tensor:
        """Mix the values of one group, (rows, length, 3 dim) -> (rows, length, dim)."""
        q, k, v = qkv.unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        # each (rows, heads, length, dim / heads)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, **self._look(q))
        return mixed.transpose(1, 2).flatten(2)

    def _look(self, q: torch.Tensor) -> dict[str, Any]:
        """Where each position looks, as arguments of torch's attention."""
        if self.bias is None:
            return {"is_causal": True}
        time = torch.arange(q.shape[2], device=q.device)
        distance = time[:, None] - time  # (length, length)
        bias = self.bias[:, distance.clamp(min=0)].masked_fill(distance < 0, -torch.inf)
        return {"attn_mask": bias.to(q)}  # (heads, length, length)


class FeedForward(nn.Sequential):
    """Linear, GELU, dropout, linear, at each position.

    Parameters
    ----------
    dim, hidden_dim : int
    dropout : float
    """

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(dim, hidden_dim), nn.GELU(), Dropout(dropout), nn.Linear(hidden_dim, dim)
        )


def initialise(module: nn.Module) -> None:
    """Draw embeddings and linear weights from N(0, .02), biases 0 (``module.apply`` calls this)."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
