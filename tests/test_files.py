"""Tables of interactions in files of every kind, against one table made by hand."""

import gzip

import numpy as np
import pytest

from sklearn_dr4sr import SequenceDataset
from sklearn_dr4sr.datasets import load_sequences, sequences_from_interactions

pd = pytest.importorskip("pandas")
pytest.importorskip("narwhals")

LOG = [
    ("ann", "tea", 3),
    ("bob", "cup", 1),
    ("ann", "pot", 2),
    ("bob", "tea", 5),
    ("bob", "jam", 4),
]
ROWS = [["pot", "tea"], ["cup", "jam", "tea"]]


def delimited(head, delimiter, log=LOG):
    return "\n".join([head, *(delimiter.join(map(str, line)) for line in log)]) + "\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.csv", delimited("user,item,time", ",")),
        ("log.CSV", "\ufeff" + delimited("user,item,time", ",").replace("\n", "\r\n")),
        ("log.tsv", delimited("user\titem\ttime", "\t")),
        ("log.inter", delimited("user_id:token\titem_id:token\ttimestamp:float", "\t")),
        ("log.csv", delimited("user,item,time", ",").replace("tea", '"tea"') + "\n\n"),
    ],
)
def test_text_tables(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert list(load_sequences(path)) == ROWS
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert list(load_sequences(packed)) == ROWS


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(LOG, columns=["user", "item", "time"])
    frame["more"] = 1.5
    frame.to_parquet(tmp_path / "log.parquet")
    found = load_sequences(tmp_path / "log.parquet", return_details=True)
    assert list(found.sequences) == ROWS
    assert found.users.tolist() == ["ann", "bob"]
    assert found.times.tolist() == [2, 3, 1, 4, 5]
    frame.loc[2, "item"] = None
    frame.to_parquet(tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=r"log\.parquet: row 2: no 'item'"):
        load_sequences(tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=r"log\.parquet: no column 'who', but \['user'"):
        load_sequences(tmp_path / "log.parquet", user="who")
    with pytest.raises(ValueError, match="names is for text files"):
        load_sequences(tmp_path / "log.parquet", names=["user"])
    (tmp_path / "log.parquet").write_text("user,item,time\n")
    with pytest.raises(ValueError, match=r"log\.parquet: not a Parquet file"):
        load_sequences(tmp_path / "log.parquet")


def test_names_core_and_duplicates(tmp_path):
    path = tmp_path / "ratings.csv"
    log = [
        (u, i, 5.0, t) for t, (u, i) in enumerate([(1, 7), (1, 8), (2, 8), (1, 7), (2, 7), (3, 9)])
    ]
    path.write_text("\n".join(",".join(map(str, line)) for line in log))
    options = {
        "names": ["who", "what", "stars", "when"],
        "user": "who",
        "item": "what",
        "time": "when",
    }
    assert list(load_sequences(path, **options)) == [[7, 8, 7], [8, 7], [9]]
    assert list(load_sequences(path, min_count=2, **options)) == [[7, 8, 7], [8, 7]]
    found = load_sequences(path, min_count=2, duplicates="last", return_details=True, **options)
    frame = pd.DataFrame(log, columns=options["names"])
    wanted = sequences_from_interactions(
        frame, "who", "what", "when", 2, duplicates="last", return_details=True
    )
    assert found.sequences == wanted.sequences
    assert found.dropped == wanted.dropped


def test_what_to_recbole_writes_comes_back(tmp_path):
    rows, patterns = [[1, 2, 3], [4, 5]], [[3, 1, 2], [1, 3], [2, 2], [5]]
    patterns += [[item] for item in range(20)]  # "10" would come before "9" as a text
    source = [0, 0, 0] + [1] * 21
    SequenceDataset(rows, patterns, source=source).to_recbole(tmp_path / "shop")
    assert list(load_sequences(tmp_path / "shop" / "shop.inter")) == patterns


@pytest.mark.parametrize(
    ("times", "order"),
    [
        (["3", "1", "2"], "bca"),
        (["1e1", "2.5", "-3"], "cba"),
        (["9007199254740993", "9007199254740992", "9007199254740994"], "bac"),  # equal as floats
        (["2020-03-01", "2020-01-01", "2020-02-01"], "bca"),
        (["2010-10-19T23:55:27Z", "2010-10-18T22:17:43Z", "2010-10-19T22:17:43Z"], "bca"),
        (["2010-10-19T02:00:00+02:00", "2010-10-19T01:00:00+00:00", "2010-10-18T23:00:00Z"], "cab"),
        (["2014-02-25 21:13:22", "2014-02-25 21:13:23", "2014-02-25 21:13:21"], "cab"),
    ],
)
def test_times(tmp_path, times, order):
    path = tmp_path / "log.csv"
    path.write_text(delimited("user,item,time", ",", zip("uuu", "abc", times, strict=True)))
    assert "".join(load_sequences(path)[0]) == order


@pytest.mark.parametrize(
    ("items", "wanted"),
    [
        (["2", "10"], [2, 10]),
        (["01", "1"], ["01", "1"]),
        (["0", "1"], [0, 1]),
        (["1.0", "2"], ["1.0", "2"]),
        (["-1", "2"], ["-1", "2"]),
        (["9" * 30, "2"], ["9" * 30, "2"]),
    ],
)
def test_ids(tmp_path, items, wanted):
    path = tmp_path / "log.csv"
    path.write_text(delimited("user,item,time", ",", [(1, i, t) for t, i in enumerate(items)]))
    assert load_sequences(path)[0] == wanted
    path = tmp_path / "log.txt"
    path.write_text(" ".join(["1", *items]))
    assert load_sequences(path)[0] == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item,time\nann,tea,1\n\nann,tea\n", r"line 4: expected 3 fields, got 2: 'ann,tea'"),
        ("user,item,time\nann,tea,1,9\n", r"line 2: expected 3 fields, got 4"),
        ("user,item,time\nann,tea,1\nann,,1\n", r"line 3: no 'item'"),
        ("user,item,time\nann,tea,1\nann,tea,noon\n", r"line 3, 'time': .* got 'noon'"),
        ("user,item,time\nann,tea,1\nann,tea,nan\n", r"line 3, 'time': .* got 'nan'"),
        ("user,item,time\nann,tea,1\nann,tea,2020-01-01\n", r"line 3, 'time'"),
        ("user,item,time\nann,tea,2020-01-01\nann,tea,2020-13-01\n", r"line 3, 'time'"),
        ("user,item,time\nann,tea,2020-01-01\n\nann,tea,7\n", r"line 4, 'time'"),
        ('user,item,time\nann,"tea\npot",1\nann,tea\n', r"line 4: expected 3 fields"),
        ("user,item,when\nann,tea,1\n", r"no column 'time', but \['user', 'item', 'when'\]"),
        ("user,item,time\n", r"holds no interaction"),
        ("", r"no column 'user', but \[\]"),
        (b"user,item,time\nann,\xff\xfe,1\n", r"line 2: not UTF-8"),
        (b"user,it\xffem,time\nann,tea,1\n", r"line 1: not UTF-8"),
        ("user,item,time\nann,thé,1\n".encode() + b"ann,th\xe9,2\n", r"line 3: not UTF-8"),
        (b"user,item,time\nann,\xed\xa0\x80,1\n", r"line 2: not UTF-8"),  # a surrogate
        ('user,item,time\nann,tea,1\nann,"tea,2\nann,pot,3\n', r"line 3: expected 3 fields"),
        (f"user,item,time\nann,tea,1\nann,{'t' * 2**18},2\n", r"line 3: field larger"),
        ('user,item,time\nann,"' + "t\n" * 2**17, r"line 2: field larger"),
        ("user,item,time\nann,tea,1\nann,tea," + "9" * 5000, r"line 3, 'time'"),
        ("user,item,time\nann,tea,1\nann,tea,1e999", r"line 3, 'time'"),
        ("user,item,item,time\nann,tea,pot,1\n", r"more than one column 'item', but \['user'"),
        ("user,item,time\nann,tea,1\n", r"no interaction of 1 is left"),
    ],
)
def test_errors_name_file_and_line(tmp_path, text, message):
    path = tmp_path / "log.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"log\.csv.*{message}"):
        load_sequences(path, min_count=2 if "left" in message else 1)


