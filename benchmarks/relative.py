"""BSARec with learned biases of distance in its attention, in place of embedded positions."""

from __future__ import annotations

import torch
from torch import nn

from sklearn_dr4sr.recommenders import BSARec
from sklearn_dr4sr.recommenders.bsarec import BSARecModule
from sklearn_dr4sr.recommenders.layers import CausalSelfAttention, initialise


class _RelativeAttention(CausalSelfAttention):
    """Attention whose logits have a bias for each head and distance (Raffel et al., JMLR 2020)."""

    def __init__(self, dim: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__(dim, n_heads, dropout)
        self.bias = nn.Parameter(torch.zeros(n_heads, max_length))

    def _look(self, q: torch.Tensor) -> dict[str, torch.Tensor]:
        time = torch.arange(q.shape[2], device=q.device)
        distance = time[:, None] - time  # (length, length)
        bias = self.bias[:, distance.clamp(min=0)].masked_fill(distance < 0, -torch.inf)
        return {"attn_mask": bias.to(q)}


class _RelativeModule(BSARecModule):
    def __init__(
        self,
        n_items: int,
        max_length: int = 50,
        embedding_dim: int = 64,
        hidden_dim: int = 256,
        n_layers: int = 2,
        n_heads: int = 2,
        kernel_size: int = 8,
        filter_weight: float = 0.7,
        dropout: float = 0.5,
    ) -> None:
        # named one by one: an estimator hands over the parameters that the signature names
        shape = (n_items, max_length, embedding_dim, hidden_dim, n_layers, n_heads)
        super().__init__(*shape, kernel_size, filter_weight, dropout)
        self.position_embedding.weight.requires_grad_(False).zero_()
        for block in self.blocks:
            block.attention = _RelativeAttention(embedding_dim, n_heads, dropout, max_length)
            block.attention.apply(initialise)


class RelativeBSARec(BSARec):
    """As BSARec: one of the ideas that were tried, not a part of the package."""

    _module = _RelativeModule
