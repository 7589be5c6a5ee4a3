"""Metrics against tables worked out by hand and against a plain loop."""

import math
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline

from sklearn_dr4sr import PatternMiner, Sequences
from sklearn_dr4sr.baselines import Popularity, SequentialRules
from sklearn_dr4sr.metrics import (
    gini,
    head_tail_recall_at_k,
    hit_rate_at_k,
    map_at_k,
    mrr_at_k,
    ndcg_at_k,
    ndcg_of_ranks,
    ranking_scorer,
    ranks,
    recall_at_k,
)
from sklearn_dr4sr.model_selection import LeaveLastOut

RANKING = [[5, 3, 9, 1], [1, 2, 3, 4], [9, 1, 2, 3]]


@pytest.mark.parametrize(
    ("truth", "k", "recall", "ndcg"),
    [
        ([5, 1, 9], 1, 1, 1),
        ([3, 2, 1], 1, 0, 0),
        ([3, 2, 1], 2, 1, 1 / math.log2(3)),
        ([5, 2, 3], 3, 2 / 3, (1 + 1 / math.log2(3)) / 3),
        ([9, 3, 7], 4, 2 / 3, 1 / 3),  # rank 3 gains 1 / log2(4) = 1 / 2, twice
        ([7, 7, 3], 4, 1 / 3, 1 / math.log2(5) / 3),
    ],
)
def test_by_hand(truth, k, recall, ndcg):
    assert recall_at_k(truth, RANKING, k) == pytest.approx(recall)
    assert ndcg_at_k(truth, RANKING, k) == pytest.approx(ndcg)
    assert ndcg_of_ranks(ranks(truth, RANKING, k), k).mean() == pytest.approx(ndcg)


def test_ndcg_of_ranks_by_hand():
    gains = ndcg_of_ranks(np.array([[1, 2, 3], [7, 4, 8]]), 7)
    wanted = [[1, 1 / math.log2(3), 1 / 2], [1 / 3, 1 / math.log2(5), 0]]
    assert gains == pytest.approx(np.array(wanted))


# several held-out items a row; a ranking that ends early
SEVERAL = [[3, 1], [9], [5, 6, 7, 8, 2], [4]]
SHORT = [[3, 2, 4, 1], [1, 2, 3, 9], [5, 8, -1, -1], [1, 2, 3, 5]]


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        (recall_at_k, 1, (1 / 2 + 1 / 5) / 4),
        (recall_at_k, 4, (1 + 1 + 2 / 5 + 0) / 4),
        (hit_rate_at_k, 1, 2 / 4),
        (hit_rate_at_k, 4, 3 / 4),
        (mrr_at_k, 3, (1 + 0 + 1) / 4),
        (mrr_at_k, 4, (1 + 1 / 4 + 1) / 4),
        (map_at_k, 1, (1 / 2 + 0 + 1 / 5) / 4),
        (map_at_k, 4, ((1 + 2 / 4) / 2 + 1 / 4 + (1 + 1) / 5) / 4),
        (
            ndcg_at_k,
            2,
            (1 / (1 + 1 / math.log2(3)) + 0 + 1) / 4,
        ),
        (
            ndcg_at_k,
            4,
            (
                (1 + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
                + 1 / math.log2(5)
                + (1 + 1 / math.log2(3)) / (1 + 1 / math.log2(3) + 1 / 2 + 1 / math.log2(5))
            )
            / 4,
        ),
    ],
)
@pytest.mark.parametrize("text", [False, True])
def test_several_held_out_items_by_hand(metric, k, expected, text):
    truth, ranking = SEVERAL, SHORT
    if text:
        truth = [[f"item {i}" for i in row] for row in SEVERAL]
        ranking = [[None if i < 0 else f"item {i}" for i in row] for row in SHORT]
    assert metric(truth, ranking, k) == pytest.approx(expected)


