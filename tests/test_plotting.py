"""Displays: what is drawn equals counts made by hand or in plain Python."""

import ast
import sys
from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.integrate import trapezoid
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import sklearn_dr4sr
from sklearn_dr4sr import (
    DatasetPersonalizer,
    DatasetRegenerator,
    PatternMiner,
    SequenceDataset,
    Sequences,
)
from sklearn_dr4sr.baselines import MarkovChain, Popularity, SequentialRules
from sklearn_dr4sr.dataset import PatternTable
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.metrics import ranking_scorer, recall_at_k
from sklearn_dr4sr.model_selection import LeaveLastOut, leave_one_out
from sklearn_dr4sr.plotting import (
    HistoryDisplay,
    HitRateDisplay,
    LearningCurveDisplay,
    ParameterCurveDisplay,
    PatternLengthDisplay,
    PatternSupportDisplay,
    PatternWeightsDisplay,
    PopularityDisplay,
    RelativeScoreDisplay,
)
from sklearn_dr4sr.recommenders import SASRec

TINY = {"embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "device": "cpu", "random_state": 0}


@pytest.fixture(autouse=True)
def _agg_and_nothing_left_open():
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    settings = matplotlib.rcParams.copy()
    yield
    plt.close("all")
    assert matplotlib.rcParams == settings


def axes(n=1):
    drawn = Figure(figsize=(4 * n, 3)).subplots(1, n)
    return drawn


def draw(display):
    """Render, so that a text or a scale that cannot be drawn fails."""
    display.figure_.canvas.draw()
    return display


@pytest.fixture(scope="module")
def split():
    return leave_one_out(make_sequences(150, 40, random_state=0))


@pytest.fixture(scope="module")
def data():
    """Three rows, five patterns: original, mined, original, regenerated, mined."""
    table = PatternTable.of(
        Sequences([[1, 2, 3, 4], [1, 3], [2, 3], [3, 2, 9], [2, 3]]),
        [0, 0, 1, 1, 1],
        np.array([0, 1, 0, 2, 1]),
        [0, 5, 0, 0, 2],
        [-1, -1, -1, 3, -1],
        np.array([False] * 10 + [True] + [False] * 2),
    )
    weights = np.array([1, 0.1, 0.2, 0.3, 1, 0.4, 1, 0.5, 1, 0.6, 0.7, 1, 0.8])
    return SequenceDataset([[1, 2, 3, 4], [2, 3], []], table, weights)


def bars_of(ax):
    return {
        box.get_label().split(" (")[0]: [patch.get_height() for patch in box]
        for box in ax.containers
    }


def test_lengths_by_origin_are_stacked(data):
    ax = axes()
    display = draw(PatternLengthDisplay.from_dataset(data, ax=ax))
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert bars_of(ax) == {
        "original": [0, 1, 0, 1],
        "mined": [0, 2, 0, 0],
        "regenerated": [0, 0, 1, 0],
    }
    assert [patch.get_y() for patch in ax.containers[1]] == [0, 1, 0, 1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "original (2)",
        "mined (2)",
        "regenerated (1)",
    ]


def test_longer_patterns_are_counted_with_the_longest_shown(data):
    ax = axes()
    PatternLengthDisplay.from_dataset(data, max_length=3, ax=ax)
    assert bars_of(ax)["original"] == [0, 1, 1]
    assert ax.get_xticklabels()[-1].get_text() == "3+"
    for bad in (0, 1.5, None):
        with pytest.raises(ValueError, match="max_length must be an integer of at least 1, got"):
            PatternLengthDisplay.from_dataset(data, max_length=bad)


def test_the_law_of_lengths_before_and_after(split):
    mined = PatternMiner(window_size=4).fit_transform(split.train)
    ax = axes()
    display = draw(PatternLengthDisplay.from_dataset(mined, kind="law", max_length=99, ax=ax))
    for line, rows in zip(ax.get_lines(), (mined.histories, mined.patterns), strict=True):
        counts = Counter(len(row) for row in rows)
        expected = [counts[length] / len(rows) for length in display.lengths]
        np.testing.assert_allclose(line.get_ydata(), expected)
        assert f"mean {np.mean([len(row) for row in rows]):.2f}" in line.get_label()
    with pytest.raises(ValueError, match="kind must be"):
        display.plot(kind="other")


@pytest.mark.parametrize("kind", ["origin", "law"])
def test_lengths_where_there_is_nothing_to_count(kind):
    empty = SequenceDataset([[], [1]], PatternTable.of(Sequences([[1]])[:0], []))
    display = draw(PatternLengthDisplay.from_dataset(empty, kind=kind))
    assert display.counts == {}
    assert display.history_counts.tolist() == [1]


def test_supports_count_what_a_higher_threshold_would_leave(split):
    miner = PatternMiner(window_size=3, min_support=2).fit(split.train)
    ax = axes()
    draw(PatternSupportDisplay.from_estimator(miner, ax=ax))
    lines = {line.get_label().split()[0]: line for line in ax.get_lines()}
    assert set(lines) == {"2", "3"}
    for length, line in lines.items():
        for support, left in zip(*line.get_data(), strict=True):
            again = PatternMiner(window_size=3, min_support=int(support)).fit(split.train)
            assert left == sum(len(pattern) == int(length) for pattern in again.patterns_)


def test_supports_of_a_data_set_count_a_pattern_once(split, data):
    miner = PatternMiner(window_size=3).fit(split.train)
    mined = miner.transform(split.train)
    assert len(mined.patterns) > len(miner.patterns_)
    of_dataset = PatternSupportDisplay.from_dataset(mined, ax=axes())
    pairs = Counter(zip(of_dataset.lengths, of_dataset.supports, strict=True))
    assert pairs == Counter(zip(miner.patterns_.lengths, miner.supports_, strict=True))
    in_pipeline = Pipeline([("mine", miner), ("recommend", MarkovChain())])
    of_pipeline = PatternSupportDisplay.from_estimator(in_pipeline, ax=axes())
    np.testing.assert_array_equal(of_pipeline.supports, miner.supports_)
    with pytest.raises(ValueError, match="no mined pattern"):
        PatternSupportDisplay.from_dataset(data[[2]])
    with pytest.raises(TypeError, match=r"expected a PatternMiner, .* got Popularity"):
        PatternSupportDisplay.from_estimator(Popularity())
    with pytest.raises(NotFittedError):
        PatternSupportDisplay.from_estimator(PatternMiner())


def test_lorenz_curve_and_gini(split):
    mined = PatternMiner(window_size=3).fit_transform(split.train)
    ax = axes()
    display = draw(PopularityDisplay.from_dataset(mined, ax=ax))
    for line, name, rows in zip(
        ax.get_lines()[1:],
        ("histories", "patterns"),
        (mined.histories, mined.patterns),
        strict=True,
    ):
        counts = Counter(item for row in rows for item in row)
        counts = np.array([counts[item] for item in mined.items])
        x, y = line.get_data()
        for i in range(len(counts) + 1):
            assert y[i] == pytest.approx(sum(sorted(counts)[:i]) / counts.sum())
            assert x[i] == pytest.approx(i / len(counts))
        # half the mean absolute difference of two items over the mean: Gini's own definition
        gini = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
        assert display.gini[name] == pytest.approx(gini)
        assert f"Gini {gini:.3f}" in line.get_label()
        assert gini == pytest.approx(1 - 2 * trapezoid(y, x))


def test_several_data_sets_share_one_catalogue():
    named = {"one": SequenceDataset([[1, 1]]), "two": SequenceDataset([[2], [3]])}
    display = PopularityDisplay.from_dataset(named, ax=axes())
    assert {name: count.tolist() for name, count in display.counts.items()} == {
        "histories": [2, 0, 0],
        "one": [2, 0, 0],
        "two": [0, 1, 1],
    }
    with pytest.raises(ValueError, match='the name "histories" is taken'):
        PopularityDisplay.from_dataset({"histories": [[1]]})
    with pytest.raises(ValueError, match="dataset: expected at least one"):
        PopularityDisplay.from_dataset({})


def texts_of(ax):
    return [text.get_text() for text in ax.texts]


def test_a_row_with_its_patterns(data):
    ax = axes()
    display = draw(HistoryDisplay.from_dataset(data, 1, ax=ax))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        "row 1",
        "original",
        "regenerated (memory 3)",
        "mined (support 2)",
    ]
    texts = texts_of(ax)
    assert texts[::2] == ["2", "3", "2", "3", "3", "2", "9", "2", "3"]
    assert texts[1::2] == [
        "1", "2", "1, w 1.00", "2, w 0.50", "2, w 1.00", "1, w 0.60", "new, w 0.70", "1, w 1.00",
        "2, w 0.80",
    ]  # fmt: skip
    thick = [patch.get_linewidth() > 1 for patch in ax.patches]
    assert thick == [item == "9" for item in texts[::2]]
    assert [line.split()[0] for line in data.explain(1).splitlines()[1:]] == display.origins


