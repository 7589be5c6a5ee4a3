"""Dropout, drawn fast."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["Dropout"]


class Dropout(nn.Dropout):
    """``nn.Dropout``, several times as fast on a CPU: 16 random bits an element, not 64.

    Drawing the mask is the largest single cost of a small transformer's step there. The share that
    is dropped is ``p`` rounded to a multiple of 2 ** -16, and what stays is scaled by just that.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Zero some of ``x`` in training, any shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        n_dropped = min(round(self.p * 2**16), 2**16 - 1)  # of the 2 ** 16 values
        keep = (bits >= n_dropped - 2**15).to(x.dtype)
        return x * keep.mul_(2**16 / (2**16 - n_dropped))
