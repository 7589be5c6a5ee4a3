"""What the package uses of other libraries' private parts: all is listed, and must be there."""

import ast
import inspect
from pathlib import Path

import pytest
import skorch
import torch
from sklearn.base import BaseEstimator

import sklearn_dr4sr

#: Names with a leading underscore that are imported from others, and where.
IMPORTED = {("sklearn.utils.metaestimators", "_BaseComposition"): "recommenders/rank_blend.py"}


def test_private_imports_are_those_listed():
    found = {}
    home = Path(sklearn_dr4sr.__file__).parent
    for path in home.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                for name in node.names:
                    whole = f"{node.module}.{name.name}"
                    private = any(part.startswith("_") for part in whole.split("."))
                    if private and node.module != "__future__":
                        found[node.module, name.name] = path.relative_to(home).as_posix()
            elif isinstance(node, ast.Import):
                assert not any("._" in name.name for name in node.names), path
    assert found == IMPORTED


def test_composition_of_scikit_learn():
    """RankBlend's nested parameters are its estimators', as in scikit-learn's own ensembles."""
    from sklearn.utils.metaestimators import _BaseComposition

    for method, parameters in {
        "_get_params": ["self", "attr", "deep"],
        "_set_params": ["self", "attr", "params"],
        "_validate_names": ["self", "names"],
    }.items():
        assert list(inspect.signature(getattr(_BaseComposition, method)).parameters) == parameters


def test_training_mode_of_skorch():
    """The nets' training steps set the module's mode as skorch's own do."""
    net = skorch.NeuralNet(torch.nn.Linear, torch.nn.MSELoss, module__in_features=1)
    net.set_params(module__out_features=1, train_split=None).initialize()
    net._set_training(False)
    assert not net.module_.training
    net._set_training(True)
    assert net.module_.training


def test_callbacks_of_scikit_learn():
    """Fits are tasks of scikit-learn's callbacks, by what its mixin is told to offer."""
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn without callbacks")

    class Plain(callback.CallbackSupportMixin, BaseEstimator):
        @callback.with_callbacks
        def fit(self, X, y=None):
            self._init_callback_context(max_subtasks=0)
            assert hasattr(self, "_callback_fit_ctx")
            return self

    Plain().fit(None)
