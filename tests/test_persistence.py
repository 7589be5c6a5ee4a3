"""Stored models: the same scores, in few bytes; files with anything else in them are refused."""

import contextlib
import errno
import json
import os
import pickle
import struct
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch.exceptions import DeviceWarning

import sklearn_dr4sr
from sklearn_dr4sr import PatternMiner, SequenceDataset
from sklearn_dr4sr.baselines import MELT, MarkovChain
from sklearn_dr4sr.datasets import make_sequences
from sklearn_dr4sr.recommenders import (
    FMLP,
    GNN,
    BSARec,
    CL4SRec,
    GRU4Rec,
    SASRec,
    SequentialRecommender,
)

numpy_format = pytest.importorskip("safetensors.numpy")

TINY = {"embedding_dim": 8, "hidden_dim": 8, "n_layers": 1, "max_length": 12, "loss": "ce"}
TINY |= {"max_epochs": 1, "device": "cpu", "random_state": 0}
ROWS = make_sequences(60, 30, random_state=0)


def test_joblib_holds_little_beside_the_weights(tmp_path):
    rows = [row.tolist() for row in np.arange(30_000).reshape(-1, 10)]
    model = SASRec(max_epochs=1, steps_per_epoch=1, batch_size=8, device="cpu").fit(rows)
    joblib.dump(model, tmp_path / "model.joblib")
    weights = sum(v.nbytes for v in model.net_.module_.state_dict().values())
    assert (tmp_path / "model.joblib").stat().st_size <= 1.05 * weights


def test_item_embeddings_cannot_be_changed_by_mistake(tmp_path):
    model = SASRec(**TINY).fit(ROWS)
    with pytest.raises(ValueError, match="read-only"):
        model.item_embeddings_[0] = 0
    assert not hasattr(SASRec(), "item_embeddings_")


@pytest.mark.parametrize("kind", [SASRec, GRU4Rec, FMLP, GNN, CL4SRec, BSARec])
def test_a_loaded_model_is_the_saved_one(kind, tmp_path):
    y = [int(row[0]) for row in ROWS]
    model = kind(**TINY, n_negatives=np.int64(3)).fit(ROWS, y)
    model.save(tmp_path / "new" / "folder")
    state = torch.random.get_rng_state()
    loaded = SequentialRecommender.load(tmp_path / "new" / "folder", device="cpu")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert type(loaded) is kind
    assert loaded.get_params() == model.get_params()
    assert loaded.history_ == model.history_
    assert (loaded.n_steps_, loaded.best_epoch_) == (model.n_steps_, model.best_epoch_)
    rows = [*ROWS, []]
    np.testing.assert_array_equal(loaded.decision_function(rows), model.decision_function(rows))
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))
    again = joblib.load(*joblib.dump(loaded, tmp_path / "x"))
    np.testing.assert_array_equal(again.decision_function(rows), model.decision_function(rows))
    assert loaded.fit(ROWS).n_steps_ == model.n_steps_  # it can learn anew


@pytest.mark.parametrize("kind", [SASRec, BSARec])
def test_relative_positions_are_stored(kind, tmp_path):
    model = kind(**TINY, positions="relative").fit(ROWS)
    model.save(tmp_path)
    loaded = kind.load(tmp_path, device="cpu")
    assert loaded.positions == "relative"
    np.testing.assert_array_equal(loaded.decision_function(ROWS), model.decision_function(ROWS))


def test_string_ids_and_what_serves_training_alone(tmp_path):
    rows = [["thé", "\0", ""], ["\0", "thé", "a b"]]
    model = SASRec(**TINY, callbacks=[], checkpoint_dir=tmp_path / "checkpoint").fit(rows)
    model.set_params(random_state=np.random.RandomState(0)).save(tmp_path)
    loaded = SASRec.load(tmp_path)
    assert (loaded.random_state, loaded.callbacks, loaded.checkpoint_dir) == (None, None, None)
    assert loaded.items_.tolist() == model.items_.tolist()
    assert loaded.items_.dtype == object
    np.testing.assert_allclose(loaded.decision_function(rows), model.decision_function(rows), 1e-4)


def test_what_was_changed_after_fit_does_not_replace_a_good_file(tmp_path):
    model = SASRec(**(TINY | {"device": torch.device("cpu")})).fit(ROWS)
    model.save(tmp_path)
    with pytest.raises(ValueError, match=r"save: .* is of shape \(31, 8\), .* make .* \(31, 16\)"):
        model.set_params(embedding_dim=16).save(tmp_path)
    loaded = SASRec.load(tmp_path)
    np.testing.assert_array_equal(loaded.item_embeddings_, model.item_embeddings_)
    assert loaded.device == "auto"


