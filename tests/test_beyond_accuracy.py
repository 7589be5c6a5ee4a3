"""What is recommended: hand tables, and definitions over all pairs and all items."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_dr4sr import Sequences
from sklearn_dr4sr.metrics import (
    average_popularity_at_k,
    coverage_at_k,
    gini,
    gini_at_k,
    intra_list_diversity_at_k,
    novelty_at_k,
)

RANKING = [["tea", "cup", "pot"], ["tea", "pot", None], ["jam", None, None]]
CATALOGUE = ["cup", "jam", "milk", "pot", "tea"]
TRAIN = [["tea", "tea", "cup"], ["tea", "tea", "pot"], ["milk", "jam"]]  # of 8: 4, 1, 1, 1, 1


@pytest.mark.parametrize(
    ("metric", "k", "argument", "expected"),
    [
        (coverage_at_k, 1, CATALOGUE, 2 / 5),
        (coverage_at_k, 3, CATALOGUE, 4 / 5),
        (coverage_at_k, 3, 8, 4 / 8),
        (coverage_at_k, 3, 4, 1),
        (coverage_at_k, 3, np.array(CATALOGUE), 4 / 5),
        (gini_at_k, 1, CATALOGUE, (2 * 1 + 4 * 2) / (5 * 3)),  # of 0, 0, 0, 1, 2
        (gini_at_k, 1, 5, 10 / 15),
        (average_popularity_at_k, 1, TRAIN, (4 + 4 + 1) / 3),
        (average_popularity_at_k, 3, Sequences(TRAIN), (2 + 5 / 2 + 1) / 3),
        (average_popularity_at_k, 3, {"tea": 6}, (6 / 3 + 6 / 2 + 0) / 3),
        (novelty_at_k, 1, TRAIN, (1 + 1 + 3) / 3),
        (novelty_at_k, 3, TRAIN, ((1 + 3 + 3) / 3 + (1 + 3) / 2 + 3) / 3),
        (novelty_at_k, 1, {"tea": 3, "pot": 1, "jam": 0}, (2 * (2 - math.log2(3)) + 2) / 3),
    ],
)
def test_by_hand(metric, k, argument, expected):
    assert metric(RANKING, k, argument) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=9).filter(lambda x: sum(x) > 1e-3))
def test_gini_is_half_the_relative_mean_difference_of_pairs(counts):
    n = len(counts)
    pairs = sum(abs(a - b) for a in counts for b in counts) / n**2
    assert gini(counts) == pytest.approx(pairs / (2 * sum(counts) / n), abs=1e-9)


@given(st.data())
def test_diversity_is_the_mean_over_pairs(data):
    n_items, k = data.draw(st.integers(2, 6)), data.draw(st.integers(2, 4))
    seed = data.draw(st.integers(0, 99))
    vectors = np.random.default_rng(seed).normal(size=(n_items, 3))
    ids = data.draw(st.permutations(range(10)))[:n_items]  # in any order
    rows = [data.draw(st.permutations(ids))[:k] for _ in range(data.draw(st.integers(1, 4)))]
    rows = [row + [-1] * (k - len(row)) for row in rows]
    unit = {i: v / np.linalg.norm(v) for i, v in zip(ids, vectors, strict=True)}
    wanted = np.mean(
        [
            np.mean([1 - unit[a] @ unit[b] for a, b in combinations([i for i in row if i >= 0], 2)])
            for row in rows
        ]
    )
    assert intra_list_diversity_at_k(rows, k, ids, vectors) == pytest.approx(wanted)


def test_one_item_is_a_catalogue():
    assert coverage_at_k([[7]], 1, 1) == 1
    assert gini_at_k([[7]], 1, 1) == 0


@pytest.mark.parametrize("metric", [average_popularity_at_k, novelty_at_k])
def test_counts_of_ids_of_the_other_kind_are_refused(metric):
    with pytest.raises(TypeError, match="such as 1 where those that are known are such as '1'"):
        metric([[1, 2]], 2, {"1": 3, "2": 5})  # as JSON has them


def test_a_row_without_an_item_is_left_out():
    ranking = [[5, 6], [-1, -1], [6, -1]]
    assert average_popularity_at_k(ranking, 2, {5: 4, 6: 2}) == (3 + 2) / 2
    assert novelty_at_k(ranking, 2, {5: 6, 6: 2}) == pytest.approx(
        ((3 - math.log2(6) + 2) / 2 + 2) / 2
    )


def test_numbers_may_be_objects():
    assert gini(np.array([1, 3.0], dtype=object)) == 0.25


def test_a_row_of_one_item_has_no_diversity():
    vectors = [[1.0, 0], [0, 2]]
    assert intra_list_diversity_at_k([[1, 2], [1, -1]], 2, [1, 2], vectors) == pytest.approx(1)
    with pytest.raises(ValueError, match=r"^y_pred: no row has two items$"):
        intra_list_diversity_at_k([[1, -1]], 2, [1, 2], vectors)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: coverage_at_k(RANKING, 3, ["tea", "cup"]), ValueError, "catalogue: item 'jam'"),
        (lambda: coverage_at_k(RANKING, 3, 3), ValueError, "catalogue=3, but 4 items"),
        (lambda: coverage_at_k(RANKING, 3, []), ValueError, "^catalogue holds no item$"),
        (lambda: coverage_at_k(RANKING, 3, [[], [0]]), TypeError, "catalogue: row 0, position 0"),
        (lambda: coverage_at_k(RANKING, 4, 9), ValueError, r"k must be an integer in 1 \.\. 3"),
        (lambda: coverage_at_k([[1.5]], 1, 9), TypeError, r"row 0: .* got 1\.5"),
        (lambda: gini([0, 0]), ValueError, "not all 0"),
        (lambda: gini([]), ValueError, "not all 0"),
        (lambda: gini([1, -1]), ValueError, "not negative"),
        (lambda: gini([1, np.nan]), ValueError, "nan"),
        (
            lambda: gini(5),
            ValueError,
            r"^counts: expected numbers in one dimension, .* not all 0, got array\(5\)$",
        ),
        (lambda: gini(["5"]), TypeError, r"^counts: expected numbers, got \['5'\]$"),
        (lambda: gini([1, 2j]), TypeError, r"^counts: expected numbers, got \[1, 2j\]$"),
        (lambda: novelty_at_k(RANKING, 1, {"tea": 0}), ValueError, "^train: the counts are all 0$"),
        (lambda: novelty_at_k([[None]], 1, TRAIN), ValueError, "^y_pred: no row has an item$"),
        (lambda: gini_at_k([[None]], 1, 5), ValueError, "^y_pred: no row has an item$"),
        (lambda: novelty_at_k([[1]], 1, {1: math.inf}), ValueError, "item 1 .* inf"),
        (
            lambda: intra_list_diversity_at_k([[1, 2]], 1, [1, 2], np.eye(2)),
            ValueError,
            "k must be at least 2",
        ),
        (
            lambda: intra_list_diversity_at_k([[1, 2]], 2, [1, 2], np.eye(3)),
            ValueError,
            r"one row for each of 2 items, got the shape \(3, 3\)",
        ),
        (
            lambda: intra_list_diversity_at_k([[1, 2]], 2, [1, 2], [[1, 0], [0, 0]]),
            ValueError,
            "embeddings, row 1",
        ),
        (
            lambda: intra_list_diversity_at_k([[1, 3]], 2, [1, 2], np.eye(2)),
            ValueError,
            "embeddings: item 3 is not among them",
        ),
        (
            lambda: intra_list_diversity_at_k([[1, 2]], 2, 2, np.eye(2)),
            TypeError,
            "^items: expected a list of item ids, got 2$",
        ),
        (
            lambda: intra_list_diversity_at_k([[1, 2]], 2, [1, 2], "ab"),
            TypeError,
            "^embeddings: expected numbers, got 'ab'$",
        ),
    ],
)
def test_errors_name_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
