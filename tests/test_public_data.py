"""Fetching from a server of our own: tiny files in the real formats, never the real ones."""

import gzip
import hashlib
import json
import socket
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from sklearn_dr4sr import public_data
from sklearn_dr4sr.datasets import (
    fetch_amazon,
    fetch_gowalla,
    fetch_movielens,
    fetch_s3rec,
    load_yelp,
)
from sklearn_dr4sr.model_selection import global_time_split

pytest.importorskip("pandas")
pytest.importorskip("narwhals")

AMAZON = (
    "A2,B001,5.0,1376006400\nA1,0000031887,2.0,1376006399\nA1,B001,5.0,1376006401\n"
    "A2,B002,1.0,1376006300\n"
)
MOVIELENS = "196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t302\t1\t878887116\n"
GOWALLA = (
    "0\t2010-10-19T23:55:27Z\t30.2359091167\t-97.7951395833\t22847\n"
    "0\t2010-10-18T22:17:43Z\t30.2691029532\t-97.7493953705\t420315\n"
    "1\t2010-10-17T23:42:03Z\t30.2557309927\t-97.7633857727\t22847\n"
    "0\t2010-10-12T00:21:28Z\t40.6\t-73.9\t22847\n"
)


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, silently, and notes what was asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def origin(tmp_path, monkeypatch):
    """A server in place of all origins; its folder, and what it was asked for."""
    folder = tmp_path / "origin"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.asked, server.folder = [], folder
    address = f"http://127.0.0.1:{server.server_port}"
    for name in ("_AMAZON", "_MOVIELENS", "_GOWALLA", "_S3REC"):
        monkeypatch.setattr(public_data, name, address)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path):
    return {"data_home": tmp_path / "home", "n_retries": 0}


