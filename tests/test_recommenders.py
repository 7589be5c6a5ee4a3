"""SequentialRecommender and SASRec: oracles in numpy, hand-written steps, and behaviour."""

import _thread
import math
import pickle
from itertools import combinations, pairwise

import joblib
import numpy as np
import pytest
import skorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_dr4sr import SequenceDataset, Sequences
from sklearn_dr4sr._torch import isolated
from sklearn_dr4sr.augmentation import SlidingWindow
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import recall_at_k
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import BSARec, SASRec, SequentialRecommender, losses
from sklearn_dr4sr.recommenders.batching import (
    LengthGroupedBatches,
    TrainingPatterns,
    group_edges,
)
from sklearn_dr4sr.recommenders.bsarec import BSARecModule
from sklearn_dr4sr.recommenders.losses import LOSSES, cross_entropy_sum, next_item_loss
from sklearn_dr4sr.recommenders.sasrec import SASRecModule
from sklearn_dr4sr.recommenders.training import SequenceNet, held_out_ranks

SMALL = {
    "embedding_dim": 16,
    "hidden_dim": 24,
    "n_heads": 2,
    "max_length": 12,
    "device": "cpu",
    "random_state": 0,
}


def small(**parameters):
    return SASRec(**{**SMALL, "max_epochs": 2, **parameters})


@pytest.fixture(scope="module")
def sequences():
    return make_sequences(150, 40, random_state=0)


# --- the forward pass against numpy -------------------------------------------------------------


def norm(x, state, name):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-12) * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def numpy_sasrec(state, ids, n_heads, input_norm):
    """States of one unpadded row, by loops over positions and heads."""
    x = state["item_embedding.weight"][ids]
    if "position_embedding.weight" in state:
        x = x + state["position_embedding.weight"][: len(ids)]
    if input_norm:
        x = norm(x, state, "input_norm")
    for block in ("blocks.0", "blocks.1"):
        q, k, v = np.split(linear(x, state, f"{block}.attention.qkv"), 3, axis=-1)
        dim = x.shape[1] // n_heads
        mixed = np.zeros_like(x)
        for h in range(n_heads):
            part = slice(h * dim, (h + 1) * dim)
            for t in range(len(ids)):
                logit = k[: t + 1, part] @ q[t, part] / np.sqrt(dim)
                if f"{block}.attention.bias" in state:
                    logit += state[f"{block}.attention.bias"][h, t::-1]
                share = np.exp(logit - logit.max())
                mixed[t, part] = share / share.sum() @ v[: t + 1, part]
        x = norm(
            x + linear(mixed, state, f"{block}.attention.out"), state, f"{block}.norm_attention"
        )
        inner = linear(x, state, f"{block}.feed_forward.0")
        inner = 0.5 * inner * (1 + erf(inner / np.sqrt(2)))
        outer = linear(inner, state, f"{block}.feed_forward.3")
        x = norm(x + outer, state, f"{block}.norm_feed_forward")
    return x


@pytest.mark.parametrize("input_norm", [False, True])
@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_decision_function_equals_a_numpy_forward(sequences, input_norm, positions):
    model = small(input_norm=input_norm, positions=positions, loss="ce").fit(sequences)
    for block in model.net_.module_.blocks:
        if positions == "relative":  # few steps leave it near 0
            torch.nn.init.normal_(block.attention.bias, std=2.0)
    state = {k: v.double().numpy() for k, v in model.net_.module_.state_dict().items()}
    rows = [[1, 2, 3], [7], list(range(1, 21))]  # the last is longer than max_length
    scores = model.decision_function(rows)
    for row, got in zip(rows, scores, strict=True):
        codes = np.searchsorted(model.items_, row)[-12:]
        last = numpy_sasrec(state, codes, 2, input_norm)[-1]
        expected = last @ state["item_embedding.weight"][: len(model.items_)].T
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_later_item_never_changes_an_earlier_state(sequences):
    module = small().fit(sequences).net_.module_
    ids = torch.randint(0, 40, (5, 9))
    changed = ids.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 40
    lengths = torch.full((5,), 9)
    with torch.no_grad():
        before, after = module.encode(ids, lengths), module.encode(changed, lengths)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert (before[:, 6:] - after[:, 6:]).abs().max() > 1e-3


