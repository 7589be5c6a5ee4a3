"""Paired comparisons against scipy's permutation test and bootstrap, and Holm against its proof."""

import inspect
import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sklearn_dr4sr.metrics import (
    Comparison,
    compare_rankings,
    compare_to_baseline,
    holm,
    mrr_at_k,
    ndcg_at_k,
    recall_at_k,
    sign_flip_test,
)

#: scipy 1.15 renamed the argument.
HAS_RNG = "rng" in inspect.signature(stats.permutation_test).parameters
SEED = {"rng": 0} if HAS_RNG else {"random_state": 0}


def scipys(difference, n_resamples=10_000):
    return stats.permutation_test(
        (np.asarray(difference, dtype=float),),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=n_resamples,
        **SEED,
    ).pvalue


small = st.lists(st.integers(-4, 4), min_size=2, max_size=9).filter(any)


@settings(deadline=None, max_examples=50)
@given(small)
def test_exact_where_all_flips_are_taken(difference):
    assert sign_flip_test(difference) == pytest.approx(scipys(difference))


@given(small)
def test_sums_that_differ_by_rounding_are_equal(difference):
    flips = list(product([1, -1], repeat=len(difference)))
    sums = [abs(sum(s * d for s, d in zip(flip, difference, strict=True))) for flip in flips]
    wanted = sum(value >= sums[0] for value in sums) / len(flips)  # in integers
    assert sign_flip_test(np.array(difference) / 7) == wanted


def test_at_random_within_the_scatter_of_scipys():
    rng = np.random.default_rng(0)
    for shift in (0.05, 0.15):
        difference = rng.normal(shift, 1, size=100)
        p = sign_flip_test(difference, n_resamples=10_000)
        scatter = np.sqrt(p * (1 - p) / 10_000) + 1e-4
        assert abs(p - scipys(difference, 10_000)) < 6 * scatter


def test_chunks_do_not_change_the_test(monkeypatch):
    difference = np.random.default_rng(1).normal(0.1, 1, size=300)
    whole = sign_flip_test(difference, n_resamples=5000)
    monkeypatch.setattr("sklearn_dr4sr.metrics.comparison.CHUNK_SIZE", 10_000)
    assert abs(sign_flip_test(difference, n_resamples=5000) - whole) < 0.03


@pytest.mark.parametrize("chunk_size", [2**22, 10_000, 1])
def test_as_many_flips_as_asked_for_are_drawn(monkeypatch, chunk_size):
    monkeypatch.setattr("sklearn_dr4sr.metrics.comparison.CHUNK_SIZE", chunk_size)
    every_flip_is_as_extreme = [1, -1] * 50
    for n_resamples in (1, 250, np.uint8(250)):
        assert sign_flip_test(every_flip_is_as_extreme, n_resamples=n_resamples) == 1
    assert sign_flip_test([3], n_resamples=1) == 1


def test_all_flips_are_taken_if_they_are_no_more_than_asked_for():
    assert sign_flip_test([1, 1, 1], n_resamples=8) == 2 / 8  # at random it would be in ninths
    assert sign_flip_test([1, 1, 1], n_resamples=7, random_state=0) != sign_flip_test(
        [1, 1, 1], n_resamples=7, random_state=1
    )
    assert sign_flip_test([3]) == 1


def test_p_does_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(0)
    difference = np.append(rng.normal(0, 0.1, size=93), np.full(4, 5.0))  # the last four decide
    p = [sign_flip_test(rows, random_state=0) for rows in (difference, difference[::-1])]
    assert p[0] == pytest.approx(p[1], abs=0.02)
    assert p[0] < 2 / 16


