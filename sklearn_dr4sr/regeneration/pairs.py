"""The pre-training task: batches of (source, pattern) pairs (4.2.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from ..sequences import Sequences

__all__ = ["PairBatch", "PairBatches", "Pairs", "source_tokens"]


class PairBatch(NamedTuple):
    """Pairs of one optimizer step; each source is held once for all its patterns.

    Attributes
    ----------
    pattern : int64 tensor, shape (pairs, length)
        [SOS] p [EOS], right-padded.
    row : int64 tensor, shape (pairs,)
        Source of each pair.
    source : int64 tensor, shape (sources, length)
        [SOS] s [EOS], right-padded.
    candidates : int64 tensor, shape (sources, candidates)
        What restrictive mode chooses from: EOS and the source's items, each once; padded.
    """

    pattern: torch.Tensor
    row: torch.Tensor
    source: torch.Tensor
    candidates: torch.Tensor

    def to(self, device: torch.device) -> PairBatch:
        """Move the tensors."""
        return PairBatch(*(tensor.to(device) for tensor in self))


class Pairs(torch.utils.data.Dataset):
    """All (source, pattern) pairs, flat.

    Parameters
    ----------
    histories : Sequences
        The last ``max_length`` items of each source.
    patterns : Sequences
        In the same vocabulary.
    row : ndarray of int64, shape (n_pairs,)
        Source of each pattern, not decreasing.
    """

    def __init__(self, histories: Sequences, patterns: Sequences, row: np.ndarray) -> None:
        self.histories, self.patterns, self.row = histories, patterns, np.asarray(row)
        self.lengths = histories.lengths

    def __len__(self) -> int:
        return len(self.row)

    def draw(self, max_pairs: int, rng: np.random.Generator) -> np.ndarray:
        """Draw at most ``max_pairs`` pairs of each source at random, in order of source."""
        order = np.lexsort((rng.random(len(self)), self.row))
        first = np.searchsorted(self.row, self.row, side="left")
        return order[np.arange(len(self)) - first < max_pairs]


class PairBatches:
    """Iterate over the batches of an epoch (skorch's ``iterator_train``).

    Every epoch draws ``max_pairs`` pairs of a source anew and shuffles the sources. Batches hold
    whole sources of similar length (sorted within pools of many batches), so that little is padded.

    Parameters
    ----------
    dataset : Pairs
    batch_size : int
        Pairs of a batch, about: a source's pairs stay together.
    max_pairs : int
        Pairs of a source in an epoch, at most.
    hide : float
        Probability that a source loses an item of one of its patterns (generative training).
    seed : int
    """

    #: Batches whose sources are sorted together by length.
    POOL = 25

    def __init__(
        self, dataset: Pairs, batch_size: int, max_pairs: int, hide: float, seed: int
    ) -> None:
        self.dataset, self.batch_size, self.max_pairs = dataset, batch_size, max_pairs
        self.hide = hide
        self.rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[PairBatch]:
        rng, data = self.rng, self.dataset
        drawn = data.draw(self.max_pairs, rng)
        sources, first, count = np.unique(data.row[drawn], return_index=True, return_counts=True)
        order = rng.permutation(len(sources))
        pool = (np.cumsum(count[order]) - 1) // (self.POOL * self.batch_size)
        order = order[np.lexsort((data.lengths[sources[order]], pool))]
        batch = (np.cumsum(count[order]) - 1) // self.batch_size
        members = np.split(order, np.flatnonzero(np.diff(batch)) + 1)
        for number in rng.permutation(len(members)):
            at = members[number]
            pairs = np.concatenate([drawn[first[s] : first[s] + count[s]] for s in at])
            yield self._batch(sources[at], pairs, np.repeat(np.arange(len(at)), count[at]))

    def state_dict(self) -> dict[str, Any]:
        """State between two epochs: that of its generator."""
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where another one was."""
        self.rng.bit_generator.state = state["rng"]

    def _batch(self, sources: np.ndarray, pairs: np.ndarray, row: np.ndarray) -> PairBatch:
        data, eos = self.dataset, len(self.dataset.histories.items)
        source = data.histories[sources].padded()  # (sources, length), -1 is padding
        pattern = data.patterns[pairs].padded()  # (pairs, length)
        if self.hide:
            source = _without(source, self._hidden(pattern, row, len(sources)))
        return PairBatch(_framed(pattern, eos), torch.from_numpy(row), *source_tokens(source, eos))

    def _hidden(self, pattern: np.ndarray, row: np.ndarray, n_sources: int) -> np.ndarray:
        """For each source a random item of a random one of its patterns, or -1."""
        last = np.searchsorted(row, np.arange(n_sources), side="right")
        first = np.searchsorted(row, np.arange(n_sources), side="left")
        of = self.rng.integers(first, last)
        column = self.rng.integers((pattern[of] >= 0).sum(axis=1))
        item = pattern[of, column]
        return np.where(self.rng.random(n_sources) < self.hide, item, -1)


def source_tokens(source: np.ndarray, eos: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frame padded sources (-1) with SOS and EOS, and list the candidates of each."""
    items = np.sort(source, axis=1)
    items[:, 1:][items[:, 1:] == items[:, :-1]] = -1  # an item that occurs twice is one candidate
    ends = np.full((len(source), 1), eos)
    candidates = np.concatenate([ends, np.where(items < 0, eos + 2, items)], axis=1)
    return _framed(source, eos), torch.from_numpy(candidates)


def _framed(rows: np.ndarray, eos: int) -> torch.Tensor:
    """[SOS] row [EOS] of rows padded with -1; the padding token is eos + 2."""
    n, width = rows.shape
    framed = np.full((n, width + 2), eos + 2)
    framed[:, 0] = eos + 1
    framed[:, 1:-1][rows >= 0] = rows[rows >= 0]
    framed[np.arange(n), (rows >= 0).sum(axis=1) + 1] = eos
    return torch.from_numpy(framed)


def _without(rows: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Remove an item from each row (nothing for -1), closing the gaps; padding is -1."""
    rows = np.where(rows == item[:, None], -1, rows)
    return np.take_along_axis(rows, np.argsort(rows < 0, axis=1, kind="stable"), axis=1)