def test_every_origin_of_a_row_has_room():
    table = PatternTable.of(
        Sequences([[1]] * 6 + [[2]]),
        [0] * 7,
        np.array([0, 1, 1, 1, 1, 1, 2]),
        [0, 3, 4, 5, 6, 7, 0],
    )
    ax = axes()
    display = draw(
        HistoryDisplay.from_dataset(SequenceDataset([[1, 2]], table), 0, max_patterns=4, ax=ax)
    )
    assert display.labels[0] == "row 0, 4 of 7 patterns"
    assert display.labels[1:] == [
        "original",
        "mined (support 3)",
        "mined (support 4)",
        "regenerated",
    ]
    with pytest.raises(ValueError, match="max_patterns must be"):
        HistoryDisplay.from_dataset(SequenceDataset([[1, 2]], table), 0, max_patterns=0)
    with pytest.raises(IndexError):
        HistoryDisplay.from_dataset(SequenceDataset([[1, 2]], table), 1)


def test_of_long_rows_the_last_items_are_drawn(data):
    ax = axes()
    draw(HistoryDisplay.from_dataset(data, 0, max_items=2, ax=ax))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        "row 0, last 2 of 4 items",
        "original, last 2 of 4 items",
        "mined (support 5)",
    ]
    assert texts_of(ax)[::2] == ["3", "4", "3", "4", "1", "3"]
    assert texts_of(ax)[1::2] == ["3", "4", "3, w 0.20", "4, w 0.30", "1, w 1.00", "3, w 0.40"]
    with pytest.raises(ValueError, match="max_items must be an integer of at least 1, got 0"):
        HistoryDisplay.from_dataset(data, 0, max_items=0)