# --- losses -------------------------------------------------------------------------------------


def plain_loss(loss, h, target, E, negatives, t):
    """One position, as in the formulas."""
    sigma = lambda x: 1 / (1 + torch.exp(-x))  # noqa: E731
    positive = h @ E[target]
    scores = torch.stack([h @ E[j] for j in negatives])
    if loss == "bce":
        return -torch.log(sigma(positive)) - torch.log(1 - sigma(scores)).mean()
    if loss == "bpr":
        return -torch.log(sigma(positive - scores)).mean()
    if loss == "ce":
        return torch.log(sum(torch.exp(h @ e) for e in E)) - positive
    if loss == "sampled_softmax":
        kept = [h @ E[j] for j in negatives if j != target]
        return torch.log(torch.exp(positive) + sum(torch.exp(s) for s in kept)) - positive
    alpha = len(negatives) / (len(E) - 1)
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    return -(beta * torch.log(sigma(positive)) + torch.log(1 - sigma(scores)).sum()) / (
        len(negatives) + 1
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_equal_their_formulas(loss):
    rng = np.random.default_rng(0)
    h, E = torch.tensor(rng.normal(size=(6, 5))), torch.tensor(rng.normal(size=(11, 5)))
    target = rng.integers(0, 11, 6)
    own, shared = rng.integers(0, 11, (6, 4)), rng.integers(0, 11, 4)
    shared[0] = target[0]  # an accidental hit
    got = next_item_loss(
        loss,
        h,
        torch.tensor(target),
        E,
        lambda m: torch.tensor(own) if m > 0 else torch.tensor(shared),
        4,
        0.6,
    )
    negatives = [shared] * 6 if loss == "sampled_softmax" else own
    expected = [plain_loss(loss, h[i], target[i], E, negatives[i], 0.6) for i in range(6)]
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-9, atol=0)


