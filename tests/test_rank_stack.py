"""RankStack: its features and ranking by plain loops, what it learns from, and that it learns."""

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_dr4sr import PatternMiner, SequenceDataset
from sklearn_dr4sr.augmentation import TeacherContinuation
from sklearn_dr4sr.baselines import MarkovChain, Popularity, SequentialRules, UserKNN
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.leakage import check_no_leakage
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.recommenders import RankBlend, RankStack, SASRec

COUNTS = [("chain", MarkovChain()), ("rules", SequentialRules())]
TINY = {"embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "max_epochs": 2, "random_state": 0}


@pytest.fixture(scope="module")
def split():
    return leave_one_out(make_sequences(300, 40, random_state=0))


class Recorder(ClassifierMixin, BaseEstimator):
    """Keeps what it is fitted on; its probability rises with a column."""

    def __init__(self, column=0):
        self.column = column

    def fit(self, X, y):
        self.X_, self.y_, self.classes_ = X, y, np.array([False, True])
        return self

    def predict_proba(self, X):
        p = 1 / (1 + np.exp(-X[:, self.column].astype(float)))
        return np.stack([1 - p, p], axis=1)


def plain_features(members, weights, popularity, items, history, n_candidates):
    """Candidates of one history and their features by name, with loops over items."""
    place = {item: at for at, item in enumerate(items.tolist())}
    seen = [place[item] for item in history]
    scores = {}
    for name, member in members.items():
        given = member.decision_function([history])[0].astype(float)
        if hasattr(member, "net_"):
            scores[name] = given - np.log(np.exp(given).sum())
        else:
            scores[name] = np.log(np.maximum(given, 0) + 1e-3)
    blend = sum(w * scores[name] for name, w in zip(members, weights, strict=True))
    order = [at for at in np.argsort(-blend, kind="stable") if at not in seen]
    candidates, rest = order[:n_candidates], order[n_candidates:]
    table = []
    for rank, at in enumerate(candidates):
        row = {}
        for name, score in [*scores.items(), ("blend", blend)]:
            row[name] = score[at]
            row[f"{name}, below the best"] = score[at] - max(score[c] for c in candidates)
        row["rank"] = rank
        row["popularity"] = np.log1p(popularity[at])
        row["popularity of the history"] = np.mean([np.log1p(popularity[s]) for s in seen])
        row["length of the history"] = len(history)
        for name, member in members.items():
            if hasattr(member, "item_embeddings_"):
                E = member.item_embeddings_.astype(float)
                E = E / np.linalg.norm(E, axis=1, keepdims=True)
                cosines = [E[at] @ E[s] for s in seen[-30:]]
                row[f"{name}, cosine with the last item"] = cosines[-1]
                row[f"{name}, largest cosine"] = max(cosines)
                row[f"{name}, mean cosine"] = np.mean(cosines)
        table.append(row)
    return candidates, rest, table


def test_features_and_ranking_are_the_plain_loop(split):
    pairs = [("model", SASRec(**TINY, loss="ce")), *COUNTS]
    stack = RankStack(
        pairs,
        [1.0, 0.5, 0.0],
        final_estimator=Recorder(column=8),
        n_candidates=7,
        labels="y",
    ).fit(split.train, split.validation)
    popularity = Popularity().fit(split.train).popularity_
    np.testing.assert_array_equal(stack.popularity_, popularity)
    recorded = stack.final_estimator_
    assert stack.feature_names_[8] == "rank"  # so the Recorder turns the candidates round
    place = {item: at for at, item in enumerate(stack.items_.tolist())}
    wanted, labels = [], []
    for history, item in zip(split.train, split.validation.tolist(), strict=True):
        candidates, rest, table = plain_features(
            stack.named_estimators_, [1.0, 0.5, 0.0], popularity, stack.items_, history, 7
        )
        if item is not None and place.get(item) in candidates:
            wanted += [[row[name] for name in stack.feature_names_] for row in table]
            labels += [at == place[item] for at in candidates]
        ranked = stack.predict([history], k=40)[0]
        ranked = [place[i] for i in ranked.tolist() if i != -1]
        assert ranked == candidates[::-1] + rest
    np.testing.assert_allclose(recorded.X_, wanted, rtol=1e-4, atol=1e-4)
    assert recorded.y_.tolist() == labels
    assert stack.n_lists_ == sum(labels) > 50


def stack_of_six(split):
    """A stack that orders six candidates, and its first stage."""
    stack = RankStack(COUNTS, n_candidates=6, labels="y", random_state=0)
    return stack.fit(split.train, split.validation), RankBlend(COUNTS).fit(split.train)


def by_item(model, history):
    """Score of each item of the catalogue."""
    return dict(zip(model.items_, model.decision_function([history])[0], strict=True))


def test_scores_are_log_odds_and_the_rest_keeps_its_distance(split):
    stack, blend = stack_of_six(split)
    for history in split.history[:20]:
        scores, first = by_item(stack, history), by_item(blend, history)
        best = blend.predict([history], k=6)[0]
        _, _, _, columns = stack._candidates(stack._histories([history]))
        features = np.stack([column[0].float().numpy() for column in columns.values()], axis=1)
        p = stack.final_estimator_.predict_proba(features)[:, 1]
        np.testing.assert_allclose(
            [scores[item] for item in best], np.log(p / (1 - p)), rtol=1e-4, atol=1e-4
        )
        lowest = min(scores[item] for item in best)
        for item in set(stack.items_.tolist()) - set(best.tolist()) - set(history):
            below = first[item] - min(first[i] for i in best)
            assert scores[item] == pytest.approx(lowest + below - 1e-3, abs=1e-4)


def test_held_back_items_are_the_last_and_y_is_not_learned_from(split):
    rows = [["a", "b", "c", "d"], ["b", "c"], ["c", "d", "b"], ["d", "a", "z"], ["b"], ["c", "d"]]
    stack = RankStack(COUNTS, final_estimator=Recorder(), n_candidates=3).fit(rows)
    # z stands at ends alone and stays; ["b"] has nothing to hold back
    shorter = [["a", "b", "c"], ["b"], ["c", "d"], ["d", "a", "z"], ["b"], ["c"]]
    last = ["d", "c", "b", None, None, "d"]
    twin = RankStack(COUNTS, final_estimator=Recorder(), n_candidates=3, labels="y")
    twin.fit(shorter, last)
    np.testing.assert_array_equal(stack.final_estimator_.X_, twin.final_estimator_.X_)
    np.testing.assert_array_equal(stack.final_estimator_.y_, twin.final_estimator_.y_)
    assert stack.n_lists_ >= 2
    # the members that rank have seen whole rows
    whole = MarkovChain().fit(rows)
    found = stack.named_estimators_["chain"].transitions_
    assert (found != whole.transitions_).nnz == 0
    again = clone(stack).fit(rows, ["a", "z", "a", "b", "d", "a"])
    np.testing.assert_array_equal(again.final_estimator_.X_, stack.final_estimator_.X_)
    np.testing.assert_array_equal(again.decision_function(rows), stack.decision_function(rows))


def test_nothing_held_out_leaks(split):
    stack = RankStack([*COUNTS, ("model", SASRec(**TINY))], n_candidates=10, random_state=0)
    check_no_leakage(stack, split)
    with pytest.raises(AssertionError, match="y"):
        check_no_leakage(stack.set_params(labels="y"), split)


def test_it_learns_whom_to_trust():
    """Short rows follow one grammar and long ones another; each member knows one of the two."""
    rng = np.random.default_rng(0)
    rows, y = [], []
    for _ in range(1500):
        length = int(rng.choice([3, 9]))
        start = int(rng.integers(20))
        step = 1 if length == 3 else 7
        row = [(start + step * t) % 20 for t in range(length + 1)]
        rows.append(row[:-1])
        y.append(row[-1])
    short = [row for row in rows if len(row) == 3]
    long = [row for row in rows if len(row) == 9]
    pairs = [
        ("short", FrozenEstimator(MarkovChain(max_gap=1, n_recent=1).fit(short))),
        ("long", FrozenEstimator(MarkovChain(max_gap=1, n_recent=1).fit(long))),
    ]
    half = 750
    blend = RankBlend(pairs).fit(rows[:half])
    stack = RankStack(pairs, n_candidates=6, labels="y", random_state=0)
    stack.set_params(final_estimator=HistGradientBoostingClassifier(min_samples_leaf=5))
    stack.fit(rows[:half], y[:half])
    hit = {
        name: float((model.predict(rows[half:], k=1)[:, 0] == np.array(y[half:])).mean())
        for name, model in (("blend", blend), ("stack", stack))
    }
    assert hit["blend"] < 0.6
    assert hit["stack"] > 0.95


def test_where_nothing_can_be_learned_the_first_stage_ranks():
    rows = [[1, 2, 3], [2, 3, 1], [3, 1, 2]]
    stack = RankStack(COUNTS, labels="y", n_candidates=3)
    with pytest.warns(UserWarning, match=r"of 1 rows to learn from none .* the first stage's"):
        stack.fit(rows, [None, 3, None])
    assert stack.final_estimator_ is None
    blend = RankBlend(COUNTS).fit(rows)
    np.testing.assert_array_equal(
        stack.decision_function([[1], []]), blend.decision_function([[1], []])
    )


def test_histories_that_leave_no_or_few_candidates(split):
    stack = RankStack(COUNTS, labels="y", random_state=0).fit(split.train, split.validation)
    every = stack.items_.tolist()
    ranked = stack.predict([every, every[:-2], []], k=5)
    assert ranked[0].tolist() == [-1] * 5
    assert sorted(ranked[1].tolist())[:3] == [-1] * 3
    assert set(ranked[1].tolist()) - {-1} == set(every[-2:])
    assert len(set(ranked[2].tolist())) == 5
    assert np.isfinite(stack.decision_function([every, every[:-2], []])).all()


def test_rows_are_drawn_and_seeded(split):
    stack = RankStack(COUNTS, labels="y", n_rows=60, random_state=0)
    few = clone(stack).fit(split.train, split.validation)
    assert 0 < few.n_lists_ <= 60
    np.testing.assert_array_equal(
        few.predict(split.history),
        clone(stack).fit(split.train, split.validation).predict(split.history),
    )
    other = clone(stack).set_params(random_state=1).fit(split.train, split.validation)
    assert (few.decision_function(split.history) != other.decision_function(split.history)).any()


def test_one_row_at_a_time_ranks_as_in_bulk(split):
    pairs = [*COUNTS, ("knn", UserKNN(n_neighbors=20)), ("model", SASRec(**TINY))]
    stack = RankStack(pairs, labels="y", random_state=0).fit(split.train, split.validation)
    alone = np.concatenate([stack.predict([history]) for history in split.history[:40]])
    np.testing.assert_array_equal(alone, stack.predict(split.history[:40]))


def test_it_stands_where_any_recommender_stands(split, tmp_path):
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    stack = RankStack(COUNTS, final_estimator=logistic, n_candidates=10, random_state=0)
    search = GridSearchCV(stack, {"n_candidates": [5, 10]}, cv=LeaveLastOut())
    search.fit(split.train, split.validation)
    assert search.best_estimator_.predict(split.history, k=3).shape == (300, 3)
    pipe = Pipeline([("mine", PatternMiner()), ("rank", stack)])
    with pytest.raises(ValueError, match="'held_back' needs plain sequences"):
        pipe.fit(split.train)
    pipe.set_params(rank__labels="y").fit(split.train, split.validation)
    joblib.dump(pipe, tmp_path / "pipe.joblib")
    loaded = joblib.load(tmp_path / "pipe.joblib")
    np.testing.assert_array_equal(loaded.predict(split.history), pipe.predict(split.history))
    within = Pipeline([("mine", PatternMiner()), ("rank", MarkovChain())])
    RankStack([("mined", within)], random_state=0).fit(split.train)
    fitted = RankStack(COUNTS, random_state=0).fit(split.train)
    blend = RankBlend([("stack", FrozenEstimator(fitted)), ("rules", SequentialRules())])
    assert [t for _, t, _ in blend.fit(split.train)._members()] == ["log_softmax", "log"]
    taught = TeacherContinuation(FrozenEstimator(fitted), n_copies=1, n_items=2, random_state=0)
    made = taught.fit_transform(split.train)
    assert made.patterns.lengths.sum() == split.train.lengths.sum() + 2 * 300


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_candidates": 1}, ValueError, "n_candidates must be .*, got 1"),
        ({"n_rows": 0}, ValueError, "n_rows must be .*, got 0"),
        ({"labels": "Y"}, ValueError, "labels must be one of .*, got 'Y'"),
        ({"labels": "y"}, ValueError, "labels='y' learns from the held-out items: fit needs y"),
        ({"final_estimator": 3}, TypeError, "final_estimator: expected a classifier .*, got 3"),
        ({"weights": [1]}, ValueError, "weights: expected 2 numbers"),
        ({"weights": "auto"}, ValueError, "weights: expected numbers or None, got 'auto'"),
        (
            {"chain": FrozenEstimator(MarkovChain().fit([[1, 2]]))},
            ValueError,
            "estimators, 'chain': is fitted already",
        ),
    ],
)
def test_bad_parameters_are_named(parameters, error, message, split):
    with pytest.raises(error, match=message):
        RankStack(COUNTS).set_params(**parameters).fit(split.train)


