"""SequenceDataset: lazy patterns, rows that keep theirs, and errors that say what does not fit."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing

from sklearn_dr4sr import SequenceDataset, Sequences
from sklearn_dr4sr.dataset import ORIGINS, PatternTable, as_dataset
from sklearn_dr4sr.datasets import load_sequences

HISTORIES = [[1, 2, 3], [2, 3], [4]]
PATTERNS = [[1, 2], [1, 3], [2, 3], [3, 4, 5]]
SOURCE = [0, 0, 1, 1]
WEIGHTS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], dtype=np.float32)


@pytest.fixture
def data():
    return SequenceDataset(HISTORIES, PATTERNS, WEIGHTS, source=SOURCE)


def per_pattern(data):
    """(source, pattern, its weights) of every pattern."""
    parts = np.split(data.weights, data.patterns.offsets[1:-1]) if len(data.patterns) else []
    return [
        (int(source), pattern, weights.tolist())
        for source, pattern, weights in zip(data.source, data.patterns, parts, strict=True)
    ]


class Recipe:
    """Patterns made on demand, counting how often."""

    made = 0

    def __call__(self):
        Recipe.made += 1
        return PatternTable.of(Sequences(PATTERNS), np.array(SOURCE), "mined")


def test_a_plain_data_set_is_its_own_patterns():
    data = SequenceDataset(HISTORIES)
    assert data.patterns == data.histories
    assert data.source.tolist() == [0, 1, 2]
    assert data.origin.tolist() == ["original"] * 3
    assert data.weights is None
    assert data.shape == (3,)
    assert data.items.tolist() == [1, 2, 3, 4]


def test_items_are_those_of_histories_and_patterns(data):
    assert data.items.tolist() == [1, 2, 3, 4, 5]
    text = SequenceDataset([["b"]], [["c", "a"]])
    assert text.items.tolist() == ["a", "b", "c"]


def test_patterns_are_made_once_when_first_read():
    Recipe.made = 0
    data = SequenceDataset(HISTORIES, Recipe())
    assert len(data) == 3
    assert data.shape == (3,)
    assert "not yet made" in repr(data)
    assert as_dataset(data) is data
    assert Recipe.made == 0
    assert list(data.patterns) == PATTERNS
    assert data.origin.tolist() == ["mined"] * 4
    assert data.source.tolist() == SOURCE
    assert Recipe.made == 1
    assert "4 patterns" in repr(data)


def test_pickling_stores_the_patterns_and_not_the_recipe():
    def local():  # cannot be pickled itself
        return Recipe()()

    data = SequenceDataset(HISTORIES, local, WEIGHTS)
    again = pickle.loads(pickle.dumps(data))
    assert again.histories == data.histories
    assert per_pattern(again) == per_pattern(data)
    again = pickle.loads(pickle.dumps(SequenceDataset(HISTORIES, local)))
    assert list(again.patterns) == PATTERNS


@given(st.lists(st.integers(-3, 2), min_size=1, max_size=6))
def test_a_subset_of_rows_keeps_patterns_and_weights(rows):
    data = SequenceDataset(HISTORIES, PATTERNS, WEIGHTS, source=SOURCE)
    part = data[np.array(rows, dtype=int)]
    by_row = {row: [p[1:] for p in per_pattern(data) if p[0] == row] for row in range(3)}
    assert list(part.histories) == [HISTORIES[row] for row in rows]
    assert per_pattern(part) == [
        (new, *rest) for new, row in enumerate(rows) for rest in by_row[row % 3]
    ]


def test_every_kind_of_index(data):
    for key in (1, np.int64(1), -2, [1], slice(1, 2), np.array([False, True, False]), ([1], ...)):
        part = data[key]
        assert list(part.histories) == [[2, 3]]
        assert list(part.patterns) == PATTERNS[2:]
    assert [list(row.patterns) for row in data] == [PATTERNS[:2], PATTERNS[2:], []]
    with pytest.raises(IndexError):
        data[3]
    with pytest.raises(ValueError, match="picks no row"):
        data[:0]


def test_a_filter_may_leave_no_pattern(data):
    none = data.origin == "augmented"
    for patterns in (data.patterns[none], []):
        left = SequenceDataset(data.histories, patterns, source=data.source[none], origin="mined")
        assert (len(left), len(left.patterns)) == (len(data), 0)
    assert len(SequenceDataset(data.histories, data.table[none]).patterns) == 0


def test_as_an_array_patterns_stand_side_by_side(data):
    assert np.asarray(data).tolist() == [
        [1, 2, -1, 1, 3, -1, -1],
        [2, 3, -1, 3, 4, 5, -1],
        [-1] * 7,
    ]
    assert np.asarray(data, dtype=float).dtype == float
    text = SequenceDataset([["a"], ["b", "c"]])
    assert np.asarray(text).tolist() == [["a", None, None], ["b", "c", None]]


def test_scikit_learn_indexes_and_splits_it(data):
    assert list(_safe_indexing(data, [2, 0]).histories) == [[4], [1, 2, 3]]
    first, second = train_test_split(data, test_size=1, shuffle=False)
    assert list(first.patterns) == PATTERNS
    assert list(second.histories) == [[4]]


def test_columns_follow_their_patterns():
    table = PatternTable.concatenate(
        [
            PatternTable.of(Sequences([[1, 2], [3]]), np.array([0, 1])),
            PatternTable.of(Sequences([[7], [8], [9]]), np.array([0, 0, 1]), "mined", [4, 5, 6]),
            PatternTable.of(Sequences([[5]]), np.array([0]), "regenerated", memory=[2]),
        ]
    )
    assert list(table.sequences) == [[1, 2], [7], [8], [5], [3], [9]]
    part = SequenceDataset([[1], [2]], table)[[1, 0]]
    assert list(part.patterns) == [[3], [9], [1, 2], [7], [8], [5]]
    assert part.source.tolist() == [0, 0, 1, 1, 1, 1]
    assert part.origin.tolist() == [
        "original", "mined", "original", "mined", "mined", "regenerated",
    ]  # fmt: skip
    assert part.table.support.tolist() == [0, 6, 0, 4, 5, 0]
    assert part.table.memory.tolist() == [-1, -1, -1, -1, -1, 2]


def test_origin_by_pattern():
    data = SequenceDataset([[1], [2]], [[1], [2]], origin=["mined", "regenerated"])
    assert data.origin.tolist() == ["mined", "regenerated"]
    assert set(data.origin) <= set(ORIGINS)


def test_weights_as_a_list_of_arrays():
    parts = [np.array([1.0, 2.0]), np.array([3.0])]
    data = SequenceDataset([[1, 2], [3]], weights=parts)
    assert data.weights.tolist() == [1, 2, 3]
    assert data.weights.dtype == np.float32


@pytest.mark.parametrize("ids", [HISTORIES, [["a", "b"], ["b", "c"], ["d"]]])
def test_text_round_trip(tmp_path, ids):
    path = tmp_path / "patterns.txt"
    patterns = [ids[0], ids[1], ids[0]]
    SequenceDataset(ids, patterns, source=[0, 2, 2]).to_text(path)
    assert list(load_sequences(path)) == patterns
    assert [line.split()[0] for line in path.read_text().splitlines()] == ["0", "2", "2"]


def table(source=(0, 1), **columns):
    return PatternTable.of(Sequences([[1, 2], [3]]), source, **{"origin": [0, 1], **columns})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patterns": [[1]]}, "1 patterns for 3 histories: pass source="),
        ({"patterns": [[1], [2]], "source": [0]}, r"source: expected 2 rows, got shape \(1,\)"),
        ({"patterns": [[1], [2]], "source": [1, 0]}, "pattern 1 is of row 0, after .* row 1"),
        ({"patterns": [[1], [2]], "source": [0, 3]}, r"0 \.\. 2, got 3 for pattern 1"),
        ({"patterns": [[1], [2]], "source": [-1, 2]}, r"0 \.\. 2, got -1 for pattern 0"),
        ({"weights": [1.0]}, r"one for each of the 6 pattern items, got shape \(1,\)"),
        ({"weights": np.ones((3, 2))}, r"got shape \(3, 2\)"),
        ({"weights": [1, 1, 1, 1, -2.0, 1]}, r"not negative, got -2\.0 for pattern 1"),
        ({"weights": [1, 1, np.nan, 1, 1, 1]}, r"finite.*got nan for pattern 0"),
        ({"weights": [np.ones(3), np.ones(1), np.ones(1)]}, r"pattern 1: weights .* got 1 for 2"),
        ({"weights": [np.ones(3), np.ones(2)]}, "weights of 2 patterns for 3 patterns"),
        ({"origin": ["mined", "x", "mined"], "patterns": HISTORIES}, "pattern 1: .* got 'x'"),
        ({"origin": ["mined"], "patterns": HISTORIES}, "origin has 1 entries for 3 patterns"),
        ({"origin": "x", "patterns": HISTORIES}, "origin must be one of .* got 'x'"),
        ({"patterns": [[1], [2], [-3]]}, "row 2, position 0: .*got -3"),
        ({"origin": ["mined"] * 3, "patterns": [[1], [2], [3]], "source": [0]}, "source"),
        ({"origin": "mined"}, "source and origin are of patterns that are given as sequences"),
        ({"source": [0, 1, 2]}, "source and origin are of patterns that are given as sequences"),
        ({"patterns": table(), "origin": "mined"}, "source and origin are of patterns"),
        ({"patterns": table(source=[1, 0])}, "pattern 1 is of row 0, after .* row 1"),
        ({"patterns": table(source=[0, 3])}, r"0 \.\. 2, got 3 for pattern 1"),
        ({"patterns": table(origin=[0, 4])}, r"pattern 1: origin must lie in 0 \.\. 3, got 4"),
        ({"patterns": table(support=[-1, 0])}, "pattern 0: support must lie in 0 .*, got -1"),
        (
            {"patterns": table(memory=[-1, -7])},
            r"pattern 1: memory must lie in -1 \.\. 127, got -7",
        ),
        ({"patterns": table(memory=[-1])}, r"memory: expected 2 numbers, got shape \(1,\)"),
        ({"patterns": table(generative=np.zeros(2, bool))}, "each of the 3 pattern items"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SequenceDataset(HISTORIES, **arguments)
    if isinstance(arguments.get("patterns"), PatternTable) and "origin" not in arguments:
        late = SequenceDataset(HISTORIES, lambda: arguments["patterns"])
        with pytest.raises(ValueError, match=message):
            late.table  # noqa: B018


def test_ids_of_two_kinds_are_refused():
    with pytest.raises(TypeError, match="such as 'a' where those that are known are such as 1"):
        SequenceDataset([[1, 2]], [["a", "b"]])


def test_bad_histories_are_named():
    with pytest.raises(TypeError, match=r"row 1: .*got int"):
        SequenceDataset([[1], 2])


def test_a_recipe_may_give_weights_with_its_patterns():
    table = SequenceDataset(HISTORIES, PATTERNS, source=SOURCE).table
    made = []

    def make():
        made.append(1)
        return table, WEIGHTS

    data = SequenceDataset(HISTORIES, make)
    assert repr(data) == "SequenceDataset(3 rows, patterns not yet made)"
    assert not made
    np.testing.assert_array_equal(data.weights, WEIGHTS)  # before the patterns are read
    assert (len(made), list(data.patterns)) == (1, PATTERNS)
    np.testing.assert_array_equal(SequenceDataset(HISTORIES, make)[[1]].weights, WEIGHTS[4:])
    stored = pickle.loads(pickle.dumps(SequenceDataset(HISTORIES, lambda: (table, WEIGHTS))))
    np.testing.assert_array_equal(stored.weights, WEIGHTS)


def once(data):
    """What deduplicate keeps, by plain loops over (row, pattern, origin)."""
    mined = {tuple(p) for p, o in zip(data.patterns, data.origin, strict=True) if o == "mined"}
    seen = {"mined": set(), "regenerated": mined | {tuple(row) for row in data.histories}}
    kept = []
    for number, (pattern, origin) in enumerate(zip(data.patterns, data.origin, strict=True)):
        before = seen.get(origin, set())
        if tuple(pattern) not in before:
            kept.append(number)
        before.add(tuple(pattern))
    return kept


short = st.lists(st.integers(0, 2), max_size=2)


@given(
    st.lists(short, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), short, st.sampled_from(ORIGINS)), min_size=1),
    st.booleans(),
)
def test_deduplicate_keeps_what_plain_loops_keep(histories, patterns, weighted):
    patterns = sorted((row % len(histories), p, o) for row, p, o in patterns)
    source, patterns, origin = zip(*patterns, strict=True)
    table = SequenceDataset(histories, list(patterns), source=source, origin=origin).table
    n = len(table)
    table = PatternTable.of(table.sequences, table.source, table.origin, np.arange(n), np.arange(n))
    weights = np.arange(len(table.sequences.codes)) if weighted else None
    found = SequenceDataset(histories, table, weights).deduplicate()
    kept = once(SequenceDataset(histories, table))
    assert found.table.support.tolist() == found.table.memory.tolist() == kept
    assert list(found.patterns) == [patterns[number] for number in kept]
    assert found.source.tolist() == [source[number] for number in kept]
    assert found.origin.tolist() == [origin[number] for number in kept]
    assert list(found.histories) == histories
    if weighted:
        by_pattern = np.split(weights, table.sequences.offsets[1:-1])
        assert found.weights.tolist() == [w for number in kept for w in by_pattern[number]]
    assert list(found.deduplicate().patterns) == list(found.patterns)


def test_the_parts_of_a_data_set_put_together_are_the_data_set(data):
    for parts in ([data[:1], data[1:]], list(data), data, iter([data])):
        again = SequenceDataset.concatenate(parts)
        assert again.histories == data.histories
        assert per_pattern(again) == per_pattern(data)
    plain = SequenceDataset.concatenate([SequenceDataset([["b"], []]), SequenceDataset([["a"]])])
    assert list(plain.patterns) == list(plain.histories) == [["b"], [], ["a"]]
    assert plain.weights is None


def test_shards_that_do_not_fit_are_named(data):
    for shards, error, message in (
        ([], ValueError, "at least one SequenceDataset"),
        (3, TypeError, "shards: expected a list of SequenceDatasets, got 3"),
        (np.array(2), TypeError, r"shards: expected a list of SequenceDatasets, got array\(2\)"),
        ([data, [[1]]], TypeError, r"shard 1: expected a SequenceDataset, got \[\[1\]\]"),
        ([data, SequenceDataset([[1]])], ValueError, "shard 1 has no weights, shard 0 has"),
        ([SequenceDataset([[1]]), SequenceDataset([["a"]])], TypeError, "all int or all str"),
    ):
        with pytest.raises(error, match=message):
            SequenceDataset.concatenate(shards)