def test_fused_cross_entropy_equals_torch_and_its_gradient(monkeypatch):
    monkeypatch.setitem(losses.LOGITS, "cpu", 40)  # several chunks
    torch.manual_seed(0)
    states = torch.randn(13, 6, dtype=torch.float64, requires_grad=True)
    items = torch.randn(9, 6, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.randint(0, 9, (13,)), torch.rand(13, dtype=torch.float64)
    weights[3] = 0
    (2 * cross_entropy_sum(states, items, targets, weights)).backward()
    got = states.grad.clone(), items.grad.clone()
    states.grad = items.grad = None
    plain = torch.nn.functional.cross_entropy(states @ items.T, targets, reduction="none")
    (2 * (plain * weights).sum()).backward()
    torch.testing.assert_close(got, (states.grad, items.grad))
    fused = cross_entropy_sum(states, items, targets, weights)
    torch.testing.assert_close(fused, (plain * weights).sum())


# --- one step -----------------------------------------------------------------------------------


def fitted_once(loss, data, weights=None, batch_size=64, **parameters):
    """One optimizer step on all rows, dropout off; returns the weights before and after."""
    before = {}

    class Snapshot(skorch.callbacks.Callback):
        def on_train_begin(self, net, **kwargs):
            before.update({k: v.clone() for k, v in net.module_.state_dict().items()})

    model = small(
        loss=loss,
        max_epochs=1,
        dropout=0.0,
        batch_size=batch_size,
        callbacks=[Snapshot()],
        **parameters,
    )
    dataset = SequenceDataset(data, data, weights)
    model.fit(dataset)
    return model, before, model.net_.module_.state_dict()


def known_negatives(item, target):
    """Three negatives of the six items, by what comes before and after."""
    return [(2 * item + target + j) % 6 for j in range(3)]


def draw_known_negatives(self, m, batch):
    if m < 0:
        return torch.tensor([0, 3, 4])
    pairs = zip(batch.ids[batch.at].tolist(), batch.targets.tolist(), strict=True)
    return torch.tensor([known_negatives(*pair) for pair in pairs])


@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_one_step_equals_a_padded_hand_written_step(loss, weighted, targets, monkeypatch):
    monkeypatch.setattr(SequenceNet, "draw_negatives", draw_known_negatives)
    data = Sequences([[1, 2, 3, 4], [2, 5], [6, 1, 2], [3], [4, 5, 6, 1, 2, 3, 5]])
    weights = np.linspace(0.2, 2, len(data.codes)).astype(np.float32) if weighted else None
    parameters = {"targets": targets, "n_negatives": 3, "calibration": 0.6}
    model, before, after = fitted_once(loss, data, weights, **parameters)
    module = type(model.net_.module_)(n_items=6, max_length=12, embedding_dim=16, hidden_dim=24)
    module.load_state_dict(before)
    module.eval()  # no dropout
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    total, count = 0.0, 0
    flat = weights if weighted else np.ones(len(data.codes), dtype=np.float32)
    for r in range(len(data)):
        a, b = data.offsets[r], data.offsets[r + 1]
        if b - a < 2:
            continue
        padded = torch.full((1, 12), 6)
        padded[0, : b - a - 1] = torch.from_numpy(data.codes[a : b - 1].astype(np.int64))
        states = module.encode(padded, torch.tensor([b - a - 1]))[0]
        for t in range(b - a - 1):
            if targets == "last" and t < b - a - 2:
                continue
            item, target = data.codes[a + t : a + t + 2].tolist()
            drawn = [0, 3, 4] if loss == "sampled_softmax" else known_negatives(item, target)
            items = module.item_embedding.weight[:6]
            own = plain_loss(loss, states[t], target, items, drawn, 0.6)
            total = total + float(flat[a + t + 1]) * own
            count += 1
    (total / count).backward()
    optimizer.step()
    for name, value in module.state_dict().items():
        torch.testing.assert_close(after[name], value, atol=2e-6, rtol=1e-4, msg=name)
    assert model.history_[0]["train_loss"] == pytest.approx((total / count).item(), rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_scale_every_loss(loss, sequences):
    ones = np.ones(len(sequences.codes), dtype=np.float32)
    plain = fitted_once(loss, sequences)[0].history_[0]["train_loss"]
    same = fitted_once(loss, sequences, ones)[0].history_[0]["train_loss"]
    none = fitted_once(loss, sequences, 0 * ones)[0].history_[0]["train_loss"]
    assert same == pytest.approx(plain, rel=1e-5)
    assert none == 0


def test_zero_weight_hides_a_pattern(sequences):
    """A pattern of weight 0 leaves the same weights as random contents in its place."""
    weights = np.ones(len(sequences.codes), dtype=np.float32)
    hidden = sequences.rows < 30
    weights[hidden] = 0
    codes = sequences.codes.copy()
    codes[hidden] = np.random.default_rng(1).integers(0, 40, hidden.sum())
    other = Sequences.from_codes(codes, sequences.offsets, sequences.items)
    a = fitted_once("ce", sequences, weights, batch_size=200)[2]
    b = fitted_once("ce", other, weights, batch_size=200)[2]
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-6, rtol=1e-4)


# --- batches ------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), max_size=9), min_size=1, max_size=30),
    st.integers(1, 12),
    st.integers(2, 6),
)
def test_an_epoch_holds_every_target_once(rows, batch_size, max_length):
    data = Sequences([[0, 1], *rows])
    patterns = TrainingPatterns(data, None, max_length, "all")
    seen = []
    for batch in LengthGroupedBatches(patterns, batch_size, seed=0):
        assert len(batch) <= batch_size
        assert batch.n_targets == sum(int((g.targets >= 0).sum()) for g in batch.groups)
        for group in batch.groups:
            for i, length in enumerate(group.lengths.tolist()):
                row = [*group.ids[i, :length].tolist(), int(group.targets[i, length - 1])]
                assert group.targets[i, : length - 1].tolist() == row[1:-1]
                assert (group.ids[i, length:] == len(data.items)).all()
                assert (group.targets[i, length:] == -1).all()
                seen.append(tuple(row))
    parts = [data.codes[a:b].tolist() for a, b in pairwise(data.offsets)]
    expected = [tuple(p[-(max_length + 1) :]) for p in parts if len(p) >= 2]
    assert sorted(seen) == sorted(expected)


