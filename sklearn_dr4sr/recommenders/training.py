"""The skorch net under every recommender: one optimizer step over length groups, and validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, EarlyStopping

from .._memory import in_chunks, limit_on
from .._progress import EpochTasks
from ..checkpoint import ResumableNet
from ..metrics import ndcg_of_ranks
from ..sequences import Sequences
from .batching import Batch
from .losses import cross_entropy_sum, next_item_loss
from .protocol import check_extra_loss

__all__ = [
    "SequenceNet",
    "ValidationNDCG",
    "encode_groups",
    "encode_histories",
    "held_out_ranks",
    "last_states",
    "ranks_within",
]

# An accelerator computes padding for nothing and waits for launches: few large chunks.
#: Padded tokens encoded at once when ranking.
ENCODE_TOKENS = {"cpu": 2**13, "cuda": 2**17}
#: How much longer than the shortest the longest of the rows encoded at once may be.
ENCODE_SPREAD = {"cpu": 1.5, "cuda": 8.0}
#: Scores held at once when validating: on a CPU 8 MB, for larger tensors are paged in anew each
#: time.
SCORE_CHUNK = {"cpu": 2**21, "cuda": 2**27}


class SequenceNet(ResumableNet):
    """Train a module that has ``encode(ids, lengths)`` and ``item_embedding`` on length groups.

    Parameters
    ----------
    module, **kwargs :
        As ``skorch.NeuralNet``.
    loss : str
        One of ``losses.LOSSES``.
    n_negatives : int
    negatives : {"unseen", "uniform"}
        Draw negatives outside the pattern (the paper) or from all items (its code).
    calibration : float
        t of gbce.
    precision : {"float32", "bfloat16"}
        Of the products with the whole catalogue in the full cross-entropy.
    check : callable or None
        Called with the module once it is built.
    """

    def __init__(
        self,
        module: Any,
        *args: Any,
        loss: str,
        n_negatives: int,
        negatives: str,
        calibration: float,
        precision: str = "float32",
        check: Callable[[torch.nn.Module], None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.loss = loss
        self.n_negatives = n_negatives
        self.negatives = negatives
        self.calibration = calibration
        self.precision = precision
        self.check = check
        super().__init__(module, *args, criterion=torch.nn.Identity, **kwargs)

    def initialize_module(self) -> SequenceNet:
        """Build the module, and check it."""
        super().initialize_module()
        if self.check is not None:
            self.check(self.module_)
        return self

    def fit_loop(self, *args: Any, **kwargs: Any) -> SequenceNet:
        """Train; note an interrupt, which skorch swallows (its EarlyStopping ends by one too).

        Where the numbers fail after an epoch that was validated, training ends there, and the best
        weights so far are restored.
        """
        self.interrupted, self.fault = False, ""
        try:
            return super().fit_loop(*args, **kwargs)
        except KeyboardInterrupt:
            self.interrupted = not any(_stopped(callback) for _, callback in self.callbacks_)
            raise
        except FloatingPointError as error:
            stops = [c for _, c in self.callbacks_ if isinstance(c, EarlyStopping)]
            if all(stop.best_model_weights_ is None for stop in stops):
                raise
            self.fault = str(error)
            return self

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Take the gradient of a batch."""
        self._set_training(True)
        batch = batch.to(torch.device(self.device))
        loss = self.batch_loss(batch) / batch.n_targets
        if hasattr(self.module_, "extra_loss"):
            extra = self.module_.extra_loss(batch.groups)
            check_extra_loss(self.module_, extra)
            loss = loss + extra
        self.check_loss(loss)
        loss.backward()
        return {"loss": loss.detach(), "y_pred": ()}

    #: Take losses that can be differentiated twice, at the price of keeping all logits of "ce".
    twice_differentiable = False

    def batch_loss(self, batch: Batch) -> torch.Tensor:
        """Weighted sum of the losses of all targets."""
        ids, lengths = [g.ids for g in batch.groups], [g.lengths for g in batch.groups]
        tokens = encode_groups(self.module_, ids, lengths)  # (tokens, dim)
        states = tokens.index_select(0, batch.at)  # (n, dim)
        weights = self.target_weights(states, batch)
        if self.loss == "ce" and not self.twice_differentiable:
            weights = torch.ones_like(states[:, 0]) if weights is None else weights.to(states)
            dtype = getattr(torch, self.precision)
            return cross_entropy_sum(states, self.item_matrix(), batch.targets, weights, dtype)
        losses = next_item_loss(
            self.loss,
            states,
            batch.targets,
            self.item_matrix(),
            lambda m: self.draw_negatives(m, batch),
            self.n_negatives,
            self.calibration,
        )
        return self.summed(losses, weights)

    def summed(self, losses: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """Weighted sum of losses, each of shape (n,)."""
        return losses.sum() if weights is None else (losses * weights).sum()

    def target_weights(self, states: torch.Tensor, batch: Batch) -> torch.Tensor | None:
        """Weight of each target, shape (n,), or None; ``states`` (n, dim) are what predicts it."""
        return batch.weights

    def draw_negatives(self, m: int, batch: Batch) -> torch.Tensor:
        """Draw ``m`` negatives for each target, shape (n, m); for ``-m``, ``m`` that all share."""
        n_items, device = len(self.item_matrix()), batch.at.device
        if m < 0:
            return torch.randint(n_items, (-m,), device=device)
        negatives = torch.randint(n_items, (batch.n_targets, m), device=device)
        if self.negatives == "unseen":
            # a pattern and an item as one number: those that there are, sorted, and those drawn
            rows = batch.rows * (n_items + 1)  # (tokens,)
            row = rows[batch.at]  # (n,)
            there = torch.cat([rows + batch.ids, row + batch.targets])
            there = there.sort().values
            for _ in range(10):  # gives up on a pattern that holds the whole catalogue
                drawn = row[:, None] + negatives
                place = torch.searchsorted(there, drawn).clamp_(max=len(there) - 1)
                seen = there[place] == drawn
                if not seen.any():
                    break
                negatives[seen] = torch.randint(n_items, (int(seen.sum()),), device=device)
        return negatives

    def item_matrix(self) -> torch.Tensor:
        """Embeddings of the catalogue, shape (n_items, dim): without padding and special rows."""
        return self.module_.item_embedding.weight[: self.module__n_items]


def _stopped(callback: Callback) -> bool:
    """Whether it was this callback that ended the training."""
    if isinstance(callback, EarlyStopping):
        return callback.misses_ >= callback.patience
    return isinstance(callback, EpochTasks) and callback.stopped_


class ValidationNDCG(Callback):
    """Record NDCG@20 of the held-out items after each epoch, as "valid_ndcg".

    And as "valid_ndcg_best" whether it is higher than ever before: what skorch's ``Checkpoint``
    monitors by that name, and what its printed table marks.

    Parameters
    ----------
    histories : Sequences
    target : ndarray of int64, shape (n_rows,)
        Code of the held-out item; -1 (unknown item) never ranks.
    max_length : int
    exclude_seen : bool
    """

    def __init__(
        self, histories: Sequences, target: np.ndarray, max_length: int, exclude_seen: bool
    ) -> None:
        self.histories = histories
        self.target = target
        self.max_length = max_length
        self.exclude_seen = exclude_seen

    def on_epoch_end(self, net: SequenceNet, **kwargs: Any) -> None:
        """Rank the held-out items."""
        queries = encode_histories(net.module_, self.histories, self.max_length, net.device)
        rank = held_out_ranks(
            queries, net.item_matrix().detach(), self.histories, self.target, self.exclude_seen
        )
        ndcg = float(ndcg_of_ranks(rank, 20).mean())
        best = max((epoch["valid_ndcg"] for epoch in net.history[:-1]), default=-np.inf)
        net.history.record("valid_ndcg", ndcg)
        net.history.record("valid_ndcg_best", ndcg > best)


@torch.no_grad()
def encode_histories(
    module: torch.nn.Module, histories: Sequences, max_length: int, device: Any
) -> torch.Tensor:
    """State after the last item of each history, shape (n_rows, dim); zeros for an empty one."""
    module.eval()
    device = torch.device(device)
    most, spread = limit_on(ENCODE_TOKENS, device), limit_on(ENCODE_SPREAD, device)
    kept = histories.last(max_length)
    lengths, n_items = kept.lengths, len(histories.items)
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], 1) :]
    queries = None
    start = 0
    while start < len(order):  # rows of similar length together, so that little is padding
        stop = start + 1
        widest = 1 + spread * lengths[order[start]]
        while (
            stop < len(order)
            and lengths[order[stop]] <= widest
            and (stop + 1 - start) * lengths[order[stop]] <= most
        ):
            stop += 1
        rows = order[start:stop]
        ids = torch.from_numpy(kept[rows].padded(fill=n_items)).to(device)
        size = torch.from_numpy(lengths[rows]).to(device)
        last = last_states(module, ids, size)
        if queries is None:
            queries = last.new_zeros(len(histories), last.shape[-1])
        queries[torch.from_numpy(rows).to(device)] = last
        start = stop
    if queries is None:
        queries = torch.zeros(len(histories), module.item_embedding.weight.shape[1], device=device)
    return queries


