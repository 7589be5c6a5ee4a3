"""skorch's callbacks on the estimators: each does its work, and the parameter stays as it was."""

import os
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LRScheduler

from sklearn_dr4sr import DatasetRegenerator
from sklearn_dr4sr._callbacks import fresh_callbacks
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.recommenders import SASRec

SPLIT = leave_one_out(make_sequences(80, 20, random_state=0))


def sasrec(**parameters):
    small = {"embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "max_length": 10, "loss": "ce"}
    small |= {"max_epochs": 6, "batch_size": 32, "lr": 0.01, "device": "cpu", "random_state": 0}
    return SASRec(**{**small, **parameters})


def test_early_stopping_by_the_training_loss():
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=1e9, threshold_mode="abs")
    before = dict(vars(stop))
    model = sasrec(callbacks=[stop]).fit(SPLIT.train)
    assert len(model.history_) == 3  # the first is the best, and then two that are not better
    assert not model.net_.interrupted
    assert vars(stop) == before


def test_learning_rate_schedule():
    schedule = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.1)
    rates = []

    class Watch(Callback):
        def on_epoch_begin(self, net, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    sasrec(callbacks=[schedule, Watch()]).fit(SPLIT.train)
    np.testing.assert_allclose(rates, [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4])


def test_checkpoint_of_the_best_epoch(tmp_path):
    keep = Checkpoint(monitor="valid_ndcg_best", dirname=tmp_path)
    model = sasrec(callbacks=[("keep", keep)], patience=6).fit(SPLIT.train, SPLIT.validation)
    stored = torch.load(tmp_path / "params.pt", weights_only=True)
    kept = model.net_.module_.state_dict()  # early stopping has restored them
    assert stored.keys() == kept.keys()
    for name, values in stored.items():
        torch.testing.assert_close(kept[name], values, rtol=0, atol=0)


def test_callbacks_see_the_validation():
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            epoch = net.history[-1]
            seen.append((epoch["valid_ndcg"], epoch["valid_ndcg_best"]))

    model = sasrec(callbacks=[Watch()]).fit(SPLIT.train, SPLIT.validation)
    ndcg = [epoch["valid_ndcg"] for epoch in model.history_]
    assert [value for value, _ in seen] == ndcg
    highest = np.maximum.accumulate([-1.0, *ndcg])
    assert [best for _, best in seen] == (highest[1:] > highest[:-1]).tolist()
    assert len({best for _, best in seen}) == 2


def test_tensorboard_in_a_search(tmp_path):
    pytest.importorskip("tensorboard")
    from skorch.callbacks import TensorBoard
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    folders = iter(range(10))

    def board():  # an open writer cannot be cloned: each fit opens one
        return TensorBoard(SummaryWriter(str(tmp_path / str(next(folders)))))

    search = GridSearchCV(
        sasrec(max_epochs=2, callbacks=[board]), {"lr": [0.01, 0.02]}, cv=LeaveLastOut()
    ).fit(SPLIT.train, SPLIT.validation)
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2"]  # two candidates and the refit
    log = EventAccumulator(str(tmp_path / "2")).Reload()
    logged = [event.value for event in log.Scalars("Loss/valid_ndcg")]
    ndcg = [epoch["valid_ndcg"] for epoch in search.best_estimator_.history_]
    np.testing.assert_allclose(logged, ndcg, rtol=1e-5)
    pickle.dumps(search.best_estimator_.net_)  # the writer is not in it


def test_mlflow(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client_of = pytest.importorskip("mlflow.tracking").MlflowClient
    from skorch.callbacks import MlflowLogger

    client = client_of(tracking_uri=tmp_path.as_uri())
    run = client.create_run(client.create_experiment("recommenders"))
    logger = MlflowLogger(run, client, create_artifact=False)
    model = clone(sasrec(max_epochs=3, callbacks=[logger]))
    model.fit(SPLIT.train, SPLIT.validation)
    logged = client.get_metric_history(run.info.run_id, "valid_ndcg")
    ndcg = [epoch["valid_ndcg"] for epoch in model.history_]
    np.testing.assert_allclose([entry.value for entry in logged], ndcg)
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


class Count(Callback):
    def initialize(self):
        self.epochs_ = 0
        return self

    def on_epoch_end(self, net, **kwargs):
        self.epochs_ += 1
        net.history.record("counted", self.epochs_)


def test_the_regenerator_takes_copies_too():
    count = Count()
    small = {"item_embedding": "random", "embedding_dim": 8, "hidden_dim": 8, "max_epochs": 2}
    regenerator = DatasetRegenerator(2, callbacks=[count], **small, random_state=0, device="cpu")
    regenerator.fit(SPLIT.train)
    assert vars(count) == {}
    assert regenerator.callbacks == [count]


@pytest.mark.parametrize("entry", [Count, Count(), ("name", Count()), Count().initialize])
def test_each_form_of_an_entry_is_made_anew(entry):
    (fresh,) = fresh_callbacks([entry])
    if isinstance(entry, tuple):
        assert fresh[0] == "name"
        fresh, entry = fresh[1], entry[1]
    assert type(fresh) is Count
    assert fresh is not entry


def test_what_is_no_callback():
    assert fresh_callbacks(None) == []
    with pytest.raises(TypeError, match="expected a list of skorch callbacks, got <"):
        sasrec(callbacks=Count()).fit(SPLIT.train)
    with pytest.raises(TypeError, match="callables that return one, got 3"):
        sasrec(callbacks=[3]).fit(SPLIT.train)
