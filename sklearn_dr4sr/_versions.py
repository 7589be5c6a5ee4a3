"""What is installed, for a report of a fault."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["show_versions"]

DEPENDENCIES = ("scikit-learn", "torch", "skorch", "numpy", "scipy", "joblib")
OPTIONAL = ("narwhals", "pandas", "polars", "pyarrow", "matplotlib", "safetensors", "onnx")


def show_versions() -> None:
    """Print the versions of Python, of the package and of what it depends on, and the device.

    Examples
    --------
    >>> import sklearn_dr4sr
    >>> sklearn_dr4sr.show_versions()  # doctest: +ELLIPSIS
    python ...
    """
    import torch

    print(f"python        {platform.python_version()}, {platform.platform()}")
    for name in ("sklearn_dr4sr", *DEPENDENCIES, *OPTIONAL):
        try:
            print(f"{name:13} {version(name)}")
        except PackageNotFoundError:
            if name not in OPTIONAL:
                print(f"{name:13} not installed")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(f"device        {device}, {torch.get_num_threads()} torch threads")
