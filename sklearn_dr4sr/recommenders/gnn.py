"""GNN: SASRec over item embeddings that are smoothed along a graph of which item follows which."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import nn

from ..dataset import SequenceDataset
from ..sequences import Sequences
from .base import SequentialRecommender
from .sasrec import SASRecModule

__all__ = ["GNN", "GNNModule", "item_graph"]


def item_graph(sequences: Sequences, normalization: str = "rw") -> sparse.csr_matrix:
    """Weigh the pairs of items that stand at most two places apart.

    Parameters
    ----------
    sequences : Sequences
    normalization : {"rw", "sym"}, default="rw"
        See :class:`GNN`.

    Returns
    -------
    csr_matrix of float32, shape (n_items, n_items)
        Symmetric.
    """
    n_items = len(sequences.items)
    rows, codes = sequences.rows, sequences.codes
    graph = sparse.identity(n_items, format="csr")
    for gap in (1, 2):
        pair = rows[:-gap] == rows[gap:]
        ends = codes[:-gap][pair], codes[gap:][pair]
        counts = sparse.csr_matrix((np.full(pair.sum(), 1.0 / gap), ends), (n_items, n_items))
        graph = graph + counts + counts.T
    if normalization == "rw":
        inverse = sparse.diags(1.0 / np.diff(graph.indptr))
        return (inverse @ graph + graph @ inverse).tocsr().astype(np.float32)
    root = sparse.diags(np.asarray(graph.sum(axis=1)).ravel() ** -0.5)
    return (root @ graph @ root).tocsr().astype(np.float32)


class _Smooth(torch.autograd.Function):
    """Mean of x, Ax, A(Ax), ... for a constant symmetric A = (rows, columns, values).

    Linear and its own transpose, so the backward pass is the function itself, and nothing is kept
    for it: one result serves all length groups of a step, however often it is differentiated.
    """

    @staticmethod
    def forward(ctx, x, graph, n_layers):  # noqa: ANN001, ANN205
        ctx.graph, ctx.n_layers = graph, n_layers
        begins, columns, values = graph
        total = x.clone()
        for _ in range(n_layers):
            # the rows of A as weighted bags: five times as fast as a COO product, and unlike
            # torch's CSR product without a warning
            x = nn.functional.embedding_bag(
                columns, x, begins, mode="sum", per_sample_weights=values, include_last_offset=True
            )
            total += x
        return total / (n_layers + 1)

    @staticmethod
    def backward(ctx, grad):  # noqa: ANN001, ANN205
        return _Smooth.apply(grad.contiguous(), ctx.graph, ctx.n_layers), None, None


class GNNModule(SASRecModule):
    """The network of :class:`GNN`; parameters as there, but for the graph itself."""

    def __init__(
        self,
        n_items: int,
        adjacency: sparse.csr_matrix,
        max_length: int = 50,
        embedding_dim: int = 64,
        hidden_dim: int = 128,
        n_layers: int = 2,
        n_heads: int = 2,
        graph_layers: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(n_items, max_length, embedding_dim, hidden_dim, n_layers, n_heads, dropout)
        self.adjacency = adjacency
        self.graph_layers = graph_layers
        self._graph = self._cached = None  # neither is stored

    def _items(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up input items, smoothed, (tokens,) -> (tokens, dim)."""
        return nn.functional.embedding(ids, self.smoothed_items())

    def smoothed_items(self) -> torch.Tensor:
        """Embeddings averaged over the graph, (n_items + 1, dim); once for unchanged weights."""
        if torch.compiler.is_compiling():  # an exported graph holds the result of an earlier call
            return self._cached[2]
        weight = self.item_embedding.weight
        kind = (id(weight), weight.dtype, weight.device, torch.is_grad_enabled())
        # by value: comparing takes a hundredth of smoothing, and torch's fused optimizers leave
        # the version counter of what they change as it was
        if not self._cached or self._cached[0] != kind or not torch.equal(self._cached[1], weight):
            n_items = self.adjacency.shape[0]
            smooth = _Smooth.apply(weight[:n_items], self._graph_like(weight), self.graph_layers)
            smooth = torch.cat([smooth, weight[n_items:]])
            self._cached = (kind, weight.detach().clone(), smooth, weight)
        return self._cached[2]

    def _graph_like(self, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows, columns and values of the adjacency where, and in the type that, the weight is."""
        graph = self._graph
        if graph is None or (graph[2].device, graph[2].dtype) != (weight.device, weight.dtype):
            matrix = self.adjacency
            parts = map(torch.from_numpy, (matrix.indptr, matrix.indices, matrix.data))
            begins, columns, values = (part.to(weight.device) for part in parts)
            self._graph = (begins, columns, values.to(weight.dtype))
        return self._graph

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_graph": None, "_cached": None}


class GNN(SequentialRecommender):
    """SASRec whose inputs know what their neighbours in a global item graph are like.

    Parameters
    ----------
    embedding_dim : int, default=64
        Width d; a multiple of ``n_heads``.
    hidden_dim : int, default=128
        Width of the feed-forward layers.
    n_layers : int, default=2
        Attention layers.
    n_heads : int, default=2
    graph_layers : int, default=3
        Steps along the graph, at least 1.
    graph : {"original", "regenerated"}, default="original"
        Build the graph of the users' histories, or of the patterns (the two of Figure 5a).
    normalization : {"rw", "sym"}, default="rw"
        See the notes.
    dropout : float in [0, 1), default=0.5
        On the embedded input, the attention weights, and in and after every sub-layer.
    loss, n_negatives, negatives, calibration, targets, max_length, max_epochs, patience, \
steps_per_epoch, batch_size, lr, weight_decay, ema_decay, exclude_seen, callbacks, \
checkpoint_dir, precision, device, random_state, verbose :
        As :class:`SequentialRecommender`.

    Attributes
    ----------
    items_, net_, item_embeddings_, popularity_, history_, n_steps_, best_epoch_ :
        As :class:`SequentialRecommender`.

    Notes
    -----
    With A_ij the sum of 1/δ over all places where j follows i at distance δ in {1, 2}, within the
    last ``max_length + 1`` items of a sequence (the graph of [1]_), and A' = A + A^T + I::

        "rw":   G = D^-1 A' + A' D^-1,      D = number of non-zeros of each row of A'
        "sym":  G = D^-1/2 A' D^-1/2,       D = row sums of A'
        H = (E + G E + ... + G^L E) / (L + 1),    L = ``graph_layers``

    H takes the place of E in the inputs of :class:`SASRec`; the score of item j after position t
    is x_t . E[j], with E itself. The propagation without weights is LightGCN's [2]_; "rw" is what
    the DR4SR paper's code computes. Weights of a data set do not weigh the graph.

    H is computed once for every change of E: once an optimizer step, whatever its length groups,
    and once for all the rows that a fitted model ranks.

    References
    ----------
    .. [1] Wang, Wei, Cong, Li, Mao and Qiu, "Global Context Enhanced Graph Neural Networks for
       Session-based Recommendation", SIGIR 2020.
    .. [2] He, Deng, Wang, Li, Zhang and Wang, "LightGCN: Simplifying and Powering Graph
       Convolution Network for Recommendation", SIGIR 2020.

    Examples
    --------
    >>> from sklearn_dr4sr.datasets import make_sequences
    >>> from sklearn_dr4sr.recommenders import GNN
    >>> model = GNN(loss="ce", max_epochs=2, random_state=0).fit(make_sequences(200, 50))
    >>> model.predict([[1, 2, 3], []], k=5).shape
    (2, 5)
    """

    _module = GNNModule
    _integers = ("graph_layers",)
    _extras = ("indptr", "indices", "data")
    _choices = {"graph": ("original", "regenerated"), "normalization": ("rw", "sym")}

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        hidden_dim: int = 128,
        n_layers: int = 2,
        n_heads: int = 2,
        graph_layers: int = 3,
        graph: str = "original",
        normalization: str = "rw",
        dropout: float = 0.5,
        loss: str = "bce",
        n_negatives: int = 1,
        negatives: str = "unseen",
        calibration: float = 0.75,
        targets: str = "all",
        max_length: int = 50,
        max_epochs: int = 200,
        patience: int = 20,
        steps_per_epoch: int | str | None = None,
        batch_size: int = 256,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        ema_decay: float = 0.0,
        exclude_seen: bool = True,
        callbacks: Any = None,
        checkpoint_dir: Any = None,
        precision: str = "float32",
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.embedding_dim = embedding_dim
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.graph_layers = graph_layers
        self.graph = graph
        self.normalization = normalization
        self.dropout = dropout
        self.loss = loss
        self.n_negatives = n_negatives
        self.negatives = negatives
        self.calibration = calibration
        self.targets = targets
        self.max_length = max_length
        self.max_epochs = max_epochs
        self.patience = patience
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.ema_decay = ema_decay
        self.exclude_seen = exclude_seen
        self.callbacks = callbacks
        self.checkpoint_dir = checkpoint_dir
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _module_parameters(self, dataset: SequenceDataset) -> dict[str, Any]:
        sequences = dataset.histories if self.graph == "original" else dataset.patterns
        adjacency = item_graph(sequences.last(self.max_length + 1), self.normalization)
        return {**super()._module_parameters(dataset), "adjacency": adjacency}

    def _extra_arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self.net_.module_.adjacency, name) for name in self._extras}

    def _module_extras(self, arrays: dict[str, np.ndarray], n_items: int) -> dict[str, Any]:
        parts = arrays["data"], arrays["indices"], arrays["indptr"]
        types = [np.float32, np.int32, np.int32]
        if [part.dtype for part in parts] != types or not np.isfinite(parts[0]).all():
            raise ValueError("the graph must hold finite float32 values at int32 places")
        adjacency = sparse.csr_matrix(parts, (n_items, n_items))
        if (adjacency.indptr[1:] < adjacency.indptr[:-1]).any():  # scipy passes what ends below 0
            raise ValueError("the graph's index pointer must not decrease")
        adjacency.check_format(full_check=True)
        return {"adjacency": adjacency}
