"""Data operators against plain loops that take the same draws, and in a pipeline."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import SequenceDataset
from sklearn_dr4sr.augmentation import (
    CropMaskReorder,
    RandomSubsequences,
    RepeatPadding,
    SlidingWindow,
    TeacherContinuation,
)
from sklearn_dr4sr.baselines import MarkovChain, SequentialRules
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.mining import PatternMiner
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.recommenders import BSARec, RankBlend, SASRec

OPERATORS = [
    SlidingWindow(),
    SlidingWindow(window_size=3, stride=2, include_original=False),
    RepeatPadding(max_length=20, random_state=0),
    RepeatPadding(max_length=20, delimiter=False, include_original=True, random_state=0),
    CropMaskReorder(crop=0.5, random_state=0),
    RandomSubsequences(n_patterns=3, random_state=0),
    TeacherContinuation(SequentialRules(), n_copies=2, random_state=0),
]
each_operator = pytest.mark.parametrize("operator", OPERATORS, ids=str)

row_lists = st.lists(st.lists(st.integers(0, 20), max_size=9), min_size=1, max_size=6)


def patterns_by_row(data):
    """Patterns of each row with their origin, in order."""
    rows = [[] for _ in range(len(data))]
    for row, origin, pattern in zip(data.source, data.origin, data.patterns, strict=True):
        rows[row].append((str(origin), pattern))
    return rows


def expected_rows(rows, made, include_original):
    """Original first; without it, only for the rows that nothing was made of."""
    return [
        ([("original", row)] if include_original or not new else [])
        + [("augmented", pattern) for pattern in new]
        for row, new in zip(rows, made, strict=True)
    ]


# ------------------------------------------------------------------------------ SlidingWindow


@given(row_lists, st.sampled_from([None, 2, 3, 5]), st.integers(1, 3), st.booleans())
def test_sliding_windows_are_the_plain_loop(rows, window, stride, include_original):
    made = []
    for row in rows:
        new = []
        for end in range(len(row), 1, -stride):
            start = 0 if window is None else end - window
            if start >= 0 and not (include_original and end - start == len(row)):
                new.append(row[start:end])
        made.append(new[::-1])
    operator = SlidingWindow(window_size=window, stride=stride, include_original=include_original)
    data = operator.fit_transform(rows)
    assert patterns_by_row(data) == expected_rows(rows, made, include_original)


# ------------------------------------------------------------------------------ RepeatPadding


@given(
    row_lists,
    st.integers(1, 12),
    st.sampled_from(["random", "max", 1, 2]),
    st.booleans(),
    st.booleans(),
)
def test_repeat_padding_is_the_plain_loop(rows, max_length, repeats, delimiter, include_original):
    rng = np.random.default_rng(7)
    chosen = [row for row in rows if 2 <= len(row) <= max_length]
    most = [max_length // (len(row) - 1) for row in chosen]
    draws = iter(rng.integers(1, np.array(most, dtype=int) + 1).tolist())
    made, weights = [], []
    for row in rows:
        new = []
        if include_original:
            weights += [1.0] * len(row)
        if 2 <= len(row) <= max_length:
            most = max_length // (len(row) - 1)
            m = next(draws) if repeats == "random" else most
            m = m if isinstance(repeats, str) else min(most, repeats)
            items, weight = list(row), [1.0] * len(row)
            for _ in range(m):
                items, weight = row + items, [1.0] * len(row) + [0.0] + weight[1:]
            items, weight = items[-(max_length + 1) :], weight[-(max_length + 1) :]
            new = [items]
            weights += [1.0, *weight[1:]]
        elif not include_original:
            weights += [1.0] * len(row)
        made.append(new)
    operator = RepeatPadding(
        max_length=max_length,
        repeats=repeats,
        delimiter=delimiter,
        include_original=include_original,
        random_state=7,
    )
    data = operator.fit_transform(rows)
    assert patterns_by_row(data) == expected_rows(rows, made, include_original)
    if delimiter:
        assert data.weights.tolist() == weights
    else:
        assert data.weights is None


def test_repeat_padding_has_the_targets_of_the_published_code():
    """Input and target with the delimiter 0 as the published code lays them out."""
    row, max_length, copies = [1, 2, 3, 4], 9, 2
    inputs, targets = row[:-1], row[1:]
    for _ in range(copies):
        inputs, targets = [*row[:-1], 0, *inputs], [*row[1:], 0, *targets]
    data = RepeatPadding(max_length=max_length, repeats=copies).fit_transform([row])
    [pattern] = data.patterns
    ours = np.where(data.weights[1:] > 0, pattern[1:], 0)
    assert ours.tolist() == targets[-max_length:]
    given_in = np.where(data.weights[1:] > 0, pattern[:-1], 0)
    assert given_in.tolist() == inputs[-max_length:]


# ----------------------------------------------------------------------------- CropMaskReorder


@given(
    row_lists,
    st.integers(1, 3),
    st.tuples(*[st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0])] * 3),
    st.sampled_from(
        [("crop", "mask", "reorder"), ("mask",), ("reorder", "crop"), {"reorder", "mask"}]
    ),
    st.booleans(),
)
def test_views_are_the_plain_loop(rows, n_views, ratios, operators, include_original):
    ratio = dict(zip(("crop", "mask", "reorder"), ratios, strict=True))
    rng = np.random.default_rng(3)
    chosen = [row for row in rows if len(row) >= 2 for _ in range(n_views)]
    given, operators = operators, sorted(operators)  # crop, mask, reorder: however they are given
    which = rng.integers(len(operators), size=len(chosen))
    starts = rng.random(len(chosen))
    views = []
    for row, o, s in zip(chosen, which, starts, strict=True):
        noise, L, name = rng.random(len(row)), len(row), operators[o]
        count = int(np.floor(ratio[name] * L + 1e-9))
        if name == "mask":
            gone = set(np.argsort(noise)[: min(L - 2, count)].tolist())
            views.append([item for i, item in enumerate(row) if i not in gone])
            continue
        count = max(2, count) if name == "crop" else count
        a = int(s * (L - count + 1))
        run = row[a : a + count]
        if name == "crop":
            views.append(run)
        else:
            shuffled = [run[i] for i in np.argsort(noise[a : a + count])]
            views.append(row[:a] + shuffled + row[a + count :])
    views = iter(views)
    made = [[next(views) for _ in range(n_views)] if len(row) >= 2 else [] for row in rows]
    operator = CropMaskReorder(
        n_views=n_views,
        **ratio,
        operators=given,
        include_original=include_original,
        random_state=3,
    )
    data = operator.fit_transform(rows)
    assert patterns_by_row(data) == expected_rows(rows, made, include_original)


def test_operators_and_places_are_drawn_uniformly():
    rows = [list(range(1, 6))] * 3000
    crops = CropMaskReorder(crop=0.4, operators=("crop",), include_original=False, random_state=0)
    firsts = [p[0] for p in crops.fit_transform(rows).patterns]
    np.testing.assert_allclose(np.bincount(firsts)[1:] / 6000, [0.25] * 4, atol=0.02)
    views = CropMaskReorder(crop=0.4, mask=0.4, reorder=1, n_views=1, include_original=False)
    lengths = views.set_params(random_state=0).fit_transform(rows).patterns.lengths
    np.testing.assert_allclose(np.bincount(lengths)[[2, 3, 5]] / 3000, [1 / 3] * 3, atol=0.03)


# -------------------------------------------------------------------------- RandomSubsequences


def loop_subsequence(row, length, rng):
    places = np.sort(np.argsort(rng.random(len(row)))[: min(length, len(row))])
    return [row[place] for place in places]


@given(row_lists, st.integers(1, 3), st.integers(2, 4), st.integers(0, 3), st.booleans())
def test_subsequences_of_plain_rows_are_the_plain_loop(rows, n, low, more, include_original):
    rng = np.random.default_rng(5)
    chosen = [row for row in rows if len(row) >= 2 for _ in range(n)]
    lengths = rng.integers(low, low + more + 1, size=len(chosen))
    new = [loop_subsequence(*each, rng) for each in zip(chosen, lengths.tolist(), strict=True)]
    new = iter(new)
    made = [[next(new) for _ in range(n)] if len(row) >= 2 else [] for row in rows]
    operator = RandomSubsequences(
        n_patterns=n,
        min_length=low,
        max_length=low + more,
        include_original=include_original,
        random_state=5,
    )
    data = operator.fit_transform(rows)
    assert patterns_by_row(data) == expected_rows(rows, made, include_original)


def test_the_control_matches_a_data_set_pattern_by_pattern():
    train = leave_one_out(make_sequences(300, 60, random_state=0)).train
    mined = PatternMiner(deduplicate=True).fit_transform(train)
    control = RandomSubsequences(random_state=2).fit_transform(mined)
    new, old = control.origin == "augmented", mined.origin == "mined"
    assert new.sum() == old.sum() > 100
    np.testing.assert_array_equal(control.source[new], mined.source[old])
    np.testing.assert_array_equal(
        control.patterns.lengths[new], mined.patterns.lengths[old]
    )  # the same law of lengths, and more
    assert (control.origin == "original").sum() == (mined.origin == "original").sum()
    rng, rows = np.random.default_rng(2), list(train)
    for row, length, pattern in zip(
        control.source[new], mined.patterns.lengths[old], control.patterns[new], strict=True
    ):
        assert pattern == loop_subsequence(rows[row], length, rng)


def test_a_pattern_longer_than_its_row_becomes_the_row():
    X = SequenceDataset(
        [[1, 2], [3, 4]],
        [[1, 2], [5, 6, 7], [8, 9]],
        source=[0, 0, 1],
        origin=["original", "regenerated", "mined"],
    )
    data = RandomSubsequences(random_state=0).fit_transform(X)
    assert patterns_by_row(data) == [
        [("original", [1, 2]), ("augmented", [1, 2])],
        [("augmented", [3, 4])],
    ]
    data = RandomSubsequences(include_original=False, random_state=0).fit_transform(X)
    assert patterns_by_row(data) == [[("augmented", [1, 2])], [("augmented", [3, 4])]]


# ---------------------------------------------------------------------------- all of them alike


# ------------------------------------------------------------------------- TeacherContinuation


def test_next_items_follow_the_teachers_softmax():
    rows = list(make_sequences(60, 12, random_state=0))
    n, temperature, top = 6000, 0.7, 5
    made = TeacherContinuation(
        SequentialRules(), n_copies=n, n_items=1, temperature=temperature, top=top, random_state=0
    ).fit(rows)
    history = [3, 7]
    drawn = [pattern[-1] for pattern in made.transform([history]).patterns]
    rules = SequentialRules().fit(rows)
    score = np.log(rules.decision_function([history])[0] + 1e-3)
    score[[3 - 1, 7 - 1]] = -np.inf
    score[np.argsort(-score)[top:]] = -np.inf
    probability = np.exp(score / temperature) / np.exp(score / temperature).sum()
    counts = np.bincount(drawn, minlength=13)[1:]
    drawable = probability > 0
    assert drawable.sum() == top
    assert counts[~drawable].sum() == 0
    assert chisquare(counts[drawable], n * probability[drawable]).pvalue > 1e-3


@given(
    row_lists.filter(lambda rows: max(map(len, rows)) >= 2),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
)
def test_a_cold_continuation_is_the_teachers_best_step_by_step(rows, copies, items, original):
    data = TeacherContinuation(
        SequentialRules(),
        n_copies=copies,
        n_items=items,
        temperature=1e-9,
        include_original=original,
        random_state=0,
    ).fit_transform(rows)
    rules = SequentialRules().fit(rows)
    marks = np.split(data.table.is_generative, data.patterns.offsets[1:-1])
    made = [[] for _ in rows]
    for row, origin, pattern, new in zip(
        data.source, data.origin, data.patterns, marks, strict=True
    ):
        if origin == "original":
            assert not new.any()
            continue
        made[row].append(pattern)
        known = len(rows[row])
        left = len(set(rules.items_) - set(rows[row]))
        assert pattern[:known] == rows[row]
        assert len(pattern) == known + min(items, left)
        assert new.tolist() == [False] * known + [True] * (len(pattern) - known)
        for end in range(known, len(pattern)):
            scores = rules.decision_function([pattern[:end]])[0]
            score = dict(zip(rules.items_, scores, strict=True))
            best = max(score[item] for item in rules.items_ if item not in pattern[:end])
            assert pattern[end] not in pattern[:end]
            assert score[pattern[end]] == pytest.approx(best, rel=1e-4, abs=1e-6)
    assert [len(patterns) for patterns in made] == [copies * bool(row) for row in rows]
    assert patterns_by_row(data) == expected_rows(rows, made, original)


def test_the_teacher_knows_what_it_was_given():
    split = leave_one_out(make_sequences(60, 15, random_state=0))
    tiny = {"embedding_dim": 4, "hidden_dim": 4, "n_layers": 1, "random_state": 0}
    model = SASRec(max_epochs=3, patience=1, **tiny)
    continuation = TeacherContinuation(model, n_copies=1, random_state=0)
    continuation.fit(split.train, split.validation)
    alone = clone(model).fit(split.train, split.validation)
    assert "valid_ndcg" in continuation.teacher_.estimators_[0].history_[0]
    frozen = TeacherContinuation(FrozenEstimator(alone), n_copies=1, random_state=0)
    frozen.fit(split.train)
    pipe = Pipeline([("mine", PatternMiner()), ("recommend", SequentialRules())])
    for fitted in (frozen, continuation):
        assert fitted.transform(split.train).patterns == frozen.transform(split.train).patterns
    unseen = TeacherContinuation(pipe, n_copies=1, random_state=0).fit(split.train)
    data = unseen.transform([[1, 99], [98]])  # two that no teacher has seen
    assert [pattern[: -unseen.n_items] for pattern in data.patterns] == [[1, 99], [98]]
    with pytest.raises(TypeError, match="expected a recommender"):
        TeacherContinuation(PatternMiner()).fit(split.train)


def test_the_default_teacher_blends_a_model_with_rules(monkeypatch):
    seen = {}

    def fit(self, X, y=None):
        seen["estimators"] = self.estimators
        raise InterruptedError

    monkeypatch.setattr(RankBlend, "fit", fit)
    with pytest.raises(InterruptedError):
        TeacherContinuation(random_state=3).fit([[1, 2], [2, 3]])
    ((_, teacher),) = seen["estimators"]
    (_, model), (_, rules) = teacher.estimators
    assert isinstance(model, BSARec)
    assert isinstance(rules, SequentialRules)
    assert (model.loss, model.random_state) == ("ce", 3)


@each_operator
def test_fit_transform_is_fit_then_transform_and_repeats(operator):
    rows = make_sequences(30, 20, random_state=0)
    fitted = clone(operator).fit(rows)
    first, again = fitted.transform(rows), fitted.transform(rows)
    together = clone(operator).fit_transform(rows)
    stored = pickle.loads(pickle.dumps(fitted)).transform(rows)
    for other in (again, together, stored, pickle.loads(pickle.dumps(first))):
        assert other.patterns == first.patterns
        np.testing.assert_array_equal(other.source, first.source)
        np.testing.assert_array_equal(other.origin, first.origin)
        np.testing.assert_array_equal(other.weights, first.weights)
    assert len(first) == len(rows)
    assert set(first.source) == set(range(len(rows)))


@each_operator
def test_a_seedless_operator_keeps_to_what_it_drew(operator):
    if not hasattr(operator, "random_state"):
        pytest.skip("draws nothing")
    rows = make_sequences(30, 20, random_state=0)
    fitted = clone(operator).set_params(random_state=None).fit(rows)
    assert fitted.transform(rows).patterns == fitted.transform(rows).patterns
    other = clone(operator).set_params(random_state=99).fit_transform(rows)
    assert other.patterns != fitted.transform(rows).patterns


@each_operator
def test_predicting_makes_no_pattern(operator, monkeypatch):
    rows = make_sequences(40, 20, random_state=0)
    pipe = Pipeline([("data", clone(operator)), ("recommend", MarkovChain())]).fit(rows)

    def refuse(self):
        raise AssertionError("patterns were read")

    monkeypatch.setattr(SequenceDataset, "table", property(refuse))
    assert pipe.predict(rows, k=5).shape == (40, 5)


def test_one_grid_compares_them():
    split = leave_one_out(make_sequences(60, 15, random_state=0))
    pipe = Pipeline([("data", "passthrough"), ("recommend", MarkovChain())])
    search = GridSearchCV(
        pipe,
        {"data": ["passthrough", *map(clone, OPERATORS)]},
        cv=LeaveLastOut(),
        scoring=ranking_scorer("recall@10", "ndcg@10"),
        refit="ndcg@10",
        error_score="raise",
    ).fit(split.train, split.validation)
    assert (search.cv_results_["mean_test_ndcg@10"] > 0).all()


@pytest.mark.parametrize(
    ("operator", "name", "bad"),
    [
        (SlidingWindow, "window_size", 1),
        (SlidingWindow, "window_size", 2.5),
        (SlidingWindow, "stride", 0),
        (SlidingWindow, "include_original", None),
        (RepeatPadding, "max_length", 0),
        (RepeatPadding, "repeats", 0),
        (RepeatPadding, "repeats", "often"),
        (RepeatPadding, "delimiter", 0),
        (CropMaskReorder, "n_views", True),
        (CropMaskReorder, "crop", 1.5),
        (CropMaskReorder, "mask", float("nan")),
        (CropMaskReorder, "reorder", "x"),
        (CropMaskReorder, "operators", ()),
        (CropMaskReorder, "operators", ("crop", "flip")),
        (RandomSubsequences, "n_patterns", 0),
        (RandomSubsequences, "min_length", 1),
        (RandomSubsequences, "max_length", None),
        (TeacherContinuation, "n_copies", 0),
        (TeacherContinuation, "n_items", 1.5),
        (TeacherContinuation, "top", True),
        (TeacherContinuation, "temperature", 0),
        (TeacherContinuation, "temperature", float("inf")),
        (TeacherContinuation, "include_original", "no"),
    ],
)
def test_parameters_out_of_range_are_named(operator, name, bad):
    with pytest.raises(ValueError, match=f"^{name} must be .*, got ") as caught:
        operator(**{name: bad}).fit([[1, 2]])
    assert str(caught.value).endswith(repr(bad))


def test_bounds_that_cross_are_named():
    with pytest.raises(ValueError, match=r"^max_length must be at least min_length=5, got 3$"):
        RandomSubsequences(min_length=5, max_length=3).fit([[1, 2]])


@each_operator
def test_bad_input_names_its_row(operator):
    with pytest.raises(TypeError, match="row 1"):
        clone(operator).fit([[1, 2], 3])
    with pytest.raises(ValueError, match="row 0, position 1"):
        clone(operator).fit([[1, 2]]).transform([[1, -2]])


def test_ids_of_the_other_kind_are_no_histories_to_continue():
    continuation = TeacherContinuation(SequentialRules(), random_state=0).fit([[1, 2, 3], [2, 1]])
    with pytest.raises(TypeError, match="such as 'a' where those that are known are such as 1"):
        continuation.transform([["a", "b"]])


def test_a_table_is_no_teacher():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match="expected a recommender"):
        TeacherContinuation(pandas.Series([1, 2])).fit([[1, 2], [2, 3]])


# ------------------------------------------------------------------------- what the input held


MINED = PatternMiner().fit_transform([[1, 2, 3], [1, 2, 3, 4], [2, 3]])
DROPPED = "makes its patterns of the histories alone and drops "
histories_only = pytest.mark.parametrize(
    "operator", [SlidingWindow(), RepeatPadding(max_length=9), CropMaskReorder()], ids=str
)


@histories_only
def test_patterns_and_weights_of_the_input_are_dropped_with_a_warning(operator):
    table = MINED.table
    n_mined = int((MINED.origin == "mined").sum())
    weighted = SequenceDataset(MINED.histories, table, np.ones(table.sequences.lengths.sum()))
    for X, dropped in [
        (MINED, f"{n_mined} mined patterns"),
        (weighted, f"{n_mined} mined patterns and the weights"),
        (SequenceDataset([[1, 2, 3]], weights=np.ones(3)), "the weights"),
    ]:
        made = operator.fit_transform(X)  # in silence: who predicts reads no patterns
        with pytest.warns(UserWarning, match=f"{DROPPED}{dropped} of X: pass X.histories"):
            made.table  # noqa: B018
        assert "mined" not in made.origin


@histories_only
def test_patterns_that_nobody_has_read_are_not_made_to_be_dropped(operator):
    lazy = SequenceDataset([[1, 2, 3]], lambda: pytest.fail("made"))
    with pytest.warns(UserWarning, match=f"{DROPPED}the patterns of the step before of X"):
        operator.fit_transform(lazy).table  # noqa: B018


@pytest.mark.parametrize(
    "operator", [RandomSubsequences(), TeacherContinuation(SequentialRules())], ids=str
)
def test_operators_that_read_patterns_drop_them_in_silence(operator):
    assert "mined" not in operator.fit_transform(MINED).origin


@each_operator
def test_histories_alone_give_no_warning(operator):
    for X in ([[1, 2, 3], [2, 3]], SequenceDataset([[1, 2, 3], [2, 3]]), MINED.histories):
        clone(operator).fit_transform(X).table  # noqa: B018
