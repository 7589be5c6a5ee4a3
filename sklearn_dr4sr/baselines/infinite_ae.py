"""The infinite-width autoencoder: kernel ridge regression of histories on themselves."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy import linalg, sparse
from sklearn.base import TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch.nn import functional as F

from .._parameters import (
    PATTERNS,
    check_choice,
    check_flag,
    check_jobs,
    check_number,
    check_verbose,
)
from .._progress import Timer
from .._torch import seed_of
from ..dataset import PatternTable, SequenceDataset, as_dataset
from ..metrics import ndcg_of_ranks
from ..ranking import BaseRecommender
from ..sequences import Sequences, check_one_kind

__all__ = ["InfiniteAutoencoder", "neural_tangent_kernel"]

#: σ_w² and σ_b² of the network's initial weights and biases.
WEIGHT_VARIANCE, BIAS_VARIANCE = 2.0, 0.01
#: λ that are tried where ``y`` can choose: none below 1, which lose on the Amazon data (Figures).
L2_GRID = (1.0, 5.0, 20.0, 50.0, 100.0)
#: λ that stands for 0: two equal rows make Θ singular.
L2_FLOOR = 1e-6
#: Columns that Cholesky solves for at once; and conjugate gradients, whose sparse products read
#: rows of a block at random: few columns stay in the cache.
CHOLESKY_BLOCK, CG_BLOCK = 512, 32
#: Eigenvectors of Θ that precondition conjugate gradients.
N_LEADING = 64
#: Rows above which conjugate gradients compute in single precision, unless told otherwise.
DOUBLE_ROWS = 10_000
#: Residual, relative to the right-hand side, at which conjugate gradients stop.
TOLERANCE = {np.dtype(np.float64): 1e-8, np.dtype(np.float32): 1e-6}
MAX_ITERATIONS = 2000


class InfiniteAutoencoder(TransformerMixin, BaseRecommender):
    """∞-AE: an autoencoder of infinite width, solved exactly; recommender and synthesizer.

    ``fit`` and ``predict`` as any recommender; ``transform`` gives each row fake histories sampled
    from the scores, so that it can stand in a Pipeline where
    :class:`~sklearn_dr4sr.DatasetRegenerator` stands.

    Parameters
    ----------
    l2 : float, sequence of float or "auto", default="auto"
        λ of the notes. A sequence: the candidate of the best NDCG@20 on ``y``, which is then
        needed. "auto": the best of 1, 5, 20, 50, 100 on ``y``; without ``y``, 1.
    n_validation : int or None, default=1000
        Rows with a held-out item that the candidates are compared on, evenly spaced; None: all.
    solver : {"auto", "cholesky", "cg"}, default="auto"
        "cholesky" factorises the dense kernel matrix; "cg" runs preconditioned conjugate gradients
        on its structure, and never forms it. "auto": "cholesky" where the matrix takes at most
        ``max_memory``.
    max_memory : float, default=0.5
        In GB, above 0: size of the dense matrix (8 n² bytes) up to which "auto" forms it.
    precision : {"auto", "float32", "float64"}, default="auto"
        Of "cg" ("cholesky" computes in float64). "auto": "float64" up to 10,000 rows, "float32"
        above. "float64" takes 12 bytes an entry of S (see the notes) in place of 8, and
        4.7 times the CPU time on 4,000 rows of Beauty.
    n_samples : int, default=1
        Fake histories of each row that ``transform`` makes, at least 1.
    temperature : float, default=1.0
        τ of the sampling, above 0; in standard deviations of a row's scores.
    include_original : bool, default=True
        Keep the histories among the patterns that ``transform`` makes.
    exclude_seen : bool, default=True
        Keep the items of a history out of its ranking.
    n_jobs : int or None, default=None
        Blocks of columns that "cg" solves at once, each in torch's own number of threads.
    random_state : int, RandomState or None, default=None
        Seed of the sampling.
    verbose : int, default=0
        Above 0, print every few seconds how much is solved or sampled, and the time left.

    Attributes
    ----------
    alpha_ : ndarray of float32, shape (n_patterns, n_items)
        Dual coefficients.
    l2_ : float
        The λ that was used.
    validation_ndcg_ : dict of float to float
        NDCG@20 of each candidate; empty where none were compared.
    solver_ : {"cholesky", "cg"}
    n_iterations_ : int
        Most iterations that a block of columns took; 0 with "cholesky".
    items_ : ndarray, shape (n_items,)
        The catalogue, sorted.
    n_features_in_ : int
        Width of the zero-padded matrix that was fitted; absent after ragged input.

    Notes
    -----
    ``X`` is binary, a row for each training pattern, V its columns; weights of a data set are not
    used. The network x -> V outputs with one hidden ReLU layer, infinitely wide and fully trained
    by least squares, is kernel ridge regression with its neural tangent kernel Θ [1]_, [2]_::

        k(x, z) = 2 x.z / V + .01,     s = sqrt(k(x, x) k(z, z)),    θ = arccos(k(x, z) / s)
        Θ(x, z) = 2 s (sin θ + (π - θ) cos θ) / 2π + .01 + 2 k(x, z) (π - θ) / 2π
        α = (Θ(X, X) + λ tr(Θ(X, X)) / n I)^-1 X
        scores(q) = Θ(q, X) α

    λ = 0 is taken as 1e-6, since equal rows make Θ singular.

    **Structure.** Θ(x, z) depends on ``|x|, |z|, |x ∩ z|`` only. So Θ = P B P^T + S: P tells the
    size of each row, B holds the kernel of disjoint rows by their sizes, and S is zero but for rows
    that share an item (1.1 % of the pairs on the Amazon data). Conjugate gradients multiply by
    these, and are preconditioned by the 64 leading eigenvectors of Θ, which a few subspace
    iterations find once for all λ. Time is n_items * iterations * entries of S. Their scores equal
    those of "cholesky" to 1e-6 with ``precision="float64"`` and to 1e-5 with "float32" (the two
    differ by 2e-5 on the whole of Beauty, where "auto" takes the latter). α takes
    4 n_patterns n_items bytes with either solver.

    **Fake histories** (``transform``): items in the order in which Gumbel noise ranks
    ``scores / τ``, which is sampling without replacement from softmax(scores / τ) [2]_; as many as
    a training pattern of two items or more, drawn uniformly, has distinct items. Departures: [2]_
    learns the scores of fake users by gradient descent through the kernel (Distill-CF), here they
    are those of the row itself; and the scores of a row are first divided by their standard
    deviation, so that τ means the same for every λ.

    An empty history has the scores of the kernel at the empty set.

    **Figures.** On Beauty (22,363 rows) validation chooses λ = 1, with a test NDCG@20 of .0472, in
    180 seconds of CPU time and 2.1 GB. The table of the DR4SR paper has .0308 there, without its λ.
    On validation, whose figures are not to be compared with those of test, NDCG@20 is .0546, .0537,
    .0334, .0240, .0208 for λ = 1, 5, 20, 50, 100. Lower λ were checked on 8,000 random rows of
    Beauty: .0320, .0406, .0571, .0630, .0632, .0621 for λ = .03, .1, .3, .5, 1, 2; on the first
    8,000 rows λ = 1 is the best of these, too. For other data ``l2`` takes any candidates, 0 among
    them.

    References
    ----------
    .. [1] Jacot, Gabriel and Hongler, "Neural Tangent Kernel", NeurIPS 2018.
    .. [2] Sachdeva, Dhaliwal, Wu and McAuley, "Infinite Recommendation Networks: A Data-Centric
       Approach", NeurIPS 2022 (equations 1 and 2; section 4 for the sampling).

    Examples
    --------
    >>> from sklearn_dr4sr.baselines import InfiniteAutoencoder
    >>> model = InfiniteAutoencoder(l2=0.1, random_state=0)
    >>> model.fit([["tea", "cup"], ["tea", "cup"], ["jam", "pot"]]).predict([["tea"], ["pot"]], k=1)
    array([['cup'],
           ['jam']], dtype=object)
    >>> data = model.transform([["tea", "cup"]])
    >>> data.origin.tolist(), data.patterns.lengths.tolist()
    (['original', 'augmented'], [2, 2])
    """

    def __init__(
        self,
        *,
        l2: Any = "auto",
        n_validation: int | None = 1000,
        solver: str = "auto",
        max_memory: float = 0.5,
        precision: str = "auto",
        n_samples: int = 1,
        temperature: float = 1.0,
        include_original: bool = True,
        exclude_seen: bool = True,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.l2 = l2
        self.n_validation = n_validation
        self.solver = solver
        self.max_memory = max_memory
        self.precision = precision
        self.n_samples = n_samples
        self.temperature = temperature
        self.include_original = include_original
        self.exclude_seen = exclude_seen
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # what comes out is a data set, no array
        return tags

    def transform(self, X: Any) -> SequenceDataset:
        """Give each row fake histories, sampled from its scores.

        Parameters
        ----------
        X : item sequences or SequenceDataset
            Also rows that were not seen in ``fit``. Of a data set the histories are taken.

        Returns
        -------
        SequenceDataset
            One row a row of ``X``, with its history. The patterns are sampled when they are first
            read: ``n_samples`` of the origin "augmented", after the row's own history ("original")
            where that is kept.

        Raises
        ------
        NotFittedError, ValueError, TypeError
            Before ``fit``; on bad input.

        Examples
        --------
        >>> from sklearn_dr4sr.baselines import InfiniteAutoencoder
        >>> from sklearn_dr4sr.datasets import make_sequences
        >>> X = make_sequences(60, 20, random_state=0)
        >>> data = InfiniteAutoencoder(random_state=0).fit(X).transform(X)
        >>> len(data), sorted(set(data.origin.tolist()))
        (60, ['augmented', 'original'])
        """
        check_is_fitted(self, "items_")
        self._check_parameters()  # which may have been set since
        histories = as_dataset(self._read(X)).histories
        check_one_kind(histories.items, self.items_)
        # a shallow copy: what is fitted later does not change what is sampled
        return SequenceDataset(histories, partial(_fake_histories, copy.copy(self), histories))

    def _check_parameters(self) -> None:
        if isinstance(self.l2, str):
            if self.l2 != "auto":
                raise ValueError(f'l2 must be "auto" or numbers of at least 0, got {self.l2!r}')
        elif isinstance(self.l2, (list, tuple, np.ndarray)):
            if np.ndim(self.l2) != 1 or len(self.l2) == 0:
                raise ValueError(f"l2 must be a number or a list of candidates, got {self.l2!r}")
            for candidate in self.l2:
                check_number("l2", candidate, 0, 1e12)
        else:
            check_number("l2", self.l2, 0, 1e12)
        if self.n_validation is not None:
            check_number("n_validation", self.n_validation, 1, integer=True)
        check_choice("solver", self.solver, ("auto", "cholesky", "cg"))
        check_number("max_memory", self.max_memory, 0, above=True)
        check_choice("precision", self.precision, ("auto", "float32", "float64"))
        check_number("temperature", self.temperature, 0, above=True)
        check_number("n_samples", self.n_samples, 1, PATTERNS, integer=True)
        check_flag("include_original", self.include_original)
        check_jobs(self.n_jobs)
        check_verbose(self.verbose)

    def _fit(self, dataset: SequenceDataset, target: np.ndarray | None) -> None:
        self.seed_ = seed_of(self.random_state)
        X = _binary(dataset.patterns[dataset.patterns.lengths > 0])
        n = X.shape[0]
        self.solver_ = self.solver
        if self.solver == "auto":
            self.solver_ = "cholesky" if 8 * n**2 <= self.max_memory * 1e9 else "cg"
        precision = self.precision
        if precision == "auto":
            precision = "float64" if n <= DOUBLE_ROWS else "float32"
        kernel = _Kernel(X, np.dtype(precision))
        prepare = kernel.cholesky if self.solver_ == "cholesky" else kernel.conjugate_gradients
        self.validation_ndcg_: dict[float, float] = {}
        self.l2_ = self._chosen_l2(kernel, prepare, dataset, target)
        solve = prepare(kernel.ridge(self.l2_), self.n_jobs)
        self.alpha_ = np.empty(X.shape, dtype=np.float32)
        timer = Timer(f"[InfiniteAutoencoder] l2={self.l2_:g}", X.shape[1], self.verbose)
        self.n_iterations_ = solve(X.tocsc(), self.alpha_, timer)
        self.kernel_ = kernel.for_prediction(self.alpha_)
        sizes = kernel.sizes
        self.lengths_ = np.sort(sizes[sizes >= 2]) if (sizes >= 2).any() else np.sort(sizes)

    def _chosen_l2(
        self, kernel: _Kernel, prepare: Any, dataset: SequenceDataset, target: np.ndarray | None
    ) -> float:
        """λ itself, or the candidate that ranks the held-out items best."""
        auto = isinstance(self.l2, str)
        if not auto and np.ndim(self.l2) == 0:
            return float(self.l2)
        known = np.flatnonzero(target >= 0) if target is not None else np.array([], dtype=int)
        if len(known) == 0:
            if auto:
                return L2_GRID[0]  # the best on the Amazon data
            raise ValueError(
                f"l2={self.l2!r} holds candidates, which need y with a held-out item of the "
                "catalogue to be compared on; pass y, or one number"
            )
        if self.n_validation is not None and len(known) > self.n_validation:
            known = known[np.linspace(0, len(known) - 1, self.n_validation).astype(int)]
        histories, wanted = dataset.histories[known], target[known]
        seen = _binary(histories)
        against = kernel.between(seen).T.tocsc()  # (n_patterns, rows)
        best = -1.0
        for l2 in L2_GRID if auto else self.l2:
            # scores = Θ(q, X) (Θ + μ)^-1 X, and the left product has fewer columns than X
            dual = np.empty((kernel.X.shape[0], len(known)), dtype=np.float32)
            # what the size of a row alone gives is a hundred times what shared items give
            solve = prepare(kernel.ridge(l2), self.n_jobs, tolerance=1e-5)
            timer = Timer(f"[InfiniteAutoencoder] trying l2={l2:g}", len(known), self.verbose)
            solve(against, dual, timer, kernel.constant(seen))
            scores = np.asarray((kernel.X.T @ dual).T)
            if self.exclude_seen:
                scores[histories.rows, histories.codes] = -np.inf
            own = scores[np.arange(len(known)), wanted][:, None]
            rank = np.where(np.isneginf(own[:, 0]), len(scores.T) + 1, (scores >= own).sum(axis=1))
            ndcg = self.validation_ndcg_[float(l2)] = float(ndcg_of_ranks(rank, 20).mean())
            if ndcg > best:
                best, chosen = ndcg, float(l2)
        return chosen

    def _row_cost(self, n_items: int) -> int:
        return n_items + self.kernel_.X.shape[0]

    def _scores(self, histories: Sequences) -> torch.Tensor:
        return torch.from_numpy(self.kernel_.scores(_binary(histories), self.alpha_))


def neural_tangent_kernel(xx: np.ndarray, zz: np.ndarray, xz: np.ndarray) -> np.ndarray:
    """Θ of a network with one ReLU layer from the inner products k of its inputs.

    Parameters
    ----------
    xx, zz, xz : ndarray of float
        k(x, x), k(z, z) and k(x, z) of the notes of :class:`InfiniteAutoencoder`.

    Returns
    -------
    ndarray
        Of the shape that the three broadcast to.

    Examples
    --------
    >>> from sklearn_dr4sr.baselines.infinite_ae import neural_tangent_kernel
    >>> float(neural_tangent_kernel(1.0, 1.0, 1.0))
    2.01
    """
    s = np.sqrt(xx * zz)
    cosine = np.clip(xz / s, -1.0, 1.0)
    angle = np.arccos(cosine)
    # E[relu(u) relu(v)] and E[1(u > 0) 1(v > 0)] of two Gaussians with these moments
    both = s * (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi)
    active = (np.pi - angle) / (2 * np.pi)
    return WEIGHT_VARIANCE * both + BIAS_VARIANCE + WEIGHT_VARIANCE * xz * active


class _Kernel:
    """Θ of binary rows as P B P^T + S, and the two ways to solve with it.

    Parameters
    ----------
    X : csr_matrix of float64, shape (n, V), zeros and ones
    dtype : dtype
        What conjugate gradients compute in.
    """

    def __init__(self, X: sparse.csr_matrix, dtype: np.dtype) -> None:
        self.X = X
        self.dtype = dtype
        self.n_items = X.shape[1]
        self.sizes = np.diff(X.indptr)
        self.distinct, self.size_of = np.unique(self.sizes, return_inverse=True)
        self.B = self._of(self.distinct[:, None], self.distinct, 0)
        self.trace = float(self._of(self.sizes, self.sizes, self.sizes).sum())

    def _of(self, a: np.ndarray, b: np.ndarray, shared: np.ndarray | int) -> np.ndarray:
        """Θ of rows of a and b items that share some."""

        def inner(count: Any) -> Any:
            return WEIGHT_VARIANCE * count / self.n_items + BIAS_VARIANCE

        return neural_tangent_kernel(inner(a), inner(b), inner(shared))

    def ridge(self, l2: float) -> float:
        """μ = λ tr(Θ) / n."""
        return max(l2, L2_FLOOR) * self.trace / len(self.sizes)

    def between(self, Q: sparse.csr_matrix) -> sparse.csr_matrix:
        """S of other rows: what sharing items adds to Θ(Q, X), (n_rows, n)."""
        S = (Q @ self.X.T).tocsr()
        size_q = np.diff(Q.indptr)
        for start in range(0, S.shape[0], 2048):  # temporaries of a bounded size
            stop = min(start + 2048, S.shape[0])
            part = slice(S.indptr[start], S.indptr[stop])
            a = np.repeat(size_q[start:stop], np.diff(S.indptr[start : stop + 1]))
            b = self.sizes[S.indices[part]]
            S.data[part] = self._of(a, b, S.data[part]) - self._of(a, b, 0)
        return S

    def constant(self, Q: sparse.csr_matrix) -> np.ndarray:
        """B of other rows: Θ to a row of each distinct size that shares no item."""
        return self._of(np.diff(Q.indptr)[:, None], self.distinct, 0)  # (n_rows, sizes)

    def for_prediction(self, alpha: np.ndarray) -> _Kernel:
        """Add up α by size of the rows, which serves all that share nothing with a history."""
        groups = range(len(self.distinct))
        self.by_size = np.stack([alpha[self.size_of == g].sum(0, dtype=float) for g in groups])
        if hasattr(self, "structure"):
            del self.structure  # which a stored model does not need
        return self

    def scores(self, Q: sparse.csr_matrix, alpha: np.ndarray) -> np.ndarray:
        """Θ(Q, X) α, float32."""
        S = self.between(Q).astype(np.float32)
        return S @ alpha + (self.constant(Q) @ self.by_size).astype(np.float32)

    def cholesky(self, ridge: float, n_jobs: int | None, tolerance: float = 0) -> Callable:
        """Factorise the dense matrix; returns ``solve(right, out, timer, constant)``."""
        theta = self.between(self.X).toarray()
        theta += self.B[np.ix_(self.size_of, self.size_of)]
        theta[np.diag_indices_from(theta)] += ridge
        factor = linalg.cho_factor(theta, lower=True, overwrite_a=True, check_finite=False)

        def solve(
            right: Any, out: np.ndarray, timer: Timer, constant: np.ndarray | None = None
        ) -> int:
            for start in range(0, out.shape[1], CHOLESKY_BLOCK):
                part = slice(start, start + CHOLESKY_BLOCK)
                block = self._block(right, constant, part)
                out[:, part] = linalg.cho_solve(factor, block, overwrite_b=True)
                timer(start + CHOLESKY_BLOCK)
            return 0

        return solve

    def conjugate_gradients(
        self, ridge: float, n_jobs: int | None, tolerance: float = 0
    ) -> Callable:
        """Prepare conjugate gradients; returns ``solve(right, out, timer, constant)``."""
        dtype = self.dtype
        tolerance = max(tolerance, TOLERANCE[dtype])
        if not hasattr(self, "structure"):  # which serves every ridge
            self.structure = _Structure(self, dtype)
        multiply, precondition = self.structure.shifted(ridge)

        def solve(
            right: Any, out: np.ndarray, timer: Timer, constant: np.ndarray | None = None
        ) -> int:
            def one(start: int) -> int:
                part = slice(start, start + CG_BLOCK)
                block = self._block(right, constant, part).astype(dtype, copy=False)
                solution, steps = _conjugate_gradients(
                    multiply, precondition, torch.from_numpy(block), tolerance
                )
                out[:, part] = solution.numpy()
                return steps

            starts = range(0, out.shape[1], CG_BLOCK)
            parallel = Parallel(n_jobs=n_jobs, require="sharedmem", return_as="generator")
            most = 0
            for start, steps in zip(starts, parallel(map(delayed(one), starts)), strict=True):
                most = max(most, steps)
                timer(start + CG_BLOCK)
            return most

        return solve

    def _block(
        self, right: sparse.csc_matrix, constant: np.ndarray | None, part: slice
    ) -> np.ndarray:
        """Dense columns of a right-hand side, with what disjoint rows add where that is given."""
        block = right[:, part].toarray()
        if constant is not None:
            block += constant[part].T[self.size_of]
        return block


class _Structure:
    """Products with Θ = P B P^T + S that never form it, and its leading eigenvectors.

    Parameters
    ----------
    kernel : _Kernel
    dtype : dtype
    """

    def __init__(self, kernel: _Kernel, dtype: np.dtype) -> None:
        n = len(kernel.sizes)
        P = sparse.csr_matrix((np.ones(n), (np.arange(n), kernel.size_of)))
        self.by_size = _bags(P.T, dtype)
        self.B = torch.from_numpy(kernel.B.astype(dtype))
        S = kernel.between(kernel.X).astype(dtype, copy=False)
        self.both = _bags(sparse.hstack([S, P], format="csr"), dtype)
        # subspace iteration: rough vectors are enough for a preconditioner
        start = np.random.default_rng(0).standard_normal((n, min(n, N_LEADING)))
        basis = torch.from_numpy(start.astype(dtype))
        for _ in range(3):
            basis = torch.linalg.qr(basis).Q
            image = self.times(basis)
            values, vectors = torch.linalg.eigh(basis.T @ image)
            leading = basis @ vectors
            basis = image
        self.values, self.vectors = values.clamp(min=0), leading  # ascending

    def times(self, Z: torch.Tensor) -> torch.Tensor:
        """Θ Z = (S P) (Z; B P^T Z)."""
        return self.both(torch.cat([Z, self.B @ self.by_size(Z)]))

    def shifted(self, ridge: float) -> tuple[Callable, Callable]:
        """Products with Θ + μ I, and with an approximate inverse (times a constant).

        It is exact on the leading eigenvectors, if these are; all other eigenvalues are taken to
        be like the least of theirs.
        """
        shrink = (self.values[0] + ridge) / (self.values + ridge) - 1
        scaled, transposed = self.vectors * shrink, self.vectors.T.contiguous()

        def multiply(Z: torch.Tensor) -> torch.Tensor:
            return self.times(Z).add_(Z, alpha=ridge)

        def precondition(R: torch.Tensor) -> torch.Tensor:
            return torch.addmm(R, scaled, transposed @ R)

        return multiply, precondition


def _bags(matrix: sparse.spmatrix, dtype: np.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """Z -> matrix Z, by sums of weighted rows: in single precision a quarter of scipy's time."""
    matrix = matrix.tocsr().astype(dtype, copy=False)
    columns, begins, values = map(torch.from_numpy, (matrix.indices, matrix.indptr, matrix.data))
    return lambda Z: F.embedding_bag(
        columns, Z, begins, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def _conjugate_gradients(
    multiply: Callable[[torch.Tensor], torch.Tensor],
    precondition: Callable[[torch.Tensor], torch.Tensor],
    right: torch.Tensor,
    tolerance: float,
) -> tuple[torch.Tensor, int]:
    """Solve for all columns of ``right`` side by side, each with its own steps."""
    solution, residual, work = torch.zeros_like(right), right.clone(), torch.empty_like(right)

    def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.mul(a, b, out=work).sum(dim=0)  # fresh arrays are paged in each time

    bound = tolerance**2 * dot(right, right)
    direction = precondition(residual)
    agreement = dot(residual, direction)
    for step in range(MAX_ITERATIONS):
        open_ = dot(residual, residual) > bound
        if not open_.any():
            return solution, step
        product = multiply(direction)
        # a column that is solved moves no more (nor divides 0 by 0)
        length = torch.where(open_, agreement / dot(direction, product), 0)
        solution.addcmul_(direction, length)
        residual.addcmul_(product, length, value=-1)
        preconditioned = precondition(residual)
        before, agreement = agreement, dot(residual, preconditioned)
        direction.mul_(torch.where(open_, agreement / before, 0)).add_(preconditioned)
    warnings.warn(
        f"conjugate gradients have not converged in {MAX_ITERATIONS} iterations: raise l2",
        ConvergenceWarning,
        stacklevel=2,
    )
    return solution, MAX_ITERATIONS


def _fake_histories(model: InfiniteAutoencoder, histories: Sequences) -> PatternTable:
    """Sample the patterns of ``transform``, in chunks of rows."""
    rng = np.random.default_rng(model.seed_)
    n, n_items = len(histories), len(model.items_)
    longest = int(model.lengths_[-1])
    sampled = np.empty((n, model.n_samples, longest), dtype=np.int32)
    timer = Timer("[InfiniteAutoencoder] sampling", n, model.verbose)
    for start, scores in model._score_chunks(histories.recode(model.items_)):
        logits = scores.numpy()
        spread = logits.std(axis=1, keepdims=True)
        logits /= np.maximum(spread, np.finfo(np.float32).tiny)
        for sample in range(model.n_samples):
            # the noise is scaled, not the logits: no temperature is too low for the division
            noisy = logits + model.temperature * rng.gumbel(size=logits.shape)
            best = np.argpartition(-noisy, min(longest, n_items - 1), axis=1)[:, :longest]
            order = np.take_along_axis(noisy, best, axis=1).argsort(axis=1)[:, ::-1]
            best = np.take_along_axis(best, order, axis=1)
            sampled[start : start + len(logits), sample] = best
        timer(start + len(logits))
    lengths = rng.choice(model.lengths_, size=(n, model.n_samples))
    kept = np.arange(longest) < lengths[:, :, None]
    offsets = np.concatenate([[0], np.cumsum(lengths.ravel(), dtype=np.int64)])
    row = np.repeat(np.arange(n), model.n_samples)
    fake = Sequences.from_codes(sampled[kept], offsets, model.items_)
    new = PatternTable.of(fake, row, "augmented")
    if not model.include_original:
        return new
    return PatternTable.concatenate([PatternTable.of(histories, np.arange(n)), new])


def _binary(sequences: Sequences) -> sparse.csr_matrix:
    """Rows of zeros and ones, (n_rows, n_items); an item that a row repeats counts once."""
    shape = (len(sequences), len(sequences.items))
    # through the coordinates, since the sum of duplicates needs sorted columns
    entries = (np.ones(len(sequences.codes)), (sequences.rows, sequences.codes))
    X = sparse.csr_matrix(entries, shape=shape)
    X.data[:] = 1.0
    return X
