"""Batches of patterns in length groups: the same gradient as padding, without its waste."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch

from ..sequences import Sequences

#: What a further group costs, in padded tokens that it must save; measured, not critical. An
#: accelerator computes padding for nothing and waits for launches.
GROUP_OVERHEAD = {"cpu": 60, "cuda": 5000}


class Group(NamedTuple):
    """Rows of a batch of similar length.

    Attributes
    ----------
    ids : tensor of int64, shape (rows, length)
        Input items, right-padded with ``n_items``.
    lengths : tensor of int64, shape (rows,)
    targets : tensor of int64, shape (rows, length)
        The item after each input item; -1 where there is none to learn.
    weights : tensor of float32, shape (rows, length), or None
        Weight of each target.
    pattern : ndarray of int64, shape (rows,)
        Which pattern each row is.
    """

    ids: torch.Tensor
    lengths: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor | None
    pattern: np.ndarray

    def to(self, device: torch.device) -> Group:
        """Move the tensors."""
        return Group(*(v.to(device) if isinstance(v, torch.Tensor) else v for v in self))


class Batch:
    """The length groups of one optimizer step, and all their targets in a row.

    Attributes
    ----------
    groups : list of Group
    at : tensor of int64, shape (n,)
        Token whose state predicts each target: all positions of the groups are numbered, padding
        among them, group after group and row after row.
    targets : tensor of int64, shape (n,)
    weights : tensor of float32, shape (n,), or None
    """

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        targets = _flat([group.targets for group in groups])  # (tokens,)
        self.at = (targets >= 0).nonzero()[:, 0]
        self.targets = targets[self.at]
        weighted = groups[0].weights is not None
        self.weights = _flat([group.weights for group in groups])[self.at] if weighted else None

    def __len__(self) -> int:
        return sum(len(group.ids) for group in self.groups)

    @property
    def n_targets(self) -> int:
        """Number of targets: what the loss is divided by."""
        return len(self.at)

    @property
    def ids(self) -> torch.Tensor:
        """Input item of each token, shape (tokens,)."""
        return _flat([group.ids for group in self.groups])

    @property
    def rows(self) -> torch.Tensor:
        """Which row of the batch each token is in, shape (tokens,)."""
        widths = np.concatenate([np.full(len(g.ids), g.ids.shape[1]) for g in self.groups])
        return torch.from_numpy(np.repeat(np.arange(len(widths)), widths)).to(self.at.device)

    @property
    def pattern(self) -> np.ndarray:
        """Which pattern each target is of, shape (n,)."""
        return np.concatenate([g.pattern for g in self.groups])[self.rows[self.at].cpu().numpy()]

    def to(self, device: torch.device) -> Batch:
        """Move the tensors."""
        moved = copy(self)
        moved.groups = [group.to(device) for group in self.groups]
        for name, value in vars(self).items():
            if isinstance(value, torch.Tensor):
                setattr(moved, name, value.to(device))
        return moved


def _flat(parts: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([part.flatten() for part in parts])


class TrainingPatterns(torch.utils.data.Dataset):
    """Patterns of two items or more, cut into inputs and targets.

    Parameters
    ----------
    patterns : Sequences
        Codes in 0 .. n_items - 1.
    weights : ndarray of shape (n_pattern_items,) or None
    max_length : int
        Longest input; of a longer pattern the last ``max_length + 1`` items are used.
    targets : {"all", "last"}
        Learn every position of a pattern, or its last item only.
    """

    def __init__(
        self, patterns: Sequences, weights: np.ndarray | None, max_length: int, targets: str
    ) -> None:
        self.n_items = len(patterns.items)
        self.codes = patterns.codes
        self.weights = weights
        ends = patterns.offsets[1:]
        lengths = np.minimum(patterns.lengths, max_length + 1)
        usable = lengths >= 2
        self.pattern = np.flatnonzero(usable)
        self.starts = (ends - lengths)[usable]
        self.lengths = lengths[usable] - 1  # of the input
        self.last_only = targets == "last"

    def __len__(self) -> int:
        return len(self.pattern)

    def group(self, rows: np.ndarray) -> Group:
        """Cut the given rows, all as wide as the longest of them."""
        lengths = self.lengths[rows]
        columns = np.arange(lengths.max())
        inside = columns < lengths[:, None]  # (rows, length)
        at = np.where(inside, self.starts[rows, None] + columns, self.starts[rows, None])
        learnt = columns == lengths[:, None] - 1 if self.last_only else inside
        weights = None
        if self.weights is not None:
            weights = torch.from_numpy(np.where(learnt, self.weights[at + 1], 0).astype(np.float32))
        return Group(
            torch.from_numpy(np.where(inside, self.codes[at], self.n_items).astype(np.int64)),
            torch.from_numpy(lengths.astype(np.int64)),
            torch.from_numpy(np.where(learnt, self.codes[at + 1], -1).astype(np.int64)),
            weights,
            self.pattern[rows],
        )


class LengthGroupedBatches:
    """Iterate over shuffled batches, each split into length groups (skorch's ``iterator_train``).

    Parameters
    ----------
    dataset : TrainingPatterns
    batch_size : int
        Patterns of one optimizer step.
    seed : int
        Seed of the order; every pass draws a new one.
    steps : int or None
        Batches an epoch; None: one pass over the patterns. An epoch may end within a pass, and the
        next one goes on from there.
    overhead : float, default=60
        As of :func:`group_edges`.
    """

    def __init__(
        self,
        dataset: TrainingPatterns,
        batch_size: int,
        seed: int,
        steps: int | None = None,
        overhead: float = GROUP_OVERHEAD["cpu"],
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.rng = np.random.default_rng(seed)
        self.steps = steps or -(-len(dataset) // batch_size)
        self.order, self.position = np.empty(0, dtype=np.int64), 0  # of the pass under way
        self.stream = self._passes()
        share = min(1.0, batch_size / max(1, len(dataset)))
        self.edges = group_edges(dataset.lengths, share, overhead)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        return islice(self.stream, self.steps)

    def _passes(self) -> Iterator[Batch]:
        while True:
            if self.position >= len(self.order):
                self.order, self.position = self.rng.permutation(len(self.dataset)), 0
            rows = self.order[self.position : self.position + self.batch_size]
            self.position += self.batch_size
            yield self.batch(rows)

    def state_dict(self) -> dict[str, Any]:
        """Where it is: the state of its generator, and the rest of the pass."""
        rest = torch.from_numpy(self.order[self.position :].copy())
        return {"rng": self.rng.bit_generator.state, "rest": rest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where another one was."""
        rest = state["rest"].numpy()
        if rest.dtype != np.int64 or not np.isin(rest, np.arange(len(self.dataset))).all():
            raise ValueError(f"the rest of a pass holds rows outside of 0 to {len(self.dataset)}")
        self.rng.bit_generator.state = state["rng"]
        self.order, self.position = rest, 0

    def batch(self, rows: np.ndarray) -> Batch:
        """Split the given rows of the data set into length groups."""
        lengths = self.dataset.lengths[rows]
        which = np.searchsorted(self.edges, lengths)
        return Batch([self.dataset.group(rows[which == g]) for g in np.unique(which)])


def group_edges(
    lengths: np.ndarray, share: float, overhead: float = GROUP_OVERHEAD["cpu"]
) -> np.ndarray:
    """Choose the longest length of each group so that padding plus overhead is least.

    Parameters
    ----------
    lengths : ndarray of int
        Lengths of all rows.
    share : float
        Share of the rows that a batch holds.
    overhead : float
        Cost of a group in padded tokens.

    Returns
    -------
    ndarray of int
        Increasing; the last is the longest length.

    Notes
    -----
    Dynamic programming over the distinct lengths: best[j] = min over i < j of best[i] +
    overhead + length_j * (expected rows in a batch with a length in i+1 .. j).
    """
    distinct, counts = np.unique(lengths, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)]) * share
    best, came_from = np.zeros(len(distinct) + 1), np.zeros(len(distinct) + 1, dtype=int)
    for j in range(1, len(distinct) + 1):
        cost = best[:j] + overhead + distinct[j - 1] * (below[j] - below[:j])
        came_from[j] = int(np.argmin(cost))
        best[j] = cost[came_from[j]]
    edges, j = [], len(distinct)
    while j > 0:
        edges.append(distinct[j - 1])
        j = came_from[j]
    return np.array(edges[::-1])
