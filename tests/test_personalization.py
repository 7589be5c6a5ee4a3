"""DatasetPersonalizer: hypergradients against a closed form, the bi-level loop, and behaviour."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback
from torch.nn.attention import SDPBackend, sdpa_kernel

from sklearn_dr4sr import DatasetPersonalizer, PatternMiner, SequenceDataset, Sequences
from sklearn_dr4sr.baselines import Popularity
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.personalization import training
from sklearn_dr4sr.personalization.hypergradient import (
    _by_differences,
    _by_double_backward,
    hypergradient,
    largest_eigenvalue,
    neumann_sum,
)
from sklearn_dr4sr.personalization.network import PersonalizerNetwork, standing
from sklearn_dr4sr.personalization.personalizer import _hold_back
from sklearn_dr4sr.recommenders import (
    FMLP,
    GNN,
    BSARec,
    CL4SRec,
    GRU4Rec,
    SASRec,
    SequentialRecommender,
)
from sklearn_dr4sr.recommenders.losses import cross_entropy_sum, next_item_loss
from sklearn_dr4sr.recommenders.sasrec import SASRecModule

SMALL = {
    "embedding_dim": 8,
    "hidden_dim": 8,
    "n_layers": 1,
    "batch_size": 64,
    "lr": 5e-3,
    "max_epochs": 3,
    "device": "cpu",
}


def personalizer(recommender=None, **parameters):
    short = {"warmup_epochs": 1, "inner_steps": 2, "random_state": 0}
    return DatasetPersonalizer(recommender or SASRec(**SMALL), **{**short, **parameters})


@pytest.fixture(scope="module")
def sequences():
    return make_sequences(120, 30, random_state=0)


# --- hypergradients against a closed form -------------------------------------------------------


class Quadratic:
    """L_train = th' H th / 2 - th' (B phi + c), L_dev = |th - a|^2 / 2."""

    def __init__(self, seed=0, n=6, m=4):
        rng = np.random.default_rng(seed)
        Q, _ = np.linalg.qr(rng.normal(size=(n, n)))
        self.H = torch.from_numpy(Q @ np.diag(np.linspace(0.2, 3.0, n)) @ Q.T)
        self.B = torch.from_numpy(rng.normal(size=(n, m)))
        self.c, self.a = torch.from_numpy(rng.normal(size=(2, n)))
        self.phi = torch.from_numpy(rng.normal(size=m)).requires_grad_()
        with torch.no_grad():
            solution = torch.linalg.solve(self.H, self.B @ self.phi + self.c)
        self.theta = solution.clone().requires_grad_()
        with torch.no_grad():
            self.g = solution - self.a
            self.exact = self.B.T @ torch.linalg.solve(self.H, self.g)

    def train(self):
        th = self.theta
        return th @ self.H @ th / 2 - th @ (self.B @ self.phi + self.c)

    def dev(self):
        return ((self.theta - self.a) ** 2).sum() / 2

    def gradient(self, method, terms=0, step=1.0):
        (found,), loss = hypergradient(
            self.train, self.dev, [self.theta], [self.phi], method, terms, step
        )
        assert loss == pytest.approx(self.dev().item())
        return found

    def error(self, *arguments):
        return ((self.gradient(*arguments) - self.exact).norm() / self.exact.norm()).item()


@pytest.mark.parametrize("method", ["neumann", "finite_difference"])
def test_neumann_converges_to_the_exact_hypergradient(method):
    problem = Quadratic()
    step = 1 / 3.0  # 1 / the largest eigenvalue
    errors = [problem.error(method, k, step) for k in (0, 1, 3, 10, 30, 100, 200)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3
    assert errors[2] > 0.1  # three terms, the paper's number, are far from the inverse


def test_truncated_sums_equal_their_formula():
    problem = Quadratic()
    for terms in (0, 1, 4):
        shrink = torch.eye(6, dtype=torch.float64) - 0.3 * problem.H
        inverse = 0.3 * sum(torch.linalg.matrix_power(shrink, n) for n in range(terms + 1))
        expected = problem.B.T @ inverse @ problem.g
        torch.testing.assert_close(problem.gradient("neumann", terms, 0.3), expected)
        differences = problem.gradient("finite_difference", terms, 0.3)
        torch.testing.assert_close(differences, expected, rtol=1e-6, atol=1e-8)


def test_identity_is_the_first_term():
    problem = Quadratic()
    found = problem.gradient("identity")
    torch.testing.assert_close(found, problem.B.T @ problem.g)
    torch.testing.assert_close(found, problem.gradient("neumann", 0, 1.0))
    cosine = torch.nn.functional.cosine_similarity(found, problem.exact, dim=0)
    assert 0.5 < cosine < 0.999  # a descent direction, not the gradient


def test_the_closed_form_is_the_gradient_through_the_solution():
    problem, epsilon = Quadratic(), 1e-6

    def solved(phi):
        theta = torch.linalg.solve(problem.H, problem.B @ phi + problem.c)
        return ((theta - problem.a) ** 2).sum() / 2

    with torch.no_grad():
        for i, unit in enumerate(torch.eye(4, dtype=torch.float64)):
            ends = solved(problem.phi + epsilon * unit) - solved(problem.phi - epsilon * unit)
            assert problem.exact[i].item() == pytest.approx(ends.item() / (2 * epsilon), rel=1e-6)


def test_power_iteration_finds_the_step_and_a_wrong_one_is_named():
    problem = Quadratic()
    product = lambda v: [problem.H @ v[0]]  # noqa: E731
    assert largest_eigenvalue(product, [problem.g], 200) == pytest.approx(3.0)
    assert largest_eigenvalue(product, [0 * problem.g]) == 0
    assert problem.error("neumann", 200, lambda h, g: 1 / largest_eigenvalue(h, g)) < 1e-3
    with pytest.raises(FloatingPointError, match=r"neumann_step=1 must be below 2 / the largest"):
        neumann_sum(product, [problem.g], 50, 1.0)
    with pytest.raises(FloatingPointError, match="times the one before, and against it"):
        Quadratic(2).gradient("neumann", 3, 1.0)  # 168 % off, after a growth of three times
    with pytest.raises(FloatingPointError, match="nan times the first"):
        neumann_sum(lambda v: [v[0] * torch.nan], [problem.g], 1, 0.1)


@pytest.mark.parametrize("seed", range(10))
def test_a_step_is_too_long_exactly_beyond_2_over_the_largest_eigenvalue(seed):
    problem = Quadratic(seed)
    product = lambda v: [problem.H @ v[0]]  # noqa: E731
    neumann_sum(product, [problem.g], 200, 1.98 / 3)
    with pytest.raises(FloatingPointError, match=r"against it; neumann_step=0\.673"):
        neumann_sum(product, [problem.g], 200, 2.02 / 3)


def test_growth_along_negative_curvature_is_no_divergence():
    """No step stops it: it is let be, up to ten times the first term."""
    product = lambda v: [torch.tensor([1.0, -1.0]) * v[0]]  # noqa: E731
    (found,) = neumann_sum(product, [torch.tensor([1.0, 1.0])], 3, 1.0)
    assert found.tolist() == [1, 15]
    with pytest.raises(FloatingPointError, match=r"term 4 is 11\.3 times the first"):
        neumann_sum(product, [torch.tensor([1.0, 1.0])], 4, 1.0)


def test_unused_parameters_count_as_zero():
    problem = Quadratic()
    idle, other = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for method in ("neumann", "identity", "finite_difference"):
        gradient, _ = hypergradient(
            problem.train, problem.dev, [problem.theta, idle], [problem.phi, other], method, 2, 0.3
        )
        assert gradient[1].tolist() == [0, 0]
        alone = problem.gradient(method, 2, 0.3)
        torch.testing.assert_close(gradient[0], alone, rtol=1e-6, atol=1e-8)
    before = problem.theta.detach().clone()
    problem.gradient("finite_difference", 3, 0.3)
    assert torch.equal(problem.theta, before)  # put back exactly
    assert problem.theta.requires_grad
    assert problem.phi.requires_grad


def sasrec_problem():
    torch.manual_seed(0)
    module = SASRecModule(
        12, max_length=6, embedding_dim=6, hidden_dim=8, n_layers=1, n_heads=2
    ).double()
    module.eval()
    for p in module.parameters():  # away from the start, where curvature is all but none
        p.data += 0.3 * torch.randn_like(p)
    network = PersonalizerNetwork(6, ("state", "target", "margin"), 5, 1.0).double()
    ids, targets = torch.randint(12, (2, 4, 5))

    with torch.no_grad():
        states = module.encode(ids, torch.full((4,), 5)).flatten(0, 1)
        E, t = module.item_embedding.weight[:12], targets.flatten()
        inputs = network.inputs(states, t, E, t, t, t)

    def loss(loss="ce", fused=False):
        states = module.encode(ids, torch.full((4,), 5)).flatten(0, 1)
        E, t = module.item_embedding.weight[:12], targets.flatten()
        weights = network(inputs, noise=False).exp()
        if fused:
            return cross_entropy_sum(states, E, t, weights)
        return (
            next_item_loss(loss, states, t, E, lambda m: ids.flatten()[:, None], 1, 0.5) @ weights
        )

    return loss, list(module.parameters()), list(network.parameters())


@pytest.mark.parametrize("name", ["ce", "bce"])
def test_second_derivatives_of_sasrec_equal_central_differences(name):
    loss, theta, phi = sasrec_problem()
    with sdpa_kernel(SDPBackend.MATH):
        inner = torch.autograd.grad(loss(name), theta, create_graph=True, allow_unused=True)
        inner = [torch.zeros_like(t) if g is None else g for g, t in zip(inner, theta, strict=True)]
        v = [torch.randn_like(t) for t in theta]
        exact = [f(v) for f in _by_double_backward(inner, theta, phi)]
        near = [f(v) for f in _by_differences(lambda: loss(name), theta, phi)]
    for one, other in zip(exact, near, strict=True):
        one, other = (torch.cat([x.flatten() for x in vectors]) for vectors in (one, other))
        assert (one - other).norm() / one.norm() < 1e-6


def test_differences_need_no_double_backward():
    """The chunked cross-entropy, differentiable once, serves them; weights get its gradient."""
    loss, theta, phi = sasrec_problem()
    with sdpa_kernel(SDPBackend.MATH):
        slow = torch.autograd.grad(loss("ce"), phi)
        fast = torch.autograd.grad(loss(fused=True), phi)
        torch.testing.assert_close(slow, fast)
        exact = hypergradient(loss, loss, theta, phi, "neumann", 2, 0.01)[0]
        found = hypergradient(
            lambda: loss(fused=True), loss, theta, phi, "finite_difference", 2, 0.01
        )[0]
    for a, b in zip(exact, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


# --- the network --------------------------------------------------------------------------------


def test_margin_is_the_standardised_score():
    torch.manual_seed(0)
    states, E, targets = torch.randn(7, 5), torch.randn(40, 5) + 1, torch.randint(40, (7,))
    scores = states @ E.T
    expected = (scores - scores.mean(1, keepdim=True)) / scores.std(1, unbiased=False)[:, None]
    expected = expected.gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(standing(states, targets, E), expected, rtol=1e-4, atol=1e-5)


def test_pattern_margin_is_the_mean_over_a_pattern():
    torch.manual_seed(0)
    states, E, targets = torch.randn(5, 4), torch.randn(9, 4), torch.randint(9, (5,))
    network = PersonalizerNetwork(4, ("pattern_margin", "support"), 8, 1.0)
    number, zeros = torch.tensor([1, 0, 1, 1, 0]), torch.zeros(5, dtype=torch.long)
    margin = standing(states, targets, E)
    expected = torch.stack([margin[[1, 4]].mean(), margin[[0, 2, 3]].mean()])[number]
    found = network.inputs(states, targets, E, number, zeros, zeros + 2)
    torch.testing.assert_close(found[:, 0], expected)
    torch.testing.assert_close(found[:, 1], torch.full((5,), np.log(3.0), dtype=torch.float32))


def test_weights_are_equation_5():
    torch.manual_seed(0)
    network = PersonalizerNetwork(5, ("state",), 8, temperature=3.0)
    x = torch.randn(20_000, 5)[:1].repeat(20_000, 1)
    z = network.mlp(x[:1])[0] / 3.0
    clean = network(x, noise=False).exp()
    torch.testing.assert_close(clean[0], torch.exp(z[0]) / torch.exp(z).sum())
    # the difference of two Gumbel draws is logistic, of variance pi^2 / 3
    drawn = torch.logit(network(x, noise=True).exp())
    assert drawn.mean().item() == pytest.approx((z[0] - z[1]).item(), abs=0.02)
    assert (3 * drawn).std().item() == pytest.approx(np.pi / np.sqrt(3), rel=0.03)


# --- the bi-level loop --------------------------------------------------------------------------


def foreign():
    class LastItem(torch.nn.Module):
        def __init__(self, n_items, dim=8):
            super().__init__()
            self.item_embedding = torch.nn.Embedding(n_items + 1, dim)
            self.step = torch.nn.Linear(dim, dim)

        def encode(self, ids, lengths):
            return self.step(self.item_embedding(ids))

    short = {k: SMALL[k] for k in ("batch_size", "lr", "max_epochs", "device")}
    return SequentialRecommender(LastItem, loss="ce", **short)


RECOMMENDERS = [
    SASRec(**SMALL),
    SASRec(**SMALL, loss="ce"),
    GRU4Rec(**SMALL),
    FMLP(**SMALL),
    FMLP(**SMALL, mode="causal"),
    GNN(**SMALL),
    CL4SRec(**SMALL),
    BSARec(**SMALL),
    foreign(),
]


@pytest.mark.parametrize("recommender", RECOMMENDERS, ids=lambda r: f"{type(r).__name__}-{r.loss}")
def test_every_recommender(recommender, sequences):
    """Both ways of differentiating take the same first step, whatever the model."""
    first = []
    for method in ("neumann", "finite_difference"):
        model = personalizer(
            recommender, hypergradient=method, neumann_terms=1, neumann_step=0.1
        ).fit(sequences)
        first.append(model.upper_history_[0])
        weights = model.transform(sequences).weights
        assert np.isfinite(weights).all()
        assert weights.std() > 1e-4
    assert model.predict(sequences, k=3).shape == (120, 3)
    exact, near = (step.pop("gradient_norm") for step in first)
    assert near == pytest.approx(exact, rel=0.05)  # of single-precision differences
    assert exact > 0
    assert first[0] == first[1]


def test_both_ways_of_differentiating_learn_the_same(sequences):
    found = [
        personalizer(hypergradient=method, neumann_terms=2, neumann_step=0.1, upper_optimizer="sgd")
        .fit(sequences)
        .transform(sequences)
        .weights
        for method in ("neumann", "finite_difference")
    ]
    np.testing.assert_allclose(*found, atol=5e-3)


def test_the_history_has_the_lower_loss_of_each_upper_step(sequences):
    losses = []

    class Note(Callback):
        def on_batch_end(self, net, loss, **kwargs):
            losses.append(loss.item())

    model = personalizer(SASRec(**SMALL, callbacks=[Note])).fit(sequences)
    assert model.history_ is model.upper_history_
    assert [step["train_loss"] for step in model.history_] == losses[3::2]  # after two of warm-up


def test_warm_up_trains_the_recommender_alone(sequences):
    alone = SASRec(**SMALL, random_state=0).fit(sequences)
    with pytest.warns(UserWarning, match=r"before the first upper step.*warmup_epochs=3"):
        model = personalizer(warmup_epochs=3, validation="resampled").fit(sequences)
    np.testing.assert_array_equal(model.recommender_.item_embeddings_, alone.item_embeddings_)


def test_same_seed_same_weights(sequences):
    a, b, c = (
        personalizer(random_state=seed).fit(sequences).transform(sequences).weights
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-3


def test_what_decay_does_to_a_small_hypergradient(sequences, monkeypatch):
    """All that "adam" sees of it is the decay, "adamw" steps as far as for a large one."""
    exact = training.hypergradient

    def network(factor, **parameters):
        def scaled(*arguments):
            gradient, loss = exact(*arguments)
            return [factor * g for g in gradient], loss

        monkeypatch.setattr(training, "hypergradient", scaled)
        recommender = SASRec(**{**SMALL, "max_epochs": 12})
        model = personalizer(recommender, gradient_clip=1e9, **parameters).fit(sequences)
        assert len(model.upper_history_) > 10
        return torch.nn.utils.parameters_to_vector(model.network_.parameters()).detach()

    start = network(1.0, upper_lr=0.0)
    small, large = (network(factor, upper_optimizer="adamw") for factor in (1.0, 1e3))
    torch.testing.assert_close(small, large, rtol=0, atol=0.02)
    assert small.norm() > 0.95 * start.norm()
    assert network(1e-6).norm() < 0.8 * start.norm()


def planted_rows():
    """Rows of a grammar, and which of them were replaced by random items."""
    good = make_sequences(400, 60, noise=0.05, mean_length=8, random_state=0)
    rng = np.random.default_rng(0)
    bad = rng.uniform(size=400) < 0.3
    codes = good.codes.copy()
    for row in np.flatnonzero(bad):
        part = slice(good.offsets[row], good.offsets[row + 1])
        codes[part] = rng.choice(len(good.items), good.lengths[row], replace=False)
    return Sequences.from_codes(codes, good.offsets, good.items), bad


def target_mean(data):
    """Mean weight of each row's targets."""
    target = np.ones(len(data.weights), dtype=bool)
    target[data.patterns.offsets[:-1]] = False
    rows = data.patterns.rows[target]
    return np.bincount(rows, data.weights[target]) / np.bincount(rows)