def test_only_fitted_models_of_the_package_are_saved(tmp_path):
    class Mine(SASRec):
        pass

    with pytest.raises(NotFittedError):
        SASRec().save(tmp_path)
    melt = MELT(SASRec(**TINY), max_epochs=1, random_state=0)
    for model in (Mine(**TINY), melt):
        with pytest.raises(TypeError, match=r"save: .* of SASRec, .*got .*joblib\.dump"):
            model.fit(ROWS).save(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_full_disk_leaves_the_model_before(name, saved, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    model = SASRec.load(saved, device="cpu")
    if name == "model.json":
        monkeypatch.setattr(Path, "write_text", fail)
    else:
        monkeypatch.setattr(numpy_format, "save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        model.save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_model_whose_replacement_was_killed_half_way_is_not_loaded(saved, monkeypatch):
    """Weights of the one with the catalogue of the other would load, and rank nonsense."""
    model = SASRec.load(saved, device="cpu")

    def fail(source, target):
        if Path(target).name == "model.json":
            raise InterruptedError
        os.rename(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InterruptedError):
        model.save(saved)
    with pytest.raises(FileNotFoundError, match=r"model\.json: no such file"):
        SASRec.load(saved)


def test_without_safetensors_the_error_says_what_to_install(tmp_path, saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install sklearn_dr4sr\[safe\]"):
        SASRec.load(saved)


# Files of other versions and devices


@pytest.mark.parametrize("folder", sorted(Path(__file__).with_name("stored").iterdir()), ids=str)
def test_files_of_every_version_are_read(folder):
    """A version that changes a format keeps the files here readable, and adds its own."""
    expected = json.loads((folder / "expected.json").read_text())
    for kind, scores in expected["scores"].items():
        model = SequentialRecommender.load(folder / kind, device="cpu")
        np.testing.assert_allclose(model.decision_function(expected["rows"]), scores, atol=1e-5)
    data = SequenceDataset.from_parquet(folder / "patterns.parquet")
    assert list(data.histories) == expected["rows"]
    assert list(data.patterns) == expected["patterns"]


@pytest.mark.parametrize("estimator", [MarkovChain(), PatternMiner(), SASRec(**TINY)], ids=repr)
def test_a_pickle_of_another_version_says_what_to_do(estimator, monkeypatch):
    stored = pickle.dumps(estimator.fit(ROWS))
    assert vars(pickle.loads(stored)).keys() == vars(estimator).keys()  # and nothing is said
    monkeypatch.setattr(sklearn_dr4sr, "__version__", "99")
    with pytest.warns(UserWarning, match=r"pickled by sklearn_dr4sr 0\..* 99 may .*: fit it anew"):
        pickle.loads(stored)


def test_a_pickle_from_cuda_is_read_without_it():
    """tests marked gpu do it with a device; here skorch is told that there was one."""
    model = SASRec(**TINY).fit(ROWS)
    expected = model.predict(ROWS)
    model.net_.device = "cuda"
    stored = pickle.dumps(model)
    if torch.cuda.is_available():
        loaded = pickle.loads(stored)
    else:
        with pytest.warns(DeviceWarning):  # skorch says it in several ways
            loaded = pickle.loads(stored)
    np.testing.assert_array_equal(loaded.predict(ROWS), expected)


@pytest.mark.gpu
def test_a_saved_model_changes_devices(tmp_path):
    model = SASRec(**{**TINY, "device": "cuda"}).fit(ROWS)
    expected = model.decision_function(ROWS)
    for device in ("cpu", "cuda", "cpu"):
        model.save(tmp_path)
        model = SASRec.load(tmp_path, device=device)
        assert model.net_.item_matrix().device.type == device
        np.testing.assert_allclose(model.decision_function(ROWS), expected, atol=1e-4)


# Files that save did not write


@pytest.fixture
def saved(tmp_path):
    SASRec(**TINY).fit([[1, 2, 3], [2, 3, 1]]).save(tmp_path / "model")
    return tmp_path / "model"


def edit(folder, **changes):
    """Rewrite parts of model.json."""
    path = folder / "model.json"
    stored = json.loads(path.read_text())
    for key, value in changes.items():
        part, _, name = key.partition("__")
        if name:
            stored[part][name] = value
        else:
            stored[part] = value
    path.write_text(json.dumps(stored))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class": "Popularity"}, "class: expected one of .* got 'Popularity'"),
        ({"class": "os.system"}, "class: expected one of .* got 'os.system'"),
        ({"class": "../../SASRec"}, "class: expected one of .* got '../../SASRec'"),
        ({"class": ["SASRec"]}, "class: expected one of"),
        ({"class": "MELT"}, "class: expected one of"),
        ({"class": "GRU4Rec"}, "class: expected SASRec, got 'GRU4Rec'"),
        ({"module": "evil"}, r"expected the keys .*'module'"),
        ({"weights": "../../other.safetensors"}, "expected the keys"),
        ({"format": 2}, "expected format 1, got 2"),
        ({"parameters__module": "os"}, r"parameters that do not fit SASRec: \['module'\]"),
        ({"parameters__module__x": 1}, "parameters that do not fit SASRec"),
        ({"parameters": {}}, "parameters that do not fit SASRec"),
        ({"parameters": [1]}, "parameters that do not fit SASRec"),
        ({"parameters__callbacks": "x"}, "callbacks: expected null, got 'x'"),
        ({"parameters__callbacks": ["x"]}, "callbacks: expected a number, a text or null"),
        ({"parameters__checkpoint_dir": "/etc"}, "checkpoint_dir: expected null, got '/etc'"),
        ({"parameters__random_state": "x"}, "random_state: expected an int, got 'x'"),
        ({"parameters__loss": {"a": 1}}, "loss: expected a number, a text or null"),
        ({"parameters__loss": "eval"}, "loss must be one of"),
        ({"parameters__lr": "fast"}, "lr must be a number"),
        ({"parameters__embedding_dim": 10**4}, "expected F32 of shape"),
        ({"parameters__embedding_dim": 10**30}, "embedding_dim must be an integer"),
        ({"parameters__embedding_dim": 7}, "embedding_dim=7 must be a multiple of n_heads=2"),
        ({"parameters__max_length": 10**14}, "max_length must be an integer"),
        ({"parameters__n_layers": 200}, "n_layers=200, and the file holds"),
        ({"parameters__n_layers": 2}, "arrays that do not fit: .*module.blocks.1"),
        ({"parameters__input_norm": True}, "arrays that do not fit: .*input_norm"),
        ({"items": []}, "items: expected a list of ids"),
        ({"items": {"a": 1}}, "items: expected a list of ids"),
        ({"items": [1, "2", 3]}, "items must be all int or all str"),
        ({"items": [True, False, 3]}, "items must be all int or all str"),
        ({"items": [[1], [2], [3]]}, "items must be all int or all str"),
        ({"items": [1, 3, 2]}, "items must increase"),
        ({"items": [1, 1, 2]}, "items must increase"),
        ({"items": ["b", "../../a", "c"]}, "items must increase"),
        ({"items": [-1, 1, 2]}, "non-negative 64-bit integers, got -1"),
        ({"items": [1, 2, 2**63]}, "non-negative 64-bit integers"),
        ({"items": [1, 2, 3, 4]}, r"expected F32 of shape"),
        ({"fitted": {}}, "fitted: expected"),
        ({"fitted__predict": 1}, "fitted: expected"),
        ({"fitted__n_steps_": "1"}, "fitted: expected counts"),
        ({"fitted__history_": [{"epoch": "<script>"}]}, "history_: expected a list"),
        ({"fitted__history_": [{"other": 1}]}, "history_: expected a list"),
    ],
)
def test_other_json_is_refused(saved, changes, message):
    edit(saved, **changes)
    with pytest.raises(ValueError, match=message):
        SASRec.load(saved)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", "[" * 10**5, '{"format": NaN}', "\udcff", "gASVAAAA"]
)
def test_what_is_no_model_json_is_refused(saved, text):
    (saved / "model.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"model\.json: (not JSON|expected the keys)"):
        SASRec.load(saved)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"class": "SASRec"', '"class": "GNN", "class": "SASRec"', r"a key stands twice .*'class'"),
        ('"lr": 0.001', '"lr": 9, "lr": 0.001', r"a key stands twice"),
        ('"lr": 0.001', '"lr": 1e999', "numbers must be finite, got 1e999"),
        ('"lr": 0.001', '"lr": -Infinity', "numbers must be finite, got -Infinity"),
        ('"lr": 0.001', '"lr": NaN', "numbers must be finite, got NaN"),
        ('"train_loss": ', '"valid_ndcg": 1e999, "train_loss": ', "numbers must be finite"),
        ('"n_steps_": 1', '"n_steps_": 1.0', "fitted: expected counts"),
        ('"n_steps_": 1', f'"n_steps_": {2**63}', "fitted: expected counts"),
        (
            '"n_steps_": 1',
            '"n_steps_": ' + "9" * 5000,
            "not JSON as save writes it|expected counts",
        ),
        ('"items": [', '"items": [' + '{"a":' * 10**5, "not JSON as save writes it"),
    ],
)
def test_json_that_readers_understand_in_two_ways_is_refused(saved, old, new, message):
    path = saved / "model.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"model\.json: .*({message})"):
        SASRec.load(saved)


def rewrite(folder, change):
    arrays = numpy_format.load_file(folder / "weights.safetensors")
    change(arrays)
    numpy_format.save_file(arrays, folder / "weights.safetensors")


BIG = "module.item_embedding.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(other=np.zeros(1)), r"arrays that do not fit: \['other'\]"),
        (lambda a: a.pop("popularity"), r"arrays that do not fit: \['popularity'\]"),
        (lambda a: a.update({BIG: a[BIG][1:]}), r"expected F32 of shape \(4, 8\), got F32 of \(3,"),
        (lambda a: a.update({BIG: a[BIG].ravel()}), "expected F32 of shape"),
        (lambda a: a.update({BIG: a[BIG].astype(np.float64)}), "got F64 of"),
        (lambda a: a.update({BIG: a[BIG].astype(np.int32)}), "got I32 of"),
        (lambda a: a.update({BIG: a[BIG] * np.nan}), "item_embedding.weight holds NaN"),
        (lambda a: a.update({BIG: a[BIG] + np.inf}), "item_embedding.weight holds NaN or infinity"),
        (lambda a: a.update({"module.../../x": a["popularity"]}), r"do not fit: \['module.../../x"),
        (lambda a: a.update({"extra.code": a["popularity"]}), r"do not fit: \['extra.code'\]"),
    ],
)
def test_other_weights_are_refused(saved, change, message):
    rewrite(saved, change)
    with pytest.raises(ValueError, match=message):
        SASRec.load(saved)


