"""The infinite autoencoder: its kernel by Monte Carlo, its solvers by each other and by sklearn."""

import pickle

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import SequenceDataset
from sklearn_dr4sr.baselines import InfiniteAutoencoder, MarkovChain, infinite_ae
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ndcg_at_k, ranking_scorer
from sklearn_dr4sr.model_selection import leave_one_out


def binary(rows, items):
    X = np.zeros((len(rows), len(items)))
    for u, row in enumerate(rows):
        for item in row:
            if item in items:
                X[u, list(items).index(item)] = 1
    return X


def loop_kernel(Q, X):
    """Θ entry by entry, from the formula of the notes."""
    V = X.shape[1]
    theta = np.zeros((len(Q), len(X)))
    for i, x in enumerate(Q):
        for j, z in enumerate(X):
            xx, zz, xz = (2 * p @ q / V + 0.01 for p, q in ((x, x), (z, z), (x, z)))
            s = np.sqrt(xx * zz)
            angle = np.arccos(np.clip(xz / s, -1, 1))
            kappa = s * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
            theta[i, j] = 2 * kappa + 0.01 + 2 * xz * (np.pi - angle) / (2 * np.pi)
    return theta


def test_the_kernel_is_that_of_a_wide_random_network():
    """<grad f(x), grad f(z)> of f = sqrt(2/m) v.relu(sqrt(2/V) W x + .1 b) + .1 c at its start."""
    rng = np.random.default_rng(0)
    X = binary([[0, 1, 2], [2, 3], [4, 5, 6, 7], [0, 1, 2, 3, 4]], range(8))
    m, V = 400_000, X.shape[1]
    W, b, v = rng.standard_normal((m, V)), rng.standard_normal(m), rng.standard_normal(m)
    u = np.sqrt(2 / V) * X @ W.T + 0.1 * b  # (rows, m)
    by_v = 2 / m * np.maximum(u, 0) @ np.maximum(u, 0).T
    by_first_layer = 2 / m * ((u > 0) * v**2) @ (u > 0).T * (2 * X @ X.T / V + 0.01)
    np.testing.assert_allclose(loop_kernel(X, X), by_v + by_first_layer + 0.01, rtol=0.01)


rows_strategy = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=8)


