import pickle
import re
from collections import Counter
from itertools import combinations, pairwise

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sklearn_dr4sr import SequenceDataset, Sequences, _growth
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.mining import PatternMiner, match_patterns

TOY = [[1, 2, 3, 4, 5], [1, 2, 3]]

# few items, so that rows repeat them: (1, 1), (1, 2, 1), ... are patterns like any others
rows_of_few_items = st.lists(st.lists(st.integers(0, 4), max_size=7), min_size=1, max_size=7)


def subsequences(row, window, longest=None):
    """All patterns of a row, by enumeration; window None: at any gap."""
    return {
        tuple(row[i] for i in places)
        for n in range(2, (longest or len(row)) + 1)
        for places in combinations(range(len(row)), n)
        if window is None or places[-1] - places[0] <= window - 1
    }


class Serial:
    """In place of joblib.Parallel: the same calls, one after another, in this process."""

    def __call__(self, tasks):
        return [function(*args, **kwargs) for function, args, kwargs in tasks]


def mined(miner):
    return {tuple(p): s for p, s in zip(miner.patterns_, miner.supports_.tolist(), strict=True)}


def own(data):
    """Patterns of each row."""
    found = [[] for _ in range(len(data))]
    for row, pattern in zip(data.source, data.patterns, strict=True):
        found[row].append(tuple(pattern))
    return found


def test_toy_of_the_paper():
    miner = PatternMiner(window_size=3, min_support=2).fit(TOY)
    assert list(miner.patterns_) == [[1, 2], [1, 3], [2, 3], [1, 2, 3]]
    assert miner.supports_.tolist() == [2, 2, 2, 2]
    assert miner.supports_.dtype == np.int64
    assert miner.items_.tolist() == [1, 2, 3, 4, 5]


@given(
    st.lists(rows_of_few_items, min_size=1, max_size=4),
    st.integers(2, 8),
    st.integers(1, 4),
    st.integers(2, 7),
)
def test_shards_mine_what_one_run_does(parts, window, min_support, longest):
    rows = Sequences([row for part in parts for row in part])
    edges = np.cumsum([0, *map(len, parts)])
    shards = [rows[start:stop] for start, stop in pairwise(edges)]
    if len(shards) > 1:  # one of them may be empty
        shards.append(rows[:0])
    settings = window, min_support, min(window, longest)
    patterns, supports = _growth.mine_shards(shards, *settings, Serial())
    whole, whole_supports = _growth.mine_patterns(rows, *settings, 0)
    assert list(patterns) == list(whole)
    assert supports.tolist() == whole_supports.tolist()
    assert supports.dtype == whole_supports.dtype


def test_n_jobs(capsys):
    rows = make_sequences(80, 20, random_state=0)
    whole = PatternMiner(window_size=5).fit(rows)
    with joblib.parallel_config(backend="threading"):
        split = PatternMiner(window_size=5, n_jobs=3).fit(rows)
    assert split.patterns_ == whole.patterns_
    np.testing.assert_array_equal(split.supports_, whole.supports_)
    assert split.transform(rows).patterns == whole.transform(rows).patterns
    with joblib.parallel_config(backend="threading"):  # more workers than rows
        few = PatternMiner(window_size=3, n_jobs=9).fit(TOY)
        pairs = PatternMiner(window_size=3, max_pattern_length=2, n_jobs=2).fit(TOY)
    assert mined(few) == {(1, 2): 2, (1, 3): 2, (2, 3): 2, (1, 2, 3): 2}
    assert mined(pairs) == {(1, 2): 2, (1, 3): 2, (2, 3): 2}
    assert capsys.readouterr().out == ""


def test_parameters_are_kept_as_given():
    parameters = {
        "window_size": 3,
        "min_support": 4,
        "max_pattern_length": 2,
        "matching": "any_gap",
        "deduplicate": True,
        "n_jobs": 2,
        "verbose": 1,
    }
    assert PatternMiner(**parameters).get_params() == parameters


def test_the_window_is_of_five_positions_where_none_is_given():
    pairs = PatternMiner(min_support=1, max_pattern_length=2).fit([[1, 2, 3, 4, 5, 6]])
    assert set(mined(pairs)) == {p for p in combinations(range(1, 7), 2) if p != (1, 6)}