def test_what_cannot_be_held_back_is_named():
    with pytest.warns(UserWarning, match="of 0 rows to learn from none"):
        stack = RankStack(COUNTS).fit([[1, 2], [2, 1]])
    assert stack.predict([[1]], k=1).tolist() == [[2]]
    patterns = SequenceDataset([[1, 2, 3], [2, 3, 1]], [[1, 2], [2, 3]], source=[0, 1])
    with pytest.raises(ValueError, match="needs plain sequences"):
        RankStack(COUNTS).fit(patterns)


def test_weights_stay_with_their_items():
    rows, weights = [["a", "b", "c"], ["b", "c", "a", "b"], ["c", "a"]], np.arange(1.0, 10.0)
    given = SequenceDataset(rows, weights=weights)
    seen = []

    class Chain(MarkovChain):
        def fit(self, X, y=None):
            seen.append(X.weights.tolist())
            return super().fit(X, y)

    RankStack([("chain", Chain())], final_estimator=Recorder(), n_candidates=2).fit(given)
    assert seen == [[1, 2, 4, 5, 6, 8], weights.tolist()]


def test_equal_odds_rank_as_the_first_stage():
    few = leave_one_out(make_sequences(40, 30, random_state=0))  # too few rows for any split
    stack = RankStack([("rules", SequentialRules()), ("knn", UserKNN())], random_state=0)
    stack.set_params(n_candidates=15).fit(few.train)
    assert stack.final_estimator_ is not None
    blend = RankBlend(stack.estimators).fit(few.train)
    np.testing.assert_array_equal(
        stack.predict(few.history, k=15), blend.predict(few.history, k=15)
    )


def test_items_of_a_history_come_after_the_candidates_in_the_blend_s_order(split):
    stack, blend = stack_of_six(split)
    for history in split.history[:20]:
        scores, first = by_item(stack, history), by_item(blend, history)
        lowest = min(scores[item] for item in blend.predict([history], k=6)[0])
        seen = sorted(set(history), key=lambda item: -first[item])
        assert lowest > max(scores[item] for item in seen)
        ordered = [scores[item] for item in seen]
        assert ordered == sorted(ordered, reverse=True)
        assert len(set(ordered)) == len({first[item] for item in seen})