@given(rows_strategy, st.lists(st.integers(0, 9), max_size=6), st.sampled_from([0.1, 1.0, 20.0]))
def test_scores_are_those_of_kernel_ridge(rows, history, l2):
    rows = [*rows, [1, 2]]
    items = sorted({i for row in rows for i in row})
    X, q = binary([row for row in rows if row], items), binary([history], items)
    theta = loop_kernel(X, X)
    ridge = KernelRidge(alpha=l2 * np.trace(theta) / len(X), kernel="precomputed").fit(theta, X)
    expected = ridge.predict(loop_kernel(q, X))
    for solver in ("cholesky", "cg"):
        model = InfiniteAutoencoder(l2=l2, solver=solver).fit(rows)
        np.testing.assert_allclose(model.alpha_, ridge.dual_coef_, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(model.decision_function([history]), expected, atol=1e-6)


@pytest.mark.parametrize(("precision", "close"), [("float64", 1e-6), ("float32", 1e-5)])
@pytest.mark.parametrize("l2", [0.1, 1.0, 20.0])
def test_conjugate_gradients_are_cholesky(l2, precision, close):
    split = leave_one_out(make_sequences(500, 150, random_state=0))
    dense, structured = (
        InfiniteAutoencoder(l2=l2, solver=solver, precision=precision).fit(split.train)
        for solver in ("cholesky", "cg")
    )
    assert dense.n_iterations_ == 0 < structured.n_iterations_
    np.testing.assert_allclose(
        structured.decision_function(split.history),
        dense.decision_function(split.history),
        atol=close,
    )


@pytest.mark.parametrize(("rows_in_double", "taken"), [(60, "float64"), (59, "float32")])
def test_the_precision_is_chosen_by_rows_unless_it_is_told(rows_in_double, taken, monkeypatch):
    monkeypatch.setattr(infinite_ae, "DOUBLE_ROWS", rows_in_double)
    rows = make_sequences(60, 20, random_state=0)
    models = {
        precision: InfiniteAutoencoder(solver="cg", precision=precision).fit(rows)
        for precision in ("auto", "float32", "float64")
    }
    np.testing.assert_array_equal(models["auto"].alpha_, models[taken].alpha_)
    assert (models["float32"].alpha_ != models["float64"].alpha_).any()


def test_no_ridge_reproduces_the_rows():
    rows = [[1, 2], [1, 2], [3, 4, 5], [2, 6]]
    model = InfiniteAutoencoder(l2=0).fit(rows)
    np.testing.assert_allclose(
        model.decision_function(rows), binary(rows, model.items_.tolist()), atol=1e-4
    )


def test_the_solver_is_chosen_by_memory():
    rows = make_sequences(60, 20, random_state=0)
    size = 60**2 * 8 / 1e9
    assert InfiniteAutoencoder(max_memory=size).fit(rows).solver_ == "cholesky"
    assert InfiniteAutoencoder(max_memory=0.99 * size).fit(rows).solver_ == "cg"


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_the_candidate_of_the_best_validation_is_taken(solver):
    split = leave_one_out(make_sequences(150, 40, random_state=0))
    candidates = (0.1, 1.0, 10.0, 100.0)
    model = InfiniteAutoencoder(l2=candidates, solver=solver).fit(split.train, split.validation)
    by_hand = {
        l2: ndcg_at_k(
            split.validation,
            InfiniteAutoencoder(l2=l2).fit(split.train).predict(split.train, k=20),
            20,
        )
        for l2 in candidates
    }
    assert model.validation_ndcg_ == pytest.approx(by_hand, abs=2e-3)
    assert model.l2_ == max(by_hand, key=by_hand.get)
    refitted = InfiniteAutoencoder(l2=model.l2_, solver=solver).fit(split.train)
    np.testing.assert_allclose(model.alpha_, refitted.alpha_, atol=1e-6)


def test_without_held_out_items_there_is_nothing_to_choose_by():
    rows = [[1, 2], [2, 3]]
    assert InfiniteAutoencoder().fit(rows).l2_ == 1
    assert InfiniteAutoencoder().fit(rows, [None, None]).l2_ == 1
    with pytest.warns(UserWarning, match=r"y: X holds none of its items \(row 0: 99\)"):
        assert InfiniteAutoencoder().fit(rows, [99, None]).l2_ == 1
    with pytest.raises(ValueError, match=r"^l2=\(1, 5\) holds candidates, which need y"):
        InfiniteAutoencoder(l2=(1, 5)).fit(rows)


def test_patterns_train_and_empty_ones_do_not():
    data = SequenceDataset([[1, 2, 9], [3]], [[1, 3], [], [4, 2, 4]], source=[0, 0, 1])
    model = InfiniteAutoencoder().fit(data)
    assert model.alpha_.shape == (2, 5)
    same = InfiniteAutoencoder().fit(
        SequenceDataset([[1, 2, 9], [3]], [[3, 1], [2, 4]], source=[0, 1])
    )
    np.testing.assert_allclose(model.alpha_, same.alpha_)


# ---------------------------------------------------------------------------------- the synthesizer


def test_fake_histories_stand_beside_the_rows():
    rows = make_sequences(80, 30, random_state=0)
    model = InfiniteAutoencoder(n_samples=3, random_state=0).fit(rows)
    data = model.transform(rows)
    assert repr(data) == "SequenceDataset(80 rows, patterns not yet made)"
    new = data.origin == "augmented"
    assert new.sum() == 240
    assert data.patterns[~new] == rows
    np.testing.assert_array_equal(np.bincount(data.source[new]), np.full(80, 3))
    assert all(len(set(p)) == len(p) >= 2 for p in data.patterns[new])  # without replacement
    assert set(data.patterns.lengths[new]) <= {len(set(row)) for row in rows}
    together = InfiniteAutoencoder(n_samples=3, random_state=0).fit_transform(rows)
    assert together.patterns == data.patterns == pickle.loads(pickle.dumps(data)).patterns
    alone = InfiniteAutoencoder(include_original=False, random_state=0).fit_transform(rows)
    assert (alone.origin == "augmented").all()


def test_items_are_sampled_by_their_scores():
    rows = [[1, 2, 3], [4, 5, 6]] * 20
    for temperature in (0.05, 1e-300):
        model = InfiniteAutoencoder(
            l2=1, temperature=temperature, include_original=False, random_state=0
        )
        fake = model.fit_transform(rows)
        assert all(set(p) == set(row) for p, row in zip(fake.patterns, rows, strict=True))
    # two draws without replacement: the first item is softmax(scores / τ), the second what remains
    rows = [[1, 2], [3, 4]]
    model = InfiniteAutoencoder(n_samples=20_000, include_original=False, random_state=0).fit(rows)
    scores = model.decision_function([[1]])[0].astype(float)
    p = np.exp(scores / scores.std()) / np.exp(scores / scores.std()).sum()
    drawn = np.array(list(model.transform([[1]]).patterns)) - 1
    expected = p[:, None] * p / (1 - p[:, None])
    np.fill_diagonal(expected, 0)
    counts = np.zeros((4, 4))
    np.add.at(counts, (drawn[:, 0], drawn[:, 1]), 1 / len(drawn))
    np.testing.assert_allclose(counts, expected, atol=0.01)


def test_it_feeds_another_recommender_and_costs_nothing_when_predicting(monkeypatch):
    rows = make_sequences(60, 20, random_state=0)
    pipe = Pipeline([("fake", InfiniteAutoencoder(random_state=0)), ("recommend", MarkovChain())])
    pipe.fit(rows)
    monkeypatch.setattr(infinite_ae, "_fake_histories", lambda *given: pytest.fail("sampled"))
    assert pipe.predict(rows, k=5).shape == (60, 5)


# ------------------------------------------------------------------------------------ the estimator


def test_unknown_items_are_skipped_and_rankings_are_full():
    model = InfiniteAutoencoder().fit([[1, 2, 3], [2, 4], [3, 1]])
    np.testing.assert_array_equal(model.predict([[1, 99, 3]]), model.predict([[3, 1]]))
    assert sorted(model.predict([[]], k=9)[0]) == [1, 2, 3, 4]


def test_a_stored_model_ranks_alike():
    rows = make_sequences(60, 20, random_state=0)
    model = InfiniteAutoencoder(solver="cg").fit(rows)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(rows), model.predict(rows))
    assert not hasattr(again.kernel_, "structure")