@pytest.mark.parametrize("suffix", [".inter", ".tsv", ".csv"])
def test_every_text_table_names_the_line(tmp_path, suffix):
    names = ["user_id:token", "item_id:token", "timestamp:float"]
    names = names if suffix == ".inter" else ["user", "item", "time"]
    between = "," if suffix == ".csv" else "\t"
    head = between.join(names).encode()
    line = between.join(["ann", "tea", "1"]).encode()
    for bad, message in (
        (line[:-2], "expected 3 fields, got 2"),
        (line + between.encode(), "expected 3 fields, got 4"),
        (line.replace(b"tea", b""), "no 'item"),
        (line.replace(b"1", b"noon"), "'time.*got 'noon'"),
        (line.replace(b"tea", b"\xff"), "not UTF-8"),
    ):
        text = b"\n".join([head, line, b"", bad, line])
        (tmp_path / f"log{suffix}").write_bytes(text)
        (tmp_path / f"log{suffix}.gz").write_bytes(gzip.compress(text))
        for name in (f"log{suffix}", f"log{suffix}.gz"):
            with pytest.raises(ValueError, match=rf"{name}, line 4(: |, ){message}"):
                load_sequences(tmp_path / name)


def test_a_damaged_gzip_file_is_named(tmp_path):
    path = tmp_path / "log.csv.gz"
    content = gzip.compress(delimited("user,item,time", ",").encode())
    for spoilt in (content[:-9], content[:20], b"user,item,time\n", content[:-8] + b"\0" * 8):
        path.write_bytes(spoilt)
        with pytest.raises(ValueError, match=r"log\.csv\.gz: not a whole gzip file"):
            load_sequences(path)