@given(
    rows_of_few_items.filter(lambda rows: max(map(len, rows)) >= 2),
    st.integers(2, 8),
    st.integers(1, 4),
    st.one_of(st.none(), st.integers(2, 5)),
)
def test_mining_equals_enumeration(rows, window, min_support, longest):
    miner = PatternMiner(
        window_size=window, min_support=min_support, max_pattern_length=longest
    ).fit(rows)
    counts = Counter(p for row in rows for p in subsequences(row, window, longest))
    assert mined(miner) == {p: n for p, n in counts.items() if n >= min_support}
    ordered = [(len(p), p) for p in miner.patterns_]
    assert ordered == sorted(ordered)


@given(rows_of_few_items, rows_of_few_items, st.one_of(st.none(), st.integers(1, 8)))
def test_matching_equals_enumeration(rows, patterns, window):
    # the patterns hold the item 9 too, repeat, and may be empty (such a one is found nowhere);
    # the rows hold items that no pattern has
    patterns = [*patterns, [9, 1], [2, 1], [2, 1]]
    found = match_patterns(Sequences(rows), Sequences(patterns), window)
    if window:
        same = match_patterns(Sequences(rows), Sequences(patterns), np.int64(window))
        assert [a.tolist() for a in same] == [a.tolist() for a in found]
    assert [a.dtype for a in found] == [np.int64, np.int64]
    held = [subsequences(r, window) | {(i,) for i in r} for r in rows]
    expected = [
        (row, p)
        for row in range(len(rows))
        for p, x in enumerate(patterns)
        if tuple(x) in held[row]
    ]
    assert list(zip(*(a.tolist() for a in found), strict=True)) == expected


@pytest.mark.parametrize("window", [0, -1, 1.5, "2", True])
def test_matching_refuses_a_window_that_is_none(window):
    with pytest.raises(ValueError, match=f"^window_size must be an integer .*{window}"):
        match_patterns(Sequences([[1, 2]]), Sequences([[1, 2]]), window)


def test_one_pattern_or_none_and_no_rows():
    rows = Sequences([[2, 1], [1, 2], [3], [1, 3, 2]])
    row, pattern = match_patterns(rows, Sequences([[1, 2]]))
    assert (row.tolist(), pattern.tolist()) == ([1, 3], [0, 0])
    for found in (match_patterns(rows, rows[:0]), match_patterns(rows[:0], rows)):
        assert [a.tolist() for a in found] == [[], []]


def test_blocks_by_hand():
    """As much as stays within the limit, which it may reach; what exceeds it goes alone."""
    cost = np.array([3, 4, 1, 9, 2, 6, 1, 7])
    assert list(_growth._blocks(cost, 7)) == [(0, 2), (2, 3), (3, 4), (4, 5), (5, 7), (7, 8)]
    assert list(_growth._blocks(cost, 8)) == [(0, 3), (3, 4), (4, 6), (6, 8)]
    assert list(_growth._blocks(cost[:0], 7)) == []


@pytest.mark.parametrize(
    ("window", "n_nodes"), [(None, 2**57), (99, 2**57), (30, 2**57), (29, 2**52), (5, 2**54)]
)
def test_a_key_has_room_for_so_many_nodes(window, n_nodes):
    """Of its 63 bits 37 positions take 6, and a window that can be exceeded its own length."""
    walk = _growth._Walk(np.array([7, 30]), window)
    assert walk.key_space(2**63) == n_nodes
    assert walk.key_space(1000) == 1000
    gap = 0 if n_nodes == 2**57 else window - 1
    largest = [np.array([n]) for n in (n_nodes - 1, 36, gap)]
    *found, _ = walk.occurrences(walk.keys(*largest), walk.row)
    assert found == largest


def test_a_block_has_no_more_patterns_than_its_keys_have_room_for(monkeypatch):
    nodes, pack = [], _growth._Walk.keys

    def keys(self, node, place, gap):
        nodes.append(node)
        return pack(self, node, place, gap)

    monkeypatch.setattr(_growth._Walk, "keys", keys)
    monkeypatch.setattr(_growth._Walk, "key_space", lambda self, most: 4)
    rows = Sequences([[first, first + 1] for first in range(0, 40, 2)])  # each item goes on once
    patterns, _ = _growth.mine_patterns(rows, 2, 1, 2, 0)
    assert list(patterns) == list(rows)
    assert max(node.max(initial=0) for node in nodes) < 4


