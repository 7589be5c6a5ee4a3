"""The whole path in scikit-learn's own tools: Pipeline, searches, clones, files, workers."""

import os
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import DatasetRegenerator, PatternMiner, SequenceDataset
from sklearn_dr4sr.baselines import MarkovChain, Popularity
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.recommenders import SASRec

SCORER = ranking_scorer("recall@20", "ndcg@20")


def make_pipe(**parameters):
    pipe = Pipeline(
        [
            ("mine", PatternMiner(window_size=4)),
            (
                "regenerate",
                DatasetRegenerator(
                    diversity_factor=2,
                    max_epochs=1,
                    embedding_dim=8,
                    hidden_dim=8,
                    item_embedding="random",
                    random_state=0,
                    device="cpu",
                ),
            ),
            (
                "recommend",
                SASRec(embedding_dim=8, hidden_dim=8, max_epochs=2, random_state=0, device="cpu"),
            ),
        ]
    )
    return pipe.set_params(**parameters)


@pytest.fixture(scope="module")
def split():
    return leave_one_out(make_sequences(120, 40, random_state=0))


@pytest.fixture(scope="module")
def fitted(split):
    return make_pipe().fit(split.train, split.validation)


def test_fit_predict_score(fitted, split):
    ranking = fitted.predict(split.history, k=10)
    assert ranking.shape == (120, 10)
    assert np.isin(ranking[ranking != -1], fitted[-1].items_).all()
    scores = SCORER(fitted, split.history, split.test)
    assert set(scores) == {"recall@20", "ndcg@20"}
    assert fitted.score(split.history, split.test) == pytest.approx(scores["ndcg@20"])


def test_the_pipeline_trains_on_what_its_steps_make(fitted, split):
    mined = PatternMiner(window_size=4).fit_transform(split.train)
    data = clone(fitted["regenerate"]).fit_transform(mined)
    alone = clone(fitted["recommend"]).fit(data, split.validation)
    np.testing.assert_array_equal(alone.item_embeddings_, fitted[-1].item_embeddings_)
    assert {"original", "mined"} <= set(data.origin.tolist())
    assert len(data) == 120


def test_predicting_never_makes_patterns(fitted, split, monkeypatch):
    read = []
    plain = SequenceDataset.table.fget
    monkeypatch.setattr(
        SequenceDataset, "table", property(lambda self: read.append(1) or plain(self))
    )
    fitted.predict(split.history)
    assert not read


def test_grid_search_with_several_metrics(split):
    search = GridSearchCV(
        make_pipe(recommend__max_epochs=1),
        {
            "mine__window_size": [3, 4],
            "regenerate": ["passthrough", make_pipe()["regenerate"]],
            "recommend": [MarkovChain()],
        },
        cv=LeaveLastOut(),
        scoring=SCORER,
        refit="ndcg@20",
        error_score="raise",
    )
    search.fit(split.train, split.validation)
    assert len(search.cv_results_["mean_test_ndcg@20"]) == 4
    assert search.best_score_ == search.cv_results_["mean_test_ndcg@20"].max()
    assert search.predict(split.history).shape == (120, 10)


def test_grid_in_two_processes_equals_one(split):
    results = []
    for n_jobs in (1, 2):
        search = GridSearchCV(
            make_pipe(recommend__max_epochs=1),
            {"mine__window_size": [3, 4]},
            cv=LeaveLastOut(),
            scoring=SCORER,
            refit=False,
            n_jobs=n_jobs,
            error_score="raise",
        ).fit(split.train, split.validation)
        results.append(search.cv_results_["mean_test_ndcg@20"])
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)


THREADS = """
import joblib, torch
from sklearn_dr4sr._torch import isolated
threads = dict(seed=0, device=torch.device("cpu"))
inside = joblib.Parallel(n_jobs=2)(
    joblib.delayed(isolated)(torch.get_num_threads, **threads) for _ in range(2)
)
print(joblib.cpu_count(), isolated(torch.get_num_threads, **threads), *inside)
"""


