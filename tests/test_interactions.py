"""Tables of interactions against plain Python, in every frame library."""

import datetime
import decimal
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
    assert type(found.users).__module__.startswith(library)
    assert nw.from_native(found.users, series_only=True).to_list() == wanted.users.tolist()
    assert found.dropped == wanted.dropped
    assert (found.times == wanted.times).all()


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("dtype", [nw.Int32, nw.UInt64, nw.Int64, nw.String, nw.Categorical])
def test_users_keep_the_type_of_their_column(library, dtype):
    pytest.importorskip(library)
    ids = [*"cbaac"] if dtype in (nw.String, nw.Categorical) else [3, 2, 1, 1, 3]
    frame = nw.from_dict({"user": ids, "item": [7, 9, 7, 8, 8], "time": range(5)}, backend=library)
    frame = frame.with_columns(nw.col("user").cast(dtype)).to_native()
    found = sequences_from_interactions(frame, min_count=2, return_details=True)
    users = nw.from_native(found.users, series_only=True)
    assert users.dtype == dtype
    assert users.to_list() == [ids[2], ids[0]]  # sorted, without the rare one
    if library == "pandas":
        assert found.users.index.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"item": [1, None, 3]}, ValueError, "row 1: no 'item'"),
        ({"time": [1, 2, None]}, ValueError, "row 2: no 'time'"),
        ({"item": [1.5, 2.0, 3.0]}, TypeError, r"row 0, 'item': .* 1\.5"),
        ({"item": [1, -2, 3]}, ValueError, r"row 1, 'item': .* -2"),
        (
            {"time": ["1", "b", "3"]},
            TypeError,
            "row 1, column 'time': .*a number or a date, got 'b'",
        ),
        ({"time": ["2024-01-01"] * 3}, TypeError, "row 0, column 'time': .*pandas.to_datetime"),
        ({"time": [1, True, 3]}, TypeError, "row 1, column 'time': .*got True"),
        ({"time": ["1", "2", "nan"]}, TypeError, "row 2, column 'time': .*got 'nan'"),
        (
            {"time": [datetime.date(2024, 1, 1), 5, 6]},
            TypeError,
            "row 1, .*a date as in row 0, got 5",
        ),
        ({"time": np.array([1, 2, 3], "m8[s]")}, TypeError, "column 'time': .*timedelta64"),
        ({"time": [1.0, np.inf, 2.0]}, ValueError, "row 1, 'time'"),
    ],
)
def test_bad_values_are_named(change, error, message):
    columns = {"user": [1, 1, 2], "item": [1, 2, 3], "time": [1, 2, 3], **change}
    with pytest.raises(error, match=message):
        sequences_from_interactions(pd.DataFrame(columns), min_count=1)


UTC, EAST = datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=5))
MIDNIGHT = datetime.datetime(2024, 1, 2)


@pytest.mark.parametrize(
    "times",
    [
        ["10", "9", "-1.5"],
        [decimal.Decimal(10), 9.5, "9"],
        [10**20, 2, 1],
        [2**62 + 1, 2**62, 2**62 - 1],
        ["4611686018427387905", "4611686018427387904", "4611686018427387903"],
        [datetime.date(2024, 1, 3), datetime.date(2024, 1, 2), datetime.date(2024, 1, 1)],
        [MIDNIGHT, MIDNIGHT.replace(tzinfo=EAST), MIDNIGHT - datetime.timedelta(hours=6)],
        [pd.Timestamp(second, unit="s", tz="UTC") for second in (3, 2, 1)],
        [np.datetime64(3, "s"), np.datetime64(2, "s"), np.datetime64(1, "s")],
    ],
)
@pytest.mark.parametrize("kind", [None, object])
def test_times_of_objects_and_texts(times, kind):
    """Latest first: the row is turned round; exactly, where doubles would tie."""
    frame = pd.DataFrame({"user": 1, "item": [1, 2, 3], "time": pd.Series(times, dtype=kind)})
    assert list(sequences_from_interactions(frame, min_count=1)) == [[3, 2, 1]]


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_texts_that_are_numbers_in_other_libraries(library):
    module = pytest.importorskip(library)
    columns = {"user": [1, 1, 1], "item": [1, 2, 3], "time": ["10", "9", "8"]}
    frame = module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
    assert list(sequences_from_interactions(frame, min_count=1)) == [[3, 2, 1]]


def test_a_lazy_frame_is_to_be_collected():
    pl = pytest.importorskip("polars")
    frame = pl.LazyFrame({"user": [1], "item": [1], "time": [1]})
    with pytest.raises(TypeError, match=r"frame: a LazyFrame .*frame\.collect\(\)"):
        sequences_from_interactions(frame)


def test_describe_counts_ties():
    columns = {"user": [1, 1, 1, 2, 2, 3], "item": [5, 6, 5, 5, 5, 9], "time": [3, 3, 4, 4, 2, 2]}
    made = sequences_from_interactions(pd.DataFrame(columns), min_count=2, return_details=True)
    found = made.describe()
    assert {name: found.pop(name) for name in ("ties", "time_first", "time_last", "dropped")} == {
        "ties": 0.0,
        "time_first": 2,
        "time_last": 4,
        "dropped": {"duplicates": 0, "rare": 2, "users": 1, "items": 2, "rounds": 1},
    }
    assert found == made.sequences.describe()
    made = sequences_from_interactions(pd.DataFrame(columns), min_count=1, return_details=True)
    assert made.describe()["ties"] == 1 / 6  # of user 1; 4 and 2 are shared by different users


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


@given(st.lists(st.tuples(st.text(max_size=2), st.text(max_size=2)), min_size=1, max_size=30))
def test_texts_are_ids_in_the_order_of_python(pairs):
    log = [(user, item, time) for time, (user, item) in enumerate(pairs)]
    columns = {
        "user": [u for u, _ in pairs],
        "item": [i for _, i in pairs],
        "time": range(len(log)),
    }
    found = sequences_from_interactions(
        pd.DataFrame(columns, dtype=object), min_count=1, return_details=True
    )
    wanted = plain(log, 1, "keep")
    assert found.users.tolist() == list(wanted)
    assert list(found.sequences) == list(wanted.values())
    assert found.sequences.items.tolist() == sorted({item for _, item in pairs})


def test_columns_that_pandas_has_numbered():
    frame = pd.DataFrame([["b", 5, 2], ["a", 6, 1], ["b", 7, 1]])
    assert list(sequences_from_interactions(frame, 0, 1, 2, min_count=1)) == [[6], [7, 5]]
    with pytest.raises(ValueError, match=r"no column 3, but \[0, 1, 2\]"):
        sequences_from_interactions(frame, 0, 1, 3)
    with pytest.raises(TypeError, match=r"row 1, 0: expected an int or str id, got \['a'\]"):
        sequences_from_interactions(pd.DataFrame([["b", 5, 2], [["a"], 6, 1]]), 0, 1, 2)


@pytest.mark.parametrize("make", [pd.Series, np.array, list, lambda ids: None])
def test_what_is_no_name_of_a_column(make):
    frame = pd.DataFrame({"user": [1, 1], "item": [1, 2], "time": [1, 2]})
    with pytest.raises(ValueError, match="frame has no column"):
        sequences_from_interactions(frame, make([1, 2]))
