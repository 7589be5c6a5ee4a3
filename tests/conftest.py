"""The paper's data sets, where they are to be had."""

import importlib.util
import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import Phase, settings

from sklearn_dr4sr.datasets import load_sequences
from sklearn_dr4sr.model_selection import leave_one_out

# On a busy machine any example may take longer than hypothesis' 200 ms.
settings.register_profile("no deadline", deadline=None)
# Mutants (mutmut) and the oldest dependencies meet the same few examples, and need no smallest one.
settings.register_profile(
    "mutants",
    deadline=None,
    max_examples=30,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
# A change is judged by the same examples each time, as by hypothesis' own profile of this name;
# those who look for faults draw others, and more: HYPOTHESIS_PROFILE=search.
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=1000, print_blob=True)
usual = "ci" if os.environ.get("CI") else "no deadline"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", usual))


def pytest_collection_modifyitems(items):
    """Skip the example of to_onnx where onnx is not installed, and what needs a device."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no cuda device"))
    if not importlib.util.find_spec("onnx"):
        for item in items:
            if item.name.endswith("onnx_export.to_onnx"):
                item.add_marker(pytest.mark.skip(reason="onnx is not installed"))


@pytest.fixture
def interruptible():
    """Let SIGINT raise KeyboardInterrupt, also where the tests run with it ignored (``&``)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def real_data(name):
    """Path of one of the paper's files (DR4SR_DATA, else ../shared/data), or skip the test."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    path = Path(os.environ.get("DR4SR_DATA", default)) / name
    if not path.is_file():
        pytest.skip(f"{path} is absent: set DR4SR_DATA to the folder of the paper's data")
    return path


def load_example(name):
    """One of ``examples/``, as a module."""
    path = Path(__file__).resolve().parents[1] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def data_dir():
    return real_data("Beauty.txt").parent


@pytest.fixture(scope="session")
def beauty():
    """Beauty as a LeaveOneOutSplit."""
    return leave_one_out(load_sequences(real_data("Beauty.txt")))


@pytest.fixture(scope="session")
def toys():
    """Toys as a LeaveOneOutSplit."""
    return leave_one_out(load_sequences(real_data("Toys_and_Games.txt")))