def test_ids_are_drawn_as_they_are():
    ax = axes()
    draw(
        HistoryDisplay.from_dataset(
            SequenceDataset([["$a_$", "a very long name of an item"]]), 0, ax=ax
        )
    )
    assert texts_of(ax)[::2] == ["$a_$", "a very long n…"] * 2
    draw(HistoryDisplay.from_dataset(SequenceDataset([[]]), 0))


def test_weights_by_group_leave_the_first_item_out(data):
    expected = {
        "origin": {
            "original": [0.1, 0.2, 0.3, 0.5], "mined": [0.4, 0.8], "regenerated": [0.6, 0.7]
        },
        "length": {"2": [0.4, 0.5, 0.8], "3": [0.6, 0.7], "4": [0.1, 0.2, 0.3]},
        "support": {"not mined": [0.1, 0.2, 0.3, 0.5, 0.6, 0.7], "2": [0.8], "5–8": [0.4]},
    }  # fmt: skip
    for by, groups in expected.items():
        ax = axes()
        display = draw(PatternWeightsDisplay.from_dataset({"model": data}, by=by, ax=ax))
        drawn = display.groups_["model"]
        assert list(drawn) == list(groups)
        for name, weights in groups.items():
            np.testing.assert_allclose(drawn[name], weights, rtol=1e-6)
        assert [tick.get_text() for tick in ax.get_xticklabels()] == list(groups)
        medians = [line.get_ydata()[0] for line in ax.get_lines() if line.get_linewidth() == 1.6]
        np.testing.assert_allclose(medians, [np.median(w) for w in groups.values()], rtol=1e-6)
        variance = np.var([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
        assert ax.get_title() == f"model\nvariance {variance:.4f}"


@pytest.mark.parametrize("value", [1, 2, 4, 5, 8, 9, 16, 17, 1000])
def test_groups_double(value):
    table = PatternTable.of(Sequences([[1, 2]]), [0], "mined", [value])
    display = PatternWeightsDisplay.from_dataset(
        {"m": SequenceDataset([[1, 2]], table, [1, 1])}, by="support", ax=axes()
    )
    (name,) = display.groups_["m"]
    low, high = (int(part) for part in (name.split("–") * 2)[:2])
    assert low <= value <= high
    assert value <= 4 or high == 2 * (low - 1)


def test_weights_by_position_are_the_papers_picture(data):
    drawn = axes(2)
    named = {"one": data, "two": SequenceDataset(data.histories, data.table, data.weights * 2)}
    display = draw(
        PatternWeightsDisplay.from_dataset(named, by="position", ax=drawn, random_state=0)
    )
    matrix = display.groups_["one"]["weights"]
    rows = sorted(tuple(np.round(row[~np.isnan(row)], 6).tolist()) for row in matrix)
    assert rows == [(0.1, 0.2, 0.3), (0.4,), (0.5,), (0.6, 0.7), (0.8,)]
    one, two = (ax.get_images()[0] for ax in drawn)
    np.testing.assert_allclose(one.get_array().data * 2, two.get_array().data)
    assert one.get_clim() == two.get_clim() == (pytest.approx(0.1), pytest.approx(1.6))
    part = PatternWeightsDisplay(named).plot(by="position", n_patterns=2, random_state=1)
    assert part.groups_["one"]["weights"].shape[0] == 2


def test_weights_need_weights(data):
    with pytest.raises(ValueError, match="dataset 'bare': expected a SequenceDataset with weights"):
        PatternWeightsDisplay.from_dataset({"bare": SequenceDataset([[1, 2]])})
    with pytest.raises(ValueError, match="dataset 'single': no pattern holds two items"):
        PatternWeightsDisplay.from_dataset({"single": SequenceDataset([[1]], weights=[1])})
    with pytest.raises(ValueError, match="n_patterns must be an integer of at least 1, got 0"):
        PatternWeightsDisplay.from_dataset(data, by="position", n_patterns=0)
    with pytest.raises(ValueError, match=r"by: expected one of .* got 'memory'"):
        PatternWeightsDisplay.from_dataset(data, by="memory")
    with pytest.raises(ValueError, match=r"ax: this plot has 2 panel\(s\), got 1 axes"):
        PatternWeightsDisplay.from_dataset([data, data], ax=axes())


@pytest.fixture(scope="module")
def personalizer(split):
    return DatasetPersonalizer(
        SASRec(max_epochs=3, batch_size=32, **TINY), warmup_epochs=1, inner_steps=2, random_state=0
    ).fit(split.train, split.validation)


def test_weights_of_personalizers(split, personalizer):
    display = PatternWeightsDisplay.from_estimator(personalizer, split.train, ax=axes())
    weights = personalizer.transform(split.train).weights
    learned = [
        w for row, ws in enumerate(np.split(weights, split.train.offsets[1:-1])) for w in ws[1:]
    ]
    np.testing.assert_array_equal(display.groups_["SASRec"]["original"], learned)
    two = PatternWeightsDisplay.from_estimator([personalizer] * 2, split.train)
    assert list(two.groups_) == ["SASRec 1", "SASRec 2"]


def test_learning_curves_of_recommenders(split):
    with_y = SASRec(max_epochs=3, **TINY).fit(split.train, split.validation)
    without = SASRec(max_epochs=2, **TINY).fit(split.train)
    drawn = axes(2)
    draw(LearningCurveDisplay.from_estimator({"with": with_y, "without": without}, ax=drawn))
    loss, other = drawn[0].get_lines()
    assert loss.get_xdata().tolist() == [1, 2, 3]
    assert loss.get_ydata().tolist() == [epoch["train_loss"] for epoch in with_y.history_]
    assert other.get_ydata().tolist() == [epoch["train_loss"] for epoch in without.history_]
    assert [loss.get_label(), other.get_label()] == ["with", "without"]
    ndcg, ring = drawn[1].get_lines()
    assert ndcg.get_ydata().tolist() == [epoch["valid_ndcg"] for epoch in with_y.history_]
    assert ring.get_xdata().tolist() == [with_y.best_epoch_]
    assert ring.get_ydata().tolist() == [max(ndcg.get_ydata())]
    alone = LearningCurveDisplay.from_estimator(Pipeline([("recommend", without)]))
    assert alone.ax_.shape == (1,)
    assert alone.ax_[0].get_legend() is None


def test_learning_curves_of_the_regenerator(split):
    regenerator = DatasetRegenerator(2, item_embedding="random", max_epochs=2, **TINY)
    regenerator.fit(split.train[:50])
    drawn = axes(2)
    draw(LearningCurveDisplay.from_estimator(regenerator, ax=drawn))
    names = ("restrictive", "generative", "usage_entropy", "choice_entropy")
    lines = [*drawn[0].get_lines(), *drawn[1].get_lines()]
    for line, name in zip(lines, names, strict=True):
        assert line.get_ydata().tolist() == [epoch[name] for epoch in regenerator.history_]


def test_learning_curves_of_the_personalizer(personalizer):
    drawn = axes(5)
    draw(LearningCurveDisplay.from_estimator(personalizer, ax=drawn))
    upper = personalizer.upper_history_
    lower = [epoch["train_loss"] for epoch in personalizer.recommender_.history_]
    assert drawn[0].get_lines()[0].get_ydata().tolist() == lower
    for ax, name in zip(drawn[2:], ("dev_loss", "gradient_norm", "weight_mean"), strict=True):
        (line,) = ax.get_lines()
        assert line.get_ydata().tolist() == [step[name] for step in upper]
        assert line.get_xdata().tolist() == [2 * (n + 1) for n in range(len(upper))]
    vertices = drawn[4].collections[0].get_paths()[0].vertices
    mean, std = upper[0]["weight_mean"], upper[0]["weight_std"]
    at_first = vertices[vertices[:, 0] == 2, 1]
    assert at_first.min() == pytest.approx(mean - std)
    assert at_first.max() == pytest.approx(mean + std)
    assert all(step["gradient_norm"] > 0 for step in upper)


def test_relative_scores_are_shares_of_the_baselines_mean():
    """Two seeds of one variant, one data set without the other: bars made by hand."""
    scores = {
        "Beauty": {"original": [0.2, 0.4], "regenerated": [0.3, 0.6], "mined": 0.15},
        "Toys": {"original": 0.5, "regenerated": 0.45},
    }
    display = draw(RelativeScoreDisplay(scores, metric="ndcg@20").plot(axes()))
    np.testing.assert_allclose(display.relative["Beauty"]["regenerated"], [1, 2])
    np.testing.assert_allclose(display.relative["Toys"]["regenerated"], [0.9])
    bars = [c for c in display.ax_.containers if hasattr(c, "patches")]
    tops = [[bar.get_y() + bar.get_height() for bar in group] for group in bars]
    assert tops == [pytest.approx([1.5, 0.9]), pytest.approx([0.5])]
    line = display.ax_.get_lines()[0]
    assert line.get_ydata() == [1, 1]
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["Beauty", "Toys"]
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["original", "regenerated", "mined"]


def test_relative_scores_of_searches(split):
    """The means of ``cv_results_``, the values by name."""
    scoring = ranking_scorer("recall@10", "ndcg@10")
    search = GridSearchCV(
        SequentialRules(), {"max_gap": [1, 3]}, cv=LeaveLastOut(), scoring=scoring, refit="ndcg@10"
    ).fit(split.train, split.validation)
    one, two = search.cv_results_["mean_test_ndcg@10"]
    display = draw(
        RelativeScoreDisplay.from_search({"made": search}, "max_gap", baseline="3", ax=axes())
    )
    np.testing.assert_allclose(display.relative["made"]["1"], one / two)
    assert display.metric == "ndcg@10"


@pytest.mark.parametrize(
    ("scores", "baseline", "message"),
    [
        ({}, None, "expected variants"),
        ({"a": {}}, None, "expected variants"),
        ({"a": {"x": 1.0}, "b": {"y": 1.0}}, None, "b: expected a score of 'x'"),
        ({"a": {"x": 1.0}}, "z", "a: expected a score of 'z'"),
        ({"a": {"x": 0.0}}, None, "above 0"),
        ({"a": {"x": np.nan}}, None, "above 0"),
    ],
)
def test_relative_scores_need_a_baseline(scores, baseline, message):
    with pytest.raises(ValueError, match=message):
        RelativeScoreDisplay(scores, baseline)


def test_learning_curves_need_a_history():
    with pytest.raises(NotFittedError):
        LearningCurveDisplay.from_estimator(SASRec())
    with pytest.raises(TypeError, match="Popularity notes nothing"):
        LearningCurveDisplay.from_estimator(Popularity().fit([[1, 2]]))


def test_a_search_is_drawn_as_what_it_has_chosen(split):
    pipe = Pipeline([("mine", PatternMiner()), ("model", SASRec(max_epochs=2, **TINY))])
    search = GridSearchCV(pipe, {"mine__window_size": [3]}, cv=LeaveLastOut())
    with pytest.raises(NotFittedError):
        LearningCurveDisplay.from_estimator(search)
    best = search.fit(split.train, split.validation).best_estimator_
    mine, other = (LearningCurveDisplay.from_estimator(e) for e in (search, best))
    for panel, same in zip(mine.panels, other.panels, strict=True):
        np.testing.assert_array_equal(panel.lines[""], same.lines[""])
    mined = [PatternSupportDisplay.from_estimator(e).supports for e in (search, best)]
    np.testing.assert_array_equal(*mined)
    hits = [HitRateDisplay.from_estimator(e, split.history, split.test) for e in (search, best)]
    np.testing.assert_array_equal(hits[0].hits["GridSearchCV"], hits[1].hits["Pipeline"])


@pytest.fixture(scope="module")
def search(split):
    return GridSearchCV(
        SequentialRules(),
        {"max_gap": [5, 1, 2], "gap_decay": [0.5, 0.9]},
        cv=LeaveLastOut(),
        scoring=ranking_scorer("recall@5", "ndcg@5"),
        refit="ndcg@5",
    ).fit(split.train, split.validation)


def test_a_curve_passes_through_the_best_candidate(search, split):
    drawn = axes(2)
    display = draw(ParameterCurveDisplay.from_search(search, "max_gap", ax=drawn))
    assert display.values == [1, 2, 5]
    decay = search.best_params_["gap_decay"]
    score = ranking_scorer("recall@5", "ndcg@5")
    expected = [
        score(
            SequentialRules(max_gap=gap, gap_decay=decay).fit(split.train),
            split.train,
            split.validation,
        )
        for gap in (1, 2, 5)
    ]
    for ax, metric in zip(drawn, display.scores, strict=True):
        line, ring = ax.get_lines()
        assert ax.get_ylabel() == metric
        assert line.get_xdata().tolist() == [1, 2, 5]
        np.testing.assert_allclose(line.get_ydata(), [scores[metric] for scores in expected])
        assert ring.get_ydata()[0] == max(line.get_ydata())
    assert display.scores["ndcg@5"].max() == search.best_score_


def test_fixed_values_choose_the_candidates(search):
    results = search.cv_results_
    other = ParameterCurveDisplay.from_search(
        search, "gap_decay", metrics="recall@5", fixed={"max_gap": 1}, ax=axes()
    )
    expected = {
        p["gap_decay"]: score
        for p, score in zip(results["params"], results["mean_test_recall@5"], strict=True)
        if p["max_gap"] == 1
    }
    assert dict(zip(other.values, other.scores["recall@5"], strict=True)) == expected
    for same in (np.int64(1), 1.0):  # numbers that are equal, of whatever type
        again = ParameterCurveDisplay.from_search(
            search, "gap_decay", metrics="recall@5", fixed={"max_gap": same}, ax=axes()
        )
        np.testing.assert_array_equal(again.scores["recall@5"], other.scores["recall@5"])
    best = ParameterCurveDisplay.from_search(search, "gap_decay", fixed={}).scores["ndcg@5"]
    pairs = list(zip(results["params"], results["mean_test_ndcg@5"], strict=True))
    assert best.tolist() == [
        max(score for p, score in pairs if p["gap_decay"] == decay) for decay in (0.5, 0.9)
    ]


def test_the_best_candidates_values_are_kept_for_all_values():
    done = GridSearchCV(Popularity(), {})
    done.cv_results_ = {
        "params": [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 2, "b": 2}],
        "param_a": None,
        "param_b": None,
        "mean_test_score": np.array([0.5, 0.1, 0.2, 0.4]),
        "std_test_score": np.zeros(4),
    }
    done.best_index_ = 0
    through_best = ParameterCurveDisplay.from_search(done, "a", ax=axes())
    assert through_best.scores["score"].tolist() == [0.5, 0.2]
    best_of_each = ParameterCurveDisplay.from_search(done, "a", fixed={}, ax=axes())
    assert best_of_each.scores["score"].tolist() == [0.5, 0.4]


def test_what_was_not_searched_is_named(search):
    for wrong, message in [
        ({"param": "window"}, "'window' was not searched, but"),
        ({"param": "max_gap", "metrics": ["ndcg@9"]}, r"the search has \[.*\], got 'ndcg@9'"),
        ({"param": "max_gap", "fixed": {"gap_decay": 7}}, r"no candidate has \{'gap_decay': 7\}"),
    ]:
        with pytest.raises(ValueError, match=message):
            ParameterCurveDisplay.from_search(search, **wrong)
    with pytest.raises(NotFittedError):
        ParameterCurveDisplay.from_search(GridSearchCV(Popularity(), {}), "x")
    no_best = GridSearchCV(SequentialRules(), {}, refit=False)
    no_best.cv_results_ = search.cv_results_
    with pytest.raises(ValueError, match="no best candidate"):
        ParameterCurveDisplay.from_search(no_best, "max_gap")


def test_values_that_are_no_numbers_and_folds():
    results = {
        "params": [{"personalize": "passthrough"}, {"personalize": PatternMiner(window_size=3)}],
        "param_personalize": None,
        "mean_test_score": np.array([0.25, 0.5]),
        "std_test_score": np.array([0.1, 0.2]),
    }
    done = GridSearchCV(Popularity(), {})
    done.cv_results_, done.best_index_ = results, 1
    ax = axes()
    draw(ParameterCurveDisplay.from_search(done, "personalize", ax=ax))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["passthrough", "PatternMiner"]
    (bars,) = ax.containers
    reach = [segment[:, 1].tolist() for segment in bars[2][0].get_segments()]
    np.testing.assert_allclose(reach, [[0.15, 0.35], [0.3, 0.7]])


def test_a_fit_that_failed_leaves_a_gap():
    done = GridSearchCV(Popularity(), {})
    done.cv_results_ = {
        "params": [{"k": 1}, {"k": 2}, {"k": 2}],
        "param_k": None,
        "mean_test_score": np.array([np.nan, 0.25, np.nan]),
        "std_test_score": np.array([np.nan, 0, np.nan]),
    }
    display = draw(ParameterCurveDisplay.from_search(done, "k", fixed={}))
    np.testing.assert_array_equal(display.scores["score"], [np.nan, 0.25])
    assert display.ax_[0].get_lines()[-1].get_data() == ([2], [0.25])


@pytest.fixture(scope="module")
def models(split):
    return {"Markov": MarkovChain().fit(split.train), "popular": Popularity().fit(split.train)}


def test_hit_rates_by_group(split, models):
    drawn = axes(2)
    display = draw(HitRateDisplay.from_estimator(models, split.history, split.test, k=5, ax=drawn))
    counts = Counter(item for row in split.history for item in row)
    of_row = {
        "popularity": np.array([counts[item] for item in split.test]),
        "length": np.array([len(row) for row in split.history]),
    }
    for ax, by in zip(drawn, ("popularity", "length"), strict=True):
        assert sum(display.sizes_[by]) == 150
        assert len(display.labels_[by]) <= 5
        lines = [container[0] for container in ax.containers]
        for group, label in enumerate(display.labels_[by]):
            low, high = (int(part) for part in (label.split("–") * 2)[:2])
            rows = np.flatnonzero((of_row[by] >= low) & (of_row[by] <= high))
            assert len(rows) == display.sizes_[by][group]
            for line, model in zip(lines, models.values(), strict=True):
                ranking = model.predict(split.history[rows], k=5)
                expected = recall_at_k(split.test[rows], ranking, 5)
                assert line.get_ydata()[group] == pytest.approx(expected)
    rate, n = display.rates_["length"]["Markov"], display.sizes_["length"]
    segments = drawn[1].containers[0][2][0].get_segments()
    half = [np.ptp(segment[:, 1]) / 2 for segment in segments]
    np.testing.assert_allclose(half, np.sqrt(rate * (1 - rate) / n))


def test_hit_rates_of_rows_without_an_item_and_of_a_small_catalogue():
    model = Popularity().fit([["a", "b"], ["a", "c"]])
    display = HitRateDisplay.from_estimator(
        model, [["a"], ["b"], ["c"], []], ["b", None, "z", "a"], k=20, by="popularity", ax=axes()
    )
    assert display.hits["Popularity"].tolist() == [True, False, True]
    assert display.groups["popularity"].tolist() == [1, 0, 1]
    assert display.labels_["popularity"] == ["0", "1"]
    assert display.rates_["popularity"]["Popularity"].tolist() == [0, 1]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 6),
)
def test_groups_are_ranges_that_hold_every_row_once(rows, n_bins):
    values, hits = (np.array(column) for column in zip(*rows, strict=True))
    display = HitRateDisplay({"model": hits}, {"length": values}, 5, n_bins)
    labels, sizes = display.labels_["length"], display.sizes_["length"]
    rates = display.rates_["length"]["model"]
    assert len(labels) <= n_bins
    last = -1
    for label, size, rate in zip(labels, sizes, rates, strict=True):
        low, high = (int(part) for part in (label.split("–") * 2)[:2])
        inside = (values >= low) & (values <= high)
        assert last < low <= high
        assert {low, high} <= set(values[inside].tolist())
        assert size == inside.sum()
        assert rate == pytest.approx(hits[inside].mean())
        last = high
    assert sum(sizes) == len(values)


def test_hit_rates_check_their_parameters(split, models):
    for wrong, message in [
        ({"by": "memory"}, "by: expected some of"),
        ({"by": ()}, "by: expected some of"),
        ({"n_bins": 0}, "n_bins must be an integer of at least 1, got 0"),
        ({"k": 0}, "k must be an integer of at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            HitRateDisplay.from_estimator(models, split.history, split.test, **wrong)
    with pytest.raises(ValueError, match="no row has a held-out item"):
        HitRateDisplay.from_estimator(models, split.history, [None] * 150)


def test_a_display_makes_a_figure_of_its_own_and_plots_again(data):
    display = PatternLengthDisplay.from_dataset(data)
    first = display.figure_
    ax = axes()
    assert display.plot(ax=ax, kind="law") is display
    assert display.ax_ is ax
    assert first is not ax.figure
    draw(display)


def test_plots_need_matplotlib(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "sklearn-dr4sr\[plot\]"'):
        PatternLengthDisplay.from_dataset(data)


def test_matplotlib_is_imported_when_something_is_drawn():
    files = sorted(Path(sklearn_dr4sr.__file__).parent.rglob("*.py"))
    assert len(files) > 30
    for file in files:
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                assert "matplotlib" not in ast.unparse(statement), file