@pytest.mark.parametrize("size", [2**63, 2**40, 100_000_001])
def test_a_huge_header_is_refused(saved, size):
    path = saved / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", size) + path.read_bytes()[8:])
    with pytest.raises(ValueError, match=r"weights\.safetensors: .*[Hh]eader"):
        SASRec.load(saved)


def pieces(folder):
    """Header and data of the weights."""
    content = (folder / "weights.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def put(folder, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "weights.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def move(folder, name, **changes):
    header, data = pieces(folder)
    header[name].update(changes)
    put(folder, header, data)


def overlap(folder):
    bias = "module.blocks.0.feed_forward.{}.bias"
    move(folder, bias.format(0), data_offsets=pieces(folder)[0][bias.format(3)]["data_offsets"])


def leave_a_hole(folder):
    header, data = pieces(folder)
    last = max(header.values(), key=lambda entry: entry["data_offsets"][1])
    last["data_offsets"] = [at + 4 for at in last["data_offsets"]]
    put(folder, header, data + b"code")


def cut(folder, size):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: move(f, "popularity", shape=[2**40], data_offsets=[0, 2**42]),
        lambda f: move(f, "popularity", shape=[2**62, 4]),
        lambda f: move(f, "popularity", data_offsets=[2**64 - 4, 8]),
        lambda f: move(f, "popularity", data_offsets=[0, 2**70]),
        lambda f: move(f, "popularity", data_offsets=[-12, 0]),
        lambda f: move(f, "popularity", data_offsets=[12, 0]),
        lambda f: move(f, "popularity", shape=[-3]),
        lambda f: move(f, "popularity", dtype="O"),
        overlap,
        leave_a_hole,
        lambda f: put(f, pieces(f)[0], pieces(f)[1] + b"#!/bin/sh"),
        lambda f: put(f, pieces(f)[0], pieces(f)[1][:-4]),
        lambda f: put(f, {**pieces(f)[0], "__metadata__": {"a": "b"}}, pieces(f)[1]),
        lambda f: put(f, b'{"a":' * 10**5, b""),
        lambda f: put(f, b'{"popularity": NaN}', b""),
        lambda f: put(f, b'{"\xff": 1}', b""),
        lambda f: put(f, json.dumps(pieces(f)[0])[:-1].encode() + b',"x":{}}', pieces(f)[1]),
        *(lambda f, size=size: cut(f, size) for size in (0, 7, 8, 9, 500, -1)),
    ],
)
def test_a_malformed_safetensors_file_is_refused(saved, spoil):
    spoil(saved)
    with pytest.raises(ValueError, match=r"weights\.safetensors: "):
        SASRec.load(saved)


