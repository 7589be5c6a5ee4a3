"""Baselines by hand, against plain loops, and their figures on the paper's data."""

import pickle
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone

from sklearn_dr4sr import SequenceDataset
from sklearn_dr4sr.baselines import EASE, MarkovChain, Popularity, SequentialRules, UserKNN
from sklearn_dr4sr.baselines.base import with_ties_by
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import leave_one_out

MODELS = [Popularity(), MarkovChain(), SequentialRules(), EASE(l2=1.0), UserKNN()]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)

SHOP = [["tea", "cup", "pot"], ["tea", "cup"], ["pot", "tea", "jam"]]  # cup 2, jam 1, pot 2, tea 3


def scores_by_name(model, history):
    return dict(zip(model.items_.tolist(), model.decision_function([history])[0], strict=True))


@st.composite
def weighted_patterns(draw):
    """Patterns over few items, an integer weight for each of their items, and one history."""
    row = st.lists(st.integers(0, 5), max_size=6)
    rows = [*draw(st.lists(row, max_size=5)), draw(st.lists(st.integers(0, 5), min_size=2))]
    weights = [[draw(st.integers(0, 3)) for _ in row] for row in rows]
    return rows, weights, draw(row)


def flat(weights):
    return np.array([w for row in weights for w in row], dtype=float)


def loop_popularity(rows, weights):
    count = dict.fromkeys(sorted({i for row in rows for i in row}), 0)
    for row, weight in zip(rows, weights, strict=True):
        for item, w in zip(row, weight, strict=True):
            count[item] += w
    return count


# ---------------------------------------------------------------------------------- Popularity


def test_popularity_by_hand():
    model = Popularity().fit(SHOP)
    assert model.popularity_.tolist() == [2, 1, 2, 3]
    assert model.predict([[], ["tea"]], k=3).tolist() == [
        ["tea", "cup", "pot"],  # cup and pot are equal: in the order of items_
        ["cup", "pot", "jam"],
    ]


# --------------------------------------------------------------------------------- MarkovChain


def test_transitions_by_hand():
    model = MarkovChain().fit(SHOP)
    assert model.items_.tolist() == ["cup", "jam", "pot", "tea"]
    assert model.transitions_.toarray().tolist() == [
        [0, 0, 1, 0],
        [0, 0, 0, 0],
        [0, 0.5, 0, 1],  # pot -> tea at gap 1, pot -> jam at gap 2
        [2, 1, 0.5, 0],  # tea -> cup twice, tea -> jam, tea -> pot at gap 2
    ]
    # the last item counts once, the one before it half
    assert scores_by_name(model, ["tea", "pot"]) == pytest.approx(
        {"cup": 2 / 2, "jam": 0.5 + 1 / 2, "pot": 0.5 / 2, "tea": 1}, abs=1e-8
    )
    # cup and jam are equal, and cup is the more popular
    assert model.predict([["tea", "pot"]], k=2).tolist() == [["cup", "jam"]]


def test_only_recent_items_are_followed():
    model = MarkovChain(n_recent=2).fit([[1, 9], [2, 8], [3, 7]])
    assert scores_by_name(model, [1, 2, 3])[9] < 1e-8
    assert scores_by_name(model, [1, 2, 3])[8] == pytest.approx(0.5)


@given(weighted_patterns(), st.integers(1, 4), st.integers(1, 4))
def test_markov_chain_is_the_plain_loop(example, max_gap, n_recent):
    rows, weights, history = example
    popularity = loop_popularity(rows, weights)
    counts = {(a, b): Fraction(0) for a in popularity for b in popularity}
    for row, weight in zip(rows, weights, strict=True):
        for i, a in enumerate(row):
            for gap in range(1, max_gap + 1):
                if i + gap < len(row):
                    counts[a, row[i + gap]] += Fraction(weight[i + gap], gap)
    score = dict.fromkeys(popularity, Fraction(0))
    for t, a in enumerate(reversed([i for i in history if i in popularity][-n_recent:])):
        for b in popularity:
            score[b] += counts[a, b] / (t + 1)
    best = sorted(
        popularity.keys() - set(history), key=lambda item: (-score[item], -popularity[item], item)
    )
    data = SequenceDataset(rows, weights=flat(weights))
    model = MarkovChain(max_gap=max_gap, n_recent=n_recent).fit(data)
    given_scores = scores_by_name(model, history)
    assert given_scores == pytest.approx(
        {i: float(s) for i, s in score.items()}, rel=1e-6, abs=1e-8
    )
    padding = [-1] * (len(popularity) - len(best))
    assert model.predict([history], k=6).tolist() == [best + padding]


