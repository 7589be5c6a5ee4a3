"""The examples that are no page of the gallery, on a small log with ids of its own."""

import sys

import joblib
import numpy as np
import pytest
from conftest import load_example

from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ndcg_at_k
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import BSARec

SMALL = {"embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "n_heads": 1, "device": "cpu"}


@pytest.fixture
def log(tmp_path):
    """A file of a log: user, item, time."""
    rows = [
        f"user{user},item{item},{time}"
        for user, row in enumerate(make_sequences(80, 30, random_state=0))
        for time, item in enumerate(row)
    ]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user,item,time", *rows]) + "\n")
    return str(path)


def call(monkeypatch, example, *words):
    monkeypatch.setattr(sys, "argv", [example.__name__, *words])
    example.main()


def test_quickstart(log, tmp_path, monkeypatch, capsys):
    saved = tmp_path / "regenerated.txt"
    few = ["--max-epochs", "1", "--pretraining-epochs", "1"]
    call(monkeypatch, load_example("quickstart"), "--data", log, "--save", str(saved), *few)
    out = capsys.readouterr().out
    table = {line[:16].strip(): line[16:].split() for line in out.splitlines()}
    for model in ("Popularity", "Markov", "Sequential rules", "Backbone", "DR4SR"):
        assert all(0 <= float(metric) <= 1 for metric in table[model][:4])
    n_patterns = int(out.split("Regenerated data set: ")[1].split()[0])
    assert len(saved.read_text().splitlines()) == n_patterns >= 80


def test_best_ranking(log, tmp_path, monkeypatch, capsys):
    example = load_example("best_ranking")
    monkeypatch.setattr(example, "SETTING", {**SMALL, "max_epochs": 1, "steps_per_epoch": 2})
    kept, top = tmp_path / "best.joblib", tmp_path / "top.csv"
    words = ["--data", log, "--checkpoints", str(tmp_path / "state")]
    call(monkeypatch, example, *words, "--save", str(kept), "--recommend", str(top))
    out = capsys.readouterr().out
    split = leave_one_out(example.load_sequences(log))
    best = joblib.load(kept)
    ndcg = ndcg_at_k(split.test, best.predict(split.history, k=20), 20)
    assert f"stack    {ndcg:.4f}" in out
    listed = np.loadtxt(top, delimiter=",", dtype=str, skiprows=1)
    assert len(listed) == 80 * 10
    assert set(listed[:, 0]) == {f"user{user}" for user in range(80)}

    def fit(*args):
        raise AssertionError("what was trained is trained again")

    monkeypatch.setattr(BSARec, "fit", fit)
    call(monkeypatch, example, *words)
    assert f"stack    {ndcg:.4f}" in capsys.readouterr().out
