"""ONNX files: the scores of decision_function, from numbers alone, for any batch and length."""

import json
import sys

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_dr4sr.baselines import MELT, Popularity
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.model_selection import LeaveLastOut
from sklearn_dr4sr.recommenders import (
    FMLP,
    GNN,
    BSARec,
    CL4SRec,
    GRU4Rec,
    SASRec,
    SequentialRecommender,
    to_onnx,
)

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

TINY = {"loss": "ce", "max_epochs": 1, "lr": 0.05, "device": "cpu", "random_state": 0}
ROWS = make_sequences(60, 30, random_state=0)
TEXT = [[f"item {code}" for code in row] for row in ROWS]


class Decay(torch.nn.Module):
    """A module of one's own: a mean of what came before, later items weighing more."""

    def __init__(self, n_items, dim=8):
        super().__init__()
        self.item_embedding = torch.nn.Embedding(n_items + 1, dim)
        self.step = torch.nn.Linear(dim, dim)

    def encode(self, ids, lengths):
        x = self.step(self.item_embedding(ids))
        weights = torch.exp2(torch.arange(ids.shape[1], dtype=x.dtype))
        return (x * weights[:, None]).cumsum(1) / weights.cumsum(0)[:, None]


def sized(kind, n_layers=1, **more):
    return kind(embedding_dim=8, hidden_dim=8, n_layers=n_layers, max_length=12, **TINY, **more)


MODELS = {
    "SASRec": sized(SASRec, 2, input_norm=True),
    "GRU4Rec": sized(GRU4Rec),
    "FMLP": sized(FMLP, 2),
    "FMLP-causal": sized(FMLP, mode="causal"),
    "GNN": sized(GNN),
    "CL4SRec": sized(CL4SRec),
    "BSARec": sized(BSARec),
    "BSARec-relative": sized(BSARec, 2, positions="relative"),
    "MELT": MELT(sized(SASRec), max_epochs=1, random_state=0),
    "foreign": SequentialRecommender(Decay, max_length=12, **TINY),
}


def session_of(proto):
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def numbers(histories, items, width):
    """Plain lists to the file's inputs: what a program without this package would do."""
    number = {item: i + 1 for i, item in enumerate(items)}
    item_ids = np.zeros((len(histories), width), dtype=np.int64)
    for row, history in enumerate(histories):
        item_ids[row, : len(history)] = [number[item] for item in history]
    return {"item_ids": item_ids, "lengths": np.array([len(h) for h in histories])}


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_decision_function(name, tmp_path, monkeypatch):
    # FMLP ranks in parts of four rows, the file at once
    monkeypatch.setattr("sklearn_dr4sr.recommenders.fmlp.CPU_PREFIX_TOKENS", 48)
    model = MODELS[name].fit(TEXT if name == "foreign" else ROWS)
    before = torch.random.get_rng_state()
    proto = to_onnx(model, tmp_path / "model.onnx")
    assert torch.equal(torch.random.get_rng_state(), before)
    onnx.checker.check_model(proto, full_check=True)
    stored = onnx.load(tmp_path / "model.onnx")
    metadata = {entry.key: entry.value for entry in stored.metadata_props}
    items = json.loads(metadata["items"])
    assert items == model.items_.tolist()
    assert (metadata["max_length"], metadata["exclude_seen"]) == ("12", "true")
    session = session_of(stored)
    rng = np.random.default_rng(0)
    for n_rows, width in [(1, 1), (1, 12), (2, 2), (7, 5), (40, 12), (90, 9)]:
        histories = [
            [items[i] for i in rng.integers(len(items), size=rng.integers(width + 1))]
            for _ in range(n_rows)
        ]
        (scores,) = session.run(["scores"], numbers(histories, items, width))
        expected = model.decision_function(histories)
        assert scores.dtype == np.float32
        assert np.abs(expected).max() > 1e-2
        np.testing.assert_allclose(scores, expected, atol=1e-4, rtol=1e-4)


class Stubborn(Decay):
    """A module that asks for the number of rows in a way that no trace can follow."""

    def encode(self, ids, lengths):
        return super().encode(ids, lengths) + torch.zeros(len(ids), 1, 1)


def test_a_size_that_became_a_constant():
    model = SequentialRecommender(Stubborn, **TINY).fit(ROWS)
    with pytest.raises(ValueError, match=r"Stubborn takes the size 2 of .* for a constant"):
        to_onnx(model)


def test_a_length_of_one():
    model = SequentialRecommender(Decay, max_length=1, **TINY).fit(ROWS)
    session, items = session_of(to_onnx(model)), model.items_.tolist()
    (scores,) = session.run(["scores"], numbers([[items[3]], []], items, 1))
    np.testing.assert_allclose(scores, model.decision_function([[items[3]], []]), atol=1e-4)


def test_what_cannot_be_exported(monkeypatch):
    with pytest.raises(NotFittedError):
        to_onnx(SASRec())
    with pytest.raises(TypeError, match="expected a SequentialRecommender, got Popularity"):
        to_onnx(Popularity().fit(ROWS))
    with pytest.raises(TypeError, match=r"got Pipeline; pass its last step, pipe\[-1\]"):
        to_onnx(make_pipeline(Popularity()))
    search = GridSearchCV(Popularity(), {}, cv=LeaveLastOut()).fit(ROWS, [1] * len(ROWS))
    with pytest.raises(TypeError, match="got GridSearchCV; pass its best_estimator_"):
        to_onnx(search)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install sklearn_dr4sr\[onnx\]"):
        to_onnx(sized(SASRec).fit(ROWS))
