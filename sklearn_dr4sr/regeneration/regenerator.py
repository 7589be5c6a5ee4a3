"""DatasetRegenerator: learn to turn sequences into patterns, and make new ones (4.2)."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted, check_memory

from .._torch import resolve_device, seed_of
from ..dataset import ORIGINS, SequenceDataset, as_dataset
from ..mining import PatternMiner
from ..ranking import SequenceInput
from ..sequences import Sequences, positions_in
from .assembly import mined_patterns, regenerate
from .pretraining import Interrupted, pretrain

__all__ = ["DatasetRegenerator"]

#: What ``item_embedding="sasrec"`` trains: enough epochs for neighbours to be near each other.
SASREC = {"loss": "ce", "hidden_dim": 256, "input_norm": True, "max_epochs": 10}


class DatasetRegenerator(SequenceInput, TransformerMixin, BaseEstimator):
    """Learn to regenerate sequences as patterns."""

    def __init__(
        self,
        diversity_factor: int = 5,
        generative_probability: float = 0.1,
        *,
        include: tuple[str, ...] = ("original", "mined", "regenerated"),
        temperature: float = 0.0,
        max_pairs: int = 10,
        max_length: int = 50,
        max_pattern_length: int = 24,
        hidden_item_probability: float = 0.5,
        balance: float = 1.0,
        item_embedding: Any = "sasrec",
        embedding_dim: int = 64,
        hidden_dim: int = 256,
        n_layers: int = 2,
        n_heads: int = 2,
        dropout: float = 0.5,
        max_epochs: int = 40,
        batch_size: int = 256,
        lr: float = 1e-3,
        memory: Any = None,
        callbacks: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.diversity_factor = diversity_factor
        self.generative_probability = generative_probability
        self.include = include
        self.temperature = temperature
        self.max_pairs = max_pairs
        self.max_length = max_length
        self.max_pattern_length = max_pattern_length
        self.hidden_item_probability = hidden_item_probability
        self.balance = balance
        self.item_embedding = item_embedding
        self.embedding_dim = embedding_dim
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.dropout = dropout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.memory = memory
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> DatasetRegenerator:
        """Pre-train the regenerator on (history, mined pattern) pairs.

        Parameters
        ----------
        X : SequenceDataset or item sequences
            A data set with mined patterns, as ``PatternMiner`` makes it; anything without mined
            patterns is mined with ``PatternMiner()`` first.
        y : ignored
            Held-out items are never trained on.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On a parameter out of range; on bad input, naming the row; if there is no pattern.
        """
        self._check_parameters()
        resolve_device(self.device)
        seed = seed_of(self.random_state)
        dataset = as_dataset(self._read(X, fitting=True))
        mined, miner = mined_patterns(dataset), None
        if len(mined) == 0:
            miner = PatternMiner().fit(dataset.histories)
            mined = mined_patterns(miner.transform(dataset.histories))
        mined = mined[mined.sequences.lengths <= self.max_pattern_length]
        if len(mined) == 0:
            raise ValueError(
                f"X ({len(dataset)} sample(s)) holds no mined pattern of at most "
                f"max_pattern_length={self.max_pattern_length} items to learn from: lower "
                "PatternMiner's min_support, or widen its window_size"
            )
        items = dataset.items
        histories = dataset.histories.recode(items)
        cache = check_memory(self.memory)
        embedding = self._initial_embedding(cache, histories, seed)
        train = cache.cache(pretrain, ignore=["device", "callbacks", "verbose"])
        try:
            result = train(
                histories.last(self.max_length),
                mined.sequences.recode(items),
                mined.source,
                embedding,
                architecture={
                    "n_memories": self.diversity_factor,
                    "embedding_dim": self.embedding_dim,
                    "hidden_dim": self.hidden_dim,
                    "n_layers": self.n_layers,
                    "n_heads": self.n_heads,
                    "dropout": self.dropout,
                    "max_length": self.max_length,
                    "max_pattern_length": self.max_pattern_length,
                },
                training={
                    "max_epochs": self.max_epochs,
                    "batch_size": self.batch_size,
                    "lr": self.lr,
                    "max_pairs": self.max_pairs,
                    "hide": self.hidden_item_probability,
                    "balance": self.balance,
                },
                seed=seed,
                device=self.device,
                callbacks=self.callbacks,
                verbose=self.verbose,
            )
        except Interrupted as interrupt:
            result = interrupt.result
            warnings.warn(
                f"interrupted in epoch {len(result[1]) + 1} of max_epochs={self.max_epochs}: the "
                "regenerator is fitted with the weights it had by then",
                UserWarning,
                stacklevel=2,
            )
        self.net_, self.history_, self.memory_usage_ = result
        used = self.memory_usage_[self.memory_usage_ > 0]
        self.report_ = {
            "n_pairs": len(mined),
            "memory_usage": self.memory_usage_.tolist(),
            "memory_usage_entropy": float(-(used * np.log(used)).sum()),
        }
        self._seed, self._miner = seed, miner
        self.items_ = items  # last: an estimator whose fit failed is not fitted
        return self

    def transform(self, X: Any) -> SequenceDataset:
        """Regenerate each row's history, when the patterns are first read."""
        check_is_fitted(self, "items_")
        self._check_parameters()
        dataset = as_dataset(self._read(X))
        make = partial(
            regenerate,
            dataset,
            self._miner,
            self.net_.module_,
            self.items_,
            include=tuple(self.include),
            generative_probability=self.generative_probability,
            temperature=self.temperature,
            seed=self._seed,
            report=self.report_,
        )
        return SequenceDataset(dataset.histories, make)

    def _initial_embedding(self, cache: Any, histories: Sequences, seed: int) -> np.ndarray | None:
        """Rows of ``items`` in the pre-trained embedding, (n_items, dim); None: random."""
        given = self.item_embedding
        shape = (len(histories.items), self.embedding_dim)
        if isinstance(given, str):
            if given == "random":
                return None
            from ..recommenders import SASRec  # only whoever needs it pays for its import

            given = SASRec(
                **SASREC,
                embedding_dim=self.embedding_dim,
                max_length=self.max_length,
                device=self.device,
                random_state=seed,
            )
        if hasattr(given, "fit"):
            try:
                check_is_fitted(given)
            except NotFittedError:
                given = cache.cache(_fitted)(clone(given), histories)
            vectors = given.item_embeddings_
            if vectors.shape[1] != shape[1]:
                raise ValueError(
                    f"item_embedding has vectors of {vectors.shape[1]} numbers, "
                    f"embedding_dim={self.embedding_dim}"
                )
            at = positions_in(given.items_, histories.items)
            rows = np.random.default_rng(seed).normal(0, 0.02, shape)
            rows[at >= 0] = vectors[at[at >= 0]]
            return rows.astype(np.float32)
        rows = np.asarray(given, dtype=np.float32)
        if rows.shape != shape or not np.isfinite(rows).all():
            raise ValueError(
                f"item_embedding: expected finite numbers of shape {shape} (n_items, "
                f"embedding_dim), a row for each item in sorted order, got shape {rows.shape}"
            )
        return rows

    def _check_parameters(self) -> None:
        integers = dict.fromkeys(
            ("diversity_factor", "max_pairs", "max_length", "embedding_dim", "hidden_dim"), 1
        )
        integers |= dict.fromkeys(("n_layers", "n_heads", "batch_size", "max_epochs"), 1)
        integers["max_pattern_length"] = 2
        for name, least in integers.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        shares = ("generative_probability", "hidden_item_probability", "dropout")
        for name in (*shares, "balance", "temperature", "lr"):
            value = getattr(self, name)
            top = 1 if name in shares else np.inf
            if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value <= top:
                limit = "between 0 and 1" if name in shares else "of at least 0"
                raise ValueError(f"{name} must be a number {limit}, got {value!r}")
        if self.embedding_dim % self.n_heads:
            raise ValueError(
                f"embedding_dim={self.embedding_dim} must be a multiple of n_heads={self.n_heads}"
            )
        choices = ORIGINS[:3]
        include = self.include
        if isinstance(include, str) or not set(include) or not set(include) <= set(choices):
            raise ValueError(f"include must be some of {choices}, got {include!r}")
        if isinstance(self.item_embedding, str) and self.item_embedding not in ("sasrec", "random"):
            raise ValueError(
                'item_embedding must be "sasrec", "random", an array or a recommender, '
                f"got {self.item_embedding!r}"
            )


def _fitted(recommender: Any, histories: Sequences) -> Any:
    return recommender.fit(histories)