PLANTED = {
    "embedding_dim": 16,
    "hidden_dim": 32,
    "n_layers": 1,
    "dropout": 0.1,
    "loss": "ce",
    "lr": 5e-3,
    "batch_size": 64,
    "max_epochs": 25,
    "device": "cpu",
}


class UpsideDown(PersonalizerNetwork):
    """Starts with weights that fall with the first feature, so that random rows weigh the most."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        first, _, last = self.mlp
        with torch.no_grad():
            first.weight[:, 0].abs_()
            last.weight.abs_()
            last.weight[0].neg_()


@pytest.mark.slow
@pytest.mark.parametrize("model", [SASRec, GRU4Rec, BSARec], ids=lambda m: m.__name__)
def test_random_rows_get_lower_weights(model, monkeypatch):
    """The fit turns a start round that weighs them more; the feature alone gives either order."""
    monkeypatch.setattr(training, "PersonalizerNetwork", UpsideDown)
    X, bad = planted_rows()
    auc = {}
    for lr in (0.0, 1e-2):
        fitted = DatasetPersonalizer(
            model(**PLANTED), warmup_epochs=5, inner_steps=4, upper_lr=lr, random_state=0
        ).fit(X)
        weights = target_mean(fitted.transform(X))
        auc[lr] = roc_auc_score(~bad, weights)
    assert auc[0.0] < 0.2
    assert auc[1e-2] > 0.8
    assert weights[~bad].mean() > 1.02 * weights[bad].mean()
    assert weights.std() > 0.02


def test_end_to_end_all_weights_collapse(sequences):
    """Table 4, variant C: the weighted loss is lowest where all weights are 0."""
    short = {**SMALL, "max_epochs": 30, "lr": 2e-2}
    model = personalizer(
        SASRec(**short), hypergradient="end_to_end", normalize=False, gumbel=False
    ).fit(sequences)
    weights = model.transform(sequences).weights
    targets = np.ones(len(weights), dtype=bool)
    targets[sequences.offsets[:-1]] = False
    assert weights[targets].max() < 0.05
    assert model.upper_history_ == []


def test_on_its_own_training_data_nothing_is_to_be_learned():
    """At a minimum of the unweighted loss its gradient is 0, and so is the hypergradient."""
    problem = Quadratic()
    (found,), _ = hypergradient(
        problem.train, problem.train, [problem.theta], [problem.phi], step=1 / 3
    )
    assert found.abs().max() < 1e-12


# --- what is held back, what is weighed ---------------------------------------------------------


def test_held_back_items_never_train():
    data = SequenceDataset(
        [[1, 2, 3], [4, 5], [5, 1, 2, 6]],
        [[1, 2, 3], [1, 3], [3, 2], [4, 5], [6, 1], [1, 6, 2]],
        source=[0, 0, 0, 1, 2, 2],
    )
    held, dev = _hold_back(data, max_length=10)
    assert held.weights.tolist() == [1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1, 1, 0, 1]
    group = dev.group(np.arange(2))
    assert group.ids.tolist() == [[0, 1, 6], [4, 0, 1]]  # 6: padding
    assert group.targets.tolist() == [[-1, 2, -1], [-1, -1, 5]]
    given = SequenceDataset(data.histories, data.table, np.full(14, 0.5))
    assert set(_hold_back(given, 10)[0].weights.tolist()) == {0.0, 0.5}
    with pytest.raises(ValueError, match="three items or more, the longest of X has 2; valid"):
        personalizer(validation="held_back").fit([[1, 2], [2, 3]])


def test_transform_weighs_targets_of_known_items(sequences):
    model = personalizer().fit(sequences)
    rows = [[1, 2, 3, 4], [1, 999, 2, 3, 4], [7], [999, 998]]
    weights = np.split(model.transform(rows).weights, [4, 9, 10])
    assert weights[0][0] == weights[1][1] == weights[2][0] == 1
    np.testing.assert_array_equal(weights[3], 1)
    np.testing.assert_allclose(weights[0], weights[1][[0, 2, 3, 4]], rtol=1e-5)
    assert np.mean(weights[0][1:]) == pytest.approx(1, abs=1e-5)  # weights of mean 1
    bulk = model.transform(sequences).weights
    targets = np.ones(len(bulk), dtype=bool)
    targets[sequences.offsets[:-1]] = False
    assert bulk[targets].mean() == pytest.approx(1, abs=1e-5)
    given = SequenceDataset(sequences, weights=np.full(len(bulk), 2.0))
    np.testing.assert_allclose(model.transform(given).weights, 2 * bulk, rtol=1e-6)


def test_weighted_origins(sequences):
    data = PatternMiner(window_size=3).fit_transform(sequences)
    both = SequenceDataset(data.histories, data.table)
    model = personalizer(weighted_origins=("original",)).fit(both)
    weighted = model.transform(both)
    mined = weighted.origin[weighted.patterns.rows] == "mined"
    np.testing.assert_array_equal(weighted.weights[mined], 1)


def test_the_features_that_patterns_have(sequences):
    data = PatternMiner(window_size=3).fit_transform(sequences)
    model = personalizer(features=("origin", "support"), detach=False).fit(data)
    weighted = model.transform(data)
    assert len(np.unique(weighted.weights)) > 2


def test_features_come_in_one_order(sequences):
    data = PatternMiner(window_size=3).fit_transform(sequences)
    names = ("pattern_margin", "origin", "support")
    weights = [
        personalizer(features=features).fit(data).transform(data).weights
        for features in (names, names[::-1], set(names))
    ]
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[0], weights[2])


# --- estimator and Pipeline ---------------------------------------------------------------------


def test_last_and_middle_step_of_a_pipeline(sequences, monkeypatch):
    y = np.random.default_rng(0).integers(1, 30, len(sequences))
    last = Pipeline([("mine", PatternMiner(window_size=3)), ("personalize", personalizer())])
    last.fit(sequences, y)
    assert "valid_ndcg" in last[-1].recommender_.history_[0]
    middle = Pipeline([*last.steps, ("recommend", SASRec(**SMALL, random_state=0))])
    middle = clone(middle).fit(sequences, y)
    data = last.transform(sequences)
    alone = SASRec(**SMALL, random_state=0).fit(data, y)
    np.testing.assert_array_equal(alone.item_embeddings_, middle[-1].item_embeddings_)
    assert last.score(sequences, y) == last[-1].recommender_.score(sequences, y)

    def table(self):
        raise AssertionError("patterns are made")

    monkeypatch.setattr(SequenceDataset, "table", property(table))
    for pipe in (last, middle):
        assert pipe.predict(sequences, k=5).shape == (120, 5)
        assert pipe.decision_function([[1, 2]]).shape == (1, len(pipe[-1].items_))


def test_y_changes_nothing_but_when_to_stop(sequences):
    y = np.random.default_rng(0).integers(1, 30, len(sequences))
    with_y, without = (
        personalizer(SASRec(**SMALL, patience=50)).fit(sequences, held) for held in (y, None)
    )
    assert with_y.upper_history_ == without.upper_history_


def test_persistence(sequences):
    model = personalizer().fit(sequences)
    loaded = pickle.loads(pickle.dumps(model))
    expected = model.transform(sequences)
    np.testing.assert_array_equal(loaded.transform(sequences).weights, expected.weights)
    np.testing.assert_array_equal(loaded.predict(sequences), model.predict(sequences))
    stored = pickle.loads(pickle.dumps(model.transform(sequences)))
    np.testing.assert_array_equal(stored.weights, expected.weights)
    assert len(pickle.dumps(model.recommender_)) < 60_000  # neither data nor optimizers in it
    assert "personalizer" not in dict(model.recommender_.net_.module_.named_children())


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("features", "state"),
        ("features", ("age",)),
        ("features", ()),
        ("warmup_epochs", -1),
        ("inner_steps", 0),
        ("inner_steps", 2.5),
        ("hypergradient", "exact"),
        ("neumann_terms", -1),
        ("neumann_step", 0),
        ("neumann_step", "large"),
        ("temperature", 0),
        ("temperature", np.nan),
        ("validation", "y"),
        ("robustness", -0.5),
        ("weighted_origins", ("new",)),
        ("hidden_dim", True),
        ("upper_optimizer", "lbfgs"),
        ("upper_lr", -1.0),
        ("upper_weight_decay", "much"),
        ("gradient_clip", 0),
        ("random_state", "seed"),
    ],
)
def test_bad_parameters_are_named(parameter, value, sequences):
    model = personalizer(**{parameter: value})
    with pytest.raises(ValueError, match=parameter) as error:
        model.fit(sequences)
    assert str(value) in str(error.value)
    with pytest.raises(NotFittedError):
        model.transform(sequences)


def test_parameters_set_after_fit_are_checked(sequences):
    model = personalizer().fit(sequences).set_params(weighted_origins=("nonsense",))
    with pytest.raises(ValueError, match=r"weighted_origins.*nonsense"):
        model.transform(sequences)


@pytest.mark.parametrize("recommender", [None, Popularity(), SASRec], ids=str)
def test_a_recommender_that_is_none_is_named(recommender, sequences):
    model = DatasetPersonalizer(recommender)
    with pytest.raises(TypeError, match=r"recommender: expected a SequentialRecommender.*got"):
        model.fit(sequences)
    with pytest.raises(NotFittedError):
        model.predict(sequences)


def test_a_diverging_neumann_sum_is_reported_and_survived(sequences):
    model = personalizer(
        SASRec(**SMALL, loss="ce"), hypergradient="neumann", neumann_terms=5, neumann_step=1e6
    )
    with pytest.warns(UserWarning, match=r"Neumann sum diverges.*neumann_step=1e\+06"):
        model.fit(sequences)
    assert model.n_diverged_ == len(model.upper_history_)
    assert np.isfinite(model.transform(sequences).weights).all()


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 1e38), ("adam", 1e30), ("adamw", 1e30)])
def test_weights_that_turn_nan_are_reported(optimizer, lr, sequences):
    model = personalizer(upper_lr=lr, upper_optimizer=optimizer)
    named = rf"learned weights are NaN or infinite.*upper_lr={lr:g}".replace("+", r"\+")
    with pytest.raises(FloatingPointError, match=named):
        model.fit(sequences)
    last = personalizer(upper_lr=lr, upper_optimizer=optimizer, inner_steps=4).fit(sequences)
    assert len(last.upper_history_) == 1  # after the last lower step: no batch shows it
    with pytest.raises(FloatingPointError, match=named):
        last.transform(sequences).weights  # noqa: B018


@pytest.mark.parametrize("gumbel", [False, True])
def test_weights_too_small_for_a_float_are_normalised(gumbel, sequences):
    """At a low temperature all weights of a batch may be 0 before they are divided."""
    for seed in range(8):
        model = personalizer(temperature=0.01, gumbel=gumbel, random_state=seed).fit(sequences)
        weights = model.transform(sequences).weights
        targets = np.ones(len(weights), dtype=bool)
        targets[sequences.offsets[:-1]] = False
        assert weights[targets].mean() == pytest.approx(1, abs=1e-4)
    logs = torch.tensor([-200.0, -201.0, -1.0], requires_grad=True)
    weighted = torch.tensor([True, True, False])
    found = training.weights_of(logs, weighted, model)
    share = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(found.detach(), [2 * share, 2 - 2 * share, 1], rtol=1e-6)
    (gradient,) = torch.autograd.grad(found[0], logs)
    slope = 2 * share * (1 - share)
    np.testing.assert_allclose(gradient, [slope, -slope, 0], rtol=1e-5)


def test_fewer_rows_than_a_batch():
    rows = [[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5]]
    model = personalizer(SASRec(**{**SMALL, "batch_size": 256}), inner_steps=1).fit(rows)
    assert len(model.upper_history_) == 2
    assert model.transform(rows).weights.shape == (11,)


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["neumann", "finite_difference"])
@pytest.mark.parametrize("model", [SASRec, GRU4Rec])
def test_cuda_weighs_as_the_cpu(model, method, sequences):
    """Without dropout and drawn numbers, which differ between devices, so do rounding errors."""
    found = []
    for device in ("cpu", "cuda"):
        recommender = model(**{**SMALL, "device": device, "dropout": 0.0, "loss": "ce"})
        fitted = personalizer(
            recommender, hypergradient=method, neumann_terms=2, neumann_step=0.1, gumbel=False
        ).fit(sequences)
        found.append(fitted.transform(sequences).weights)
    np.testing.assert_allclose(*found, rtol=1e-2)