def test_threads_change_nothing():
    rows = make_sequences(200, 80, random_state=0)
    one, two = (InfiniteAutoencoder(solver="cg", n_jobs=n).fit(rows) for n in (1, 2))
    np.testing.assert_array_equal(one.alpha_, two.alpha_)


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_blocks_are_solved_in_this_process_whatever_the_context(backend):
    rows = make_sequences(100, 80, random_state=0)
    alone = InfiniteAutoencoder(solver="cg").fit(rows)
    with joblib.parallel_config(backend, n_jobs=2):
        within = InfiniteAutoencoder(solver="cg").fit(rows)
    np.testing.assert_array_equal(within.alpha_, alone.alpha_)


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_verbose_tells_the_time_left(solver, monkeypatch, capsys):
    split = leave_one_out(make_sequences(200, 80, random_state=0))
    options = {"l2": [1.0, 5.0], "solver": solver, "random_state": 0}
    monkeypatch.setattr("sklearn_dr4sr._progress.EVERY", 0.0)
    monkeypatch.setattr("sklearn_dr4sr.ranking.CHUNK_SIZE", 4000)
    monkeypatch.setattr(infinite_ae, "CHOLESKY_BLOCK", 30)
    told, quiet = (InfiniteAutoencoder(verbose=v, **options) for v in (1, 0))
    patterns = told.fit(split.train, split.validation).transform(split.train).patterns
    lines = capsys.readouterr().out.splitlines()
    steps = ("trying l2=1: ", "trying l2=5: ", f"l2={told.l2_:g}: ", "sampling: ")
    for step in steps:
        mine = [line for line in lines if line.startswith(f"[InfiniteAutoencoder] {step}")]
        shares = [int(line.split(": ")[1].partition("%")[0]) for line in mine]
        assert shares
        assert shares == sorted(shares)
        assert all(line.endswith(" minutes left") for line in mine)
    assert quiet.fit(split.train, split.validation).transform(split.train).patterns == patterns
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("l2", -1),
        ("l2", "best"),
        ("l2", ()),
        ("l2", (1, float("nan"))),
        ("n_validation", 0),
        ("solver", "lu"),
        ("verbose", -1),
        ("max_memory", 0),
        ("precision", "float16"),
        ("n_samples", 1.5),
        ("temperature", 0),
        ("include_original", "yes"),
    ],
)
def test_parameters_out_of_range_are_named(name, bad):
    with pytest.raises(ValueError, match=f"^{name} must .*, got "):
        InfiniteAutoencoder(**{name: bad}).fit([[1, 2]])


def test_what_is_set_after_fit_and_other_ids_are_refused():
    rows = make_sequences(60, 20, random_state=0)
    model = InfiniteAutoencoder(random_state=0).fit(rows)
    with pytest.raises(TypeError, match="such as 'a' where those that are known are such as 1"):
        model.transform([["a", "b"]])
    with pytest.raises(ValueError, match=r"n_samples must be .* 0"):
        model.set_params(n_samples=0).transform(rows)
    with pytest.raises(ValueError, match=r"temperature must be .* -1"):
        model.set_params(n_samples=1, temperature=-1.0).transform(rows)


@pytest.mark.slow
@pytest.mark.data
def test_figures_on_a_part_of_real_data(beauty):
    """A part small enough for both solvers, which must rank alike."""
    train, history, test = beauty.train[:1000], beauty.history[:1000], beauty.test[:1000]
    scorer = ranking_scorer("recall@20", "ndcg@20")
    found = [
        scorer(InfiniteAutoencoder(solver=solver).fit(train), history, test)
        for solver in ("cholesky", "cg")
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert found[0]["recall@20"] > 0.01


def test_candidates_are_validated_as_the_model_ranks():
    rows = make_sequences(80, 20, random_state=0)
    y = [row[0] for row in rows]  # what a row holds already
    candidates = (0.1, 10.0)
    model = InfiniteAutoencoder(l2=candidates, exclude_seen=False).fit(rows, y)
    alone = {
        l2: InfiniteAutoencoder(l2=l2, exclude_seen=False).fit(rows).score(rows, y)
        for l2 in candidates
    }
    assert model.validation_ndcg_ == pytest.approx(alone, abs=2e-3)
    assert min(alone.values()) > 0
