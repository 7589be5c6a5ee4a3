"""Averaged weights: against a loop by hand, and what validation, stopping and failures see."""

import pickle

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ndcg_at_k
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import GNN, SASRec

TINY = {"embedding_dim": 4, "hidden_dim": 4, "max_epochs": 3, "batch_size": 32, "device": "cpu"}
SPLIT = leave_one_out(make_sequences(90, 25, random_state=0))


class Trace(Callback):
    """The weights after every step."""

    def __init__(self):
        self.steps = []

    def on_batch_end(self, net, training=False, **kwargs):
        self.steps.append([p.detach().clone() for p in net.module_.parameters()])


def traced(model, y=None):
    trace = Trace()
    return model(callbacks=[lambda: trace]).fit(SPLIT.train, y), trace.steps


def sasrec(**parameters):
    return SASRec(**(TINY | {"random_state": 0} | parameters))


def average_by_hand(steps, decay):
    average = steps[0]
    for n, weights in enumerate(steps[1:], start=1):
        d = min(decay, n / (n + 10))
        average = [d * a + (1 - d) * w for a, w in zip(average, weights, strict=True)]
    return average


@pytest.mark.parametrize("decay", [0.2, 0.6, 0.99])
def test_kept_weights_are_the_average(decay):
    model, steps = traced(lambda **p: sasrec(ema_decay=decay, **p))
    assert len(steps) == model.n_steps_ == 9
    kept = list(model.net_.module_.parameters())
    for found, expected in zip(kept, average_by_hand(steps, decay), strict=True):
        torch.testing.assert_close(found, expected)
    assert not torch.equal(kept[0], steps[-1][0])


def test_training_itself_is_the_same():
    plain, plain_steps = traced(sasrec, SPLIT.validation)
    averaged, steps = traced(lambda **p: sasrec(ema_decay=0.9, **p), SPLIT.validation)
    for a, b in zip(plain_steps, steps, strict=True):
        assert all(map(torch.equal, a, b))
    losses = [[epoch["train_loss"] for epoch in model.history_] for model in (plain, averaged)]
    assert losses[0] == losses[1]
    assert plain.history_[-1]["valid_ndcg"] != averaged.history_[-1]["valid_ndcg"]


@pytest.mark.parametrize("cls", [SASRec, GNN])
def test_what_is_validated_is_kept(cls):
    model = cls(**TINY, n_layers=1, ema_decay=0.9, random_state=0)
    model.set_params(max_epochs=12, patience=2, lr=0.05).fit(SPLIT.train, SPLIT.validation)
    best = max(epoch["valid_ndcg"] for epoch in model.history_)
    assert model.history_[model.best_epoch_ - 1]["valid_ndcg"] == best
    found = ndcg_at_k(SPLIT.validation, model.predict(SPLIT.train, k=20), 20)
    np.testing.assert_allclose(found, best, atol=1e-6)


def test_an_interrupt_keeps_the_average():
    class Interrupt(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    trace = Trace()
    model = sasrec(ema_decay=0.6, callbacks=[lambda: trace, Interrupt()])
    with pytest.warns(UserWarning, match="interrupted in epoch 2"):
        model.fit(SPLIT.train)
    assert len(trace.steps) == 4
    kept = model.net_.module_.parameters()
    for found, expected in zip(kept, average_by_hand(trace.steps, 0.6), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_stored_model_holds_its_weights_once():
    plain, averaged = (pickle.dumps(sasrec(ema_decay=d).fit(SPLIT.train)) for d in (0.0, 0.9))
    assert len(averaged) <= 1.01 * len(plain)
    assert pickle.loads(averaged).predict([[1, 2]], k=3).shape == (1, 3)
