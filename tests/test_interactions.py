"""Tables of interactions against plain Python, in every frame library."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklearn_dr4sr.datasets import sequences_from_interactions

nw = pytest.importorskip("narwhals")
pd = pytest.importorskip("pandas")


def plain(log, min_count, duplicates):
    """The same, line by line: users and their items."""
    log = sorted(log, key=lambda line: line[2])  # stable
    if duplicates == "first":
        log = list({line[:2]: line for line in reversed(log)}.values())
        log.sort(key=lambda line: line[2])
    if duplicates == "last":
        log = list({line[:2]: line for line in log}.values())
        log.sort(key=lambda line: line[2])
    while True:
        users, items = [line[0] for line in log], [line[1] for line in log]
        kept = [
            line
            for line in log
            if users.count(line[0]) >= min_count and items.count(line[1]) >= min_count
        ]
        if len(kept) == len(log):
            break
        log = kept
    rows = {}
    for user, item, _ in log:
        rows.setdefault(user, []).append(item)
    return dict(sorted(rows.items()))


logs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=40).map(
    lambda pairs: [(u, i, t) for t, (u, i) in enumerate(pairs)]
)


@given(logs, st.integers(1, 3), st.sampled_from(["keep", "first", "last"]), st.randoms())
def test_equals_plain_python(log, min_count, duplicates, shuffler):
    shuffled = log[:]
    shuffler.shuffle(shuffled)
    frame = pd.DataFrame(shuffled, columns=["user", "item", "time"])
    wanted = plain(log, min_count, duplicates)
    if not wanted:
        with pytest.raises(ValueError, match=f"min_count={min_count}"):
            sequences_from_interactions(frame, min_count=min_count, duplicates=duplicates)
        return
    found = sequences_from_interactions(
        frame, min_count=min_count, duplicates=duplicates, return_details=True
    )
    assert dict(zip(found.users.tolist(), found.sequences, strict=True)) == wanted
    assert len(found.times) == len(found.sequences.codes)
    lost = found.dropped["duplicates"] + found.dropped["rare"]
    assert len(log) - lost == len(found.times)
    assert len(found.sequences.items) == len({item for row in wanted.values() for item in row})


def test_equal_times_keep_the_order_of_the_table():
    frame = pd.DataFrame({"user": [1] * 5, "item": [5, 3, 4, 1, 2], "time": [7, 7, 7, 7, 7]})
    assert list(sequences_from_interactions(frame, min_count=1)) == [[5, 3, 4, 1, 2]]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_every_library_gives_the_same(library):
    module = pytest.importorskip(library)
    draw = random.Random(0)
    columns = {
        "user": [f"u{draw.randrange(20)}" for _ in range(300)],
        "item": [f"i{draw.randrange(30)}" for _ in range(300)],
        "time": np.array([draw.randrange(50) for _ in range(300)], "datetime64[ms]"),
    }
    wanted = sequences_from_interactions(pd.DataFrame(columns), min_count=3, return_details=True)
    frame = module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
    found = sequences_from_interactions(frame, min_count=3, return_details=True)
    assert found.sequences == wanted.sequences
    assert found.users.tolist() == wanted.users.tolist()
    assert found.dropped == wanted.dropped
    assert (found.times == wanted.times).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"item": [1, None, 3]}, ValueError, "row 1: no 'item'"),
        ({"time": [1, 2, None]}, ValueError, "row 2: no 'time'"),
        ({"item": [1.5, 2.0, 3.0]}, TypeError, r"row 0, 'item': .* 1\.5"),
        ({"item": [1, -2, 3]}, ValueError, r"row 1, 'item': .* -2"),
        ({"time": ["a", "b", "c"]}, TypeError, "column 'time'"),
        ({"time": [1.0, np.inf, 2.0]}, ValueError, "row 1, 'time'"),
    ],
)
def test_bad_values_are_named(change, error, message):
    columns = {"user": [1, 1, 2], "item": [1, 2, 3], "time": [1, 2, 3], **change}
    with pytest.raises(error, match=message):
        sequences_from_interactions(pd.DataFrame(columns), min_count=1)


def test_bad_parameters_are_named():
    frame = pd.DataFrame({"user": [1], "item": [1], "time": [1]})
    with pytest.raises(ValueError, match="no column 'who'"):
        sequences_from_interactions(frame, user="who")
    with pytest.raises(ValueError, match=r"min_count .* 0"):
        sequences_from_interactions(frame, min_count=0)
    with pytest.raises(ValueError, match=r"duplicates .* 'drop'"):
        sequences_from_interactions(frame, duplicates="drop")
    with pytest.raises(TypeError, match=r"frame: .* list"):
        sequences_from_interactions([(1, 2, 3)])
    with pytest.raises(ValueError, match="no rows"):
        sequences_from_interactions(frame[:0])
