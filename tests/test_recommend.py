"""Recommendations as a long table, against a plain loop over the scores of decision_function."""

import builtins
import sys
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sklearn_dr4sr.ranking as ranking
from sklearn_dr4sr import DatasetPersonalizer
from sklearn_dr4sr.baselines import Popularity
from sklearn_dr4sr.datasets import sequences_from_interactions
from sklearn_dr4sr.ranking import BaseRecommender
from sklearn_dr4sr.recommenders import SASRec

N_ITEMS = 9
HISTORIES = [[1, 4, 2], [], [99, 3], [9, 8, 7, 6, 5, 4, 3, 2, 1], [5]]


class Scored(BaseRecommender):
    """Few different scores, so that many are equal; a function of the history's length."""

    def __init__(self, exclude_seen=True):
        self.exclude_seen = exclude_seen

    def _fit(self, dataset, target):
        self.grid_ = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (10, N_ITEMS)) / 2)

    def _scores(self, histories):
        return self.grid_[torch.from_numpy(histories.lengths)].clone()


@pytest.fixture(scope="module")
def model():
    return Scored().fit([list(range(1, N_ITEMS + 1))])


def by_loop(model, k, seen, exclude=(), only=None):
    """The table's lines: sort all items of a user, take the first k that are allowed."""
    lines = []
    for user, scores in enumerate(model.decision_function(HISTORIES)):
        order = sorted(range(N_ITEMS), key=lambda item, s=scores: (-s[item], item))
        barred = set(exclude) | (set(HISTORIES[user]) if seen else set())
        kept = [
            item + 1
            for item in order
            if item + 1 not in barred and (only is None or item + 1 in only)
        ]
        for rank, item in enumerate(kept[:k], start=1):
            lines.append((user, item, float(scores[item - 1]), rank))
    return lines


ids = st.lists(st.integers(1, N_ITEMS + 2), max_size=6)


@given(st.integers(1, N_ITEMS + 3), st.sampled_from([None, True, False]), ids, st.none() | ids)
def test_equals_a_loop_over_the_scores(k, exclude_seen, exclude, only):
    model = Scored().fit([list(range(1, N_ITEMS + 1))])
    if only is not None and not set(only) & set(range(1, N_ITEMS + 1)):
        with pytest.raises(ValueError, match=f"only: none of its {len(only)} items"):
            model.recommend(HISTORIES, k, only=only)
        return
    table = model.recommend(HISTORIES, k, exclude_seen=exclude_seen, exclude=exclude, only=only)
    assert list(table.columns) == ["user", "item", "score", "rank"]
    expected = by_loop(model, k, exclude_seen is not False, exclude, only)
    assert list(table.itertuples(index=False, name=None)) == expected


@pytest.mark.parametrize("estimator", [Popularity(), SASRec(max_epochs=1, random_state=0)])
def test_agrees_with_predict_in_any_chunks(estimator, monkeypatch):
    rows = [[1, 2, 3, 4], [2, 3, 1], [4, 5, 6, 1]]
    model = estimator.fit(rows)
    table = model.recommend([*rows, []], k=3)
    for user, ranked in enumerate(model.predict([*rows, []], k=3).tolist()):
        assert table["item"][table["user"] == user].tolist() == [i for i in ranked if i != -1]
    scores = model.decision_function([*rows, []])
    columns = np.searchsorted(model.items_, table["item"])
    np.testing.assert_array_equal(table["score"], scores[table["user"], columns])
    monkeypatch.setattr(ranking, "CHUNK_SIZE", 2 * len(model.items_))
    pd.testing.assert_frame_equal(model.recommend([*rows, []], k=3), table)


def test_users_of_any_kind_and_without_scores():
    model = Popularity().fit([["a", "b"], ["b", "a", "c"]])
    table = model.recommend([["a"], ["c"]], k=1, user_ids=["ann", "bob"], with_scores=False)
    assert table.to_dict("list") == {"user": ["ann", "bob"], "item": ["b", "a"], "rank": [1, 1]}
    for users in ([7, 3], np.array([7, 3]), pd.Series([7, 3], index=[5, 6]), [("a", 1), ("b", 2)]):
        assert model.recommend([["a"], ["c"]], k=1, user_ids=users)["user"].tolist() == list(users)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_the_table_is_of_the_library_of_the_users(library, model):
    pytest.importorskip("narwhals")
    pa = pytest.importorskip(library)
    users = (
        pa.Series("id", list("vwxyz")) if library == "polars" else pa.chunked_array([[*"vwxyz"]])
    )
    table = model.recommend(HISTORIES, 2, user_ids=users)
    assert type(table).__module__.startswith(library)
    got = table.to_dicts() if library == "polars" else table.to_pylist()
    assert got == model.recommend(HISTORIES, 2, user_ids=list("vwxyz")).to_dict("records")
    if library == "pyarrow":
        assert model.recommend(HISTORIES, 2, user_ids=pa.array(list("vwxyz"))).equals(table)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