def test_a_damaged_parquet_table_is_named(tmp_path):
    pa = pytest.importorskip("pyarrow")
    path = tmp_path / "log.parquet"
    pd.DataFrame(LOG, columns=["user", "item", "time"]).to_parquet(path)
    content = path.read_bytes()
    page = content[:4] + b"\xff" * 56 + content[60:]
    for spoilt in (page, content[:-1], content.replace(b"pot", b"p\xfft")):
        path.write_bytes(spoilt)
        with pytest.raises(ValueError, match=r"log\.parquet: not a Parquet file"):
            load_sequences(path)
    columns = {"user": ["ann"] * 2, "item": pa.array([1, 2**63 + 5], pa.uint64()), "time": [1, 2]}
    pa.parquet.write_table(pa.table(columns), path)
    with pytest.raises(ValueError, match=r"log\.parquet: row 1, 'item': ids must be below 2\*\*63"):
        load_sequences(path)
    twice = pa.table([[1], [2], [2], [3]], ["user", "item", "item", "time"])
    pa.parquet.write_table(twice, path)
    with pytest.raises(ValueError, match=r"log\.parquet: more than one column 'item'"):
        load_sequences(path)


def test_parameters_of_tables_are_refused_for_the_papers_format(tmp_path):
    path = tmp_path / "shop.txt"
    path.write_text("ann 1 2\n")
    for options in ({"user": "who"}, {"min_count": 5}, {"return_details": True}, {"names": ["a"]}):
        with pytest.raises(ValueError, match=rf"shop\.txt: {next(iter(options))}=.* is for tables"):
            load_sequences(path, **options)


def test_order_of_lines_and_columns_does_not_matter(tmp_path):
    rng = np.random.default_rng(0)
    log = [(t, f"i{rng.integers(9)}", f"u{rng.integers(5)}") for t in range(60)]
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text(delimited("time,item,user", ",", log))
    two.write_text(
        delimited(
            "user,time,item", ",", [(log[i][2], log[i][0], log[i][1]) for i in rng.permutation(60)]
        )
    )
    assert load_sequences(one) == load_sequences(two)


def test_ids_of_19_digits_are_integers_where_int64_holds_them(tmp_path):
    for largest, kind in ((2**63 - 1, int), (2**63, str)):
        path = tmp_path / f"{kind.__name__}.txt"
        path.write_text(f"u {largest} 5\n")
        assert list(load_sequences(path)) == [[kind(largest), kind(5)]]
