"""The bi-level loop: the recommender's own training, with an upper step every so often."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..dataset import ORIGINS, PatternTable
from ..recommenders.batching import Batch, LengthGroupedBatches, TrainingPatterns
from ..recommenders.training import SequenceNet
from .hypergradient import hypergradient, largest_eigenvalue
from .network import FEATURES, PersonalizerNetwork

__all__ = [
    "UPPER_OPTIMIZERS",
    "PersonalizedNet",
    "is_weighted",
    "network_inputs",
    "not_finite",
    "weights_of",
]

UPPER_OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": partial(torch.optim.SGD, momentum=0.9),
}

#: Upper steps between two estimates of the largest eigenvalue, which takes as long as several.
STEP_LIFETIME = 20


class PersonalizedNet(SequenceNet):
    """Train a recommender on targets that a network weighs, and that network on its results.

    Parameters
    ----------
    module, **kwargs :
        As ``SequenceNet``.
    settings : DatasetPersonalizer
        Whose parameters are meant.
    table : PatternTable
        The patterns that are trained on.
    dev : TrainingPatterns or None
        What L_dev is taken on; None: the training patterns.
    seed : int
        Of the personalizer's own randomness: until the warm-up ends, training is that of the
        recommender alone, to the bit.
    """

    def __init__(
        self,
        module: Any,
        *args: Any,
        settings: Any,
        table: PatternTable,
        dev: TrainingPatterns | None,
        seed: int,
        **kwargs: Any,
    ) -> None:
        self.settings = settings
        self.table = table
        self.dev = dev
        self.seed = seed
        super().__init__(module, *args, **kwargs)

    def initialize_module(self) -> PersonalizedNet:
        """Add the personalizer to the module, so that early stopping keeps both of one epoch."""
        super().initialize_module()
        self._phase = "lower"
        dim = self.module_.item_embedding.weight.shape[1]
        s = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            features = tuple(name for name in FEATURES if name in s.features)  # a set has no order
            self.module_.personalizer = PersonalizerNetwork(
                dim, features, s.hidden_dim, s.temperature
            )
        return self

    def get_all_learnable_params(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Give the lower optimizer the recommender only, but for the end-to-end ablation."""
        for name, parameter in super().get_all_learnable_params():
            if self._end_to_end or not name.startswith("personalizer."):
                yield name, parameter

    @property
    def _end_to_end(self) -> bool:
        return self.settings.hypergradient == "end_to_end"

    @property
    def _weighing(self) -> bool:
        """Whether the warm-up is over."""
        return len(self.history) > self.settings.warmup_epochs

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Prepare the upper loop."""
        super().on_train_begin(net, X, y, **kwargs)
        self._upper = _UpperLoop(self, X if self.dev is None else self.dev)

    def identity(self) -> tuple[Any, ...]:
        """Return the personalizer's own part of what the training depends on."""
        settings = self.settings.get_params(deep=False)
        del settings["recommender"], settings["random_state"]
        dev = () if self.dev is None else (self.dev.codes, self.dev.starts, self.dev.lengths)
        return (settings, self.seed, *dev)

    def extra_state(self) -> dict[str, Any]:
        """Return the state of the upper loop."""
        return self._upper.state_dict()

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take over the state of the upper loop."""
        self._upper.load_state_dict(state)

    def train_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Take a lower step, and an upper one whenever it is time."""
        step = super().train_step(batch, **fit_params)
        if self._weighing and not self._end_to_end:
            self._upper.after_lower_step(batch, step["loss"])
        return step

    def forget(self) -> None:
        """Drop what served training alone, the data among it."""
        self.settings = self.table = self.dev = None
        for name in ("_upper", "_inputs", "_weights"):
            self.__dict__.pop(name, None)

    def summed(self, losses: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """Make L_dev robust: (1 - exp(-q l)) / q of each loss l, l itself for q = 0."""
        q = self.settings.robustness
        if self._phase == "dev" and q > 0:
            losses = -torch.expm1(-q * losses) / q
        return super().summed(losses, weights)

    def target_weights(self, states: torch.Tensor, batch: Batch) -> torch.Tensor | None:
        """Weights of the data set times the personalizer's; none of either in L_dev."""
        if self._phase == "dev":
            return None
        given = super().target_weights(states, batch)
        if not self._weighing:
            return given
        rows = batch.pattern
        if self._phase == "lower" or not self.settings.detach:
            self._inputs = network_inputs(
                self.module_.personalizer,
                states,
                batch.targets,
                self.item_matrix(),
                self.table,
                rows,
                self.settings.detach,
            )
        # else what the lower step has just seen of this batch: constants, wherever θ is moved to
        # the lower step holds φ fixed (Equation 9); end to end it learns along with θ
        with torch.set_grad_enabled(self._end_to_end or self._phase == "upper"):
            logs = self.module_.personalizer(self._inputs, self.settings.gumbel)
            weighted = torch.from_numpy(is_weighted(self.table, rows, self.settings))
            weights = weights_of(logs, weighted.to(logs.device), self.settings)
        # what it looks at is not finite where the recommender failed: its loss shows that
        if not weights.isfinite().all() and self._inputs.isfinite().all():
            raise not_finite(self.settings, f" in {self._place()}")
        self._weights = weights.detach()
        return weights if given is None else weights * given

    def _place(self) -> str:
        return f"epoch {len(self.history)}, batch {len(self.history[-1]['batches'])}"


def network_inputs(
    network: PersonalizerNetwork,
    states: torch.Tensor,
    targets: torch.Tensor,
    item_matrix: torch.Tensor,
    table: PatternTable,
    patterns: np.ndarray,
    detach: bool,
) -> torch.Tensor:
    """Lay out what the network sees of n targets; ``patterns`` (n,) says of which each is."""
    if detach:
        states, item_matrix = states.detach(), item_matrix.detach()
    origin = torch.from_numpy(table.origin[patterns].astype(np.int64)).to(states.device)
    support = torch.from_numpy(table.support[patterns]).to(states.device)
    number = torch.from_numpy(np.unique(patterns, return_inverse=True)[1]).to(states.device)
    return network.inputs(states, targets, item_matrix, number, origin, support)


def weights_of(logs: torch.Tensor, weighted: torch.Tensor, settings: Any) -> torch.Tensor:
    """Turn logarithms of learned weights into weights, (n,): 1 for what is not ``weighted``."""
    if settings.normalize and weighted.any():
        # to a mean of 1 by logarithms: the weights may all be too small to be told from 0
        logs = logs.masked_fill(~weighted, -torch.inf).log_softmax(0) + weighted.sum().log()
    return torch.where(weighted, logs.exp(), 1.0)


def not_finite(settings: Any, place: str = "") -> FloatingPointError:
    """Make the error of learned weights that are no numbers."""
    return FloatingPointError(
        f"the learned weights are NaN or infinite{place}: lower upper_lr={settings.upper_lr}, or "
        f"raise temperature={settings.temperature}"
    )


def is_weighted(table: PatternTable, patterns: np.ndarray, settings: Any) -> np.ndarray:
    """Whether the weight of a target of each of the patterns is learned, (n,)."""
    codes = [ORIGINS.index(name) for name in settings.weighted_origins]
    return np.isin(table.origin[patterns], codes)


class _UpperLoop:
    """State of the upper optimization: its optimizer, its batches, and what it has seen."""

    COUNTS = ("lower_steps", "history", "step", "diverged")

    def __init__(self, net: PersonalizedNet, dev: TrainingPatterns) -> None:
        self.net = net
        s = net.settings
        self.phi = list(net.module_.personalizer.parameters())
        ours = {id(p) for p in self.phi}
        self.theta = [p for p in net.module_.parameters() if id(p) not in ours and p.requires_grad]
        self.optimizer = UPPER_OPTIMIZERS[s.upper_optimizer](
            self.phi, lr=s.upper_lr, weight_decay=s.upper_weight_decay
        )
        self.batches = LengthGroupedBatches(
            dev, net.batch_size, seed=net.seed + 1, overhead=net.iterator_train__overhead
        )
        self.seeds = np.random.default_rng(net.seed)
        self.lower_steps = 0
        self.history: list[dict[str, float]] = []
        self.exact = s.hypergradient != "finite_difference"
        self.step = 1.0
        self.diverged = 0

    def state_dict(self) -> dict[str, Any]:
        """State between two epochs."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "batches": self.batches.state_dict(),
            "seeds": self.seeds.bit_generator.state,
            "counts": {name: getattr(self, name) for name in self.COUNTS},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where another one was."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.batches.load_state_dict(state["batches"])
        self.seeds.bit_generator.state = state["seeds"]
        for name in self.COUNTS:
            setattr(self, name, state["counts"][name])

    def after_lower_step(self, batch: Batch, train_loss: torch.Tensor) -> None:
        self.lower_steps += 1
        if self.lower_steps % self.net.settings.inner_steps == 0:
            self.take_step(batch, train_loss.item())

    def take_step(self, batch: Batch, train_loss: float) -> None:
        """Move φ against the hypergradient of an independent batch."""
        net, s = self.net, self.net.settings
        dev_batch, seed = next(self.batches.stream), int(self.seeds.integers(2**31))
        net._set_training(False)
        try:
            with _twice_differentiable_kernels():
                gradient, dev_loss = self._hypergradient(
                    lambda: self._loss(batch, "upper", seed),
                    lambda: self._loss(dev_batch, "dev", seed + 1),
                )
        finally:
            net.twice_differentiable, net._phase = False, "lower"
        for parameter, g in zip(self.phi, gradient, strict=True):
            parameter.grad = g
        norm = torch.nn.utils.clip_grad_norm_(self.phi, s.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if not all(torch.isfinite(p).all() for p in self.phi):
            raise not_finite(s, f" at upper step {len(self.history) + 1} ({net._place()})")
        self.history.append(
            {
                "step": net.settings.inner_steps * (len(self.history) + 1),
                "train_loss": train_loss,
                "dev_loss": dev_loss,
                "gradient_norm": norm.item(),
                "weight_mean": net._weights.mean().item(),
                "weight_std": net._weights.std(unbiased=False).item(),
            }
        )

    def _hypergradient(self, train_loss: Any, dev_loss: Any) -> tuple[list[torch.Tensor], float]:
        s = self.net.settings
        step = self._auto_step if s.neumann_step == "auto" else s.neumann_step
        arguments = (train_loss, dev_loss, self.theta, self.phi)
        try:
            return hypergradient(*arguments, s.hypergradient, s.neumann_terms, step)
        except FloatingPointError as error:
            if not self.diverged:
                warnings.warn(
                    f"{error}. Such steps take the first term of the sum alone", stacklevel=2
                )
            self.diverged += 1
            method = s.hypergradient if s.hypergradient == "finite_difference" else "identity"
            return hypergradient(*arguments, method, 0, 1.0)

    def _auto_step(self, hessian: Any, g: list[torch.Tensor]) -> float:
        if self.net.settings.neumann_terms and len(self.history) % STEP_LIFETIME == 0:
            self.step = 1.0 / (largest_eigenvalue(hessian, g) or 1.0)
        return self.step

    def _loss(self, batch: Batch, phase: str, seed: int) -> torch.Tensor:
        """Loss of a batch, the same at every call: noise and negatives are drawn from ``seed``.

        Without dropout, and without a module's ``extra_loss``: only the recommendation loss is
        weighted, and only it is validated.
        """
        net, device = self.net, torch.device(self.net.device)
        net._phase = phase
        # L_dev needs single losses, which the sum that keeps no logits does not give
        net.twice_differentiable = phase == "dev" or self.exact
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            return net.batch_loss(batch.to(device)) / batch.n_targets


@contextmanager
def _twice_differentiable_kernels() -> Iterator[None]:
    """Keep to kernels that have a double backward.

    The fused kernels of scaled_dot_product_attention have none, nor has cuDNN's GRU, which
    moreover refuses a backward pass in evaluation mode.
    """
    with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
        yield
