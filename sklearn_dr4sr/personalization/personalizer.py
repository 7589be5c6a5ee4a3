"""DatasetPersonalizer: weights for a data set, learned for and with one recommender."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from .._parameters import WIDTH, check_choice, check_flag, check_number, check_some
from .._progress import Timer, subtask, tracked
from .._torch import seed_of
from ..checkpoint import check_checkpoint
from ..dataset import ORIGINS, PatternTable, SequenceDataset, as_dataset
from ..ranking import SequenceInput, whole
from ..recommenders.base import SequentialRecommender
from ..recommenders.batching import TrainingPatterns
from ..sequences import as_items, positions_in
from .hypergradient import METHODS
from .network import FEATURES
from .training import (
    UPPER_OPTIMIZERS,
    PersonalizedNet,
    is_weighted,
    network_inputs,
    not_finite,
    weights_of,
)

__all__ = ["DatasetPersonalizer"]

#: Padded tokens encoded at once when weighing.
ENCODE_TOKENS = 2**15


class DatasetPersonalizer(SequenceInput, TransformerMixin, BaseEstimator):
    r"""Weigh each training target by what it does for a recommender's held-out loss (DR4SR+).

    A small network looks at each target of each pattern and gives it a weight; the recommender
    trains on the weighted loss; and every ``inner_steps`` of its steps the network takes one step
    that lowers the recommender's unweighted loss on other data. ``transform`` gives the patterns of
    ``X`` their weights, for any recommender to train on; ``predict`` ranks with the recommender
    that was trained jointly, so that this may be a Pipeline's last step.

    Parameters
    ----------
    recommender : SequentialRecommender
        The target model; it is cloned. Its ``max_epochs`` must leave room for upper steps after
        the warm-up. Its ``checkpoint_dir`` keeps the state of both levels.
    features : tuple of str, default=("pattern_margin", "origin")
        What the network sees of a target. The paper's is its state, of 64 numbers; there is too
        little to learn from for that much to be told apart (see Notes).

        - "state": the state that the target is predicted from, h_{t-1}
        - "target": the target's embedding, v_t; with "state" it stands for the paper's h_t
        - "margin": the target's score h_{t-1} . v_t, in standard deviations above the mean over the
          catalogue: whether the recommender finds it plausible
        - "pattern_margin": the mean of that over the targets of its pattern: whether it
          finds the pattern plausible
        - "origin": where the pattern comes from
        - "support": log(1 + support) of a mined pattern
    warmup_epochs : int, default=10
        Epochs of the recommender alone, all weights 1, before the first upper step.
    inner_steps : int, default=30
        Lower steps to an upper step (T_lower of the paper).
    hypergradient : str, default="finite_difference"
        One of:

        - "neumann": Equation 10, differentiating twice.
        - "finite_difference": the same by central differences of first derivatives: nothing is
          differentiated twice, and memory stays that of the recommender's own steps.
        - "identity": I in place of the inverse Hessian.
        - "end_to_end": no upper step; the network learns on the weighted training loss itself. The
          ablation of the paper's Table 4: with ``normalize=False`` all weights go to 0.
    neumann_terms : int, default=0
        K of Equation 10; 0 takes the first term alone, as "identity" does: the inverse Hessian is
        left out, and ``neumann_step="auto"`` does nothing.
    neumann_step : float or "auto", default="auto"
        η of the sum. "auto": 1 / the largest eigenvalue of the Hessian, by power iteration. The
        paper has 1, its code 1e-3.
    temperature : float, default=3.0
        τ of Equation 5: the lower, the more a few targets outweigh all others. In the paper's code
        it starts at 10 and never changes.
    gumbel : bool, default=True
        Add Gumbel noise to the logits in training.
    detach : bool, default=True
        Take what the network sees as constant, so that the recommender cannot lower its loss by
        changing its states to be weighed less.
    normalize : bool, default=True
        Divide the weights of a batch, and those that ``transform`` returns, by their mean: what
        counts is how they differ, and the recommender's learning rate keeps its meaning.
    validation : {"resampled", "held_back"}, default="resampled"
        What L_dev is taken on. Never ``y``.

        - "resampled": a batch of the training patterns drawn independently, the paper's. See Notes.
        - "held_back": the last item of each row of three or more. Nothing of that row trains the
          item: wherever a pattern of the row holds it, its weight is 0. This costs
          ``recommender_`` that item as a target, and with it much of its accuracy, but not a
          recommender that is trained on what ``transform`` returns.
    robustness : float, default=0.5
        q of L_dev = sum (1 - exp(-q l)) / q (the generalised cross-entropy of [4]_), at least 0;
        0 is the plain sum of l, the paper's. The higher it is, the less do targets count in L_dev
        that the recommender holds for all but impossible.
    weighted_origins : tuple of str, default=("original", "mined", "regenerated", "augmented")
        Patterns that are weighed; others keep the weight 1. The paper's code has
        ``("original", "regenerated")``.
    hidden_dim : int, default=64
        Width of the network.
    upper_optimizer : {"adam", "adamw", "sgd"}, default="adam"
        What differs is how the network's decay meets a hypergradient that shrinks as the
        recommender learns (see Notes).

        - "adam": the decay is a part of the gradient, and soon its larger one: in a long training
          all weights return to 1.
        - "adamw": each upper step takes ``upper_weight_decay`` times ``upper_lr`` off the network,
          whatever the gradient: what it has learned stays, and grows.
        - "sgd", with momentum 0.9: the paper's.
    upper_lr : float, default=1e-2
        0 leaves the network at its random start: a control.
    upper_weight_decay : float, default=1e-3
    gradient_clip : float, default=10.0
        Largest norm of the hypergradient.
    random_state : int, RandomState or None, default=None
        Seed of the network and, unless None, of the recommender in place of its own.

    Attributes
    ----------
    recommender_ : SequentialRecommender
        Trained jointly.
    network_ : torch.nn.Module
        g of the paper.
    items_ : ndarray of shape (n_items,)
    upper_history_ : list of dict
        An entry an upper step: "step" (lower steps since the warm-up), "train_loss" (of the lower
        step before it), "dev_loss", "gradient_norm" (of the hypergradient, before it is clipped),
        and "weight_mean" and "weight_std" of the weights in its batch.
    history_ : list of dict
        The same: the name that all estimators have.
    n_diverged_ : int
        Upper steps whose Neumann sum diverged.

    Notes
    -----
    .. math::

        z = g_φ(h), \quad w = \mathrm{softmax}((z + G) / τ)_1, \quad
        L_{train} = \frac{1}{n} \sum w_{i,t} \, l_{i,t}, \quad
        ∇_φ L_{dev} = -∇_θ L_{dev} \; η \sum_{n=0}^{K} (I - η ∇^2_θ L_{train})^n \;
        ∇_φ ∇_θ L_{train}

    (Equations 5, 8 and 10), g an MLP d → 64 → 2. The weight of position t of a pattern belongs to
    the item at t as a target; a pattern's first item, items before the recommender's
    ``max_length`` and unknown items keep the weight 1. ``transform`` adds no noise. The weights of
    ``X`` itself, where it has some, are multiplied by the learned ones.

    **Departures from the paper.** ``benchmarks/personalization.py --departures`` puts each back
    alone on a planted problem, where 30 % of the rows are random. Two decide there which rows
    gain:

    - A state before the target cannot tell a wrong target from a right one. "margin" can, and
      "pattern_margin" can better, since rows are corrupted as a whole; with so little to look at,
      all there is to learn is which way, and how steeply, weights follow it.
    - Held-out targets are corrupted as often as others, and of these the plain loss is large. A
      recommender that has grown too confident lowers it by training on noise, so that random rows
      *gain* weight. A bounded loss (``robustness``) takes that away. It also keeps "resampled" from
      standing still: with ``robustness=0`` L_dev is the unweighted training loss, which equal
      weights minimise, so that at a minimum of it the hypergradient is 0.

    The others hardly change that order there, but let the weights spread more:

    - The hypergradient is small and mostly common to all targets: weights of mean 1, Adam, and a
      ``temperature`` of 3 instead of 10.
    - ``neumann_terms=0`` leaves the inverse Hessian out: three terms are far from it, and cost two
      gradients each.

    **In a long training** weights seem to confirm themselves: patterns that weigh more are learned
    better and so look more plausible. In the first hundred or two of upper steps learning them
    helps; left to grow beyond ("adamw") they starve the rest, and NDCG falls far below that of
    constant weights (``benchmarks/results/weights.md``). "adam" lets go of them in time.

    The paper's recipe as its code runs it is ``PAPER`` of ``benchmarks/run.py``: the state alone,
    three further terms with η = 1e-3 by double backward, τ = 10, weights as they are, the plain
    loss of resampled patterns, mined patterns not weighed, and SGD. That code leaves the factor η
    before the sum out: its learning rates of 1e-3 to 1e-1 are 1 to 100 here.

    The order of upper steps: the lower batch just trained on, an independent batch for L_dev, no
    dropout in either. Losses that a model adds to the recommendation loss (CL4SRec's) train, but
    are neither weighted nor validated.

    References
    ----------
    .. [1] Yin et al., "Dataset Regeneration for Sequential Recommendation", KDD 2024.
    .. [2] Lorraine, Vicol and Duvenaud, "Optimizing Millions of Hyperparameters by Implicit
       Differentiation", AISTATS 2020.
    .. [3] Ren, Zeng, Yang and Urtasun, "Learning to Reweight Examples for Robust Deep Learning",
       ICML 2018.
    .. [4] Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with
       Noisy Labels", NeurIPS 2018.

    Examples
    --------
    >>> from sklearn_dr4sr import DatasetPersonalizer
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.recommenders import SASRec
    >>> X = make_sequences(200, 50, random_state=0)
    >>> personalizer = DatasetPersonalizer(
    ...     SASRec(max_epochs=3, batch_size=64), warmup_epochs=1, inner_steps=2, random_state=0
    ... ).fit(X)
    >>> personalizer.transform(X).weights.shape == X.codes.shape
    True
    >>> personalizer.predict([[1, 2, 3]], k=5).shape
    (1, 5)
    """

    def __init__(
        self,
        recommender: Any,
        *,
        features: tuple[str, ...] = ("pattern_margin", "origin"),
        warmup_epochs: int = 10,
        inner_steps: int = 30,
        hypergradient: str = "finite_difference",
        neumann_terms: int = 0,
        neumann_step: float | str = "auto",
        temperature: float = 3.0,
        gumbel: bool = True,
        detach: bool = True,
        normalize: bool = True,
        validation: str = "resampled",
        robustness: float = 0.5,
        weighted_origins: tuple[str, ...] = ORIGINS,
        hidden_dim: int = 64,
        upper_optimizer: str = "adam",
        upper_lr: float = 1e-2,
        upper_weight_decay: float = 1e-3,
        gradient_clip: float = 10.0,
        random_state: Any = None,
    ) -> None:
        self.recommender = recommender
        self.features = features
        self.warmup_epochs = warmup_epochs
        self.inner_steps = inner_steps
        self.hypergradient = hypergradient
        self.neumann_terms = neumann_terms
        self.neumann_step = neumann_step
        self.temperature = temperature
        self.gumbel = gumbel
        self.detach = detach
        self.normalize = normalize
        self.validation = validation
        self.robustness = robustness
        self.weighted_origins = weighted_origins
        self.hidden_dim = hidden_dim
        self.upper_optimizer = upper_optimizer
        self.upper_lr = upper_lr
        self.upper_weight_decay = upper_weight_decay
        self.gradient_clip = gradient_clip
        self.random_state = random_state

    @tracked
    @whole
    def fit(self, X: Any, y: Any = None) -> DatasetPersonalizer:
        """Train the recommender and the weights of its data jointly.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            Without patterns of its own the histories are weighed.
        y : array-like of shape (n_rows,) or None, default=None
            The held-out next item of each row: only for the recommender's early stopping, which
            keeps network and recommender of the same epoch. Neither level trains on it.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            On a parameter out of range or a recommender that is none of the package's; on bad
            input; with ``validation="held_back"``, if no row holds three items.
        FloatingPointError
            If a loss, or the weights of either level, turn NaN or infinite before an epoch was
            validated (there is ``y`` for it), naming epoch and batch.

        Warns
        -----
        UserWarning
            If they do so after one: training ends, and both levels keep their best weights so far.
            If the Neumann sum diverges; if training ends before the first upper step.

        Examples
        --------
        >>> from sklearn_dr4sr import DatasetPersonalizer
        >>> from sklearn_dr4sr.datasets import make_sequences
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> X = make_sequences(60, 20, random_state=0)
        >>> personalizer = DatasetPersonalizer(
        ...     SASRec(max_epochs=2, batch_size=32), warmup_epochs=1, inner_steps=1, random_state=0
        ... ).fit(X)
        >>> sorted(personalizer.upper_history_[0])
        ['dev_loss', 'gradient_norm', 'step', 'train_loss', 'weight_mean', 'weight_std']
        """
        self._check_parameters()
        dataset = as_dataset(self._read(X, fitting=True))
        if y is not None:
            as_items(y, len(dataset), dataset.histories.items)
        recommender = clone(self.recommender)
        seed = seed_of(self.random_state)
        if self.random_state is not None:
            recommender.set_params(random_state=seed)
        dev = None
        if self.validation == "held_back" and self.hypergradient != "end_to_end":
            dataset, dev = _hold_back(dataset, recommender.max_length)
        recommender._net_class = partial(
            PersonalizedNet, settings=self, table=dataset.table, dev=dev, seed=seed
        )
        with (
            subtask(self, "fit-recommender") as task,
            task.propagate_callback_context(recommender) if task else nullcontext(),
        ):
            recommender.fit(dataset, y)
        del recommender._net_class
        net = recommender.net_
        self.upper_history_, self.n_diverged_ = net._upper.history, net._upper.diverged
        self.history_ = self.upper_history_
        if not self.upper_history_ and self.hypergradient != "end_to_end":
            warnings.warn(
                f"training ended after {recommender.n_steps_} steps in "
                f"{len(recommender.history_)} epochs, before the first upper step: the weights are "
                f"those of a random network. Lower warmup_epochs={self.warmup_epochs} or "
                f"inner_steps={self.inner_steps}, or raise the recommender's max_epochs",
                stacklevel=3,
            )
        self.network_ = net.module_.personalizer
        del net.module_.personalizer
        net.forget()
        self.recommender_ = recommender
        self.items_ = recommender.items_
        return self

    def transform(self, X: Any) -> SequenceDataset:
        """Give the patterns of ``X`` their weights, when patterns or weights are first read.

        Parameters
        ----------
        X : item sequences or SequenceDataset

        Returns
        -------
        SequenceDataset
            The histories and patterns of ``X`` with ``weights``.

        Raises
        ------
        NotFittedError, ValueError, TypeError
            Before ``fit``; on bad input.
        FloatingPointError
            When they are read, if they are NaN or infinite, naming ``upper_lr`` and
            ``temperature``.

        Examples
        --------
        >>> from sklearn_dr4sr import DatasetPersonalizer
        >>> from sklearn_dr4sr.datasets import make_sequences
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> X = make_sequences(60, 20, random_state=0)
        >>> personalizer = DatasetPersonalizer(
        ...     SASRec(max_epochs=2, batch_size=32), warmup_epochs=1, inner_steps=1, random_state=0
        ... ).fit(X)
        >>> data = personalizer.transform([[1, 2, 3], [4, 5]])
        >>> data.weights.shape, bool((data.weights >= 0).all())
        ((5,), True)
        """
        check_is_fitted(self, "items_")
        self._check_parameters()  # which may have been set since
        dataset = as_dataset(self._read(X))
        settings = clone(self)  # what the weights depend on, without what was fitted
        make = partial(_weighted, dataset, self.recommender_, self.network_, settings)
        return SequenceDataset(dataset.histories, make)

    def predict(self, X: Any, k: int = 10) -> np.ndarray:
        """Rank the catalogue with the jointly trained recommender; see its ``predict``.

        Examples
        --------
        >>> from sklearn_dr4sr import DatasetPersonalizer
        >>> from sklearn_dr4sr.datasets import make_sequences
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> X = make_sequences(60, 20, random_state=0)
        >>> personalizer = DatasetPersonalizer(
        ...     SASRec(max_epochs=2, batch_size=32), warmup_epochs=1, inner_steps=1, random_state=0
        ... ).fit(X)
        >>> personalizer.predict([[1, 2], [3]], k=5).shape
        (2, 5)
        """
        check_is_fitted(self, "items_")
        return self.recommender_.predict(self._read(X), k=k)

    def recommend(self, X: Any, k: int = 10, **options: Any) -> Any:
        """Rank the catalogue as a long table; see ``recommend`` of the recommenders.

        Examples
        --------
        >>> from sklearn_dr4sr import DatasetPersonalizer
        >>> from sklearn_dr4sr.datasets import make_sequences
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> X = make_sequences(60, 20, random_state=0)
        >>> personalizer = DatasetPersonalizer(
        ...     SASRec(max_epochs=2, batch_size=32), warmup_epochs=1, inner_steps=1, random_state=0
        ... ).fit(X)
        >>> found = personalizer.recommend([[1, 2], [3]], k=5, user_ids=["ann", "bob"])
        >>> list(found), len(found)
        (['user', 'item', 'score', 'rank'], 10)
        """
        check_is_fitted(self, "items_")
        return self.recommender_.recommend(self._read(X), k, **options)

    def decision_function(self, X: Any) -> np.ndarray:
        """Score every item with the jointly trained recommender, (n_rows, n_items).

        Examples
        --------
        >>> from sklearn_dr4sr import DatasetPersonalizer
        >>> from sklearn_dr4sr.datasets import make_sequences
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> X = make_sequences(60, 20, random_state=0)
        >>> personalizer = DatasetPersonalizer(
        ...     SASRec(max_epochs=2, batch_size=32), warmup_epochs=1, inner_steps=1, random_state=0
        ... ).fit(X)
        >>> personalizer.decision_function([[1, 2], [3]]).shape
        (2, 20)
        """
        check_is_fitted(self, "items_")
        return self.recommender_.decision_function(self._read(X))

    def score(self, X: Any, y: Any) -> float:
        """NDCG@20 of ``predict`` against the held-out items ``y``.

        Examples
        --------
        >>> from sklearn_dr4sr import DatasetPersonalizer
        >>> from sklearn_dr4sr.datasets import make_sequences
        >>> from sklearn_dr4sr.recommenders import SASRec
        >>> X = make_sequences(60, 20, random_state=0)
        >>> personalizer = DatasetPersonalizer(
        ...     SASRec(max_epochs=2, batch_size=32), warmup_epochs=1, inner_steps=1, random_state=0
        ... ).fit(X)
        >>> 0 <= personalizer.score([[1, 2], [3]], [3, 4]) <= 1
        True
        """
        check_is_fitted(self, "items_")
        return self.recommender_.score(self._read(X), y)

    def _n_subtasks(self) -> int:
        return 1

    def _check_parameters(self) -> None:
        if not isinstance(self.recommender, SequentialRecommender):
            raise TypeError(
                "recommender: expected a SequentialRecommender, such as SASRec() or "
                f"SequentialRecommender(module=...), got {self.recommender!r}"
            )
        directory = self.recommender.checkpoint_dir
        check_checkpoint(directory, self.random_state, " of the DatasetPersonalizer")
        choices = {
            "hypergradient": (*METHODS, "end_to_end"),
            "validation": ("resampled", "held_back"),
            "upper_optimizer": tuple(UPPER_OPTIMIZERS),
        }
        for name, allowed in choices.items():
            check_choice(name, getattr(self, name), allowed)
        check_some("features", self.features, FEATURES)
        check_some("weighted_origins", self.weighted_origins, ORIGINS)
        for name in ("warmup_epochs", "inner_steps", "neumann_terms"):
            check_number(name, getattr(self, name), int(name == "inner_steps"), integer=True)
        check_number("hidden_dim", self.hidden_dim, 1, WIDTH, integer=True)
        for name in ("gumbel", "detach", "normalize"):
            check_flag(name, getattr(self, name))
        for name in ("temperature", "gradient_clip"):
            check_number(name, getattr(self, name), 0, above=True)
        for name in ("robustness", "upper_lr", "upper_weight_decay"):
            check_number(name, getattr(self, name), 0)
        step = self.neumann_step
        if isinstance(step, str) and step != "auto":
            raise ValueError(f'neumann_step must be "auto" or a number above 0, got {step!r}')
        if not isinstance(step, str):
            check_number("neumann_step", step, 0, above=True)


def _hold_back(
    dataset: SequenceDataset, max_length: int
) -> tuple[SequenceDataset, TrainingPatterns]:
    """Take the last item of each row of three or more out of training, and make it L_dev's."""
    items = dataset.items
    histories = dataset.histories.recode(items)
    rows = np.flatnonzero(histories.lengths >= 3)
    if len(rows) == 0:
        raise ValueError(
            'validation="held_back" needs a row of three items or more, the longest of X has '
            f'{int(histories.lengths.max(initial=0))}; validation="resampled" does not'
        )
    held = np.full(len(histories), -1, dtype=np.int64)
    held[rows] = histories.codes[histories.offsets[rows + 1] - 1]
    table = dataset.table
    patterns = table.sequences.recode(items)
    weights = np.ones(len(patterns.codes), dtype=np.float32)
    if dataset.weights is not None:
        weights = dataset.weights.copy()
    weights[patterns.codes == held[table.source[patterns.rows]]] = 0
    return (
        SequenceDataset(dataset.histories, table, weights),
        TrainingPatterns(histories[rows], None, max_length, "last"),
    )


@torch.no_grad()
def _weighted(
    dataset: SequenceDataset, recommender: Any, network: Any, settings: DatasetPersonalizer
) -> tuple[PatternTable, np.ndarray]:
    """Patterns of a data set and the weight of each of their items, flat."""
    table, net = dataset.table, recommender.net_
    given = table.sequences
    known = positions_in(recommender.items_, given.items)[given.codes] >= 0
    sequences = given.recode(recommender.items_)
    patterns = TrainingPatterns(sequences, None, recommender.max_length, "all")
    logs = np.zeros(len(sequences.codes), dtype=np.float32)
    learned = np.zeros(len(logs), dtype=bool)
    order = np.argsort(patterns.lengths, kind="stable")
    net.module_.eval()
    done = np.cumsum(patterns.lengths[order])
    total = int(done[-1]) if len(done) else 0
    timer = Timer("[DatasetPersonalizer] weights", total, recommender.verbose)
    start = 0
    while start < len(order):  # patterns of similar length together, so that little is padding
        stop = start + 1
        while stop < len(order) and (
            (stop + 1 - start) * patterns.lengths[order[stop]] <= ENCODE_TOKENS
        ):
            stop += 1
        rows = order[start:stop]
        group = patterns.group(rows).to(torch.device(net.device))
        inside = group.targets >= 0
        pattern = np.repeat(group.pattern, patterns.lengths[rows])
        inputs = network_inputs(
            network,
            net.module_.encode(group.ids, group.lengths)[inside],
            group.targets[inside],
            net.item_matrix(),
            table,
            pattern,
            detach=True,
        )
        at = patterns.starts[rows, None] + 1 + np.arange(group.ids.shape[1])
        at = at[inside.cpu().numpy()]
        logs[at] = network(inputs, noise=False).cpu().numpy()
        learned[at] = is_weighted(table, pattern, settings)
        start = stop
        timer(int(done[stop - 1]))
    weights = weights_of(torch.from_numpy(logs), torch.from_numpy(learned), settings).numpy()
    if not np.isfinite(weights).all():
        raise not_finite(settings)
    flat = np.ones(len(given.codes), dtype=np.float32)
    flat[known] = weights
    return table, flat if dataset.weights is None else flat * dataset.weights