class Column:
    """Of a library that numpy can read, but that does not tell its dimensions."""

    def __init__(self, rows):
        self.rows = rows

    def __array__(self, dtype=None, copy=None):
        array = np.empty(len(self.rows), dtype=object)
        array[:] = self.rows
        return array


@pytest.mark.parametrize("take", [tuple, pd.Series, Column, lambda rows: Column(rows).__array__()])
def test_several_held_out_items_in_any_container(take):
    truth = take([{3, 1}, np.array([9]), (5, 6, 7, 8, 2), [4]])
    assert recall_at_k(truth, SHORT, 4) == pytest.approx((1 + 1 + 2 / 5 + 0) / 4)


def loop(name, truth, row, k):
    """One row of a metric, place by place."""
    found, precisions, gain = set(), [], 0.0
    first = None
    for place, item in enumerate(row[:k], start=1):
        if item in truth and item not in found:
            found.add(item)
            precisions.append(len(found) / place)
            gain += 1 / math.log2(place + 1)
            first = first or place
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(truth)) + 1))
    return {
        "recall": len(found) / len(truth),
        "hit_rate": float(bool(found)),
        "mrr": 1 / first if first else 0.0,
        "map": sum(precisions) / len(truth),
        "ndcg": gain / ideal,
    }[name]


METRICS = {
    "recall": recall_at_k,
    "ndcg": ndcg_at_k,
    "mrr": mrr_at_k,
    "map": map_at_k,
    "hit_rate": hit_rate_at_k,
}


@given(st.data())
def test_against_a_plain_loop(data):
    n_rows, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 7))
    names = data.draw(st.sampled_from([list(range(9)), list("abcdefghi")]))
    ranked = [data.draw(st.permutations(names))[:width] for _ in range(n_rows)]
    one = data.draw(st.booleans())
    truth = [
        data.draw(st.sets(st.sampled_from(names), min_size=1, max_size=1 if one else 5))
        for _ in range(n_rows)
    ]
    k = data.draw(st.integers(1, width))
    given_truth = [next(iter(row)) for row in truth] if one else truth
    for name, metric in METRICS.items():
        rows = [loop(name, t, row, k) for t, row in zip(truth, ranked, strict=True)]
        assert metric(given_truth, ranked, k) == pytest.approx(sum(rows) / n_rows)
    for rank, t, row in zip(ranks(given_truth, ranked, k), truth, ranked, strict=True):
        assert rank == min([row[:k].index(item) + 1 for item in t if item in row[:k]] or [k + 1])


def test_an_item_ranked_twice_counts_once():
    assert recall_at_k([[3, 4]], [[3, 3, 3]], 3) == 0.5
    assert map_at_k([[3, 4]], [[3, 3, 4]], 3) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.filterwarnings("ignore")  # numba's own
def test_against_ranx():
    ranx = pytest.importorskip("ranx")  # with NUMBA_DISABLE_JIT=1 it starts at once
    rng = np.random.default_rng(0)
    ranking = np.array([rng.permutation(30)[:12] for _ in range(40)])
    truth = [rng.choice(30, rng.integers(1, 6), replace=False).tolist() for _ in range(40)]
    judged = ranx.Qrels({str(u): {str(i): 1 for i in row} for u, row in enumerate(truth)})
    run = ranx.Run(
        {str(u): {str(i): float(-p) for p, i in enumerate(row)} for u, row in enumerate(ranking)}
    )
    for name, metric in METRICS.items():
        for k in (1, 5, 12):
            wanted = ranx.evaluate(judged, run, f"{name}@{k}")
            assert metric(truth, ranking, k) == pytest.approx(wanted), (name, k)