def test_of_a_name_twice_in_the_header_what_is_read_is_checked(saved):
    header, data = pieces(saved)
    other = json.dumps({**header["popularity"], "dtype": "I32"})
    first = f'{{"popularity": {other}, {json.dumps(header)[1:]}'
    last = f'{json.dumps(header)[:-1]}, "popularity": {other}}}'
    for text in (first, last):
        put(saved, text.encode(), data)
        with contextlib.suppress(ValueError):
            assert SASRec.load(saved).popularity_.dtype == np.float32


class Hostile:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_pickles_by_another_name_are_not_unpickled(saved, name):
    marker = saved / "unpickled"
    for write in (lambda obj, path: path.write_bytes(pickle.dumps(obj)), torch.save, joblib.dump):
        write(Hostile(marker), saved / name)
        with pytest.raises(ValueError, match=name):
            SASRec.load(saved)
        assert not marker.exists()


def test_other_files_of_the_folder_are_not_looked_at(saved):
    before = SASRec.load(saved, device="cpu").predict([[1]]).tolist()
    marker = saved / "run"
    for name in ("__init__.py", "model.py", "modeling.py", "conftest.py", "sitecustomize.py"):
        (saved / name).write_text(f"open({str(marker)!r}, 'w')")
    for name in ("model.pkl", "model.joblib", "weights.bin", "weights.safetensors.tmp"):
        (saved / name).write_bytes(pickle.dumps(Hostile(marker)))
    assert SASRec.load(saved, device="cpu").predict([[1]]).tolist() == before
    assert not marker.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_what_is_no_plain_file_is_not_read(saved, name):
    """A pipe, which an archive can hold, would keep its reader for ever."""
    path = saved / name
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)):
        path.unlink()
        make(path)
        with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
            SASRec.load(saved)
        if path.is_dir():
            path.rmdir()
            path.touch()


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_links_out_of_the_folder_and_absent_files(saved, name):
    (saved / name).rename(saved.parent / "elsewhere")
    with pytest.raises(FileNotFoundError):
        SASRec.load(saved)
    (saved.parent / "also").symlink_to(saved.parent / "elsewhere")
    for target in (saved.parent / "elsewhere", "../elsewhere", "../also", "/dev/zero"):
        (saved / name).symlink_to(target)
        with pytest.raises(ValueError, match=f"{name} leads out of the folder"):
            SASRec.load(saved)
        (saved / name).unlink()
    (saved.parent / "elsewhere").rename(saved / "within")
    (saved / name).symlink_to("within")
    (saved.parent / "link").symlink_to(saved)
    SASRec.load(saved.parent / "link")  # which folder it is, is the caller's choice


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update({"extra.indices": a["extra.indices"] + 99}), "indices|index"),
        (lambda a: a.update({"extra.indices": a["extra.indices"] - 99}), "indices|index"),
        (lambda a: a.update({"extra.indptr": a["extra.indptr"][:-1]}), "index pointer"),
        (lambda a: a.update({"extra.data": a["extra.data"].astype(float)}), "got F64"),
        (lambda a: a.update({"extra.data": a["extra.indices"]}), "float32"),
        (lambda a: a.update({"extra.data": a["extra.data"][1:]}), "same size"),
        (lambda a: a.update({"extra.data": a["extra.data"] * np.nan}), "holds NaN"),
        (lambda a: a.update({"extra.indices": a["extra.indices"][None]}), "1-D"),
        (lambda a: a.update({"extra.indptr": -a["extra.indptr"]}), "must not decrease"),
        (lambda a: a.update({"extra.indptr": a["extra.indptr"][::-1].copy()}), "index pointer"),
        (lambda a: a.update({"extra.indptr": a["extra.indptr"] * 2**20}), "index pointer"),
    ],
)
def test_another_graph_is_refused(tmp_path, change, message):
    GNN(**TINY).fit([[1, 2, 3], [2, 3, 1]]).save(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(ValueError, match=rf"weights\.safetensors: .*({message})"):
        GNN.load(tmp_path)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2"])
def test_types_that_numpy_has_not_are_refused(tmp_path, dtype):
    GNN(**TINY).fit([[1, 2, 3], [2, 3, 1]]).save(tmp_path)
    (size,) = pieces(tmp_path)[0]["extra.data"]["shape"]
    move(tmp_path, "extra.data", dtype=dtype, shape=[size * (2 if dtype == "BF16" else 4)])
    with pytest.raises(ValueError, match=f"extra.data: expected F32 or I32, got {dtype}"):
        GNN.load(tmp_path)
