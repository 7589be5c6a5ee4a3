"""WeightAverage: a running average of the weights, which is validated and kept in their place."""

from __future__ import annotations

from typing import Any

import torch
from skorch.callbacks import Callback
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["WeightAverage"]

#: Step at which the decay is a half, on its way up: the average must not keep the first weights.
WARM_UP = 10


class WeightAverage(Callback):
    """Average the weights over the steps; between epochs the module holds the average.

    The first of the callbacks that look at the module between epochs: those that validate it, copy
    its weights or write them see the average. A step finds the trained weights again.

    Parameters
    ----------
    decay : float in (0, 1)

    Notes
    -----
    After step n, with d = min(decay, n / (n + 10))::

        average <- d average + (1 - d) weights

    Averages along the path of stochastic gradients are flatter and better minima than its points
    [1]_; d rises with n so that the first weights do not stay in it.

    References
    ----------
    .. [1] Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, "Averaging Weights Leads to Wider
       Optima and Better Generalization", UAI 2018.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin with the weights as they are."""
        self.average_ = AveragedModel(net.module_, multi_avg_fn=self._add)
        self.swapped_ = False

    def _add(
        self, averages: list[torch.Tensor], weights: list[torch.Tensor], n: torch.Tensor
    ) -> None:
        steps = float(n)  # one number from the device a step, not one a tensor
        get_ema_multi_avg_fn(min(self.decay, steps / (steps + WARM_UP)))(averages, weights, n)

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Put the trained weights in place."""
        if self.swapped_:
            self._swap(net)

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Add the weights after a step."""
        if training:
            self.average_.update_parameters(net.module_)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Put the average in place."""
        self._swap(net)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Put the average in place, also where an epoch was interrupted."""
        if not self.swapped_:
            self._swap(net)

    @torch.no_grad()
    def _swap(self, net: Any) -> None:
        pairs = zip(self.average_.module.parameters(), net.module_.parameters(), strict=True)
        for average, trained in pairs:
            kept = trained.clone()
            trained.copy_(average)
            average.copy_(kept)
        self.swapped_ = not self.swapped_