def test_head_and_tail_by_hand():
    train = [[1, 2, 3], [1, 2], [1, 4], [1, 5]]  # counts 4, 2, 1, 1, 1; the head is 1
    truth, ranking = [1, 1, 2, 9], [[1, 2], [5, 4], [2, 1], [1, 2]]
    assert head_tail_recall_at_k(truth, ranking, 2, train) == (1 / 2, 1 / 2)
    assert head_tail_recall_at_k(truth, ranking, 2, {1: 4, 2: 2, 3: 1, 4: 1, 5: 1}) == (0.5, 0.5)
    assert head_tail_recall_at_k(truth, ranking, 2, train, head_share=0.21) == (2 / 3, 0)
    # equal counts: the smaller id is the more popular
    assert head_tail_recall_at_k([3, 4], [[3], [3]], 1, train, head_share=0.6) == (1, 0)
    head, tail = head_tail_recall_at_k([1], [[1]], 1, train)
    assert head == 1
    assert math.isnan(tail)


def test_the_head_is_the_first_of_the_items_sorted_by_count_and_id():
    train = dict(enumerate(np.random.default_rng(0).integers(0, 3, size=500).tolist()))
    head = sorted(train, key=lambda item: (-train[item], item))[:50]
    only_the_head = [[item if item in head else -1] for item in train]
    assert head_tail_recall_at_k(list(train), only_the_head, 1, train, head_share=0.1) == (1, 0)
    # the last id may be in it, what train lacks never is
    assert head_tail_recall_at_k([3, 4], [[3], [1]], 1, {1: 1, 2: 1, 3: 2}) == (1, 0)


def test_the_head_is_no_item_larger_for_rounding():
    train = {item: 1000 - item for item in range(1, 101)}  # .07 * 100 is above 7 in floats
    found = head_tail_recall_at_k([7, 8], [[7], [0]], 1, train, head_share=0.07)
    assert found == (1, 0)


def test_head_and_tail_name_what_is_wrong():
    with pytest.raises(TypeError, match="such as 1 where those that are known are such as '1'"):
        head_tail_recall_at_k([1], [[1]], 1, {"1": 3})
    with pytest.raises(ValueError, match=r"head_share .* 1"):
        head_tail_recall_at_k([1], [[1]], 1, [[1]], head_share=1)
    with pytest.raises(ValueError, match="row 1: expected one held-out item, got 2"):
        head_tail_recall_at_k([[1], [1, 2]], [[1], [1]], 1, [[1]])
    with pytest.raises(ValueError, match="count of item 'tea' must not be negative, got -1"):
        head_tail_recall_at_k(["tea"], [["tea"]], 1, {"cup": 1, "tea": -1})


@pytest.mark.parametrize("metric", list(METRICS.values()))
@pytest.mark.parametrize(
    "y",
    [
        [1, None, 3],
        [1.0, float("nan"), 3.0],
        np.array([1.0, np.nan, 3.0]),
        pd.Series([1, None, 3]),
        pd.Series([1, pd.NA, 3], dtype="Int64"),
        [1, pd.NA, 3],
        pd.Series([1, pd.NA, 3], dtype=object),
        [[1], [], [3]],
        [[1], None, [3]],
    ],
)
def test_a_missing_held_out_item_is_named(metric, y):
    with pytest.raises((ValueError, TypeError), match=r"y.*row 1: .*(no held-out item|<NA>)"):
        metric(y, RANKING, 2)


def test_bad_ids_are_named():
    with pytest.raises(TypeError, match="row 1: expected int or str ids, got <NA>"):
        recall_at_k([1, 2], np.array([[1, 2], [2, pd.NA]], dtype=object), 2)
    with pytest.raises(TypeError, match="y_true holds int ids, the rankings str ids"):
        recall_at_k([1, 2], [["1"], ["2"]], 1)


def test_a_frame_of_rankings_is_taken():
    frame = pd.DataFrame({"first": [5, 1, 3], "second": [2, np.nan, 0]})
    assert recall_at_k(pd.Series([2, 1, 0]), frame, 2) == 1
    assert mrr_at_k(pd.Series(["a", "b"]), pd.DataFrame({0: ["b", "b"], 1: ["a", None]}), 2) == 0.75