def test_needless_occurrences_are_left_out():
    """At any gap all but the first in a row; in a window what ends where a later beginning does."""
    anywhere = _growth._Walk(np.array([3, 2]), None)
    node, place, gap = np.array([0, 0, 0, 1]), np.array([2, 0, 3, 2]), np.zeros(4, int)
    node, place, _, new_row = anywhere.occurrences(anywhere.keys(node, place, gap), anywhere.row)
    assert list(zip(node, place, new_row, strict=True)) == [(0, 0, 1), (0, 3, 1), (1, 2, 1)]
    within = _growth._Walk(np.array([4, 2]), 3)
    node, place, gap = np.array([0, 0, 0, 1]), np.array([2, 2, 3, 2]), np.array([2, 1, 2, 2])
    found = within.occurrences(within.keys(node, place, gap), within.row)
    assert list(zip(*found, strict=True)) == [(0, 2, 1, 1), (0, 3, 2, 0), (1, 2, 2, 1)]


def test_positions_take_32_bits_where_they_fit():
    walk = _growth._Walk(np.array([3, 70]), 5)
    assert walk.row.dtype == walk.row_end.dtype == np.int32
    assert _growth._index_type(2**31 - 1) is np.int32
    assert _growth._index_type(2**31) is np.int64


def test_the_last_positions_of_32_bits_have_a_window_too():
    """Their sum with the window is no such number."""
    walk = _growth._Walk(np.array([6]), 5)
    end = 2**31 - 1
    at = np.array([end - 3], np.int32)
    walk.row_end = np.broadcast_to(np.int32(end), end)
    assert walk.reach(at, np.array([1], np.int32)).tolist() == [2]
    assert walk.reach(at, np.array([3], np.int32)).tolist() == [1]


@pytest.mark.parametrize("window_size", [3, 50])
def test_small_chunks_change_nothing(monkeypatch, window_size):
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 6, size=n).tolist() for n in rng.integers(0, 9, size=60)]
    miner = PatternMiner(window_size=window_size, min_support=2).fit(rows)
    table = miner.transform(rows).table
    monkeypatch.setattr(_growth, "CHUNK_SIZE", 16)
    again = clone(miner).fit(rows)
    assert again.patterns_ == miner.patterns_
    assert again.supports_.tolist() == miner.supports_.tolist()
    assert again.transform(rows).patterns == table.sequences


@pytest.mark.data
def test_beauty_exact(beauty):
    miner = PatternMiner(window_size=5, min_support=2).fit(beauty.train)
    lengths = miner.patterns_.lengths
    assert (len(lengths), lengths.sum()) == (40_664, 96_485)
    assert np.bincount(lengths)[2:].tolist() == [28108, 10210, 2091, 255]
    # method of the published code: any gap, in the last 50 items less the two that are held out
    rows, _ = match_patterns(beauty.train.last(48), miner.patterns_)
    counts = np.bincount(rows, minlength=len(beauty.train))
    assert (len(rows), np.minimum(counts, 10).sum()) == (206_181, 44_471)
    assert (counts == 0).sum() == 10_906
    # within the window a pattern is found in as many rows as were counted in mining
    _, ids = match_patterns(beauty.train, miner.patterns_, 5)
    assert np.bincount(ids).tolist() == miner.supports_.tolist()
    # the paper's data set "pattern"
    data = miner.set_params(deduplicate=True).transform(beauty.train)
    assert (data.origin == "mined").sum() == 40_664


@pytest.mark.data
def test_toys_exact(toys):
    miner = PatternMiner(window_size=10, min_support=2).fit(toys.train)
    lengths = miner.patterns_.lengths
    assert (len(lengths), lengths.sum()) == (42_384, 96_420)
    assert np.bincount(lengths)[2:].tolist() == [33046, 7449, 1527, 304, 53, 5]
    rows, _ = match_patterns(toys.train.last(48), miner.patterns_)
    counts = np.bincount(rows, minlength=len(toys.train))
    assert (len(rows), np.minimum(counts, 10).sum()) == (107_027, 39_095)
    assert (counts == 0).sum() == 8_878


@pytest.mark.data
def test_beauty_wide_window(beauty):
    assert len(PatternMiner(window_size=10).fit(beauty.train).patterns_) == 232_475


def seq2pat(rows, window_size, min_support):
    module = pytest.importorskip("sequential.seq2pat", reason="seq2pat is not installed")
    places = module.Attribute([list(range(len(row))) for row in rows])
    miner = module.Seq2Pat(sequences=rows)
    miner.add_constraint(places.span() <= window_size - 1)
    return {tuple(p[:-1]): p[-1] for p in miner.get_patterns(min_frequency=min_support)}