def test_p_is_uniform_without_a_difference():
    rng = np.random.default_rng(0)
    p = [sign_flip_test(rng.normal(size=40), n_resamples=199, random_state=i) for i in range(300)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_p_does_not_depend_on_units_or_rows_without_a_difference():
    difference = np.random.default_rng(0).normal(0.2, 1, size=100)
    p = sign_flip_test(difference)
    assert sign_flip_test(np.append(-8 * difference, np.zeros(50))) == p
    assert sign_flip_test(np.zeros(5)) == 1
    assert sign_flip_test(np.ones(1000)) == 1 / 10_001


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(p):
    indices = range(len(p))
    subsets = [s for n in range(1, len(p) + 1) for s in combinations(indices, n)]
    for i, adjusted in enumerate(holm(p)):
        wanted = max(min(1, len(s) * min(p[j] for j in s)) for s in subsets if i in s)
        assert adjusted == pytest.approx(wanted)


def test_by_hand():
    ranking_a, ranking_b = [[1], [2], [3], [9]], [[9], [2], [9], [9]]
    found = compare_rankings([1, 2, 3, 4], ranking_a, ranking_b, "recall@1")["recall@1"]
    error = 1.959963985 * math.sqrt(1 / 3 / 4)  # of 1, 0, 1, 0: squares from the mean sum to 1
    assert found.interval == pytest.approx((0.5 - error, 0.5 + error))
    assert (found.difference, found.relative, found.p_value) == (0.5, 2.0, 0.5)
    none = compare_rankings([1, 2], [[1], [2]], [[2], [1]], "recall@1")["recall@1"]
    assert math.isnan(none.relative)


def test_a_comparison_is_written_in_a_line():
    one = Comparison("ndcg@20", 0.3, 0.25, 0.05, 0.2, (-0.01, 0.11), 0.01234, 100)
    line = "ndcg@20: +0.05000 (+20.0%), interval -0.01000 .. +0.11000, p = 0.0123"
    assert str(one) == line
    assert str(replace(one, p_adjusted=0.03702)) == line + ", adjusted 0.0370"


@pytest.fixture(scope="module")
def rankings():
    rng = np.random.default_rng(0)
    first, second = (np.array([rng.permutation(12)[:8] for _ in range(150)]) for _ in range(2))
    truth = np.where(rng.uniform(size=150) < 0.3, first[:, 0], rng.integers(0, 12, size=150))
    return truth, first, second


def test_means_are_those_of_the_metrics(rankings):
    truth, a, b = rankings
    found = compare_rankings(truth, a, b, ("ndcg@5", "recall@3", "mrr@8"))
    for name, metric, k in (
        ("ndcg@5", ndcg_at_k, 5), ("recall@3", recall_at_k, 3), ("mrr@8", mrr_at_k, 8)
    ):  # fmt: skip
        one = found[name]
        mean_a, mean_b = metric(truth, a, k), metric(truth, b, k)
        assert (one.mean_a, one.mean_b) == pytest.approx((mean_a, mean_b))
        assert one.difference == pytest.approx(mean_a - mean_b)
        assert one.relative == pytest.approx(mean_a / mean_b - 1)
        assert one.n_rows == 150
        assert one.p_adjusted is None
    turned = compare_rankings(truth, b, a, "ndcg@5")["ndcg@5"]
    assert turned.difference == pytest.approx(-found["ndcg@5"].difference)
    assert turned.p_value == found["ndcg@5"].p_value
    assert str(found["ndcg@5"]).startswith(f"ndcg@5: {found['ndcg@5'].difference:+.5f} (")


def test_interval_agrees_with_a_bootstrap_and_p_with_scipy(rankings):
    truth, a, b = rankings
    found = compare_rankings(truth, a, b, "recall@3", confidence=0.9)["recall@3"]
    hit = [(r[:, :3] == truth[:, None]).any(axis=1).astype(float) for r in (a, b)]
    difference = hit[0] - hit[1]
    resampled = stats.bootstrap(
        (difference,), np.mean, confidence_level=0.9, method="percentile", **SEED
    ).confidence_interval
    assert found.interval == pytest.approx((resampled.low, resampled.high), abs=0.012)
    assert found.p_value == pytest.approx(scipys(difference), abs=0.02)


def test_rows_may_hold_strings_and_several_items():
    truth = [["a", "b"], ["c"], ["a"]]
    found = compare_rankings(
        truth, [["a", "b"], ["c", "a"], ["b", "a"]], [["c", None]] * 3, "recall@2"
    )["recall@2"]
    assert (found.mean_a, found.mean_b) == (1, pytest.approx(1 / 3))
    assert found.p_value == 0.5  # 2 of the 4 flips of the two rows that differ


def test_baseline_corrects_over_all_that_is_returned(rankings):
    truth, a, b = rankings
    metrics = ("ndcg@5", "recall@3")
    worse = a[:, ::-1]
    found = compare_to_baseline(truth, b, {"a": a, "worse": worse, "same": b}, metrics)
    assert list(found) == ["a", "worse", "same"]
    raw = [one.p_value for by_metric in found.values() for one in by_metric.values()]
    adjusted = [one.p_adjusted for by_metric in found.values() for one in by_metric.values()]
    assert adjusted == holm(raw).tolist()
    assert found["a"]["ndcg@5"].p_value < 0.05
    assert found["same"]["recall@3"].p_adjusted == 1
    alone = compare_rankings(truth, a, b, metrics)["ndcg@5"]
    assert found["a"]["ndcg@5"].difference == alone.difference


def test_baseline_draws_from_one_stream_of_random_numbers(rankings):
    truth, _, b = rankings
    others = {"turned": b[:, ::-1], "again": b[:, ::-1]}
    options = {"metrics": ("mrr@8", "ndcg@5"), "n_resamples": 199, "confidence": 0.8}
    found = compare_to_baseline(truth, b, others, random_state=3, **options)
    random = np.random.RandomState(3)
    for name, ranking in others.items():
        alone = compare_rankings(truth, ranking, b, random_state=random, **options)
        assert {m: replace(one, p_adjusted=None) for m, one in found[name].items()} == alone
    assert found["turned"]["mrr@8"].p_value != found["again"]["mrr@8"].p_value


def test_by_default_ten_thousand_flips_from_seed_0(rankings):
    truth, _, b = rankings
    hit = [(r[:, :3] == truth[:, None]).any(axis=1).astype(float) for r in (b[:, ::-1], b)]

    def by_rows(**options):
        return sign_flip_test(hit[0] - hit[1], **options)

    def by_rankings(**options):
        return compare_rankings(truth, b[:, ::-1], b, "recall@3", **options)["recall@3"].p_value

    def by_baseline(**options):
        found = compare_to_baseline(truth, b, {"": b[:, ::-1]}, "recall@3", **options)
        return found[""]["recall@3"].p_value

    for seed in (0, 1):
        p = {test(random_state=seed) for test in (by_rows, by_rankings, by_baseline)}
        assert p == {by_rows(n_resamples=10_000, random_state=seed)}
    assert p != {by_rows()}
    assert {by_rows(), by_rankings(), by_baseline()} == {by_rows(random_state=0)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": "coverage@3"}, r"got 'coverage@3'"),
        ({"metrics": ()}, "^metrics: expected at least one, such as 'ndcg@20'$"),
        ({"confidence": 1}, "confidence .* 1"),
        ({"n_resamples": 0}, "^n_resamples must be an integer of at least 1, got 0$"),
        ({"n_resamples": 9.5}, r"^n_resamples must be an integer of at least 1, got 9\.5$"),
        ({"y_true": [1, None]}, "row 1: no held-out item"),
        ({"ranking_b": [[1, 2]]}, "y_true has 2 entries, y_pred has 1 rows"),
        (
            {"y_true": [1], "ranking_a": [[1]], "ranking_b": [[1]]},
            "^y_true: a comparison needs at least two rows, got 1$",
        ),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {
        "y_true": [1, 2], "ranking_a": [[1, 2], [3, 4]], "ranking_b": [[2, 1], [2, 4]],
        "metrics": "recall@1", **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        compare_rankings(**arguments)


def test_bad_numbers_are_named():
    with pytest.raises(ValueError, match=r"rankings: .* got \{\}"):
        compare_to_baseline([1, 2], [[1], [1]], {})
    with pytest.raises(ValueError, match=r"difference: .* \(2, 1\)"):
        sign_flip_test([[1], [2]])
    with pytest.raises(ValueError, match="finite"):
        sign_flip_test([1, np.nan])
    with pytest.raises(ValueError, match="finite"):
        sign_flip_test([])
    with pytest.raises(TypeError, match=r"^difference: expected numbers, got 'ab'$"):
        sign_flip_test("ab")
    with pytest.raises(ValueError, match="probabilities"):
        holm([0.5, 1.5])
    with pytest.raises(TypeError, match=r"^p_values: expected numbers, got 'ab'$"):
        holm("ab")
    with pytest.raises(TypeError, match=r"^metrics: expected a name or a list of them, got 20$"):
        compare_rankings([1, 2], [[1], [1]], [[2], [2]], 20)
