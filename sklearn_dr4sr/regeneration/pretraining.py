"""Pre-training of the regenerator: its loss, its training loop, what it makes of the memories."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from skorch.callbacks import PassthroughScoring
from torch.nn import functional

from .._torch import isolated, resolve_device
from ..checkpoint import ResumableNet
from ..sequences import Sequences
from .network import Regenerator
from .pairs import PairBatch, PairBatches, Pairs

__all__ = ["RegeneratorNet", "loss_terms", "memory_usage", "pretrain"]

TERMS = ("restrictive", "generative", "usage_entropy", "choice_entropy")


def loss_terms(module: Regenerator, batch: PairBatch) -> dict[str, torch.Tensor]:
    """Negative log-likelihood of the patterns in both modes, and the entropies of the choice.

    Returns
    -------
    dict of scalar tensors
        ``restrictive`` and ``generative``: mean over the tokens of each mode; ``reconstruction``:
        mean over all of them; ``usage_entropy``: H(mean pi); ``choice_entropy``: mean H(pi);
        ``imbalance``: cross-entropy of pi against :func:`balanced`.
    """
    pattern, row = batch.pattern, batch.row
    inputs, targets = pattern[:, :-1], pattern[:, 1:]
    choices = batch.candidates[row]  # (pairs, candidates)
    hit = choices[:, None] == targets[..., None]  # (pairs, T, candidates)
    real = targets != module.pad
    visible = hit.any(-1) & real
    hidden = real & ~visible  # (pairs, T)

    # The memory is chosen by what the source shows of the pattern: it must not give away the rest.
    shown = torch.cat([pattern[:, :1], targets.masked_fill(hidden, module.pad)], dim=1)
    log_pi = module.choose(shown)  # (pairs, K)
    memories, mask = module.encode(batch.source)  # (sources, length, K, dim)
    final = torch.einsum("pk,plkd->pld", log_pi.exp(), memories[row])  # equation 4
    states, _ = module.decode(inputs, final, mask[row])  # (pairs, T, dim)

    scores = torch.einsum("ptd,pcd->ptc", states, module.embedding(batch.candidates)[row])
    scores = scores.masked_fill((choices == module.pad)[:, None], -math.inf)
    restrictive = -functional.log_softmax(scores, dim=-1)[visible][hit[visible]]

    # What the source does not show must be produced from the whole catalogue; so must the end of
    # a pattern that holds such an item.
    free = hidden | ((targets == module.eos) & hidden.any(1, keepdim=True))
    prior = functional.pad(module.log_share, (0, 1))  # EOS has none
    summary = module.summary(final, mask[row])[:, None].expand_as(states)
    generative = functional.cross_entropy(
        module.affinity(states[free], summary[free]) + prior, targets[free], reduction="none"
    )
    n_tokens = len(restrictive) + len(generative)
    mean_log_pi = log_pi.logsumexp(0) - math.log(len(log_pi))  # log of the mean pi
    return {
        "reconstruction": (restrictive.sum() + generative.sum()) / n_tokens,
        "restrictive": restrictive.mean(),
        "generative": generative.sum() / max(1, len(generative)),
        "usage_entropy": -(mean_log_pi.exp() * mean_log_pi).sum(),
        "imbalance": -(balanced(log_pi.detach()) * log_pi).sum(-1).mean(),
        "choice_entropy": -(log_pi.exp() * log_pi).sum(-1).mean(),
    }


@torch.no_grad()
def balanced(log_pi: torch.Tensor, sharpness: float = 20.0, rounds: int = 3) -> torch.Tensor:
    """Assign each pattern to one memory, nearly, and as many to each: (pairs, K), rows sum to 1.

    Sinkhorn's iteration on pi ** sharpness: columns and rows are brought to equal sums in turn.
    """
    log_q = sharpness * log_pi
    for _ in range(rounds):
        log_q = log_q - log_q.logsumexp(0)
        log_q = log_q - log_q.logsumexp(1, keepdim=True)
    return log_q.exp()


class RegeneratorNet(ResumableNet):
    """skorch's training loop around :func:`loss_terms`."""

    def __init__(self, *args: Any, balance: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.balance = balance

    def train_step_single(self, batch: PairBatch, **fit_params: Any) -> dict:
        """Take the gradient of the loss: reconstruction, and balance of the memories."""
        self._set_training(True)
        terms = loss_terms(self.module_, batch.to(self.device))
        loss = terms["reconstruction"] + self.balance * terms["imbalance"]
        self.check_loss(loss)
        loss.backward()
        for name in TERMS:
            self.history.record_batch(name, terms[name].item())
        return {"loss": loss, "y_pred": None}

    def run_single_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Note whether it was the user who ended the training (callbacks end it between epochs)."""
        try:
            super().run_single_epoch(*args, **kwargs)
        except KeyboardInterrupt:
            self.interrupted_ = True
            raise


class Interrupted(Exception):  # noqa: N818  (not an error: it carries the result past the cache)
    """A training was interrupted; ``result`` is what there was by then."""

    def __init__(self, result: Any) -> None:
        super().__init__("interrupted")
        self.result = result


def pretrain(
    histories: Sequences,
    patterns: Sequences,
    row: np.ndarray,
    embedding: np.ndarray | None,
    architecture: dict,
    training: dict,
    seed: int,
    device: str,
    callbacks: list | None,
    verbose: int,
) -> tuple[RegeneratorNet, list[dict], np.ndarray]:
    """Train a regenerator on pairs: everything that it depends on is an argument.

    Returns
    -------
    net : RegeneratorNet
        Trimmed: without optimizer.
    history : list of dict
    usage : ndarray of shape (K,)
        Share of the pairs whose pattern chooses each memory.

    Raises
    ------
    Interrupted
        With the same as ``result``, so that no cache takes it for the finished thing.
    """
    pairs = Pairs(histories, patterns, row)
    where = resolve_device(device)
    n_items = len(histories.items)
    net = RegeneratorNet(
        Regenerator,
        **{f"module__{name}": value for name, value in architecture.items()},
        module__n_items=n_items,
        criterion=torch.nn.Identity,
        optimizer=torch.optim.Adam,
        optimizer__betas=(0.9, 0.98),
        optimizer__fused=True,
        lr=training["lr"],
        max_epochs=training["max_epochs"],
        batch_size=training["batch_size"],
        balance=training["balance"],
        iterator_train=PairBatches,
        iterator_train__max_pairs=training["max_pairs"],
        iterator_train__hide=training["hide"],
        iterator_train__seed=seed,
        train_split=None,
        callbacks=[(name, PassthroughScoring(name, on_train=True)) for name in TERMS]
        + list(callbacks or []),
        device=where,
        verbose=verbose,
    )

    def run() -> np.ndarray:
        net.initialize()
        counts = np.bincount(histories.codes, minlength=n_items) + 1.0
        net.module_.log_share.copy_(torch.from_numpy(np.log(counts / counts.sum())))
        if embedding is not None:
            with torch.no_grad():
                net.module_.embedding.weight[:n_items] = torch.as_tensor(embedding)
        net.partial_fit(pairs)
        return memory_usage(net.module_, pairs, training["max_pairs"], seed)

    usage = isolated(run, seed=seed, device=where)
    kept = ("epoch", "dur", "train_loss", *TERMS)
    history = [
        {name: row[name] for name in kept if name in row} for row in net.history if "dur" in row
    ]
    interrupted = hasattr(net, "interrupted_")
    net.trim_for_prediction()
    if interrupted:
        raise Interrupted((net, history, usage))
    return net, history, usage


def memory_usage(module: Regenerator, pairs: Pairs, max_pairs: int, seed: int) -> np.ndarray:
    """Share of the pairs (at most ``max_pairs`` of a source) whose pattern chooses each memory."""
    module.eval()
    device = module.embedding.weight.device
    counts = torch.zeros(module.n_memories, device=device)
    batches = PairBatches(pairs, 4096, max_pairs, 0.0, seed)
    with torch.inference_mode():
        for batch in batches:
            choice = module.choose(batch.pattern.to(device)).argmax(-1)
            counts += torch.bincount(choice, minlength=module.n_memories)
    return (counts / counts.sum()).cpu().numpy()
