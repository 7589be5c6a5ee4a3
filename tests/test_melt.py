"""MELT: the split by hand, each loss and the overwriting against plain loops, and its inference."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sklearn_dr4sr import Sequences
from sklearn_dr4sr.baselines import MELT, Popularity
from sklearn_dr4sr.baselines.melt import Branches, MELTModule, curriculum
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.model_selection import leave_one_out
from sklearn_dr4sr.recommenders import FMLP, CL4SRec, GRU4Rec, SASRec

SMALL = {"embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "max_epochs": 1, "random_state": 0}
ROWS = [[0, 1, 2, 3, 4, 5], [0, 1, 2], [0, 1], [2, 0], [0]]


def small_base(**parameters):
    return SASRec(n_heads=1, **{**SMALL, **parameters})


@pytest.fixture(scope="module")
def split():
    return leave_one_out(make_sequences(60, 40, mean_length=12, random_state=0))


def make_module(branches, encoder_of=SASRec, max_length=50):
    base = encoder_of(**{**SMALL, "max_length": max_length, "dropout": 0.0})
    torch.manual_seed(0)
    n_items = len(branches.histories.items)
    encoder = base._module(n_items, embedding_dim=8, max_length=max_length, dropout=0.0)
    torch.nn.init.normal_(encoder.item_embedding.weight)
    return MELTModule(n_items, encoder, branches, 0.1, 0.4).double().eval()


def f(module, row):
    """State of one history, encoded alone."""
    ids = torch.tensor([row])
    return module.encode(ids, torch.tensor([len(row)]))[0, -1]


# ------------------------------------------------------------------------------------- the split


def test_head_and_tail_by_hand():
    """Lengths 6 3 2 2 1, quantile .8 = 3.6; counts 5 3 3 1 1 1, quantile .6 = 3."""
    branches = Branches(Sequences(ROWS), user_quantile=0.8, item_quantile=0.6)
    assert branches.user_threshold == pytest.approx(3 + 0.2 * 3)
    assert branches.head_users.tolist() == [0]
    assert branches.count.tolist() == [5, 3, 3, 1, 1, 1]
    assert branches.item_threshold == 3
    assert branches.head_items.tolist() == [0]
    assert branches.tail_items.tolist() == [1, 2, 3, 4, 5]


def test_lengths_count_up_to_max_length():
    """Lengths 1 14 18, quantile .75 half-way between the last two: 16 uncut, 15 where N = 16."""
    rows = Sequences([[0], list(range(14)), list(range(18))])
    branches = Branches(rows, max_length=16, user_quantile=0.75)
    assert branches.user_threshold == 15
    assert branches.head_users.tolist() == [2]
    assert branches.user_weights(np.array([2])) == 0  # |sin(π/2 (16 - 15 - 1))|
    assert set(branches.recent(np.full(500, 2)).lengths) == set(range(1, 15))
    assert Branches(rows, max_length=14, user_quantile=0.75).head_users.tolist() == []


def test_the_curriculum_goes_from_the_long_to_the_short():
    long, short = np.array([50]), np.array([10])  # T = 9, N = 50
    assert curriculum(0, long, 9, 40) == 1
    assert curriculum(0, short, 9, 40) == 0
    assert curriculum(1, long, 9, 40) == pytest.approx(0, abs=1e-12)
    assert curriculum(1, short, 9, 40) == 1
    assert curriculum(0.5, np.array([20]), 9, 40) == pytest.approx(
        abs(np.sin(np.pi / 2 * 0.5 + np.pi / (2 * (50 - 9 - 1)) * (20 - 9 - 1)))
    )


def test_the_heads_are_spread_over_the_steps(split):
    branches = Branches(split.train, n_steps=4, n_epochs=3)
    for epoch in range(2):
        branches.start_epoch(epoch)
        users, items = zip(*(branches.next_heads() for _ in range(4)), strict=True)
        assert sorted(np.concatenate(users)) == branches.head_users.tolist()
        assert sorted(np.concatenate(items)) == branches.head_items.tolist()


def test_recent_items_are_the_end_of_a_history(split):
    branches = Branches(split.train)
    users = np.repeat(branches.head_users, 200)
    recent, rows = branches.recent(users), list(split.train)
    for user, row in zip(users, recent, strict=True):
        assert rows[user][-len(row) :] == row
    assert set(recent.lengths) == set(range(1, int(np.ceil(branches.user_threshold))))


def test_contexts_end_at_their_item(split):
    branches = Branches(split.train, max_length=6)
    items = np.repeat(branches.head_items, 20)
    contexts, which = branches.sampled_contexts(items)
    codes = [split.train.codes[a:b] for a, b in zip(*bounds(split.train), strict=True)]
    for context, item in zip(rows_of_codes(contexts), items[which], strict=True):
        ends = [row[: t + 1][-6:].tolist() for row in codes for t in np.flatnonzero(row == item)]
        assert context in ends
    drawn = np.bincount(which)
    assert drawn.min() == 1
    assert drawn.max() == int(branches.item_threshold)


def bounds(sequences):
    return sequences.offsets[:-1], sequences.offsets[1:]


def rows_of_codes(sequences):
    return [sequences.codes[a:b].tolist() for a, b in zip(*bounds(sequences), strict=True)]


# ------------------------------------------------------------------------------------ the losses


@pytest.mark.parametrize("encoder", [SASRec, FMLP])
def test_user_loss_is_the_plain_loop(encoder, split):
    twin, branches = (Branches(split.train, 18, n_epochs=10, seed=3) for _ in range(2))
    module = make_module(branches, encoder, max_length=18)
    for b in (twin, branches):
        b.start_epoch(4)
    users, expected = branches.head_users, []
    recent = rows_of_codes(twin.recent(users))
    codes, T = rows_of_codes(split.train), branches.user_threshold
    for user, few in zip(users, recent, strict=True):
        full = codes[user][-18:]
        w = abs(np.sin(np.pi / 2 * 4 / 10 + np.pi / 2 * (len(full) - T - 1) / max(1, 18 - T - 1)))
        expected.append(w * (module.user_map(f(module, few)) - f(module, full)) ** 2)
    torch.testing.assert_close(module.user_loss(users), torch.stack(expected).mean())


@pytest.mark.parametrize("encoder", [SASRec, FMLP])
def test_item_loss_is_the_plain_loop(encoder, split):
    twin, branches = (Branches(split.train, 18, n_epochs=10, seed=3) for _ in range(2))
    module = make_module(branches, encoder, max_length=18)
    for b in (twin, branches):
        b.start_epoch(4)
    items, expected = branches.head_items, []
    contexts, which = twin.sampled_contexts(items)
    contexts, T = rows_of_codes(contexts), branches.item_threshold
    for at, item in enumerate(items):
        own = [f(module, c) for c, w in zip(contexts, which, strict=True) if w == at]
        mean = torch.stack([state + module.user_map(state) for state in own]).mean(0)
        frequency = min(int((split.train.codes == item).sum()), T + 18)
        w = abs(np.sin(np.pi / 2 * 4 / 10 + np.pi / 2 * (frequency - T - 1) / 18))
        e = module.item_embedding.weight[item]
        expected.append((w * (module.item_map(mean) - e)) ** 2)
    torch.testing.assert_close(module.item_loss(items), torch.stack(expected).mean())


@pytest.mark.parametrize("encoder", [SASRec, FMLP])
def test_tail_items_are_overwritten_as_by_a_plain_loop(encoder):
    rows = Sequences(ROWS)
    module = make_module(Branches(rows, item_quantile=0.6), encoder)
    before = module.item_embedding.weight.detach().clone()
    expected = before.clone()
    for item in (1, 2, 3, 4, 5):
        contexts = [row[: t + 1] for row in ROWS for t, i in enumerate(row) if i == item]
        mean = torch.stack([f(module, context) for context in contexts]).mean(0)
        expected[item] = module.item_map(mean).detach()
    module.train()
    module.overwrite_tail_items()
    assert module.training
    torch.testing.assert_close(module.item_embedding.weight.detach(), expected)
    torch.testing.assert_close(expected[0], before[0])  # the head stays as it was


def test_a_step_takes_all_three_losses(split):
    seeds = [Branches(split.train, 18, seed=3) for _ in range(2)]
    module = make_module(seeds[0], max_length=18)
    total = module.extra_loss([])
    module.branches = seeds[1]
    users, items = seeds[1].next_heads()
    assert total == 0.1 * module.user_loss(users) + 0.4 * module.item_loss(items)


# --------------------------------------------------------------------------------- the estimator


def test_head_users_are_ranked_as_by_the_recommender(split):
    model = MELT(small_base(), max_epochs=2, random_state=0).fit(split.train, split.validation)
    base, lengths = model.recommender_, split.history.lengths
    head = lengths > model.user_threshold_
    assert 0 < head.sum() < len(head)
    ours, theirs = (m.decision_function(split.history) for m in (model, base))
    np.testing.assert_array_equal(ours[head], theirs[head])
    assert not np.isclose(ours[~head], theirs[~head]).all(axis=1).any()
    # a tail user: f + W_U f
    with torch.no_grad():
        row = split.history[~head].recode(model.items_)[:1]
        state = f(model.net_.module_, row.codes.tolist())
        state = state + model.net_.module_.user_map(state)
        np.testing.assert_allclose(
            ours[~head][0], model.item_embeddings_ @ state.numpy(), atol=1e-5
        )


@pytest.mark.gpu
def test_cuda_ranks_as_the_cpu(split):
    model = MELT(small_base(device="cuda"), max_epochs=2, random_state=0).fit(split.train)
    on_gpu = model.decision_function(split.history)
    assert model.net_.item_matrix().device.type == "cuda"
    model.net_.set_params(device="cpu")
    model.net_.module_.to("cpu")
    np.testing.assert_allclose(model.decision_function(split.history), on_gpu, atol=1e-4)


@pytest.mark.parametrize(
    ("max_length", "has_head"), [(20, True), (17, True), (16, False), (5, False)]
)
def test_head_users_where_histories_are_cut(max_length, has_head):
    """A fifth of the histories has 17 items or more; cut to 16 or 5 none is longer than T_u."""
    rows = make_sequences(200, 50, mean_length=12, random_state=0)
    base = small_base(max_length=max_length)
    model = MELT(base, max_epochs=1, random_state=0).fit(rows)
    assert model.user_threshold_ == min(16, max_length)
    ours, theirs = (m.decision_function(rows) for m in (model, model.recommender_))
    head = rows.lengths > 16
    assert head.sum() == 39
    np.testing.assert_array_equal(ours[head], theirs[head])
    assert (ours[~head] != theirs[~head]).any() == has_head


def test_fitted_unfitted_and_frozen_recommenders(split):
    fitted = small_base().fit(split.train, split.validation)
    weights = fitted.item_embeddings_.copy()
    scores = [
        MELT(base, max_epochs=1, random_state=0)
        .fit(split.train, split.validation)
        .decision_function(split.history)
        for base in (fitted, small_base(), FrozenEstimator(fitted))
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])
    np.testing.assert_array_equal(  # what was given is not changed
        fitted.net_.item_matrix().detach().numpy(), weights
    )
    assert not hasattr(clone(MELT(fitted)).recommender, "items_")
    assert hasattr(clone(MELT(FrozenEstimator(fitted))).recommender.estimator, "items_")


@pytest.mark.parametrize(
    "base",
    [
        FMLP(**SMALL),
        GRU4Rec(**SMALL),
        CL4SRec(n_heads=1, augment="original", **SMALL),
    ],
    ids=lambda base: type(base).__name__,
)
def test_other_recommenders(base, split):
    model = MELT(clone(base).fit(split.train), max_epochs=1, random_state=0).fit(split.train)
    head = split.history.lengths > model.user_threshold_
    np.testing.assert_array_equal(
        model.decision_function(split.history)[head],
        model.recommender_.decision_function(split.history)[head],
    )


def test_without_a_head_all_rank_as_by_the_recommender():
    rows = [[1, 2, 3], [2, 3, 4], [3, 4, 1], [4, 1, 2]]
    model = MELT(small_base(), max_epochs=1, random_state=0).fit(rows)
    assert len(model.head_items_) == 0
    np.testing.assert_array_equal(
        model.decision_function(rows), model.recommender_.decision_function(rows)
    )


def test_parameters_of_the_recommender_hold(split):
    base = small_base(loss="ce", max_length=5)
    model = MELT(base, max_epochs=1)
    assert (model.loss, model.max_length) == ("ce", 5)
    assert model.set_params(recommender__loss="bpr").loss == "bpr"
    model.fit(split.train)
    assert model.net_.loss == "bpr"
    assert model.net_.optimizer__betas == (0.9, 0.98)
    with pytest.raises(AttributeError, match="no attribute 'n_layers'"):
        _ = model.n_layers


def test_a_stored_model_ranks_alike_and_holds_no_history(split):
    model = MELT(small_base(), max_epochs=1, random_state=0).fit(split.train)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(split.history), model.predict(split.history))
    assert again.net_.module_.branches.histories is None
    head = split.history.lengths > again.user_threshold_
    np.testing.assert_array_equal(
        again.recommender_.decision_function(split.history)[head],
        model.decision_function(split.history)[head],
    )


def test_errors(split):
    for base in (Popularity(), MELT()):
        with pytest.raises(TypeError, match=r"^recommender: expected one of the neural recomm"):
            MELT(base).fit([[1, 2]])
    fitted = small_base().fit([[1, 2], [2, 1]])
    for rows, message in [
        ([[1, 9], [7, 2]], "of 2 items, X has 4, and 7 is in that of X alone"),
        ([[1, 1]], "of 2 items, X has 1, and 2 is in that of recommender alone"),
        ([["1", "2"]], "of 2 items, X has 2, and '1' is in that of X alone"),
    ]:
        with pytest.raises(ValueError, match=f"^recommender was fitted on a catalogue {message}"):
            MELT(fitted).fit(rows)
    with pytest.raises(ValueError, match=r"^max_length must be"):
        MELT(SASRec(max_length=0)).fit([[1, 2]])
    for name, bad in [
        ("user_weight", -1),
        ("item_weight", "x"),
        ("user_quantile", 1.5),
        ("item_quantile", float("nan")),
        ("max_epochs", 0),
        ("batch_size", 0.5),
        ("lr", -1),
    ]:
        with pytest.raises(ValueError, match=f"^{name} must be .* got {bad!r}$"):
            MELT(**{name: bad}).fit([[1, 2]])


def test_the_default_recommender_is_validated_as_melt_ranks():
    rows = make_sequences(60, 20, random_state=0)
    y = [row[0] for row in rows]
    model = MELT(exclude_seen=False, max_epochs=1, random_state=0)
    base = model._base().set_params(max_epochs=1)
    assert not base.exclude_seen
    assert MELT(base, exclude_seen=False, max_epochs=1, random_state=0).fit(rows, y).score(rows, y)
    assert base.fit(rows, y).history_[0]["valid_ndcg"] > 0
