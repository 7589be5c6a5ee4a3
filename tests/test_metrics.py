"""Metrics against tables worked out by hand and against a plain loop."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_dr4sr.baselines import Popularity
from sklearn_dr4sr.metrics import ndcg_at_k, ranking_scorer, recall_at_k

RANKING = [[5, 3, 9, 1], [1, 2, 3, 4], [9, 1, 2, 3]]


@pytest.mark.parametrize(
    ("truth", "k", "recall", "ndcg"),
    [
        ([5, 1, 9], 1, 1, 1),
        ([3, 2, 1], 1, 0, 0),
        ([3, 2, 1], 2, 1, 1 / math.log2(3)),
        ([5, 2, 3], 3, 2 / 3, (1 + 1 / math.log2(3)) / 3),
        ([9, 3, 7], 4, 2 / 3, 1 / 3),  # rank 3 gains 1 / log2(4) = 1 / 2, twice
        ([None, 1, None], 2, 1, 1),
        ([None, 7, 3], 4, 1 / 2, 1 / math.log2(5) / 2),
    ],
)
def test_by_hand(truth, k, recall, ndcg):
    assert recall_at_k(truth, RANKING, k) == pytest.approx(recall)
    assert ndcg_at_k(truth, RANKING, k) == pytest.approx(ndcg)


@given(st.data())
def test_against_a_plain_loop(data):
    n_rows, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 7))
    names = data.draw(st.sampled_from([list(range(9)), list("abcdefghi")]))
    ranked = [data.draw(st.permutations(names))[:width] for _ in range(n_rows)]
    truth = [data.draw(st.sampled_from([None, *names])) for _ in range(n_rows)]
    truth[0] = names[0]
    k = data.draw(st.integers(1, width))
    gains, hits = [], []
    for item, row in zip(truth, ranked, strict=True):
        if item is None:
            continue
        hits.append(item in row[:k])
        gains.append(1 / math.log2(row.index(item) + 2) if item in row[:k] else 0)
    assert recall_at_k(truth, ranked, k) == pytest.approx(sum(hits) / len(hits))
    assert ndcg_at_k(truth, ranked, k) == pytest.approx(sum(gains) / len(gains))


@pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k])
@pytest.mark.parametrize("k", [0, 5, -1, 1.0, True, None])
def test_k_lies_within_the_ranking(metric, k):
    with pytest.raises(ValueError, match=rf"k must be an integer in 1 \.\. 4 .*got {k!r}"):
        metric([1, 2, 3], RANKING, k)


@pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k])
def test_bad_shapes_and_no_truth(metric):
    with pytest.raises(ValueError, match="y has 2 entries, X has 3 rows"):
        metric([1, 2], RANKING, 1)
    with pytest.raises(ValueError, match=r"y_pred.*shape \(4,\)"):
        metric([1], [1, 2, 3, 4], 1)
    with pytest.raises(ValueError, match="no row has a held-out item"):
        metric([None, np.nan, None], RANKING, 1)


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
    assert ranking_scorer("recall@20")(model, [ids[:1], ids[:2]], [ids[1], ids[0]]) == 0.5


def test_scorer_pickles():
    scorer = pickle.loads(pickle.dumps(ranking_scorer("recall@1", "ndcg@2")))
    assert repr(scorer) == "ranking_scorer('recall@1', 'ndcg@2')"
    assert scorer(Counting(RANKING), None, [5, 1, 9]) == {"recall@1": 1.0, "ndcg@2": 1.0}


@pytest.mark.parametrize("name", ["recall", "recall@0", "map@10", "ndcg@-1", "ndcg@2.5", 20])
def test_scorer_names_an_unknown_metric(name):
    with pytest.raises(ValueError, match=f"got {name!r}"):
        ranking_scorer("recall@10", name)


def test_scorer_needs_metrics_and_y():
    with pytest.raises(ValueError, match="at least one metric"):
        ranking_scorer()
    with pytest.raises(ValueError, match="y is None"):
        ranking_scorer("recall@1")(Counting(RANKING), None, None)
