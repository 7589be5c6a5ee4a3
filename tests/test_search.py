"""Searches of every kind, killed ones too, and what spreads work over processes and machines."""

import joblib
import numpy as np
import pytest
from conftest import load_example
from scipy.stats import loguniform
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    ParameterGrid,
    RandomizedSearchCV,
)
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import DatasetRegenerator, PatternMiner
from sklearn_dr4sr._torch import isolated
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.recommenders import SASRec

SPLIT = leave_one_out(make_sequences(60, 20, random_state=0))
SMALL = {"embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "device": "cpu", "random_state": 0}
NDCG = {"cv": LeaveLastOut(), "scoring": ranking_scorer("ndcg@20")}


def pipeline(**parameters):
    return Pipeline(
        [
            ("mine", PatternMiner(window_size=3)),
            (
                "regenerate",
                DatasetRegenerator(2, **SMALL, item_embedding="random", max_epochs=1),
            ),
            ("recommend", SASRec(**SMALL, loss="ce", max_epochs=2, batch_size=32)),
        ],
        **parameters,
    )


def same_results(a, b):
    for name, values in a.cv_results_.items():
        if "time" not in name and name != "params":
            np.testing.assert_array_equal(values, b.cv_results_[name], err_msg=name)
    rows = SPLIT.history[:5]
    np.testing.assert_array_equal(a.decision_function(rows), b.decision_function(rows))


def test_a_randomized_search():
    search = RandomizedSearchCV(
        pipeline(),
        {"recommend__lr": loguniform(1e-3, 1e-1), "mine__window_size": [3, 4]},
        n_iter=3,
        random_state=0,
        **NDCG,
    ).fit(SPLIT.train, SPLIT.validation)
    assert len(search.cv_results_["params"]) == 3
    assert search.predict(SPLIT.history).shape == (len(SPLIT.history), 10)


def test_successive_halving_over_epochs():
    search = HalvingGridSearchCV(
        pipeline(),
        {"recommend__lr": [1e-4, 1e-3, 1e-2, 3e-2]},
        resource="recommend__max_epochs",
        min_resources=1,
        max_resources=4,
        factor=2,
        **NDCG,
    ).fit(SPLIT.train, SPLIT.validation)
    assert search.n_resources_ == [1, 2, 4]
    assert search.n_candidates_ == [4, 2, 1]
    # the winner was trained for as long as the last round
    assert len(search.best_estimator_["recommend"].history_) == 4


class Killed(BaseException):
    """No Exception: what no search catches."""


def test_a_killed_grid_takes_over_the_steps_that_were_fitted(tmp_path, monkeypatch):
    grid = {"mine__window_size": [3, 4], "regenerate__generative_probability": [0.0, 0.5]}
    pretrained, scored, kill_at = [], [], [3]

    def counting(*args, **kwargs):
        pretrained.append(1)
        return isolated(*args, **kwargs)

    def score(estimator, X, y):
        scored.append(1)
        if len(scored) == kill_at[0]:
            raise Killed
        return NDCG["scoring"](estimator, X, y)

    monkeypatch.setattr("sklearn_dr4sr.regeneration.pretraining.isolated", counting)
    plain = GridSearchCV(pipeline(), grid, **NDCG).fit(SPLIT.train, SPLIT.validation)
    assert len(pretrained) == 5  # four candidates and the refit
    pretrained.clear()

    def search():
        pipe = pipeline(memory=str(tmp_path / "steps"))
        pipe.set_params(regenerate__memory=str(tmp_path / "pre-training"))
        return GridSearchCV(pipe, grid, cv=LeaveLastOut(), scoring=score)

    with pytest.raises(Killed):
        search().fit(SPLIT.train, SPLIT.validation)
    assert len(pretrained) == 2  # a window size of 3 once, whatever γ; then one of 4
    kill_at[0] = None
    resumed = search().fit(SPLIT.train, SPLIT.validation)
    assert len(pretrained) == 2
    same_results(resumed, plain)


def fitted_score(parameters):
    """One candidate, at the top of a module: what joblib stores by its name and arguments."""
    pipe = pipeline().set_params(**parameters).fit(SPLIT.train, SPLIT.validation)
    return float(NDCG["scoring"](pipe, SPLIT.train, SPLIT.validation))


def test_a_killed_grid_takes_over_whole_candidates(tmp_path):
    memory = joblib.Memory(tmp_path, verbose=0)
    cached = memory.cache(fitted_score)
    grid = list(ParameterGrid({"recommend__lr": [1e-3, 1e-2, 2e-2]}))
    before = [cached(parameters) for parameters in grid[:2]]  # and here it is killed
    assert [cached.check_call_in_cache(parameters) for parameters in grid] == [True, True, False]
    assert [cached(parameters) for parameters in grid][:2] == before
    search = GridSearchCV(pipeline(), {"recommend__lr": [1e-3, 1e-2, 2e-2]}, **NDCG)
    scores = search.fit(SPLIT.train, SPLIT.validation).cv_results_["mean_test_score"]
    np.testing.assert_allclose([cached(parameters) for parameters in grid], scores)


def test_optuna_goes_on_where_it_was(tmp_path):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    example = load_example("optuna_search")
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))
    )
    rows = make_sequences(60, 20, random_state=0)
    memory = str(tmp_path / "cache")
    first = example.search(rows, 1, memory, storage, max_epochs=2)
    study = example.search(rows, 3, memory, storage, max_epochs=2)
    assert len(study.trials) == 3
    assert study.trials[0].value == first.trials[0].value
    assert all(0 <= trial.value <= 1 for trial in study.trials)


@pytest.mark.parametrize("name", ["faiss", "voyager"])
def test_an_index_finds_what_predict_ranks(name):
    pytest.importorskip(name)
    example = load_example("index_search")
    model = SASRec(**SMALL, loss="ce", max_epochs=3).fit(SPLIT.train)
    histories = [list(row) for row in SPLIT.history[:40]]
    found = example.recommend(model, example.INDEXES[name](model.item_embeddings_), histories, k=5)
    exact = model.predict(histories, k=5).tolist()
    share = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, exact, strict=True)])
    assert share == 1 if name == "faiss" else share > 0.9