def zipped(path, member, text):
    """Write an archive; its SHA-256."""
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr("README", "terms")
        pack.writestr(member, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_amazon(origin, home):
    (origin.folder / "ratings_Beauty.csv").write_text(AMAZON)
    found = fetch_amazon("Beauty", min_count=1, **home)
    assert dict(zip(found.users.tolist(), found.sequences, strict=True)) == {
        "A1": ["0000031887", "B001"],
        "A2": ["B002", "B001"],
    }
    assert found.times.tolist() == [1376006399, 1376006401, 1376006300, 1376006400]
    assert found.dropped["rare"] == 0
    assert "SIGIR 2015" in found.DESCR
    assert f"127.0.0.1:{origin.server_port}/ratings_Beauty.csv" in found.DESCR
    assert found.filename == str(home["data_home"] / "sklearn_dr4sr" / "ratings_Beauty.csv")


def test_the_core_of_the_paper_is_the_default(origin, home):
    lines = [f"A{u},B{i},5.0,{10 * u + i}" for u in range(5) for i in range(5)]
    (origin.folder / "ratings_Baby.csv").write_text("\n".join([*lines, "A9,B0,1.0,7"]))
    found = fetch_amazon("Baby", **home)
    assert list(found.sequences) == [[f"B{i}" for i in range(5)]] * 5
    assert found.dropped["rare"] == 1


@pytest.mark.parametrize(
    ("name", "archive", "member", "text"),
    [
        ("100k", "ml-100k.zip", "ml-100k/u.data", MOVIELENS),
        ("1m", "ml-1m.zip", "ml-1m/ratings.dat", MOVIELENS.replace("\t", "::")),
    ],
)
def test_movielens(origin, home, name, archive, member, text):
    sha256 = zipped(origin.folder / archive, member, text)
    found = fetch_movielens(name, min_count=1, sha256=sha256, **home)
    assert found.users.tolist() == [186, 196]
    assert list(found.sequences) == [[302], [302, 242]]
    assert "no redistribution" in found.DESCR


def test_gowalla_goes_on_to_a_split_in_time(origin, home):
    path = origin.folder / "loc-gowalla_totalCheckins.txt.gz"
    path.write_bytes(gzip.compress(GOWALLA.encode()))
    found = fetch_gowalla(min_count=1, **home)
    assert list(found.sequences) == [[22847, 420315, 22847], [22847]]
    assert found.times[0] == np.datetime64("2010-10-12T00:21:28")
    split = global_time_split(
        found.sequences, found.times, validation_from=np.datetime64("2010-10-17"),
        test_from=np.datetime64("2010-10-19"),
    )  # fmt: skip
    assert list(split.train) == [[22847], []]
    assert split.validation.tolist() == [420315, 22847]
    assert split.test.tolist() == [22847, None]
    first = fetch_gowalla(min_count=1, duplicates="first", **home)
    assert list(first.sequences) == [[22847, 420315], [22847]]
    assert "KDD 2011" in first.DESCR


def test_s3rec(origin, home, monkeypatch):
    text = "1 3 1 2\n2 1 2\n"
    (origin.folder / "LastFM.txt").write_text(text)
    with pytest.raises(OSError, match=r"SHA256 checksum of LastFM\.txt"):
        fetch_s3rec("LastFM", **home)
    known = hashlib.sha256(text.encode()).hexdigest()
    monkeypatch.setitem(public_data._SHA256, "LastFM.txt", known)
    found = fetch_s3rec("LastFM", **home)
    assert list(found.sequences) == [[3, 1, 2], [1, 2]]
    assert found.filename == str(home["data_home"] / "sklearn_dr4sr" / "LastFM.txt")
    assert "not for commercial use" in found.DESCR


@pytest.mark.data
def test_s3recs_files_are_those_of_the_paper(data_dir):
    for name in ("Beauty.txt", "Toys_and_Games.txt"):
        known = public_data._SHA256[name]
        assert hashlib.sha256((data_dir / name).read_bytes()).hexdigest() == known


def test_what_is_there_is_not_fetched_again(origin, home):
    (origin.folder / "ratings_Beauty.csv").write_text(AMAZON)
    fetch_amazon(min_count=1, **home)
    fetch_amazon(min_count=1, **home)
    assert origin.asked == ["/ratings_Beauty.csv"]


def test_sha256(origin, home):
    (origin.folder / "ratings_Beauty.csv").write_text(AMAZON)
    right = hashlib.sha256(AMAZON.encode()).hexdigest()
    with pytest.raises(OSError, match=rf"SHA256 checksum of ratings_Beauty\.csv \({right}\)"):
        fetch_amazon(min_count=1, sha256="0" * 64, **home)
    assert list((home["data_home"] / "sklearn_dr4sr").iterdir()) == []
    assert len(fetch_amazon(min_count=1, sha256=right, **home).sequences) == 2


@pytest.mark.parametrize("name", ["100k", "1m"])
def test_another_archive_than_the_known_one_is_refused(origin, home, name):
    other = zipped(origin.folder / f"ml-{name}.zip", "u.data", MOVIELENS)
    with pytest.raises(OSError, match=rf"SHA256 checksum of ml-{name}\.zip \({other}\)"):
        fetch_movielens(name, **home)


def test_offline_the_error_says_what_to_do(monkeypatch, home):
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(public_data, "_AMAZON", f"http://127.0.0.1:{closed.getsockname()[1]}")
        place = home["data_home"] / "sklearn_dr4sr" / "ratings_Beauty.csv"
        with pytest.raises(OSError, match="cannot be downloaded") as caught:
            fetch_amazon("Beauty", **home)
        assert f"{public_data._AMAZON}/ratings_Beauty.csv" in str(caught.value)
        assert f"put it there: {place}" in str(caught.value)
        place.write_text(AMAZON)  # as the error says
        assert len(fetch_amazon("Beauty", min_count=1, **home).sequences) == 2


def test_a_file_that_is_gone_is_named(origin, home):
    with pytest.raises(OSError, match=r"ml-100k\.zip cannot be downloaded \(File not found\)"):
        fetch_movielens(**home)


def test_malformed_and_damaged_files_are_named(origin, home):
    (origin.folder / "ratings_Beauty.csv").write_text(AMAZON + "A3,B001,5.0\n")
    with pytest.raises(ValueError, match=r"ratings_Beauty\.csv, line 5: expected 4 fields, got 3"):
        fetch_amazon(**home)
    (home["data_home"] / "sklearn_dr4sr" / "ratings_Beauty.csv").unlink()
    (origin.folder / "ratings_Beauty.csv").write_bytes(AMAZON.encode() + b"A3,\xff,5.0,1\n")
    with pytest.raises(ValueError, match=r"ratings_Beauty\.csv, line 5: not UTF-8"):
        fetch_amazon(**home)
    (origin.folder / "ml-100k.zip").write_bytes(b"<html>")
    html = hashlib.sha256(b"<html>").hexdigest()
    with pytest.raises(OSError, match=r"ml-100k\.zip is damaged .*: delete it"):
        fetch_movielens(sha256=html, **home)
    empty = zipped(origin.folder / "ml-1m.zip", "other", "")
    with pytest.raises(ValueError, match=r"the archive holds no ml-1m/ratings\.dat"):
        fetch_movielens("1m", sha256=empty, **home)
    packed = gzip.compress(GOWALLA.encode())
    path = origin.folder / "loc-gowalla_totalCheckins.txt.gz"
    for damaged in (packed[:40], b"<html>"):
        path.write_bytes(damaged)
        with pytest.raises(OSError, match=r"totalCheckins\.txt\.gz is damaged"):
            fetch_gowalla(**home)
        (home["data_home"] / "sklearn_dr4sr" / path.name).unlink()


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match="Toys_and_Games, Video_Games, got 'Toys'"):
        fetch_amazon("Toys")
    with pytest.raises(ValueError, match="100k, 1m, got '10m'"):
        fetch_movielens("10m")
    with pytest.raises(ValueError, match="Toys_and_Games, LastFM, got 'Yelp'"):
        fetch_s3rec("Yelp")


