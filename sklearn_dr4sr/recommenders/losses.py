"""Next-item losses over flat positions: states (n, dim), targets (n,), items (n_items, dim)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from .._memory import limit_on

__all__ = ["LOSSES", "cross_entropy_sum", "next_item_loss"]

LOSSES = ("bce", "bpr", "ce", "sampled_softmax", "gbce")

#: Logits held at once by the full cross-entropy: 16 MB, so that a chunk stays near the cores; on
#: an accelerator half a gigabyte, for a further chunk costs a dozen launches.
LOGITS = {"cpu": 2**22, "cuda": 2**27}

#: Probabilities below this are zero in the gradient: what they add is far below rounding, and
#: their squares in Adam would be denormal.
NEGLIGIBLE = 1e-15

Draw = Callable[[int], torch.Tensor]


def next_item_loss(
    loss: str,
    states: torch.Tensor,
    targets: torch.Tensor,
    item_matrix: torch.Tensor,
    draw: Draw,
    n_negatives: int,
    calibration: float,
) -> torch.Tensor:
    r"""Loss of each position, shape (n,).

    Parameters
    ----------
    loss : {"bce", "bpr", "ce", "sampled_softmax", "gbce"}
        With s+ = h.v+ and s- = h.v- for m negatives:

        - bce: softplus(-s+) + mean softplus(s-), the paper's Equation 7
        - bpr: mean softplus(s- - s+)
        - ce: log sum over all items of exp(s) - s+
        - sampled_softmax: the same over the target and m negatives that all positions share
          (a negative that is the position's own target is left out)
        - gbce: (beta softplus(-s+) + sum softplus(s-)) / (m + 1), with
          beta = alpha (t (1 - 1 / alpha) + 1 / alpha), alpha = m / (n_items - 1) [1]_
    states : tensor of shape (n, dim)
    targets : tensor of int64, shape (n,)
    item_matrix : tensor of shape (n_items, dim)
    draw : callable
        ``draw(m)`` returns negatives of shape (n, m), ``draw(-m)`` m shared ones of shape (m,).
    n_negatives : int
        m.
    calibration : float in [0, 1]
        t of gbce.

    References
    ----------
    .. [1] Petrov and Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation
       Trained with Negative Sampling", RecSys 2023.
    """
    if loss == "ce":
        return F.cross_entropy(states @ item_matrix.T, targets, reduction="none")
    if loss == "sampled_softmax":
        positive = (states * F.embedding(targets, item_matrix)).sum(-1)  # (n,)
        shared = draw(-n_negatives)  # (m,)
        negative = states @ F.embedding(shared, item_matrix).T  # (n, m)
        negative = negative.masked_fill(shared == targets[:, None], -torch.inf)
        return torch.cat([positive[:, None], negative], dim=1).logsumexp(dim=1) - positive
    # one look-up for both: the gradient of each would be a dense matrix of the catalogue's size
    both = torch.cat([targets[:, None], draw(n_negatives)], dim=1)  # (n, 1 + m)
    scores = (F.embedding(both, item_matrix) * states[:, None, :]).sum(-1)
    positive, negative = scores[:, 0], scores[:, 1:]
    if loss == "bce":
        return F.softplus(-positive) + F.softplus(negative).mean(-1)
    if loss == "bpr":
        return F.softplus(negative - positive[:, None]).mean(-1)
    alpha = n_negatives / max(1, len(item_matrix) - 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    return (beta * F.softplus(-positive) + F.softplus(negative).sum(-1)) / (n_negatives + 1)


class _CrossEntropySum(torch.autograd.Function):
    """Weighted sum of full cross-entropies; the gradient is made in the forward pass.

    One pass over a chunk of logits while it is in the cache gives the loss and, in place, the
    gradient softmax - one-hot; neither logits nor probabilities are kept.
    """

    @staticmethod
    def forward(ctx, states, item_matrix, targets, weights, dtype):  # noqa: ANN001, ANN205
        losses = torch.empty_like(weights)
        needs_gradient = any(ctx.needs_input_grad[:2])
        grad_states = torch.empty_like(states)
        grad_items = torch.zeros_like(item_matrix)
        rows = max(1, limit_on(LOGITS, states.device) // len(item_matrix))
        # one buffer for all chunks: a fresh one each would be paged in anew each time
        buffer = states.new_empty(min(rows, len(states)), len(item_matrix))
        low_states, low_items = states.to(dtype), item_matrix.to(dtype)
        low_buffer = buffer if dtype == states.dtype else buffer.to(dtype)
        for start in range(0, len(states), rows):
            part = slice(start, start + rows)
            logits = buffer[: len(states[part])]  # (rows, n_items)
            low = low_buffer[: len(logits)]
            torch.mm(low_states[part], low_items.T, out=low)
            if low is not logits:
                logits.copy_(low)
            target, weight = targets[part, None], weights[part, None]
            at_target = logits.gather(1, target)
            peak = logits.amax(dim=1, keepdim=True)
            logits.sub_(peak).exp_()
            norm = logits.sum(dim=1, keepdim=True)
            losses[part] = (norm.log() + peak - at_target)[:, 0]
            if not needs_gradient:
                continue
            logits.mul_(weight / norm)
            F.threshold_(logits, NEGLIGIBLE, 0.0)
            logits.scatter_add_(1, target, -weight)
            low.copy_(logits)
            grad_states[part] = low @ low_items
            grad_items += low.T @ low_states[part]
        ctx.save_for_backward(grad_states, grad_items, losses)
        return weights @ losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # noqa: ANN001, ANN205
        grad_states, grad_items, losses = ctx.saved_tensors
        return grad * grad_states, grad * grad_items, None, grad * losses, None


def cross_entropy_sum(
    states: torch.Tensor,
    item_matrix: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Sum of ``weights`` times the full cross-entropy of each position, without keeping logits.

    Parameters
    ----------
    states : tensor of shape (n, dim)
    item_matrix : tensor of shape (n_items, dim)
    targets : tensor of int64, shape (n,)
    weights : tensor of shape (n,), not negative
    dtype : torch.dtype or None, default=None
        Of the three matrix products; None: that of ``states``. Softmax and sums keep the latter.

    Returns
    -------
    tensor of shape ()
    """
    dtype = dtype or states.dtype
    return _CrossEntropySum.apply(states, item_matrix, targets, weights, dtype)