def test_group_edges_are_the_cheapest_of_all_subsets():
    lengths = np.repeat([1, 2, 3, 5, 9, 14], [30, 40, 20, 10, 5, 1])

    def cost(edges):
        which = np.searchsorted(edges, lengths)
        return sum(20 + edges[g] * (which == g).sum() for g in range(len(edges)))

    choices = [np.array([*c, 14]) for r in range(6) for c in combinations([1, 2, 3, 5, 9], r)]
    best = min(map(cost, choices))
    assert cost(group_edges(lengths, 1.0, overhead=20)) == best


def test_steps_per_epoch_goes_on_where_the_last_epoch_ended():
    data = Sequences([[i, i + 1] for i in range(10)])
    batches = LengthGroupedBatches(TrainingPatterns(data, None, 5, "all"), 2, seed=0, steps=3)
    firsts = [int(i) for _ in range(5) for b in batches for i in b.groups[0].ids[:, 0]]
    assert len(firsts) == 30
    for start in (0, 10, 20):  # three passes, each complete
        assert sorted(firsts[start : start + 10]) == list(range(10))


def test_as_many_steps_as_the_histories_take(sequences):
    every_prefix = SlidingWindow(window_size=4).fit_transform(sequences)
    model = small(steps_per_epoch="histories", batch_size=2, max_epochs=1).fit(every_prefix)
    rows = sum(length >= 2 for length in sequences.lengths)
    assert len(every_prefix.patterns) > 2 * rows
    assert model.n_steps_ == math.ceil(rows / 2) > 64
    plain = small(batch_size=2, max_epochs=1).fit(sequences)
    assert plain.n_steps_ == model.n_steps_


def test_a_small_log_gets_its_steps(sequences):
    model = small(steps_per_epoch="histories", batch_size=100, max_epochs=1).fit(sequences)
    assert model.n_steps_ == 64


def test_the_strong_setting_takes_changes():
    model = BSARec.strong(lr=0.5, random_state=3)
    assert (model.embedding_dim, model.lr, model.random_state) == (128, 0.5, 3)


def test_negatives_outside_the_pattern(sequences):
    patterns = TrainingPatterns(sequences, None, 12, "all")
    batch = LengthGroupedBatches(patterns, 64, seed=0).batch(np.arange(64))
    net = SequenceNet(
        torch.nn.Identity, loss="bce", n_negatives=3, negatives="unseen", calibration=0.75
    )
    net.item_matrix = lambda: torch.zeros(40, 1)
    drawn = net.draw_negatives(3, batch).tolist()
    rows = [
        sequences.codes[sequences.offsets[p] : sequences.offsets[p + 1]][-13:].tolist()
        for g in batch.groups
        for p in g.pattern[(g.targets >= 0).nonzero()[:, 0].numpy()]
    ]
    assert batch.pattern.tolist() == [
        p for g in batch.groups for p in g.pattern[(g.targets >= 0).nonzero()[:, 0].numpy()]
    ]
    assert len(drawn) == batch.n_targets
    assert all(not set(d) & set(r) for d, r in zip(drawn, rows, strict=True))