def test_the_scorer_leaves_rows_out_whose_item_pandas_misses():
    model = Popularity().fit([["b", "a"], ["b", "c"]])
    for missing in (pd.Series(["b", None], dtype="string"), ["b", pd.NA]):
        assert ranking_scorer("recall@1")(model, [["a"], ["c"]], missing) == 1


@pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k])
@pytest.mark.parametrize("k", [0, 5, -1, 1.0, True, None])
def test_k_lies_within_the_ranking(metric, k):
    with pytest.raises(ValueError, match=rf"k must be an integer in 1 \.\. 4 .*got {k!r}"):
        metric([1, 2, 3], RANKING, k)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([1, 2], [[1, 2], [3]], "y_pred, row 1: expected as many item ids as in row 0, 2, got 1"),
        ([1, 2], [np.array([1, 2]), np.array([3])], "row 1: expected as many .* 0, 2, got 1"),
        ([1, 2], [[1, 2], 3], "y_pred, row 1: expected a list of item ids, got 3"),
        ([1, 2], [[1, [2]], [1, 2]], r"y_pred: expected .*n_rows, n_ranked.* got \[\[1, \[2"),
        ([1, 2], np.array([[1], ["a"]], dtype=object), "y_pred, row 1, position 0: .* int or all"),
        ([1, [2, 0.5]], [[1], [2]], "y_true, row 0: expected a sequence"),
        ([[1], np.array(2)], [[1], [2]], "y_true, row 1: expected a sequence"),
        ([[1], np.array([[2]])], [[1], [2]], "y_true, row 1: expected a sequence"),
        ([1, 2**70], [[1], [2]], "^y_true, row 1, position 0: .* 64-bit"),
        (1, [[1]], "^y_true: expected one item id a row, got int$"),
        ([1, -2], [[1], [2]], "y_true, row 1: expected an item id"),
        ([1], np.array([[2**63 + 5]], dtype=np.uint64), "y_pred, row 0, position 0: .* 64-bit"),
        (["1"], [[1]], "y_true holds str ids, the rankings int ids"),
    ],
)
def test_the_row_that_does_not_fit_is_named(y_true, y_pred, message):
    with pytest.raises((TypeError, ValueError), match=message):
        recall_at_k(y_true, y_pred, k=1)


@pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k])
def test_bad_shapes_and_no_truth(metric):
    with pytest.raises(ValueError, match="y_true has 2 entries, y_pred has 3 rows"):
        metric([1, 2], RANKING, 1)
    with pytest.raises(ValueError, match=r"y_pred.*shape \(4,\)"):
        metric([1], [1, 2, 3, 4], 1)


def test_the_mark_of_an_absent_item_is_no_hit():
    with pytest.raises(ValueError, match=r"row 0.*-1"):
        recall_at_k([-1, 2], [[3, -1], [2, 1]], 2)


class Counting:
    """Counts how often it is asked for a ranking."""

    def __init__(self, ranking):
        self.ranking, self.asked = np.asarray(ranking), []

    def predict(self, X, k):
        self.asked.append(k)
        return self.ranking[:, :k]


def test_scorer_ranks_once_for_all_metrics():
    model = Counting(RANKING)
    scores = ranking_scorer("recall@1", "recall@4", "ndcg@2")(model, None, [5, 2, 3])
    assert model.asked == [4]
    assert scores == {
        "recall@1": pytest.approx(1 / 3),
        "recall@4": pytest.approx(1),
        "ndcg@2": pytest.approx((1 + 1 / math.log2(3)) / 3),
    }


def test_scorer_of_one_metric_is_a_float():
    score = ranking_scorer("recall@2")(Counting(RANKING), None, [5, 2, 3])
    assert type(score) is float
    assert score == pytest.approx(2 / 3)


