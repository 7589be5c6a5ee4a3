"""X': the original sequences, the mined patterns and the regenerated ones, each of them once."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._torch import isolated
from ..dataset import ORIGINS, PatternTable, SequenceDataset
from ..mining import PatternMiner
from ..sequences import Sequences
from .decoding import decode
from .network import Regenerator

__all__ = ["count_distinct", "mined_patterns", "regenerate"]


def mined_patterns(dataset: SequenceDataset, miner: PatternMiner | None = None) -> PatternTable:
    """Take the mined patterns of a data set; of one without any, those that ``miner`` finds."""
    table = dataset.table
    mined = table[table.origin == ORIGINS.index("mined")]
    if len(mined) == 0 and miner is not None:
        return mined_patterns(miner.transform(dataset.histories))
    return mined


def count_distinct(sequences: Sequences) -> int:
    """Count the rows that differ."""
    return len(np.unique(_pattern_numbers(sequences)))


def regenerate(
    dataset: SequenceDataset,
    miner: PatternMiner | None,
    module: Regenerator,
    items: np.ndarray,
    *,
    include: tuple[str, ...],
    generative_probability: float,
    temperature: float,
    seed: int,
    report: dict[str, Any],
    verbose: int = 0,
) -> PatternTable:
    """Make X' (section 3.5): every mined or regenerated pattern once, at the first row that has it.

    Parameters
    ----------
    dataset : SequenceDataset
        Histories, and their mined patterns.
    miner : PatternMiner or None
        Finds the patterns of a data set that holds none.
    module : Regenerator
    items : ndarray
        The module's vocabulary.
    include : tuple of str
        Origins to keep.
    generative_probability, temperature, seed
        As :func:`~sklearn_dr4sr.regeneration.decoding.decode`.
    report : dict
        Receives the figures of the decoding.
    verbose : int, default=0
        Above 0: the time left in decoding, where it takes long.
    """
    histories, mined = dataset.histories, mined_patterns(dataset, miner)
    original = PatternTable.of(histories, np.arange(len(histories)))[histories.lengths > 0]
    regenerated = PatternTable.of(Sequences.from_codes([], [0], items), [])
    if "regenerated" in include:
        patterns, row, memory, generative = isolated(
            lambda: decode(
                module,
                histories.recode(items),
                generative_probability=generative_probability,
                temperature=temperature,
                seed=seed,
                verbose=verbose,
            ),
            seed=seed,
            device=module.embedding.weight.device,
        )
        regenerated = PatternTable.of(
            patterns, row, "regenerated", memory=memory, generative=generative
        )

    # one numbering for all three, so that equal patterns are equal whoever made them
    parts = [original, mined, regenerated]
    number = _pattern_numbers(Sequences.concatenate([part.sequences for part in parts]))
    of_original, of_mined, of_regenerated = np.split(number, np.cumsum([len(original), len(mined)]))
    usable = (regenerated.sequences.lengths >= 2) & _first(of_regenerated)
    new = usable & ~np.isin(of_regenerated, np.concatenate([of_original, of_mined]))
    if "regenerated" in include:
        n_decoded = int((histories.recode(items).lengths > 0).sum()) * module.n_memories
        report.update(
            n_decoded=n_decoded,
            n_unique=int(usable.sum()),
            n_new=int(new.sum()),
            unique_per_decode=float(usable.sum() / max(1, n_decoded)),
            share_already_mined=float(np.isin(of_regenerated[usable], of_mined).mean())
            if usable.any()
            else 0.0,
        )
    kept = {"original": original, "mined": mined[_first(of_mined)], "regenerated": regenerated[new]}
    return PatternTable.concatenate([kept[origin] for origin in ORIGINS if origin in include])


def _first(number: np.ndarray) -> np.ndarray:
    """Mask of the first occurrence of each number."""
    mask = np.zeros(len(number), dtype=bool)
    mask[np.unique(number, return_index=True)[1]] = True
    return mask


def _pattern_numbers(sequences: Sequences) -> np.ndarray:
    """Give each row a number such that two have the same if and only if they are equal."""
    number = np.zeros(len(sequences), dtype=np.int64)
    lengths, taken = sequences.lengths, 0
    for length in np.unique(lengths):  # rows of unequal length are never equal
        rows = np.flatnonzero(lengths == length)
        if length == 0:
            number[rows] = taken
            taken += 1
            continue
        codes = sequences.codes[sequences.offsets[rows][:, None] + np.arange(length)]
        view = np.ascontiguousarray(codes).view(np.dtype((np.void, codes.itemsize * length)))
        found, which = np.unique(view.ravel(), return_inverse=True)
        number[rows] = taken + which
        taken += len(found)
    return number
