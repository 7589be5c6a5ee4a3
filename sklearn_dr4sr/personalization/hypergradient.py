r"""Gradient of an upper loss through the solution of a lower problem, by implicit differentiation.

With :math:`θ^*(φ) = \arg\min_θ L_{train}(θ, φ)`, the implicit function theorem gives (Equations 11
to 16 of the paper)

.. math:: ∇_φ L_{dev}(θ^*(φ)) = -∇_θ L_{dev} \, H^{-1} \, ∇_φ ∇_θ L_{train}, \qquad
          H = ∇^2_θ L_{train}

and for :math:`0 < η < 2 / λ_{max}(H)` the inverse is the limit of

.. math:: H^{-1} ≈ η \sum_{n=0}^{K} (I - η H)^n .

The paper's Equation 10 has η = 1, which diverges where :math:`λ_{max} > 2`; its code has η = 1e-3
and leaves the factor η before the sum out, which an upper step of fixed length would notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

__all__ = ["METHODS", "hypergradient", "largest_eigenvalue", "neumann_sum"]

METHODS = ("neumann", "identity", "finite_difference")

Loss = Callable[[], torch.Tensor]
Vector = list[torch.Tensor]
Product = Callable[[Vector], Vector]

#: Terms of a convergent Neumann sum shrink, but for directions of negative curvature, in which they
#: keep their direction and grow: a term this many times as long as the first is too much of that.
DIVERGENT_GROWTH = 10.0


def hypergradient(
    train_loss: Loss,
    dev_loss: Loss,
    theta: Sequence[torch.Tensor],
    phi: Sequence[torch.Tensor],
    method: str = "neumann",
    terms: int = 3,
    step: float | Callable[[Product, Vector], float] = 1.0,
) -> tuple[Vector, float]:
    """Gradient of ``dev_loss`` at θ*(φ) with respect to φ.

    Parameters
    ----------
    train_loss, dev_loss : callable without arguments
        Return the loss at the present values of ``theta`` and ``phi``, the same at every call.
    theta, phi : sequence of tensors that require a gradient
        A parameter that a loss does not use counts as one with a gradient of zero.
    method : {"neumann", "identity", "finite_difference"}
        - "neumann": Hessian-vector products by differentiating twice.
        - "identity": I in place of the inverse Hessian, so that the gradient is right in scale for
          H = I only; ``terms`` and ``step`` are not used.
        - "finite_difference": as "neumann", all second derivatives by central differences of first
          ones: no double backward, and the memory of an ordinary step. With ``terms=0`` it is
          "identity" times ``step``.
    terms : int
        K, terms of the sum after the first.
    step : float or callable
        η; a callable gets the Hessian-vector product and a vector to start from.

    Returns
    -------
    gradient : list of tensors, as ``phi``
    dev_loss : float

    Raises
    ------
    FloatingPointError
        If the sum is seen to diverge, naming ``neumann_step``: a term is longer than the one before
        and points against it, or is ten times as long as the first.
    """
    loss = dev_loss()
    g = _gradient(loss, theta)
    if method == "finite_difference":
        hessian, mixed = _by_differences(train_loss, theta, phi)
    else:
        inner = _gradient(train_loss(), theta, create_graph=True)
        hessian, mixed = _by_double_backward(inner, theta, phi)
    p = g
    if method != "identity":
        p = neumann_sum(hessian, g, terms, step(hessian, g) if callable(step) else step)
    return [-x for x in mixed(p)], loss.item()


def neumann_sum(hessian: Product, g: Vector, terms: int, step: float) -> Vector:
    """``step * sum over n = 0 .. terms of (I - step H)^n g``, near H^-1 g."""
    v, total, first = g, g, _norm(g)
    size = first
    for n in range(1, terms + 1):
        before, length = v, size
        v = [x - step * h for x, h in zip(v, hessian(v), strict=True)]
        total = [x + y for x, y in zip(total, v, strict=True)]
        size = _norm(v)
        # a step beyond 2 / λ overshoots: the next term is longer, and points back
        overshot = size > length and sum((x * y).sum() for x, y in zip(v, before, strict=True)) < 0
        if overshot or not size <= DIVERGENT_GROWTH * first:  # NaN fails it too
            growth, reference = (
                (size / length, "the one before, and against it")
                if overshot
                else (size / first, "the first")
            )
            raise FloatingPointError(
                f"the Neumann sum diverges: term {n} is {growth:.3g} times {reference}; "
                f"neumann_step={step:.3g} must be below 2 / the largest eigenvalue: lower it, "
                'or use "auto"'
            )
    return [step * x for x in total]


def largest_eigenvalue(hessian: Product, start: Vector, iterations: int = 10) -> float:
    """Largest absolute eigenvalue, from below, by power iteration; 0 for a start of zeros."""
    v, size = start, _norm(start)
    for _ in range(iterations):
        if size == 0:
            break
        v = hessian([x / size for x in v])
        size = _norm(v)
    return size


def _by_double_backward(
    inner: Vector, theta: Sequence[torch.Tensor], phi: Sequence[torch.Tensor]
) -> tuple[Product, Product]:
    """Make v -> H v and v -> v ∇_φ ∇_θ L from the gradient ``inner`` and its graph."""

    def product(wrt: Sequence[torch.Tensor]) -> Product:
        def times(v: Vector) -> Vector:
            pairs = [(x, y) for x, y in zip(inner, v, strict=True) if x.requires_grad]
            if not pairs:  # the loss is linear in theta
                return [torch.zeros_like(x) for x in wrt]
            outputs, vectors = zip(*pairs, strict=True)
            found = torch.autograd.grad(outputs, wrt, vectors, retain_graph=True, allow_unused=True)
            return _filled(found, wrt)

        return times

    return product(theta), product(phi)


def _by_differences(
    train_loss: Loss, theta: Sequence[torch.Tensor], phi: Sequence[torch.Tensor]
) -> tuple[Product, Product]:
    """Make v -> H v and v -> v ∇_φ ∇_θ L from gradients at θ + ε v and θ - ε v."""
    precision = torch.finfo(theta[0].dtype).eps ** (1 / 3)

    def product(wrt: Sequence[torch.Tensor], held: Sequence[torch.Tensor]) -> Product:
        def times(v: Vector) -> Vector:
            length = _norm(v)
            if length == 0:
                return [torch.zeros_like(x) for x in wrt]
            epsilon = precision * max(1.0, _norm(theta)) / length
            ends = []
            for side in (epsilon, -epsilon):
                with _moved(theta, v, side), _held(held):
                    ends.append(_gradient(train_loss(), wrt))
            return [(a - b) / (2 * epsilon) for a, b in zip(*ends, strict=True)]

        return times

    # while φ is asked for, nothing of θ is: then its half of the graph is never built
    return product(theta, phi), product(phi, theta)


@contextmanager
def _moved(theta: Sequence[torch.Tensor], v: Vector, size: float) -> Iterator[None]:
    """Set θ to θ + size * v, and back to exactly what it was."""
    kept = [x.detach().clone() for x in theta]
    try:
        with torch.no_grad():
            for x, direction in zip(theta, v, strict=True):
                x.add_(direction, alpha=size)
        yield
    finally:
        with torch.no_grad():
            for x, before in zip(theta, kept, strict=True):
                x.copy_(before)


@contextmanager
def _held(parameters: Sequence[torch.Tensor]) -> Iterator[None]:
    """Treat as constants."""
    for x in parameters:
        x.requires_grad_(False)
    try:
        yield
    finally:
        for x in parameters:
            x.requires_grad_(True)


def _gradient(
    loss: torch.Tensor, wrt: Sequence[torch.Tensor], create_graph: bool = False
) -> Vector:
    if not loss.requires_grad:
        return [torch.zeros_like(x) for x in wrt]
    found = torch.autograd.grad(loss, wrt, create_graph=create_graph, allow_unused=True)
    return _filled(found, wrt)


def _filled(found: Sequence[torch.Tensor | None], like: Sequence[torch.Tensor]) -> Vector:
    return [torch.zeros_like(x) if f is None else f for f, x in zip(found, like, strict=True)]


def _norm(v: Sequence[torch.Tensor]) -> float:
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(x) for x in v])).item()