@pytest.mark.parametrize("ids", [[1, 2, 3], ["a", "b", "c"]])
def test_scorer_takes_a_catalogue_smaller_than_k(ids):
    model = Popularity().fit([ids, ids[:2]])
    scores = ranking_scorer("recall@20", "mrr@20")(model, [ids[:1], ids[:2]], [ids[1], ids[0]])
    assert scores == {"recall@20": 0.5, "mrr@20": 0.5}


def test_an_item_with_the_name_of_the_mark_of_an_absent_one_is_not_found():
    model = Counting([["a"], ["b"]])  # an array of texts of one character
    assert ranking_scorer("recall@2")(model, None, ["N", "-"]) == 0


def test_scorer_takes_what_its_train_counts():
    X, y, scores = [[1], [1], [2]], [5, 1, 9], ("average_popularity@1", "novelty@1")
    train = {5: 4, 1: 2, 9: 2}  # 1, 2 and 2 bits
    found = ranking_scorer(*scores, train=train)(Counting(RANKING), X, y)
    assert found == pytest.approx({"average_popularity@1": 8 / 3, "novelty@1": 5 / 3})


def test_scorer_pickles():
    scorer = pickle.loads(pickle.dumps(ranking_scorer("recall@1", "ndcg@2")))
    assert repr(scorer) == "ranking_scorer('recall@1', 'ndcg@2')"
    assert scorer(Counting(RANKING), None, [5, 1, 9]) == {"recall@1": 1.0, "ndcg@2": 1.0}


@pytest.mark.parametrize("name", ["recall", "recall@0", "precision@10", "ndcg@-1", "ndcg@2.5", 20])
def test_scorer_names_an_unknown_metric(name):
    with pytest.raises(ValueError, match=f"got {name!r}"):
        ranking_scorer("recall@10", name)


def test_scorer_leaves_unknown_rows_out():
    score = ranking_scorer("recall@1", "mrr@4", "coverage@1", train=[[1]])
    model = Counting(RANKING)
    model.items_ = np.arange(1, 10)
    assert score(model, None, [None, 1, 2]) == {
        "recall@1": 0.5,
        "mrr@4": pytest.approx((1 + 1 / 3) / 2),
        "coverage@1": pytest.approx(2 / 9),
    }
    with pytest.raises(ValueError, match=r"^y: no row has a held-out item$"):
        score(model, None, [None, np.nan, None])


def test_scorer_of_every_metric():
    model = Counting(RANKING)
    model.items_ = np.array([1, 2, 3, 4, 5, 9])
    X, y = [[1, 1, 1], [2], [3, 4]], [5, 2, 1]
    vectors = np.eye(6)
    scores = ranking_scorer(
        "head_recall@4", "tail_recall@1", "coverage@1", "gini@2", "novelty@1",
        "average_popularity@2", "intra_list_diversity@3", "map@2", "hit_rate@2",
        embeddings=(model.items_, vectors),
    )(model, X, y)  # fmt: skip
    assert scores == {
        "head_recall@4": 0.0 + 1.0,  # of 1, which is ranked second in row 2
        "tail_recall@1": 1 / 2,
        "coverage@1": 3 / 6,
        "gini@2": gini([2, 1, 1, 0, 1, 1]),
        "novelty@1": pytest.approx((math.log2(6) + 1 + math.log2(6)) / 3),
        "average_popularity@2": pytest.approx(((0 + 1) + (3 + 1) + (0 + 3)) / 6),
        "intra_list_diversity@3": pytest.approx(1),
        "map@2": pytest.approx((1 + 1 / 2 + 1 / 2) / 3),
        "hit_rate@2": 1,
    }
    with pytest.raises(ValueError, match="Counting has no item_embeddings_"):
        ranking_scorer("intra_list_diversity@3")(model, X, y)