def encode_groups(
    module: torch.nn.Module, ids: list[torch.Tensor], lengths: list[torch.Tensor]
) -> torch.Tensor:
    """States of all tokens of groups (rows, length), (tokens, dim): group by group, row by row."""
    if hasattr(module, "encode_groups"):
        return module.encode_groups(ids, lengths)
    states = [module.encode(i, n).flatten(0, 1) for i, n in zip(ids, lengths, strict=True)]
    return torch.cat(states)


def last_states(module: torch.nn.Module, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """State after the last item of each row of at least one, (rows, length) -> (rows, dim)."""
    if hasattr(module, "encode_last"):
        return module.encode_last(ids, lengths)
    return module.encode(ids, lengths)[torch.arange(ids.shape[0], device=ids.device), lengths - 1]


def ranks_within(scores: torch.Tensor, wanted: torch.Tensor, seen: Sequences | None) -> np.ndarray:
    """Rank of one item a row among all; an equal score counts against it.

    Parameters
    ----------
    scores : tensor of shape (n_rows, n_items)
        Overwritten where ``seen`` is given.
    wanted : tensor of int64, shape (n_rows, 1)
    seen : Sequences or None
        Items of each row that are not ranked; one that is wanted has rank ``n_items + 1``.

    Returns
    -------
    ndarray of int64, shape (n_rows,)
    """
    own = scores.gather(1, wanted)
    if seen is not None:
        scores[seen.rows, seen.codes.astype(np.int64)] = -torch.inf
    above = (scores >= own).sum(dim=1)
    # an item of the history cannot be ranked, and NaN compares false: neither may look good
    lost = torch.isneginf(scores.gather(1, wanted)) | torch.isnan(own)
    return above.masked_fill(lost[:, 0], scores.shape[1] + 1).cpu().numpy()


@torch.no_grad()
def held_out_ranks(
    queries: torch.Tensor,
    item_matrix: torch.Tensor,
    histories: Sequences,
    target: np.ndarray,
    exclude_seen: bool,
) -> np.ndarray:
    """Rank of each held-out item among all; an equal score counts against it."""
    n_items = len(item_matrix)
    rank = np.full(len(target), n_items + 1)
    known = np.flatnonzero(target >= 0)

    def ranks(start: int, stop: int) -> np.ndarray:
        part = known[start:stop]
        wanted = torch.from_numpy(target[part]).to(queries.device)[:, None]
        scores = queries[torch.from_numpy(part).to(queries.device)] @ item_matrix.T
        return ranks_within(scores, wanted, histories[part] if exclude_seen else None)

    size = max(1, limit_on(SCORE_CHUNK, queries.device) // n_items)
    for start, found in in_chunks(len(known), size, ranks):
        rank[known[start : start + len(found)]] = found
    return rank
