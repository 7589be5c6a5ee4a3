"""Mining, regeneration and searches under joblib's backends for clusters: the same results."""

import os
from itertools import pairwise

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from test_exchange import assert_same

from sklearn_dr4sr import DatasetRegenerator, PatternMiner, SequenceDataset
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.recommenders import SASRec

SPLIT = leave_one_out(make_sequences(60, 20, random_state=0))
SMALL = {"embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "device": "cpu", "random_state": 0}


def grid(n_jobs):
    return GridSearchCV(
        SASRec(**SMALL, loss="ce", max_epochs=2),
        {"lr": [1e-3, 1e-2]},
        cv=LeaveLastOut(),
        scoring=ranking_scorer("ndcg@20"),
        n_jobs=n_jobs,
    ).fit(SPLIT.train, SPLIT.validation)


def regenerate(regenerator, miner, rows, start, stop):
    """Regenerate a shard; the patterns are made here, at the worker."""
    data = regenerator.transform(miner.transform(rows[start:stop]))
    data.table  # noqa: B018
    return data


def check_all(n_jobs=2):
    """Mine in shards, search, and regenerate shards, on workers; compare with one run here."""
    rows = SPLIT.train
    miner = PatternMiner(window_size=4, n_jobs=n_jobs).fit(rows)
    whole = PatternMiner(window_size=4).fit(rows)
    assert miner.patterns_ == whole.patterns_
    np.testing.assert_array_equal(miner.supports_, whole.supports_)

    found, expected = grid(n_jobs), grid(None)
    np.testing.assert_array_equal(
        found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )

    regenerator = DatasetRegenerator(
        3, 0.5, **SMALL, item_embedding="random", max_epochs=1, max_pattern_length=4
    ).fit(whole.transform(rows))
    regenerator.set_params(temperature=2.0)
    edges = [0, 7, 30, len(rows)]
    jobs = joblib.Parallel(n_jobs=n_jobs)
    shards = jobs(
        joblib.delayed(regenerate)(regenerator, whole, rows, start, stop)
        for start, stop in pairwise(edges)
    )
    stacked = SequenceDataset.concatenate(shards)
    expected = regenerator.transform(whole.transform(rows))
    assert_same(stacked.deduplicate(), expected)
    assert (expected.origin == "regenerated").sum() > 10
    assert len(expected.patterns) < len(stacked.patterns)  # some came from two shards


def test_in_one_process():
    check_all(n_jobs=1)


@pytest.fixture
def importable(monkeypatch):
    """Let the workers import this module."""
    here = os.path.dirname(__file__)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))


@pytest.mark.filterwarnings("ignore")  # of the libraries' own
def test_dask(importable):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None)
    with (
        cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask", wait_for_workers_timeout=60),
    ):
        check_all()


@pytest.mark.filterwarnings("ignore")
def test_ray(importable):
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        register_ray()
        with joblib.parallel_config(backend="ray"):
            check_all()
    finally:
        ray.shutdown()