def test_scorer_finds_the_catalogue_in_a_pipeline_and_a_search():
    X, y = [[1, 2], [1, 2, 3], [3, 1]], [3, 1, 2]
    scores = ranking_scorer("coverage@1", "recall@1", train=X)
    pipe = Pipeline([("mine", PatternMiner(min_support=1)), ("popular", Popularity())])
    search = GridSearchCV(
        pipe, {"mine__window_size": [2, 3]}, cv=LeaveLastOut(), scoring=scores, refit="recall@1"
    ).fit(X, y)
    first = search.best_estimator_.predict(X, k=1).ravel().tolist()
    wanted = len(set(first) - {-1}) / 3  # a row whose items were all seen has none
    assert scores(search.best_estimator_, X, y)["coverage@1"] == wanted
    assert search.cv_results_["mean_test_coverage@1"].tolist() == [wanted, wanted]
    assert scores(search, X, y) == scores(search.best_estimator_, X, y)


def test_scorer_finds_the_catalogue_of_the_last_step_within_a_personalizer():
    model, pipe = Counting(RANKING), Counting(RANKING)
    model.items_ = np.arange(10)
    personalizer = SimpleNamespace(recommender_=model)
    pipe.steps = [("mine", None), ("filter", None), ("personalize", personalizer)]
    assert ranking_scorer("coverage@1", train=[[1]])(pipe, None, [5, 1, 2]) == 3 / 10


def test_scorer_of_a_search_within_a_cross_validation():
    X, y = [[1, 2], [1, 2, 3], [3, 1]] * 2, [3, 1, 2] * 2
    inner = GridSearchCV(SequentialRules(), {"max_gap": [1, 2]}, cv=LeaveLastOut())
    found = cross_validate(inner, X, y, cv=LeaveLastOut(), scoring=ranking_scorer("recall@1"))
    alone = ranking_scorer("recall@1")(clone(inner).fit(X, y).best_estimator_, X, y)
    assert found["test_score"].tolist() == [alone]


@pytest.mark.parametrize("refit", [True, False])
def test_scorer_of_a_search_that_holds_no_estimator(refit):
    search = GridSearchCV(Popularity(), {"exclude_seen": [True]}, cv=LeaveLastOut(), refit=refit)
    error, message = NotFittedError, "GridSearchCV instance is not fitted"
    if not refit:
        search.fit([[1, 2], [1]], [3, 2])
        error, message = ValueError, "GridSearchCV has refit=False, so it keeps no estimator"
    with pytest.raises(error, match=message):
        ranking_scorer("recall@1")(search, [[1]], [2])


def test_what_a_model_lacks_is_named():
    model = Popularity().fit([[1, 2], [2, 3]])
    with pytest.raises(ValueError, match="Popularity has no item_embeddings_, which the metric"):
        ranking_scorer("intra_list_diversity@2")(model, [[1], [2]], [2, 3])


@pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k])
def test_rows_of_truth_and_of_rankings_are_as_many_and_some(metric):
    with pytest.raises(ValueError, match="y_true has 1 entries, y_pred has 2 rows"):
        metric([[1, 2]], [[1, 2], [2, 1]], 1)
    with pytest.raises(ValueError, match=r"^y_true, y_pred: there is no row$"):
        metric(Sequences([[1]])[:0], np.zeros((0, 2), int), 1)


def test_scorer_needs_metrics_and_y():
    message = "ranking_scorer needs at least one metric, such as 'ndcg@20'"
    with pytest.raises(ValueError, match=f"^{message}$"):
        ranking_scorer()
    score = ranking_scorer("recall@1")
    message = "y is None: a ranking score needs the held-out item of each row"
    with pytest.raises(ValueError, match=f"^{message}$"):
        score(Counting(RANKING), None, None)
    message = "^y has 2 entries, X has 3 rows: they must be equal$"
    for y in ([1, 2], [[1, 2], [2]]):
        with pytest.raises(ValueError, match=message):
            score(Counting(RANKING), None, y)
    with pytest.raises(TypeError, match=r"^y holds str ids, the rankings int ids: they cannot"):
        score(Counting(RANKING), None, ["1", "2", "3"])
