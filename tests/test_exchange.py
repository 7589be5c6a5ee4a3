"""Data sets as frames, files and texts: exact round trips, and files of another form named."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_dr4sr import SequenceDataset, Sequences
from sklearn_dr4sr.dataset import PatternTable
from sklearn_dr4sr.datasets import load_sequences

WEIGHTS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], dtype=np.float32)
NAMES = {1: "tea pot", 2: "thé", 3: "<b>", 4: "1", 5: "x\ty"}


def made(text=False, weighted=True, noted=True):
    """Three rows, the last without patterns; four patterns of three origins."""
    rows, patterns = [[1, 2, 3], [2, 3], []], [[1, 2], [1, 3], [2, 3], [3, 4, 5]]
    if text:
        rows, patterns = (
            [[NAMES[item] for item in row] for row in part] for part in (rows, patterns)
        )
    table = PatternTable.of(
        Sequences(patterns),
        [0, 0, 1, 1],
        np.array([0, 1, 0, 2]),
        [0, 7, 0, 0],
        [-1, -1, -1, 3],
        np.arange(9) > 7 if noted else None,
    )
    return SequenceDataset(rows, table, WEIGHTS if weighted else None)


def assert_same(one, two):
    assert one.histories == two.histories
    assert one.patterns == two.patterns
    for name in ("source", "origin", "support", "memory", "generative"):
        a, b = getattr(one.table, name), getattr(two.table, name)
        if a is None:
            assert b is None
        else:
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
    for a, b in ((one.histories, two.histories), (one.patterns, two.patterns)):
        assert a.compact().items.dtype == b.compact().items.dtype
        assert a.compact().items.tolist() == b.compact().items.tolist()
    if one.weights is None:
        assert two.weights is None
    else:
        np.testing.assert_array_equal(one.weights, two.weights)
        assert two.weights.dtype == np.float32


def test_a_frame_has_a_line_a_pattern():
    frame = made().to_frame()
    expected = {
        "source": [0, 0, 1, 1],
        "origin": ["original", "mined", "original", "regenerated"],
        "items": [[1, 2], [1, 3], [2, 3], [3, 4, 5]],
        "support": [0, 7, 0, 0],
        "memory": [-1, -1, -1, 3],
        "generative": [[False] * 2] * 3 + [[False, False, True]],
    }
    weights = frame.pop("weights").tolist()
    assert frame.to_dict("list") == expected
    assert weights == [w.tolist() for w in np.split(WEIGHTS, [2, 4, 6])]
    assert made(weighted=False, noted=False).to_frame()["generative"].explode().sum() == 0
    assert "weights" not in made(weighted=False).to_frame()


def of_library(frame, library):
    """The same frame of another library, or as a dict of its columns."""
    if library == "dict":
        return {name: frame[name].to_numpy() for name in frame}
    if library == "pandas":
        return frame
    module = pytest.importorskip(library)
    columns = {name: frame[name].tolist() for name in frame}
    return module.table(columns) if library == "pyarrow" else module.DataFrame(columns)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "dict"])
@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("noted", [False, True])
def test_frame_round_trip(library, text, weighted, noted):
    data = made(text, weighted, noted)
    frame = of_library(data.to_frame(), library)
    assert_same(data, SequenceDataset.from_frame(list(data.histories), frame))
    assert_same(data, SequenceDataset.from_frame(data, frame))


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "dict"])
def test_a_part_of_a_frame_is_that_part_of_the_data(library):
    data, frame = made(), made().to_frame().assign(note="x")
    part = SequenceDataset.from_frame(
        data.histories, of_library(frame[frame["origin"] != "mined"], library)
    )
    kept = data.origin != "mined"
    weights = data.table.take_items(WEIGHTS, kept)
    assert_same(part, SequenceDataset(data.histories, data.table[kept], weights))
    none = SequenceDataset.from_frame(data.histories, of_library(frame[:0], library))
    assert (len(none), len(none.patterns), none.weights.shape) == (3, 0, (0,))
    sparse = frame[["source", "origin", "items", "support", "memory"]]
    part = SequenceDataset.from_frame(data.histories, of_library(sparse, library))
    assert_same(part, made(weighted=False, noted=False))


@pytest.mark.parametrize("library", ["pandas", "dict"])
@pytest.mark.parametrize(
    ("column", "values", "error", "message"),
    [
        ("source", [1, 0, 1, 1], ValueError, "pattern 1 is of row 0, after one of row 1"),
        ("source", [0, 0, 1, 3], ValueError, r"0 \.\. 2, got 3 for pattern 3"),
        ("source", [0.0, 0.0, 1.0, 1.0], TypeError, "source: expected the row"),
        ("origin", ["mined", "mine", "mined", "mined"], ValueError, "pattern 1: .* got 'mine'"),
        ("items", [[1, 2], [1, -3], [2, 3], [3, 4, 5]], ValueError, "'items': row 1, .* got -3"),
        ("items", [[1, 2], "ab", [2, 3], [3, 4, 5]], TypeError, "'items': row 1: .*got str"),
        ("support", [0, 1, -1, 0], ValueError, "pattern 2: support must be .* got -1"),
        ("support", [0, 1, 0.5, 0], ValueError, "pattern 0: support .* integer .* got 0.0"),
        ("memory", [0, -1, 128, 0], ValueError, "pattern 2: memory .* at most 127, got 128"),
        ("generative", [[True] * 2, 3, [], []], TypeError, "pattern 1: generative .* got 3"),
        ("generative", [[True] * 2, [True], [], []], ValueError, "pattern 1: gen.* got 1 for 2"),
        ("generative", [[True] * 2, ["no"] * 2, [True] * 2, [True] * 3], ValueError,
         "pattern 1: generative must be True or False, got 'no'"),
        ("weights", [[1.0] * 2, [1.0], [1.0] * 2, [1.0] * 3], ValueError,
         "pattern 1: weights must be as long as items, got 1 for 2"),
        ("weights", [[1.0] * 2, [1.0, -1.0], [1.0] * 2, [1.0] * 3], ValueError,
         r"not negative, got -1\.0 for pattern 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_frame_is_named(library, column, values, error, message):
    frame = made().to_frame().assign(**{column: pd.Series(values)})
    with pytest.raises(error, match=message):
        SequenceDataset.from_frame(made().histories, of_library(frame, library))


@pytest.mark.parametrize("column", ["source", "origin", "items", "support", "memory"])
def test_a_column_that_a_frame_lacks_is_named(column):
    frame, rows = made().to_frame(), made().histories
    without = frame.drop(columns=column)
    for library in ("pandas", "dict"):
        with pytest.raises(ValueError, match=f"no column '{column}', but"):
            SequenceDataset.from_frame(rows, of_library(without, library))
    missing = frame.assign(**{column: frame[column].where([True, True, False, True])})
    with pytest.raises(ValueError, match=f"row 2: no '{column}'"):
        SequenceDataset.from_frame(rows, missing)
    columns = of_library(frame, "dict")
    with pytest.raises((TypeError, ValueError), match=f"'{column}': expected a list or an array"):
        SequenceDataset.from_frame(rows, {**columns, column: 3})
    if column != "source":
        with pytest.raises(ValueError, match=f"'{column}': 1 entries for 4 patterns"):
            SequenceDataset.from_frame(rows, {**columns, column: columns[column][:1]})
    with pytest.raises(TypeError, match="expected a pandas, polars or pyarrow table, got int"):
        SequenceDataset.from_frame(rows, 3)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("noted", [False, True])
def test_parquet_round_trip(tmp_path, text, weighted, noted):
    pytest.importorskip("pyarrow")
    data, path = made(text, weighted, noted), tmp_path / "data.parquet"
    data.to_parquet(path)
    again = SequenceDataset.from_parquet(path)
    assert_same(data, again)
    assert_same(data[[1]], again[[1]])
    frame = pd.read_parquet(path)  # as others see it: a row is a user
    assert [list(row) for row in frame["history"]] == list(data.histories)
    assert [len(row) for row in frame["patterns"]] == [2, 2, 0]
    assert list(frame["patterns"][1][1]["items"]) == data.patterns[3]


ids = st.lists(st.integers(0, 2**63 - 1), max_size=3) | st.just([])
words = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3)


@settings(max_examples=30, deadline=None)  # the first one imports pyarrow
@given(
    st.one_of(*(st.lists(st.tuples(x, st.lists(x, max_size=2)), min_size=1) for x in (ids, words)))
)
def test_parquet_round_trip_of_anything(tmp_path_factory, rows):
    pytest.importorskip("pyarrow")
    histories, patterns = zip(*rows, strict=True)
    source = np.repeat(np.arange(len(rows)), [len(p) for p in patterns])
    flat = [p for of_row in patterns for p in of_row] or [[]]
    source = source if sum(map(len, patterns)) else [0]
    data = SequenceDataset(list(histories), flat, source=source)
    path = tmp_path_factory.mktemp("any") / "data.parquet"
    data.to_parquet(path)
    again = SequenceDataset.from_parquet(path)
    assert list(again.histories) == list(histories)
    assert list(again.patterns) == flat
    np.testing.assert_array_equal(again.source, source)


def struct(**fields):
    pa = pytest.importorskip("pyarrow")
    good = {"items": [1], "origin": "mined", "support": 1, "memory": -1, "weights": [1.0]}
    types = {"items": pa.list_(pa.int64()), "origin": pa.string(), "support": pa.int64()}
    types |= {"memory": pa.int8(), "weights": pa.list_(pa.float32())}
    value = {name: v for name, v in {**good, **fields}.items() if v != "drop"}
    kind = pa.list_(pa.struct([(name, types.get(name, pa.int64())) for name in value]))
    return pa.array([[value]], kind)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (lambda: {"history": [[1]]}, "the column patterns is missing"),
        (lambda: {"patterns": [[1]]}, "the column history is missing"),
        (lambda: {"history": [1], "patterns": struct()}, "history must hold lists, got int64"),
        (
            lambda: {"history": [None, [1]], "patterns": [[]] * 2},
            "history holds 1 nulls, the first at row 0",
        ),
        (lambda: {"history": [[None, 1]], "patterns": struct()}, "history must hold int64 or"),
        (lambda: {"history": [[1.5]], "patterns": struct()}, "int64 or string ids, got double"),
        (lambda: {"history": [[1, 2], [3, -1]], "patterns": [[], []]}, "row 1: .* got -1"),
        (lambda: {"history": [[-1]], "patterns": struct()}, "row 0: .* not negative, got -1"),
        (lambda: {"history": [[1]], "patterns": struct(items=None)}, "items holds .* pattern 0"),
        (lambda: {"history": [[1]], "patterns": [[1]]}, "patterns must hold structs, got int64"),
        (lambda: {"history": [[1]], "patterns": struct(items="drop")}, "the column items is"),
        (lambda: {"history": [[1]], "patterns": struct(memory="drop")}, "the column memory is"),
        (
            lambda: {"history": [[1]], "patterns": struct(origin="x")},
            "pattern 0: origin must be .* got 'x'",
        ),
        (lambda: {"history": [[1]], "patterns": struct(support=None)}, "support must hold int64"),
        (
            lambda: {"history": [[1]], "patterns": struct(weights=[])},
            "pattern 0: weights must be as long",
        ),
        (lambda: {"history": [[1]], "patterns": struct(weights=[-1.0])}, "not negative, got -1.0"),
    ],
)
def test_a_parquet_file_of_another_form_is_named(tmp_path, columns, message):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns()), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=message):
        SequenceDataset.from_parquet(tmp_path / "other.parquet")


@pytest.fixture
def stored(tmp_path):
    pytest.importorskip("pyarrow")
    SequenceDataset([["tea", "pot"], ["pot"]]).to_parquet(tmp_path / "data.parquet")
    return tmp_path / "data.parquet"


def test_a_damaged_parquet_file_is_named(stored):
    content = stored.read_bytes()
    spoilt = [content[:n] for n in (0, 3, 4, len(content) // 2, len(content) - 1)]
    spoilt += [content[:4] + b"\xff" * 56 + content[60:], b"PAR1" + b"\xff" * 99 + b"PAR1"]
    size = (2**31 - 1).to_bytes(4, "little")  # of the footer
    spoilt += [content[:-8] + size + b"PAR1", content.replace(b"tea", b"t\xffa")]
    for text in spoilt:
        stored.write_bytes(text)
        with pytest.raises(ValueError, match=r"data\.parquet: not a Parquet file"):
            SequenceDataset.from_parquet(stored)


def test_a_parquet_file_with_a_column_twice_is_named(stored):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(stored)
    columns = [table["history"], *table.columns]
    pq.write_table(pa.table(columns, ["history", *table.column_names]), stored)
    with pytest.raises(ValueError, match=r"data\.parquet: more than one column 'history'"):
        SequenceDataset.from_parquet(stored)


def test_what_is_no_parquet_file_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "x").write_text("not it")
    with pytest.raises(ValueError, match="x: not a Parquet file"):
        SequenceDataset.from_parquet(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        SequenceDataset.from_parquet(tmp_path / "absent")


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install sklearn_dr4sr\[frames\]"):
        made().to_parquet(tmp_path / "x")


def test_text_leaves_empty_patterns_out_and_refuses_white_space(tmp_path):
    path = tmp_path / "patterns.txt"
    SequenceDataset([[1, 2], [], [3]]).to_text(path)
    assert path.read_text() == "0 1 2\n2 3\n"
    assert list(load_sequences(path)) == [[1, 2], [3]]
    for bad in ("tea pot", "", " tea", "a\tb"):
        with pytest.raises(ValueError, match=r"text cannot hold an id .* white space"):
            SequenceDataset([["tea", bad]]).to_text(tmp_path / "bad")
        assert not (tmp_path / "bad").exists()


def test_recbole_reads_a_line_an_item(tmp_path):
    made().to_recbole(tmp_path / "shop")
    lines = (tmp_path / "shop" / "shop.inter").read_text().splitlines()
    assert lines[0].split("\t") == [
        "user_id:token", "item_id:token", "timestamp:float", "source:token", "origin:token",
        "weight:float",
    ]  # fmt: skip
    frame = pd.read_csv(tmp_path / "shop" / "shop.inter", sep="\t")
    frame.columns = [name.split(":")[0] for name in frame.columns]
    of_pattern = frame.sort_values("timestamp").groupby("user_id")
    assert of_pattern["item_id"].agg(list).tolist() == list(made().patterns)
    assert of_pattern["source"].first().tolist() == [0, 0, 1, 1]
    assert of_pattern["origin"].first().tolist() == made().origin.tolist()
    np.testing.assert_array_equal(frame["weight"].astype(np.float32), WEIGHTS)
    for bad in ("a\tb", "", "a\nb", 'say "tea"'):
        with pytest.raises(ValueError, match="RecBole's files cannot hold"):
            SequenceDataset([["tea", bad]]).to_recbole(tmp_path / "bad")
    SequenceDataset([["green tea"]]).to_recbole(tmp_path / "bare")
    assert (tmp_path / "bare" / "bare.inter").read_text().splitlines()[1:] == [
        "0\tgreen tea\t0\t0\toriginal"
    ]


def test_explain_tells_history_patterns_and_provenance():
    assert made(weighted=False).explain(1).splitlines() == [
        "row 1                       2 3",
        "  original                  2 3",
        "  regenerated (memory 3)    3 4 *5",
    ]
    assert made().explain(0).splitlines() == [
        "row 0                  1 2 3",
        "  original             1(0.10) 2(0.20)",
        "  mined (support 7)    1(0.30) 3(0.40)",
    ]
    assert made().explain(2) == "row 2"
    with pytest.raises(IndexError, match="row 3 is out of range for 3 rows"):
        made().explain(3)


def test_the_summary_for_notebooks_makes_no_patterns():
    data = SequenceDataset([[1, 2], [3]], lambda: made().table)
    assert "patterns not yet made" in data._repr_html_()
    assert data._table is None
    html = made()._repr_html_()
    cells = [part.split("</td>")[0] for part in html.split("<td>")[1:]]
    assert cells == ["3", "1.7", "", "2", "2.0", "", "1", "2.0", "7.0", "1", "3.0", ""]


def test_the_summary_for_notebooks_tells_the_first_rows_escaped():
    html = made(text=True)._repr_html_()
    told = html.split("<pre>")[1].split("</pre>")[0]
    assert "&lt;b&gt;" in told
    assert "<b>" not in html
    assert [line for line in told.splitlines() if line.startswith("row ")] == [
        "row 0                  tea pot thé &lt;b&gt;",
        "row 1                       thé &lt;b&gt;",
        "row 2",
    ]
    many = SequenceDataset([[1]] * 9, [[1]] * 40, source=[0] * 20 + [1] * 20)._repr_html_()
    told = many.split("<pre>")[1]
    assert told.count("row ") == 3
    assert told.count("... 13 more") == 2
