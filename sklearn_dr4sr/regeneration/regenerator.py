"""DatasetRegenerator: learn to turn sequences into patterns, and make new ones (4.2)."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted, check_memory

from .._callbacks import fresh_callbacks
from .._distinct import count_distinct
from .._parameters import (
    COUNT,
    LAYERS,
    LENGTH,
    WIDTH,
    check_number,
    check_path,
    check_some,
    check_verbose,
)
from .._progress import EpochTasks, TimeLeft, subtask, tracked
from .._torch import resolve_device, seed_of
from ..checkpoint import Checkpoint, check_checkpoint, fingerprint
from ..dataset import ORIGINS, PatternTable, SequenceDataset, as_dataset
from ..mining import PatternMiner
from ..ranking import SequenceInput, whole
from ..sequences import Sequences, as_items, positions_in
from .assembly import mined_patterns, regenerate
from .pretraining import Interrupted, pretrain

__all__ = ["DatasetRegenerator"]

#: What ``item_embedding="sasrec"`` trains: enough epochs for neighbours to be near each other.
SASREC = {"loss": "ce", "hidden_dim": 256, "input_norm": True, "max_epochs": 10}


class DatasetRegenerator(SequenceInput, TransformerMixin, BaseEstimator):
    """Learn how sequences turn into patterns, and make patterns that nobody mined.

    Pre-trained on pairs of a history and one of its mined patterns (4.2.1 of the paper [1]_), a
    Transformer with K memories (4.2.2) decodes every history into K patterns (4.2.3). The result X'
    is the original sequences, the mined patterns and the regenerated ones.

    Parameters
    ----------
    diversity_factor : int, default=5
        K, the number of memories: how many patterns are decoded from a history; at most 127.
    generative_probability : float in [0, 1], default=0.1
        γ: probability that a token is chosen from the whole catalogue, else from the history's own
        items. Only ``transform`` reads it: it may be set on a fitted regenerator.
    include : tuple of {"original", "mined", "regenerated"}, default=all three
        What X' holds. Without "original" a row may be left without patterns. Read by ``transform``.
    temperature : float, default=0.0
        0 decodes greedily, as the paper; above 0 tokens are drawn from
        softmax(scores / temperature). Read by ``transform``.
    max_pairs : int, default=10
        Pairs of a history in an epoch, at most; drawn anew for every epoch.
    max_length : int, default=50
        Of a longer history the last items are encoded.
    max_pattern_length : int, default=24
        Longest pattern that is learned or decoded, in items.
    hidden_item_probability : float in [0, 1], default=0.5
        ρ: probability that a history hides an item of one of its patterns in a training step, so
        that generative mode learns to produce it. 0 hides nothing, as the published code: it
        trains restrictive mode alone, but for items of patterns that ``max_length`` cuts off.
    balance : float, default=1.0
        λ: weight of what keeps all memories in use. 0 is the paper's loss.
    item_embedding : {"sasrec", "random"}, array or recommender, default="sasrec"
        What the item embedding starts from; it is trained further. "sasrec": a SASRec that is
        trained on the histories for a few epochs of cross-entropy. An array has shape
        (n_items, embedding_dim), items in sorted order. A recommender has ``items_`` and
        ``item_embeddings_`` once fitted; an unfitted one is cloned and fitted on the histories.
        ``clone`` and searches forget what an estimator has learned: wrap a fitted one in
        ``sklearn.frozen.FrozenEstimator``.
    embedding_dim, hidden_dim : int, default=64, 256
        Widths of the network's states and of its feed-forward layers.
    n_layers, n_heads : int, default=2, 2
        Of encoder, decoder and promoter alike.
    dropout : float in [0, 1), default=0.5
    max_epochs, batch_size : int, default=40, 256
        An epoch is one pass over the drawn pairs; a batch is about ``batch_size`` of them.
    lr : float, default=1e-3
        Learning rate of Adam (β = .9, .98).
    memory : str, joblib.Memory or None, default=None
        Where pre-trainings are kept, as in ``Pipeline``. A fit whose data and parameters equal
        those of one before, apart from what ``transform`` alone reads, ``device``, ``callbacks``
        and ``verbose``, takes its result over: a search over γ pre-trains once. Needs an integer
        ``random_state``. What was interrupted by the keyboard is not kept here; a Pipeline's own
        ``memory`` keeps what a ``fit`` has returned, an interrupted one's too.
    callbacks : list of skorch callbacks or None, default=None
        As of :class:`~sklearn_dr4sr.recommenders.SequentialRecommender`. Not called where a
        pre-training is taken from ``memory``.
    checkpoint_dir : str, path or None, default=None
        Where the state of the pre-training is written after each epoch, for one fit at a time. A
        fit that was killed goes on from there when it is called again with the same data and
        parameters, and on one thread ends with the same result to the bit; anything else found
        there is an error. Needs an integer ``random_state``. A finished fit deletes its file; one
        that was interrupted by the keyboard leaves it. What ``item_embedding`` trains is trained
        anew, unless ``memory`` has it.
    device : str, default="auto"
        "auto" is cuda where there is one.
    random_state : int, RandomState or None, default=None
        Seed of pre-training and decoding. The global generators are left alone.
    verbose : int, default=0
        Above 0: a line for each epoch, with the minutes left; also of what ``item_embedding`` is
        trained by where that is "sasrec"; and in decoding the time left, where it takes long.

    Attributes
    ----------
    items_ : ndarray, shape (n_items,)
        Every item of the histories and patterns seen in ``fit``, sorted.
    net_ : skorch.NeuralNet
        ``net_.module_`` is the network. Without optimizer: not for further training.
    history_ : list of dict
        For every epoch: ``train_loss``, its parts ``restrictive`` and ``generative`` (negative
        log-likelihood a token, in nats), ``usage_entropy`` H(mean π) and ``choice_entropy``
        mean H(π), and ``dur`` in seconds.
    memory_usage_ : ndarray of shape (K,)
        Share of the training pairs whose pattern chooses each memory.
    report_ : dict
        ``n_pairs``, ``n_patterns``, ``memory_usage`` and ``memory_usage_entropy`` after ``fit``;
        when the patterns of a ``transform`` are made also, of the latest one: ``n_decoded`` (K a
        row), ``n_unique`` (of at least two items), ``n_new`` (neither mined nor a history),
        ``unique_per_decode``, ``share_already_mined`` (of the unique ones).
    n_features_in_ : int
        Width of ``X``, only where it was a zero-padded matrix.

    See Also
    --------
    sklearn_dr4sr.PatternMiner : Mines the patterns to learn from.

    Notes
    -----
    With source [SOS] s [EOS] and target [SOS] p [EOS], an encoder makes states, one for each token;
    two linear layers make K memories m_k of each; π = softmax(MLP(mean of a second encoder's states
    of p)) (equation 3); the decoder attends to Σ_k π_k m_k (equation 4) and is trained by

        L = mean of -log P(p_t | s, p_<t) + λ mean of -Σ_k q_k log π_k

    over a batch of pairs, q being π sharpened and balanced over the batch (below). In restrictive
    mode P is a softmax over the items of s and EOS, in generative mode over the catalogue and EOS.
    At inference each memory is used alone.

    Departures from the paper, which publishes neither a working balance nor a trained generative
    mode (in its code one memory takes all patterns, and no item outside the source is ever trained
    as an output):

    - *Balanced memories.* q gives each pattern nearly one memory, and each memory as many patterns
      (Sinkhorn's iteration, as in [2]_): no memory can die, and π comes near the single memories
      that inference uses. The promoter has no dropout, whose noise would do for balance without
      telling patterns apart.
    - *Memories are seen.* The linear layers' output is added to the encoder's states; alone it
      reached the decoder too weak for the source to matter.
    - *Trained generative mode.* With probability ρ a source hides one item of one of its patterns.
      Whatever a pattern holds that its source does not show, and the EOS of such a pattern, is
      learned by the generative softmax; all that is shown by the restrictive one; and the promoter
      sees only what is shown, or the memory would give the rest away. So generative
      mode learns to name what is missing from the history, and γ matters at inference only: one
      pre-training serves every γ. It has a linear layer of its own, of the decoder's state and the
      mean of the memory, and P(item) ∝ share(item) exp(affinity), with the item's share of the
      training data. Decoding takes the item of the highest affinity, which is the one that the
      history makes likelier than usual the most, not one that is popular with everyone; and EOS
      where its probability exceeds all items' together.
    - The encoder is bidirectional in training and inference alike (causal in the published code's
      training only); feed-forward layers have dropout on their output, not inside.
    - Pairs are drawn for each epoch, not once.

    Equal patterns count once in X': a mined one at the first row that has it, a regenerated one
    where it is decoded first, and only if it is neither mined nor a whole history. All draws of the
    decoding are functions of the seed and the history, so a row's patterns depend neither on its
    neighbours nor on the order of rows (before duplicates are removed).

    References
    ----------
    .. [1] Yin et al., "Dataset Regeneration for Sequential Recommendation", KDD 2024.
    .. [2] Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster
       Assignments", NeurIPS 2020.

    Examples
    --------
    >>> from sklearn_dr4sr import DatasetRegenerator, PatternMiner
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> data = PatternMiner(window_size=3).fit_transform(make_sequences(60, 20, random_state=0))
    >>> regenerator = DatasetRegenerator(
    ...     2, item_embedding="random", embedding_dim=8, max_epochs=1, random_state=0
    ... )
    >>> regenerated = regenerator.fit_transform(data)
    >>> len(regenerated), sorted(set(regenerated.origin.tolist()))[:2]
    (60, ['mined', 'original'])
    """

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
        checkpoint_dir: Any = None,
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
        self.checkpoint_dir = checkpoint_dir
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @tracked
    @whole
    def fit(self, X: Any, y: Any = None) -> DatasetRegenerator:
        """Pre-train the regenerator on (history, mined pattern) pairs.

        Parameters
        ----------
        X : SequenceDataset or item sequences
            A data set with mined patterns, as ``PatternMiner`` makes it; anything without mined
            patterns is mined with ``PatternMiner()`` first.
        y : array-like of shape (n_rows,) or None, default=None
            Held-out items, one a row: checked before the work begins, never trained on.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On a parameter out of range; on bad input, naming the row; if there is no pattern.
        FloatingPointError
            If loss or weights turn NaN or infinite, naming epoch and batch. With
            ``checkpoint_dir``, the state after the epoch before is left there.

        Examples
        --------
        >>> from sklearn_dr4sr import DatasetRegenerator
        >>> from sklearn_dr4sr.datasets import make_sequences
        >>> regenerator = DatasetRegenerator(
        ...     2, item_embedding="random", embedding_dim=8, max_epochs=2, random_state=0
        ... ).fit(make_sequences(60, 20, random_state=0))
        >>> [epoch["epoch"] for epoch in regenerator.history_]
        [1, 2]
        """
        self._check_parameters()
        resolve_device(self.device)
        seed = seed_of(self.random_state)
        dataset = as_dataset(self._read(X, fitting=True))
        if y is not None:
            as_items(y, len(dataset), dataset.histories.items)
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
        with subtask(self, "item-embedding"):
            embedding, interrupted = self._initial_embedding(cache, histories, seed)
        epochs = self.max_epochs
        checkpoint = self._checkpoint(histories, mined, seed)
        train = cache.cache(pretrain, ignore=["device", "callbacks", "verbose"])
        called = [TimeLeft()] if self.verbose else []
        called += [*fresh_callbacks(self.callbacks), *checkpoint]
        if interrupted:  # whoever wants to stop wants no pre-training: the network as it begins
            train, epochs, called, checkpoint = pretrain, 0, [], []
            warnings.warn(
                "interrupted while item_embedding was trained: the regenerator is fitted without "
                "pre-training, with its initial weights",
                UserWarning,
                stacklevel=3,
            )
        try:
            with subtask(self, "pre-training", self.max_epochs) as task:
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
                        "max_epochs": epochs,
                        "batch_size": self.batch_size,
                        "lr": self.lr,
                        "max_pairs": self.max_pairs,
                        "hide": self.hidden_item_probability,
                        "balance": self.balance,
                    },
                    seed=seed,
                    device=self.device,
                    callbacks=[EpochTasks(self, task), *called],
                    verbose=self.verbose,
                )
        except Interrupted as interrupt:
            result = interrupt.result
            warnings.warn(
                f"interrupted in epoch {len(result[1]) + 1} of max_epochs={self.max_epochs}: the "
                "regenerator is fitted with the weights it had by then",
                UserWarning,
                stacklevel=3,
            )
        else:
            for written in checkpoint:
                written.remove()
        self.net_, self.history_, self.memory_usage_ = result
        used = self.memory_usage_[self.memory_usage_ > 0]
        self.report_ = {
            "n_pairs": len(mined),
            "n_patterns": int(count_distinct(mined.sequences)),
            "memory_usage": self.memory_usage_.tolist(),
            "memory_usage_entropy": float(-(used * np.log(used)).sum()),
        }
        self._seed, self._miner = seed, miner
        self.items_ = items
        return self

    def transform(self, X: Any) -> SequenceDataset:
        """Regenerate the rows; the patterns are made when they are first read.

        Parameters
        ----------
        X : SequenceDataset or item sequences
            Histories, with their mined patterns. Where there are none and ``fit`` mined by itself,
            they are looked up among the patterns that it mined. Items that were not seen in
            ``fit`` are skipped in decoding; an empty history is legal and yields nothing.

        Returns
        -------
        SequenceDataset
            One row a row of ``X``, with its history. Patterns in order of rows; within a row the
            original, the mined, the regenerated (their ``table.memory`` is the memory).

        Raises
        ------
        NotFittedError, ValueError, TypeError
            Before ``fit``; on a parameter out of range; on bad input.

        Warns
        -----
        UserWarning
            When the patterns are made, if ``X`` had weights or patterns that were neither mined
            nor original: they are dropped.

        Examples
        --------
        >>> from sklearn_dr4sr import DatasetRegenerator
        >>> from sklearn_dr4sr.datasets import make_sequences
        >>> sequences = make_sequences(60, 20, random_state=0)
        >>> regenerator = DatasetRegenerator(
        ...     2, item_embedding="random", embedding_dim=8, max_epochs=1, random_state=0
        ... ).fit(sequences)
        >>> regenerator.transform(sequences[:10])
        SequenceDataset(10 rows, patterns not yet made)
        """
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
            verbose=self.verbose,
        )
        return SequenceDataset(dataset.histories, make)

    def _n_subtasks(self) -> int:
        return 2

    def _checkpoint(self, histories: Sequences, mined: PatternTable, seed: int) -> list[Checkpoint]:
        """Make the callback, if there is to be one.

        The initial embedding is told by what it is made from: made again, on other threads, it
        need not be the same to the bit, and what is taken up from a checkpoint does not need it.
        """
        if self.checkpoint_dir is None:
            return []
        unread = ("generative_probability", "include", "temperature", "memory", "random_state")
        unread += ("callbacks", "checkpoint_dir", "device", "verbose")
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in unread}
        given = self.item_embedding
        if hasattr(given, "fit"):
            own = given._identity() if hasattr(given, "_identity") else repr(given)
            parameters["item_embedding"] = getattr(given, "item_embeddings_", (type(given), own))
        identity = fingerprint(parameters, seed, histories, mined)
        return [Checkpoint(self.checkpoint_dir, type(self).__name__, identity)]

    def _initial_embedding(
        self, cache: Any, histories: Sequences, seed: int
    ) -> tuple[np.ndarray | None, bool]:
        """Rows of ``items`` in the pre-trained embedding, (n_items, dim), or None: random.

        And whether its training was interrupted.
        """
        given, interrupted = self.item_embedding, False
        shape = (len(histories.items), self.embedding_dim)
        if isinstance(given, str):
            if given == "random":
                return None, False
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
                fitted = cache.cache(_fitted, ignore=["verbose"])
                own = isinstance(self.item_embedding, str)
                try:
                    given = fitted(clone(given), histories, self.verbose if own else None)
                except Interrupted as interrupt:
                    given, interrupted = interrupt.result, True
            if not hasattr(given, "item_embeddings_"):
                raise TypeError(
                    "item_embedding: expected a recommender with item_embeddings_, got "
                    f"{type(given).__name__}, which learns none"
                )
            vectors = given.item_embeddings_
            if vectors.shape[1] != shape[1]:
                raise ValueError(
                    f"item_embedding has vectors of {vectors.shape[1]} numbers, "
                    f"embedding_dim={self.embedding_dim}"
                )
            at = positions_in(given.items_, histories.items)
            if not (at >= 0).any():
                raise ValueError(
                    "item_embedding was fitted on other items: it knows none of X's, such as "
                    f"{histories.items[0]!r}"
                )
            rows = np.random.default_rng(seed).normal(0, 0.02, shape)
            rows[at >= 0] = vectors[at[at >= 0]]
            return rows.astype(np.float32), interrupted
        try:
            rows = np.asarray(given, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            rows = np.empty(())
        if rows.ndim == 0:
            raise ValueError(
                'item_embedding must be "sasrec", "random", an array or a recommender, '
                f"got {given!r}"
            )
        if rows.shape != shape or not np.isfinite(rows).all():
            raise ValueError(
                f"item_embedding: expected finite numbers of shape {shape} (n_items, "
                f"embedding_dim), a row for each item in sorted order, got shape {rows.shape}"
            )
        return rows, False

    def _check_parameters(self) -> None:
        most = {"diversity_factor": np.iinfo(np.int8).max}  # as PatternTable.memory has it
        most |= {"n_layers": LAYERS, "max_length": LENGTH}
        most |= dict.fromkeys(("embedding_dim", "hidden_dim", "n_heads"), WIDTH)
        most |= dict.fromkeys(("max_pairs", "batch_size", "max_epochs"), COUNT)
        for name, high in most.items():
            check_number(name, getattr(self, name), 1, high, integer=True)
        check_number("max_pattern_length", self.max_pattern_length, 2, LENGTH, integer=True)
        for name in ("generative_probability", "hidden_item_probability", "dropout"):
            check_number(name, getattr(self, name), 0, 1)
        for name in ("balance", "temperature"):
            check_number(name, getattr(self, name), 0)
        check_number("lr", self.lr, 0, above=True)
        if self.dropout == 1:
            raise ValueError(f"dropout must be less than 1, got {self.dropout!r}")
        check_verbose(self.verbose)
        check_checkpoint(self.checkpoint_dir, self.random_state)
        check_path("memory", self.memory)
        if self.embedding_dim % self.n_heads:
            raise ValueError(
                f"embedding_dim={self.embedding_dim} must be a multiple of n_heads={self.n_heads}"
            )
        check_some("include", self.include, ORIGINS[:3])
        if isinstance(self.item_embedding, str) and self.item_embedding not in ("sasrec", "random"):
            raise ValueError(
                'item_embedding must be "sasrec", "random", an array or a recommender, '
                f"got {self.item_embedding!r}"
            )


def _fitted(recommender: Any, histories: Sequences, verbose: int | None) -> Any:
    """Fit it; where that was interrupted, raise it past the cache."""
    if verbose:
        recommender.set_params(verbose=verbose)
    with warnings.catch_warnings():
        # the regenerator tells of it, and of what it means for the pre-training
        warnings.filterwarnings("ignore", r".*\.fit was interrupted in epoch")
        recommender = recommender.fit(histories)
    if getattr(getattr(recommender, "net_", None), "interrupted", False):
        raise Interrupted(recommender)
    return recommender
