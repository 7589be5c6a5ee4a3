"""X': the original sequences, the mined patterns and the regenerated ones, each of them once."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .._distinct import distinct
from .._torch import isolated
from ..dataset import ORIGINS, PatternTable, SequenceDataset, left_out
from ..mining import PatternMiner
from ..sequences import Sequences
from .decoding import decode
from .network import Regenerator

__all__ = ["mined_patterns", "regenerate"]


def mined_patterns(dataset: SequenceDataset, miner: PatternMiner | None = None) -> PatternTable:
    """Take the mined patterns of a data set; of one without any, those that ``miner`` finds."""
    table = dataset.table
    mined = table[table.origin == ORIGINS.index("mined")]
    if len(mined) == 0 and miner is not None:
        return mined_patterns(miner.transform(dataset.histories))
    return mined


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
    """Make X' (section 3.5) of what :func:`~sklearn_dr4sr._distinct.distinct` keeps.

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
    dropped = left_out(dataset, ("original", "mined"))
    if dropped:
        warnings.warn(
            "DatasetRegenerator makes X' of the histories and their mined patterns and drops "
            f"{' and '.join(dropped)} of X: to train on both, join the two tables with "
            "PatternTable.concatenate",
            stacklevel=2,
        )
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

    usable = regenerated[regenerated.sequences.lengths >= 2]
    table = PatternTable.concatenate([original, mined, usable])
    number, kept = distinct(table, histories)
    if "regenerated" in include:
        of_mined, of_regenerated = (
            np.unique(number[table.origin == ORIGINS.index(name)])
            for name in ("mined", "regenerated")
        )
        n_decoded = int((histories.recode(items).lengths > 0).sum()) * module.n_memories
        report.update(
            n_decoded=n_decoded,
            n_unique=len(of_regenerated),
            n_new=int((kept & (table.origin == ORIGINS.index("regenerated"))).sum()),
            unique_per_decode=len(of_regenerated) / max(1, n_decoded),
            share_already_mined=float(np.isin(of_regenerated, of_mined).mean())
            if len(of_regenerated)
            else 0.0,
        )
    return table[kept & np.isin(table.origin, [ORIGINS.index(name) for name in include])]