@pytest.mark.parametrize("window_size", [2, 3, 5])
def test_same_as_seq2pat(window_size):
    rng = np.random.default_rng(window_size)
    rows = [rng.integers(1, 12, size=n).tolist() for n in rng.integers(2, 12, size=80)]
    theirs = seq2pat(rows, window_size, 3)
    assert mined(PatternMiner(window_size=window_size, min_support=3).fit(rows)) == theirs


@pytest.mark.data
def test_same_as_seq2pat_on_beauty(beauty):
    theirs = seq2pat([row for row in beauty.train if len(row) >= 2], 5, 2)
    assert mined(PatternMiner().fit(beauty.train)) == theirs


def test_rows_get_their_own_patterns():
    miner = PatternMiner(window_size=3).fit(TOY)
    data = miner.transform([[1, 9, 3, 2], [8, 8], [], [3, 1, 2, 5], [1, 9, 9, 2]])
    # the unknown 9 takes its place in the window; rows 1, 2 and 4 hold no pattern within it
    assert own(data) == [[(1, 3)], [(8, 8)], [()], [(1, 2)], [(1, 9, 9, 2)]]
    assert data.origin.tolist() == ["mined", "original", "original", "mined", "original"]
    assert data.table.support.tolist() == [2, 0, 0, 2, 0]
    assert list(data.histories) == [[1, 9, 3, 2], [8, 8], [], [3, 1, 2, 5], [1, 9, 9, 2]]
    anywhere = miner.set_params(matching="any_gap").transform([[1, 9, 3, 2], [1, 9, 9, 2]])
    assert own(anywhere) == [[(1, 2), (1, 3)], [(1, 2)]]


@given(rows_of_few_items.filter(lambda rows: max(map(len, rows)) >= 2), st.booleans())
def test_rows_are_independent_of_each_other(rows, any_gap):
    miner = PatternMiner(window_size=3, matching="any_gap" if any_gap else "window").fit(rows)
    together = own(miner.transform(rows))
    assert together == [own(miner.transform([row]))[0] for row in rows]
    if not any_gap:
        counts = Counter(p for row in together for p in row if p in mined(miner))
        assert counts == mined(miner)


def test_deduplicate_keeps_the_first_row():
    data = PatternMiner(window_size=3, deduplicate=True).fit_transform([*TOY, [1, 2], [7, 6]])
    # row 1 and 2 hold only what row 0 has; row 3 holds no pattern, so it keeps its history
    assert own(data) == [[(1, 2), (1, 3), (2, 3), (1, 2, 3)], [], [], [(7, 6)]]


@pytest.mark.parametrize("deduplicate", [False, True])
def test_shards_put_together_give_each_row_its_own(deduplicate):
    rows = make_sequences(200, 30, random_state=0)
    miner = PatternMiner(window_size=3, min_support=3, deduplicate=deduplicate).fit(rows)
    shards = [miner.transform(rows[start:stop]) for start, stop in ((0, 3), (3, 90), (90, 200))]
    found, expected = SequenceDataset.concatenate(shards), miner.transform(rows)
    if deduplicate:
        found = found.deduplicate()
    assert own(found) == own(expected)
    np.testing.assert_array_equal(found.table.support, expected.table.support)


def test_fit_transform_is_fit_then_transform():
    rows = make_sequences(200, 30, random_state=0)
    miner = PatternMiner(min_support=3)
    one, two = clone(miner).fit_transform(rows).table, miner.fit(rows).transform(rows).table
    assert one.sequences == two.sequences
    for column in ("source", "origin", "support", "memory"):
        assert np.array_equal(getattr(one, column), getattr(two, column))


def test_patterns_are_made_when_read(monkeypatch):
    miner = PatternMiner(window_size=3).fit(TOY)
    calls = []
    monkeypatch.setattr(
        "sklearn_dr4sr.mining.match_patterns",
        lambda *given: calls.append(given) or match_patterns(*given),
    )
    data = miner.transform(TOY)
    assert list(data.histories) == TOY
    assert "not yet made" in repr(data)
    assert not calls
    assert len(data.patterns) == 8
    assert len(data.patterns) == 8
    assert len(calls) == 1


def test_a_later_fit_does_not_change_what_was_transformed():
    miner = PatternMiner(window_size=3).fit(TOY)
    data = miner.transform(TOY)
    miner.set_params(window_size=2, matching="any_gap", deduplicate=True).fit([[5, 6], [5, 6]])
    assert own(data) == [[(1, 2), (1, 3), (2, 3), (1, 2, 3)]] * 2