# ----------------------------------------------------------------------------- SequentialRules


def test_rules_by_hand():
    model = SequentialRules(
        max_gap=2, gap_decay=0.5, reverse_weight=0.25, source_exponent=-1, target_exponent=1
    ).fit([[1, 2, 3], [1, 2]])
    # forwards 1->2: 2, 2->3: 1, 1->3: 0.5; popularity 2, 2, 1
    np.testing.assert_allclose(
        model.rules_.toarray(),
        [
            [0, 2 * 2 / 2, 0.5 * 1 / 2],
            [0.25 * 2 * 2 / 2, 0, 1 * 1 / 2],
            [0.25 * 0.5 * 2 / 1, 0.25 * 1 * 2 / 1, 0],
        ],
    )


@given(
    weighted_patterns(),
    st.fixed_dictionaries(
        {
            "max_gap": st.integers(1, 4),
            "gap_decay": st.sampled_from([0.0, 0.5, 0.8, 1.0]),
            "reverse_weight": st.sampled_from([0.0, 0.5, 1.0]),
            "source_exponent": st.sampled_from([-0.5, 0.0, 1.0]),
            "target_exponent": st.sampled_from([-0.2, 0.0, 0.5]),
            "history_decay": st.sampled_from([0.0, 0.6, 1.0]),
            "max_length": st.integers(2, 5),
        }
    ),
)
def test_sequential_rules_are_the_plain_loop(example, parameters):
    rows, weights, history = example
    popularity = loop_popularity(rows, weights)
    p = type("Parameters", (), parameters)
    forwards = {(a, b): 0.0 for a in popularity for b in popularity}
    for row, weight in zip(rows, weights, strict=True):
        row, weight = row[-p.max_length :], weight[-p.max_length :]
        for i in range(len(row)):
            for j in range(i + 1, min(len(row), i + p.max_gap + 1)):
                forwards[row[i], row[j]] += weight[j] * p.gap_decay ** (j - i - 1)
    score = dict.fromkeys(popularity, 0.0)
    known = [i for i in history if i in popularity][-p.max_length :]
    for t, a in enumerate(reversed(known)):
        for b in popularity.keys() - {a}:
            rule = forwards[a, b] + p.reverse_weight * forwards[b, a]
            rule *= (popularity[a] or 1) ** p.source_exponent
            score[b] += p.history_decay**t * rule * (popularity[b] or 1) ** p.target_exponent
    model = SequentialRules(**parameters).fit(SequenceDataset(rows, weights=flat(weights)))
    assert scores_by_name(model, history) == pytest.approx(score, rel=1e-5, abs=1e-8)
    ranked = [score[item] for item in model.predict([history], k=6)[0].tolist() if item >= 0]
    assert len(ranked) == len(popularity.keys() - set(history))
    assert all(a >= b - 1e-8 for a, b in pairwise(ranked))


# ---------------------------------------------------------------------------------------- EASE


def ridge_by_column(X, l2):
    """Regress each column on all others, one least-squares problem after the other."""
    n = X.shape[1]
    B = np.zeros((n, n))
    for j in range(n):
        rest = np.arange(n) != j
        design = np.vstack([X[:, rest], np.sqrt(l2) * np.eye(n - 1)])
        B[rest, j] = np.linalg.lstsq(design, np.append(X[:, j], np.zeros(n - 1)), rcond=None)[0]
    return B


@given(weighted_patterns(), st.sampled_from([0.5, 1.0, 10.0]))
def test_ease_is_ridge_regression_column_by_column(example, l2):
    rows, weights, history = example
    items = sorted({i for row in rows for i in row})
    X = np.zeros((len(rows), len(items)))
    for u, (row, weight) in enumerate(zip(rows, weights, strict=True)):
        for item, w in zip(row, weight, strict=True):  # of a repetition the heaviest counts
            X[u, items.index(item)] = max(X[u, items.index(item)], np.sqrt(w))
    B = ridge_by_column(X, l2)
    model = EASE(l2=l2, history_decay=0.5).fit(SequenceDataset(rows, weights=flat(weights)))
    np.testing.assert_allclose(model.coef_, B, atol=2e-5)
    recent = np.zeros(len(items))
    for t, item in enumerate(reversed([i for i in history if i in items])):
        recent[items.index(item)] += 0.5**t
    np.testing.assert_allclose(model.decision_function([history])[0], recent @ B, atol=1e-4)


# ------------------------------------------------------------------------------------- UserKNN


