"""Leave-one-out splitting by hand, and the splitter in scikit-learn's own searches."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, cross_validate

from sklearn_dr4sr import SequenceDataset
from sklearn_dr4sr.baselines import MarkovChain, Popularity
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import LeaveLastOut, global_time_split, leave_one_out


@pytest.fixture(scope="module")
def split():
    return leave_one_out(make_sequences(400, 60, random_state=0))


def test_rows_of_every_length():
    train, validation, history, test = leave_one_out([[1], [1, 2], [1, 2, 3], [1, 2, 3, 4], []])
    assert list(train) == [[1], [1], [1], [1, 2], []]
    assert validation.tolist() == [None, None, 2, 3, None]
    assert list(history) == [[1], [1], [1, 2], [1, 2, 3], []]
    assert test.tolist() == [None, 2, 3, 4, None]


def test_string_ids():
    split = leave_one_out([["tea", "cup", "pot"], ["tea", "jam"]])
    assert list(split.train) == [["tea"], ["tea"]]
    assert split.validation.tolist() == ["cup", None]
    assert split.test.tolist() == ["pot", "jam"]


def test_no_held_out_item_is_in_a_vocabulary():
    split = leave_one_out([[1, 2, 3, 4], [5, 6, 7]])
    assert split.train.items.tolist() == [1, 2, 5]
    assert split.history.items.tolist() == [1, 2, 3, 5, 6]


def test_splitter_yields_one_fold(split):
    X, y = [[1, 2], [3], [4, 5]], [None, 7, np.nan]
    splitter = LeaveLastOut()
    assert splitter.get_n_splits(X, y) == 1
    [(train, test)] = splitter.split(X, y)
    assert train.tolist() == [0, 1, 2]
    assert test.tolist() == [1]
    [(train, test)] = splitter.split(split.train, split.validation)
    assert len(train) == len(test) == 400


def test_splitter_asks_for_y():
    with pytest.raises(ValueError, match=r"needs y.*leave_one_out"):
        next(LeaveLastOut().split([[1, 2]]))
    with pytest.raises(ValueError, match="no row has a held-out item"):
        next(LeaveLastOut().split([[1, 2]], [None]))
    with pytest.raises(ValueError, match="y has 1 entries, X has 2 rows"):
        next(LeaveLastOut().split([[1, 2], [3]], [1]))


def test_cross_validate_scores_the_held_out_items(split):
    scorer = ranking_scorer("recall@10", "ndcg@10")
    result = cross_validate(
        MarkovChain(), split.train, split.validation, cv=LeaveLastOut(), scoring=scorer
    )
    expected = scorer(MarkovChain().fit(split.train), split.train, split.validation)
    assert result["test_recall@10"].tolist() == [expected["recall@10"]]
    assert result["test_ndcg@10"].tolist() == [expected["ndcg@10"]]


def test_rows_without_a_held_out_item_still_train():
    X, y = [[1, 2, 3], [1, 2], [3, 4]], [4, None, 1]
    result = cross_validate(
        Popularity(), X, y, cv=LeaveLastOut(), scoring=ranking_scorer("recall@1"),
        return_estimator=True, return_indices=True, error_score="raise",
    )  # fmt: skip
    assert result["estimator"][0].popularity_.tolist() == [2, 2, 2, 1]
    assert result["indices"]["test"][0].tolist() == [0, 2]


def test_grid_search_with_several_metrics_and_refit(split):
    search = GridSearchCV(
        MarkovChain(),
        {"max_gap": [1, 2], "n_recent": [1, 3]},
        cv=LeaveLastOut(),
        scoring=ranking_scorer("recall@10", "ndcg@10"),
        refit="ndcg@10",
        error_score="raise",
    ).fit(split.train, split.validation)
    assert search.best_score_ == search.cv_results_["mean_test_ndcg@10"].max()
    assert search.cv_results_["mean_test_recall@10"].shape == (4,)
    alone = MarkovChain(**search.best_params_).fit(split.train)
    np.testing.assert_array_equal(search.predict(split.history), alone.predict(split.history))


def test_grid_search_by_the_recommenders_own_score(split):
    search = GridSearchCV(Popularity(), {"exclude_seen": [True, False]}, cv=LeaveLastOut())
    search.fit(split.train, split.validation)
    assert search.best_params_ == {"exclude_seen": True}


def test_grid_search_without_y_says_what_is_missing(split):
    with pytest.raises(ValueError, match="LeaveLastOut needs y"):
        GridSearchCV(Popularity(), {}, cv=LeaveLastOut()).fit(split.train)


def test_global_time_split_by_hand():
    rows = [[1, 2, 3, 4], [5, 6], [7], [8, 9]]
    times = [[1, 5, 6, 9], [2, 3], [8], [5, 7]]
    split = global_time_split(rows, times, validation_from=5, test_from=7)
    assert list(split.train) == [[1], [5, 6], [], []]
    assert split.validation.tolist() == [2, None, None, 8]
    assert list(split.history) == [[1, 2, 3], [5, 6], [], [8]]
    assert split.test.tolist() == [4, None, 7, 9]
    flat = global_time_split(rows, np.concatenate(times), validation_from=5, test_from=7)
    assert flat.train == split.train
    assert flat.test.tolist() == split.test.tolist()


def test_nothing_trains_that_is_later_than_what_is_tested():
    rows = make_sequences(200, 40, random_state=0)
    rng = np.random.default_rng(0)
    times = np.concatenate([np.sort(rng.uniform(size=n)) for n in rows.lengths])
    split = global_time_split(rows, times)
    last = np.quantile(times, 0.8, method="higher")
    assert len(split.train.codes) == (times < last).sum()
    # a recommender takes what the split gives, empty rows and missing items included
    model = MarkovChain().fit(split.train, split.validation)
    assert model.predict(split.history, k=3).shape == (200, 3)


def test_global_time_split_names_what_is_wrong():
    with pytest.raises(ValueError, match="row 1: 1 times for 2"):
        global_time_split([[1], [2, 3]], [[1], [2]])
    with pytest.raises(ValueError, match="each of 3 interactions"):
        global_time_split([[1], [2, 3]], np.arange(2))
    with pytest.raises(ValueError, match="row 1: times must not fall"):
        global_time_split([[1], [2, 3]], [[1], [3, 2]])
    for moment in (np.nan, np.float32("nan")):
        with pytest.raises(ValueError, match=r"^validation_from is no moment, got .*nan"):
            global_time_split([[1], [2, 3]], [[1], [2, 3]], validation_from=moment, test_from=1)
    for moment in (np.datetime64("NaT"), pd.NaT):
        with pytest.raises(ValueError, match=r"^test_from is no moment, got .*NaT"):
            global_time_split([[1]], [np.array(["2026-01-01"], dtype="M8[s]")], test_from=moment)
    with pytest.raises(ValueError, match="test_from=1 lies before"):
        global_time_split([[1], [2, 3]], [[1], [2, 3]], validation_from=2, test_from=1)


STRUCTURED = np.dtype([("day", int), ("hour", int)])


@pytest.mark.parametrize(
    ("rows", "times", "error", "message"),
    [
        ([[]], np.zeros(0, STRUCTURED), ValueError, r"numbers or dates, got the dtype \[\('day'"),
        ([[1, 2]], np.zeros(2, STRUCTURED), ValueError, "numbers or dates"),
        ([[1], [2, 3]], [True, False, True], ValueError, "numbers or dates, got the dtype bool"),
        ([[1], [2, 3]], [1.0, 2.0, np.nan], ValueError, "row 1: a time is missing"),
        ([[1], [2]], np.array(["2020", "NaT"], "M8[D]"), ValueError, "row 1: a time is missing"),
        ([[1], [2]], 7, TypeError, "times: .* got 7"),
        ([[1], [2]], "ab", TypeError, "times: .* got 'ab'"),
        ([[1], [2, 3]], [[1], [2, 3], [4]], ValueError, "times has 3 rows, sequences has 2"),
        ([[1], [2, 3]], [[1], 2], TypeError, "row 1: expected its times, got 2"),
        ([[1], [2]], [{}, {1: [2]}], TypeError, "times: they do not compare|numbers or dates"),
        ([[1], [2, 3]], [1, None, 3], TypeError, "times: they do not compare with each other"),
        ([[1], [2, 3]], [1, "b", None], ValueError, "row 1: expected a number or .* the text 'b'"),
        ([[1, 2]], [["9", "10"]], ValueError, "expected numbers or dates, got the dtype <U2"),
        ([[1, 2]], [1 + 2j, 3j], ValueError, "numbers or dates, got the dtype complex"),
    ],
)
def test_bad_times_are_named(rows, times, error, message):
    for moments in ({}, {"validation_from": 1, "test_from": 2}):
        with pytest.raises(error, match=message):
            global_time_split(rows, times, **moments)


@pytest.mark.parametrize("moment", ["x", [1, 2], [[1], [2, 3]], np.array([1]), {}, pd.NA])
def test_moments_are_of_the_kind_of_times(moment):
    rows, times = [[1], [2, 3]], [[1], [2, 3]]
    for name in ("validation_from", "test_from"):
        with pytest.raises(TypeError, match=f"{name}: expected a time of the kind of times, got"):
            global_time_split(rows, times, **{name: moment})


def test_times_may_be_equal_within_a_row_and_begin_anew_in_the_next():
    split = global_time_split([[1, 2, 3], [4, 5]], [9, 9, 10, 1, 1], validation_from=9, test_from=9)
    assert list(split.train) == list(split.history) == [[], [4, 5]]
    assert split.validation.tolist() == [None, None]
    assert split.test.tolist() == [1, None]


def test_moments_are_quantiles_where_none_are_given():
    split = global_time_split([list(range(10))], [list(range(10))])
    assert list(split.train) == [list(range(8))]  # .8 of 0 .. 9 is 7.2: the time 8
    assert split.validation.tolist() == [8]
    assert list(split.history) == [list(range(9))]  # 8.1: the time 9
    assert split.test.tolist() == [9]
    given = global_time_split([list(range(10))], [list(range(10))], validation_from=2)
    assert list(given.train) == [[0, 1]]
    assert list(given.history) == [list(range(9))]
    given = global_time_split([list(range(10))], [list(range(10))], test_from=9.5)
    assert list(given.history) == [list(range(10))]


def test_splitter_is_shown_by_its_name():
    assert repr(LeaveLastOut()) == "LeaveLastOut()"
    assert LeaveLastOut().get_n_splits([[1]], [2], None) == 1


def test_without_interactions_the_moments_must_be_given():
    with pytest.raises(ValueError, match="times is empty"):
        global_time_split([[], []], [], test_from=3)
    split = global_time_split([[], []], [], validation_from=1, test_from=2)
    assert list(split.train) == list(split.history) == [[], []]
    assert split.test.tolist() == [None, None]


def test_times_are_taken_row_by_row_from_arrays_too():
    rows, times = [[1, 2], [3]], [np.array([1, 5]), np.array([4])]
    assert list(global_time_split(rows, times, validation_from=4, test_from=5).train) == [[1], []]
    with pytest.raises(TypeError, match="times: expected one time an interaction"):
        global_time_split(rows, iter([1, 5, 4]))
    with pytest.raises(TypeError, match="times: expected numbers or dates, got"):
        global_time_split([[1, 2]], [np.ones((2, 2)), np.ones((2, 3))])


def test_moments_between_large_integers_are_exact():
    """As doubles the ten times were one."""
    split = global_time_split([list(range(10))], [[2**62 + second for second in range(10)]])
    assert list(split.train) == [list(range(8))]


def test_moments_are_checked_without_interactions_too():
    with pytest.raises(TypeError, match="validation_from: expected a time of the kind of times"):
        global_time_split([[]], [], validation_from=[1], test_from=2)


def test_the_splitter_takes_a_data_set_without_making_its_patterns():
    def patterns():
        raise AssertionError("made")

    [(train, test)] = LeaveLastOut().split(SequenceDataset([[1], [2]], patterns), [3, None])
    assert train.tolist() == [0, 1]
    assert test.tolist() == [0]
    with pytest.raises(ValueError, match=r"^y: no row has a held-out item$"):
        next(LeaveLastOut().split([[1]], [None]))
