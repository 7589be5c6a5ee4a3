"""top_k against a stable argsort, and the template that every recommender follows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone

import sklearn_dr4sr.ranking as ranking
from sklearn_dr4sr.baselines import MarkovChain, Popularity
from sklearn_dr4sr.metrics import recall_at_k
from sklearn_dr4sr.ranking import BaseRecommender, top_k
from sklearn_dr4sr.recommenders import RankBlend


class Constant(BaseRecommender):
    """A model that has collapsed: every item has the same score."""

    def __init__(self, value=0.0, exclude_seen=False):
        self.value = value
        self.exclude_seen = exclude_seen

    def _fit(self, dataset, target):
        self.dataset_, self.target_ = dataset, target

    def _scores(self, histories):
        return torch.full((len(histories), len(self.items_)), self.value)


few_values = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 1.0])
any_values = st.floats(allow_nan=False, width=32)
matrices = st.tuples(st.integers(1, 4), st.integers(1, 12)).flatmap(
    lambda shape: st.one_of(
        arrays(np.float32, shape, elements=few_values),
        arrays(np.float32, shape, elements=any_values),
    )
)


@given(matrices, st.data())
def test_top_k_is_a_stable_argsort(scores, data):
    k = data.draw(st.integers(1, scores.shape[1]))
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    columns, values = top_k(torch.from_numpy(scores.copy()), k)
    np.testing.assert_array_equal(columns, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(scores, expected, axis=1))


def test_ties_at_the_border_go_to_the_first_columns():
    scores = torch.zeros(1, 1000)
    scores[0, 700] = 1.0
    columns, _ = top_k(scores, 4)
    assert columns.tolist() == [[700, 0, 1, 2]]


def test_a_nan_score_raises_wherever_it_stands():
    for column in range(5):
        scores = torch.arange(5.0).repeat(3, 1)
        scores[1, column] = torch.nan
        with pytest.raises(ValueError, match="NaN"):
            top_k(scores, 2)
    with pytest.raises(ValueError, match="NaN"):
        Constant(np.nan).fit([[1, 2]]).predict([[1]])


def test_a_collapsed_model_does_not_find_the_held_out_items():
    items = list(range(1, 101))
    truth = np.arange(1, 101)
    ranked = Constant().fit([items]).predict([[1]] * 100, k=10)
    assert ranked.tolist() == [items[:10]] * 100
    assert recall_at_k(truth, ranked, k=10) == 0.1


def test_excluded_items_leave_the_ranking_and_its_end_is_marked():
    model = Constant(exclude_seen=True).fit([[1, 2, 3, 4]])
    assert model.predict([[2], [4, 1, 2], [1, 2, 3, 4]], k=3).tolist() == [
        [1, 3, 4],
        [3, -1, -1],
        [-1, -1, -1],
    ]
    model = Constant(exclude_seen=True).fit([["a", "b"]])
    assert model.predict([["b"], ["a", "b"]], k=2).tolist() == [["a", None], [None, None]]
    assert Constant().fit([["a", "b"]]).predict([["b"]], k=2).tolist() == [["a", "b"]]


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None, "3"])
def test_k_is_a_positive_integer(k):
    with pytest.raises(ValueError, match=f"k must be .* got {k!r}"):
        Popularity().fit([[1, 2]]).predict([[1]], k=k)


def test_k_is_cut_to_the_catalogue():
    assert Constant().fit([[1, 2, 3]]).predict([[1]], k=10).shape == (1, 3)


def test_chunks_do_not_change_what_is_ranked(monkeypatch):
    rows = [[1, 2, 3], [2, 3], [3, 1], [], [9], [1, 3, 2]]
    model = MarkovChain().fit(rows)
    whole, scores = model.predict(rows, k=3), model.decision_function(rows)
    monkeypatch.setattr(ranking, "CHUNK_SIZE", 2 * len(model.items_))
    np.testing.assert_array_equal(model.predict(rows, k=3), whole)
    np.testing.assert_array_equal(model.decision_function(rows), scores)
    assert scores.dtype == np.float32
    assert scores.shape == (6, 4)


def test_fit_hands_on_codes_of_the_catalogue_and_targets():
    model = Constant().fit([["b", "d"], ["a", "b"], ["d"]], ["a", "x", None])
    assert model.items_.tolist() == ["a", "b", "d"]
    assert model.dataset_.patterns.codes.tolist() == [1, 2, 0, 1, 2]
    assert model.dataset_.histories.codes.tolist() == [1, 2, 0, 1, 2]
    assert model.target_.tolist() == [0, -1, -2]
    assert Constant().fit([["b", "d"]]).target_ is None


@pytest.mark.parametrize("model", [Constant(), Popularity(), MarkovChain()], ids=repr)
def test_ids_of_y_are_of_the_kind_of_x(model):
    model = clone(model)
    with pytest.raises(TypeError, match=r"y, row 1: expected an int, .* got '3'"):
        model.fit([[1, 2], [2, 3]], [None, "3"])
    assert not hasattr(model, "items_")
    model.fit([[1, 2], [2, 3]])
    with pytest.raises(TypeError, match=r"y, row 1: expected an int, .* got 'b'"):
        model.score([[1], [2]], [2, "b"])
    with pytest.raises(TypeError, match="y holds str ids, the rankings int ids"):
        model.score([[1], [2]], ["2", "3"])


def test_fit_warns_where_no_held_out_item_can_be_ranked():
    with pytest.warns(UserWarning, match=r"y: X holds none of its items \(row 1: 8\)"):
        Constant().fit([[1, 2], [2, 3], [3, 1]], [None, 8, 9])
    Constant().fit([[1, 2], [2, 3]], [8, 1])  # one is enough
    Constant().fit([[1, 2], [2, 3]], [None, None])  # nothing is held out


def test_fit_needs_a_transition():
    model = Constant()
    with pytest.raises(ValueError, match=r"no sequence of X holds two items.*2 sample"):
        model.fit([[1], [2]])
    assert not hasattr(model, "items_")


def test_score_is_ndcg_at_20():
    model = Popularity().fit([[1, 2, 3], [1, 2], [1, 4]])
    assert model.score([[1], [1], [2]], [2, 3, None]) == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_width_is_noted_for_matrices_only():
    model = Popularity().fit(np.array([[1, 2, 0], [3, 1, 2]]))
    assert model.n_features_in_ == 3
    assert not hasattr(model.fit([[1, 2]]), "n_features_in_")


def test_ids_of_another_kind_are_not_taken_for_unknown_ones():
    model = MarkovChain().fit([[1, 2], [2, 3]])
    with pytest.raises(TypeError, match="such as '1' where those that are known are such as 1"):
        model.predict([["1"], ["2"]])
    with pytest.raises(TypeError, match="exclude: item ids such as '2'"):
        model.recommend([[1]], k=2, exclude=["2"])
    assert model.predict([[], [9]], k=1).tolist() == [[2], [2]]


def test_rows_at_once_depend_on_what_a_row_costs(monkeypatch):
    at_once = []

    class Costly(Constant):
        def _row_cost(self, n_items):
            return 10 * n_items

        def _scores(self, histories):
            at_once.append(len(histories))
            return super()._scores(histories)

    monkeypatch.setattr(ranking, "CHUNK_SIZE", 100)
    for model in (Costly(), RankBlend([("costly", Costly())]).set_params(transforms=["none"])):
        at_once.clear()
        model.fit([[1, 2], [2, 1]]).predict([[1]] * 12, k=1)
        assert at_once == [5, 5, 2]