def test_workers_do_not_oversubscribe():
    """In a loky worker torch takes the share of the cores that joblib leaves it."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    run = [sys.executable, "-c", THREADS]
    done = subprocess.run(run, check=True, env=environment, capture_output=True, text=True)
    cores, alone, *inside = map(int, done.stdout.split())
    share = max(1, cores // 2)
    if alone <= share:
        pytest.skip(f"torch takes {alone} thread(s) of {cores} core(s) by itself")
    assert all(count <= share for count in inside)


def test_cross_validate(split):
    result = cross_validate(
        make_pipe(recommend=Popularity(), regenerate="passthrough"),
        split.train,
        split.validation,
        cv=LeaveLastOut(),
        scoring=SCORER,
        return_train_score=False,
    )
    assert len(result["test_recall@20"]) == 1


def test_clone_and_set_params_through_two_levels():
    pipe = clone(make_pipe()).set_params(recommend__lr=0.5, mine__window_size=7)
    assert (pipe["recommend"].lr, pipe["mine"].window_size) == (0.5, 7)
    search = GridSearchCV(pipe, {}, cv=LeaveLastOut()).set_params(estimator__recommend__lr=0.25)
    assert search.estimator["recommend"].lr == 0.25


def test_html(fitted):
    html = fitted._repr_html_()
    assert "PatternMiner" in html
    assert "DatasetRegenerator" in html


def test_a_stored_pipeline_gives_the_same_in_another_process(fitted, split, tmp_path):
    joblib.dump(fitted, tmp_path / "pipe.joblib")
    joblib.dump(split, tmp_path / "split.joblib")
    script = """
import sys, joblib, numpy as np
pipe, split = joblib.load(sys.argv[1] + "/pipe.joblib"), joblib.load(sys.argv[1] + "/split.joblib")
np.save(sys.argv[1] + "/ranking.npy", pipe.predict(split.history, k=5))
joblib.dump(pipe[:-1].transform(split.train), sys.argv[1] + "/data.joblib")
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    np.testing.assert_array_equal(
        np.load(tmp_path / "ranking.npy"), fitted.predict(split.history, k=5)
    )
    here, there = fitted[:-1].transform(split.train), joblib.load(tmp_path / "data.joblib")
    assert there.patterns == here.patterns
    np.testing.assert_array_equal(there.origin, here.origin)


def test_nothing_held_out_enters_the_fitted_state(split, tmp_path):
    """A marker that exists only as a held-out item is found in no fitted estimator."""
    marker = 987_654_321
    rows = [[*row, marker, marker + 1] for row in list(split.train)]
    marked = leave_one_out(rows)
    with pytest.warns(UserWarning, match="y: X holds none of its items"):
        pipe = make_pipe().fit(marked.train, marked.validation)
    plain = make_pipe().fit(split.train, None)
    for step in pipe:
        assert marker not in step.items_
        np.testing.assert_array_equal(step.items_, plain[0].items_)
    data = pipe[:-1].transform(marked.train)
    assert not {marker, marker + 1} & set(data.items.tolist())
    assert not {marker, marker + 1} & set(data.patterns.items.tolist())
    assert marker not in pipe.predict(marked.history, k=30)


def test_string_ids(split):
    names = [[f"item {i:02d}" for i in row] for row in split.train]
    truth = [f"item {i:02d}" for i in split.validation]
    pipe = make_pipe().fit(names, truth)
    assert pipe.predict(names[:3], k=2)[0, 0].startswith("item ")


def test_input_is_never_modified(split):
    rows = [list(row) for row in split.train]
    before = joblib.hash(rows), joblib.hash(split.train)
    make_pipe().fit(rows, split.validation).predict(rows)
    make_pipe().fit(split.train, split.validation).predict(split.train)
    assert (joblib.hash(rows), joblib.hash(split.train)) == before