def test_string_ids():
    miner = PatternMiner(window_size=3).fit([["tea", "cup", "pot"], ["tea", "jam", "cup"]])
    assert mined(miner) == {("tea", "cup"): 2}
    assert own(miner.transform([["tea", "new", "cup"], ["new"]])) == [[("tea", "cup")], [("new",)]]


@pytest.mark.parametrize(
    "X",
    [
        Sequences(TOY),
        SequenceDataset(TOY),
        SequenceDataset(TOY, [[1, 2], [3, 4]]),  # its histories are mined, not its patterns
        np.array([[1, 2, 3, 4, 5], [1, 2, 3, 0, 0]]),
        np.array([np.array(row) for row in TOY], dtype=object),
    ],
)
def test_every_form_of_input(X):
    miner = PatternMiner(window_size=3).fit(X)
    assert len(miner.patterns_) == 4
    assert own(miner.transform(X)) == own(miner.transform(TOY))


def test_nothing_but_what_occurs_is_kept():
    sequences = Sequences([[1, 2], [1, 2], [77, 78, 79]])[:2]
    miner = PatternMiner().fit(sequences)
    assert miner.items_.tolist() == miner.patterns_.items.tolist() == [1, 2]


def test_no_frequent_pattern():
    miner = PatternMiner(min_support=9).fit(TOY)
    assert len(miner.patterns_) == len(miner.supports_) == 0
    assert own(miner.transform(TOY)) == [[tuple(row)] for row in TOY]


def test_inputs_are_not_modified():
    rows = [list(row) for row in TOY]
    sequences = Sequences(TOY)
    codes, offsets = sequences.codes.copy(), sequences.offsets.copy()
    sequences.codes.setflags(write=False)
    sequences.offsets.setflags(write=False)
    miner = PatternMiner(window_size=3)
    for X in (rows, sequences):
        assert len(miner.fit_transform(X).patterns) == 8
    assert rows == TOY
    assert np.array_equal(sequences.codes, codes)
    assert np.array_equal(sequences.offsets, offsets)


def test_pickle_and_joblib(tmp_path):
    miner = PatternMiner(window_size=3).fit(TOY)
    joblib.dump(miner, tmp_path / "miner.joblib")
    for again in (pickle.loads(pickle.dumps(miner)), joblib.load(tmp_path / "miner.joblib")):
        assert own(again.transform(TOY)) == own(miner.transform(TOY))
    data = pickle.loads(pickle.dumps(miner.transform(TOY)))
    assert own(data) == own(miner.transform(TOY))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window_size", 1),
        ("window_size", 2.5),
        ("window_size", True),
        ("min_support", 0),
        ("min_support", None),
        ("min_support", 1.5),
        ("max_pattern_length", 1),
        ("max_pattern_length", 2.5),
        ("matching", "anywhere"),
        ("deduplicate", "yes"),
        ("n_jobs", 1.5),
    ],
)
def test_bad_parameters(name, value):
    miner = PatternMiner(**{name: value})
    with pytest.raises(ValueError, match=rf"{name} must be .*{re.escape(repr(value))}"):
        miner.fit(TOY)
    assert not hasattr(miner, "patterns_")


def test_nothing_to_mine():
    with pytest.raises(ValueError, match="no sequence of X holds two items"):
        PatternMiner().fit([[1], [2], []])
    with pytest.raises(NotFittedError):
        PatternMiner().transform(TOY)


def test_verbose(capsys):
    PatternMiner(window_size=3, verbose=1).fit(TOY)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "[PatternMiner] length 2: 3 patterns",
        "[PatternMiner] length 3: 1 patterns",
    ]
    PatternMiner().fit(TOY)
    assert capsys.readouterr().out == ""


def test_verbose_tells_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr("sklearn_dr4sr._progress.EVERY", 0)
    monkeypatch.setattr(_growth, "CHUNK_SIZE", 1)  # each pattern and each row a step of its own
    miner = PatternMiner(window_size=3, verbose=1).fit(TOY)
    assert len(miner.transform(TOY).patterns) == 8
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "[PatternMiner] length 2: 33%",
        "[PatternMiner] length 2: 67%",
        "[PatternMiner] length 2: 3 patterns",
        "[PatternMiner] length 3: 33%",
        "[PatternMiner] length 3: 67%",
        "[PatternMiner] length 3: 1 patterns",
        "[PatternMiner] rows: 50%",
    ]
    match_patterns(Sequences(TOY), miner.patterns_)
    assert capsys.readouterr().out == ""