# --- fit and predict ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_learns_a_deterministic_grammar(loss):
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 20, 400)
    rows = [[(s + t) % 20 for t in range(6)] for s in starts]
    model = SASRec(
        embedding_dim=32,
        dropout=0.1,
        loss=loss,
        n_negatives=8,
        max_epochs=60,
        lr=5e-3,
        batch_size=64,
        random_state=0,
        device="cpu",
        steps_per_epoch=7,
    ).fit(rows)
    tests = [[(s + t) % 20 for t in range(3)] for s in range(20)]
    truth = [(s + 3) % 20 for s in range(20)]
    assert recall_at_k(truth, model.predict(tests, k=1), 1) > 0.9


def test_same_seed_same_model_and_nothing_global_changes(sequences):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()  # noqa: NPY002
    a = small(loss="bce").fit(sequences)
    b = small(loss="bce").fit(sequences)
    c = small(loss="bce", random_state=1).fit(sequences)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert torch.get_num_threads() == before[2]
    denormal = torch.tensor([1e-40]) * 0.5
    assert denormal.item() > 0  # not flushed in this thread
    np.testing.assert_array_equal(a.item_embeddings_, b.item_embeddings_)
    assert np.abs(a.item_embeddings_ - c.item_embeddings_).max() > 1e-3


def test_workers_of_an_isolated_call_flush_denormals():
    def work():
        big = torch.full((1_000_000,), 1e-39) * torch.full((1_000_000,), 0.5)
        return int((big != 0).sum())

    assert isolated(work, seed=0, device=torch.device("cpu")) == 0


def test_one_row_at_a_time_ranks_as_in_bulk(sequences):
    model = small(loss="ce").fit(sequences)
    rows = [*list(sequences)[:40], []]
    bulk = model.decision_function(rows)
    single = np.concatenate([model.decision_function([row]) for row in rows])
    np.testing.assert_allclose(bulk, single, atol=1e-6)
    ranking = model.predict(rows, k=5)
    for row, got in zip(rows, ranking, strict=True):
        assert not set(row) & set(got.tolist())
        np.testing.assert_array_equal(got, model.predict([row], k=5)[0])


def test_early_stopping_restores_the_best_epoch():
    split = leave_one_out(make_sequences(400, 60, random_state=1))
    model = small(loss="ce", max_epochs=60, patience=3, lr=2e-2).fit(split.train, split.validation)
    ndcg = [epoch["valid_ndcg"] for epoch in model.history_]
    assert len(ndcg) < 60
    assert model.best_epoch_ == int(np.argmax(ndcg)) + 1
    # the score of the restored weights is the best epoch's
    assert model.score(split.train, split.validation) == pytest.approx(max(ndcg), abs=1e-6)


def test_y_changes_nothing_but_when_to_stop(sequences):
    rng = np.random.default_rng(0)
    y = rng.integers(1, 41, len(sequences))
    a = small(loss="bce", max_epochs=3, patience=50).fit(sequences)
    b = small(loss="bce", max_epochs=3, patience=50).fit(sequences, y)
    losses = [[e["train_loss"] for e in m.history_] for m in (a, b)]
    assert losses[0] == losses[1]


def test_held_out_rank_counts_ties_against_the_model():
    histories = Sequences.from_codes(np.array([0]), np.array([0, 1]), np.arange(5))
    E = torch.ones(5, 2)
    rank = held_out_ranks(torch.ones(1, 2), E, histories, np.array([3]), True)
    assert rank.tolist() == [4]  # all equal, one of five seen: last of four
    nan = torch.full((1, 2), torch.nan)
    assert held_out_ranks(nan, E, histories, np.array([3]), True).tolist() == [6]
    assert held_out_ranks(torch.ones(1, 2), E, histories, np.array([0]), True).tolist() == [6]