@given(weighted_patterns(), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 4))
def test_neighbours_are_the_plain_loop(example, decay, max_length):
    rows, weights, history = example
    items = sorted({i for row in rows for i in row})
    last = [dict(zip(row, weight, strict=True)) for row, weight in zip(rows, weights, strict=True)]
    n_patterns = sum(np.mean(weight) for weight in weights if weight)
    held = {i: sum(row.get(i, 0) for row in last) or 1 for i in items}
    idf = {i: np.log(1 + n_patterns / held[i]) for i in items}
    query = {}
    known = [i for i in history if i in items]  # unknown items are skipped, not steps
    for t, item in enumerate(reversed(known[-max_length:])):
        query.setdefault(item, decay**t)
    score = dict.fromkeys(items, 0.0)
    length = np.sqrt(sum((idf[i] * q) ** 2 for i, q in query.items()))
    for row in last:
        both = sum(idf[i] ** 2 * q for i, q in query.items() if i in row)
        own = np.sqrt(sum(idf[i] ** 2 for i in row))
        for item, weight in row.items():
            score[item] += both / (length * own) * weight if both else 0.0
    data = SequenceDataset(rows, weights=flat(weights))
    model = UserKNN(history_decay=decay, max_length=max_length).fit(data)
    assert scores_by_name(model, history) == pytest.approx(score, rel=1e-4, abs=1e-6)


def test_only_the_nearest_neighbours_count():
    rows = [["tea", "cup"], ["tea", "pot", "jam", "tin", "rum"], ["tea", "pot", "jam", "tin"]]
    near = UserKNN(n_neighbors=1).fit(rows)
    assert [name for name, s in scores_by_name(near, ["tea"]).items() if s > 1e-6] == ["cup", "tea"]
    assert near.predict([["tea"]], k=1).tolist() == [["cup"]]
    assert UserKNN().fit(rows).predict([["tea"]], k=1).tolist() != [["rum"]]
    every = scores_by_name(UserKNN(n_neighbors=3).fit(rows), ["tea"])
    assert every["pot"] == pytest.approx(every["jam"])
    assert every["pot"] > every["rum"] > 1e-6


# ---------------------------------------------------------------------------- all of them alike


@each_model
def test_an_empty_history_ranks_by_popularity(model):
    model = clone(model).fit(SHOP)
    assert model.predict([[], ["unknown"]], k=9).tolist() == [["tea", "cup", "pot", "jam"]] * 2


@each_model
def test_unknown_items_are_skipped(model):
    model = clone(model).fit([[1, 2, 3], [2, 4], [3, 1]])
    np.testing.assert_array_equal(
        model.predict([[1, 99, 3, 7], [50, 2]]), model.predict([[1, 3], [2]])
    )


@each_model
def test_items_seen_and_more_asked_for_than_there_are(model):
    shown = clone(model).set_params(exclude_seen=False).fit(SHOP)
    assert sorted(shown.predict([["tea", "cup"]], k=99)[0]) == ["cup", "jam", "pot", "tea"]
    hidden = clone(model).fit(SHOP).predict([["tea", "cup"]], k=99)[0].tolist()
    assert sorted(hidden[:2]) == ["jam", "pot"]
    assert hidden[2:] == [None, None]


@each_model
def test_a_weight_counts_as_copies(model):
    rows, copies = [[1, 2, 3], [3, 1], [2, 4, 1]], [2, 1, 3]
    weights = np.repeat(np.array(copies, float), [len(row) for row in rows])
    weighted = clone(model).fit(SequenceDataset(rows, weights=weights))
    copied = clone(model).fit([row for row, n in zip(rows, copies, strict=True) for _ in range(n)])
    histories = [[1], [2, 3], [4], []]
    np.testing.assert_allclose(
        weighted.decision_function(histories), copied.decision_function(histories), rtol=1e-4
    )


@each_model
def test_patterns_train_and_histories_are_ranked(model):
    """The history's items are in the catalogue, and nothing is counted in it."""
    data = SequenceDataset([[1, 2, 9]], [[1, 3], [1, 3], [1, 4]], source=[0, 0, 0])
    model = clone(model).fit(data)
    assert model.items_.tolist() == [1, 2, 3, 4, 9]
    assert model.popularity_.tolist() == [3, 0, 2, 1, 0]
    assert model.predict(SequenceDataset([[1]], [[4, 3]]), k=2).tolist() == [[3, 4]]


@each_model
def test_weights_of_zero_leave_finite_scores(model):
    data = SequenceDataset([[1, 2, 3], [2, 4]], weights=np.zeros(5))
    model = clone(model).fit(data)
    assert np.isfinite(model.decision_function([[1, 2], []])).all()
    assert model.predict([[]], k=4).tolist() == [[1, 2, 3, 4]]


