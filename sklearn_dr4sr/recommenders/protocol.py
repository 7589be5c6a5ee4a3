"""What a torch module of one's own must keep to: tried on two short rows before it is trained."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

__all__ = ["check_extra_loss", "check_module"]

#: Differences of so many roundings of the largest state are rounding still.
ROUNDINGS = 1000


def check_module(module: torch.nn.Module, n_items: int, max_length: int, targets: str) -> None:
    """Hold a module to the protocol that ``SequentialRecommender`` documents.

    What breaks it trains without an error, or fails far from the cause. The module stays as it is,
    and so do torch's generators.

    Parameters
    ----------
    module : torch.nn.Module
    n_items : int
    max_length : int
        Longest row that the module will see.
    targets : {"all", "last"}
        With "last" only the state after a row's last item counts, and may depend on all of the row.

    Raises
    ------
    TypeError
        If ``item_embedding`` or ``encode`` is missing or of another kind; if what is returned is no
        tensor.
    ValueError
        If a shape, a dtype or a number is wrong; if states depend on other rows, on padding or on
        later items.
    """
    name = type(module).__name__
    embedding = getattr(module, "item_embedding", None)
    if not isinstance(embedding, torch.nn.Embedding):
        kind = type(embedding).__name__
        raise TypeError(f"{name}.item_embedding must be a torch.nn.Embedding, got {kind}")
    if len(embedding.weight) <= n_items:
        raise ValueError(
            f"{name}.item_embedding must have n_items + 1 = {n_items + 1} rows or more, the last "
            f"for padding, got {len(embedding.weight)}"
        )
    if not callable(getattr(module, "encode", None)):
        raise TypeError(f"{name} must have a method encode(ids, lengths)")
    device, training = embedding.weight.device, module.training
    cuda = [device] if device.type == "cuda" else []
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=cuda):
            _check_states(module, n_items, min(3, max_length), targets)
    finally:
        module.train(training)


def _check_states(module: torch.nn.Module, n_items: int, long: int, targets: str) -> None:
    """Encode two rows together, each alone, and one of them with another last item."""
    name, weight = type(module).__name__, module.item_embedding.weight
    dim, short, last = weight.shape[1], max(1, long - 1), n_items - 1
    ids = torch.tensor([[last, 0, 0], [0, 0, last]], device=weight.device)[:, -long:]
    ids[0, short:] = n_items  # the padding
    lengths = torch.tensor([short, long], device=weight.device)
    states = _checked(f"{name}.encode", module.encode(ids, lengths), (2, long, dim), weight)
    atol = ROUNDINGS * torch.finfo(weight.dtype).eps * states.abs().max().item()
    same = partial(torch.allclose, rtol=0.0, atol=atol)
    if targets == "all":
        changed = ids.clone()
        changed[1, -1] = 0
        if not same(module.encode(changed, lengths)[1, :-1], states[1, :-1]):
            raise ValueError(
                f"{name}.encode: states change with later items, which training predicts from "
                "them: encode the past alone, or set targets='last'"
            )
    rows = [(ids[:1, :short], lengths[:1]), (ids[1:], lengths[1:])]
    alone = [
        _checked(f"{name}.encode", module.encode(*row), (*row[0].shape, dim), weight)[0]
        for row in rows
    ]
    for together, state in zip(states, alone, strict=True):
        used = slice(0 if targets == "all" else len(state) - 1, len(state))
        if not same(together[used], state[used]):
            raise ValueError(
                f"{name}.encode: the states of a row change with the other rows or the padding of "
                "its batch, or by chance; ids are (rows, length), for which torch's recurrent "
                "layers need batch_first=True"
            )
    if hasattr(module, "encode_last"):
        got = module.encode_last(ids, lengths)
        got = _checked(f"{name}.encode_last", got, (2, dim), weight)
        if not same(got, torch.stack([state[-1] for state in alone])):
            raise ValueError(f"{name}.encode_last: these are not the last states of encode")
    if hasattr(module, "encode_groups"):
        got = module.encode_groups(*map(list, zip(*rows, strict=True)))
        got = _checked(f"{name}.encode_groups", got, (short + long, dim), weight)
        if not same(got, torch.cat(alone)):
            raise ValueError(f"{name}.encode_groups: these are not the states of encode")


def _checked(what: str, got: Any, shape: tuple[int, ...], weight: torch.Tensor) -> torch.Tensor:
    if not isinstance(got, torch.Tensor):
        raise TypeError(f"{what} must return a tensor, got {type(got).__name__}")
    if got.shape != shape or got.dtype != weight.dtype:
        raise ValueError(
            f"{what} must return states of shape {shape} in {weight.dtype}, as item_embedding has, "
            f"got {tuple(got.shape)} in {got.dtype}"
        )
    if not torch.isfinite(got).all():
        raise ValueError(f"{what} returned NaN or infinite states before any training")
    return got


def check_extra_loss(module: torch.nn.Module, extra: Any) -> None:
    """Raise TypeError or ValueError unless what ``module.extra_loss`` returned is a scalar."""
    name = f"{type(module).__name__}.extra_loss"
    if not isinstance(extra, (torch.Tensor, int, float)):
        raise TypeError(f"{name} must return a scalar, got {type(extra).__name__}")
    if isinstance(extra, torch.Tensor) and extra.shape != ():
        raise ValueError(f"{name} must return a scalar, got shape {tuple(extra.shape)}")