def test_persistence(sequences, tmp_path):
    model = small(loss="ce").fit(sequences)
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(
        loaded.decision_function(sequences), model.decision_function(sequences)
    )
    weights = sum(v.numel() * 4 for v in model.net_.module_.state_dict().values())
    extra = model.item_embeddings_.nbytes + 60_000
    assert len(pickle.dumps(model)) < weights + extra  # the optimizer is not in it


def test_clone_and_parameters_of_a_foreign_module(sequences):
    class Bag(torch.nn.Module):
        def __init__(self, n_items, dim=4):
            super().__init__()
            self.item_embedding = torch.nn.Embedding(n_items + 1, dim)

        def encode(self, ids, lengths):
            steps = torch.arange(1, ids.shape[1] + 1)[:, None]
            return self.item_embedding(ids).cumsum(1) / steps

    model = SequentialRecommender(Bag, module__dim=6, loss="ce", max_epochs=1, device="cpu")
    assert clone(model).get_params()["module__dim"] == 6
    assert clone(model).set_params(module__dim=8).fit(sequences).item_embeddings_.shape[1] == 8
    with pytest.raises(ValueError, match="module__x"):
        SASRec().set_params(module__x=3)
    with pytest.raises(TypeError, match="learning_rate"):
        SequentialRecommender(Bag, learning_rate=3)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("loss", "mse"),
        ("negatives", "none"),
        ("targets", "first"),
        ("max_length", 0),
        ("max_epochs", 2.5),
        ("patience", -1),
        ("steps_per_epoch", 0),
        ("steps_per_epoch", "rows"),
        ("batch_size", True),
        ("lr", 0),
        ("lr", "fast"),
        ("dropout", 1.0),
        ("calibration", 1.5),
        ("weight_decay", -1e-3),
        ("ema_decay", 1.0),
        ("ema_decay", -0.5),
        ("device", "abacus"),
        ("random_state", "seed"),
        ("embedding_dim", 15),
    ],
)
def test_bad_parameters_are_named(parameter, value, sequences):
    model = small(**{parameter: value})
    with pytest.raises(ValueError, match=parameter) as error:
        model.fit(sequences)
    assert str(value) in str(error.value)
    with pytest.raises(NotFittedError):
        model.predict(sequences)


def test_bad_input_is_named(sequences):
    with pytest.raises(ValueError, match="no sequence of X holds two items"):
        small().fit([[1], [2]])
    with pytest.raises(ValueError, match=r"y has 2 entries, X has 150 rows"):
        small().fit(sequences, [1, 2])
    with pytest.raises(TypeError, match=r"module.*None"):
        SequentialRecommender().fit(sequences)
    with pytest.raises(NotFittedError):
        small().decision_function(sequences)
    model = small().fit(sequences)
    for k in (0, 2.5, True):
        with pytest.raises(ValueError, match="k must be"):
            model.predict(sequences, k=k)


def test_more_positions_than_were_learned_are_refused(sequences):
    model = small().fit(sequences).set_params(max_length=13)
    with pytest.raises(ValueError, match=r"max_length=13, set after fit: .* 12 positions"):
        model.predict([list(range(1, 14))])
    assert model.set_params(max_length=2).predict([[1, 2, 3]]).shape == (1, 10)


def test_unknown_items_empty_histories_and_strings():
    rows = [["a", "b", "c"], ["b", "c", "d"], ["b", "d"]]
    model = small(loss="ce").fit(rows)
    np.testing.assert_array_equal(model.predict([["a", "zzz"]]), model.predict([["a"]]))
    ranking = model.predict([[], ["a"]], k=10)
    assert ranking.shape == (2, 4)
    assert ranking[0, 0] == "b"  # the most popular
    assert ranking[1, -1] is None  # "a" is seen: three items are left
    assert small(exclude_seen=False).fit(rows).predict([["a"]], k=4)[0, -1] is not None


