"""What to do where memory does not suffice: smaller chunks, or an error that says what to lower."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

__all__ = ["OutOfMemoryError", "in_chunks", "is_out_of_memory", "limit_on", "out_of_memory"]

T = TypeVar("T")

#: Parameters whose size is the size of what a fit holds, those that change the model least first.
SIZES = (
    *("batch_size", "max_pairs", "n_negatives", "n_copies", "max_length", "window_size"),
    *("hidden_dim", "embedding_dim"),
)


class OutOfMemoryError(MemoryError):
    """Memory does not suffice; the message names the parameters to lower."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether numpy, torch on a CPU (which has no class for it) or torch on a device says so."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def out_of_memory(estimator: Any, error: BaseException) -> OutOfMemoryError:
    """Say which parameters of the estimator, or of one inside of it, take the memory."""
    if isinstance(error, OutOfMemoryError):  # of an estimator inside
        return error
    sizes = [
        f"{name}={value!r}"
        for size in SIZES
        for name, value in estimator.get_params().items()
        if name.rpartition("__")[2] == size and value is not None
    ]
    lower = f"lower {', or '.join(sizes)}" if sizes else "fit on fewer rows"
    return OutOfMemoryError(f"{type(estimator).__name__}.fit is out of memory: {lower} ({error})")


def limit_on(limits: dict[str, T], device: torch.device) -> T:
    """Give the limit of a device; of kinds that are not named, the one of cuda."""
    return limits.get(device.type, limits["cuda"])


def in_chunks(
    n: int, size: int, work: Callable[[int, int], T], order: Sequence[int] | None = None
) -> Iterator[tuple[int, T]]:
    """Yield (start, ``work(start, stop)``) for the chunks of ``range(n)``, smaller where need be.

    Where the memory does not suffice for a chunk, it and those after it are halved. ``order`` holds
    the caller's row of each place, which the error names.

    Raises
    ------
    OutOfMemoryError
        If it does not suffice for a chunk of one.
    """
    start = 0
    while start < n:
        stop = min(start + size, n)
        try:
            made = work(start, stop)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if stop - start == 1:
                row = start if order is None else order[start]
                raise OutOfMemoryError(
                    f"row {row}: out of memory for this row alone; use device='cpu', or lower "
                    f"max_length or k ({error})"
                ) from error
            size = (stop - start) // 2
        else:
            yield start, made
            start = stop