def review(user, business, date, **more):
    record = {"review_id": "x", "user_id": user, "business_id": business, "stars": 4.0}
    return json.dumps({**record, "text": 'a "b",\n c', **more, "date": date}) + "\n"


YELP = [
    review("u2", "b1", "2019-03-01 10:00:00"),
    review("u1", "b1", "2018-12-31 23:59:59"),
    review("u1", "b2", "2019-01-01 00:00:00"),
    review("u1", "b3", "2019-12-31 00:00:00"),
]


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_yelp(tmp_path, suffix):
    path = tmp_path / f"review{suffix}"
    text = "".join(YELP).encode()
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    found = load_yelp(path, min_count=1)
    assert list(found.sequences) == [["b1", "b2", "b3"], ["b1"]]
    assert "not to be distributed" in found.DESCR
    found = load_yelp(path, min_count=1, since="2019-01-01", until="2019-12-31")
    assert list(found.sequences) == [["b2"], ["b1"]]
    assert (
        found.times.tolist()
        == np.array(["2019-01-01", "2019-03-01T10"], found.times.dtype).tolist()
    )
    with pytest.raises(ValueError, match="no review of 4 lies in since=2020-01-01"):
        load_yelp(path, since="2020-01-01")
    with pytest.raises(ValueError, match="until: expected an ISO date, got 'noon'"):
        load_yelp(path, until="noon")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json}\n", "line 5: not JSON"),
        ('["u1"]\n', "line 5: no text 'user_id'"),
        ("[" * 10**5 + "\n", "line 5: not JSON"),
        ('{"stars": ' + "9" * 5000 + "}\n", "line 5: "),
        ('{"user_id": "\udcff"}\n', "line 5: not UTF-8"),
        (review("u1", "\ud800", "2019-01-01"), "line 5: no text 'business_id'"),
        (review("u1", None, "2019-01-01"), "line 5: no text 'business_id'"),
        ("\n" + review("u1", "b1", "yesterday"), "line 6, 'date': .* got 'yesterday'"),
    ],
)
def test_yelp_names_the_line(tmp_path, line, message):
    path = tmp_path / "review.json"
    path.write_bytes(("".join(YELP) + line).encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=rf"review\.json, {message}"):
        load_yelp(path)