def test_divergence_is_reported(sequences):
    with pytest.raises(FloatingPointError, match=r"epoch \d+, batch \d+"):
        small(loss="ce", lr=1e30, max_epochs=5).fit(sequences)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_leaves_a_usable_estimator():
    class Interrupt(skorch.callbacks.Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:  # of the caller, which waits in another thread
                _thread.interrupt_main()

    split = leave_one_out(make_sequences(300, 40, random_state=0))
    model = small(loss="ce", max_epochs=100_000, patience=100_000, callbacks=[Interrupt()])
    with pytest.warns(UserWarning, match="SASRec.fit was interrupted in epoch"):
        model.fit(split.train, split.validation)
    best = max(e["valid_ndcg"] for e in model.history_ if "valid_ndcg" in e)
    assert model.score(split.train, split.validation) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize(
    ("when", "with_y", "epoch", "finished"),
    [
        ("step", False, 1, 0),
        ("step", False, 3, 2),
        ("step", True, 3, 2),
        ("validation", True, 3, 2),
        ("validation", True, 1, 1),  # trained in full, and no other to stand beside
    ],
)
def test_an_interrupted_epoch_leaves_no_entry(when, with_y, epoch, finished, monkeypatch):
    class Interrupt(skorch.callbacks.Callback):
        def on_batch_end(self, net, **kwargs):
            if when == "step" and len(net.history) == epoch:
                raise KeyboardInterrupt

    def rank(*args):
        ranked.append(args)
        if when == "validation" and len(ranked) == epoch:
            raise KeyboardInterrupt
        return held_out_ranks(*args)

    ranked = []
    monkeypatch.setattr("sklearn_dr4sr.recommenders.training.held_out_ranks", rank)
    split = leave_one_out(make_sequences(60, 20, random_state=0))
    model = small(max_epochs=5, callbacks=[Interrupt()])
    with pytest.warns(UserWarning, match=f"interrupted in epoch {epoch}"):
        model.fit(split.train, split.validation if with_y else None)
    assert [entry["epoch"] for entry in model.history_] == list(range(1, finished + 1))
    assert all(entry["train_loss"] > 0 and entry["dur"] > 0 for entry in model.history_)
    if with_y and epoch > 1:
        assert model.best_epoch_ == 1 + np.argmax([e["valid_ndcg"] for e in model.history_])
    else:
        assert model.best_epoch_ == finished


@pytest.mark.parametrize("module", [SASRecModule, BSARecModule])
def test_dropout_of_a_whole_token_does_not_blow_up_the_first_gradient(module):
    """With biases at 0, as they begin, what follows a token of zeros is a constant to each norm."""
    torch.manual_seed(0)
    net = module(n_items=20, embedding_dim=4, hidden_dim=8, dropout=0.5).train()
    ids = torch.randint(20, (2000, 1))  # of 2,000 tokens 125 lose all four channels
    states = net.encode(ids, torch.ones(2000, dtype=torch.int64))
    assert not (states.std(dim=-1) < 1e-3).any()
    (states * torch.randn_like(states)).mean().backward()
    assert max(p.grad.abs().max() for p in net.parameters() if p.grad is not None) < 100


@pytest.mark.gpu
@pytest.mark.parametrize("loss", LOSSES)
def test_cuda_trains_as_the_cpu(sequences, loss):
    """Without dropout and with drawn negatives of their own; so many make no large difference."""
    found = []
    for device in ("cpu", "cuda"):
        given = {"n_negatives": 20, "dropout": 0.0, "ema_decay": 0.5, "max_epochs": 5}
        model = small(loss=loss, device=device, **given)
        found.append(model.fit(sequences).history_[-1]["train_loss"])
    assert found[1] == pytest.approx(found[0], rel=1e-4 if loss == "ce" else 0.05)


@pytest.mark.gpu
def test_bfloat16_on_cuda_ranks_almost_as_float32(sequences):
    """Same order, but for items that score alike."""
    found = []
    for precision in ("float32", "bfloat16"):
        model = small(loss="ce", device="cuda", dropout=0.0, precision=precision, max_epochs=5)
        found.append(model.fit(sequences).decision_function(sequences))
    np.testing.assert_allclose(found[1], found[0], atol=0.03 * np.abs(found[0]).max())


@pytest.mark.gpu
def test_cuda_ranks_as_the_cpu(sequences):
    model = small(loss="ce", device="cuda").fit(sequences)
    on_gpu = model.decision_function(sequences)
    model.net_.set_params(device="cpu")
    model.net_.module_.to("cpu")
    np.testing.assert_allclose(model.decision_function(sequences), on_gpu, atol=1e-4)


def test_bfloat16_products_train_to_the_same_ranking(sequences):
    """Same seed, same steps: the rankings agree but for near ties."""
    parameters = {"loss": "ce", "max_epochs": 15, "lr": 5e-3}
    full, low = (
        small(precision=precision, **parameters).fit(sequences)
        for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(full.item_embeddings_, low.item_embeddings_)
    a, b = full.predict(sequences, k=5), low.predict(sequences, k=5)
    assert (a[:, 0] == b[:, 0]).mean() > 0.8
    assert full.history_[-1]["train_loss"] == pytest.approx(
        low.history_[-1]["train_loss"], rel=0.02
    )


class Products(TorchDispatchMode):
    """Notes the dtypes of all matrix products."""

    def __init__(self):
        super().__init__()
        self.dtypes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.dtypes += [part.dtype for part in args if part.ndim == 2]
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_all_three_products_have_the_precision(precision, sequences):
    """Of states and items: the logits, and the gradients of either."""
    net = small(loss="ce", precision=precision).fit(sequences).net_
    patterns = TrainingPatterns(sequences, None, 12, "all")
    batch = LengthGroupedBatches(patterns, 64, seed=0).batch(np.arange(64))
    states = torch.randn(batch.at.max() + 1, 16, requires_grad=True)
    net.module_.encode_groups = lambda ids, lengths: states
    with Products() as products:
        net.batch_loss(batch).backward()
    assert products.dtypes == [getattr(torch, precision)] * 6


def test_bfloat16_without_its_products_warns(sequences):
    low = small(loss="bce", precision="bfloat16")
    with pytest.warns(UserWarning, match="precision='bfloat16' .*loss='bce'"):
        low.fit(sequences)
    full = small(loss="bce").fit(sequences)
    np.testing.assert_array_equal(low.item_embeddings_, full.item_embeddings_)


def test_verbose_says_how_long_still(sequences, capsys):
    small(verbose=1).fit(sequences)
    header, _, _, last = capsys.readouterr().out.strip().splitlines()[:4]
    assert "min_left" in header
    assert "train_loss" in header
    assert last.split()[1] == "0.0000"  # no epoch is left after the last
    small().fit(sequences)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("loss", ["bce", "ce"])
def test_double_precision_by_default(loss):
    rows = make_sequences(40, 12, random_state=0)
    data = SequenceDataset(rows, weights=np.ones(len(rows.codes)))
    torch.set_default_dtype(torch.float64)
    try:
        model = SASRec(loss=loss, max_epochs=1, embedding_dim=8, random_state=0).fit(data)
        ranked = model.predict([[1, 2], []], k=3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert model.net_.module_.item_embedding.weight.dtype == torch.float64
    popular = model.items_[np.argsort(-model.popularity_, kind="stable")[:3]]
    assert ranked[1].tolist() == popular.tolist()


@pytest.mark.parametrize("device", ["meta", "mps", "xpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(ValueError, match=rf"device='{device}', but torch finds no {device} device"):
        SASRec(device=device, max_epochs=1).fit([[1, 2], [2, 1]])
