"""The network that weighs training targets (g of the paper), and what it looks at."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..dataset import ORIGINS

__all__ = ["FEATURES", "PersonalizerNetwork"]

FEATURES = ("state", "target", "margin", "pattern_margin", "origin", "support")


class PersonalizerNetwork(nn.Module):
    """MLP from what is known of a target to two logits (Equation 5).

    Parameters
    ----------
    dim : int
        Width of states and item embeddings.
    features : tuple of str
        Some of ``FEATURES``, as in :class:`DatasetPersonalizer`.
    hidden_dim : int
    temperature : float
        τ.
    """

    def __init__(
        self, dim: int, features: tuple[str, ...], hidden_dim: int, temperature: float
    ) -> None:
        super().__init__()
        self.features = features
        self.temperature = temperature
        widths = {
            "state": dim,
            "target": dim,
            "margin": 1,
            "pattern_margin": 1,
            "origin": len(ORIGINS),
            "support": 1,
        }
        width = sum(widths[name] for name in features)
        self.mlp = nn.Sequential(nn.Linear(width, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 2))

    def forward(self, x: torch.Tensor, noise: bool) -> torch.Tensor:
        """Logarithms of the weights, shape (n,), of ``inputs`` (n, width)."""
        z = self.mlp(x)  # (n, 2)
        if noise:  # Gumbel: minus the log of a standard exponential
            z = z - torch.empty_like(z).exponential_().clamp(min=1e-10).log()
        return torch.log_softmax(z / self.temperature, dim=-1)[:, 0]

    def inputs(
        self,
        states: torch.Tensor,
        targets: torch.Tensor,
        item_matrix: torch.Tensor,
        pattern: torch.Tensor,
        origin: torch.Tensor,
        support: torch.Tensor,
    ) -> torch.Tensor:
        """Lay the features of n targets side by side, (n, width).

        ``pattern`` (n,) numbers the patterns that hold the targets, from 0 and without gaps.

        Vectors are scaled to a variance of 1: states of different models, and embeddings at their
        start, differ a hundredfold in length, and one learning rate has to serve them all.
        """
        columns = []
        for name in self.features:
            if name == "state":
                columns.append(F.layer_norm(states, states.shape[1:]))
            elif name == "target":
                columns.append(F.layer_norm(F.embedding(targets, item_matrix), states.shape[1:]))
            elif name == "margin":
                columns.append(standing(states, targets, item_matrix)[:, None])
            elif name == "pattern_margin":
                margin = standing(states, targets, item_matrix)
                total = margin.new_zeros(int(pattern.max()) + 1).index_add(0, pattern, margin)
                columns.append((total / pattern.bincount())[pattern][:, None])
            elif name == "origin":
                columns.append(F.one_hot(origin, len(ORIGINS)).to(states.dtype))
            else:
                columns.append(torch.log1p(support.to(states.dtype))[:, None])
        return torch.cat(columns, dim=1)


def standing(
    states: torch.Tensor, targets: torch.Tensor, item_matrix: torch.Tensor
) -> torch.Tensor:
    """Score of each target in standard deviations above the mean over the catalogue, (n,).

    From the mean and the covariance of the item embeddings, without scoring the catalogue.
    """
    centre = item_matrix.mean(dim=0)
    covariance = item_matrix.T @ item_matrix / len(item_matrix) - torch.outer(centre, centre)
    above = (states * (F.embedding(targets, item_matrix) - centre)).sum(-1)
    variance = ((states @ covariance) * states).sum(-1)
    return above / variance.clamp(min=1e-12).sqrt()