@each_model
def test_every_form_of_input_is_fitted_alike(model):
    rows = [[1, 2, 3], [2, 3], [4, 1]]
    expected = clone(model).fit(rows).decision_function(rows)
    padded = np.array([[1, 2, 3], [2, 3, 0], [4, 1, 0]])
    text = [[str(item) for item in row] for row in rows]
    np.testing.assert_array_equal(clone(model).fit(padded).decision_function(padded), expected)
    np.testing.assert_array_equal(clone(model).fit(text).decision_function(text), expected)


@each_model
def test_the_held_out_item_is_not_trained_on(model):
    rows, y = [[1, 2, 3], [2, 3], [3, 1]], [1, None, 2]
    np.testing.assert_array_equal(
        clone(model).fit(rows, y).decision_function(rows),
        clone(model).fit(rows).decision_function(rows),
    )


@each_model
def test_pickles(model):
    model = clone(model).fit(SHOP)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(SHOP), model.predict(SHOP))


@pytest.mark.parametrize(
    ("model", "name", "bad"),
    [
        (MarkovChain, "max_gap", 0),
        (MarkovChain, "max_gap", 1.5),
        (MarkovChain, "n_recent", True),
        (MarkovChain, "n_recent", None),
        (SequentialRules, "max_gap", -1),
        (SequentialRules, "gap_decay", 1.1),
        (SequentialRules, "reverse_weight", -0.5),
        (SequentialRules, "source_exponent", float("inf")),
        (SequentialRules, "target_exponent", "x"),
        (SequentialRules, "history_decay", float("nan")),
        (SequentialRules, "max_length", 1),
        (EASE, "l2", 0),
        (EASE, "l2", float("inf")),
        (EASE, "history_decay", -0.1),
        (UserKNN, "n_neighbors", 0),
        (UserKNN, "n_neighbors", 2.0),
        (UserKNN, "history_decay", 1.5),
        (UserKNN, "max_length", 0),
    ],
)
def test_parameters_out_of_range_are_named(model, name, bad):
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got {bad!r}$"):
        model(**{name: bad}).fit(SHOP)


# ------------------------------------------------------------------------------- the real data

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")


def last_50(split):
    """Leave one out of the last 50 items of each whole sequence."""
    rows = [[*row, last] for row, last in zip(split.history, split.test.tolist(), strict=True)]
    return leave_one_out([row[-50:] for row in rows])


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    ("data", "model", "expected"),
    [
        ("beauty", Popularity(), {"recall@20": 0.0204}),
        ("toys", Popularity(), {"recall@20": 0.0134}),
        ("beauty", MarkovChain(), [0.0794, 0.1034, 0.0498, 0.0559]),
        ("toys", MarkovChain(), [0.0888, 0.1108, 0.0583, 0.0638]),
        ("beauty", SequentialRules(), [0.0863, 0.1128, 0.0542, 0.0609]),
        ("toys", SequentialRules(), [0.1010, 0.1250, 0.0660, 0.0720]),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_figures_on_real_data(data, model, expected, request):
    """Figures of an independent implementation; that of the rules cut the sequences first."""
    split = request.getfixturevalue(data)
    if isinstance(model, SequentialRules):
        split = last_50(split)
    scores = ranking_scorer(*METRICS)(clone(model).fit(split.train), split.history, split.test)
    if isinstance(expected, list):
        expected = dict(zip(METRICS, expected, strict=True))
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-4)


def test_popularity_orders_equal_scores_only_however_small_they_are():
    rows = [[9, 1], [9, 2], [9, 2], [9, 3]] + [[1, 5]] * 3000
    wanted = SequentialRules(exclude_seen=False).fit(rows).predict([[9]], k=3)
    tiny = SequentialRules(source_exponent=-3, target_exponent=-3, exclude_seen=False).fit(rows)
    row = tiny._matrix.toarray()[tiny.items_.tolist().index(9)]
    assert 0 < row[row > 0].min() < 1e-9
    best = tiny.items_[np.argsort(-row, kind="stable")[:3]]
    assert tiny.predict([[9]], k=3)[0].tolist() == best.tolist() == [3, 2, 1]
    assert wanted[0].tolist() == [2, 3, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ties_of_sparse_scores_are_broken_as_those_of_dense_ones(dtype):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(30, 40)).astype(dtype) * (rng.random((30, 40)) < 0.2)
    scores[3] = 0
    popularity = rng.integers(0, 5, 40) * 1.0
    stored = sparse.csr_matrix(scores)
    stored.data[::7] = 0  # zeros that are stored
    found = with_ties_by(popularity, stored)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, with_ties_by(popularity, stored.toarray()))
    popular = found[3, popularity == popularity.max()]
    assert (popular > found[3, popularity == 0].max()).all()