@pytest.mark.parametrize("ids", [[1, 2], ["a", "b"], [datetime(2024, 1, 1), datetime(2024, 1, 2)]])
def test_types_do_not_depend_on_how_many_lines_there_are(library, ids):
    nw = pytest.importorskip("narwhals")
    pytest.importorskip(library)
    dtype = {int: nw.Int32, str: nw.Categorical, datetime: nw.Datetime("ms", "UTC")}[type(ids[0])]
    users = nw.new_series("id", ids, backend=library)
    if dtype == nw.Datetime:
        users = users.dt.replace_time_zone("UTC")
    users = users.cast(dtype)
    rows = [["x", "y"], ["y", "x"]]
    model = Popularity().fit(rows)
    some = nw.from_native(model.recommend(rows, user_ids=users.to_native(), exclude_seen=False))
    none = nw.from_native(model.recommend(rows, user_ids=users.to_native(), exclude_seen=True))
    assert (len(some), len(none)) == (4, 0)
    wanted = {"user": dtype, "item": nw.String, "score": nw.Float32, "rank": nw.Int64}
    assert dict(some.schema) == dict(none.schema) == wanted
    assert len(nw.concat([none, some])) == 4
    assert some["user"].to_list() == users[[0, 0, 1, 1]].to_list()


def test_a_log_of_polars_gives_recommendations_in_polars(monkeypatch):
    pytest.importorskip("narwhals")
    pl = pytest.importorskip("polars")
    log = pl.DataFrame({"user": [*"baab"], "item": [2, 3, 2, 4], "time": [4, 2, 1, 3]})
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = sequences_from_interactions(log, min_count=1, return_details=True)
    model = Popularity().fit(found.sequences)
    table = model.recommend(found.sequences, user_ids=found.users)
    assert isinstance(table, pl.DataFrame)
    assert table["user", "item", "rank"].rows() == [("a", 4, 1), ("b", 3, 1)]
    assert table.join(log, ["user", "item"]).is_empty()


@pytest.mark.parametrize("library", ["polars", "pyarrow", "pandas"])
def test_without_users_it_is_of_the_library_of_the_histories(library, model):
    pytest.importorskip("narwhals")
    module = pytest.importorskip(library)
    column = module.array(HISTORIES) if library == "pyarrow" else module.Series(HISTORIES)
    table = model.recommend(column, 2)
    assert type(table).__module__.startswith(library)
    expected = model.recommend(HISTORIES, 2)
    assert table["item"].to_numpy().tolist() == expected["item"].tolist()


def test_without_pandas_it_is_a_dict_of_arrays(model, monkeypatch):
    expected = model.recommend(HISTORIES, 2)
    real_import = builtins.__import__

    def absent(name, *args, **kwargs):
        if name in ("pandas", "narwhals"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "narwhals", raising=False)
    monkeypatch.setattr(builtins, "__import__", absent)
    table = model.recommend(HISTORIES, 2)
    assert type(table) is dict
    assert {name: column.tolist() for name, column in table.items()} == expected.to_dict("list")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be an integer of at least 1, got 0"),
        ({"user_ids": [1, 2]}, ValueError, "user_ids has 2 entries, X has 5 rows"),
        ({"user_ids": np.ones((5, 1))}, ValueError, r"user_ids: .* array of shape \(5, 1\)"),
        ({"exclude": 3}, TypeError, "exclude: expected a list of item ids, got 3"),
        ({"exclude": "tea"}, TypeError, "exclude: expected a list of item ids, got 'tea'"),
        ({"only": [1, -2]}, ValueError, r"only: row 0, position 1: .*got -2"),
        ({"only": [50]}, ValueError, "only: none of its 1 items was seen in fit"),
    ],
)
def test_what_does_not_fit_is_named(model, options, error, message):
    with pytest.raises(error, match=message):
        model.recommend(HISTORIES, **options)


def test_the_personalizer_recommends_with_its_recommender():
    rows = [[1, 2, 3, 4], [2, 3, 1, 4], [4, 1, 2, 3]] * 3
    small = SASRec(embedding_dim=4, hidden_dim=4, n_layers=1, max_epochs=1, random_state=0)
    fitted = DatasetPersonalizer(small, warmup_epochs=0, inner_steps=1).fit(rows)
    pd.testing.assert_frame_equal(
        fitted.recommend(rows[:2], 2, exclude_seen=False),
        fitted.recommender_.recommend(rows[:2], 2, exclude_seen=False),
    )
