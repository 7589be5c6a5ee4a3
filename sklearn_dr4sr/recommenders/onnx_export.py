"""A fitted recommender as an ONNX file: scores without Python (torch.onnx writes it)."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator
from os import PathLike, fspath
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from .._parameters import as_path
from .base import SequentialRecommender
from .training import last_states

__all__ = ["to_onnx"]


class _Scorer(nn.Module):
    """``decision_function`` on tensors."""

    def __init__(
        self, module: nn.Module, item_matrix: torch.Tensor, popularity: torch.Tensor
    ) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("item_matrix", item_matrix)
        self.register_buffer("popularity", popularity)

    def forward(self, item_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Scores of the catalogue, (batch, length) and (batch,) -> (batch, n_items)."""
        codes = torch.where(item_ids == 0, len(self.item_matrix), item_ids - 1)
        queries = last_states(self.module, codes, lengths.clamp(min=1))  # (batch, dim)
        empty = (lengths == 0)[:, None]
        return torch.where(empty, self.popularity, queries @ self.item_matrix.T)


def to_onnx(recommender: SequentialRecommender, path: str | PathLike | None = None) -> Any:
    """Export a fitted recommender to ONNX.

    Parameters
    ----------
    recommender : SequentialRecommender
        Fitted: one of the package's models, or one around a module of one's own that
        ``torch.export`` can trace.
    path : str, path or None, default=None
        Where the file is written, ``model.onnx`` say.

    Returns
    -------
    onnx.ModelProto
        The model has

        - the input ``item_ids``, int64 (batch, length): the histories, oldest item first, as
          numbers 1 .. n_items of the catalogue, on the right padded with 0. Batch and length are
          free, the length from 1 to ``max_length``: of a longer history the last items are taken;
        - the input ``lengths``, int64 (batch,): items of each history, which may be 0;
        - the output ``scores``, float32 (batch, n_items), equal to ``decision_function``: the
          column of item number i is i - 1. Items of the history are not left out;
        - metadata: ``items``, the catalogue as a JSON list of the ids that were given in ``fit``,
          number 1 first; ``max_length``; and ``exclude_seen``, "true" where the ranking is to leave
          out the history's own items.

    Raises
    ------
    NotFittedError
        Before ``fit``.
    TypeError
        If it is no SequentialRecommender (of a Pipeline, pass the last step: ``pipe[-1]``; of a
        search, ``search.best_estimator_``).
    ValueError
        If its module makes constants of the sizes of its input.
    ImportError
        Without onnx and onnxscript.

    Notes
    -----
    Unknown items are to be left out of a history, as ``predict`` does. The recommender itself stays
    as it is, on its device.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_dr4sr.recommenders import SASRec, to_onnx
    >>> model = SASRec(max_epochs=1, random_state=0).fit([["tea", "pot", "cup"], ["pot", "cup"]])
    >>> proto = to_onnx(model)
    >>> import onnxruntime
    >>> session = onnxruntime.InferenceSession(proto.SerializeToString())
    >>> inputs = {"item_ids": np.array([[3, 2]]), "lengths": np.array([2])}  # tea, pot
    >>> session.run(["scores"], inputs)[0].shape
    (1, 3)
    """
    if not isinstance(recommender, SequentialRecommender):
        advice = "; pass its last step, pipe[-1]" if hasattr(recommender, "steps") else ""
        advice = advice or "; pass its best_estimator_" * hasattr(recommender, "best_estimator_")
        raise TypeError(
            f"to_onnx: expected a SequentialRecommender, got {type(recommender).__name__}{advice}"
        )
    check_is_fitted(recommender, "items_")
    path = None if path is None else as_path("path", path)
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError:
        raise ImportError(
            "to_onnx needs onnx and onnxscript: pip install sklearn_dr4sr[onnx]"
        ) from None
    net = recommender.net_
    scorer = _Scorer(
        copy.deepcopy(net.module_).cpu(),
        net.item_matrix().detach().cpu().clone(),
        torch.from_numpy(recommender.popularity_),
    ).eval()
    longest = recommender.max_length
    width = min(3, longest)  # sizes 0 and 1 would be taken for constants
    sample = torch.ones(2, width, dtype=torch.int64), torch.full((2,), width)
    free = {0: torch.export.Dim("batch")}
    free_length = {1: torch.export.Dim("length", max=longest)} if longest > 1 else {}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own inner workings
        scorer(*sample)  # modules may keep what they compute once (the smoothed items of GNN)
        program = torch.onnx.export(
            scorer,
            sample,
            dynamo=True,
            verbose=False,
            input_names=["item_ids", "lengths"],
            output_names=["scores"],
            dynamic_shapes=({**free, **free_length}, free),
        )
    proto = program.model_proto
    for name, fixed in _fixed_sizes(proto, longest):
        raise ValueError(
            f"{type(net.module_).__name__} takes the size {fixed} of {name} for a constant, and a "
            "file of its trace would serve no other: see to it that encode uses ids.shape, not "
            "len(ids), and that no branch or loop depends on it"
        )
    metadata = {
        "items": json.dumps(recommender.items_.tolist()),
        "max_length": str(recommender.max_length),
        "exclude_seen": json.dumps(bool(recommender.exclude_seen)),
    }
    onnx.helper.set_model_props(proto, metadata)
    if path is not None:
        onnx.save(proto, fspath(path))
    return proto


def _fixed_sizes(proto: Any, longest: int) -> Iterator[tuple[str, int]]:
    """Find the inputs whose batch or length the exporter has not left free, and that size."""
    for given in proto.graph.input:
        for place, size in enumerate(given.type.tensor_type.shape.dim):
            if not size.dim_param and not (place == 1 and longest == 1):
                yield given.name, size.dim_value
