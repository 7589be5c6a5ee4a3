"""Parameters out of range are named, a failed fit leaves nothing, bad numbers end a training."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback
from test_common import ESTIMATORS, TINY

from sklearn_dr4sr import DatasetPersonalizer, DatasetRegenerator, PatternMiner, checkpoint
from sklearn_dr4sr._parameters import check_number
from sklearn_dr4sr.baselines import EASE, InfiniteAutoencoder, MarkovChain, SequentialRules
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.personalization import training
from sklearn_dr4sr.personalization.hypergradient import hypergradient
from sklearn_dr4sr.ranking import BaseRecommender
from sklearn_dr4sr.recommenders import GRU4Rec, SASRec

ROWS = make_sequences(30, 10, random_state=0)
SPLIT = leave_one_out(ROWS)


@pytest.mark.parametrize(
    ("estimator", "name", "value"),
    [
        (DatasetRegenerator(), "diversity_factor", 128),  # PatternTable.memory is an int8
        (DatasetRegenerator(), "memory", "a\0b"),
        (DatasetRegenerator(), "callbacks", [1]),
        (SequentialRules(), "source_exponent", 10.1),
        (SequentialRules(), "target_exponent", -11),
        (SequentialRules(), "reverse_weight", 10**30),
        (EASE(), "l2", 1e300),
        (InfiniteAutoencoder(), "n_jobs", 0),
        (PatternMiner(), "n_jobs", 10**9),
        (InfiniteAutoencoder(), "l2", np.array(2)),
        (SASRec(), "embedding_dim", 10**9),
        (SASRec(), "hidden_dim", 10**9),
        (SASRec(), "max_length", 10**9),
        (SASRec(), "n_layers", 10**9),
        (SASRec(), "n_negatives", 10**9),
        (SASRec(), "lr", float("inf")),
        (SASRec(), "callbacks", 5),
        (SASRec(), "verbose", "x"),
        (SASRec(), "input_norm", None),
        (SASRec(), "loss", np.array([1, 2])),
        (PatternMiner(), "verbose", None),
        *[
            (estimator, "exclude_seen", value)
            for estimator in ESTIMATORS
            if isinstance(estimator, BaseRecommender)
            for value in ("no", 1)
        ],
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else None,
)
def test_out_of_range(estimator, name, value):
    with pytest.raises((ValueError, TypeError), match=rf"^{name}( must|:)"):
        clone(estimator).set_params(**{name: value}).fit(ROWS)


@pytest.mark.parametrize(
    ("value", "options", "fits"),
    [
        (1, {}, True),
        (0, {"above": True}, False),
        (5, {"high": 4}, False),
        (4, {"high": 4}, True),
        (2.0, {"integer": True}, False),
        (np.int64(2), {"integer": True}, True),
        (2**31, {"integer": True}, False),
        (True, {}, False),
        (np.float32(0.5), {}, True),
        (float("nan"), {}, False),
        (10**30, {}, False),  # as an integer it has no 64 bits
        (1e30, {}, True),
        ("1", {}, False),
    ],
)
def test_numbers(value, options, fits):
    if fits:
        check_number("lr", value, 0, **options)
    else:
        with pytest.raises(ValueError, match=r"^lr must be an? (number|integer) "):
            check_number("lr", value, 0, **options)


def test_a_gap_wider_than_any_row_is_none():
    wide = MarkovChain(max_gap=10**9).fit(ROWS)
    narrow = MarkovChain(max_gap=int(ROWS.lengths.max()) - 1).fit(ROWS)
    assert (wide.transitions_ != narrow.transitions_).nnz == 0
    wide, narrow = SequentialRules(max_gap=10**9).fit(ROWS), SequentialRules(max_gap=20).fit(ROWS)
    assert (wide.rules_ != narrow.rules_).nnz == 0


def test_numpy_integers_are_integers():
    small = {name: np.int64(4) for name in ("embedding_dim", "hidden_dim", "max_length")}
    GRU4Rec(**small, max_epochs=1, device="cpu").fit(ROWS)
    assert len(PatternMiner(window_size=np.int64(3)).fit(ROWS).patterns_)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_a_failed_fit_leaves_nothing(estimator):
    """Neither a width nor half a model; what was fitted before stays as it was, and whole."""
    model = clone(estimator)
    before = dict(vars(model))
    with pytest.raises((TypeError, ValueError)):
        model.fit(np.array([[1, 2], [3, -1]]))
    assert vars(model) == before
    model = clone(estimator).fit(SPLIT.train)
    fitted = dict(vars(model))
    with pytest.raises((TypeError, ValueError)):
        model.fit(np.array([[1, 2], [3, -1]]))
    assert vars(model) == fitted


class Spoil(Callback):
    """Ruin weights in an epoch: before its first batch, or after its last.

    Those of a recommender or a regenerator, or (``level="upper"``) the personalizer's own.
    """

    def __init__(self, epoch, when, level="lower"):
        self.epoch = epoch
        self.when = when
        self.level = level

    def on_batch_begin(self, net, **kwargs):
        self.spoil(net, "before")

    def on_batch_end(self, net, **kwargs):
        self.spoil(net, "after")

    def spoil(self, net, when):
        if (len(net.history), when) == (self.epoch, self.when):
            value = torch.nan if when == "before" else torch.inf
            module = net.module_ if self.level == "lower" else net.module_.personalizer
            with torch.no_grad():
                next(iter(module.parameters())).fill_(value)


def spoilt(epoch, when):
    return SASRec(
        **{**TINY, "max_epochs": 6, "embedding_dim": 8},
        callbacks=[Spoil(epoch, when)],
        random_state=0,
        lr=0.01,
    )


FAULTS = {"before": r"the loss is nan in epoch {}, batch 1", "after": r"after epoch {}, batch 1"}


@pytest.mark.parametrize("when", FAULTS)
def test_numeric_faults_stop_with_epoch_and_batch(when):
    with pytest.raises(FloatingPointError, match=FAULTS[when].format(3)):
        spoilt(3, when).fit(SPLIT.train)
    with pytest.raises(FloatingPointError, match=FAULTS[when].format(1)):
        spoilt(1, when).fit(SPLIT.train, SPLIT.validation)
    regenerator = DatasetRegenerator(**TINY, item_embedding="random")
    with pytest.raises(FloatingPointError, match="epoch 1, batch"):
        regenerator.set_params(callbacks=[Spoil(1, when)]).fit(ROWS)


@pytest.mark.parametrize("when", FAULTS)
def test_after_a_numeric_fault_the_best_weights_are_kept(when):
    """The same model as one that stops by itself before the fault."""
    with pytest.warns(UserWarning, match=rf"SASRec.fit ended early, .*{FAULTS[when].format(4)}"):
        model = spoilt(4, when).fit(SPLIT.train, SPLIT.validation)
    best = model.best_epoch_
    assert 1 <= best <= 3
    whole = spoilt(0, "never").set_params(max_epochs=best, callbacks=None).fit(SPLIT.train)
    np.testing.assert_array_equal(model.item_embeddings_, whole.item_embeddings_)
    assert np.isfinite(model.decision_function(SPLIT.history)).all()


@pytest.mark.parametrize("when", FAULTS)
@pytest.mark.parametrize(
    "model",
    [spoilt(0, "never"), DatasetRegenerator(**{**TINY, "item_embedding": "random"})],
    ids=lambda model: type(model).__name__,
)
def test_a_numeric_fault_leaves_the_checkpoint_of_the_epoch_before(model, when, tmp_path):
    model = clone(model).set_params(checkpoint_dir=tmp_path, max_epochs=4, callbacks=None)
    model.set_params(random_state=0)
    whole = clone(model).set_params(checkpoint_dir=None).fit(ROWS)
    with pytest.raises(FloatingPointError, match="epoch 3, batch"):
        clone(model).set_params(callbacks=[Spoil(3, when)]).fit(ROWS)
    (path,) = tmp_path.iterdir()
    state = checkpoint.read(path)
    assert len(state["history"]) == 2
    assert all(torch.isfinite(weights).all() for weights in state["module"].values())
    after = model.fit(ROWS).net_.module_.state_dict()
    assert all(torch.equal(after[k], v) for k, v in whole.net_.module_.state_dict().items())


def spoilt_personalizer(*fault, **parameters):
    recommender = spoilt(0, "never").set_params(callbacks=[Spoil(*fault)], **parameters)
    return DatasetPersonalizer(recommender, warmup_epochs=1, inner_steps=1, random_state=0)


def same_as_one_that_stopped_before_the_fault(model):
    best = model.recommender_.best_epoch_
    assert 2 <= best <= 3  # after the warm-up: the upper level had taken a step
    whole = spoilt_personalizer(0, "never", max_epochs=best).fit(SPLIT.train)
    for part in (lambda m: m.recommender_.net_.module_, lambda m: m.network_):
        left, right = part(model).state_dict(), part(whole).state_dict()
        assert all(torch.equal(left[name], right[name]) for name in right)
    assert np.isfinite(model.decision_function(SPLIT.history)).all()
    assert np.isfinite(model.transform(SPLIT.train).weights).all()


@pytest.mark.parametrize("level", ["lower", "upper"])
@pytest.mark.parametrize("when", FAULTS)
def test_numeric_faults_of_the_personalizer(when, level):
    """Epoch and batch are named; where an epoch was validated, both levels keep the best."""
    message = FAULTS[when]
    if (when, level) == ("before", "upper"):
        message = r"the learned weights are NaN or infinite in epoch {}, batch 1: lower upper_lr"
    with pytest.raises(FloatingPointError, match=message.format(3)):
        spoilt_personalizer(3, when, level).fit(SPLIT.train)
    with pytest.warns(UserWarning, match=rf"ended early, .*{message.format(4)}"):
        model = spoilt_personalizer(4, when, level).fit(SPLIT.train, SPLIT.validation)
    same_as_one_that_stopped_before_the_fault(model)


def test_a_numeric_fault_of_an_upper_step(monkeypatch):
    def at(step):
        calls = []

        def spoilt_gradient(*arguments):
            gradient, loss = hypergradient(*arguments)
            calls.append(1)
            return [g * (torch.nan if len(calls) == step else 1) for g in gradient], loss

        monkeypatch.setattr(training, "hypergradient", spoilt_gradient)
        return spoilt_personalizer(0, "never")

    message = r"the learned weights are NaN or infinite at upper step {} \(epoch {}, batch 1\)"
    with pytest.raises(FloatingPointError, match=message.format(2, 3)):
        at(step=2).fit(SPLIT.train)
    with pytest.warns(UserWarning, match="ended early, .*" + message.format(3, 4)):
        model = at(step=3).fit(SPLIT.train, SPLIT.validation)
    monkeypatch.undo()
    same_as_one_that_stopped_before_the_fault(model)
